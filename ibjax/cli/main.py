"""The command line: `ibjax run`, `info`, `plot`, `animate`, `bound`, `measure`, `merge`, `rerun`.

`ibjax` is imported as a whole, whose names import their modules when first used: what needs the compiler does not wait
for it before all of the user's input has been checked.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn

import ibjax
from ibjax._checks import unknown
from ibjax.cli import commands, train
from ibjax.cli.options import UsageError, add_fields, add_options
from ibjax.cli.output import fail, hint_checkpoint
from ibjax.config import PRESETS
from ibjax.information.estimator import ESTIMATORS

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
    arguments.written = []  # paths of whole files, which an interrupt leaves
    try:
        return command(arguments)
    except UsageError as error:
        return fail(arguments.command, str(error), status=2)
    except BrokenPipeError:  # the reader has seen enough; nothing more may be written to it, at exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        where = f"{str(error.filename)!r}: " if error.filename is not None else ""
        return fail(arguments.command, f"{where}{error.strerror or error}")
    except KeyboardInterrupt:
        written = ", ".join(map(str, arguments.written))
        rest = f"written before: {written}" if written else "nothing was written"
        print(file=sys.stderr)
        return fail(arguments.command, f"interrupted; {hint_checkpoint(arguments) or rest}", status=_INTERRUPTED)
    except SystemExit as end:  # SIGTERM, while there was a checkpoint to bring up to date
        return fail(arguments.command, f"terminated; {hint_checkpoint(arguments)}", status=int(end.code or 0))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message} (see {self.prog} --help)", file=sys.stderr)
        raise SystemExit(2)


def _argument(name: str, text: str | None = None, **options: Any) -> tuple[str, dict[str, Any]]:
    return name, {"help": text, **options}


def _switch(name: str, text: str) -> tuple[str, dict[str, Any]]:
    return _argument(name, text, action="store_true")


class _Command(NamedTuple):
    """A command of the command line.

    Attributes:
      function: what it does with the parsed arguments; returns the exit status.
      help: a line on it.
      arguments: names of arguments, with what argparse is told of them.
      options: further ones of the parser.
    """

    function: Callable[[argparse.Namespace], int]
    help: str
    arguments: Sequence[tuple[str, dict[str, Any]]]
    options: dict[str, Any] = {}  # noqa: RUF012  (never changed)


_FILE = _argument("file", metavar="FILE")
_FORCE = _switch("--force", "overwrite the file if it exists")
_QUIET = _switch("--quiet", "print nothing but errors")

_COMMANDS = {
    "run": _Command(
        train.run,
        "train an ensemble and measure every layer",
        [
            _argument("--preset", f"start from {', '.join(PRESETS)} (paper)", default="paper", metavar="NAME"),
            _argument("--out", "where the trajectory goes (PRESET.npz)", metavar="FILE.npz"),
            _FORCE,
            _QUIET,
            _argument("--checkpoint", "keep the state there; the same command goes on after a crash", metavar="DIR"),
            _argument(
                "--checkpoint-every",
                "at most every so often, and a twentieth of the time (30)",
                metavar="SECONDS",
            ),
        ],
        {"allow_abbrev": False},
    ),
    "info": _Command(commands.info, "print what a file holds", [_argument("file", nargs="+", metavar="FILE")]),
    "plot": _Command(
        commands.plot,
        "draw the information plane, the gradients and the accuracies",
        [
            _FILE,
            _argument("--out", "folder of the PNGs (here)", default=".", metavar="DIR"),
            _switch("--force", "overwrite PNGs that exist"),
        ],
    ),
    "animate": _Command(
        commands.animate,
        "draw the information plane as a movie",
        [
            _FILE,
            _argument("--out", ".mp4 (needs ffmpeg) or .gif (FILE.mp4 or FILE.gif, here)", metavar="MOVIE"),
            _switch("--force", "overwrite the movie if it exists"),
        ],
    ),
    "bound": _Command(
        commands.bound,
        "compute the information-bottleneck curve of a task or of a run's task",
        [
            _argument("of", "a task's name, or a run", nargs="?", default="spherical", metavar="TASK|FILE"),
            _argument("--betas", "slopes 1/B of the curve's points (80 from its onset on)", metavar="B,B"),
            _argument("--out", "write the curve there", metavar="FILE.npz"),
            _argument("--plot", "draw the curve, and where a run's layers end", metavar="FILE.png"),
            _switch("--force", "overwrite files that exist"),
        ],
    ),
    "measure": _Command(
        commands.measure,
        "apply another estimator to the stored weights of a run",
        [
            _argument("file", "a run with --store-weights", metavar="FILE"),
            _argument("--estimator", f"one of {', '.join(ESTIMATORS)}", required=True, metavar="NAME"),
            _argument("--out", "where the trajectory goes (FILE_NAME.npz, here)", metavar="FILE.npz"),
            _FORCE,
            _QUIET,
        ],
        {"description": "--estimator NAME --help shows the options of an estimator.", "allow_abbrev": False},
    ),
    "merge": _Command(
        commands.merge,
        "join runs of one configuration over different seeds",
        [
            _argument("files", nargs="+", metavar="FILE"),
            _argument("--out", required=True, metavar="FILE.npz"),
            _FORCE,
        ],
    ),
    "rerun": _Command(
        train.rerun,
        "repeat the run of a file and compare every array",
        [_FILE, _switch("--quiet", "print nothing but the comparison")],
    ),
}


def _parser(words: list[str]) -> argparse.ArgumentParser:
    parser = _Parser(prog="ibjax", description="The information plane of ensembles of neural networks.")
    parser.add_argument("--version", action="version", version=f"ibjax {ibjax.__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    parsers: dict[str, _Parser] = {}
    for name, command in _COMMANDS.items():
        parsers[name] = subparsers.add_parser(name, help=command.help, **command.options)
        for argument, options in command.arguments:
            parsers[name].add_argument(argument, **options)
        parsers[name].set_defaults(function=command.function)
    add_fields(
        parsers["run"].add_argument_group(
            "configuration", "each overrides the preset; the defaults shown are those of the preset paper"
        )
    )
    measure = parsers["measure"]
    if words[:1] == ["measure"] and (estimator := _estimator_in(words)) is not None:
        if estimator not in ESTIMATORS:
            measure.error(unknown("--estimator", estimator, ESTIMATORS))
        add_options(measure.add_argument_group(f"options of {estimator}"), estimator)
    return parser


def _estimator_in(words: list[str]) -> str | None:
    """The estimator named on the command line, which decides what options there are."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--estimator", nargs="?")
    name: str | None = first.parse_known_args(words)[0].estimator
    return name
