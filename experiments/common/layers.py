"""Numbers of each network: whether it learned, which layers compress, the trend of a quantity over layers or runs.

Shapes: S networks, L layers, K columns. NaN: this network has none.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import stats

import ibjax
from common.evidence import Values, known_mean
from ibjax.analysis import compression

COMPRESSES = 0.5
"""Bits of I(X;T) that a layer must lose, in the mean over networks, to count among those that compress."""

ROOM = 0.1
"""Bits below H(X). A layer whose I(X;T) is nearer than this has nearly every pattern in a cell to itself: a fall of
what it holds would not be seen."""

LEARNED = 0.95
"""Share of its training patterns that a network must get right in the end to count as trained."""


BEGUN = 0.7
"""Share of its training patterns that a network must get right to have begun to learn them."""


def begun(accuracy: npt.ArrayLike) -> npt.NDArray[np.intp]:
    """Training accuracy (..., E) -> (...) the first of the epochs at which it is `BEGUN`; 0 where it never is."""
    return np.asarray((np.asarray(accuracy) >= BEGUN).argmax(axis=-1))


def has_learned(run: ibjax.Trajectory) -> npt.NDArray[np.bool_]:
    """(S,) whether the network is healthy and learned its training patterns."""
    return run.healthy & (run.require("train_accuracy")[:, -1] >= LEARNED)


def compressing(run: ibjax.Trajectory) -> npt.NDArray[np.bool_]:
    """(L,) whether the layer loses more than `COMPRESSES` bits of I(X;T) in the mean over networks."""
    drop = compression(run).drop[run.healthy]
    return drop.mean(axis=0) > COMPRESSES if len(drop) else np.zeros(drop.shape[1], np.bool_)


def measurable(run: ibjax.Trajectory) -> npt.NDArray[np.bool_]:
    """(L,) whether the largest I(X;T) stays `ROOM` below H(X), in the mean over networks."""
    peak = compression(run).peak[run.healthy]
    return peak.mean(axis=0) < run.h_x - ROOM if len(peak) else np.zeros(peak.shape[1], np.bool_)


def log_epochs(epochs: npt.ArrayLike) -> Values:
    """log10 of epochs, of which 0 counts as 1; NaN stays."""
    return np.asarray(np.log10(np.maximum(np.asarray(epochs, np.float64), 1.0)))


def row_slopes(x: npt.ArrayLike, y: Values) -> Values:
    """(S,) least-squares slope of each network's known y, (S, K), on x, (K,); NaN for fewer than two."""
    known = ~np.isnan(y)
    at = np.where(known, np.asarray(x, np.float64), np.nan)
    at = at - known_mean(at, 1)[:, None]
    squares = np.nansum(at**2, axis=1)
    return np.where(squares > 0, np.nansum(at * y, axis=1) / np.where(squares > 0, squares, 1.0), np.nan)


def row_taus(values: Values) -> Values:
    """(S,) Kendall's tau-b of the column and each network's known numbers, (S, K); 0 if all are equal, NaN if alone."""
    taus = np.full(len(values), np.nan)
    for row, numbers in enumerate(values):
        known = np.flatnonzero(~np.isnan(numbers))
        if known.size > 1:
            taus[row] = stats.kendalltau(known, numbers[known]).statistic if np.ptp(numbers[known]) else 0.0
    return taus
