"""The command line: `ibjax run`, `info`, `plot`, `animate`, `bound`, `measure`, `merge`, `rerun`.

What needs the compiler is imported only after all of the user's input has been checked.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import stat
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ibjax import __version__
from ibjax.config import PRESETS
from ibjax.data import unknown
from ibjax.information.estimator import ESTIMATORS
from ibjax.options import UsageError, add_fields, add_options, config_of, options_of
from ibjax.schema import REQUIRED
from ibjax.storage import check_space, expected_bytes, size

if TYPE_CHECKING:
    from ibjax.config import Config
    from ibjax.data import Dataset
    from ibjax.trajectory import Trajectory

_INTERRUPTED = 130  # 128 + SIGINT, as shells do
_MOVIES = (".mp4", ".gif")


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
        return _failed(arguments.command, f"{where}{error.strerror or error}")
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
    _check_output(path, force=arguments.force)
    wanted = expected_bytes(config, dataset)
    free = check_space(path, wanted)
    options: dict[str, Any] = {} if dataset is None else {"dataset": dataset}
    if arguments.checkpoint is not None:
        options["checkpoint"] = arguments.checkpoint
        if arguments.checkpoint_every is not None:
            options["checkpoint_every"] = _numbers("--checkpoint-every", arguments.checkpoint_every)[0]
    elif arguments.checkpoint_every is not None:
        raise UsageError("--checkpoint-every without --checkpoint; allowed: together")
    note = f"{len(config.seed_list)} networks; the file takes about {size(wanted)}, free are {size(free)}"
    began = time.perf_counter()
    trajectory = _trained(config, "" if arguments.quiet else note, **options)
    if failure := _saved(trajectory, path, arguments):
        return _failed("run", failure)
    sound = _report_broken_bounds(trajectory)
    if not arguments.quiet:
        _print_results(trajectory)
        print(f"\n{time.perf_counter() - began:.1f} s; written to {path}")
    return 0 if sound else 1


def _trained(config: Config, note: str, **options: Any) -> Trajectory:
    """The run, with warnings as lines of this command; without a note, quietly, else with it as training begins."""
    import ibjax  # here, not above: the compiler's start-up is not for those who mistype an option

    _keep_compiled_programs()
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
    from ibjax.sources import ENDINGS, load_dataset

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


def _keep_compiled_programs() -> None:
    """Compiled programs are kept for the next call, unless the user has said where or that they are not."""
    import jax

    if not {"JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE"} & os.environ.keys():
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(home / "ibjax" / "programs"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def _info(arguments: argparse.Namespace) -> int:
    sound = True
    for path in arguments.file:
        trajectory = _load(path)
        origin = trajectory.config
        print(f"{path}: {trajectory!r}\n")
        config = origin.get("config")
        entries = dict(config) if isinstance(config, dict) else {}
        told = ("custom", "estimators", "measured", "versions", "device_kind", "command")
        entries |= {key: origin[key] for key in told if origin.get(key)}
        entries |= {"seeds held": trajectory.seeds.tolist(), "epochs logged": trajectory.epochs.tolist()}
        for key, value in entries.items():
            print(f"  {_printable(key):16} {_short(value)}")
        print(f"  {'data set':16} {trajectory.train_mask.shape[1]} patterns; I(X;Y) {trajectory.i_xy:.4f}, ", end="")
        print(f"H(X) {trajectory.h_x:.4f}, H(Y) {trajectory.h_y:.4f} bits\n")
        for key, array in _arrays(trajectory).items():
            print(f"  {key:24} {array.dtype!s:8} {array.shape}")
        print()
        _print_results(trajectory)
        sound = _report_broken_bounds(trajectory) and sound
    return 0 if sound else 1


def _plot(arguments: argparse.Namespace) -> int:
    trajectory = _load(arguments.file)
    folder = Path(arguments.out)
    from ibjax import figures

    drawings: dict[str, Callable[[Trajectory], Any]] = {
        "snapshots": figures.plane_snapshots,
        "trajectories": figures.plane_trajectories,
        "gradients": figures.gradients,
        "information": figures.information_over_epochs,
        "accuracy": figures.loss_and_accuracy,
    }
    paths = {name: folder / f"{Path(arguments.file).stem}_{name}.png" for name in drawings}
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out = {str(folder)!r} cannot be made a folder: {error.strerror or error}") from error
    for path in paths.values():
        _check_output(path, force=arguments.force)
    with figures.style():
        for name, draw in drawings.items():
            _figure(draw(trajectory)).savefig(paths[name], dpi=300)
            arguments.written.append(paths[name])
            print(paths[name])
    return 0


def _figure(of: Any) -> Any:
    return of if hasattr(of, "savefig") else of.figure


def _animate(arguments: argparse.Namespace) -> int:
    trajectory = _load(arguments.file)
    from matplotlib.animation import FFMpegWriter

    from ibjax import figures

    path = Path(arguments.out or Path(arguments.file).with_suffix("").name)
    if arguments.out and path.suffix.lower() not in (*_MOVIES, ""):
        raise UsageError(f"--out = {str(path)!r}; allowed: the ending .mp4, .gif or none")
    # What is checked must be what is written, which without ffmpeg is a GIF whatever the name.
    if path.suffix.lower() not in _MOVIES or (path.suffix.lower() == ".mp4" and not FFMpegWriter.isAvailable()):
        path = path.with_suffix(".mp4" if FFMpegWriter.isAvailable() else ".gif")
    _check_output(path, force=arguments.force)
    from ibjax.progress import counted

    with counted("drawing") as report:
        written = figures.save_animation(trajectory, path, progress=report)
    arguments.written.append(written)
    print(written)
    return 0


def _bound(arguments: argparse.Namespace) -> int:
    """The information curve of a task, or of the task of a run, with the ends of its layers."""
    from ibjax.data import DATASETS, spherical_dataset

    if arguments.of not in DATASETS and not Path(arguments.of).exists():
        raise UsageError(f"{unknown('TASK', arguments.of, DATASETS)}, or the file of a run")
    trajectory = None if arguments.of in DATASETS else _load(arguments.of)
    task = arguments.of
    if trajectory is not None:
        task = trajectory.config.get("config", {}).get("dataset")
        if task not in DATASETS or "dataset" in trajectory.config.get("custom", []):
            raise UsageError(
                f"{arguments.of!r} was trained on a data set of its own; allowed: a run on {', '.join(DATASETS)} "
                "(for others, ibjax.information_curve(dataset.joint) in Python)"
            )
    for option in ("out", "plot"):
        if path := getattr(arguments, option):
            _check_output(Path(path), force=arguments.force, option=f"--{option}")
    betas = None if arguments.betas is None else _numbers("--betas", arguments.betas)
    from ibjax.archive import write_arrays
    from ibjax.bottleneck import critical_betas, information_curve

    joint = spherical_dataset(task).joint
    try:
        curve = information_curve(joint, betas)
    except ValueError as error:
        raise UsageError(str(error)) from error
    print(f"information curve of {task}: it ends at ({curve.h_sufficient:.6f}, {curve.i_xy:.6f} = I(X;Y)) bits")
    print("        beta     I(X;T)     I(T;Y)   clusters")
    for beta, i_x, i_y, count, done in zip(*curve[:3], curve.cardinality, curve.converged, strict=True):
        print(f"{beta:12.6g} {i_x:10.6f} {i_y:10.6f} {count:10}{'' if done else '   not converged'}")
    critical = critical_betas(joint)
    splits = ", ".join(f"{beta:.6g} ({count})" for beta, count in zip(*critical[2:], strict=True))
    print(f"onset at beta = {critical.onset:.6f} (T = constant is unstable from {critical.instability:.6f})")
    print(f"clusters are added at beta = {splits or 'none'}")
    if arguments.out:
        import numpy as np

        arrays = {name: np.asarray(value) for name, value in curve._asdict().items()}
        arguments.written.append(write_arrays(arguments.out, arrays, overwrite=arguments.force))
    if arguments.plot:
        from ibjax import figures

        with figures.style():
            _figure(figures.information_curve(curve, trajectory)).savefig(arguments.plot, dpi=300)
        arguments.written.append(Path(arguments.plot))
    return 0


def _numbers(option: str, text: str) -> list[float]:
    try:
        return [float(item) for item in text.split(",")]
    except ValueError:
        raise UsageError(f"{option} = {text!r}; allowed: comma-separated numbers") from None


def _measure(arguments: argparse.Namespace) -> int:
    """Another estimator on the stored weights of a run."""
    name = arguments.estimator
    trajectory = _load(arguments.file)
    path = Path(arguments.out or f"{Path(arguments.file).stem}_{name}.npz")
    _check_output(path, force=arguments.force)
    options = options_of(arguments, name)
    custom = trajectory.config.get("custom") or []
    if own := [part for part in ("dataset", "network") if part in custom]:
        raise UsageError(
            f"{arguments.file!r} was trained with a {' and a '.join(own)} of its own; allowed: ibjax.measure(..., "
            f"{', '.join(f'{part}=...' for part in own)}) in Python"
        )
    import ibjax

    _keep_compiled_programs()
    try:
        measured = ibjax.measure(trajectory, name, progress=not arguments.quiet, **options)
    except (ValueError, TypeError) as error:
        raise UsageError(str(error)) from error
    measured.save(path, overwrite=arguments.force)
    arguments.written.append(path)
    _report_broken_bounds(measured)
    if not arguments.quiet:
        _print_results(measured)
        print(f"\nwritten to {path}")
    return 0


def _merge(arguments: argparse.Namespace) -> int:
    from ibjax.trajectory import TrajectoryError, concatenate

    path = Path(arguments.out)
    _check_output(path, force=arguments.force)
    try:
        joint = concatenate([_load(file) for file in arguments.files])
    except TrajectoryError as error:
        raise UsageError(str(error)) from error
    joint.of_seeds(sorted(joint.seeds.tolist())).save(path, overwrite=arguments.force)
    print(f"{joint.seeds.size} seeds written to {path}")
    return 0


def _rerun(arguments: argparse.Namespace) -> int:
    """Train a file's networks again, from what the file says of them, and compare all arrays."""
    from ibjax.rerun import conditions, recorded_config

    recorded = _load(arguments.file)
    try:
        config = recorded_config(recorded)
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


def _load(path: str) -> Trajectory:
    from ibjax.trajectory import TrajectoryError, load

    try:
        return load(path)
    except TrajectoryError as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise UsageError(f"cannot read {path!r}: {error.strerror or error}") from error


def _failed(command: str, message: str) -> int:
    print(f"ibjax {command}: {message}", file=sys.stderr)
    return 1


def _print_results(trajectory: Trajectory) -> None:
    """Information of each layer, accuracies, what was left out, and whether the bounds hold."""
    import numpy as np

    from ibjax.analysis import check_bounds, summary

    print("mean over networks, bits    I(X;T) start   peak    end    I(T;Y) start   peak    end")
    for row in summary(trajectory):
        name = f"{row.layer} ({row.width})"
        xt = f"{row.i_xt_start:6.2f} {row.i_xt_peak:6.2f} {row.i_xt_end:6.2f}"
        ty = f"{row.i_ty_start:6.3f} {row.i_ty_peak:6.3f} {row.i_ty_end:6.3f}"
        print(f"  {name:31} {xt}           {ty}")
    healthy = trajectory.healthy
    accuracies = []
    for part in ("train", "test"):
        last = getattr(trajectory, f"{part}_accuracy")[healthy, -1]
        accuracies.append(f"{part} accuracy {last.mean():.3f}" if np.isfinite(last).any() else f"no {part} patterns")
    if healthy.any():
        print(f"  epoch {trajectory.epochs[-1]:,}: {', '.join(accuracies)}, means of {healthy.sum()} networks")
    if lost := int(trajectory.diverged.sum()):
        print(f"  {lost} of {len(trajectory.seeds)} networks diverged and are left out of every mean")
    if inexact := _inexact(trajectory):
        print(f"  measured by {inexact}: not held to the bounds of exact values")
    elif check_bounds(trajectory).ok:
        print("  bounds: all values lie between 0 and what H(X) and I(X;Y) allow")


def _report_broken_bounds(trajectory: Trajectory) -> bool:
    """Values that cannot be are an error of the program or the file, said also to those who want quiet."""
    from ibjax.analysis import check_bounds

    if not (report := check_bounds(trajectory)).ok and not _inexact(trajectory):
        print(f"ERROR: information values break their bounds; do not trust them\n{report}", file=sys.stderr)
    return report.ok


def _inexact(trajectory: Trajectory) -> str:
    """By what the information was measured if not exactly, and what it then is; empty if exactly."""
    measured = trajectory.config.get("measured")
    if not isinstance(measured, dict) or all(measured.get(key) == "exact" for key in ("i_xt", "i_ty")):
        return ""
    what = f"I(X;T) {measured.get('i_xt')}, I(T;Y) {measured.get('i_ty')}"
    return _printable(f"{measured.get('estimator')} ({what})")


def _check_output(path: Path, *, force: bool, option: str = "--out") -> None:
    """Refuses, before any work, a path that cannot be written."""
    name = f"{option} = {str(path)!r}"
    target = Path(os.path.realpath(path))  # a link stays, what it points to is written
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        mode = None
    except OSError as error:  # a name too long, a file where a folder should be ...
        raise UsageError(f"{name} cannot be written: {error.strerror or error}") from error
    if mode is not None and stat.S_ISDIR(mode):
        raise UsageError(f"{name} is a folder; allowed: the name of a file")
    if mode is not None and not stat.S_ISREG(mode):
        raise UsageError(f"{name} is a device or a pipe; allowed: the name of a file")
    if mode is not None and not force:
        raise UsageError(f"{name} exists; --force overwrites it")
    if mode is not None and not os.access(target, os.W_OK):
        raise UsageError(f"{name} cannot be written: it is write-protected")
    if not target.parent.is_dir():
        raise UsageError(f"{name}: there is no folder {str(target.parent)!r}")
    try:
        # Tried, not asked: permissions, read-only mounts and quotas all answer the same way.
        with tempfile.NamedTemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        raise UsageError(f"{name} cannot be written: {error.strerror or error}") from error


def _arrays(trajectory: Trajectory) -> dict[str, Any]:
    """The measured arrays of the file by key; its other entries are printed as text."""
    from ibjax.schema import AXES

    return {key: getattr(trajectory, key) for key in ("seeds", "epochs", *AXES)} | dict(trajectory.extras)


def _printable(text: str) -> str:
    """A file is not trusted: what it says must not steer the terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _short(value: Any) -> str:
    if isinstance(value, dict):
        text = ", ".join(f"{key} {item}" for key, item in value.items())
    elif isinstance(value, list) and len(value) > 16:
        text = f"{', '.join(map(str, value[:6]))} ... {value[-1]} ({len(value)} of them)"
    elif isinstance(value, list):
        text = " ".join(map(str, value))
    else:
        text = value if isinstance(value, str) else json.dumps(value)
    return _printable(text)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message} (see {self.prog} --help)", file=sys.stderr)
        raise SystemExit(2)


def _parser(words: list[str]) -> argparse.ArgumentParser:
    parser = _Parser(prog="ibjax", description="The information plane of ensembles of neural networks.")
    parser.add_argument("--version", action="version", version=f"ibjax {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="train an ensemble and measure every layer", allow_abbrev=False)
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

    info = commands.add_parser("info", help="print what a file holds")
    info.add_argument("file", nargs="+", metavar="FILE")
    info.set_defaults(function=_info)

    plot = commands.add_parser("plot", help="draw the information plane, the gradients and the accuracies")
    plot.add_argument("file", metavar="FILE")
    plot.add_argument("--out", default=".", metavar="DIR", help="folder of the PNGs (here)")
    plot.add_argument("--force", action="store_true", help="overwrite PNGs that exist")
    plot.set_defaults(function=_plot)

    animate = commands.add_parser("animate", help="draw the information plane as a movie")
    animate.add_argument("file", metavar="FILE")
    animate.add_argument("--out", metavar="MOVIE", help=".mp4 (needs ffmpeg) or .gif (FILE.mp4 or FILE.gif, here)")
    animate.add_argument("--force", action="store_true", help="overwrite the movie if it exists")
    animate.set_defaults(function=_animate)

    bound = commands.add_parser("bound", help="compute the information-bottleneck curve of a task or of a run's task")
    bound.add_argument("of", nargs="?", default="spherical", metavar="TASK|FILE", help="a task's name, or a run")
    bound.add_argument("--betas", metavar="B,B", help="slopes 1/B of the curve's points (80 from its onset on)")
    bound.add_argument("--out", metavar="FILE.npz", help="write the curve there")
    bound.add_argument("--plot", metavar="FILE.png", help="draw the curve, and where a run's layers end")
    bound.add_argument("--force", action="store_true", help="overwrite files that exist")
    bound.set_defaults(function=_bound)

    measure = commands.add_parser(
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
    measure.set_defaults(function=_measure)

    merge = commands.add_parser("merge", help="join runs of one configuration over different seeds")
    merge.add_argument("files", nargs="+", metavar="FILE")
    merge.add_argument("--out", required=True, metavar="FILE.npz")
    merge.add_argument("--force", action="store_true", help="overwrite the file if it exists")
    merge.set_defaults(function=_merge)

    rerun = commands.add_parser("rerun", help="repeat the run of a file and compare every array")
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
