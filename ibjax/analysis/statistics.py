"""Means over the seeds of an ensemble and their intervals.

Shapes: S seeds, R resamples; ... any further axes. Diverged seeds are left out and counted.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from ibjax.trajectory.trajectory import Trajectory

Values = npt.NDArray[np.float64]

_BLOCK = 2**22
"""Numbers held at a time by a bootstrap: 32 MiB."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Estimate:
    """A mean over seeds with its interval, of the bootstrap's percentiles or Student's.

    Attributes:
      mean: (...) mean over the seeds counted, NaN where there is none.
      low, high: (...) ends of the interval; NaN where fewer than two seeds count, for one network says
        nothing about the spread of many.
      count: (...) int, how many seeds count: healthy ones whose value is not NaN.
      left_out: diverged seeds, which never count.
      level: coverage of the interval.
    """

    mean: Values
    low: Values
    high: Values
    count: npt.NDArray[np.int64]
    left_out: int
    level: float

    def __str__(self) -> str:
        if self.mean.ndim:
            return f"Estimate of shape {self.mean.shape}"
        if np.isnan(self.low):
            return f"{self.mean:.4g} ({self.count} seed{'s' * (int(self.count) != 1)}, no interval)"
        return f"{self.mean:.4g} [{self.low:.4g}, {self.high:.4g}] ({self.count} seeds)"


def mean_over_seeds(
    trajectory: Trajectory,
    values: str | npt.ArrayLike,
    *,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Estimate:
    """Mean over the healthy seeds and its percentile bootstrap interval (Efron 1979).

    With few seeds the interval is too narrow: its ends cannot leave the range of the values drawn from.

    NaN values (a network that never reached what is timed, say) do not count; `Estimate.count` says how many
    do, and a mean over few of the seeds describes those only.

    Args:
      trajectory: the ensemble.
      values: (S, ...) numbers, or the name of a field of the trajectory.
      level: coverage of the interval, between 0 and 1.
      resamples: R, at least 1.
      seed: of the resampling.

    Raises:
      ValueError: `values` has not S rows, or an option is out of range.
      TrajectoryError: the trajectory lacks the field.
    """
    check_options(level, resamples)
    data = np.asarray(trajectory.require(values) if isinstance(values, str) else values, np.float64)
    if data.shape[:1] != trajectory.seeds.shape:
        raise ValueError(f"values has shape {data.shape}; allowed: a row for each of {trajectory.seeds.size} seeds")
    left_out = int(trajectory.diverged.sum())
    data = data[trajectory.healthy]
    shape = data.shape[1:]
    data = data.reshape(len(data), math.prod(shape))
    known = ~np.isnan(data)
    filled = np.where(known, data, 0.0)
    count = known.sum(axis=0)
    mean = _ratio(filled.sum(axis=0), count)
    low, high = np.full((2, data.shape[1]), np.nan)
    if len(data) > 1:
        weights = resampling_weights(len(data), resamples, seed)
        width = max(1, _BLOCK // resamples)
        for start in range(0, data.shape[1], width):
            part = slice(start, start + width)
            means = _ratio(weights @ filled[:, part], weights @ known[:, part].astype(np.float64))
            low[part], high[part] = percentiles(means, level)
        low[count < 2], high[count < 2] = np.nan, np.nan
    return Estimate(
        mean=mean.reshape(shape),
        low=low.reshape(shape),
        high=high.reshape(shape),
        count=count.reshape(shape).astype(np.int64),
        left_out=left_out,
        level=level,
    )


def geometric_mean_over_seeds(trajectory: Trajectory, values: npt.ArrayLike) -> Estimate:
    """`mean_over_seeds` of the logarithms of (S, ...) numbers, as numbers; those without a logarithm do not count."""
    positive = np.isfinite(values) & (np.asarray(values) > 0)
    logs = mean_over_seeds(trajectory, np.log(values, out=np.full(positive.shape, np.nan), where=positive))
    return replace(logs, mean=np.exp(logs.mean), low=np.exp(logs.low), high=np.exp(logs.high))


def streamed_mean(
    trajectory: Trajectory, values: str | Callable[[Trajectory], npt.ArrayLike], *, level: float = 0.95
) -> Estimate:
    """Mean over the healthy seeds and its Student-t interval, from one piece of the trajectory after another.

    For the thousands of seeds of a folder (`ibjax.load`): no more is in memory than a piece and the sums. Of so many
    the interval is that of `mean_over_seeds`; of few, it assumes a normal distribution. NaN values do not count.
    Sums of squares are those of the pieces about their means, joined as by Chan, Golub and LeVeque (1983).

    Args:
      trajectory: the ensemble.
      values: the name of a field, or a function that gives (s, ...) numbers of a piece with s seeds.
      level: coverage of the interval, between 0 and 1.

    Raises:
      ValueError: `values` gives not a row a seed, or an option is out of range.
      TrajectoryError: the trajectory lacks the field.
    """
    check_options(level, 1)
    count: Any = 0
    mean: Any = 0.0
    squares: Any = 0.0  # sum of squared differences from the mean
    left_out = 0
    for piece in trajectory.pieces():
        added, center, within = _sums(piece, values)
        left_out += int(piece.diverged.sum())
        del piece  # before the next one is read
        distance, share = center - mean, added / np.maximum(count + added, 1)
        squares = squares + within + distance**2 * count * share
        mean, count = mean + distance * share, count + added
    spread = np.sqrt(squares / np.maximum(count * (count - 1), 1))
    half = spread * stdtrit(np.maximum(count - 1, 1), 0.5 * (1.0 + level))
    mean, half = np.where(count > 0, mean, np.nan), np.where(count > 1, half, np.nan)
    return Estimate(mean=mean, low=mean - half, high=mean + half, count=count, left_out=left_out, level=level)


def _sums(piece: Trajectory, values: str | Callable[[Trajectory], npt.ArrayLike]) -> tuple[Any, Any, Any]:
    """(...) each: how many seeds of a piece count, their mean, and the sum of their squared differences from it."""
    data = np.asarray(piece.require(values) if isinstance(values, str) else values(piece), np.float64)
    if data.shape[:1] != piece.seeds.shape:
        raise ValueError(f"values has shape {data.shape}; allowed: a row for each of {piece.seeds.size} seeds")
    data = data[piece.healthy]
    known = ~np.isnan(data)
    count = known.sum(axis=0)
    mean = np.where(known, data, 0.0).sum(axis=0) / np.maximum(count, 1)
    return count, mean, np.square(np.where(known, data - mean, 0.0)).sum(axis=0)


def check_options(level: float, resamples: int) -> None:
    """Refuse a coverage outside (0, 1) and fewer than one resample."""
    if not 0.0 < level < 1.0:
        raise ValueError(f"level = {level!r}; allowed: a number between 0 and 1, both excluded")
    if resamples < 1:
        raise ValueError(f"resamples = {resamples!r}; allowed: at least 1")


def resampling_weights(S: int, resamples: int, seed: int) -> Values:
    """(R, S) how often each seed occurs in each resample of S seeds drawn with replacement."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(S, np.full(S, 1.0 / S), size=resamples).astype(np.float64)


def percentiles(values: Values, level: float) -> tuple[Values, Values]:
    """(R, ...) -> twice (...): the central interval that holds a share `level` of the first axis.

    NaN entries are left out; NaN where all are.
    """
    tails = [50.0 * (1.0 - level), 50.0 * (1.0 + level)]
    if not np.isnan(values).any():  # the common case, and far faster
        low, high = np.percentile(values, tails, axis=0)
        return low, high
    low, high = np.full((2, *values.shape[1:]), np.nan)
    some = ~np.isnan(values).all(axis=0)
    if some.any():
        low[some], high[some] = np.nanpercentile(values[:, some], tails, axis=0)
    return low, high


def _ratio(total: Values, count: npt.NDArray[Any]) -> Values:
    """Total over count, NaN where the count is 0."""
    out = np.full(np.shape(total), np.nan)
    np.divide(total, count, out=out, where=count > 0)
    return out
