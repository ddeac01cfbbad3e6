"""The command line: `ibjax run`, `info`, `plot`, `animate`, `merge`.

What needs the compiler is imported only after all of the user's input has been checked.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ibjax import __version__
from ibjax.config import PRESETS, Config, choices
from ibjax.data import unknown

if TYPE_CHECKING:
    from ibjax.trajectory import Trajectory

_INTERRUPTED = 130  # 128 + SIGINT, as shells do


class UsageError(Exception):
    """What the user asked for cannot be done; the message says why and what can."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
      0; 1 where a file cannot be read or written; 2 where the input is not allowed; 130 after Ctrl-C.
    """
    parser = _parser()
    try:
        arguments = parser.parse_args(argv)
    except SystemExit as done:  # argparse has said what there is to say
        return int(done.code or 0)
    command: Callable[[argparse.Namespace], int] = arguments.function
    try:
        return command(arguments)
    except UsageError as error:
        print(f"ibjax {arguments.command}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader has seen enough; nothing more may be written to it, at exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print(f"\nibjax {arguments.command}: interrupted; nothing was written", file=sys.stderr)
        return _INTERRUPTED


def _run(arguments: argparse.Namespace) -> int:
    config = _config(arguments)
    path = Path(f"{arguments.preset}.npz" if arguments.out is None else arguments.out)
    _check_output(path, force=arguments.force)
    began = time.perf_counter()
    import ibjax  # here, not above: the compiler's start-up is not for those who mistype an option

    _keep_compiled_programs()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "[0-9]+ of [0-9]+ networks diverged", RuntimeWarning)  # the table says so
        try:
            trajectory = ibjax.run(config, progress=not arguments.quiet)
        except (ValueError, TypeError) as error:
            raise UsageError(str(error)) from error
    try:
        trajectory.save(path, overwrite=arguments.force)
    except OSError as error:
        return _failed("run", f"cannot write {str(path)!r}: {error.strerror or error}; the results are lost")
    if not arguments.quiet:
        _print_results(trajectory)
        print(f"\n{time.perf_counter() - began:.1f} s; written to {path}")
    return 0


def _keep_compiled_programs() -> None:
    """Compiled programs are kept for the next call, unless the user has said where or that they are not."""
    import jax

    if not {"JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE"} & os.environ.keys():
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(home / "ibjax" / "programs"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def _info(arguments: argparse.Namespace) -> int:
    for path in arguments.file:
        trajectory = _load(path)
        config = trajectory.config
        print(f"{path}: {trajectory!r}\n")
        for key, value in config.get("config", {}).items():
            print(f"  {key:16} {_short(value)}")
        print()
        for key in ("custom", "versions", "device_kind", "command"):
            if config.get(key):
                print(f"  {key:16} {_short(config[key])}")
        print(f"  {'data set':16} {trajectory.train_mask.shape[1]} patterns; I(X;Y) {trajectory.i_xy:.4f}, ", end="")
        print(f"H(X) {trajectory.h_x:.4f}, H(Y) {trajectory.h_y:.4f} bits")
        for key in sorted(trajectory.extras):
            print(f"  {key:16} {trajectory.extras[key].dtype} {trajectory.extras[key].shape}")
        print()
        _print_results(trajectory)
    return 0


def _plot(arguments: argparse.Namespace) -> int:
    trajectory = _load(arguments.file)
    folder = Path(arguments.out)
    from ibjax import figures

    def figure(of: Any) -> Any:
        return of if hasattr(of, "savefig") else of.figure

    drawings: dict[str, Callable[[Trajectory], Any]] = {
        "snapshots": figures.plane_snapshots,
        "trajectories": figures.plane_trajectories,
        "gradients": figures.gradients,
        "information": figures.information_over_epochs,
        "accuracy": figures.loss_and_accuracy,
    }
    paths = {name: folder / f"{Path(arguments.file).stem}_{name}.png" for name in drawings}
    folder.mkdir(parents=True, exist_ok=True)
    for path in paths.values():
        _check_output(path, force=True)  # figures are made from the file, and made again at will
    with figures.style():
        for name, draw in drawings.items():
            figure(draw(trajectory)).savefig(paths[name], dpi=300)
            print(paths[name])
    return 0


def _animate(arguments: argparse.Namespace) -> int:
    trajectory = _load(arguments.file)
    from matplotlib.animation import FFMpegWriter

    from ibjax import figures

    suffix = ".mp4" if FFMpegWriter.isAvailable() else ".gif"
    path = Path(arguments.out or Path(arguments.file).with_suffix(suffix).name)
    _check_output(path, force=arguments.force)
    try:
        print(figures.save_animation(trajectory, path))
    except ValueError as error:
        raise UsageError(str(error)) from error
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
    accuracies = []
    for part in ("train", "test"):
        last = getattr(trajectory, f"{part}_accuracy")[trajectory.healthy, -1]
        accuracies.append(f"{part} accuracy {last.mean():.3f}" if np.isfinite(last).any() else f"no {part} patterns")
    print(f"  epoch {trajectory.epochs[-1]:,}: {', '.join(accuracies)}, means of {len(last)} networks")
    if lost := int(trajectory.diverged.sum()):
        print(f"  {lost} of {len(trajectory.seeds)} networks diverged and are left out of every mean")
    bounds = check_bounds(trajectory)
    if not bounds.ok:
        print(f"  ERROR: information values break their bounds\n{bounds}")


def _check_output(path: Path, *, force: bool) -> None:
    """Refuses, before any work, a path that cannot be written."""
    folder = path.parent
    if path.is_dir():
        raise UsageError(f"--out = {str(path)!r} is a folder; allowed: the name of a file")
    if path.exists() and not force:
        raise UsageError(f"--out = {str(path)!r} exists; --force overwrites it")
    if not folder.is_dir():
        raise UsageError(f"--out = {str(path)!r}: there is no folder {str(folder)!r}")
    try:
        # Tried, not asked: permissions, read-only mounts and quotas all answer the same way.
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(f"--out = {str(path)!r} cannot be written: {error.strerror or error}") from error


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    if isinstance(value, list) and len(value) > 16:
        return f"{', '.join(map(str, value[:6]))} ... {value[-1]} ({len(value)} of them)"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _config(arguments: argparse.Namespace) -> Config:
    if arguments.preset not in PRESETS:
        raise UsageError(unknown("--preset", arguments.preset, tuple(PRESETS)))
    changes = {}
    for field in dataclasses.fields(Config):
        text = getattr(arguments, field.name)
        if text is not None:
            changes[field.name] = _parsed(field, text)
    try:
        return dataclasses.replace(PRESETS[arguments.preset], **changes)
    except (ValueError, TypeError) as error:
        raise UsageError(str(error)) from error


def _parsed(field: dataclasses.Field[Any], text: Any) -> Any:
    """The value of an option, by the type of its field; `Config` checks whether it is allowed."""
    kind = str(field.type)
    if not isinstance(text, str):
        return text
    if "None" in kind and text in ("none", "all"):
        return None
    option = _option(field.name)
    try:
        if field.name == "seeds" and (span := re.fullmatch(r"(\d+):(\d+)", text)):
            return tuple(range(int(span[1]), int(span[2])))
        if "tuple" in kind and ("," in text or "int |" not in kind):
            return tuple(int(item) for item in text.split(",") if item.strip())
        if "int" in kind:
            return int(text)
        return float(text) if "float" in kind else text
    except ValueError:
        allowed = {"seeds": "N, A:B or a comma-separated list"}.get(
            field.name, "comma-separated integers" if "tuple" in kind else "an integer" if "int" in kind else "a number"
        )
        raise UsageError(f"{option} = {text!r}; allowed: {allowed}") from None


def _option(field: str) -> str:
    return "--" + field.replace("_", "-")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message} (see {self.prog} --help)", file=sys.stderr)
        raise SystemExit(2)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="ibjax", description="The information plane of ensembles of neural networks.")
    parser.add_argument("--version", action="version", version=f"ibjax {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="train an ensemble and measure every layer", allow_abbrev=False)
    run.add_argument("--preset", default="paper", metavar="NAME", help=f"start from {', '.join(PRESETS)} (paper)")
    run.add_argument("--out", metavar="FILE.npz", help="where the trajectory goes (PRESET.npz)")
    run.add_argument("--force", action="store_true", help="overwrite the file if it exists")
    run.add_argument("--quiet", action="store_true", help="print nothing but errors")
    fields = run.add_argument_group("configuration", "each overrides the preset; defaults of `paper` in parentheses")
    for field, text in _field_help():
        _add_field(fields, field, text)
    run.set_defaults(function=_run)

    info = commands.add_parser("info", help="print what a file holds")
    info.add_argument("file", nargs="+", metavar="FILE")
    info.set_defaults(function=_info)

    plot = commands.add_parser("plot", help="draw the information plane, the gradients and the accuracies")
    plot.add_argument("file", metavar="FILE")
    plot.add_argument("--out", default=".", metavar="DIR", help="folder of the PNGs (here)")
    plot.set_defaults(function=_plot)

    animate = commands.add_parser("animate", help="draw the information plane as a movie")
    animate.add_argument("file", metavar="FILE")
    animate.add_argument("--out", metavar="MOVIE", help=".mp4 (needs ffmpeg) or .gif (FILE.mp4 or FILE.gif, here)")
    animate.add_argument("--force", action="store_true", help="overwrite the movie if it exists")
    animate.set_defaults(function=_animate)

    merge = commands.add_parser("merge", help="join runs of one configuration over different seeds")
    merge.add_argument("files", nargs="+", metavar="FILE")
    merge.add_argument("--out", required=True, metavar="FILE.npz")
    merge.add_argument("--force", action="store_true", help="overwrite the file if it exists")
    merge.set_defaults(function=_merge)
    return parser


def _field_help() -> Iterator[tuple[dataclasses.Field[Any], str]]:
    """Each field of `Config` with what its docstring says of it."""
    described = dict(re.findall(r"^ {6}(\w+): (.+(?:\n {8}.+)*)", Config.__doc__ or "", flags=re.MULTILINE))
    for field in dataclasses.fields(Config):
        yield field, " ".join(described[field.name].replace("`", "").split())


def _add_field(group: argparse._ArgumentGroup, field: dataclasses.Field[Any], text: str) -> None:
    default = field.default
    if isinstance(default, bool):
        group.add_argument(_option(field.name), action=argparse.BooleanOptionalAction, help=f"{text} ({default})")
        return
    shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
    names = choices(field.name)
    metavar = "NAME" if names else {"seeds": "N|A:B", "logged_epochs": "N|E,E,..", "hidden_widths": "W,W,.."}.get(
        field.name, "X" if isinstance(default, float) else "N"
    )  # fmt: skip
    group.add_argument(_option(field.name), metavar=metavar, help=f"{text} ({shown})".replace("%", "%%"))
