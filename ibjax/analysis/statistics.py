"""Means over the seeds of an ensemble and their bootstrap intervals.

Shapes: S seeds, R resamples; ... any further axes. Diverged seeds are left out and counted.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ibjax.trajectory.trajectory import Trajectory

Values = npt.NDArray[np.float64]

_BLOCK = 2**22
"""Numbers held at a time by a bootstrap: 32 MiB."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Estimate:
    """A mean over seeds with its percentile bootstrap interval.

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
