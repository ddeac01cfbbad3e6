"""Trained on 3% to 85% of the patterns: the mean way of the layers through the plane, and where they end.

Figures 3 and 6 of arXiv 1703.00810. A batch is the same share of the training patterns in all runs, so that an epoch
has 14 updates in each; the paper does not tell its batches. Seeds are the same in all runs.

Shapes: S networks, K shares of the patterns.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import common
import numpy as np
import numpy.typing as npt
from common import Evidence, Plan, Runs, Values
from common.drawing import draw_means
from common.layers import row_slopes
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import ibjax
from ibjax import figures
from ibjax.analysis import compression
from ibjax.figures.plane import plane_axes
from ibjax.figures.style import COLUMN, ensemble_colours, epoch_axis, fill_band, layer_looks, letter, marker_area

NAME = "samples"
FRACTIONS = (0.03, 0.05, 0.2, 0.45, 0.7, 0.85)
PATHS = ("5%", "45%", "85%")


def configs(plan: Plan) -> dict[str, ibjax.Config]:
    """One run per share of the patterns."""
    base = plan.paper()
    assert base.batch_size is not None
    assert isinstance(base.train_fraction, float)
    per = base.batch_size / base.train_fraction
    fractions = (0.05, 0.45, 0.85) if plan.quick else FRACTIONS
    return {
        f"{part:.0%}": plan.paper(seeds=20, train_fraction=part, batch_size=round(per * part)) for part in fractions
    }


def lost(run: ibjax.Trajectory, values: npt.NDArray[Any]) -> Values:
    """(S, E, L) -> (S, L) largest value of each network over the epochs less its last one; NaN where it diverged."""
    exact = values.astype(np.float64)
    return np.where(run.diverged[:, None], np.nan, exact.max(axis=1) - exact[:, -1])


def measure(runs: Runs) -> list[Evidence]:
    """Whether I(T;Y) falls again with few patterns and with many, and how its end moves with their number."""
    few, many = runs["5%"], runs["85%"]
    names = many.layer_names
    falls = {label: lost(run, run.i_ty) for label, run in runs.items()}
    more = falls["5%"] - falls["85%"]
    meanwhile = {label: common.mean(compression(run).drop[:, -2]) for label, run in (("5%", few), ("85%", many))}
    share = common.share(np.where(np.isnan(more[:, -2]), np.nan, more[:, -2] > 0))
    ends = np.stack([np.where(run.diverged, np.nan, run.i_ty[:, -1, -2]) for run in runs.values()], axis=1)
    logs = np.log10([np.mean(run.train_mask) for run in runs.values()])
    accuracy = np.stack([np.where(run.diverged, np.nan, run.test_accuracy[:, -1]) for run in runs.values()], axis=1)
    rates = np.stack([np.where(run.diverged, np.nan, run.i_xt[:, -1, -2]) for run in runs.values()], axis=1)
    return [
        Evidence(
            "few_lose",
            more[:, -2],
            detail=f"More at 5% in {share} of the networks; per layer: {common.describe(more, names)}. At 5% alone: "
            f"{common.describe(falls['5%'], names)}, while I(X;T) of the last hidden layer falls by "
            f"{meanwhile['5%']} bits. {steady(few)} At 85%: {common.describe(falls['85%'], names)}, while I(X;T) falls "
            f"by {meanwhile['85%']} bits. {steady(many)}",
        ),
        Evidence(
            "more_patterns",
            row_slopes(logs, ends),
            detail=f"I(T;Y) at the end: {common.describe(ends, list(runs))}. I(X;T) moves by "
            f"{common.mean(row_slopes(logs, rates))} bits for ten times the patterns. Test accuracy: "
            f"{common.describe(accuracy, list(runs))}.",
        ),
    ]


def steady(run: ibjax.Trajectory) -> str:
    """How much of the loss a peak above a noisy curve makes: the last hidden layer's, of a running mean of five."""
    curve = np.where(run.diverged[:, None], np.nan, run.i_ty[:, :, -2]).astype(np.float64)
    width = min(5, curve.shape[1])
    smooth = np.lib.stride_tricks.sliding_window_view(curve, width, axis=1).mean(axis=2)
    return f"Of means of {width} neighbouring logged epochs: {common.mean(smooth.max(axis=1) - smooth[:, -1])} bits."


def figure(runs: Runs) -> Figure:
    """A plane per share of the patterns; where all layers end, and how the last hidden one's relevance falls again."""
    shown = {f"{label} of the patterns": runs[label] for label in PATHS}
    with figures.style():
        whole = Figure(figsize=(COLUMN, 9.2), layout="constrained")
        top, bottom = whole.subfigures(2, 1, squeeze=False, height_ratios=(4.6, 4.6))[:, 0]
        figures.planes(shown, part=top)
        plane, lines = bottom.subplots(2, 1, height_ratios=(1.25, 1.0))
        draw_final_layers(plane, runs)
        draw_relevance(lines, runs)
        letter([*top.axes[: len(shown)], plane, lines])
    return whole


def draw_final_layers(ax: Axes, runs: Runs) -> None:
    """Where the layers of several ensembles end: a marker per layer, a colour per ensemble, each ensemble's joined."""
    first = next(iter(runs.values()))
    looks = layer_looks(first.layer_names)
    for run, colour in zip(runs.values(), ensemble_colours(len(runs)), strict=True):
        ends = [values[run.healthy, -1].T for values in (run.i_xt, run.i_ty)]
        x, y = (np.array([common.mean(column) for column in end]) for end in ends)
        ax.plot(x[:, 0], y[:, 0], color=colour, linewidth=0.8, zorder=2)
        draw_means(ax, x[:, 0], y, ls="", color=colour)
        for at_x, at_y, (_, _, marker) in zip(x[:, 0], y[:, 0], looks, strict=True):
            ax.scatter(at_x, at_y, s=marker_area(marker), color=colour, marker=marker, linewidths=0, zorder=3)
    plane_axes(ax, first)
    ax.set_title(f"last epoch, mean of {counts(runs)}, 95% bars")
    marks = [
        Line2D([], [], color="0.3", linestyle="", marker=marker, markersize=3.5, label=name)
        for name, _, marker in looks
    ]
    ax.legend(handles=marks, loc="lower right", ncols=2, handletextpad=0.1)


def draw_relevance(ax: Axes, runs: Mapping[str, ibjax.Trajectory]) -> None:
    """I(T;Y) of the last hidden layer against the epoch, an ensemble a line, named at its end."""
    longest = max(runs.values(), key=lambda run: int(run.epochs[-1]))
    for (name, run), colour in zip(runs.items(), ensemble_colours(len(runs)), strict=True):
        values = run.i_ty[run.healthy, :, -2]
        relevance = np.array([common.mean(column) for column in values.T])
        ax.plot(run.epochs, relevance[:, 0], color=colour, label=name)
        fill_band(ax, run.epochs, relevance[:, 1], relevance[:, 2], colour)
    epoch_axis(ax, longest)
    ax.set_ylabel("$I(T;Y)$ of the last hidden\nlayer [bits]")
    ax.set_ylim(0.0, 1.06 * longest.i_xy)
    ax.set_title(f"mean of {counts(runs)}, 95% band")
    ax.legend(title="training patterns", loc="lower right", ncols=3, title_fontsize=7)


def counts(runs: Runs) -> str:
    """How many networks stand behind each point."""
    shown = sorted({int(run.healthy.sum()) for run in runs.values()})
    lost_ones = sum(int(run.diverged.sum()) for run in runs.values())
    of_each = "-".join(str(count) for count in {shown[0]: 0, shown[-1]: 0})
    return f"{of_each} network{'s' * (shown[-1] != 1)}{f' ({lost_ones} diverged left out)' if lost_ones else ''}"


def main(argv: Sequence[str] | None = None) -> int:
    """Train or read, measure, draw, write."""
    return common.execute(NAME, __doc__, configs, measure, figure, argv)


if __name__ == "__main__":
    sys.exit(main())
