"""How near a layer lies to the information bottleneck: the layer's beta, its distance to the curve, and a control.

Shapes: N patterns, R <= N distinct rows p(y|x), C classes, G <= cells of T with different decoders p(y|t).
Results are float64 and in bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
import numpy.typing as npt
from scipy import optimize

from ibjax import _checks, probability
from ibjax.bottleneck.curve import Curve, normalized_rows
from ibjax.probability import LN2, FloatArray

_TIE = 1e-9  # relative difference of divergences that are equal
_FLAT = 0.01  # bits of KL


class LayerOptimality(NamedTuple):
    """A deterministic layer against the bottleneck encoder built from the layer's p(t) and p(y|t).

    The agreement is partly built in, since the encoder is made of the layer's decoder; so see the distance to the
    curve as well, and compare with `random_encoder_control`.

    Attributes:
      beta: where E_x KL[p_layer(t|x) || p_beta(t|x)] is smallest. Infinite if the KL falls for ever, because
        every pattern is in the cell of nearest p(y|t). If it depends on no beta: 0 when T says nothing about
        Y, else infinite.
      kl: that smallest value, bits; the limit where beta is infinite.
      i_x: I(X;T) = H(T), bits.
      i_y: I(T;Y), bits.
      distance: I(T;Y) of the curve at the same I(X;T), less the layer's, bits; NaN without a curve.
      excess: I(X;T) less that of the curve at the same I(T;Y), bits: what a layer holds beyond what its I(T;Y) needs;
        NaN without a curve. Where the curve is flat, only this one can tell a layer on it from one beside it.
      beta_low, beta_high: the betas whose KL lies within 0.01 bits of the smallest. Where Y is nearly a function of X,
        betas from 1 to 2 span nearly all of the curve, so that even a narrow interval says little of the place on it
        (Kolchinsky, Tracey & Van Kuyk 2019, arXiv 1808.07593).
    """

    beta: float
    kl: float
    i_x: float
    i_y: float
    distance: float
    excess: float = math.nan
    beta_low: float = math.nan
    beta_high: float = math.nan


def layer_beta(
    cells: npt.ArrayLike,
    p_y_given_x: npt.ArrayLike,
    *,
    p_x: npt.ArrayLike | None = None,
    curve: Curve | None = None,
) -> LayerOptimality:
    """The beta at which a layer is most like a bottleneck (Shwartz-Ziv & Tishby 2017).

    beta* = argmin_beta E_x KL[p_layer(t|x) || p_beta(t|x)]. The layer is deterministic, so the KL of a
    pattern is -log p_beta(t(x)|x), which is convex in beta.

    Args:
      cells: (N,) int, which cell of the binned layer each pattern falls into.
      p_y_given_x: (N, C) or, for a binary label, (N,) = p(y=1|x). Nearly deterministic rows differ in their small
        probabilities, of which (N,) loses those of y = 0: give `Dataset.conditional`.
      p_x: (N,) probability of each pattern, or None for the uniform distribution.
      curve: of the same data, for the distance.

    Raises:
      ValueError: an argument that is not as above.
    """
    rows, weights, ids = _checked_layer(cells, p_y_given_x, p_x)
    return _layer_beta(ids, *probability.distinct_rows(rows, weights), weights, curve)


def random_encoder_control(
    cells: npt.ArrayLike,
    p_y_given_x: npt.ArrayLike,
    *,
    key: jax.Array,
    repeats: int = 20,
    p_x: npt.ArrayLike | None = None,
    curve: Curve | None = None,
) -> tuple[LayerOptimality, ...]:
    """`layer_beta` of random encoders: the layer's cells dealt at random to the patterns.

    Each cell keeps its number of patterns, hence p(t) where p(x) is uniform. What a layer has in common with
    these says nothing about its training.

    Args:
      key: `jax.random.key(...)`.
      repeats: how many permutations, at least 1.
      cells, p_y_given_x, p_x, curve: as for `layer_beta`.

    Returns:
      `repeats` results; `numpy.array(...)` of them is (repeats, 8).

    Raises:
      ValueError, TypeError: an argument that is not as above.
    """
    rows, weights, ids = _checked_layer(cells, p_y_given_x, p_x)
    repeats = _checks.integer("repeats", repeats, 1, 10**9)
    distinct, row_of = probability.distinct_rows(rows, weights)
    orders = (np.asarray(jax.random.permutation(k, ids.size)) for k in jax.random.split(key, repeats))
    return tuple(_layer_beta(ids[order], distinct, row_of, weights, curve) for order in orders)


def _layer_beta(
    ids: npt.NDArray[np.int64],
    distinct: FloatArray,
    row_of: npt.NDArray[np.intp],
    weights: FloatArray,
    curve: Curve | None,
) -> LayerOptimality:
    """`layer_beta` of checked arguments: the cells (N,), the rows that differ (R, C), which each pattern has, p(x)."""
    cell = np.unique(ids, return_inverse=True)[1].reshape(-1)
    p_t, p_ty = probability.sum_by(cell, weights), probability.sum_by(cell, weights[:, None] * distinct[row_of])
    i_x, i_y = probability.entropy(p_t), probability.mutual_information(p_ty)

    # Cells of equal p(y|t) share an encoder up to p(t): G groups in their place, (R, G) instead of (N, M).
    decoders, group_of = probability.distinct_rows(p_ty / p_t[:, None], p_t)
    mass = np.zeros((len(distinct), len(decoders)))
    np.add.at(mass, (row_of, group_of[cell]), weights)
    beta, kl, low, high = _match(mass, probability.precise_divergence(distinct, decoders), i_x, i_y)
    if curve is None:
        return LayerOptimality(beta, kl, i_x, i_y, math.nan, math.nan, low, high)
    distance, excess = float(curve.relevance(i_x)) - i_y, i_x - float(curve.rate(i_y))
    return LayerOptimality(beta, kl, i_x, i_y, distance, excess, low, high)


def _match(mass: FloatArray, divergences: FloatArray, i_x: float, i_y: float) -> tuple[float, float, float, float]:
    """`beta`, `kl`, `beta_low` and `beta_high` of p(row, group), KL[row || group], nats, (R, G), and both informations.

    Divergences are counted from the nearest decoder of each row, so that nothing cancels, be beta huge or they tiny.
    """
    nearest = divergences.min(axis=1, keepdims=True)
    possible, p_r = np.isfinite(divergences), mass.sum(axis=1)
    gaps = np.where(possible & (divergences > nearest * (1 + _TIE)), divergences, nearest) - nearest
    log_p = np.where(possible, np.log(mass.sum(axis=0)), -np.inf)
    lost = float((mass * gaps).sum())

    def kl(beta: float) -> float:
        scores = np.where(gaps > 0, -np.inf, log_p) if math.isinf(beta) else log_p - beta * gaps
        return i_x + ((beta * lost if lost else 0.0) + float(p_r @ probability.softmax(scores)[1])) / LN2

    def slope(beta: float) -> float:
        return lost - float(p_r @ (probability.softmax(log_p - beta * gaps)[0] * gaps).sum(axis=1))

    if slope(0.0) >= 0:  # no gaps at all, or none that another beta would serve
        best = math.inf if i_y >= 1e-12 and not gaps.any() else 0.0
    else:
        best = _root(slope) if lost else math.inf
    least = kl(best)
    low = 0.0 if kl(0.0) <= least + _FLAT else _root(lambda beta: least + _FLAT - kl(min(beta, best)))
    high = _root(lambda beta: kl(max(beta, best)) - least - _FLAT) if lost else math.inf
    return best, least, low, high


def _root(rising: Callable[[float], float]) -> float:
    """Where a function that is negative at 0 becomes positive; infinite if it stays below 1e300."""
    low, high = 0.0, 1.0
    while rising(high) <= 0:
        low, high = high, 10 * high
        if high > 1e300:
            return math.inf
    return float(optimize.brentq(rising, low, high, xtol=1e-12, rtol=1e-12))


def _checked_layer(
    cells: npt.ArrayLike, p_y_given_x: npt.ArrayLike, p_x: npt.ArrayLike | None
) -> tuple[FloatArray, FloatArray, npt.NDArray[np.int64]]:
    """p(y|x) (N, C), p(x) (N,) and the cells (N,) of the patterns that occur."""
    rows, ids = normalized_rows(p_y_given_x), np.asarray(cells)
    if ids.shape != rows.shape[:1] or not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f"cells is {ids.dtype} of shape {ids.shape}; allowed: integers of shape {rows.shape[:1]}")
    weights = np.full(len(rows), 1.0 / len(rows)) if p_x is None else probability.checked_marginal(p_x, len(rows))
    weights = weights / weights.sum()
    occurs = weights > 0
    return rows[occurs], weights[occurs], ids[occurs]
