"""Where the layers end in the plane when trained on 3% to 85% of the patterns.

Batches as in `trajectories`: an epoch has 14 updates whatever the number of patterns.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import common
import numpy as np
from common import Finding, Runs
from common.drawing import shades
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from trajectories import config_of

import ibjax
from ibjax import figures
from ibjax.analysis import mean_over_seeds
from ibjax.figures.plane import plane_axes
from ibjax.figures.style import error_bars, layer_markers, legend_below, marker_area

NAME = "samples"
FRACTIONS = (0.03, 0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.7, 0.85)


def configs(quick: bool) -> dict[str, ibjax.Config]:
    """One run per share of the patterns."""
    return {f"{fraction:.0%}": config_of(fraction, quick) for fraction in ((0.05, 0.45, 0.85) if quick else FRACTIONS)}


def measure(runs: Runs) -> list[Finding]:
    """How the last hidden layer's end moves with the number of patterns, along both axes."""
    logs = [float(np.log10(np.mean(run.train_mask))) for run in runs.values()]
    names = next(iter(runs.values())).layer_names

    def slopes(field: str) -> list[common.Interval]:
        ends = [
            np.where(r.diverged[:, None], np.nan, getattr(r, field)[:, -1].astype(np.float64)) for r in runs.values()
        ]
        return [common.slope(logs, [end[:, layer] for end in ends]) for layer in range(len(names))]

    relevance, rate = slopes("i_ty"), slopes("i_xt")
    each = ", ".join(f"{name} {slope}" for name, slope in zip(names, relevance, strict=True))
    rates = ", ".join(f"{name} {slope}" for name, slope in zip(names, rate, strict=True))
    ends = ", ".join(f"{label} {common.at(mean_over_seeds(run, run.i_ty[:, -1]), -2)}" for label, run in runs.items())
    gain = relevance[-2]
    return [
        Finding.of(
            gain,
            claim="More training patterns leave more relevant information in the deep layers.",
            source=f"{common.PAPER}, figure of the final layers for 3% to 85%",
            measured="slope of I(T;Y) of the last hidden layer at the end against log10 of the share of patterns, bits "
            f"for ten times the patterns; all layers: {each}; I(T;Y) per share: {ends}; slopes of I(X;T): {rates}",
            verdict=common.verdict_above(gain),
            note="Batches are an equal share of the training patterns: 14 updates an epoch.",
        )
    ]


def figure(runs: Runs) -> Figure:
    """The ends of all layers, a colour per share of the patterns."""
    whole, (ax,) = figures.side_by_side(1, height=3.4)
    with figures.style():
        draw_final_layers(ax, runs)
    return whole


def draw_final_layers(ax: Axes, runs: Runs) -> None:
    """Where the layers of several ensembles end: a marker per layer, a colour per ensemble, one ensemble's joined."""
    first = next(iter(runs.values()))
    markers = layer_markers(len(first.layer_names))
    lines = []
    for (name, run), colour in zip(runs.items(), shades(len(runs)), strict=True):
        x, y = (mean_over_seeds(run, values[:, -1]) for values in (run.i_xt, run.i_ty))
        lines += ax.plot(x.mean, y.mean, color=colour, linewidth=0.8, label=name, zorder=2)
        ax.errorbar(x.mean, y.mean, error_bars(y), error_bars(x), color=colour, elinewidth=0.7, ls="", zorder=2)
        for at_x, at_y, marker in zip(x.mean, y.mean, markers, strict=True):
            ax.scatter(at_x, at_y, s=marker_area(marker), color=colour, marker=marker, linewidths=0, zorder=3)
    plane_axes(ax, first)
    ax.set_ylim(-0.02, 1.06 * first.i_xy)
    ax.set_title(_title(runs))
    ax.add_artist(ax.legend(handles=lines, title="training patterns", loc="lower right", ncols=2, title_fontsize=7))
    marks = [
        Line2D([], [], color="0.3", linestyle="", marker=marker, markersize=3.5, label=name)
        for name, marker in zip(first.layer_names, markers, strict=True)
    ]
    legend_below(ax, marks)


def _title(runs: Runs) -> str:
    """How many networks stand behind each point."""
    counts = sorted({int(run.healthy.sum()) for run in runs.values()})
    lost = sum(int(run.diverged.sum()) for run in runs.values())
    of_each = "-".join(str(count) for count in {counts[0]: 0, counts[-1]: 0})
    return (
        f"last epoch, mean of {of_each} network{'s' * (counts[-1] != 1)} each"
        f"{', 95% bars' if counts[-1] > 1 else ''}{f', {lost} diverged left out' if lost else ''}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Train or read, measure, draw, write."""
    return common.execute(NAME, __doc__, configs, measure, figure, argv)


if __name__ == "__main__":
    sys.exit(main())
