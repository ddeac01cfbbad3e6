"""The command line: `ibjax run`, `config`, `info`, `plot`, `animate`, `report`, `tensorboard`, `bound`, `measure`,
`merge`, `rerun`, `completion`.

`ibjax` is imported as a whole, whose names import their modules when first used: what needs the compiler does not wait
for it before all of the user's input has been checked.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NoReturn

import ibjax
from ibjax._checks import unknown
from ibjax._fields import Kind
from ibjax.cli import INTERRUPTED, commands, completion, grid, train
from ibjax.cli.log import STDOUT, Log
from ibjax.cli.options import RunError, UsageError, add_fields, add_options, millimetres, parse
from ibjax.cli.output import complaint, fail, hint_checkpoint
from ibjax.information.estimator import ESTIMATORS
from ibjax.presets import PRESETS


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
      0; 1 where a file cannot be read or written, values break their bounds or a run is not repeated to the bit;
      2 where the input is not allowed; 130 after Ctrl-C, 143 after SIGTERM where there is a checkpoint.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    arguments = argparse.Namespace(written=[], log=Log())  # paths of whole files, which an interrupt leaves
    try:
        try:
            _parser(words).parse_args(words, arguments)
        except SystemExit as done:  # argparse has said what there is to say
            return int(done.code or 0)
        return int(arguments.function(arguments))
    except UsageError as error:
        return fail(arguments, str(error), status=2)
    except BrokenPipeError:  # the reader has seen enough; nothing more may be written to it, at exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (RunError, OSError) as error:
        return fail(arguments, complaint(error))
    except KeyboardInterrupt:
        if "command" not in arguments:  # none has begun
            return INTERRUPTED
        written = ", ".join(map(str, arguments.written))
        rest = f"written before: {written}" if written else "nothing was written"
        print(file=sys.stderr)
        return fail(arguments, f"interrupted; {hint_checkpoint(arguments) or rest}", status=INTERRUPTED)
    except SystemExit as end:  # SIGTERM, while there was a checkpoint to bring up to date
        return fail(arguments, f"terminated; {hint_checkpoint(arguments)}", status=int(end.code or 0))
    finally:
        arguments.log.close()


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message} (see {self.prog} --help)", file=sys.stderr)
        raise SystemExit(2)

    def parse_known_args(self, *arguments: Any, **options: Any) -> Any:
        """Each command refuses what it does not know: the whole program would point to a help without its options."""
        parsed, strange = super().parse_known_args(*arguments, **options)
        if strange:
            self.error(f"unrecognized arguments: {' '.join(strange)}")
        return parsed, strange

    def add(self, name: str, metavar: str, text: str | None = None, **options: Any) -> None:
        self.add_argument(name, metavar=metavar, help=text, **options)


def _parser(words: list[str]) -> _Parser:
    parser = _Parser(prog="ibjax", description="The information plane of ensembles of neural networks.")
    parser.add_argument("--version", action="version", version=f"ibjax {ibjax.__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    file, force, quiet, held = (_Parser(add_help=False) for _ in range(4))
    file.add("file", "FILE")
    force.add_argument("--force", action="store_true", help="overwrite files that exist")
    quiet.add_argument("--quiet", action="store_true", help="print nothing but errors")
    held.add("--estimator", "NAME", "whose values, of those that the file holds (the first)")

    def command(function: Callable[[argparse.Namespace], int], text: str, *parents: _Parser, **options: Any) -> _Parser:
        added = subparsers.add_parser(function.__name__, help=text, parents=parents, **options)
        added.set_defaults(function=function)
        return added

    run = command(grid.run, "train an ensemble and measure every layer", force, quiet, allow_abbrev=False)
    _add_options_of_run(run)

    text = "print a configuration as TOML, which run --config reads"
    _add_configuration(command(commands.config, text, allow_abbrev=False))

    command(commands.info, "print what a file holds", held).add("file", "FILE", nargs="+")

    plot = command(commands.plot, "draw the information plane, the gradients and the accuracies", file, force, held)
    _add_options_of_plot(plot)

    animate = command(commands.animate, "draw the information plane as a movie", file, force, held)
    animate.add("--out", "MOVIE", ".mp4 (needs the program ffmpeg) or .gif (FILE.mp4 or else FILE.gif, here)")
    rate = partial(parse, "fps", Kind(int, True, False, False), {})
    animate.add("--fps", "N", "frames per second, 1 to 100 (20)", type=rate, default=20)

    report = command(commands.report, "write runs as one page for a browser, which needs no net", force)
    _add_options_of_report(report)

    tensorboard = command(commands.tensorboard, "write runs as event files, which TensorBoard shows", force)
    tensorboard.add("files", "FILE", "each becomes a run of its name: the mean over networks", nargs="+")
    tensorboard.add("--out", "DIR", "folder for tensorboard --logdir (tensorboard)", default="tensorboard")
    text = "each network, too, as a run below that of the mean"
    tensorboard.add_argument("--networks", action="store_true", help=text)

    bound = command(commands.bound, "compute the information-bottleneck curve of a task or of a run's task", force)
    _add_options_of_bound(bound)

    text = "apply another estimator to the stored weights of a run"
    more = "FILE: of a run with --store-weights. --estimator NAME --help shows the options of an estimator."
    measure = command(commands.measure, text, file, force, quiet, description=more, allow_abbrev=False)
    _add_options_of_measure(measure, words)

    merge = command(commands.merge, "join runs of one configuration over different seeds", force)
    merge.add("files", "FILE", nargs="+")
    merge.add("--out", "FILE.npz", required=True)

    rerun = command(train.rerun, "repeat the run of a file and compare every array", file)
    rerun.add_argument("--quiet", action="store_true", help="print nothing but the comparison")

    complete = command(completion.completion, "print a script that completes these words in a shell")
    complete.add_argument("shell", choices=completion.SHELLS, help="for which shell")
    complete.set_defaults(parser=parser, commands=subparsers.choices)
    return parser


def _add_options_of_run(run: _Parser) -> None:
    """Where a run goes, where it is trained, and its configuration."""
    run.add(
        "--out", "FILE.npz|FOLDER/", "where the trajectory goes (PRESET.npz); into a folder in pieces, to go on from"
    )
    run.add("--checkpoint", "DIR", "keep the state there; the same command goes on after a crash")
    text = "at most every so often, and a twentieth of the time (30)"
    run.add(
        "--checkpoint-every",
        "SECONDS",
        text,
        type=partial(parse, "checkpoint_every", Kind(float, True, False, False), {}),
    )
    text = "a run for each value of a field, or each combination of several --grid, in the folder --out; V;V for lists"
    run.add("--grid", "FIELD=V,V", text, action="append")
    text = "tell of the run in JSON, a line for each event; without FILE on standard output, and nothing else there"
    run.add("--log-json", "FILE", text, nargs="?", const=STDOUT)
    run.add("--scheduler", "ADDRESS", "let the workers of a Dask scheduler train, tcp://HOST:8786 say")
    run.add("--scheduler-file", "FILE", "the same, by the file that the scheduler has written")
    _add_configuration(run)


def _add_configuration(command: _Parser) -> None:
    """The preset, the file and the options that make a configuration."""
    command.add("--preset", "NAME", f"start from {', '.join(PRESETS)} (paper)", default="paper")
    command.add("--config", "FILE.toml", "what it says overrides the preset (ibjax config prints one)")
    text = "each overrides the preset and the file; the defaults shown are those of the preset paper"
    add_fields(command.add_argument_group("configuration", text))


def _add_options_of_plot(plot: _Parser) -> None:
    """Where the figures go, in what form."""
    plot.add("--out", "DIR", "folder of the figures (here)", default=".")
    plot.add_argument("--format", choices=("png", "pdf", "svg"), default="png", help="of the files (png)")
    plot.add("--width", "MM", "of a column, such as 85mm, 60 to 400 (86)", type=millimetres)


def _add_options_of_report(report: _Parser) -> None:
    """The runs, where the page goes, and what is left out."""
    report.add("files", "FILE", "a run, or several side by side", nargs="+")
    report.add("--out", "PAGE.html", "where the page goes (report.html)", default="report.html")
    text = "leave out the information curve of the runs' tasks, which takes some seconds"
    report.add_argument("--no-bound", dest="bound", action="store_false", help=text)


def _add_options_of_bound(bound: _Parser) -> None:
    """Whose curve, its points, and where it goes."""
    bound.add("of", "TASK|FILE", "a task's name, or a run", nargs="?", default="spherical")
    text = "slopes 1/B of the curve's points (80 from its onset on)"
    bound.add("--betas", "B,B", text, type=partial(parse, "betas", Kind(float, False, True, False), {}))
    bound.add("--out", "FILE.npz", "write the curve there")
    bound.add("--plot", "FILE.png", "draw the curve, and where a run's layers end")


def _add_options_of_measure(measure: _Parser, words: list[str]) -> None:
    """The estimator, where the trajectory goes, and, where that is the command, the options of the estimator."""
    measure.add("--estimator", "NAME", f"one of {', '.join(ESTIMATORS)}", required=True)
    measure.add("--out", "FILE.npz", "where the trajectory goes (FILE_NAME.npz, here)")
    if words[:1] == ["measure"]:
        _add_options_of_estimator(measure, words)


def _add_options_of_estimator(measure: _Parser, words: list[str]) -> None:
    """The options of the estimator named on the command line, which decides what options there are."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--estimator", nargs="?")
    if (estimator := first.parse_known_args(words)[0].estimator) is None:
        return
    if estimator not in ESTIMATORS:
        measure.error(unknown("--estimator", estimator, ESTIMATORS))
    add_options(measure.add_argument_group(f"options of {estimator}"), estimator)
