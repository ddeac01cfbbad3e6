"""Several ensembles beside each other: planes in a grid, where the layers end, moments in the training.

Shapes: S seeds, E logged epochs, L layers.
"""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from ibjax.analysis.phases import mean_over_seeds
from ibjax.analysis.statistics import Estimate
from ibjax.figures.plane import plane_axes, plane_trajectories
from ibjax.figures.style import canvas, epoch_axis, layer_colours, layer_markers, legend_below, marker_area, style
from ibjax.trajectory.trajectory import Trajectory


def planes(runs: Mapping[str, Trajectory], *, columns: int = 3, part: SubFigure | None = None) -> Figure:
    """The mean ways of the layers of several ensembles, a panel each, titled by its label.

    Args:
        runs: label -> ensemble.
        columns: panels in a row.
        part: of a figure, where to draw; a new figure by default.

    Raises:
        ValueError: no ensemble, or `columns` below 1.
    """
    if not runs or columns < 1:
        raise ValueError(f"{len(runs)} ensembles in {columns} columns; expected at least one of both")
    columns = min(columns, len(runs))
    rows = -(-len(runs) // columns)
    with style():
        figure = part or Figure(figsize=(2.9 * columns, 2.75 * rows), layout="constrained")
        panels = np.ravel(figure.subplots(rows, columns, squeeze=False))
        for panel in panels[len(runs) :]:
            panel.remove()
        for panel, (label, run) in zip(panels, runs.items(), strict=False):
            plane_trajectories(run, ax=panel)
            panel.set_title(f"{label}\n{panel.get_title()}")
        return panels[0].get_figure(root=True)


def final_layers(runs: Mapping[str, Trajectory], *, label: str, ax: Axes | None = None) -> Axes:
    """Where the layers of several ensembles end: a marker per layer, a colour per ensemble, one ensemble's joined.

    Args:
        runs: label -> ensemble, in the order of the colours; all of the same layers.
        label: what the ensembles' labels are.
        ax: axes to draw on; new ones by default.

    Raises:
        ValueError: no ensemble, or they differ in their layers.
    """
    if not runs or len({run.layer_names for run in runs.values()}) > 1:
        raise ValueError(f"{len(runs)} ensembles; expected at least one, all of the same layers")
    with canvas(ax, height=3.4) as ax:
        first = next(iter(runs.values()))
        names = first.layer_names
        for (name, run), colour in zip(runs.items(), _shades(len(runs)), strict=True):
            x, y = (mean_over_seeds(run, values[:, -1]) for values in (run.i_xt, run.i_ty))
            ax.plot(x.mean, y.mean, color=colour, linewidth=0.8, label=name, zorder=2)
            ax.errorbar(x.mean, y.mean, _bars(y), _bars(x), color=colour, elinewidth=0.7, ls="", zorder=2)
            for layer, marker in enumerate(layer_markers(len(names))):
                ax.scatter(
                    x.mean[layer],
                    y.mean[layer],
                    s=marker_area(marker),
                    color=colour,
                    marker=marker,
                    linewidths=0,
                    zorder=3,
                )
        plane_axes(ax, first)
        ax.set_ylim(-0.02, 1.06 * first.i_xy)
        counts = sorted({int(run.healthy.sum()) for run in runs.values()})
        lost = sum(int(run.diverged.sum()) for run in runs.values())
        of_each = "-".join(str(count) for count in {counts[0]: 0, counts[-1]: 0})
        ax.set_title(
            f"last epoch, mean of {of_each} network{'s' * (counts[-1] != 1)} each"
            f"{', 95% bars' if counts[-1] > 1 else ''}{f', {lost} diverged left out' if lost else ''}"
        )
        handles, labels = ax.get_legend_handles_labels()
        lines = {text: handle for handle, text in zip(handles, labels, strict=True) if text in runs}
        ax.add_artist(
            ax.legend(lines.values(), lines.keys(), title=label, loc="lower right", ncols=2, title_fontsize=7)
        )
        marks = [
            Line2D([], [], color="0.3", linestyle="", marker=marker, markersize=3.5, label=name)
            for name, marker in zip(names, layer_markers(len(names)), strict=True)
        ]
        legend_below(ax, marks)
        return ax


def output_relevance(runs: Mapping[str, Trajectory], *, share: float, label: str, ax: Axes | None = None) -> Axes:
    """I(T;Y) of the output of several ensembles against the epoch, with 95% bands.

    Args:
        runs: label -> ensemble.
        share: of I(X;Y), marked by a dotted line.
        label: what the ensembles' labels are.
        ax: axes to draw on; new ones by default.

    Raises:
        ValueError: no ensemble.
    """
    if not runs:
        raise ValueError("no ensemble; expected at least one")
    with canvas(ax) as ax:
        for (name, run), colour in zip(runs.items(), _shades(len(runs)), strict=True):
            relevance = mean_over_seeds(run, run.i_ty[:, :, -1])
            ax.plot(run.epochs, relevance.mean, color=colour, label=name)
            ax.fill_between(run.epochs, relevance.low, relevance.high, color=colour, alpha=0.25, linewidth=0)
        longest = max(runs.values(), key=lambda run: int(run.epochs[-1]))
        ax.axhline(share * longest.i_xy, color="0.2", linewidth=0.7, linestyle=":")
        ax.annotate(
            f"{share:.0%} of $I(X;Y)$",
            (0.02, share * longest.i_xy),
            xycoords=("axes fraction", "data"),
            xytext=(0, 2),
            textcoords="offset points",
            fontsize="small",
        )
        epoch_axis(ax, longest)
        ax.set_ylim(0.0, 1.08 * longest.i_xy)
        ax.set_ylabel("$I(T;Y)$ of the output [bits]")
        ax.legend(title=label, loc="center left", title_fontsize=7, ncols=2)
        return ax


def moments(series: Mapping[str, Estimate], names: Sequence[str], *, ax: Axes | None = None) -> Axes:
    """Epochs of several events, layer by layer, with their intervals, on a logarithmic axis.

    Args:
        series: event -> mean of log10 of its epoch, (L,); NaN entries are not drawn.
        names: of the L layers, or of whatever else stands on the horizontal axis.
        ax: axes to draw on; new ones by default.
    """
    with canvas(ax) as ax:
        for number, (label, estimate) in enumerate(series.items()):
            at = np.arange(len(names)) + 0.14 * (number - (len(series) - 1) / 2)
            low, middle, high = (10.0**values for values in (estimate.low, estimate.mean, estimate.high))
            bars = np.nan_to_num(np.maximum([middle - low, high - middle], 0.0))
            colour, marker = layer_colours(8)[number % 8], layer_markers(8)[number % 8]
            ax.errorbar(at, middle, bars, color=colour, marker=marker, ms=4, ls="", elinewidth=1, label=label)
        ax.set_yscale("log")
        ax.set_ylabel("epochs")
        short = [name.replace("hidden_", "") for name in names]
        ax.set_xticks(range(len(names)), short)
        ax.set_xlim(-0.5, len(names) - 0.5)
        ax.set_xlabel("hidden layer, output")
        legend_below(ax, columns=2)
        return ax


def _shades(count: int) -> list[str]:
    """Colours of an ordered row of ensembles."""
    return [to_hex(colour) for colour in matplotlib.colormaps["plasma"](np.linspace(0.0, 0.85, max(count, 2)))[:count]]


def _bars(estimate: Estimate) -> npt.NDArray[np.float64]:
    """(2, L) lengths below and above the mean; 0 where there is no interval."""
    return np.nan_to_num(np.maximum([estimate.mean - estimate.low, estimate.high - estimate.mean], 0.0))
