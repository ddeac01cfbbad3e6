"""The commands that train: `ibjax run`, `ibjax rerun`. Each takes the parsed arguments, returns the exit status."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import sys
import time
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import ibjax
from ibjax._checks import unknown
from ibjax._files import check_space, size
from ibjax._workers import check_signals, interruptible, terminable
from ibjax.cli.options import RunError, UsageError, config_of, refuse
from ibjax.cli.output import (
    check_output,
    escape,
    final_numbers,
    load_trajectory,
    prepare_compiler,
    print_results,
    report_broken_bounds,
    save,
)
from ibjax.cluster.engine import ExecutorError, connect
from ibjax.config import Config
from ibjax.data.dataset import Dataset
from ibjax.data.files import READABLE, is_readable
from ibjax.data.spherical import DATASETS
from ibjax.information.estimator import make
from ibjax.progress import bar, duration
from ibjax.trajectory.estimators import further_estimators
from ibjax.trajectory.provenance import conditions, recorded_config


class Plan(NamedTuple):
    """A run of which all is checked that can be before it is carried out."""

    path: Path
    config: Config
    options: dict[str, Any]  # of `ibjax.run`
    needs: ibjax.Forecast | None = None
    note: str = ""  # what it needs, in words
    finished: ibjax.Trajectory | None = None  # what `path` holds already, if that is this run; else it has needs


class Outcome(NamedTuple):
    """What a run came to."""

    plan: Plan
    trajectory: ibjax.Trajectory
    sound: bool  # whether all values keep within their bounds
    seconds: float


def run(arguments: argparse.Namespace) -> int:
    """Train an ensemble and write its trajectory; 1 where values break their bounds."""
    plan, trajectory, sound, seconds = carry_out(arguments)
    if not arguments.quiet:
        print_results(trajectory)
        if plan.finished is None:
            print(f"\n{seconds:.1f} s; written to {plan.path}")
        else:
            print(f"\n{plan.path} held this run already, finished; --force trains it again")
    return 0 if sound else 1


def carry_out(arguments: argparse.Namespace) -> Outcome:
    """Train what the arguments describe, unless it is there already, and write it.

    Raises:
      UsageError: it is refused.
      RunError, OSError: it was begun, or could have been, and came to nothing.
    """
    began = time.perf_counter()
    arguments.pieces = _output(arguments)[1]
    resumable = arguments.checkpoint is not None or arguments.pieces is not None
    with interruptible(terminate=resumable, second_kills=True), contextlib.ExitStack() as stack:
        plan = prepare(arguments)
        if plan.finished is not None:
            return conclude(arguments, plan, plan.finished, began)
        try:
            options = plan.options | stack.enter_context(_executor(arguments))
            arguments.log.start(plan.config, plan.needs)
            trajectory = _train(plan.config, plan.note, arguments, **options)
        except (ExecutorError, ibjax.DeviceError) as error:
            raise RunError(str(error)) from error
    if arguments.pieces is None:
        with terminable(arguments.checkpoint is not None):
            save(trajectory, plan.path, arguments)
    return conclude(arguments, plan, trajectory, began)


def prepare(arguments: argparse.Namespace) -> Plan:
    """Everything that can be said of a run before it is begun.

    Raises:
      UsageError: it is refused.
      OSError: the disk has no room.
    """
    path, arguments.pieces = _output(arguments)
    arguments.log.file = str(path)
    dataset = _read_dataset(arguments)
    config = config_of(arguments)
    options: dict[str, Any] = {"dataset": dataset, "checkpoint": arguments.checkpoint}
    if arguments.checkpoint_every is not None:
        if arguments.checkpoint is None:
            raise UsageError("--checkpoint-every without --checkpoint; allowed: together")
        options["checkpoint_every"] = arguments.checkpoint_every
    if arguments.pieces is not None:
        options["out"] = arguments.pieces
    elif not arguments.force and (finished := _finished(path, config, dataset)) is not None:
        return Plan(path, config, options, finished=finished)
    else:
        check_output(path, force=arguments.force)
    check_signals()
    prepare_compiler()
    with refuse():
        in_pieces = arguments.pieces is not None or _is_away(arguments)
        needs = ibjax.forecast(config, dataset=dataset, timed=False, in_pieces=in_pieces)
    free = check_space(path, 0 if arguments.pieces else needs.file_bytes)  # a folder may hold some of them already
    arrays = "" if _is_away(arguments) else f"arrays {size(needs.memory_bytes)}, "
    files = "files" if arguments.pieces else "file"
    return Plan(path, config, options, needs, f"{arrays}{files} {size(needs.file_bytes)} ({size(free)} free)")


def conclude(arguments: argparse.Namespace, plan: Plan, trajectory: ibjax.Trajectory, began: float) -> Outcome:
    """Say what the results break, and log what they are; `began` by `time.perf_counter`."""
    done = Outcome(plan, trajectory, report_broken_bounds(trajectory), time.perf_counter() - began)
    if arguments.log:
        told = {"seconds": round(done.seconds, 3), "trained": plan.finished is None, "within_bounds": done.sound}
        arguments.log.write("finish", **told, **final_numbers(trajectory))
    return done


def _is_away(arguments: argparse.Namespace) -> bool:
    """Whether others train, those of a scheduler."""
    return arguments.scheduler is not None or arguments.scheduler_file is not None


def _output(arguments: argparse.Namespace) -> tuple[Path, str | None]:
    """Where the run goes, and the same again where it goes there in pieces.

    That is a name with a slash at its end, a folder that holds pieces, and, with a scheduler, a name without an ending.
    """
    name = f"{arguments.preset}.npz" if arguments.out is None else arguments.out
    path = Path(name)
    in_pieces = name.endswith(os.sep) or os.path.exists(path / "run.json")
    if not in_pieces and not (_is_away(arguments) and name and not path.suffix):
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
    if "histogram" in further_estimators(recorded):  # saved with another in its place, by `Trajectory.of_estimator`
        recorded = recorded.of_estimator("histogram")
    with interruptible(second_kills=True):
        with refuse(f"{arguments.file!r} cannot be repeated: "):
            if custom := recorded.config.get("custom"):
                raise ValueError(
                    f"it was trained with a custom {', '.join(custom)}, which no file holds; repeat it in Python"
                )
            config = whole = recorded_config(recorded)
            if config.phases:  # which end, and count their moves, by all epochs that were logged, kept or not
                whole = dataclasses.replace(config, logged_epochs=recorded.config["config"].get("logged_epochs"))
            measured = recorded.config.get("measured")  # by `ibjax measure`, after the run
            if measured:
                estimator = make(str(measured.get("estimator")), **measured.get("options", {}))
        prepare_compiler()
        again = _train(whole, "trained again", arguments).of_epochs(config.logged)
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


def _train(config: Config, note: str, arguments: argparse.Namespace, **options: Any) -> ibjax.Trajectory:
    """The run, with warnings as lines of this command; unless quiet, with a note as training begins."""
    log = arguments.log

    def warn(message: Warning | str, *_: Any, **__: Any) -> None:
        print(f"ibjax run: {message}", file=sys.stderr)
        log.write("warning", message=str(message))

    with warnings.catch_warnings(), contextlib.ExitStack() as stack, refuse():
        warnings.filterwarnings("ignore", "[0-9]+ of [0-9]+ networks diverged", RuntimeWarning)  # the table says so
        warnings.filterwarnings("ignore", "information values break their bounds", RuntimeWarning)  # so does the report
        warnings.showwarning = warn
        reports = [] if arguments.quiet else [stack.enter_context(bar())]
        reports += [partial(log.progress, networks=len(config.seed_list))] if log else []
        if not reports:
            return ibjax.run(config, **options)
        notes = [] if arguments.quiet else [note]

        def tell(state: ibjax.Progress) -> None:
            while notes:  # the first call: no argument was refused, training begins
                print(f"{len(config.seed_list)} networks: about {duration(state.seconds)}, {notes.pop()}")
                if state.resumed:
                    print(_resumption(state, **options))
            for report in reports:
                report(state)

        return ibjax.run(config, progress=tell, **options)


def _resumption(state: ibjax.Progress, *, checkpoint: str | None, out: str | None = None, **_: Any) -> str:
    """Where a run goes on from, in words."""
    share = state.resumed / max(state.total, 1)
    if out is None:
        return f"goes on from epoch {state.last_epoch * share:,.0f}, where {checkpoint!r} has it"
    return f"goes on from {100 * share:.0f}% of its pieces, which are in {out!r}"
