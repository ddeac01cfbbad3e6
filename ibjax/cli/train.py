"""The commands that train: `ibjax run`, `ibjax rerun`. Each takes the parsed arguments, returns the exit status."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ibjax
from ibjax._checks import unknown
from ibjax._files import check_space, size
from ibjax._workers import check_signals, interruptible, terminable
from ibjax.cli.options import UsageError, config_of, refuse
from ibjax.cli.output import (
    check_output,
    escape,
    fail,
    hint_checkpoint,
    load_trajectory,
    prepare_compiler,
    print_results,
    report_broken_bounds,
)
from ibjax.cluster.engine import ExecutorError, connect
from ibjax.config import Config
from ibjax.data.dataset import Dataset
from ibjax.data.files import READABLE, is_readable
from ibjax.data.spherical import DATASETS
from ibjax.information.estimator import make
from ibjax.progress import bar, duration
from ibjax.trajectory.provenance import conditions, recorded_config


def run(arguments: argparse.Namespace) -> int:
    """Train an ensemble and write its trajectory; 1 where it cannot be written or values break their bounds."""
    began = time.perf_counter()
    path, arguments.pieces = _output(arguments)
    resumable = arguments.checkpoint is not None or arguments.pieces is not None
    with interruptible(terminate=resumable, second_kills=True), contextlib.ExitStack() as stack:
        dataset = _read_dataset(arguments)
        config = config_of(arguments)
        options: dict[str, Any] = {"dataset": dataset, "checkpoint": arguments.checkpoint}
        if arguments.checkpoint_every is not None:
            if arguments.checkpoint is None:
                raise UsageError("--checkpoint-every without --checkpoint; allowed: together")
            options["checkpoint_every"] = arguments.checkpoint_every
        if arguments.pieces is not None:
            options["out"] = arguments.pieces
        finished = None if arguments.force or arguments.pieces else _finished(path, config, dataset)
        if finished is None:
            if arguments.pieces is None:
                check_output(path, force=arguments.force)
            check_signals()
            needs = _needs(config, dataset, arguments, path)
            try:
                options |= stack.enter_context(_executor(arguments))
                trajectory = _train(config, needs, quiet=arguments.quiet, **options)
            except (ExecutorError, ibjax.DeviceError) as error:
                return fail("run", str(error))
    if finished is None and arguments.pieces is None:
        with terminable(arguments.checkpoint is not None):
            failure = _save(trajectory, path, arguments)
        if failure:
            return fail("run", failure)
    result = trajectory if finished is None else finished
    sound = report_broken_bounds(result)
    if not arguments.quiet:
        print_results(result)
        if finished is None:
            print(f"\n{time.perf_counter() - began:.1f} s; written to {path}")
        else:
            print(f"\n{path} held this run already, finished; --force trains it again")
    return 0 if sound else 1


def _output(arguments: argparse.Namespace) -> tuple[Path, str | None]:
    """Where the run goes, and the same again where it goes there in pieces.

    That is a name with a slash at its end, a folder that holds pieces, and, with a scheduler, a name without an ending.
    """
    name = f"{arguments.preset}.npz" if arguments.out is None else arguments.out
    path = Path(name)
    away = arguments.scheduler is not None or arguments.scheduler_file is not None
    if not (name.endswith(os.sep) or os.path.exists(path / "run.json") or (away and name and not path.suffix)):
        return path, None
    if arguments.force:
        raise UsageError(f"--force with --out = {name!r}, a folder; allowed: without, or a new folder")
    return path, name


@contextlib.contextmanager
def _executor(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The option of `ibjax.run` for a scheduler, if there is to be one."""
    address, file = arguments.scheduler, arguments.scheduler_file
    if address is not None and file is not None:
        raise UsageError("--scheduler with --scheduler-file; allowed: one of them")
    if address is None and file is None:
        yield {}
        return
    option, value = ("scheduler", address) if file is None else ("scheduler-file", file)
    with contextlib.ExitStack() as stack:
        try:
            client = stack.enter_context(connect(address, file))
        except ExecutorError as error:
            raise UsageError(f"--{option} = {value!r}: {error}") from error
        yield {"executor": client}


def rerun(arguments: argparse.Namespace) -> int:
    """Train a file's networks again, from what the file says of them, and compare all arrays; 1 where they differ."""
    recorded = load_trajectory(arguments.file)
    with interruptible(second_kills=True):
        with refuse(f"{arguments.file!r} cannot be repeated: "):
            if custom := recorded.config.get("custom"):
                raise ValueError(
                    f"it was trained with a custom {', '.join(custom)}, which no file holds; repeat it in Python"
                )
            config = recorded_config(recorded)
            measured = recorded.config.get("measured")  # by `ibjax measure`, after the run
            if measured:
                estimator = make(str(measured.get("estimator")), **measured.get("options", {}))
        prepare_compiler()
        again = _train(config, "trained again", quiet=arguments.quiet)
        if measured:
            with refuse(f"{arguments.file!r} cannot be measured again: "):
                again = ibjax.measure(again, estimator.name, **estimator.options)
    # Measures added to the file afterwards are not the run's.
    added = sorted(recorded.extras.keys() - again.extras.keys())
    for key in added:
        print(f"{key} was added after the run and is not compared")
    original = dataclasses.replace(recorded, extras={k: v for k, v in recorded.extras.items() if k not in added})
    for line in (changes := conditions(recorded, again)):
        print(escape(line))
    if not (differences := original.differences(again)):
        print(f"all {len(original.arrays()) - 1} arrays agree to the bit")
        return 0
    print("largest absolute differences, inf where shapes, types or NaN differ:")
    for key, value in differences.items():
        print(f"  {key:24} {value:.3g}")
    if not changes:
        print("versions and device are those of the file: on one machine that is a defect")
    return 1


def _read_dataset(arguments: argparse.Namespace) -> ibjax.Dataset | None:
    """The data set of a file named in place of a task; the configuration then has the preset's."""
    if "dataset" not in arguments or arguments.dataset in DATASETS:
        return None
    path = arguments.dataset
    if not is_readable(path):
        raise UsageError(f"{unknown('--dataset', path, DATASETS)}, or {READABLE}")
    del arguments.dataset
    try:
        with refuse("--dataset: "):
            return ibjax.load_dataset(path)
    except (OSError, ImportError) as error:
        why = getattr(error, "strerror", None) or error
        raise UsageError(f"--dataset = {path!r} cannot be read: {why}") from error


def _finished(path: Path, config: Config, dataset: Dataset | None) -> ibjax.Trajectory | None:
    """What is written at `path`, if that is a finished run of this configuration on this data set."""
    try:
        written = ibjax.load(path)
    except (OSError, ibjax.TrajectoryError):  # not there, or something else
        return None
    same = written.config.get("config") == json.loads(json.dumps(dataclasses.asdict(config)))
    same = same and written.config.get("custom") == ([] if dataset is None else ["dataset"])
    whole = written.epochs.tolist() == list(config.logged) and written.seeds.tolist() == list(config.seed_list)
    if not same or not whole or "measured" in written.config:
        return None
    if dataset is not None and written.config.get("dataset_sha256") != dataset.sha256:
        return None
    return written


def _needs(config: Config, dataset: Dataset | None, arguments: argparse.Namespace, path: Path) -> str:
    """What the run will take, in words; refuses what does not fit.

    Raises:
      OSError: the disk has no room.
    """
    prepare_compiler()
    away = arguments.scheduler is not None or arguments.scheduler_file is not None
    with refuse():
        needs = ibjax.forecast(config, dataset=dataset, timed=False, in_pieces=away or arguments.pieces is not None)
    free = check_space(path, 0 if arguments.pieces else needs.file_bytes)  # a folder may hold some of them already
    arrays = "" if away else f"arrays {size(needs.memory_bytes)}, "
    return f"{arrays}{'files' if arguments.pieces else 'file'} {size(needs.file_bytes)} ({size(free)} free)"


def _train(config: ibjax.Config, note: str, *, quiet: bool, **options: Any) -> ibjax.Trajectory:
    """The run, with warnings as lines of this command; unless quiet, with a note as training begins."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "[0-9]+ of [0-9]+ networks diverged", RuntimeWarning)  # the table says so
        warnings.filterwarnings("ignore", "information values break their bounds", RuntimeWarning)  # so does the report
        warnings.showwarning = lambda message, *_, **__: print(f"ibjax run: {message}", file=sys.stderr)
        with refuse():
            if quiet:
                return ibjax.run(config, **options)
            notes = [note]
            with bar() as report:

                def tell(state: ibjax.Progress) -> None:
                    while notes:  # the first call: no argument was refused, training begins
                        print(f"{len(config.seed_list)} networks: about {duration(state.seconds)}, {notes.pop()}")
                        if state.resumed:
                            print(_resumption(state, **options))
                    report(state)

                return ibjax.run(config, progress=tell, **options)


def _resumption(state: ibjax.Progress, *, checkpoint: str | None, out: str | None = None, **_: Any) -> str:
    """Where a run goes on from, in words."""
    share = state.resumed / max(state.total, 1)
    if out is None:
        return f"goes on from epoch {state.last_epoch * share:,.0f}, where {checkpoint!r} has it"
    return f"goes on from {100 * share:.0f}% of its pieces, which are in {out!r}"


def _save(trajectory: ibjax.Trajectory, path: Path, arguments: argparse.Namespace) -> str:
    """Write what hours were spent on, if not where it was meant to go then elsewhere; returns what went wrong."""
    try:
        arguments.written.append(trajectory.save(path, overwrite=arguments.force))
        return ""
    except OSError as error:
        failure = f"cannot write {str(path)!r}: {error.strerror or error}"
    if arguments.checkpoint is not None:
        return f"{failure}; when that is mended, {hint_checkpoint(arguments)}"
    try:
        refuge = Path(tempfile.mkdtemp(prefix="ibjax_"), path.name)
    except OSError as error:
        return f"{failure}; nor in the folder of temporary files: {error.strerror or error}; the results are lost"
    try:
        return f"{failure}; the results are in {str(trajectory.save(refuge))!r} instead"
    except OSError as error:
        refuge.parent.rmdir()
        return f"{failure}; nor in the folder of temporary files: {error.strerror or error}; the results are lost"
