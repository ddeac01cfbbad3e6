"""The information plane: where networks are, and the paths they took.

Shapes: S seeds, E logged epochs, L layers. Both axes in bits.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.figure import Figure, SubFigure

from ibjax.analysis.phases import phase_change
from ibjax.analysis.statistics import Values, mean_over_seeds
from ibjax.figures.style import (
    I_TY,
    I_XT,
    bit_ticks,
    canvas,
    epoch_colours,
    epoch_ticks,
    layer_looks,
    legend_below,
    legend_inside,
    marker_area,
    mean_of,
    network_count,
    side_by_side,
    style,
)
from ibjax.trajectory.trajectory import Trajectory


def plane_snapshot(trajectory: Trajectory, epoch: float, *, legend: bool = True, ax: Axes | None = None) -> Axes:
    """All networks at one epoch, a colour and a marker per layer (figure 2 of arXiv 1703.00810).

    Args:
      epoch: the nearest logged one is drawn and stands in the title.
      legend: whether to name the layers.
    """
    with canvas(ax) as ax:
        index = trajectory.epoch_index(epoch)
        draw_snapshot(ax, trajectory, index)
        ax.set_title(network_count(trajectory, before=f"epoch {trajectory.epochs[index]}: "))
        if legend:
            legend_inside(ax)
        return ax


def plane_snapshots(trajectory: Trajectory, epochs: Sequence[float] | None = None) -> Figure:
    """Snapshots side by side on the same axes.

    Args:
      epochs: the nearest logged ones are drawn; by default 0, 400 and the last, or the geometric middle of a run
        that is shorter than that.

    Raises:
      ValueError: `epochs` is empty.
    """
    if epochs is None:
        last = int(trajectory.epochs[-1])
        epochs = (0, 400 if last > 400 else last**0.5, last)
    wanted = list(dict.fromkeys(trajectory.epoch_index(epoch) for epoch in epochs))
    if not wanted:
        raise ValueError("epochs is empty; allowed: at least one epoch")
    with style():
        figure = Figure(figsize=(0.6 + 2.1 * len(wanted), 2.6), layout="constrained")
        panels = figure.subplots(1, len(wanted), sharex=True, sharey=True, squeeze=False)[0]
        for panel, index in zip(panels, wanted, strict=True):
            draw_snapshot(panel, trajectory, index)
            panel.label_outer()
        figure.suptitle(network_count(trajectory), fontsize=8)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=9, handletextpad=0.1)
        return figure


def draw_snapshot(ax: Axes, trajectory: Trajectory, index: int) -> list[PathCollection]:
    """Draw the healthy networks at logged epoch `index`; returns the point collection of each layer."""
    x, y = (values[trajectory.healthy, index].T for values in (trajectory.i_xt, trajectory.i_ty))
    look: dict[str, Any] = {"alpha": 0.75, "linewidths": 0.2, "edgecolors": "white", "clip_on": False, "zorder": 3}
    points = [
        ax.scatter(x[layer], y[layer], marker_area(marker), colour, marker=marker, label=name, **look)
        for layer, (name, colour, marker) in enumerate(layer_looks(trajectory.layer_names))
    ]
    plane_axes(ax, trajectory)
    ax.set_title(f"epoch {trajectory.epochs[index]}")
    return points


def plane_axes(ax: Axes, trajectory: Trajectory) -> None:
    """Label the plane and mark what no layer can exceed: I(X;Y)."""
    ax.set_xlabel(I_XT)
    ax.set_ylabel(I_TY)
    ax.set_xlim(0.0, 1.03 * trajectory.h_x)
    ax.set_ylim(0.0, 1.06 * trajectory.i_xy)
    bit_ticks(ax.xaxis)
    ax.axhline(trajectory.i_xy, color="0.6", linewidth=0.6, linestyle=(0, (4, 3)), zorder=0, label="$I(X;Y)$")


def plane_trajectories(trajectory: Trajectory, *, phase: bool | float = True, ax: Axes | None = None) -> Axes:
    """Mean path of every layer, coloured by epoch, layers of one epoch joined (figure 3 of arXiv 1703.00810).

    Yellow points are the last epoch, numbered by layer (the last number is the output). The mean is over healthy seeds.

    Args:
      phase: whether to mark the epoch of `phase_change` of the whole network, or an epoch to mark.
      ax: axes to draw on, with a colour bar beside them; new ones by default.
    """
    with canvas(ax) as ax:
        x, y = (mean_over_seeds(trajectory, key, resamples=1).mean for key in ("i_xt", "i_ty"))
        scale = epoch_colours(trajectory)
        colours: dict[str, Any] = {"cmap": scale.cmap, "norm": scale.norm}
        joins = LineCollection(list(np.stack([x, y], axis=-1)), linewidths=0.5, alpha=0.35, zorder=1, **colours)
        joins.set_array(trajectory.epochs.astype(float))
        ax.add_collection(joins, autolim=False)
        epochs = np.repeat(trajectory.epochs, x.shape[1])
        ax.scatter(x.ravel(), y.ravel(), s=5, c=epochs, linewidths=0, zorder=2, **colours)
        if phase is not False:
            _mark_phase(ax, trajectory, x, y, phase)
        ax.scatter(x[-1], y[-1], s=26, c="#FFE119", edgecolors="0.15", linewidths=0.7, zorder=4, clip_on=False)
        _number_layers(ax, trajectory, x[-1], y[-1])
        bar = ax.figure.colorbar(scale, ax=ax, label="epoch", pad=0.02)
        epoch_ticks(bar.ax.yaxis, int(trajectory.epochs[-1]))
        plane_axes(ax, trajectory)
        legend_below(ax, columns=2)
        ax.set_ylim(0.0, 1.12 * trajectory.i_xy)  # room for the numbers
        ax.set_title(mean_of(trajectory, f"layers 1–{x.shape[1]}"))
        return ax


def planes(runs: Mapping[str, Trajectory], *, columns: int = 3, part: SubFigure | None = None) -> Figure:
    """`plane_trajectories` of several ensembles, a panel each, titled by its label.

    Args:
      runs: label -> ensemble.
      columns: panels in a row.
      part: of a figure, where to draw; a new figure by default.

    Raises:
      ValueError: no ensemble, or `columns` below 1.
    """
    if not runs:
        raise ValueError("runs is empty; allowed: at least one ensemble")
    figure, panels = side_by_side(len(runs), width=2.9, height=2.75, columns=columns, part=part)
    with style():
        for panel, (label, run) in zip(panels, runs.items(), strict=True):
            plane_trajectories(run, ax=panel)
            panel.set_title(f"{label}\n{panel.get_title()}")
    return figure


def _mark_phase(ax: Axes, trajectory: Trajectory, x: Values, y: Values, phase: bool | float) -> None:
    """Join the layers at the epoch given, or at that of the whole network's phase change, if there is one.

    None is marked where the training loop gave no gradients to tell it.
    """
    if phase is True and {"gradient_mean", "gradient_std"} & set(trajectory.absent):
        return
    epoch = phase_change(trajectory, resamples=1).network_epoch if phase is True else float(phase)
    if np.isnan(epoch):
        return
    index = trajectory.epoch_index(epoch)
    label = f"phase change, epoch {trajectory.epochs[index]}"
    ax.plot(x[index], y[index], color="#CC3311", linewidth=1.2, zorder=3, label=label)


def _number_layers(ax: Axes, trajectory: Trajectory, x: Values, y: Values) -> None:
    """Number the last points; neighbours too close for two numbers share one place."""
    first = 0
    for layer in range(len(x)):
        if layer + 1 < len(x) and (
            abs(x[layer + 1] - x[first]) < 0.08 * trajectory.h_x
            and abs(y[layer + 1] - y[first]) < 0.05 * trajectory.i_xy
        ):
            continue
        group = slice(first, layer + 1)
        if np.isfinite(x[group]).all():
            place = float(np.mean(x[group])), float(np.max(y[group]))
            at_edge = place[0] > 0.95 * trajectory.h_x
            ax.annotate(
                f"{first + 1}" if first == layer else f"{first + 1}–{layer + 1}",
                place,
                xytext=(3 if at_edge else 0, 4),
                textcoords="offset points",
                ha="right" if at_edge else "center",  # within the frame
                va="bottom",
                fontsize="small",
                zorder=5,
            )
        first = layer + 1
