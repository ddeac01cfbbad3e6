"""One to six hidden layers: how many epochs until the output tells the label, how long the layers take to compress.

Figure 5 of arXiv 1703.00810. The networks are the first 1 to 6 of the widths 12, 10, 7, 5, 4, 3 and the output, on the
same seeds. Beside them stand six of the widths of the paper's caption, the paper's seven, and one hidden layer of three
and of five units: twelve units tell all patterns apart at all times, where no compression could be seen. The relevance
is that of the output, which has one width at every depth.

Shapes: S networks, E logged epochs, L layers, D depths.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

import common
import numpy as np
from common import Evidence, Plan, Runs, Values
from common.drawing import EVENTS, draw_event_epochs
from common.layers import ROOM, compressing, has_learned, log_epochs, row_slopes, row_taus
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

import ibjax
from ibjax import figures
from ibjax.analysis import compression, epochs_to_relevance
from ibjax.figures.style import COLUMN, ensemble_colours, epoch_axis, fill_band, letter

NAME = "depth"
WIDTHS = (12, 10, 7, 5, 4, 3)
CAPTION = (12, 10, 8, 6, 4, 2)
NARROW = (3, 5)
MARKS = (0.90, 0.95)  # of I(X;Y); the second lies on the plateau of the output's curve, where it climbs slowest


def configs(plan: Plan) -> dict[str, ibjax.Config]:
    """A run per depth, one of the caption's widths, the paper's, and those of a single narrow layer."""
    widths = (6, 5, 3) if plan.quick else WIDTHS
    runs = {str(depth): plan.paper(seeds=20, hidden_widths=widths[:depth]) for depth in range(1, len(widths) + 1)}
    caption = CAPTION[-2:] if plan.quick else CAPTION
    runs |= {"caption": plan.paper(seeds=10, hidden_widths=caption), "paper": plan.paper()}
    return runs | {f"{units} units": plan.paper(seeds=20, hidden_widths=(units,)) for units in NARROW}


def by_depth(runs: Runs) -> dict[int, ibjax.Trajectory]:
    """The runs of 1, 2, ... hidden layers."""
    return {int(label): run for label, run in runs.items() if label.isdecimal()}


def reached(run: ibjax.Trajectory, share: float) -> Values:
    """(S,) epochs until the output has this share of I(X;Y); NaN where it never has, and for diverged networks."""
    return epochs_to_relevance(run, share)[:, -1]


def times(run: ibjax.Trajectory, share: float) -> Values:
    """(S,) log10 of the epochs until the output has its share; the last epoch, a lower bound, where it never has."""
    epochs = reached(run, share)
    bounded = np.where(np.isnan(epochs) & run.healthy, run.epochs[-1], epochs)
    return log_epochs(bounded)


def compression_times(run: ibjax.Trajectory) -> Values:
    """(S, L) log10 of the epochs from the peak of I(X;T) until 90% of its fall; NaN where that is under 0.1 bits."""
    fall = compression(run)
    return log_epochs(fall.most_epoch - fall.peak_epoch)


def measure(runs: Runs) -> list[Evidence]:
    """Epochs against depth, the shallowest and the deepest network, and the time of the compression."""
    depths = by_depth(runs)
    return [
        *relevance(runs, depths),
        same_layer(depths),
        within(depths[max(depths)], runs["paper"]),
        one_layer({f"{depths[1].layer_widths[0]} units": depths[1]} | _narrow(runs)),
    ]


def relevance(runs: Runs, depths: Mapping[int, ibjax.Trajectory]) -> list[Evidence]:
    """How many epochs the output takes until it has most of I(X;Y)."""
    shallow = depths[1]
    sooner = {share: np.stack([times(run, share) for run in depths.values()], axis=1) for share in MARKS}
    at = list(depths)
    told = "; ".join(
        f"{share:.0%}: " + ", ".join(f"{depth}: {mark(run, share)}" for depth, run in depths.items()) for share in MARKS
    )
    ends = {depth: common.mean(np.where(run.diverged, np.nan, run.i_ty[:, -1, -1])) for depth, run in depths.items()}
    ever = np.where(shallow.diverged, np.nan, ~np.isnan(reached(shallow, MARKS[1])))
    first, second = MARKS
    return [
        Evidence(
            "deeper_sooner",
            row_slopes(at[1:], sooner[first][:, 1:]),
            detail=f"Geometric means of the epochs until the output has a share of I(X;Y), by number of hidden layers; "
            f"{told}. From one layer to two log10 changes by {common.mean(sooner[first][:, 1] - sooner[first][:, 0])}; "
            f"slope of the {second:.0%} mark {common.mean(row_slopes(at[1:], sooner[second][:, 1:]))}. Networks that "
            "never get there count with the last epoch. Widths of the paper's caption "
            f"({'-'.join(map(str, CAPTION))}): {first:.0%} {mark(runs['caption'], first)}, "
            f"{second:.0%} {mark(runs['caption'], second)}.",
        ),
        Evidence.share(
            "one_layer_never",
            ever,
            detail=f"I(T;Y) of the output at the end: {', '.join(f'{depth}: {end}' for depth, end in ends.items())} "
            "bits.",
        ),
    ]


def mark(run: ibjax.Trajectory, share: float) -> str:
    """Geometric mean of the epochs until the output has its share, and how many networks never get there."""
    value = common.mean(times(run, share))
    never = int(np.sum(np.isnan(reached(run, share)) & run.healthy))
    return f"{10**value.estimate:.0f}{f' ({never} of {int(run.healthy.sum())} never)' * bool(never)}"


def same_layer(depths: Mapping[int, ibjax.Trajectory]) -> Evidence:
    """Slope of log10 of a layer's time against the number of hidden layers, if it compresses at two depths or more."""
    spent = {depth: compression_times(run) for depth, run in depths.items()}
    slopes = {}
    for layer in range(max(depths)):
        there = [d for d, run in depths.items() if layer < d and compressing(run)[layer]]
        if len(there) > 1:
            slopes[f"hidden_{layer + 1}"] = row_slopes(there, np.stack([spent[d][:, layer] for d in there], axis=1))
    last = np.stack([values[:, -2] for values in spent.values()], axis=1)
    each = "; ".join(f"{d}: {common.describe(v[:, :-1], depths[d].layer_names[:-1])}" for d, v in spent.items())
    detail = (
        f"The last hidden layer, which is narrower in deeper networks, {common.mean(row_slopes(list(depths), last))}. "
        f"log10 of the epochs by number of hidden layers: {each}."
    )
    if not slopes:
        return Evidence.unmeasurable("compress_sooner", f"No layer compresses at two depths. {detail}")
    return Evidence("compress_sooner", np.stack(list(slopes.values()), axis=1), list(slopes), detail)


def within(deep: ibjax.Trajectory, paper: ibjax.Trajectory) -> Evidence:
    """Whether higher layers of a network take less time than lower ones, and whether these had compressed before."""
    claim = "shorter_after_compressed"
    taus = {f"{len(run.layer_names) - 1} hidden layers": layer_order(run) for run in (deep, paper)}
    chosen = compressing(deep)
    if chosen.sum() < 2:
        return Evidence.unmeasurable(claim, "Less than two layers compress.")
    names = [name for name, counts in zip(deep.layer_names, chosen, strict=True) if counts]
    spent, done = compression_times(deep)[:, chosen], done_below(deep)[:, chosen]
    without = chosen.copy()
    without[-1] = False
    return Evidence(
        claim,
        layer_order(deep),
        detail=f"{', '.join(f'{label} {common.mean(tau)}' for label, tau in taus.items())}; without the output "
        f"{common.mean(row_taus(compression_times(deep)[:, without]))}. log10 of the epochs: "
        f"{common.describe(spent, names)}. At the peak of a layer the one below has done this share of its fall: "
        f"{common.describe(done, names)}.",
    )


def layer_order(run: ibjax.Trajectory) -> Values:
    """(S,) tau-b of depth and time of the compression, over the layers that compress."""
    return row_taus(compression_times(run)[:, compressing(run)])


def done_below(run: ibjax.Trajectory) -> Values:
    """(S, L) share of its fall that the layer below has done when I(X;T) of a layer is largest; NaN for the first.

    NaN too where the layer below loses less than 0.1 bits.
    """
    fall, i_xt = compression(run), run.i_xt.astype(np.float64)
    at = np.asarray(i_xt.argmax(axis=1), np.intp)
    done = np.full(fall.drop.shape, np.nan)
    for layer in range(1, len(run.layer_names)):
        then = np.take_along_axis(i_xt[..., layer - 1], at[:, layer, None], axis=1)[:, 0]
        begun = at[:, layer] >= at[:, layer - 1]
        lost = np.where(begun, fall.peak[:, layer - 1] - then, 0.0)
        whole = fall.drop[:, layer - 1]
        done[:, layer] = np.where(whole >= fall.minimum_drop, lost / np.where(whole > 0, whole, 1.0), np.nan)
    return done


def one_layer(single: Mapping[str, ibjax.Trajectory]) -> Evidence:
    """Whether a single hidden layer compresses: the widest of those that learn and whose fall would show.

    Args:
      single: networks of one hidden layer by a label.
    """
    claim = "one_layer_no_compression"
    told = "; ".join(
        f"{label} {common.mean(compression(run).drop[:, 0])} from {common.mean(compression(run).peak[:, 0])} (training "
        f"accuracy {common.mean(np.where(run.diverged, np.nan, run.train_accuracy[:, -1]))})"
        for label, run in single.items()
    )
    falls = {label: np.where(has_learned(run), compression(run).drop[:, 0], np.nan) for label, run in single.items()}
    judged = {label: run for label, run in single.items() if seen(run) and not np.isnan(falls[label]).all()}
    if not judged:
        return Evidence.unmeasurable(claim, f"Every pattern has a cell to itself. Falls, bits: {told}.")
    label = max(judged, key=lambda name: judged[name].layer_widths[0])
    detail = (
        f"This is {label}. A layer that begins at H(X), each pattern in a cell to itself, falls by at least this much. "
        f"Fall of all, bits: {told}."
    )
    return Evidence(claim, falls[label], detail=detail)


def seen(run: ibjax.Trajectory) -> bool:
    """Whether a fall of I(X;T) of the first layer would show: it ends below H(X), wherever it has been before."""
    last = run.i_xt[has_learned(run), -1, 0]
    return bool(last.size and last.mean() < run.h_x - ROOM)


def _narrow(runs: Runs) -> dict[str, ibjax.Trajectory]:
    return {label: run for label, run in runs.items() if label.endswith(" units")}


def figure(runs: Runs) -> Figure:
    """A plane per depth; below, the output's relevant information, and the times until it is there and compressed."""
    depths = by_depth(runs)
    titles = {f"{depth} hidden layer{'s' * (depth != 1)}": run for depth, run in depths.items()}
    with figures.style():
        whole = Figure(figsize=(COLUMN, 9.6), layout="constrained")
        top, bottom = whole.subfigures(2, 1, squeeze=False, height_ratios=(5.4, 4.2))[:, 0]
        figures.planes(titles, part=top)
        upper, lower = bottom.subplots(2, 1)
        draw_output_relevance(upper, depths)
        never = {share: np.array([np.isnan(reached(run, share)).any() for run in depths.values()]) for share in MARKS}
        series = {
            **{f"{share:.0%} of $I(X;Y)$ in the output": _columns(depths, share) for share in MARKS},
            "fall of the last hidden layer": np.stack(
                [compression_times(run)[:, -2] for run in depths.values()], axis=1
            ),
        }
        draw_event_epochs(lower, series, list(map(str, depths)))
        mark_censored(lower, never, depths)
        lower.set_xlabel("hidden layers")
        lower.set_title("geometric mean, 95% bars")
        letter([*top.axes[: len(depths)], upper, lower])
    return whole


def _columns(depths: Mapping[int, ibjax.Trajectory], share: float) -> Values:
    return np.stack([times(run, share) for run in depths.values()], axis=1)


def mark_censored(ax: Axes, never: Mapping[float, Values], depths: Mapping[int, ibjax.Trajectory]) -> None:
    """An arrow up where some network of a depth never gets there: the mean is a lower bound."""
    for number, (share, censored) in enumerate(never.items()):
        for place in np.flatnonzero(censored):
            at = place + 0.14 * (number - 1)
            height = 10 ** common.mean(times(list(depths.values())[place], share)).estimate
            look = {"arrowstyle": "->", "color": EVENTS[number][0], "lw": 0.8}
            ax.annotate("", (at, height * 1.9), (at, height), arrowprops=look)


def draw_output_relevance(ax: Axes, depths: Mapping[int, ibjax.Trajectory]) -> None:
    """Share of I(X;Y) in the output, its distance from 1 on a logarithmic scale, 95% bands; the marks dotted."""
    longest = max(depths.values(), key=lambda run: int(run.epochs[-1]))
    for (depth, run), colour in zip(depths.items(), ensemble_colours(len(depths)), strict=True):
        lacking = 1.0 - run.i_ty[run.healthy, :, -1].astype(np.float64) / run.i_xy
        mean, low, high = np.array([common.mean(column) for column in lacking.T]).T
        ax.plot(run.epochs, mean, color=colour, label=str(depth))
        fill_band(ax, run.epochs, np.maximum(low, 1e-3), high, colour)
    for share in MARKS:
        ax.axhline(1.0 - share, color="0.2", linewidth=0.7, linestyle=":")
    epoch_axis(ax, longest)
    ax.set_yscale("log")
    ax.set_ylim(1.05, 0.02)
    ax.yaxis.set_major_locator(FixedLocator([1.0, 0.5, 0.2, 0.1, 0.05, 0.02]))
    ax.yaxis.set_major_formatter(lambda lacks, _: f"{1 - lacks:.2g}")
    ax.yaxis.set_minor_locator(NullLocator())
    ax.set_ylabel("$I(T;Y)/I(X;Y)$, output")
    ax.set_title(f"mean of {int(longest.healthy.sum())} networks, 95% band")
    ax.legend(title="hidden layers", loc="lower right", title_fontsize=7, ncols=3)


def main(argv: Sequence[str] | None = None) -> int:
    """Train or read, measure, draw, write."""
    return common.execute(NAME, __doc__, configs, measure, figure, argv)


if __name__ == "__main__":
    sys.exit(main())
