"""Quantities against the epoch: information, gradients, loss, weights.

Shapes: S seeds, E logged epochs, L layers. Lines are means over healthy seeds, geometric where the vertical axis is
logarithmic; bands are 95% bootstrap intervals of the mean, absent for one network. Epoch 0 has its place left of epoch
1 on the logarithmic axis.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ibjax import _checks
from ibjax.analysis.phases import check_gradients, normalised_gradients, phase_change
from ibjax.analysis.phases import snr as signal_to_noise
from ibjax.analysis.statistics import geometric_mean_over_seeds, mean_over_seeds
from ibjax.figures.style import (
    DASHED,
    I_TY,
    I_XT,
    bit_ticks,
    canvas,
    epoch_axis,
    fill_band,
    label,
    layer_looks,
    legend_below,
    mean_of,
    solid_and_dashed,
)
from ibjax.trajectory.schema import loss_label
from ibjax.trajectory.trajectory import Trajectory

_ACCURACY = "#00708A"


def information_over_epochs(trajectory: Trajectory, *, quantity: str = "i_xt", ax: Axes | None = None) -> Axes:
    """I(X;T) of every layer against the epoch, with a band.

    Args:
      quantity: `"i_xt"`, or `"i_ty"` for I(T;Y).

    Raises:
      ValueError: another quantity.
    """
    labels = {"i_xt": I_XT, "i_ty": I_TY}
    _checks.choice("quantity", quantity, tuple(labels))
    with canvas(ax) as ax:
        _layers(ax, trajectory, getattr(trajectory, quantity))
        ax.set_ylabel(labels[quantity])
        ax.set_ylim(0.0, 1.04 * (trajectory.h_x if quantity == "i_xt" else trajectory.i_xy))
        if quantity == "i_xt":
            bit_ticks(ax.yaxis)
        _finish(ax, trajectory)
        return ax


def gradients(trajectory: Trajectory, *, phase: bool = True, ax: Axes | None = None) -> Axes:
    """Norms of the gradients' mean (solid) and standard deviation (dashed) over the weight norm.

    Figure 4 of arXiv 1703.00810; geometric means over networks. With `phase` the grey line is the whole network's
    change from drift to diffusion, the grey band its 95% interval over seeds.

    Raises:
      TrajectoryError: no network has gradients.
    """
    mean, std = normalised_gradients(trajectory)
    check_gradients(trajectory)
    with canvas(ax, height=3.0) as ax:
        _layers(ax, trajectory, mean, geometric=True)
        _layers(ax, trajectory, std, geometric=True, linestyle=DASHED, named=False)
        ax.set_ylabel("gradient norm / weight norm")
        if phase:
            _mark_phase(ax, trajectory)
        _finish(ax, trajectory, solid_and_dashed("mean", "std"), geometric=True)
        return ax


def snr(trajectory: Trajectory, *, phase: bool = True, ax: Axes | None = None) -> Axes:
    """Norm of the gradients' mean over the norm of their standard deviation; the ensemble's geometric mean per layer.

    With `phase` the phase change is marked as in `gradients`.
    """
    with canvas(ax) as ax:
        _layers(ax, trajectory, signal_to_noise(trajectory), geometric=True)
        ax.axhline(1.0, color="0.2", linewidth=0.6, linestyle=":")
        ax.set_ylabel("gradient SNR")
        if phase:
            _mark_phase(ax, trajectory)
        _finish(ax, trajectory, geometric=True)
        return ax


def weight_norms(trajectory: Trajectory, *, ax: Axes | None = None) -> Axes:
    """Frobenius norm of every layer's kernel against the epoch, with a band."""
    with canvas(ax) as ax:
        _layers(ax, trajectory, trajectory.require("weight_norm"))
        ax.set_ylim(bottom=0.0)
        ax.set_ylabel("weight norm")
        _finish(ax, trajectory)
        return ax


def loss_and_accuracy(trajectory: Trajectory, *, ax: Axes | None = None) -> Axes:
    """Loss (left axis) and accuracy (right axis, where there is any), training solid and test dashed.

    Returns:
      The axes of the loss; those of the accuracy share their horizontal axis.
    """
    with canvas(ax) as ax:
        lines = [(ax, "loss", "black")]
        right = None if {"train_accuracy", "test_accuracy"} <= set(trajectory.absent) else ax.twinx()
        if right is not None:
            lines.append((right, "accuracy", _ACCURACY))
        for axes, name, colour in lines:
            for part, dashes in (("train", "-"), ("test", DASHED)):
                values = mean_over_seeds(trajectory, f"{part}_{name}")
                axes.plot(trajectory.epochs, values.mean, color=colour, linestyle=dashes)
                fill_band(axes, trajectory.epochs, values.low, values.high, colour)
            axes.tick_params(axis="y", colors=colour, which="both")
        ax.set_ylabel(loss_label(trajectory.config), color="black")
        ax.set_ylim(bottom=0.0)
        if right is not None:
            right.set_ylabel("accuracy", color=_ACCURACY)
            right.set_ylim(None, 1.02)
        _finish(ax, trajectory, solid_and_dashed("training", "test"))
        return ax


def _layers(
    ax: Axes,
    trajectory: Trajectory,
    values: npt.ArrayLike,
    *,
    geometric: bool = False,
    named: bool = True,
    linestyle: object = "-",
) -> None:
    """A line, its markers and a band per layer: the mean of (S, E, L) values over healthy seeds.

    Values that have no logarithm do not count in a geometric mean.
    """
    if geometric:
        ax.set_yscale("log")
    estimate = (geometric_mean_over_seeds if geometric else mean_over_seeds)(trajectory, values)
    mean, low, high = estimate.mean, estimate.low, estimate.high
    step = max(1, len(trajectory.epochs) // 6)
    for layer, (name, colour, marker) in enumerate(layer_looks(trajectory.layer_names)):
        start = layer * step // len(trajectory.layer_names)  # so that markers of neighbours stand apart
        look: dict[str, Any] = {"marker": marker, "markevery": (start, step), "ms": 3.2, "mew": 0}
        label = name if named else "_nolegend_"
        ax.plot(trajectory.epochs, mean[:, layer], color=colour, linestyle=linestyle, label=label, **look)
        fill_band(ax, trajectory.epochs, low[:, layer], high[:, layer], colour)


def _mark_phase(ax: Axes, trajectory: Trajectory) -> None:
    """Mark the whole network's phase change, if there is one."""
    change = phase_change(trajectory)
    if np.isnan(change.network_epoch):
        return
    if change.network_low < change.network_high:
        ax.axvspan(change.network_low, change.network_high, color="0.7", alpha=0.3, linewidth=0, zorder=0)
    label = f"phase change, {change.network_epoch:.0f}"
    ax.axvline(change.network_epoch, color="0.7", linewidth=2.5, zorder=0, label=label)


def _mark_switches(ax: Axes, trajectory: Trajectory) -> int:
    """Dotted lines, named by their rules, where further phases of a run begin, if all networks come to them.

    It is the median over networks of the last logged epoch before, where the lines of the layers bend.

    Returns:
      How many lines.
    """
    words = trajectory.config.get("config", {}).get("phases", ())
    if "phase" not in trajectory.extras or not isinstance(words, list | tuple):
        return 0
    phase = trajectory.extras["phase"][trajectory.healthy]  # (S, E)
    for number, text in enumerate(words[1:], 1):
        if not len(phase) or (phase[:, -1] < number).any():
            return number - 1
        before = np.maximum(np.argmax(phase >= number, axis=1) - 1, 0)
        name = label(str(text).partition(":")[0])
        ax.axvline(np.median(trajectory.epochs[before]), color="0.4", lw=0.8, linestyle=":", zorder=0, label=name)
    return max(len(words) - 1, 0)


def _finish(ax: Axes, trajectory: Trajectory, extra: Sequence[Line2D] = (), *, geometric: bool = False) -> None:
    """Epoch axis, phases of the run, title, and a legend of the named lines and the `extra` ones."""
    epoch_axis(ax, trajectory)
    columns = 3 if _mark_switches(ax, trajectory) else 4  # names of rules are long
    title = mean_of(trajectory, "95% band" if trajectory.healthy.sum() > 1 else "no interval")
    ax.set_title(title.replace("mean of", "geometric mean of") if geometric else title)
    legend_below(ax, [*ax.get_legend_handles_labels()[0], *extra], columns=columns)
