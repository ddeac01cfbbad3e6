"""Probabilities of finite alphabets in NumPy or JAX: entropies, divergences, equal rows, and the checks of user input.

Shapes: N patterns, C classes, M clusters, R rows that differ. Entropies in bits, divergences in nats.
"""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

LN2 = math.log(2.0)
_PROBABILITY_TOLERANCE = 1e-6
_SAME_ROW = 1e-12  # rows p(y|x) that differ by less are one value of X, at a cost of that order in bits


def divergence(p: Any, q: Any, xp: ModuleType = np) -> Any:
    """KL[p_i || q_j] in nats, (N, C), (M, C) -> (N, M); infinite where p has what q lacks, also for q = 0."""
    negentropy = (p * xp.log(xp.where(p > 0, p, 1.0))).sum(axis=1, keepdims=True)
    cross = p @ xp.log(xp.where(q > 0, q, 1.0)).T
    return xp.where(p @ (q <= 0).T.astype(p.dtype) > 0, xp.inf, xp.maximum(negentropy - cross, 0.0))


def softmax(scores: Any, xp: ModuleType = np) -> tuple[Any, Any]:
    """exp(scores), rows normalised, and the ln of their norms; a row of nothing but -inf gives 0 and -inf."""
    top = scores.max(axis=1, keepdims=True)
    top = xp.where(top > -xp.inf, top, 0.0)
    terms = xp.exp(scores - top)
    norm = terms.sum(axis=1, keepdims=True)
    some = norm > 0
    safe = xp.where(some, norm, 1.0)
    return terms / safe, xp.where(some, top + xp.log(safe), -xp.inf)[:, 0]


def entropy(p: FloatArray) -> float:
    """H in bits of a distribution of any shape."""
    return max(0.0, float(-(p * np.log2(np.where(p > 0, p, 1.0))).sum()))


def mutual_information(joint: FloatArray) -> float:
    """I in bits of a joint distribution."""
    return max(0.0, entropy(joint.sum(axis=0)) + entropy(joint.sum(axis=1)) - entropy(joint))


def distinct_rows(rows: FloatArray, weights: FloatArray) -> tuple[FloatArray, npt.NDArray[np.intp]]:
    """The rows that differ, (R, C), each the weighted mean of its like; which of them each row is, (N,)."""
    row_of = np.unique(np.round(rows / _SAME_ROW), axis=0, return_inverse=True)[1].reshape(-1)
    return sum_by(row_of, weights[:, None] * rows) / sum_by(row_of, weights)[:, None], row_of


def sum_by(group: npt.NDArray[np.intp], values: FloatArray) -> FloatArray:
    """Sum over the members of each group, (N, ...) -> (groups, ...)."""
    sums = np.zeros((group.max() + 1, *values.shape[1:]))
    np.add.at(sums, group, values)
    return sums


def checked_floats(name: str, value: npt.ArrayLike) -> FloatArray:
    """A finite float64 array, or a ValueError that names it."""
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} cannot be read as an array of floats: {error}") from None
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds {int((~np.isfinite(array)).sum())} NaN or infinite values; allowed: finite")
    return array


def checked_distribution(name: str, p: FloatArray, axis: int | None = None) -> FloatArray:
    """`p` normalised along `axis`; a ValueError where it is negative or does not sum to 1."""
    if p.min() < 0:
        raise ValueError(f"{name} has minimum {p.min():g}; allowed: probabilities, at least 0")
    total = np.asarray(p.sum(axis=axis, keepdims=True))
    worst = float(total.flat[np.abs(total - 1).argmax()])
    if abs(worst - 1) > _PROBABILITY_TOLERANCE:
        raise ValueError(f"{name} sums to {worst:.9g}; allowed: 1 within {_PROBABILITY_TOLERANCE:g}")
    return np.asarray(p / total)


def checked_conditional_rows(p_y_given_x: npt.ArrayLike) -> FloatArray:
    """p(y|x) as (N, C), whether given so or, for a binary label, as (N,)."""
    rows = checked_floats("p_y_given_x", p_y_given_x)
    if rows.ndim not in (1, 2) or rows.size == 0:
        raise ValueError(f"p_y_given_x has shape {rows.shape}; allowed: (N,) or (N, C), at least one pattern")
    if rows.max() > 1 + _PROBABILITY_TOLERANCE:
        raise ValueError(f"p_y_given_x has maximum {rows.max():g}; allowed: probabilities, at most 1")
    rows = np.stack([1.0 - rows, rows], axis=1) if rows.ndim == 1 else rows
    return checked_distribution("p_y_given_x", rows, axis=1)


def _frozen_floats(name: str, value: npt.ArrayLike) -> FloatArray:
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} cannot be read as an array of floats: {error}") from None
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds {int((~np.isfinite(array)).sum())} NaN or infinite values; allowed: finite")
    array.flags.writeable = False
    return array


def checked_conditional(value: npt.ArrayLike, n: int) -> FloatArray:
    p = _frozen_floats("p_y_given_x", value)
    if p.ndim not in (1, 2) or p.shape[0] != n or (p.ndim == 2 and p.shape[1] < 2):
        raise ValueError(
            f"p_y_given_x has shape {p.shape}; allowed for {n} patterns: ({n},), or ({n}, C) with C >= 2 classes"
        )
    if (p < 0).any() or (p > 1).any():
        raise ValueError(f"p_y_given_x ranges over [{p.min():g}, {p.max():g}]; allowed: probabilities in [0, 1]")
    if p.ndim == 2 and np.abs(p.sum(axis=1) - 1).max() > _PROBABILITY_TOLERANCE:
        worst = int(np.abs(p.sum(axis=1) - 1).argmax())
        raise ValueError(f"p_y_given_x: row {worst} sums to {p[worst].sum():g}; allowed: rows that sum to 1")
    return p


def checked_marginal(value: npt.ArrayLike, n: int) -> FloatArray:
    p = _frozen_floats("p_x", value)
    if p.shape != (n,):
        raise ValueError(f"p_x has shape {p.shape}; allowed for {n} patterns: ({n},)")
    if (p < 0).any() or abs(p.sum() - 1) > _PROBABILITY_TOLERANCE:
        raise ValueError(f"p_x has minimum {p.min():g} and sums to {p.sum():g}; allowed: probabilities that sum to 1")
    return p
