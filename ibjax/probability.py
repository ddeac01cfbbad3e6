"""Probabilities of finite alphabets in NumPy or JAX: entropies, divergences, equal rows, and the checks of user input.

Shapes: N patterns, C classes, M clusters, R rows that differ. Entropies in bits, divergences in nats.
"""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from ibjax._checks import floats

FloatArray = npt.NDArray[np.float64]

LN2 = math.log(2.0)
_PROBABILITY_TOLERANCE = 1e-6
_MOST_CLASSES = 4096
SAME_ROW = 1e-12  # rows p(y|x) nearer than this may count as one value of X, at a cost of that order in bits
_SAME_LOG = 1e-9  # what rounding leaves between the logarithms of equal probabilities
_SERIES = 1e-4  # of |p/q - 1|, below which a divergence is a series


def divergence(p: Any, q: Any, xp: ModuleType = np) -> Any:
    """KL[p_i || q_j] in nats, (N, C), (M, C) -> (N, M); infinite where p has what q lacks, also for q = 0."""
    negentropy = (p * xp.log(xp.where(p > 0, p, 1.0))).sum(axis=1, keepdims=True)
    cross = p @ xp.log(xp.where(q > 0, q, 1.0)).T
    return xp.where(p @ (q <= 0).T.astype(p.dtype) > 0, xp.inf, xp.maximum(negentropy - cross, 0.0))


def precise_divergence(p: FloatArray, q: FloatArray) -> FloatArray:
    """KL[p_i || q_j] in nats, (N, C), (M, C) -> (N, M), right to many digits however small it is.

    (1e-40, 1) and (1e-60, 1) are 4.5e-39 nats apart, 0 by `divergence`. A sum of p ln(p/q) - p + q over classes, none
    of them negative; in the likeliest class of q, p - q is taken from all others.
    """
    top = q.argmax(axis=1)
    gap, total = np.zeros((len(p), len(q))), np.zeros((len(p), len(q)))
    for c, (a, b) in enumerate(zip(p.T[:, :, None], q.T[:, None, :], strict=True)):
        gap += np.where(top == c, 0.0, b - a)
    for c, (a, b) in enumerate(zip(p.T[:, :, None], q.T[:, None, :], strict=True)):
        total += np.where(b > 0, _term(a, b, np.where(top == c, gap, a - b)), np.where(a > 0, np.inf, 0.0))
    return total


def _term(p: FloatArray, q: FloatArray, gap: FloatArray) -> FloatArray:
    """p ln(p/q) - p + q of q > 0 and gap = p - q; whatever for q = 0."""
    with np.errstate(over="ignore", invalid="ignore"):  # of the forms not chosen
        ratio = gap / np.where(q > 0, q, 1.0)
        series = q * ratio**2 * (0.5 - ratio / 6 + ratio**2 / 12)
        near = q * ((1 + ratio) * np.log1p(np.clip(ratio, -0.5, 0.5)) - ratio)
    far = p * (_log(p) - _log(q)) - p + q
    size = np.abs(ratio)
    return np.where(size < _SERIES, series, np.where(size < 0.5, near, far))


def _log(p: FloatArray) -> FloatArray:
    """ln p, and 0 for p = 0."""
    return np.asarray(np.log(np.where(p > 0, p, 1.0)))


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
    """H in bits of a distribution, an array of any shape; 0 log 0 = 0."""
    logs = np.log2(p, out=np.zeros_like(p), where=p > 0)
    return float(np.maximum(-(p * logs).sum(), 0.0))


def mutual_information(joint: FloatArray) -> float:
    """I in bits of a joint distribution, two axes."""
    return float(np.maximum(entropy(joint.sum(axis=0)) + entropy(joint.sum(axis=1)) - entropy(joint), 0.0))


def distinct_rows(
    rows: FloatArray, weights: FloatArray, *, within: float = 0.0
) -> tuple[FloatArray, npt.NDArray[np.intp]]:
    """The rows that differ, (R, C), each the weighted mean of its like; which of them each row is, (N,).

    Args:
      rows: (N, C) probabilities.
      weights: (N,) positive.
      within: rows nearer than this in every entry are one; 0: those whose entries' logarithms agree but for rounding,
        so that nearly deterministic rows, which differ in their small probabilities only, stay apart.
    """
    keys = np.round(rows / within) if within else np.round(_log(rows) / _SAME_LOG) + np.where(rows > 0, 0.0, 1.0)
    row_of = np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)
    return sum_by(row_of, weights[:, None] * rows) / sum_by(row_of, weights)[:, None], row_of


def sum_by(group: npt.NDArray[np.intp], values: FloatArray) -> FloatArray:
    """Sum over the members of each group, (N, ...) -> (groups, ...)."""
    sums = np.zeros((group.max() + 1, *values.shape[1:]))
    np.add.at(sums, group, values)
    return sums


def conditional_rows(p_y_given_x: FloatArray) -> FloatArray:
    """p(y|x) as (N, C), whether given so or, for a binary label, as (N,) = p(y=1|x)."""
    return np.stack([1.0 - p_y_given_x, p_y_given_x], axis=1) if p_y_given_x.ndim == 1 else p_y_given_x


def checked_distribution(field: str, p: FloatArray) -> FloatArray:
    """`p`, of any shape, if its values are probabilities that sum to 1 within 1e-6; else a ValueError."""
    if p.min() < 0:
        raise ValueError(f"{field} has minimum {p.min():g}; allowed: probabilities, at least 0")
    if abs(p.sum() - 1) > _PROBABILITY_TOLERANCE:
        raise ValueError(
            f"{field} sums to {p.sum():.9g}; allowed: probabilities that sum to 1 within {_PROBABILITY_TOLERANCE:g}"
        )
    return p


def checked_marginal(p_x: npt.ArrayLike, n: int) -> FloatArray:
    """p(x) of n patterns, (N,)."""
    p = floats("p_x", p_x)
    if p.shape != (n,):
        raise ValueError(f"p_x has shape {p.shape}; allowed for {n} patterns: ({n},)")
    return checked_distribution("p_x", p)


def one_hot(field: str, ids: npt.NDArray[Any]) -> FloatArray:
    """p(y|x), (N, C) of zeros and ones, from whole numbers (N,) that name the classes, 0 to C - 1 in increasing order.

    Raises:
      ValueError: numbers that are not whole, one class or too many; names the field.
    """
    if not np.array_equal(ids, np.round(ids)):
        raise ValueError(
            f"{field} ranges over [{ids.min():g}, {ids.max():g}] and is not whole; "
            "allowed: p(y=1|x), or whole numbers that name the classes"
        )
    classes, index = np.unique(ids, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"{field} names one class, {classes[0]:g}; allowed: at least 2 classes")
    if len(classes) > _MOST_CLASSES:
        raise ValueError(f"{field} names {len(classes)} different classes; allowed: at most {_MOST_CLASSES}")
    return np.eye(len(classes))[index.reshape(-1)]


def within_unit(values: npt.NDArray[Any]) -> bool:
    """Whether all lie in [0, 1]: probabilities, or labels that are 0 and 1, which mean the same as such."""
    return bool(((values >= 0) & (values <= 1)).all())


def checked_conditional(p_y_given_x: npt.ArrayLike, n: int | None = None) -> FloatArray:
    """p(y|x), (N,) = p(y=1|x) or (N, C), as it is given; (N, C) where integers name the classes.

    Args:
      p_y_given_x: rows sum to 1 within 1e-6. Or (N,) integers, some beyond 0 and 1, see `one_hot`.
      n: N, and then C is at least 2; None where any number of patterns and classes will do.
    """
    p = floats("p_y_given_x", p_y_given_x)
    if p.ndim == 1 and np.asarray(p_y_given_x).dtype.kind in "iu" and not within_unit(p):
        p = one_hot("p_y_given_x", p)
    if n is None:
        fits, allowed = p.ndim in (1, 2) and p.size > 0, ": (N,) or (N, C), at least one pattern"
    else:
        fits = p.shape == (n,) or (p.ndim == 2 and p.shape[0] == n and p.shape[1] >= 2)
        allowed = f" for {n} patterns: ({n},), or ({n}, C) with C >= 2 classes"
    if not fits:
        raise ValueError(f"p_y_given_x has shape {p.shape}; allowed{allowed}")
    most = 1 if p.ndim == 1 else 1 + _PROBABILITY_TOLERANCE
    for name, value in (("minimum", p.min()), ("maximum", p.max())):
        if not 0 <= value <= most:
            raise ValueError(
                f"p_y_given_x has {name} {value:g}; allowed: probabilities in [0, 1], or integers that name the classes"
            )
    if p.ndim == 2:
        sums = p.sum(axis=1)
        worst = int(np.abs(sums - 1).argmax())
        if abs(sums[worst] - 1) > _PROBABILITY_TOLERANCE:
            raise ValueError(
                f"p_y_given_x sums to {sums[worst]:.9g} in row {worst}; "
                f"allowed: rows that sum to 1 within {_PROBABILITY_TOLERANCE:g}"
            )
    return p
