"""What an ensemble's trajectory says: phases, compression, relevance, with intervals over seeds.

Shapes: S seeds, E logged epochs, L layers, R resamples. Information in bits, time in completed epochs.
Results per seed have S rows, NaN for diverged seeds, which no mean contains. Logged epochs are usually
log-spaced and start at 0, so nothing here divides by an epoch, interpolates between epochs or weighs them by
their distance: an epoch reported for a network, or for the ensemble's curves, is always a logged one.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ibjax.bounds import BoundsReport, Violations, check_bounds
from ibjax.statistics import (
    Estimate,
    Values,
    check_options,
    mean_over_seeds,
    percentiles,
    resample_blocks,
    resampling_weights,
)
from ibjax.trajectory import Trajectory

__all__ = [
    "BoundsReport",
    "Compression",
    "Estimate",
    "NormalisedGradients",
    "PhaseChange",
    "SummaryRow",
    "Violations",
    "check_bounds",
    "compression",
    "epochs_to_relevance",
    "mean_over_seeds",
    "normalised_gradients",
    "phase_change",
    "snr",
    "summary",
]


class NormalisedGradients(NamedTuple):
    """Both (S, E, L): norm of the mean and of the standard deviation, each over the weight norm."""

    mean: Values
    std: Values


def snr(trajectory: Trajectory) -> Values:
    """(S, E, L) signal to noise of the gradients, `gradient_mean / gradient_std`.

    Infinite where the minibatch gradients agree exactly (one batch per epoch), NaN where both are 0.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.divide(trajectory.gradient_mean, trajectory.gradient_std, dtype=np.float64), np.float64)


def normalised_gradients(trajectory: Trajectory) -> NormalisedGradients:
    """Gradient norms over the norm of the weights (figure 4 of arXiv 1703.00810)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return NormalisedGradients(
            np.divide(trajectory.gradient_mean, trajectory.weight_norm, dtype=np.float64),
            np.divide(trajectory.gradient_std, trajectory.weight_norm, dtype=np.float64),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class PhaseChange:
    """From drift (mean > std of the gradients) to diffusion (mean < std); epochs, NaN where not seen.

    Attributes:
        epoch, low, high: (L,) epoch of the ensemble's mean curves, and its bootstrap interval over seeds (NaN
            for fewer than two healthy seeds).
        found: (L,) share of the resamples that show a change; the interval is over these.
        per_seed: (S, L) epoch of each network alone.
        network_epoch, network_low, network_high, network_found: the same for all layers together.
        network_per_seed: (S,).
        count: healthy seeds.
        left_out: diverged seeds.
        level: coverage of the intervals.
    """

    epoch: Values
    low: Values
    high: Values
    found: Values
    per_seed: Values
    network_epoch: float
    network_low: float
    network_high: float
    network_found: float
    network_per_seed: Values
    count: int
    left_out: int
    level: float


def phase_change(
    trajectory: Trajectory, *, window: int = 5, level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> PhaseChange:
    """The epoch after which the gradients' mean stays below their standard deviation.

    Per layer: the ensemble means of both norms, each over the weight norm, are the two curves of the paper's
    gradient figure. Their ratio is smoothed by a running median over `window` logged epochs, so that a single
    noisy epoch late in training does not count as a return to drift. The phase change is the first logged
    epoch after the last with ratio >= 1. There is none (NaN) if the ratio was never >= 1, or still is at the
    end. The whole network is taken as one weight vector: squared norms add over the layers.

    Args:
        trajectory: the ensemble.
        window: odd number of logged epochs; 1 smooths nothing.
        level: coverage of the intervals.
        resamples: R, bootstrap resamples of the seeds.
        seed: of the resampling.

    Raises:
        ValueError: an option is out of range.
    """
    check_options(level, resamples)
    if window < 1 or window % 2 == 0:
        raise ValueError(f"window is {window!r}; expected an odd number of logged epochs, at least 1")

    def with_network(norms: npt.ArrayLike) -> Values:
        """Append the whole network as one more layer: (S, E, L + 1)."""
        layers = np.asarray(norms, np.float64)
        return np.concatenate([layers, np.sqrt(np.sum(layers**2, axis=2, keepdims=True))], axis=2)

    rows = np.flatnonzero(trajectory.healthy)
    S, E, L = trajectory.i_xt.shape
    weight = with_network(trajectory.weight_norm)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = (with_network(trajectory.gradient_mean) / weight)[rows]
        std = (with_network(trajectory.gradient_std) / weight)[rows]

    def crossing(mean: Values, std: Values) -> Values:
        """(n, E, L + 1) twice -> (n, L + 1) epochs."""
        with np.errstate(divide="ignore", invalid="ignore"):
            drift = _running_median(mean / std, window) >= 1.0
        last = E - 1 - np.argmax(drift[:, ::-1], axis=1)
        seen = drift.any(axis=1) & (last < E - 1)
        return np.where(seen, trajectory.epochs[np.minimum(last + 1, E - 1)], np.nan)

    per_seed = np.full((S, L + 1), np.nan)
    epoch, low, high, found = np.full((4, L + 1), np.nan)
    if len(rows):
        per_seed[rows] = crossing(mean, std)
        epoch = crossing(mean.mean(axis=0)[None], std.mean(axis=0)[None])[0]
    if len(rows) > 1:
        weights = resampling_weights(len(rows), resamples, seed)
        blocks = resample_blocks(weights, 2 * window * E * (L + 1))
        drawn = np.concatenate([crossing(np.tensordot(w, mean, 1), np.tensordot(w, std, 1)) for w in blocks])
        low, high = percentiles(drawn, level, method="inverted_cdf")
        found = np.mean(~np.isnan(drawn), axis=0)
    return PhaseChange(
        epoch=epoch[:L],
        low=low[:L],
        high=high[:L],
        found=found[:L],
        per_seed=per_seed[:, :L],
        network_epoch=float(epoch[L]),
        network_low=float(low[L]),
        network_high=float(high[L]),
        network_found=float(found[L]),
        network_per_seed=per_seed[:, L],
        count=len(rows),
        left_out=S - len(rows),
        level=level,
    )


def _running_median(values: Values, window: int) -> Values:
    """Median over `window` entries of axis 1, over fewer at the ends (the largest symmetric window)."""
    out = values.copy()
    E, half = values.shape[1], window // 2
    for index in range(1, E - 1):
        reach = min(half, index, E - 1 - index)
        out[:, index] = np.median(values[:, index - reach : index + reach + 1], axis=1)
    return out


@dataclass(frozen=True, kw_only=True, eq=False)
class Compression:
    """How I(X;T) falls from its peak, per seed and layer; NaN for diverged seeds.

    Attributes:
        start, peak, end: (S, L) I(X;T) at the first logged epoch, at its largest, at the last; bits.
        peak_epoch: (S, L) first logged epoch with the largest value.
        drop: (S, L) peak - end, bits, never negative. A noisy curve has a peak above its mean: compare with
            the drop of a layer that does not compress.
        half_epoch, most_epoch: (S, L) first logged epoch after the peak at which half, and 90%, of the drop
            is reached; NaN where the drop is smaller than `minimum_drop`.
        minimum_drop: bits.
        left_out: diverged seeds.
    """

    start: Values
    peak: Values
    end: Values
    peak_epoch: Values
    drop: Values
    half_epoch: Values
    most_epoch: Values
    minimum_drop: float
    left_out: int


def compression(trajectory: Trajectory, *, minimum_drop: float = 0.1) -> Compression:
    """Peak of I(X;T), its epoch, the drop to the end of training and how long that takes.

    Args:
        trajectory: the ensemble; `mean_over_seeds(trajectory, result.drop)` gives the mean and its interval.
        minimum_drop: bits below which a layer counts as not compressing and has no time.
    """
    i_xt = trajectory.i_xt.astype(np.float64)
    i_xt[trajectory.diverged] = np.nan
    lost = np.isnan(i_xt).any(axis=1)
    peak_at = np.where(lost, 0, np.argmax(i_xt, axis=1))
    peak = np.where(lost, np.nan, np.take_along_axis(i_xt, peak_at[:, None, :], axis=1)[:, 0])
    drop = peak - i_xt[:, -1]
    after = np.arange(trajectory.epochs.size)[:, None] >= peak_at[:, None, :]

    def reached(share: float) -> Values:
        there = after & (i_xt <= (peak - share * drop)[:, None, :])
        times = trajectory.epochs[np.argmax(there, axis=1)]
        return np.where(there.any(axis=1) & (drop >= max(minimum_drop, np.nextafter(0, 1))), times, np.nan)

    return Compression(
        start=i_xt[:, 0],
        peak=peak,
        end=i_xt[:, -1],
        peak_epoch=np.where(lost, np.nan, trajectory.epochs[peak_at]),
        drop=drop,
        half_epoch=reached(0.5),
        most_epoch=reached(0.9),
        minimum_drop=minimum_drop,
        left_out=int(trajectory.diverged.sum()),
    )


def epochs_to_relevance(trajectory: Trajectory, share: float = 0.95) -> Values:
    """(S, L) first logged epoch with I(T;Y) >= share * I(X;Y); NaN if never, and for diverged seeds.

    Raises:
        ValueError: `share` is not in (0, 1].
    """
    if not 0.0 < share <= 1.0:
        raise ValueError(f"share is {share!r}; expected a number in (0, 1]")
    there = trajectory.i_ty >= share * trajectory.i_xy
    seen = there.any(axis=1) & trajectory.healthy[:, None]
    return np.where(seen, trajectory.epochs[np.argmax(there, axis=1)], np.nan)


class SummaryRow(NamedTuple):
    """One layer; information in bits, means over healthy seeds (NaN if there is none).

    The peak is the mean of each network's own largest value, whenever it came.
    """

    layer: str
    width: int
    i_xt_start: float
    i_xt_peak: float
    i_xt_end: float
    i_ty_start: float
    i_ty_peak: float
    i_ty_end: float


def summary(trajectory: Trajectory) -> list[SummaryRow]:
    """Start, peak and end of both informations, a row per layer."""
    columns = []
    for values in (trajectory.i_xt, trajectory.i_ty):
        data = values[trajectory.healthy].astype(np.float64)
        if not len(data):
            columns += [np.full(data.shape[2], np.nan)] * 3
        else:
            columns += [data[:, 0].mean(axis=0), data.max(axis=1).mean(axis=0), data[:, -1].mean(axis=0)]
    return [
        SummaryRow(name, width, *(float(column[index]) for column in columns))
        for index, (name, width) in enumerate(zip(trajectory.layer_names, trajectory.layer_widths, strict=True))
    ]
