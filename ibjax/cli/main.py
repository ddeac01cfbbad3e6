"""The command line: `ibjax run`, `info`, `plot`, `animate`, `bound`, `measure`, `merge`, `rerun`.

What needs the compiler is imported only after all of the user's input has been checked.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ibjax import __version__
from ibjax._checks import unknown
from ibjax._files import check_space, size
from ibjax.cli import commands
from ibjax.cli.options import UsageError, add_fields, add_options, config_of
from ibjax.cli.output import (
    check_output,
    failed,
    keep_compiled_programs,
    loaded,
    numbers,
    print_results,
    report_broken_bounds,
)
from ibjax.config import PRESETS
from ibjax.ensemble.storage import expected_bytes
from ibjax.information.estimator import ESTIMATORS
from ibjax.trajectory.schema import REQUIRED

if TYPE_CHECKING:
    from ibjax.config import Config
    from ibjax.data.dataset import Dataset
    from ibjax.trajectory.trajectory import Trajectory

_INTERRUPTED = 130  # 128 + SIGINT, as shells do


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
      0; 1 where a file cannot be read or written, values break their bounds or a run is not repeated to the bit;
      2 where the input is not allowed; 130 after Ctrl-C, 143 after SIGTERM where there is a checkpoint.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        arguments = _parser(words).parse_args(words)
    except SystemExit as done:  # argparse has said what there is to say
        return int(done.code or 0)
    command: Callable[[argparse.Namespace], int] = arguments.function
    arguments.written = []  # whole files, for whoever interrupts
    try:
        return command(arguments)
    except UsageError as error:
        print(f"ibjax {arguments.command}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader has seen enough; nothing more may be written to it, at exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        where = f"{str(error.filename)!r}: " if error.filename is not None else ""
        return failed(arguments.command, f"{where}{error.strerror or error}")
    except KeyboardInterrupt:
        kept = (
            f"written before: {', '.join(map(str, arguments.written))}" if arguments.written else "nothing was written"
        )
        print(f"\nibjax {arguments.command}: interrupted; {_goes_on(arguments) or kept}", file=sys.stderr)
        return _INTERRUPTED
    except SystemExit as ended:  # SIGTERM, while there was a checkpoint to bring up to date
        print(f"ibjax {arguments.command}: terminated; {_goes_on(arguments)}", file=sys.stderr)
        return int(ended.code or 0)


def _goes_on(arguments: argparse.Namespace) -> str:
    folder = getattr(arguments, "checkpoint", None)
    return "" if folder is None else f"the same command goes on from the checkpoint in {folder!r}"


def _run(arguments: argparse.Namespace) -> int:
    dataset = _own_dataset(arguments)
    config = config_of(arguments)
    path = Path(f"{arguments.preset}.npz" if arguments.out is None else arguments.out)
    check_output(path, force=arguments.force)
    wanted = expected_bytes(config, dataset)
    free = check_space(path, wanted)
    options: dict[str, Any] = {} if dataset is None else {"dataset": dataset}
    if arguments.checkpoint is not None:
        options["checkpoint"] = arguments.checkpoint
        if arguments.checkpoint_every is not None:
            options["checkpoint_every"] = numbers("--checkpoint-every", arguments.checkpoint_every)[0]
    elif arguments.checkpoint_every is not None:
        raise UsageError("--checkpoint-every without --checkpoint; allowed: together")
    note = f"{len(config.seed_list)} networks; the file takes about {size(wanted)}, free are {size(free)}"
    began = time.perf_counter()
    trajectory = _trained(config, "" if arguments.quiet else note, **options)
    if failure := _saved(trajectory, path, arguments):
        return failed("run", failure)
    sound = report_broken_bounds(trajectory)
    if not arguments.quiet:
        print_results(trajectory)
        print(f"\n{time.perf_counter() - began:.1f} s; written to {path}")
    return 0 if sound else 1


def _trained(config: Config, note: str, **options: Any) -> Trajectory:
    """The run, with warnings as lines of this command; without a note, quietly, else with it as training begins."""
    import ibjax  # here, not above: the compiler's start-up is not for those who mistype an option

    keep_compiled_programs()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "[0-9]+ of [0-9]+ networks diverged", RuntimeWarning)  # the table says so
        warnings.filterwarnings("ignore", "information values break their bounds", RuntimeWarning)  # so does the report
        warnings.showwarning = lambda message, *_, **__: print(f"ibjax run: {message}", file=sys.stderr)
        try:
            if not note:
                return ibjax.run(config, **options)
            from ibjax.progress import bar

            with bar() as report:
                return ibjax.run(config, progress=_announced(note, report), **options)
        except (ValueError, TypeError) as error:
            raise UsageError(str(error)) from error


def _announced(note: str, report: Callable[[Any], None]) -> Callable[[Any], None]:
    notes = [note]

    def told(state: Any) -> None:
        while notes:
            print(notes.pop())
        report(state)

    return told


def _saved(trajectory: Trajectory, path: Path, arguments: argparse.Namespace) -> str:
    """Write what hours were spent on, if not where it was meant to go then elsewhere; returns what went wrong."""
    try:
        arguments.written.append(trajectory.save(path, overwrite=arguments.force))
    except OSError as error:
        failure = f"cannot write {str(path)!r}: {error.strerror or error}"
    else:
        return ""
    if arguments.checkpoint is not None:
        return f"{failure}; when that is mended, {_goes_on(arguments)}"
    try:
        with tempfile.NamedTemporaryFile(prefix=f"{path.stem}_", suffix=".npz", delete=False) as file:
            refuge = Path(file.name)
        return f"{failure}; the results are in {str(trajectory.save(refuge))!r} instead"
    except OSError as error:
        return f"{failure}; nor in the folder of temporary files: {error.strerror or error}; the results are lost"


def _own_dataset(arguments: argparse.Namespace) -> Dataset | None:
    """The data set of a file named in place of a task; the configuration then keeps the preset's."""
    from ibjax.data.files import ENDINGS, load_dataset

    if arguments.dataset is None or Path(arguments.dataset).suffix.lower() not in ENDINGS:
        return None
    try:
        dataset = load_dataset(arguments.dataset)
    except ValueError as error:
        raise UsageError(f"--dataset: {error}") from error
    except OSError as error:
        raise UsageError(f"--dataset = {arguments.dataset!r} cannot be read: {error.strerror or error}") from error
    arguments.dataset = None
    return dataset


def _rerun(arguments: argparse.Namespace) -> int:
    """Train a file's networks again, from what the file says of them, and compare all arrays."""
    from ibjax.ensemble.rerun import conditions, repeatable_config

    recorded = loaded(arguments.file)
    try:
        config = repeatable_config(recorded)
    except ValueError as error:
        raise UsageError(f"{arguments.file!r} cannot be repeated: {error}") from error
    again = _trained(config, "" if arguments.quiet else f"{len(config.seed_list)} networks, trained again")
    # Measures added to the file afterwards are not the run's.
    added = sorted(recorded.extras.keys() - again.extras.keys())
    for key in added:
        print(f"{key} was added after the run and is not compared")
    run = dataclasses.replace(recorded, extras={k: v for k, v in recorded.extras.items() if k not in added})
    for line in (other := conditions(recorded, again)):
        print(line)
    if not (differences := run.differences(again)):
        print(f"all {len(REQUIRED) - 1 + len(run.extras)} arrays agree to the bit")
        return 0
    print("largest absolute differences, inf where shapes, types or NaN differ:")
    for key, value in differences.items():
        print(f"  {key:24} {value:.3g}")
    if not other:
        print("versions and device are those of the file: on one machine that is a defect")
    return 1


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message} (see {self.prog} --help)", file=sys.stderr)
        raise SystemExit(2)


def _parser(words: list[str]) -> argparse.ArgumentParser:
    parser = _Parser(prog="ibjax", description="The information plane of ensembles of neural networks.")
    parser.add_argument("--version", action="version", version=f"ibjax {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = subparsers.add_parser("run", help="train an ensemble and measure every layer", allow_abbrev=False)
    run.add_argument("--preset", default="paper", metavar="NAME", help=f"start from {', '.join(PRESETS)} (paper)")
    run.add_argument("--out", metavar="FILE.npz", help="where the trajectory goes (PRESET.npz)")
    run.add_argument("--force", action="store_true", help="overwrite the file if it exists")
    run.add_argument("--quiet", action="store_true", help="print nothing but errors")
    run.add_argument("--checkpoint", metavar="DIR", help="keep the state there; the same command goes on after a crash")
    run.add_argument(
        "--checkpoint-every", metavar="SECONDS", help="at most every so often, and a twentieth of the time (30)"
    )
    fields = run.add_argument_group(
        "configuration", "each overrides the preset; the defaults shown are those of the preset paper"
    )
    add_fields(fields)
    run.set_defaults(function=_run)

    info = subparsers.add_parser("info", help="print what a file holds")
    info.add_argument("file", nargs="+", metavar="FILE")
    info.set_defaults(function=commands.info)

    plot = subparsers.add_parser("plot", help="draw the information plane, the gradients and the accuracies")
    plot.add_argument("file", metavar="FILE")
    plot.add_argument("--out", default=".", metavar="DIR", help="folder of the PNGs (here)")
    plot.add_argument("--force", action="store_true", help="overwrite PNGs that exist")
    plot.set_defaults(function=commands.plot)

    animate = subparsers.add_parser("animate", help="draw the information plane as a movie")
    animate.add_argument("file", metavar="FILE")
    animate.add_argument("--out", metavar="MOVIE", help=".mp4 (needs ffmpeg) or .gif (FILE.mp4 or FILE.gif, here)")
    animate.add_argument("--force", action="store_true", help="overwrite the movie if it exists")
    animate.set_defaults(function=commands.animate)

    bound = subparsers.add_parser("bound", help="compute the information-bottleneck curve of a task or of a run's task")
    bound.add_argument("of", nargs="?", default="spherical", metavar="TASK|FILE", help="a task's name, or a run")
    bound.add_argument("--betas", metavar="B,B", help="slopes 1/B of the curve's points (80 from its onset on)")
    bound.add_argument("--out", metavar="FILE.npz", help="write the curve there")
    bound.add_argument("--plot", metavar="FILE.png", help="draw the curve, and where a run's layers end")
    bound.add_argument("--force", action="store_true", help="overwrite files that exist")
    bound.set_defaults(function=commands.bound)

    measure = subparsers.add_parser(
        "measure",
        help="apply another estimator to the stored weights of a run",
        description="--estimator NAME --help shows the options of an estimator.",
        allow_abbrev=False,
    )
    measure.add_argument("file", metavar="FILE", help="a run with --store-weights")
    measure.add_argument("--estimator", required=True, metavar="NAME", help=f"one of {', '.join(ESTIMATORS)}")
    measure.add_argument("--out", metavar="FILE.npz", help="where the trajectory goes (FILE_NAME.npz, here)")
    measure.add_argument("--force", action="store_true", help="overwrite the file if it exists")
    measure.add_argument("--quiet", action="store_true", help="print nothing but errors")
    if words[:1] == ["measure"] and (name := _estimator_in(words)) is not None:
        if name not in ESTIMATORS:
            measure.error(unknown("--estimator", name, ESTIMATORS))
        add_options(measure.add_argument_group(f"options of {name}"), name)
    measure.set_defaults(function=commands.measure)

    merge = subparsers.add_parser("merge", help="join runs of one configuration over different seeds")
    merge.add_argument("files", nargs="+", metavar="FILE")
    merge.add_argument("--out", required=True, metavar="FILE.npz")
    merge.add_argument("--force", action="store_true", help="overwrite the file if it exists")
    merge.set_defaults(function=commands.merge)

    rerun = subparsers.add_parser("rerun", help="repeat the run of a file and compare every array")
    rerun.add_argument("file", metavar="FILE")
    rerun.add_argument("--quiet", action="store_true", help="print nothing but the comparison")
    rerun.set_defaults(function=_rerun)
    return parser


def _estimator_in(words: list[str]) -> str | None:
    """The estimator named on the command line, which decides what options there are."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--estimator", nargs="?")
    name: str | None = first.parse_known_args(words)[0].estimator
    return name
