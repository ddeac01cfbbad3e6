"""One to six hidden layers: how many epochs until the output tells the label, how long the layers take to compress.

Figure 5 of arXiv 1703.00810. The networks are the first 1 to 6 of the widths 12, 10, 7, 5, 4, 3 and the output. The
information of the output unit is compared, which has one width at every depth: twelve tanh units, the only hidden
layer of the first network, tell all patterns apart before any training, so the last hidden layer says nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

import common
import numpy as np
from common import Finding, Interval, Runs, Values
from common.drawing import draw_event_epochs, shades
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import ibjax
from ibjax import figures
from ibjax.analysis import Estimate, compression, epochs_to_relevance, mean_over_seeds
from ibjax.figures.style import epoch_axis, fill_band

NAME = "depth"
WIDTHS = (12, 10, 7, 5, 4, 3)
SHARE = 0.95  # of I(X;Y)
PAPER_EPOCHS = 400
FACTOR = 2.0


def configs(quick: bool) -> dict[str, ibjax.Config]:
    """A run per depth."""
    widths = common.paper(quick).hidden_widths if quick else WIDTHS
    return {str(depth): common.paper(quick, hidden_widths=widths[:depth]) for depth in range(1, len(widths) + 1)}


def times(run: ibjax.Trajectory) -> Values:
    """(S,) log10 of the epochs until the output has its share of I(X;Y); the last epoch where it never has."""
    return common.log_epochs(run, epochs_to_relevance(run, SHARE)[:, -1])


def success(run: ibjax.Trajectory) -> Values:
    """(S,) 1 where the output ever has its share of I(X;Y), 0 where it never has, NaN for diverged networks."""
    there = (~np.isnan(epochs_to_relevance(run, SHARE)[:, -1])).astype(np.float64)
    return np.where(run.diverged, np.nan, there)


def compression_times(run: ibjax.Trajectory) -> Values:
    """(S, L) log10 of the epochs from the peak of I(X;T) until 90% of its fall; NaN where that is under 0.1 bits."""
    fall = compression(run)
    return np.asarray(np.log10(np.maximum(fall.most_epoch - fall.peak_epoch, 1.0)))


def measure(runs: Runs) -> list[Finding]:
    """Epochs against depth, the shallowest and the deepest network, and the time of the compression."""
    depths = [float(label) for label in runs]
    shallow, deep = next(iter(runs.values())), next(reversed(list(runs.values())))
    each = ", ".join(
        f"{label}: {common.power_of_ten(common.mean(times(run)))} ({np.nanmean(success(run)):.0%} get there)"
        if not run.diverged.all()
        else f"{label}: all diverged"
        for label, run in runs.items()
    )
    fewer = common.slope(depths, [times(run) for run in runs.values()])
    soon = common.power_of_ten(common.mean(times(deep)))
    alone = common.mean(success(shallow))
    ends = ", ".join(f"{label}: {common.at(mean_over_seeds(run, run.i_ty[:, -1]), -1)}" for label, run in runs.items())
    last = int(deep.epochs[-1])
    how = f"epochs until I(T;Y) of the output is {SHARE:.0%} of I(X;Y)"
    censored = f"A network that never gets there counts with the last epoch, {last}: a lower bound."
    return [
        Finding.of(
            fewer,
            claim="More hidden layers need fewer epochs to reach the relevant information.",
            source=f"{common.PAPER}, figure 5",
            measured=f"slope of log10 of the {how} against the number of hidden layers; geometric means: {each}",
            verdict=common.verdict_below(fewer),
            note=f"{censored} Widths {', '.join(map(str, deep.layer_widths[:-1]))} from the input on.",
        ),
        Finding.of(
            soon,
            claim=f"{len(deep.layer_names) - 1} hidden layers reach the full relevant information within about "
            f"{PAPER_EPOCHS} epochs.",
            source=f"{common.PAPER}, figure 5",
            measured=f"geometric mean of the {how}; reproduced if within a factor {FACTOR:g} of {PAPER_EPOCHS}",
            verdict=common.verdict_below(soon, PAPER_EPOCHS * FACTOR),
            note=f"{censored} The learning rate of the paper is not published; ours was chosen for this time scale.",
        ),
        Finding.of(
            alone,
            claim=f"One hidden layer does not reach the relevant information in {last} epochs.",
            source=f"{common.PAPER}, figure 5",
            measured=f"share of the networks of one hidden layer whose output ever has {SHARE:.0%} of I(X;Y); "
            f"I(T;Y) of the output at the end, bits, per number of layers: {ends}; reproduced if less than half",
            verdict=common.verdict_below(alone, 0.5),
        ),
        _compression(runs, depths),
    ]


def _compression(runs: Runs, depths: Sequence[float]) -> Finding:
    """Whether the output of a deeper network compresses in fewer epochs."""
    spent = {label: compression_times(run) for label, run in runs.items()}
    faster = common.slope(depths, [logs[:, -1] for logs in spent.values()])
    each = "; ".join(
        f"{label}: {common.describe(mean_over_seeds(run, spent[label]), run.layer_names)} "
        f"({int(np.sum(~np.isnan(spent[label][:, -1])))} outputs)"
        for label, run in runs.items()
    )
    return Finding.of(
        faster,
        claim="More hidden layers compress in fewer epochs.",
        source=f"{common.PAPER}, figure 5",
        measured="slope, against the number of hidden layers, of log10 of the epochs from the peak of I(X;T) of the "
        f"output until 90% of its fall is done; log10 per layer: {each}",
        verdict=common.verdict_below(faster),
        note="Only networks whose output loses 0.1 bits or more have such a time; shallow ones seldom do.",
    )


def figure(runs: Runs) -> Figure:
    """A plane per depth; below, the output's relevant information, and the times until it is there and compressed."""
    titles = {f"{label} hidden layer{'s' * (label != '1')}": run for label, run in runs.items()}
    rows = -(-len(runs) // 3)
    with figures.style():
        whole = Figure(figsize=(8.7, 2.5 * rows + 2.7), layout="constrained")
        top, bottom = whole.subfigures(2, 1, squeeze=False, height_ratios=(2.5 * rows, 2.7))[:, 0]
        figures.planes(titles, columns=3, part=top)
        left, right = bottom.subplots(1, 2)
        draw_output_relevance(left, runs)
        left.set_title("mean, 95% band")
        until, fall = {}, {}
        for label, run in runs.items():
            until[label] = common.mean(times(run))
            fall[label] = common.mean(compression_times(run)[:, -1])
        series = {f"{SHARE:.0%} of $I(X;Y)$ in the output": until, "fall of the output's $I(X;T)$": fall}
        draw_event_epochs(right, {name: _stack(values) for name, values in series.items()}, list(runs))
        right.set_xlabel("hidden layers")
        right.set_title("geometric mean of the networks, 95% bars")
    return whole


def draw_output_relevance(ax: Axes, runs: Runs) -> None:
    """I(T;Y) of the output of every ensemble against the epoch, with 95% bands, and its share of I(X;Y) dotted."""
    for (name, run), colour in zip(runs.items(), shades(len(runs)), strict=True):
        relevance = mean_over_seeds(run, run.i_ty[:, :, -1])
        ax.plot(run.epochs, relevance.mean, color=colour, label=name)
        fill_band(ax, run.epochs, relevance.low, relevance.high, colour)
    longest = max(runs.values(), key=lambda run: int(run.epochs[-1]))
    level = SHARE * longest.i_xy
    ax.axhline(level, color="0.2", linewidth=0.7, linestyle=":")
    ax.annotate(
        f"{SHARE:.0%} of $I(X;Y)$",
        (0.02, level),
        xycoords=("axes fraction", "data"),
        xytext=(0, 2),
        textcoords="offset points",
        fontsize="small",
    )
    epoch_axis(ax, longest)
    ax.set_ylim(0.0, 1.08 * longest.i_xy)
    ax.set_ylabel("$I(T;Y)$ of the output [bits]")
    ax.legend(title="hidden layers", loc="center left", title_fontsize=7, ncols=2)


def _stack(values: Mapping[str, Interval]) -> Estimate:
    """Intervals as one estimate."""
    mean, low, high, count = (np.array(column) for column in zip(*values.values(), strict=True))
    return Estimate(mean=mean, low=low, high=high, count=count, left_out=0, level=0.95)


def main(argv: Sequence[str] | None = None) -> int:
    """Train or read, measure, draw, write."""
    return common.execute(NAME, __doc__, configs, measure, figure, argv)


if __name__ == "__main__":
    sys.exit(main())
