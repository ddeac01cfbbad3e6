"""Drift and diffusion of the gradients, and whether the compression begins where one turns into the other.

Figure 4 of arXiv 1703.00810. A layer's gradients drift while the norm of their mean over the batches of an epoch
exceeds that of their standard deviation, and diffuse when it does not; the crossing is the first epoch of diffusion
that lasts (`ibjax.analysis.phase_change`). Late in training, with every pattern learned, the mean can exceed the
deviation again.

Whether one causes the other is seen by moving the crossing: batches of 16 to 1024 patterns with learning rates in
proportion make as much way in an epoch (learning rate x updates), with more or less noise, from the same initial
weights on the same patterns. If the noise starts the compression, the peak of I(X;T) moves with the crossing.

Shapes: S seeds, E logged epochs, L layers, B batch sizes.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

import common
import numpy as np
from common import Evidence, Plan, Runs, Values
from common.layers import compressing, log_epochs
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

import ibjax
from ibjax import figures
from ibjax.analysis import compression, phase_change, snr
from ibjax.analysis.statistics import percentiles, resampling_weights
from ibjax.figures.style import ensemble_colours, legend_below

NAME = "gradients"
PAPER_BATCH = 256
BATCHES = (16, 32, 64, 128, 256, 512, 1024)


def configs(plan: Plan) -> dict[str, ibjax.Config]:
    """The paper's run, and others with the same learning rate x updates."""
    others = {
        str(size): plan.paper(seeds=10, batch_size=size, learning_rate=0.1 * size / PAPER_BATCH, store_weights=False)
        for size in ((64, 1024) if plan.quick else BATCHES)
        if size != PAPER_BATCH
    }
    return {"paper": plan.paper(), **others}


def by_batch(runs: Runs) -> dict[int, ibjax.Trajectory]:
    """The runs of equal learning rate x updates, in the order of their batch sizes, on the seeds that all have."""
    sizes = {PAPER_BATCH if label == "paper" else int(label): run for label, run in runs.items()}
    shared = [seed for seed in runs["paper"].seeds.tolist() if all(seed in run.seeds for run in runs.values())]
    return {size: sizes[size].of_seeds(shared) for size in sorted(sizes)}


def measure(runs: Runs) -> list[Evidence]:
    """Crossings per layer, their epoch, whether compression begins there, and whether it follows when they move."""
    found = of_run(runs["paper"])
    changes = {size: phase_change(run, resamples=1) for size, run in by_batch(runs).items()}
    told = ", ".join(
        f"batch {size} {change.network_found:.0%} of the networks{at(change.network_epoch)}"
        for size, change in changes.items()
    )
    found[1].detail += f"At equal learning rate x updates: {told}."
    return [*found, follows(by_batch(runs))]


def at(epoch: float) -> str:
    """ " at 12.5", or "" where nothing is there."""
    return "" if np.isnan(epoch) else f" at {epoch:.3g}"


def of_run(run: ibjax.Trajectory) -> list[Evidence]:
    """The evidence of one run, without the control; asked of other settings of the training too."""
    names, change = run.layer_names, phase_change(run, resamples=1)
    crossed = np.where(run.diverged[:, None], np.nan, ~np.isnan(change.per_seed))
    first = ", ".join(
        f"{name} {epoch:.3g} ({share:.0%} for good)"
        for name, epoch, share in zip(names, change.epoch, change.lasting, strict=True)
    )
    falls, stays = snr_falls(run)
    return [
        Evidence.share(
            "crosses",
            crossed,
            names,
            f"First crossing, geometric mean of the epochs: {first}. log10 of the signal to noise ratio falls from the "
            f"first ten epochs to those between 1% and 10% of the training by {common.describe(falls, names)}; to the "
            f"last tenth of the training by {common.describe(stays, names)}.",
        ),
        Evidence("crossing_350", log_epochs(change.network_per_seed)),
        peak_at_crossing(run),
    ]


def peak_at_crossing(run: ibjax.Trajectory) -> Evidence:
    """log10 of the later of the peak of I(X;T) and the layer's crossing over the earlier, mean over layers.

    The absolute value, as otherwise layers that peak early and late would cancel. Of the layers that compress.
    """
    chosen = compressing(run)
    names = [name for name, counts in zip(run.layer_names, chosen, strict=True) if counts]
    peak = log_epochs(compression(run).peak_epoch)[:, chosen]
    crossing = log_epochs(phase_change(run, resamples=1).per_seed)[:, chosen]
    if not names:
        return Evidence.unmeasurable("peak_at_crossing", "No layer compresses.")
    beside = [_correlation(a, b) for a, b in zip(peak.T, crossing.T, strict=True)]
    quartiles = ", ".join(
        "{} {:.0f}-{:.0f}".format(name, *10 ** np.nanpercentile(column, [25, 75]))
        for name, column in zip(names, peak.T, strict=True)
        if not np.isnan(column).all()
    )
    detail = (
        f"log10 of peak over crossing per layer: {common.describe(peak - crossing, names)}. Middle half of the "
        f"networks' peaks: epochs {quartiles}; rank correlation of peak and crossing over networks: "
        f"{', '.join(f'{name} {r:.2g}' for name, r in zip(names, beside, strict=True))}."
    )
    return Evidence("peak_at_crossing", common.known_mean(np.abs(peak - crossing), 1), detail=detail)


def _correlation(a: Values, b: Values) -> float:
    """Spearman's, of the pairs known; NaN for fewer than three or no variation."""
    known = ~np.isnan(a + b)
    if known.sum() < 3 or np.ptp(a[known]) == 0 or np.ptp(b[known]) == 0:
        return float("nan")
    return float(stats.spearmanr(a[known], b[known]).statistic)


def follows(runs: Mapping[int, ibjax.Trajectory]) -> Evidence:
    """Slope of log epoch of the peak on log epoch of the crossing, batch sizes of a seed against each other.

    Args:
      runs: by batch size, on the same seeds.
    """
    peak, crossing = times(runs)
    names = [f"batch {size}" for size in runs]
    falls = np.stack([compression(run).drop[:, -2] for run in runs.values()], axis=1)
    never = np.isnan(crossing) & ~np.isnan(falls)
    told = (
        f"Networks that never cross lose {common.mean(falls[never])} bits in the last hidden layer, those that do "
        f"{common.mean(falls[~np.isnan(crossing)])}. Peak, log10 of the epoch: {common.describe(peak, names)}; "
        f"crossing: {common.describe(crossing, names)}."
    )
    estimate, low, high, error, n = slope_within(crossing, peak)
    if n < 2:
        return Evidence.unmeasurable("peak_follows_crossing", f"Too few networks cross at two batch sizes. {told}")
    return Evidence.of("peak_follows_crossing", estimate, low, high, error, n, told)


def times(runs: Mapping[int, ibjax.Trajectory]) -> tuple[Values, Values]:
    """log10 epoch of the peak of I(X;T), mean over the layers that compress, and of the network's crossing; (S, B)."""
    chosen = np.any([compressing(run) for run in runs.values()], axis=0)
    peaks = [common.known_mean(log_epochs(compression(run).peak_epoch)[:, chosen], 1) for run in runs.values()]
    crossings = [log_epochs(phase_change(run, resamples=1).network_per_seed) for run in runs.values()]
    return np.stack(peaks, axis=1), np.stack(crossings, axis=1)


def slope_within(x: Values, y: Values, resamples: int = 2000) -> tuple[float, float, float, float, int]:
    """Least-squares slope of y on x, (S, B), with a mean of its own for each row, by a bootstrap of the rows.

    Returns:
      The slope, the ends of its 95% interval, its standard error, and how many rows say anything of it.
    """
    known = ~np.isnan(x + y)
    x, y = (values - common.known_mean(np.where(known, values, np.nan), 1)[:, None] for values in (x, y))
    xy, xx = (np.where(known, x * z, 0.0).sum(axis=1) for z in (y, x))
    rows = (known.sum(axis=1) > 1) & (xx > 0)
    n = int(rows.sum())
    if n < 2:
        return (float("nan"),) * 4 + (n,)
    xy, xx = xy[rows], xx[rows]
    weights = resampling_weights(n, resamples, 0)
    drawn = (weights @ xy) / (weights @ xx)
    low, high = percentiles(drawn, 0.95)
    return float(xy.sum() / xx.sum()), float(low), float(high), float(drawn.std(ddof=1)), n


def snr_falls(run: ibjax.Trajectory) -> tuple[Values, Values]:
    """(S, L) fall of log10 SNR from the first ten epochs to 1%-10% of the training, and to its last tenth."""
    ratio = snr(run)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log10(np.where(np.isfinite(ratio) & (ratio > 0), ratio, np.nan))
    logs[run.diverged] = np.nan
    last = float(run.epochs[-1])
    early, middle, end = (_window(run, logs, *ends) for ends in ((1, 10), (last / 100, last / 10), (0.9 * last, last)))
    return early - middle, early - end


def _window(run: ibjax.Trajectory, logs: Values, low: float, high: float) -> Values:
    """(S, L) mean of the known values at the logged epochs from low to high, or at the nearest."""
    inside = (run.epochs >= low) & (run.epochs <= high)
    if not inside.any():
        inside[run.epoch_index(np.sqrt(low * high))] = True
    part = logs[:, inside]
    count = np.sum(~np.isnan(part), axis=1)
    return np.where(count > 0, np.nansum(part, axis=1) / np.maximum(count, 1), np.nan)


def figure(runs: Runs) -> Figure:
    """Gradients; crossing and peak of every network by layer; peak against crossing over batch sizes."""
    whole, (left, middle, right) = figures.side_by_side(3, height=3.0, columns=1)
    with figures.style():
        figures.gradients(runs["paper"], ax=left)
        _draw_layers(middle, runs["paper"])
        _draw_batches(right, by_batch(runs))
    return whole


def _draw_layers(ax: Axes, run: ibjax.Trajectory) -> None:
    """Every network's first crossing and peak of I(X;T), layer by layer, with the geometric means."""
    crossing = phase_change(run, resamples=1).per_seed
    peak = np.where(compressing(run), compression(run).peak_epoch, np.nan)
    spread = np.random.default_rng(0).uniform(-0.12, 0.12, len(run.seeds))
    for epochs, shift, colour, label in (
        (crossing, -0.18, "0.45", "first crossing, mean < std"),
        (peak, 0.18, "#00708A", "peak of $I(X;T)$, layers that compress"),
    ):
        for layer, column in enumerate(log_epochs(epochs).T):
            ax.plot(layer + shift + spread, 10**column, ".", ms=2, alpha=0.5, color=colour, mew=0)
            middle, low, high = (10**value for value in common.mean(column))
            bar = np.nan_to_num([[middle - low], [high - middle]])
            ax.errorbar(layer + shift, middle, bar, fmt="D", ms=3.5, color=colour, mec="white", mew=0.4)
        ax.plot([], [], "D", ms=3.5, color=colour, label=label)
    ax.set_yscale("log")
    ax.set_ylabel("epoch")
    ax.set_xticks(range(len(run.layer_names)), [name.replace("hidden_", "") for name in run.layer_names])
    ax.set_xlabel("hidden layer, output")
    ax.set_title("networks; geometric means, 95%")
    legend_below(ax, columns=1)


def _draw_batches(ax: Axes, runs: Mapping[int, ibjax.Trajectory]) -> None:
    """Peak of I(X;T) against the crossing, a point for each network, a colour for each batch size."""
    peak, crossing = times(runs)
    never = 3 * 10 ** np.nanmax(crossing, initial=1.0)  # where those stand that do not cross
    for column, (size, colour) in enumerate(zip(runs, ensemble_colours(len(runs)), strict=True)):
        known = ~np.isnan(crossing[:, column])
        at = np.where(known, 10 ** np.nan_to_num(crossing[:, column]), never)
        label = f"{size}" if known.all() else f"{size} ({np.sum(~known)} of {known.size} never)"
        ax.plot(at, 10 ** peak[:, column], "o", ms=3, alpha=0.75, color=colour, mew=0, label=label)
    ax.axvline(never / 1.6, color="0.6", lw=0.6, ls=":")
    ax.plot([1, never / 1.6], [1, never / 1.6], color="0.4", lw=0.8, label="peak at the crossing")
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlim(0.8, 1.6 * never)
    powers = 10.0 ** np.arange(0, np.log10(never / 2))
    ax.set_xticks([*powers, never], [*(f"{power:.0f}" for power in powers), "never"])
    ax.set_xlabel("first crossing [epoch]")
    ax.set_ylabel("peak of $I(X;T)$, mean of layers [epoch]")
    ax.set_title("batch sizes at equal rate x updates")
    legend_below(ax, columns=2)


def main(argv: Sequence[str] | None = None) -> int:
    """Train or read, measure, draw, write."""
    return common.execute(NAME, __doc__, configs, measure, figure, argv)


if __name__ == "__main__":
    sys.exit(main())
