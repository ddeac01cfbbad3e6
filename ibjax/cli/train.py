"""The commands that train: `ibjax run`, `ibjax rerun`. Each takes the parsed arguments, returns the exit status."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import ibjax
from ibjax._checks import unknown
from ibjax._files import check_space, size
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
from ibjax.config import Config
from ibjax.data.dataset import Dataset
from ibjax.data.files import ENDINGS
from ibjax.data.spherical import DATASETS
from ibjax.progress import bar
from ibjax.trajectory.provenance import conditions, recorded_config

_TASK = (4096, 12, 2)  # patterns, features and classes of the built-in tasks


def run(arguments: argparse.Namespace) -> int:
    """Train an ensemble and write its trajectory; 1 where it cannot be written or values break their bounds."""
    dataset = _read_dataset(arguments)
    config = config_of(arguments)
    path = Path(f"{arguments.preset}.npz" if arguments.out is None else arguments.out)
    check_output(path, force=arguments.force)
    wanted = expected_bytes(config, dataset)
    free = check_space(path, wanted)
    options: dict[str, Any] = {"dataset": dataset, "checkpoint": arguments.checkpoint}
    if arguments.checkpoint_every is not None:
        if arguments.checkpoint is None:
            raise UsageError("--checkpoint-every without --checkpoint; allowed: together")
        options["checkpoint_every"] = arguments.checkpoint_every
    note = f"{len(config.seed_list)} networks; the file takes about {size(wanted)}, free are {size(free)}"
    began = time.perf_counter()
    trajectory = _train(config, "" if arguments.quiet else note, **options)
    if failure := _save(trajectory, path, arguments):
        return fail("run", failure)
    sound = report_broken_bounds(trajectory)
    if not arguments.quiet:
        print_results(trajectory)
        print(f"\n{time.perf_counter() - began:.1f} s; written to {path}")
    return 0 if sound else 1


def rerun(arguments: argparse.Namespace) -> int:
    """Train a file's networks again, from what the file says of them, and compare all arrays; 1 where they differ."""
    recorded = load_trajectory(arguments.file)
    with refuse(f"{arguments.file!r} cannot be repeated: "):
        if custom := recorded.config.get("custom"):
            raise ValueError(
                f"it was trained with a custom {', '.join(custom)}, which no file holds; repeat it in Python"
            )
        config = recorded_config(recorded)
    again = _train(config, "" if arguments.quiet else f"{len(config.seed_list)} networks, trained again")
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
    if Path(path).suffix.lower() not in ENDINGS:
        raise UsageError(f"{unknown('--dataset', path, DATASETS)}, or a file that ends in {' or '.join(ENDINGS)}")
    del arguments.dataset
    try:
        with refuse("--dataset: "):
            return ibjax.load_dataset(path)
    except OSError as error:
        raise UsageError(f"--dataset = {path!r} cannot be read: {error.strerror or error}") from error


def _train(config: ibjax.Config, note: str, **options: Any) -> ibjax.Trajectory:
    """The run, with warnings as lines of this command; without a note, quietly, else with it as training begins."""
    prepare_compiler()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "[0-9]+ of [0-9]+ networks diverged", RuntimeWarning)  # the table says so
        warnings.filterwarnings("ignore", "information values break their bounds", RuntimeWarning)  # so does the report
        warnings.showwarning = lambda message, *_, **__: print(f"ibjax run: {message}", file=sys.stderr)
        with refuse():
            if not note:
                return ibjax.run(config, **options)
            notes = [note]
            with bar() as report:

                def tell(state: ibjax.Progress) -> None:
                    while notes:  # until the first call: no argument was refused, training has begun
                        print(notes.pop())
                    report(state)

                return ibjax.run(config, progress=tell, **options)


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
        with tempfile.NamedTemporaryFile(prefix=f"{path.stem}_", suffix=".npz", delete=False) as file:
            refuge = Path(file.name)
        return f"{failure}; the results are in {str(trajectory.save(refuge))!r} instead"
    except OSError as error:
        return f"{failure}; nor in the folder of temporary files: {error.strerror or error}; the results are lost"


def expected_bytes(config: Config, dataset: Dataset | None = None) -> int:
    """About how large the file of a run of the built-in network will be, and what its results take in memory.

    Args:
      config: of the run.
      dataset: in place of the configuration's task.
    """
    patterns, features, classes = _TASK
    if dataset is not None:
        patterns, features, classes = dataset.n_patterns, dataset.n_features, dataset.n_classes
    widths = (features, *config.hidden_widths, 1 if config.output == "sigmoid" else classes)
    others = sum(name != "histogram" for name in config.estimators)
    numbers = (7 + 4 * others) * (len(widths) - 1) + 4  # with errors; not every estimator knows its own
    if config.store_weights:
        numbers += sum((a + 1) * b for a, b in itertools.pairwise(widths))
    seeds = len(config.seed_list)
    return seeds * (len(config.logged) * numbers * (8 if config.precision == "float64" else 4) + patterns) + 10_000
