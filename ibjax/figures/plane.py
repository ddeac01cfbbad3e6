"""The information plane: where networks are, and the paths they took.

Shapes: S seeds, E logged epochs, L layers. Both axes in bits.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.figure import Figure, SubFigure

from ibjax.analysis.phases import phase_change
from ibjax.analysis.statistics import Values, mean_over_seeds
from ibjax.figures.style import (
    COLUMN,
    I_TY,
    I_XT,
    bit_ticks,
    canvas,
    epoch_colours,
    epoch_ticks,
    layer_looks,
    legend_below,
    legend_inside,
    letter,
    marker_area,
    mean_of,
    network_count,
    side_by_side,
    style,
)
from ibjax.trajectory.trajectory import Trajectory

_TOP = 0.85  # of I(X;Y), from where on a snapshot is magnified


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
    """Snapshots side by side on the same axes; below each the shaded top of the plane again, magnified.

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
    columns = 2 if len(wanted) == 4 else min(len(wanted), 3)
    rows = -(-len(wanted) // columns)
    with style():
        figure = Figure(figsize=(COLUMN, 2.9 * rows + 0.6), layout="constrained")
        grid = figure.subplots(2 * rows, columns, squeeze=False, height_ratios=(1.4, 1.0) * rows)
        panels = [*grid[::2].flat][: len(wanted)]
        for place, (whole, top) in enumerate(zip(grid[::2].flat, grid[1::2].flat, strict=True)):
            if place >= len(wanted):
                whole.remove()
                top.remove()
                continue
            draw_snapshot(whole, trajectory, wanted[place])
            whole.axhspan(_TOP * trajectory.i_xy, trajectory.i_xy, color="0.9", linewidth=0, zorder=0)
            draw_snapshot(top, trajectory, wanted[place])
            top.set(title="", ylim=(_TOP * trajectory.i_xy, 1.012 * trajectory.i_xy), facecolor="0.95")
            for panel, last in ((whole, False), (top, place + columns >= len(wanted))):
                panel.tick_params(labelleft=place % columns == 0, labelbottom=last)
                panel.set_ylabel(I_TY if place % columns == 0 else "")
                panel.set_xlabel(I_XT if last else "")
        letter(panels)
        figure.suptitle(network_count(trajectory), fontsize=8)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, handletextpad=0.1)
        return figure


def outer_labels(ax: Axes, number: int, count: int, columns: int) -> None:
    """Labels and tick labels of panel `number` of `count` only where no panel of the same axes stands between."""
    if number % columns:
        ax.set_ylabel("")
        ax.tick_params(labelleft=False)
    if number + columns < count:
        ax.set_xlabel("")
        ax.tick_params(labelbottom=False)


def draw_snapshot(ax: Axes, trajectory: Trajectory, index: int) -> list[PathCollection]:
    """Draw the healthy networks at logged epoch `index`; returns the point collection of each layer."""
    x, y = (values[trajectory.healthy, index].T for values in (trajectory.i_xt, trajectory.i_ty))
    # Larger towards the input: of layers in one place, as where all patterns are told apart, each is seen.
    sizes = 0.8 + 2.6 * 0.45 ** np.arange(len(x))
    look: dict[str, Any] = {"alpha": 0.8, "linewidths": 0.25, "edgecolors": "white", "zorder": 3}
    points = [
        ax.scatter(x[layer], y[layer], marker_area(marker) * sizes[layer], colour, marker=marker, label=name, **look)
        for layer, (name, colour, marker) in enumerate(layer_looks(trajectory.layer_names))
    ]
    plane_axes(ax, trajectory)
    ax.set_title(f"epoch {trajectory.epochs[index]}")
    return points


def plane_axes(ax: Axes, trajectory: Trajectory) -> None:
    """Label the plane and mark what no layer can exceed: I(X;Y)."""
    ax.set_xlabel(I_XT)
    ax.set_ylabel(I_TY)
    ax.set_xlim(-0.04 * trajectory.h_x, 1.06 * trajectory.h_x)
    ax.set_ylim(-0.03 * trajectory.i_xy, 1.06 * trajectory.i_xy)
    bit_ticks(ax.xaxis)
    ax.axhline(trajectory.i_xy, color="0.6", linewidth=0.6, linestyle=(0, (4, 3)), zorder=0, label="$I(X;Y)$")


def plane_trajectories(trajectory: Trajectory, *, phase: bool | float = True, ax: Axes | None = None) -> Axes:
    """Mean path of every layer, coloured by epoch, layers of one epoch joined (figure 3 of arXiv 1703.00810).

    Large markers are the last epoch in the layer's colour, numbered (the last number is the output), small ones there
    the networks. The mean is over healthy seeds.

    Args:
      phase: whether to mark the epoch of `phase_change` of the whole network, or an epoch to mark.
      ax: axes to draw on, with a colour bar beside them; new ones by default.
    """
    with canvas(ax) as ax:
        scale = epoch_colours(float(trajectory.epochs[-1]))
        draw_trajectories(ax, trajectory, scale, phase)
        bar = ax.figure.colorbar(scale, ax=ax, label="epoch", pad=0.02)
        epoch_ticks(bar.ax.yaxis, int(trajectory.epochs[-1]))
        legend_below(ax, columns=2)
        ax.set_title(mean_of(trajectory, f"layers 1–{len(trajectory.layer_names)}"))
        return ax


def draw_trajectories(
    ax: Axes, trajectory: Trajectory, scale: ScalarMappable, phase: bool | float = True, *, small: bool = False
) -> None:
    """What `plane_trajectories` draws, without colour bar, legend and title; `small`: on half a column."""
    x, y = (mean_over_seeds(trajectory, key, resamples=1).mean for key in ("i_xt", "i_ty"))
    size, near = (0.6, 0.14) if small else (1.0, 0.08)
    colours: dict[str, Any] = {"cmap": scale.cmap, "norm": scale.norm}
    joins = LineCollection(list(np.stack([x, y], axis=-1)), linewidths=0.5 * size, alpha=0.35, zorder=1, **colours)
    joins.set_array(trajectory.epochs.astype(float))
    ax.add_collection(joins, autolim=False)
    epochs = np.repeat(trajectory.epochs, x.shape[1])
    ax.scatter(x.ravel(), y.ravel(), s=5 * size, c=epochs, linewidths=0, zorder=2, **colours)
    if phase is not False:
        _mark_phase(ax, trajectory, x, y, phase)
    ends = [values[trajectory.healthy, -1].T for values in (trajectory.i_xt, trajectory.i_ty)]
    for layer, (_, colour, marker) in enumerate(layer_looks(trajectory.layer_names)):
        of_one: dict[str, Any] = {"marker": ".", "ms": 3 * size, "mew": 0, "ls": "", "clip_on": False, "zorder": 3}
        ax.plot(ends[0][layer], ends[1][layer], color=colour, alpha=0.6, **of_one)
        look: dict[str, Any] = {"edgecolors": "white", "linewidths": 0.6 * size, "clip_on": False, "zorder": 4}
        ax.scatter(x[-1, layer], y[-1, layer], 2 * size * marker_area(marker), colour, marker=marker, **look)
    _number_layers(ax, trajectory, x[-1], y[-1], near)
    plane_axes(ax, trajectory)
    ax.set_ylim(-0.03 * trajectory.i_xy, (1.2 if small else 1.12) * trajectory.i_xy)  # room for the numbers


def planes(runs: Mapping[str, Trajectory], *, columns: int = 2, part: SubFigure | None = None) -> Figure:
    """`plane_trajectories` of several ensembles, a panel each, titled by its label; one scale of epochs for all.

    The phase change's epoch stands in the lower right of its panel.

    Args:
      runs: label -> ensemble.
      columns: panels in a row.
      part: of a figure, where to draw; a new figure of a journal column's width by default.

    Raises:
      ValueError: no ensemble, or `columns` below 1.
    """
    if not runs:
        raise ValueError("runs is empty; allowed: at least one ensemble")
    fitting = min(columns, len(runs)) if columns > 0 else 1
    width = COLUMN / fitting
    figure, panels = side_by_side(len(runs), width=width, height=0.6 * width + 1.25, columns=columns, part=part)
    last = max(int(run.epochs[-1]) for run in runs.values())
    scale = epoch_colours(last)
    with style():
        for number, (panel, (label, run)) in enumerate(zip(panels, runs.items(), strict=True)):
            draw_trajectories(panel, run, scale, small=fitting > 1)
            panel.set_title(f"{label}\n{mean_of(run)}", fontsize=6.5)
            outer_labels(panel, number, len(runs), fitting)
            for line in panel.get_lines():
                if (told := str(line.get_label())).startswith("phase change"):
                    at = told.replace(", ", "\n")
                    look: dict[str, Any] = {"ha": "right", "va": "bottom", "fontsize": 6.2, "zorder": 6}
                    box = {"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.8}
                    panel.annotate(at, (0.97, 0.03), xycoords="axes fraction", bbox=box, **look)
        home = part or figure
        bar = home.colorbar(scale, ax=panels, label="epoch", location="bottom", shrink=0.7, aspect=40, pad=0.03)
        epoch_ticks(bar.ax.xaxis, last)
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
    ax.plot(x[index], y[index], color="black", linewidth=1.0, zorder=3, label=label)


def _number_layers(ax: Axes, trajectory: Trajectory, x: Values, y: Values, near: float) -> None:
    """Number the last points; neighbours nearer than a share `near` of H(X) in a row have one label."""
    first = 0
    for layer in range(len(x)):
        if layer + 1 < len(x) and (
            abs(x[layer + 1] - x[first]) < near * trajectory.h_x
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
