"""The information plane as a movie.

Shapes: S seeds, E logged epochs, L layers. Both axes in bits.
"""

import errno
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.animation import FFMpegWriter, FuncAnimation, PillowWriter
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from ibjax import _checks
from ibjax._files import atomic_write
from ibjax.analysis.statistics import mean_over_seeds
from ibjax.figures.plane import draw_snapshot
from ibjax.figures.style import legend_inside, network_count, style
from ibjax.trajectory.trajectory import Trajectory


def frame_indices(epochs: npt.NDArray[np.int64], frames: int) -> npt.NDArray[np.int64]:
    """(frames,) index of the logged epoch each frame shows: the nearest to equal steps of log(1 + epoch).

    Where few epochs were logged one is shown for several frames: nothing is made up in between.
    """
    moments = np.expm1(np.linspace(np.log1p(epochs[0]), np.log1p(epochs[-1]), frames))
    return np.asarray(np.abs(epochs[None, :] - moments[:, None]).argmin(axis=1), np.int64)


def animate(trajectory: Trajectory, *, frames: int = 200, fps: int = 20) -> FuncAnimation:
    """All networks moving through the plane, epochs passing at equal steps of log(1 + epoch).

    The title tells epoch and mean test accuracy (training accuracy where there are no test patterns; none
    where the training loop gave none).

    Args:
      frames: how many, 2 to 100,000, besides one second's stay on the last.
      fps: frames per second, 1 to 100 (a GIF counts hundredths of a second).

    Raises:
      ValueError, TypeError: another number of frames, in all or per second.
    """
    _checks.integer("frames", frames, 2, 100_000)
    _checks.integer("fps", fps, 1, 100)
    indices = frame_indices(trajectory.epochs, frames)
    indices = np.append(indices, np.full(fps, indices[-1]))
    titles = [f"epoch {epoch}" for epoch in trajectory.epochs]
    for kind, key in (("test", "test_accuracy"), ("training", "train_accuracy")):
        if key not in trajectory.absent:
            accuracy = mean_over_seeds(trajectory, key, resamples=1).mean
            if kind == "training" or not np.isnan(accuracy).all():
                titles = [f"{text},  {kind} accuracy {value:.3f}" for text, value in zip(titles, accuracy, strict=True)]
                break
    places = np.stack([trajectory.i_xt, trajectory.i_ty], axis=-1)[trajectory.healthy]
    with style():
        figure = Figure(figsize=(4.0, 3.2), layout="constrained")
        ax = figure.add_subplot()
        layers = draw_snapshot(ax, trajectory, int(indices[0]))
        legend_inside(ax)

    def update(index: int) -> list[PathCollection]:
        for layer, points in enumerate(layers):
            points.set_offsets(places[:, index, layer])
        # The text alone: the title keeps the type that it was made with.
        ax.title.set_text(f"{titles[index]}\n" + network_count(trajectory).replace("\n", " "))
        return layers

    update(int(indices[0]))
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # or the axes would shift with the title's length
    return FuncAnimation(figure, update, frames=indices.tolist(), interval=1000.0 / fps, blit=False)


def movie_path(path: str | os.PathLike[str]) -> Path:
    """Where a movie asked for as `path` goes: with no ending it gets `.mp4` where ffmpeg is found, else `.gif`.

    Raises:
      ValueError: another ending than these, or `.mp4` without ffmpeg.
    """
    target, ffmpeg = Path(path), FFMpegWriter.isAvailable()
    ending = target.suffix.lower()
    if ending not in (".mp4", ".gif", ""):
        raise ValueError(f"path = {os.fspath(path)!r}; allowed: the ending .mp4, .gif or none")
    if ending == ".mp4" and not ffmpeg:
        raise ValueError(f"path = {os.fspath(path)!r} needs the program ffmpeg, which is not found; allowed: .gif")
    return target if ending else target.with_name(target.name + (".mp4" if ffmpeg else ".gif"))


def save_animation(
    trajectory: Trajectory,
    path: str | os.PathLike[str],
    *,
    frames: int = 200,
    fps: int = 20,
    dpi: int = 150,
    progress: Callable[[int, int], object] | None = None,
) -> Path:
    """Write the movie, MP4 (which needs the program ffmpeg) or GIF.

    Args:
      path: with the ending `.mp4`, `.gif`, or none: then `.mp4` is appended where ffmpeg is found, else `.gif`. An
        existing file is replaced.
      frames, fps: as for `animate`.
      dpi: pixels per inch of a movie of 4 x 3.2 inches.
      progress: called with (frames done, frames in all).

    Returns:
      Where the movie is.

    Raises:
      ValueError: another ending, `.mp4` without ffmpeg, or an option out of range.
      OSError: the file cannot be written.
    """
    target = movie_path(path)
    mp4 = target.suffix.lower() == ".mp4"
    with atomic_write(target, suffix=target.suffix) as temporary:
        movie = animate(trajectory, frames=frames, fps=fps)
        writer = FFMpegWriter(fps=fps) if mp4 else PillowWriter(fps=fps)
        try:
            movie.save(os.fspath(temporary), writer=writer, dpi=dpi, progress_callback=progress)
        except (subprocess.CalledProcessError, BrokenPipeError) as error:  # ffmpeg has written its reason to the log
            raise OSError(errno.EIO, f"ffmpeg failed ({error})", os.fspath(target)) from error
    return target
