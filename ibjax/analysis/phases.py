"""What an ensemble's trajectory says: phases, compression, relevance, with intervals over seeds.

Shapes: S seeds, E logged epochs, L layers, R resamples. Information in bits, time in completed epochs.
Results per seed have S rows, NaN for diverged seeds, which no mean contains. Logged epochs are usually
log-spaced and start at 0, so nothing here divides by an epoch, interpolates between epochs or weighs them by
their distance: an epoch reported for a network, or for the ensemble's curves, is always a logged one.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ibjax.analysis.statistics import Estimate, Values, check_options, mean_over_seeds, streamed_mean
from ibjax.trajectory.schema import TrajectoryError
from ibjax.trajectory.trajectory import Trajectory


class NormalisedGradients(NamedTuple):
    """Gradient norms over the norm of the weights.

    Attributes:
      mean: (S, E, L) norm of the mean of the minibatch gradients, over the weight norm.
      std: (S, E, L) norm of their standard deviation, over the weight norm.
    """

    mean: Values
    std: Values


def snr(trajectory: Trajectory) -> Values:
    """(S, E, L) signal to noise of the gradients, `gradient_mean / gradient_std`.

    Infinite where the minibatch gradients agree exactly (one batch per epoch), NaN where both are 0.

    Raises:
      TrajectoryError: the trajectory has no gradients.
    """
    mean, std = trajectory.require("gradient_mean"), trajectory.require("gradient_std")
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.divide(mean, std, dtype=np.float64), np.float64)


def check_gradients(trajectory: Trajectory) -> None:
    """Refuse a trajectory of healthy networks that hold no gradient at any epoch.

    Raises:
      TrajectoryError: says why, where the configuration tells.
    """
    healthy = trajectory.healthy
    if not healthy.any() or np.isfinite(trajectory.require("gradient_mean")[healthy]).any():
        return
    phases = trajectory.config.get("config", {}).get("phases")
    raise TrajectoryError("no phase takes a gradient" if phases else "gradient_mean holds no number")


def normalised_gradients(trajectory: Trajectory) -> NormalisedGradients:
    """Gradient norms over the norm of the weights (figure 4 of arXiv 1703.00810).

    Raises:
      TrajectoryError: the trajectory has no gradients or no weight norms.
    """
    norm = trajectory.require("weight_norm")
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = (trajectory.require(key) for key in ("gradient_mean", "gradient_std"))
        return NormalisedGradients(*(np.divide(part, norm, dtype=np.float64) for part in parts))


@dataclass(frozen=True, kw_only=True, eq=False)
class PhaseChange:
    """From drift (mean > std of the gradients) to diffusion (mean < std); epochs, NaN where not seen.

    Attributes:
      epoch, low, high: (L,) geometric mean over the networks that change, and its bootstrap interval over seeds
        (NaN for fewer than two of them). Epoch 0 counts as 1.
      found: (L,) share of the healthy seeds that change.
      lasting: (L,) share of the healthy seeds that change and never drift again.
      per_seed: (S, L) epoch of each network, a logged one.
      network_epoch, network_low, network_high, network_found, network_lasting: the same for all layers together.
      network_per_seed: (S,).
      count: healthy seeds.
      left_out: diverged seeds.
      level: coverage of the intervals.
    """

    epoch: Values
    low: Values
    high: Values
    found: Values
    lasting: Values
    per_seed: Values
    network_epoch: float
    network_low: float
    network_high: float
    network_found: float
    network_lasting: float
    network_per_seed: Values
    count: int
    left_out: int
    level: float


def phase_change(
    trajectory: Trajectory, *, window: float = 1.1, level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> PhaseChange:
    """The epoch at which a layer's gradients go from drift to diffusion (figure 4 of arXiv 1703.00810).

    Per network and layer: the first logged epoch t from which on, up to `window` * t and at the next logged epoch at
    least, the mean norm lies below the norm of the standard deviation, after any epoch at which it does not. So one
    noisy epoch is no phase, and the answer depends on the spacing of the logged epochs by no more than that spacing.
    Late in training, with all patterns learned, the mean may rise above again, for an epoch or for good: `lasting` says
    in how many networks it never does. The whole network is taken as one vector: squared norms add over the layers.

    Args:
      trajectory: the ensemble.
      window: a factor of time, at least 1; a change is found only where the run goes on for that long.
      level: coverage of the intervals.
      resamples: R, bootstrap resamples of the seeds.
      seed: of the resampling.

    Raises:
      ValueError: an option is out of range.
      TrajectoryError: the trajectory has no gradients.
    """
    check_options(level, resamples)
    if not window >= 1:
        raise ValueError(f"window = {window!r}; allowed: a factor of time, at least 1")
    mean, std = (with_network(a) for a in map(trajectory.require, ("gradient_mean", "gradient_std")))
    drift, diffusion = mean >= std, mean < std
    first = _first_that_lasts(diffusion & np.maximum.accumulate(drift, axis=1), trajectory.epochs, window)
    seen = first < diffusion.shape[1]
    change = np.append(trajectory.epochs, np.nan)[first]
    later = np.arange(diffusion.shape[1])[:, None] >= first[:, None, :]
    lasting = seen & ~(later & drift).any(axis=1)
    change[trajectory.diverged] = np.nan

    def over_seeds(values: Values) -> Estimate:
        return mean_over_seeds(trajectory, values, level=level, resamples=resamples, seed=seed)

    logarithm = over_seeds(np.log10(np.maximum(change, 1.0)))
    epoch, low, high = (10.0**values for values in (logarithm.mean, logarithm.low, logarithm.high))
    found, lasts = (over_seeds(values.astype(np.float64)).mean for values in (seen, lasting))
    columns = {"epoch": epoch, "low": low, "high": high, "found": found, "lasting": lasts}
    network: dict[str, Any] = {f"network_{name}": float(values[-1]) for name, values in columns.items()}
    layers: dict[str, Any] = {name: values[:-1] for name, values in columns.items()}
    return PhaseChange(
        **layers,
        **network,
        per_seed=change[:, :-1],
        network_per_seed=change[:, -1],
        count=int(trajectory.healthy.sum()),
        left_out=int(trajectory.diverged.sum()),
        level=level,
    )


def with_network(norms: npt.ArrayLike) -> Values:
    """(S, E, L) norms of the layers' parts of a vector with the norm of the whole as one more layer."""
    layers = np.asarray(norms, np.float64)
    return np.concatenate([layers, np.sqrt(np.sum(layers**2, axis=2, keepdims=True))], axis=2)


def _first_that_lasts(
    there: npt.NDArray[np.bool_], epochs: npt.NDArray[np.int64], window: float
) -> npt.NDArray[np.intp]:
    """(S, L) index of the first logged epoch t at which (S, E, L) `there` is true, as it is at all others in
    [t, window * t] and at the next; E where there is none."""
    E = epochs.size
    end = np.maximum(np.searchsorted(epochs, window * epochs, side="right"), np.arange(E) + 2)  # behind the window
    observed = (window * epochs <= epochs[-1]) & (end <= E)
    missing = np.pad(np.cumsum(~there, axis=1), ((0, 0), (1, 0), (0, 0)))
    lasts = observed[:, None] & (missing[:, np.minimum(end, E)] == missing[:, :-1])
    return np.where(np.any(lasts, axis=1), np.argmax(lasts, axis=1), E)


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
    peak, peak_at = np.max(i_xt, axis=1), np.argmax(i_xt, axis=1)  # of values with a NaN, the NaN
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
        peak_epoch=np.where(np.isnan(peak), np.nan, trajectory.epochs[peak_at]),
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
        raise ValueError(f"share = {share!r}; allowed: a number in (0, 1]")
    there = trajectory.i_ty >= share * trajectory.i_xy
    seen = there.any(axis=1) & trajectory.healthy[:, None]
    return np.where(seen, trajectory.epochs[np.argmax(there, axis=1)], np.nan)


class SummaryRow(NamedTuple):
    """One layer; information in bits, means over healthy seeds (NaN if there is none).

    The peak is the mean of each network's largest value, whenever it came.
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

    def columns(piece: Trajectory) -> npt.NDArray[np.floating[Any]]:
        informations = (piece.i_xt, piece.i_ty)
        return np.stack([part for i in informations for part in (i[:, 0], i.max(axis=1), i[:, -1])], axis=1)

    means = streamed_mean(trajectory, columns).mean
    return [
        SummaryRow(name, width, *means[:, index].tolist())
        for index, (name, width) in enumerate(zip(trajectory.layer_names, trajectory.layer_widths, strict=True))
    ]
