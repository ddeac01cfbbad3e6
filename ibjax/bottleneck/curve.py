"""The information bottleneck: the curve of a joint distribution p(x, y), and where it bends.

A bottleneck T of X minimises the Lagrangian I(X;T) - beta I(T;Y) (Tishby, Pereira & Bialek 1999,
arXiv physics/0004057). Given the joint p(t, y) of T and Y, the best encoder is

    p(t|x) = p(t)/Z(x) exp(-beta KL[p(y|x) || p(y|t)]),

it in turn gives a new p(t, y), and repeating the two steps never raises the Lagrangian.

How the iterations are done, and how a solution is known to be the global one, is in `annealing`; how near a
network's layer comes to the curve, in `optimality`.

Shapes: N patterns, R <= N distinct rows p(y|x) of positive probability, C classes, M clusters of T, K betas.
Everything returned is float64 and in bits.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import numpy as np
import numpy.typing as npt

from ibjax import _checks, probability
from ibjax.bottleneck.annealing import SAVING, Point, anneal, encode, least_ratio
from ibjax.probability import LN2, FloatArray

_ROUNDING = 1e-9  # bits


class Curve(NamedTuple):
    """Points of the information curve, one for each beta, in the order in which the betas were given.

    Every point is that of an actual encoder, so it never lies above the curve.

    Attributes:
      beta: (K,) trade-off; the slope of the curve there is 1/beta.
      i_x: (K,) I(X;T), bits.
      i_y: (K,) I(T;Y), bits.
      converged: (K,) bool; False where the iterations were used up, or where a better one is known.
      residual: (K,) largest change of p(t|x) in one more iteration.
      excess: (K,) bits by which the Lagrangian may lie above its minimum: log2 of the largest gain(q) found
        by climbing 100 steps from every row p(y|x). Zero at the global minimum. Where the Lagrangian is flat
        to 1e-7 bits (hard or nearly hard labels, at the onset) this leaves I(X;T) open.
      iterations: (K,) encoder updates used.
      cardinality: (K,) number of clusters with different decoders p(y|t).
      p_ty: (K, M, C) joint of T and Y, clusters by falling p(t), zero beyond `cardinality`; `encoder` makes
        p(t|x) of it.
      i_xy: I(X;Y), bits; where the curve saturates.
      h_sufficient: entropy of the rows p(y|x) that differ, bits; the smallest I(X;T) that keeps all of I(X;Y). Rows
        differ where an entry does by more than 1e-9 of itself; nearly all of I(X;Y) may need far less.
    """

    beta: FloatArray
    i_x: FloatArray
    i_y: FloatArray
    converged: npt.NDArray[np.bool_]
    residual: FloatArray
    excess: FloatArray
    iterations: npt.NDArray[np.int64]
    cardinality: npt.NDArray[np.int64]
    p_ty: FloatArray
    i_xy: float
    h_sufficient: float

    def relevance(self, i_x: npt.ArrayLike) -> FloatArray:
        """The largest I(T;Y), bits, reachable at `i_x` bits of I(X;T) (any shape) by mixing converged points.

        Piecewise linear between the points, the origin and (h_sufficient, i_xy), concave, constant beyond. It
        lies below the true curve by no more than the tangents, of slope 1/beta, allow.
        """
        return np.asarray(np.interp(np.asarray(i_x, np.float64), *self._envelope()))

    def rate(self, i_y: npt.ArrayLike) -> FloatArray:
        """The least I(X;T), bits, that gives `i_y` bits of I(T;Y) (any shape): the inverse of `relevance`.

        0 for `i_y` <= 0, NaN beyond I(X;Y). Of a task whose labels are nearly deterministic the last bits of I(T;Y)
        cost most of the rate: for these, ask `information_curve` for large betas.
        """
        i_y, (x, y) = np.asarray(i_y, np.float64), self._envelope()
        rises = np.concatenate([[True], np.diff(y) > 0])
        rate = np.interp(i_y, y[rises], x[rises])
        return np.asarray(np.where(i_y <= self.i_xy + _ROUNDING, rate, np.nan))

    def _envelope(self) -> tuple[FloatArray, FloatArray]:
        """The corners of `relevance`: I(X;T) and I(T;Y), both rising."""
        ends = np.array([[0.0, 0.0], [self.h_sufficient, self.i_xy]])
        points = np.stack([self.i_x, self.i_y], axis=1)[self.converged]
        hull: list[FloatArray] = []
        for point in np.unique(np.concatenate([ends, points]), axis=0):
            while hull and (point[0] <= hull[-1][0] or (len(hull) > 1 and _below(hull[-1], hull[-2], point))):
                hull.pop()
            hull.append(point)
        x, y = np.array(hull).T
        return x, y


def information_curve(
    p_xy: npt.ArrayLike,
    betas: npt.ArrayLike | None = None,
    *,
    tolerance: float = 1e-10,
    max_iterations: int = 20_000,
) -> Curve:
    """The information bottleneck curve of a joint distribution.

    Reverse annealing: beta falls from its largest value, where T = X, and each solution starts from the one
    before, its equal clusters merged and one per cent of its mass given to fresh clusters at every p(y|x) and
    at p(y). The iterations are extrapolated (squared iterative method, Varadhan & Roland 2008, scheme S3); an
    extrapolation that would raise the Lagrangian is discarded. Float64 whatever the caller's JAX settings.
    Patterns whose p(y|x) agree to 1e-12 are merged first, so time grows with R^2 and not with N; the Lagrangian is off
    by no more than beta times that, and no cluster is told apart that beta 1e12 would not tell.

    Args:
      p_xy: (N, C) joint distribution; sums to 1 within 1e-6 and is then normalised.
      betas: (K,) positive; by default 80 values, the first just below the onset of the curve, denser near it,
        the last so large that I(T;Y) is surely above 99.9% of I(X;Y).
      tolerance: largest change of p(t|x) in one iteration at which to stop, at most 1e-8.
      max_iterations: encoder updates allowed for each beta and each of up to four seedings, at least 3.

    Raises:
      ValueError, TypeError: an argument that is not as above; the message names it, its value, and what is allowed.
    """
    whole = _checked_joint(p_xy)
    joint = _distinct_joint(whole, within=probability.SAME_ROW)
    tolerance = _checks.number("tolerance", tolerance, 0, 1e-8, above=True)
    max_iterations = _checks.integer("max_iterations", max_iterations, 3, 10**9)
    beta = _default_betas(joint) if betas is None else _checked_betas(betas)

    falling = np.argsort(-beta, kind="stable")
    with jax.enable_x64(True):
        points = jax.device_get(anneal(beta[falling], joint, tolerance, max_iterations))
    points = Point(*(values[np.argsort(falling)] for values in points))
    cardinality = points.cardinality.astype(np.int64)
    return Curve(
        beta=beta,
        i_x=np.maximum(points.i_x, 0.0) / LN2,
        i_y=np.maximum(points.i_y, 0.0) / LN2,
        converged=(points.residual <= tolerance) & (points.excess / LN2 <= SAVING),
        residual=points.residual,
        excess=points.excess / LN2,
        iterations=points.iterations.astype(np.int64),
        cardinality=cardinality,
        p_ty=points.p_ty[:, : cardinality.max()],
        i_xy=probability.mutual_information(joint),
        h_sufficient=probability.entropy(_distinct_joint(whole).sum(axis=1)),
    )


def encoder(p_ty: npt.ArrayLike, p_y_given_x: npt.ArrayLike, beta: float) -> FloatArray:
    """The bottleneck encoder p(t|x) of the given clusters.

    Args:
      p_ty: (M, C) joint of T and Y, such as `curve.p_ty[k]`.
      p_y_given_x: (N, C) or, for a binary label, (N,) = p(y=1|x).
      beta: trade-off, positive.

    Returns:
      (N, M), rows that sum to 1.
    """
    joint, rows = _checked_joint(p_ty, "p_ty"), normalized_rows(p_y_given_x)
    if joint.shape[1] != rows.shape[1]:
        raise ValueError(f"p_ty has {joint.shape[1]} classes; allowed: the {rows.shape[1]} of p_y_given_x")
    return np.asarray(encode(joint, float(_checked_betas([beta])[0]), rows, np)[0])


class CriticalBetas(NamedTuple):
    """Where the information curve changes its nature as beta rises.

    Attributes:
      onset: smallest beta with I(X;T) > 0 at the global minimum; infinite if I(X;Y) = 0.
      instability: 1/rho^2, where the trivial solution T = constant is no longer even a local minimum; rho is
        the second singular value of p(x,y)/sqrt(p(x)p(y)). Above `onset` where the first cluster to gain mass
        has a decoder away from p(y), equal to it otherwise. (`onset` = 1/s*, s* the contraction coefficient:
        Anantharam, Gohari, Kamath & Nair 2013, arXiv 1304.6133.)
      splits: (B,) betas above the onset at which clusters are added.
      cardinality: (B,) number of clusters beyond each of them.
    """

    onset: float
    instability: float
    splits: FloatArray
    cardinality: npt.NDArray[np.int64]


def critical_betas(p_xy: npt.ArrayLike, *, resolution: float = 1e-3) -> CriticalBetas:
    """The onset of the information curve and the further bifurcations along it.

    The onset is an upper bound, tight to 1e-5 in the hardest cases met. Splits are sought between
    neighbours of the default betas whose number of clusters differs, each halved until known to the relative
    `resolution`; two between the same neighbours count as one.

    Args:
      p_xy: (N, C) joint distribution, as for `information_curve`.
      resolution: relative, between 1e-6 and 1. Solutions near a bifurcation converge slowly.

    Raises:
      ValueError: an argument that is not as above.
    """
    joint = _distinct_joint(_checked_joint(p_xy), within=probability.SAME_ROW)
    if not 1e-6 <= resolution <= 1:
        raise ValueError(f"resolution = {resolution!r}; allowed: 1e-6 to 1")
    onset, instability = _onset(joint)
    if math.isinf(onset):
        return CriticalBetas(onset, instability, np.zeros(0), np.zeros(0, np.int64))
    curve = information_curve(joint)
    beyond = curve.beta > onset
    beta, cardinality = curve.beta[beyond], curve.cardinality[beyond]
    grows = np.flatnonzero(np.diff(cardinality) > 0)
    low, high = beta[grows], beta[grows + 1]
    while grows.size and (high / low).max() > 1 + resolution:
        middle = np.sqrt(low * high)
        split = information_curve(joint, middle).cardinality > cardinality[grows]
        low, high = np.where(split, low, middle), np.where(split, middle, high)
    return CriticalBetas(onset, instability, np.sqrt(low * high), cardinality[grows + 1])


def _onset(joint: FloatArray) -> tuple[float, float]:
    """`CriticalBetas.onset` and `.instability`."""
    joint = joint[:, joint.sum(axis=0) > 0]
    scale = np.sqrt(np.outer(joint.sum(axis=1), joint.sum(axis=0)))
    values = np.linalg.svd(joint / scale, compute_uv=False)
    if values.size < 2 or values[1] < 1e-7:  # X and Y independent up to rounding
        return math.inf, math.inf
    instability = max(1.0, float(values[1]) ** -2)
    with jax.enable_x64(True):
        return float(least_ratio(joint, instability)), instability


def _default_betas(joint: FloatArray) -> FloatArray:
    """As `information_curve` says, (80,); one where X tells nothing of Y."""
    onset, instability = _onset(joint)
    if math.isinf(onset):
        return np.ones(1)
    # I_X - beta I_Y <= H - beta I(X;Y) and I_X >= 0 at the minimum: I(X;Y) - I_Y <= H/beta.
    last = max(4 * instability, 1000 * probability.entropy(joint.sum(axis=1)) / probability.mutual_information(joint))
    return np.concatenate([[0.98 * onset], onset * (1 + np.geomspace(0.01, last / onset - 1, 79))])


def _distinct_joint(p_xy: FloatArray, *, within: float = 0.0) -> FloatArray:
    """p(x, y), equal p(y|x) (see `probability.distinct_rows`) as one and impossible patterns left out, (R, C)."""
    p_xy = p_xy[p_xy.sum(axis=1) > 0]
    p_x = p_xy.sum(axis=1)
    return probability.sum_by(probability.distinct_rows(p_xy / p_x[:, None], p_x, within=within)[1], p_xy)


def _below(middle: FloatArray, left: FloatArray, right: FloatArray) -> bool:
    """Is the middle point on or below the chord?"""
    (x, y), (x_end, y_end) = middle - left, right - left
    return bool(y * x_end <= y_end * x)


def _checked_joint(value: npt.ArrayLike, name: str = "p_xy") -> FloatArray:
    joint = _checks.floats(name, value)
    if joint.ndim != 2 or joint.size == 0:
        raise ValueError(f"{name} has shape {joint.shape}; allowed: two axes, neither of them empty")
    return probability.checked_distribution(name, joint) / joint.sum()


def normalized_rows(p_y_given_x: npt.ArrayLike) -> FloatArray:
    """p(y|x) of any number of patterns as (N, C), checked; rows sum to 1 but for rounding."""
    rows = probability.conditional_rows(probability.checked_conditional(p_y_given_x))
    return np.asarray(rows / rows.sum(axis=1, keepdims=True))


def _checked_betas(betas: npt.ArrayLike) -> FloatArray:
    beta = _checks.floats("betas", betas)
    if beta.ndim != 1 or beta.size == 0:
        raise ValueError(f"betas has shape {beta.shape}; allowed: (K,), at least one")
    if beta.min() <= 0:
        raise ValueError(f"betas has minimum {beta.min():g}; allowed: more than 0")
    return beta
