"""Drift and diffusion of the gradients, layer by layer, and what they have to do with the compression.

Figure 4 of arXiv 1703.00810. A layer's gradients drift while the norm of their mean over the batches of an epoch
exceeds that of their standard deviation, and diffuse when it does not.

Late in training, with every training pattern learned, the mean can exceed the deviation again. So the epoch told is
that of the first crossing (`ibjax.analysis.phase_change`: the first of three logged epochs in a row in diffusion, after
any in drift), and beside it the share of the networks that never drift again.

Shapes: S seeds, E logged epochs, L layers.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import common
import numpy as np
from common import Finding, Interval, Runs, Values
from common.drawing import draw_event_epochs
from matplotlib.figure import Figure

import ibjax
from ibjax import figures
from ibjax.analysis import Estimate, compression, mean_over_seeds, phase_change, snr

NAME = "gradients"
PAPER_EPOCH = 350
FACTOR = 2.0  # two epochs within this factor count as the same
COMPRESSES = 0.5  # bits of I(X;T) that a layer must lose to be asked when its compression begins


def configs(quick: bool) -> dict[str, ibjax.Config]:
    """The paper's run."""
    return {"paper": common.paper(quick)}


def measure(runs: Runs) -> list[Finding]:
    """When drift ends, whether for good, whether compression begins there, and whether the SNR drops."""
    run = runs["paper"]
    return [_phases(run), _when(run), _peak(run), _noise(run)]


def _phases(run: ibjax.Trajectory) -> Finding:
    """Whether every layer goes from drift to diffusion, and stays."""
    names, change = run.layer_names, phase_change(run)
    crossed = mean_over_seeds(run, np.where(run.diverged[:, None], np.nan, ~np.isnan(change.per_seed)))
    least = int(np.argmin(crossed.mean))
    told = [
        f"{name} {epoch:.3g} [{low:.3g}, {high:.3g}] in {share:.0%}, for good in {lasting:.0%}"
        for name, epoch, low, high, share, lasting in zip(
            names, change.epoch, change.low, change.high, crossed.mean, change.lasting, strict=True
        )
    ]
    returns = [name for name, lasting in zip(names, change.lasting, strict=True) if lasting < 0.5]
    verdict = common.verdict_above(common.at(crossed, least), 0.5)
    if verdict == common.REPRODUCED and returns:
        verdict = common.depends_on(
            f"how long one trains: all layers cross, but in most networks {', '.join(returns)} see mean > std again"
        )
    return Finding.of(
        common.at(crossed, least),
        claim="The gradients of every layer go from drift (mean > std) to diffusion (mean < std).",
        source=f"{common.PAPER}, figure 4",
        measured=f"share of networks in which the gradients of {names[least]}, the layer that does so least, cross "
        f"from drift to diffusion; first crossing, geometric mean of the epochs: {'; '.join(told)}",
        verdict=verdict,
    )


def _when(run: ibjax.Trajectory) -> Finding:
    """The epoch of the whole network's crossing."""
    change = phase_change(run)
    epoch = Interval(
        change.network_epoch,
        change.network_low,
        change.network_high,
        int(np.sum(~np.isnan(change.network_per_seed))),
    )
    return Finding.of(
        epoch,
        claim=f"The gradients' phase change comes at about {PAPER_EPOCH} epochs.",
        source=f"{common.PAPER}, figure 4",
        measured="first crossing of the whole network's gradients, geometric mean of the epochs; for good in "
        f"{change.network_lasting:.0%} of the networks; reproduced if within a factor {FACTOR:g} of {PAPER_EPOCH}",
        verdict=_near(epoch, PAPER_EPOCH / FACTOR, PAPER_EPOCH * FACTOR, "the learning rate, which is not published"),
        note="The learning rate and the batch size of the paper are not published; both set the epoch and the noise.",
    )


def _peak(run: ibjax.Trajectory) -> Finding:
    """How long after the first crossing I(X;T) peaks, in the layers that compress."""
    late, compresses = lag(run)
    each = mean_over_seeds(run, late)
    names = [name for name, counts in zip(run.layer_names, compresses, strict=True) if counts]
    with np.errstate(invalid="ignore"):
        known = ~np.isnan(late)
        together = np.where(known.any(axis=1), np.nansum(late, axis=1) / np.maximum(known.sum(axis=1), 1), np.nan)
    interval = common.mean(together)
    limit = float(np.log10(FACTOR))
    return Finding.of(
        interval,
        claim="Compression begins where the gradients go from drift to diffusion.",
        source=f"{common.PAPER}, figures 3 and 4",
        measured="log10 of the epoch at which I(X;T) peaks over the epoch of the first crossing, mean over the layers "
        f"that lose more than {COMPRESSES} bits; per layer: {common.describe(each, names) or 'none compresses'}; "
        f"reproduced if within a factor {FACTOR:g}",
        verdict=_near(interval, -limit, limit, "the layer and the seed"),
        note="Saxe et al. 2018 find the two phases of the gradients without compression.",
    )


def lag(run: ibjax.Trajectory) -> tuple[Values, list[bool]]:
    """log10(epoch of the peak of I(X;T)) - log10(first crossing), (S, layers that compress), and which those are."""
    fall = compression(run)
    means = mean_over_seeds(run, fall.drop, resamples=1).mean
    compresses = [bool(drop > COMPRESSES) for drop in means]
    peak, crossing = (np.log10(np.maximum(e, 1.0)) for e in (fall.peak_epoch, phase_change(run).per_seed))
    return (peak - crossing)[:, compresses], compresses


def _noise(run: ibjax.Trajectory) -> Finding:
    """How far the signal to noise ratio falls, per layer."""
    ratio = snr(run)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log10(np.where(np.isfinite(ratio) & (ratio > 0), ratio, np.nan))
    last = float(run.epochs[-1])
    windows = ((1.0, max(last / 1000, 1.0)), (last / 100, last / 10), (0.9 * last, last))
    early, middle, end = (_window(run, logs, low, high) for low, high in windows)
    names = run.layer_names
    falls, stays = mean_over_seeds(run, early - middle), mean_over_seeds(run, early - end)
    least = int(np.argmin(falls.mean))
    verdict = common.verdict_above(common.at(falls, least))
    rises = [name for index, name in enumerate(names) if not common.at(stays, index).low > 0]
    if verdict == common.REPRODUCED and rises:
        verdict = common.depends_on(
            f"when one looks: it falls in every layer, but not to the end in {', '.join(rises)}"
        )
    return Finding.of(
        common.at(falls, least),
        claim="The gradients' signal to noise ratio falls in every layer.",
        source="Goldfeld et al. 2019, Saxe et al. 2018, tanh and ReLU alike",
        measured=f"fall of log10 SNR from the epochs {windows[0][0]:.0f}-{windows[0][1]:.0f} to "
        f"{windows[1][0]:.0f}-{windows[1][1]:.0f} in {names[least]}, the layer where it falls least; all: "
        f"{common.describe(falls, names)}; to the last tenth of the training: {common.describe(stays, names)}",
        verdict=verdict,
    )


def _window(run: ibjax.Trajectory, logs: Values, low: float, high: float) -> Values:
    """(S, L) mean of the finite values at the logged epochs from low to high, or at the nearest."""
    inside = (run.epochs >= low) & (run.epochs <= high)
    if not inside.any():
        inside[run.epoch_index(np.sqrt(low * high))] = True
    part = logs[:, inside]
    count = np.sum(~np.isnan(part), axis=1)
    return np.where(count > 0, np.nansum(part, axis=1) / np.maximum(count, 1), np.nan)


def _near(interval: Interval, low: float, high: float, otherwise: str) -> str:
    """Reproduced where the interval lies within the limits, not where it lies outside."""
    if np.isnan(interval.low):
        return common.verdict_above(interval)
    if low <= interval.low and interval.high <= high:
        return common.REPRODUCED
    return common.NOT_REPRODUCED if interval.high < low or interval.low > high else common.depends_on(otherwise)


def figure(runs: Runs) -> Figure:
    """Gradients; first crossing and peak of I(X;T) per layer; the plane with the whole network's crossing."""
    run = runs["paper"]
    fall = compression(run)
    still = mean_over_seeds(run, fall.drop, resamples=1).mean <= COMPRESSES
    peak, crossing = (np.log10(np.maximum(e, 1.0)) for e in (fall.peak_epoch, phase_change(run).per_seed))
    peak[:, still] = np.nan
    events: dict[str, Estimate] = {
        "first crossing, mean < std": mean_over_seeds(run, crossing),
        "peak of $I(X;T)$": mean_over_seeds(run, peak),
    }
    whole, (left, middle, right) = figures.side_by_side(3, height=3.1)
    with figures.style():
        figures.gradients(run, ax=left)
        draw_event_epochs(middle, events, run.layer_names)
        middle.set_title("geometric mean of the networks, 95% bars")
        figures.plane_trajectories(run, ax=right)
    return whole


def main(argv: Sequence[str] | None = None) -> int:
    """Train or read, measure, draw, write."""
    return common.execute(NAME, __doc__, configs, measure, figure, argv)


if __name__ == "__main__":
    sys.exit(main())
