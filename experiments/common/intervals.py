"""Numbers over seeds with their 95% bootstrap intervals, and how they are told.

Shapes: S seeds, L layers, K entries. NaN ends mean there is no interval (one seed).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import ibjax
from ibjax.analysis import Estimate
from ibjax.analysis.statistics import percentiles, resampling_weights

Values = npt.NDArray[np.float64]

_RESAMPLES = 2000


class Interval(NamedTuple):
    """A number, the ends of its 95% interval (NaN: none), and how many seeds it comes from."""

    estimate: float
    low: float
    high: float
    n_seeds: int

    def __str__(self) -> str:
        if math.isnan(self.low):
            return f"{self.estimate:.3g} (no interval)"
        return f"{self.estimate:.3g} [{self.low:.3g}, {self.high:.3g}]"


NOTHING = Interval(math.nan, math.nan, math.nan, 0)
"""Of a number that no network gives."""


def at(estimate: Estimate, *index: int) -> Interval:
    """One entry of an `Estimate` over seeds."""
    mean, low, high = (float(values[index]) for values in (estimate.mean, estimate.low, estimate.high))
    return Interval(mean, low, high, int(estimate.count[index]))


def mean(values: npt.ArrayLike) -> Interval:
    """Mean over seeds of (S,) values and its interval; NaN entries do not count."""
    return interval(lambda group: group.mean(axis=-1), _known(values))


def difference(first: npt.ArrayLike, second: npt.ArrayLike) -> Interval:
    """Mean of (S,) values less the mean of other (S',) values, resampled apart; NaN entries do not count."""
    return interval(lambda a, b: a.mean(axis=-1) - b.mean(axis=-1), _known(first), _known(second))


def slope(positions: Sequence[float], groups: Sequence[npt.ArrayLike]) -> Interval:
    """Least-squares slope of the groups' means over their positions, each group of seeds resampled apart.

    Groups without a known value are left out; NaN if fewer than two are left.
    """
    pairs = [(x, _known(group)) for x, group in zip(positions, groups, strict=True)]
    pairs = [(x, group) for x, group in pairs if group.size]
    if len(pairs) < 2:
        return NOTHING
    x = np.array([x for x, _ in pairs])
    weights = (x - x.mean()) / np.sum((x - x.mean()) ** 2)

    def fitted(*drawn: Values) -> Values:
        return np.tensordot(weights, np.stack([group.mean(axis=-1) for group in drawn]), 1)

    return interval(fitted, *(group for _, group in pairs))


def _known(values: npt.ArrayLike) -> Values:
    array = np.asarray(values, np.float64)
    return array[~np.isnan(array)]


def interval(statistic: Callable[..., Any], *groups: Values) -> Interval:
    """`statistic` of the groups (the last axis is resampled), and its percentile interval."""
    fewest = min(group.size for group in groups)
    if fewest == 0:
        return NOTHING
    estimate = float(statistic(*groups))
    if fewest == 1:
        return Interval(estimate, math.nan, math.nan, 1)
    drawn = []
    for number, group in enumerate(groups):
        counts = resampling_weights(group.size, _RESAMPLES, number).astype(int)
        drawn.append(np.stack([np.repeat(group, row) for row in counts]))
    low, high = percentiles(np.asarray(statistic(*drawn), np.float64), 0.95)
    return Interval(estimate, float(low), float(high), fewest)


def power_of_ten(interval: Interval) -> Interval:
    """The same interval on the scale of epochs: a mean of logarithms becomes a geometric mean."""
    estimate, low, high = (float(10.0**value) for value in interval[:3])
    return Interval(estimate, low, high, interval.n_seeds)


def part(estimate: Estimate, index: Any) -> Estimate:
    """Those entries of an `Estimate` that a NumPy index selects."""
    parts = {name: getattr(estimate, name)[index] for name in ("mean", "low", "high", "count")}
    return dataclasses.replace(estimate, **parts)


def entries(estimate: Estimate, names: Sequence[str]) -> list[tuple[str, Interval]]:
    """The known entries of a (K,) or () estimate by name; NaN ones are left out."""
    row = part(estimate, None) if estimate.mean.ndim == 0 else estimate
    pairs = [(name, at(row, index)) for index, name in enumerate(names)]
    return [(name, entry) for name, entry in pairs if not math.isnan(entry.estimate)]


def describe(estimate: Estimate, names: Sequence[str]) -> str:
    """The known entries of a (K,) or () estimate with their intervals, in words."""
    return ", ".join(f"{name} {entry}" for name, entry in entries(estimate, names)) or "none"


def log_epochs(trajectory: ibjax.Trajectory, epochs: npt.ArrayLike) -> Values:
    """log10 of (S, ...) epochs; a network that never got there (NaN) counts with the last epoch, a lower bound.

    Epochs below 1 count as 1, diverged networks are NaN.
    """
    values = np.asarray(epochs, np.float64)
    values = np.log10(np.maximum(np.where(np.isnan(values), trajectory.epochs[-1], values), 1.0))
    values[trajectory.diverged] = np.nan
    return values


def drop_after_peak(trajectory: ibjax.Trajectory, values: npt.NDArray[np.floating[Any]]) -> Values:
    """(S, L) fall of (S, E, L) values from the epoch at which the mean over seeds peaks to the last; diverged: NaN.

    The epoch is the ensemble's: the peak of each network would add its noise to the fall.
    """
    known = np.where(trajectory.diverged[:, None, None], np.nan, values.astype(np.float64))
    if trajectory.diverged.all():
        return np.asarray(known[:, -1])
    peak = np.nanmean(known, axis=0).argmax(axis=0)
    return np.asarray(np.take_along_axis(known, peak[None, None, :], axis=1)[:, 0] - known[:, -1])
