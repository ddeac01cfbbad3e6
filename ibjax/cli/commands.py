"""The commands that read what a run has written: `ibjax info`, `plot`, `animate`, `report`, `tensorboard`, `bound`,
`measure`, `merge`.

Each takes the parsed arguments and returns the exit status.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import ibjax
from ibjax._checks import distinct, unknown
from ibjax._files import atomic_write
from ibjax._workers import interruptible
from ibjax.analysis.task import task_joint
from ibjax.cli.options import UsageError, config_of, options_of, refuse, toml
from ibjax.cli.output import (
    check_output,
    escape,
    load_trajectory,
    prepare_compiler,
    print_results,
    print_wrapped,
    report_broken_bounds,
    shorten,
)
from ibjax.data.spherical import DATASETS
from ibjax.information.estimator import estimator_class
from ibjax.npz import write_arrays
from ibjax.progress import count_bar, duration
from ibjax.reporting.tensorboard import EVENTS, import_tensorboardx
from ibjax.trajectory.provenance import facts
from ibjax.trajectory.schema import LABELS, SCALARS
from ibjax.trajectory.summary import data_set


def info(arguments: argparse.Namespace) -> int:
    """What files hold; 1 where values break their bounds."""
    sound = True
    for path in arguments.file:
        trajectory = load_trajectory(path, arguments.estimator)
        print_wrapped(f"{path}: {trajectory!r}", 2)
        print()
        for key, value in facts(trajectory).items():
            print_wrapped(f"  {escape(key):16} {shorten(value)}", 19)
        patterns = "" if "train_mask" in trajectory.absent else f"{trajectory.train_mask.shape[1]} patterns; "
        print(f"  {'data set':16} {patterns}{data_set(trajectory)}\n")
        for key, array in trajectory.arrays().items():
            if key in ("seeds", "epochs") or key not in ("schema_version", *LABELS, *SCALARS):  # those are text above
                print(f"  {key:24} {array.dtype!s:8} {array.shape}")
        print()
        print_results(trajectory)
        sound = report_broken_bounds(trajectory) and sound
    return 0 if sound else 1


def config(arguments: argparse.Namespace) -> int:
    """A configuration as TOML."""
    print(toml(config_of(arguments)), end="")
    return 0


def plot(arguments: argparse.Namespace) -> int:
    """The figures of a run as files; those that need arrays the file lacks are left out."""
    trajectory = load_trajectory(arguments.file, arguments.estimator)
    folder = Path(arguments.out)
    drawings: dict[str, Callable[[ibjax.Trajectory], Any]] = {
        "snapshots": ibjax.figures.plane_snapshots,
        "trajectories": ibjax.figures.plane_trajectories,
        "gradients": ibjax.figures.gradients,
        "information": ibjax.figures.information_over_epochs,
        "accuracy": ibjax.figures.loss_and_accuracy,
    }
    paths = {name: folder / f"{_stem(arguments)}_{name}.{arguments.format}" for name in drawings}
    _make_folder(folder)
    for path in paths.values():
        check_output(path, force=arguments.force)
    with ibjax.figures.style():
        for name, draw in drawings.items():
            try:
                figure: Any = draw(trajectory).figure  # of a figure, itself
            except ibjax.TrajectoryError as error:
                print(f"ibjax plot: {name} left out: {error}", file=sys.stderr)
                continue
            if arguments.width is not None:  # panels keep their heights, texts their sizes
                width, height = figure.get_size_inches()
                figure.set_size_inches(width * arguments.width / ibjax.figures.COLUMN, height)
            _write_figure(figure, paths[name], arguments)
            print(paths[name])
    return 0


def _stem(arguments: argparse.Namespace) -> str:
    """How names of files made of a file begin: as its own, and with the estimator that was named."""
    return "_".join(filter(None, (Path(arguments.file).stem, arguments.estimator)))


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out = {str(folder)!r} cannot be made a folder: {error.strerror or error}") from error


def _write_figure(figure: Any, path: Path, arguments: argparse.Namespace) -> None:
    """The file of a figure, whole or not at all; its ending decides the format."""
    with atomic_write(path, overwrite=arguments.force) as temporary:
        figure.savefig(temporary, dpi=300, format=path.suffix[1:].lower())
    arguments.written.append(path)


def animate(arguments: argparse.Namespace) -> int:
    """The information plane of a run as a movie."""
    trajectory = load_trajectory(arguments.file, arguments.estimator)
    movie_path = ibjax.figures.movie.movie_path
    with refuse("--out: "):
        stem = _stem(arguments)
        path = movie_path(arguments.out) if arguments.out else Path(stem + movie_path(stem.replace(".", "_")).suffix)
    if path.suffix.lower() == ".gif" and Path(arguments.out or "").suffix != path.suffix:
        print("ibjax animate: a .gif, as the program ffmpeg is not found", file=sys.stderr)
    check_output(path, force=arguments.force)
    with refuse(), count_bar("drawing") as report:
        written = ibjax.figures.save_animation(trajectory, path, fps=arguments.fps, progress=report)
    arguments.written.append(written)
    print(written)
    return 0


def report(arguments: argparse.Namespace) -> int:
    """Runs as one page for a browser."""
    path = Path(arguments.out)
    if path.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--out = {arguments.out!r}; allowed: a name that ends in .html")
    check_output(path, force=arguments.force)
    names = [Path(file).name for file in arguments.files]
    if len(set(names)) < len(names):  # of one name in different folders
        with refuse():
            names = list(distinct("FILE", tuple(arguments.files)))
    runs = {name: load_trajectory(file) for name, file in zip(names, arguments.files, strict=True)}
    if arguments.bound and any(task_joint(run) is not None for run in runs.values()):
        prepare_compiler()
    try:
        with refuse():
            written = ibjax.report(runs, path, bound=arguments.bound, overwrite=arguments.force)
    except ModuleNotFoundError as error:
        raise UsageError(str(error)) from error
    arguments.written.append(written)
    print(written)
    return 0


def tensorboard(arguments: argparse.Namespace) -> int:
    """Runs as TensorBoard's event files, each in a folder of its own."""
    try:
        import_tensorboardx()
    except ModuleNotFoundError as error:
        raise UsageError(str(error)) from error
    with refuse():
        stems = distinct("the names of FILE", tuple(Path(file).stem for file in arguments.files))
    runs = {Path(arguments.out, stem): load_trajectory(file) for stem, file in zip(stems, arguments.files, strict=True)}
    for folder in runs:
        _make_folder(folder)
        check_output(folder / EVENTS, force=arguments.force)
    for folder, run in runs.items():
        ibjax.write_tensorboard(run, folder, networks=arguments.networks, overwrite=arguments.force)
        arguments.written.append(folder)
        print(folder)
    return 0


def bound(arguments: argparse.Namespace) -> int:
    """The information curve of a task, or of the task of a run, with the ends of its layers."""
    if arguments.of not in DATASETS and not Path(arguments.of).exists():
        raise UsageError(f"{unknown('TASK', arguments.of, DATASETS)}, or the file of a run")
    trajectory = None if arguments.of in DATASETS else load_trajectory(arguments.of)
    if trajectory is None:
        task, joint = arguments.of, ibjax.spherical_dataset(arguments.of).joint
    else:
        task, joint = _task_of(arguments.of, trajectory)
    if arguments.plot:
        from matplotlib.backend_bases import FigureCanvasBase  # here, so that nothing else waits for matplotlib

        endings = [f".{kind}" for kind in FigureCanvasBase.filetypes if kind != "pgf"]  # which needs LaTeX
        if Path(arguments.plot).suffix.lower() not in endings:
            raise UsageError(f"--plot = {arguments.plot!r}; allowed: a name that ends in {', '.join(endings)}")
    for option in ("out", "plot"):
        if path := getattr(arguments, option):
            check_output(Path(path), force=arguments.force, option=f"--{option}")
    prepare_compiler()
    with refuse():
        curve = ibjax.information_curve(joint, arguments.betas)
    print(f"information curve of {task}: it ends at ({curve.h_sufficient:.6f}, {curve.i_xy:.6f} = I(X;Y)) bits")
    print("        beta     I(X;T)     I(T;Y)   clusters")
    for beta, i_x, i_y, count, done in zip(*curve[:3], curve.cardinality, curve.converged, strict=True):
        print(f"{beta:12.6g} {i_x:10.6f} {i_y:10.6f} {count:10}{'' if done else '   not converged'}")
    critical = ibjax.bottleneck.critical_betas(joint)
    splits = ", ".join(f"{beta:.6g} ({count})" for beta, count in zip(*critical[2:], strict=True))
    print(f"onset at beta = {critical.onset:.6f} (T = constant is unstable from {critical.instability:.6f})")
    print_wrapped(f"clusters are added at beta = {splits or 'none'}", 2)
    if arguments.out:
        arrays = {name: np.asarray(value) for name, value in curve._asdict().items()}
        arguments.written.append(write_arrays(arguments.out, arrays, overwrite=arguments.force))
    if arguments.plot:
        with ibjax.figures.style():
            drawn: Any = ibjax.figures.information_curve(curve, trajectory)
            _write_figure(drawn.figure, Path(arguments.plot), arguments)
    return 0


def _task_of(path: str, trajectory: ibjax.Trajectory) -> tuple[str, npt.NDArray[np.float64]]:
    """The name of the task of a file, its own where it holds the task, and p(x, y)."""
    with refuse():
        joint = task_joint(trajectory)
    if joint is None:
        raise UsageError(
            f"{path!r} was trained on a custom data set, which no file holds; allowed: a run on "
            f"{', '.join(DATASETS)} (for others, ibjax.information_curve(dataset.joint) in Python)"
        )
    return (path if "p_y_given_x" in trajectory.extras else str(trajectory.config["config"]["dataset"])), joint


def measure(arguments: argparse.Namespace) -> int:
    """Another estimator on the stored weights of a run."""
    name = arguments.estimator
    trajectory = load_trajectory(arguments.file)
    path = Path(arguments.out or f"{Path(arguments.file).stem}_{name}.npz")
    check_output(path, force=arguments.force)
    if "recorder" in trajectory.config:
        raise UsageError(
            f"{arguments.file!r} is of a recorder, which keeps no weights; allowed: the file of a run with "
            "--store-weights (a recorder measures with further ones itself: Recorder(estimators=...))"
        )
    if missing := [part for part in ("dataset", "network") if part in trajectory.config.get("custom", [])]:
        raise UsageError(
            f"{arguments.file!r} was trained with a custom {' and '.join(missing)}, which no file holds; allowed: "
            f"ibjax.measure(..., {', '.join(f'{part}=...' for part in missing)}) in Python"
        )
    prepare_compiler()
    with interruptible(second_kills=True), refuse():
        options = options_of(arguments, estimator_class(name))
        if arguments.quiet:
            measured = ibjax.measure(trajectory, name, **options)
        else:
            with count_bar("measuring") as show:
                measured = ibjax.measure(trajectory, name, progress=_foretell(show), **options)
    measured.save(path, overwrite=arguments.force)
    arguments.written.append(path)
    report_broken_bounds(measured)
    if not arguments.quiet:
        print_results(measured)
        print(f"\nwritten to {path}")
    return 0


def _foretell(show: Callable[[int, int], None]) -> Callable[[int, int], None]:
    """`show`, which is called with (done, total), after a line that says how long it takes in all."""
    began: list[float] = []

    def report(done: int, total: int) -> None:
        if done == 1:  # all is compiled
            began.append(time.perf_counter())
        elif done > 2 and began:  # each of two cores has measured something
            print(f"measuring takes about {duration((time.perf_counter() - began.pop()) / (done - 1) * total)}")
        show(done, total)

    return report


def merge(arguments: argparse.Namespace) -> int:
    """Runs over different seeds as one."""
    path = Path(arguments.out)
    check_output(path, force=arguments.force)
    with refuse():
        joint = ibjax.concatenate([load_trajectory(file) for file in arguments.files])
    joint.of_seeds(sorted(joint.seeds.tolist())).save(path, overwrite=arguments.force)
    print(f"{joint.seeds.size} seeds written to {path}")
    return 0
