"""The information bottleneck: the curve of a joint distribution p(x, y), and how near to it a layer lies.

A bottleneck T of X minimises the Lagrangian I(X;T) - beta I(T;Y) (Tishby, Pereira & Bialek 1999,
arXiv physics/0004057). Given the joint p(t, y) of T and Y, the best encoder is

    p(t|x) = p(t)/Z(x) exp(-beta KL[p(y|x) || p(y|t)]),

it in turn gives a new p(t, y), and repeating the two steps never raises the Lagrangian.

With the decoders p(y|t) held as points q of the simplex this is rate distortion with distortion KL[p(y|x) || q],
which is convex. Its optimality condition (Berger 1971, theorem 2.5.2) tells whether a solution is the global one:
with Z as above,

    gain(q) = sum_x p(x) exp(-beta KL[p(y|x) || q]) / Z(x) <= 1   for every q,

and where it fails, log max gain(q) bounds what one more cluster, at that q, can still save. So no bifurcation is
missed, be it continuous or a jump.

Shapes: N patterns, R <= N distinct rows p(y|x) of positive probability, C classes, M clusters of T, K betas.
Everything returned is float64 and in bits; inside, nats.
"""

from __future__ import annotations

import functools
import math
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from scipy import optimize

FloatArray = npt.NDArray[np.float64]

_PROBABILITY_TOLERANCE = 1e-6
_SAME_ROW = 1e-12  # rows p(y|x) that differ by less are one value of X, at a cost of that order in bits
_RESEED = 1e-2  # share of the mass that goes to fresh clusters before each solution
_CLIMB = 100  # steps from every row towards a maximum of the gain
_ROUNDS = 4  # times a solution that is not the global one is seeded again
_SAVING = 1e-7  # bits that a new cluster could still save at a point called converged
_LN2 = math.log(2.0)


class Curve(NamedTuple):
    """Points of the information curve, one for each beta, in the order in which the betas were given.

    Every point is that of an actual encoder, so it never lies above the curve.

    Attributes:
      beta: (K,) trade-off; the slope of the curve there is 1/beta.
      i_x: (K,) I(X;T), bits.
      i_y: (K,) I(T;Y), bits.
      converged: (K,) bool; False where the iterations were used up, or where a better solution is known to exist.
      residual: (K,) largest change of p(t|x) in one more iteration.
      excess: (K,) bits by which the Lagrangian may lie above its minimum: log2 of the largest gain(q) found by
        climbing from every row p(y|x). Zero at the global minimum.
      iterations: (K,) encoder updates used.
      cardinality: (K,) number of clusters with different decoders p(y|t).
      p_ty: (K, M, C) joint of T and Y, clusters by falling p(t), zero beyond `cardinality`; `encoder` makes
        p(t|x) of it.
      i_xy: I(X;Y), bits; where the curve saturates.
      h_sufficient: entropy of the rows p(y|x) that differ, bits; the smallest I(X;T) that keeps all of I(X;Y).
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
        """The largest I(T;Y) in bits reachable at `i_x` bits of I(X;T) (any shape), by mixing converged points.

        Piecewise linear between the points, the origin and (h_sufficient, i_xy), concave, constant beyond. It
        lies below the true curve by no more than the tangents, of slope 1/beta, allow.
        """
        ends = np.array([[0.0, 0.0], [self.h_sufficient, self.i_xy]])
        points = np.stack([self.i_x, self.i_y], axis=1)[self.converged]
        hull: list[FloatArray] = []
        for point in np.unique(np.concatenate([ends, points]), axis=0):
            while hull and (point[0] <= hull[-1][0] or (len(hull) > 1 and _below(hull[-1], hull[-2], point))):
                hull.pop()
            hull.append(point)
        x, y = np.array(hull).T
        return np.asarray(np.interp(np.asarray(i_x, np.float64), x, y))


def information_curve(
    p_xy: npt.ArrayLike,
    betas: npt.ArrayLike | None = None,
    *,
    tolerance: float = 1e-10,
    max_iterations: int = 20_000,
) -> Curve:
    """The information bottleneck curve of a joint distribution.

    Reverse annealing: beta falls from its largest value, where T = X, and each solution starts from the one
    before, its equal clusters merged and one per cent of its mass given to fresh clusters at every p(y|x) and at
    p(y). The iterations are extrapolated (squared iterative method, Varadhan & Roland 2008, scheme S3); an
    extrapolation that would raise the Lagrangian is discarded. Float64 whatever the caller's JAX settings. Patterns
    with equal p(y|x) are merged first, so time grows with R^2 and not with N.

    Args:
      p_xy: (N, C) joint distribution; sums to 1 within 1e-6 and is then normalised.
      betas: (K,) positive; by default 80 values, the first just below the onset of the curve, denser near it, the
        last so large that I(T;Y) is surely above 99.9% of I(X;Y).
      tolerance: largest change of p(t|x) in one iteration at which to stop, at most 1e-8.
      max_iterations: encoder updates allowed for each beta and each of up to four seedings.

    Raises:
      ValueError: an argument that is not as above; the message names it, its value, and what is allowed.
    """
    joint = _distinct_joint(_checked_joint(p_xy))
    if not 0 < tolerance <= 1e-8:
        raise ValueError(f"tolerance = {tolerance!r}; allowed: more than 0, at most 1e-8")
    if not (isinstance(max_iterations, int) and max_iterations >= 3):
        raise ValueError(f"max_iterations = {max_iterations!r}; allowed: an int, at least 3")
    beta = _default_betas(joint) if betas is None else _checked_betas(betas)

    falling = np.argsort(-beta, kind="stable")
    with jax.enable_x64(True):
        points = jax.device_get(_anneal(beta[falling], joint, tolerance, max_iterations))
    points = _Point(*(np.asarray(values)[np.argsort(falling)] for values in points))
    cardinality = points.cardinality.astype(np.int64)
    return Curve(
        beta=beta,
        i_x=np.maximum(points.i_x, 0.0) / _LN2,
        i_y=np.maximum(points.i_y, 0.0) / _LN2,
        converged=(points.residual <= tolerance) & (points.excess / _LN2 <= _SAVING),
        residual=points.residual,
        excess=points.excess / _LN2,
        iterations=points.iterations.astype(np.int64),
        cardinality=cardinality,
        p_ty=points.p_ty[:, : cardinality.max()],
        i_xy=_information(joint),
        h_sufficient=_entropy(joint.sum(axis=1)),
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
    joint, rows = np.asarray(p_ty, np.float64), _checked_conditional(p_y_given_x)
    p_t = joint.sum(axis=1)
    decoders = joint / np.where(p_t > 0, p_t, 1.0)[:, None]
    scores = np.where(p_t > 0, np.log(np.where(p_t > 0, p_t, 1.0)), -np.inf) - beta * _divergence(rows, decoders)
    return np.asarray(_softmax(scores)[0])


class CriticalBetas(NamedTuple):
    """Where the information curve changes its nature as beta rises.

    Attributes:
      onset: smallest beta with I(X;T) > 0 at the global minimum; infinite if I(X;Y) = 0.
      instability: 1/rho^2, where the trivial solution T = constant is no longer even a local minimum; rho is the
        second singular value of p(x,y)/sqrt(p(x)p(y)). Equal to `onset` where the curve leaves the origin
        continuously; above it where T jumps (then `onset` = 1/s*, s* the contraction coefficient of p(x,y):
        Anantharam, Gohari, Kamath & Nair 2013, arXiv 1304.6133).
      splits: (B,) betas above the onset at which clusters are added.
      cardinality: (B,) number of clusters just above each of them.
    """

    onset: float
    instability: float
    splits: FloatArray
    cardinality: npt.NDArray[np.int64]


def critical_betas(p_xy: npt.ArrayLike, *, resolution: float = 1e-3) -> CriticalBetas:
    """The onset of the information curve and the further bifurcations along it.

    The onset is exact (to 1e-9). Splits are sought between neighbours of the default betas whose number of clusters
    differs, each halved until known to the relative `resolution`; two between the same neighbours count as one.

    Args:
      p_xy: (N, C) joint distribution, as for `information_curve`.
      resolution: relative, between 1e-6 and 0.1. Solutions near a bifurcation converge slowly.

    Raises:
      ValueError: an argument that is not as above.
    """
    joint = _distinct_joint(_checked_joint(p_xy))
    if not 1e-6 <= resolution <= 0.1:
        raise ValueError(f"resolution = {resolution!r}; allowed: 1e-6 to 0.1")
    onset, instability = _onset(joint)
    if math.isinf(onset):
        return CriticalBetas(onset, instability, np.zeros(0), np.zeros(0, np.int64))
    curve = information_curve(joint)
    beyond = curve.beta > onset
    beta, cardinality = curve.beta[beyond], curve.cardinality[beyond]
    grows = np.flatnonzero(np.diff(cardinality) > 0)
    low, high, before, after = beta[grows], beta[grows + 1], cardinality[grows], cardinality[grows + 1]
    while grows.size and (high / low).max() > 1 + resolution:
        middle = np.sqrt(low * high)
        found = information_curve(joint, middle).cardinality
        split = found > before
        low, high = np.where(split, low, middle), np.where(split, middle, high)
        after = np.where(split, found, after)
    return CriticalBetas(onset, instability, np.sqrt(low * high), after)


class LayerOptimality(NamedTuple):
    """A deterministic layer against the bottleneck encoder built from its own p(t) and p(y|t).

    The agreement is partly built in, since the encoder is made of the layer's own decoder; so see the distance to
    the curve as well, and compare with `random_encoder_control`.

    Attributes:
      beta: where E_x KL[p_layer(t|x) || p_beta(t|x)] is smallest. Infinite if the KL falls for ever, because every
        pattern is in the cell of nearest p(y|t). If it depends on no beta: 0 when T says nothing about Y, else
        infinite.
      kl: that smallest value, bits; the limit where beta is infinite.
      i_x: I(X;T) = H(T), bits.
      i_y: I(T;Y), bits.
      distance: I(T;Y) of the curve at the same I(X;T), less the layer's, bits; NaN without a curve.
    """

    beta: float
    kl: float
    i_x: float
    i_y: float
    distance: float


def layer_beta(
    cells: npt.ArrayLike,
    p_y_given_x: npt.ArrayLike,
    *,
    p_x: npt.ArrayLike | None = None,
    curve: Curve | None = None,
) -> LayerOptimality:
    """The beta at which a layer is most like a bottleneck (Shwartz-Ziv & Tishby 2017, section 3.6).

    beta* = argmin_beta E_x KL[p_layer(t|x) || p_beta(t|x)]. The layer is deterministic, so the KL of a pattern is
    -log p_beta(t(x)|x), which is convex in beta.

    Args:
      cells: (N,) int, which cell of the binned layer each pattern falls into.
      p_y_given_x: (N, C) or, for a binary label, (N,) = p(y=1|x).
      p_x: (N,) probability of each pattern, or None for the uniform distribution.
      curve: of the same data, for the distance.

    Raises:
      ValueError: an argument that is not as above.
    """
    rows, weights, ids = _checked_layer(cells, p_y_given_x, p_x)
    return _layer_beta(ids, *_distinct(rows, weights), weights, curve)


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

    Each cell keeps its number of patterns, hence p(t) where p(x) is uniform. What a layer has in common with these
    says nothing about its training.

    Args:
      key: `jax.random.key(...)`.
      repeats: how many permutations, at least 1.
      cells, p_y_given_x, p_x, curve: as for `layer_beta`.

    Returns:
      `repeats` results; `numpy.array(...)` of them is (repeats, 5).
    """
    rows, weights, ids = _checked_layer(cells, p_y_given_x, p_x)
    if not (isinstance(repeats, int) and repeats >= 1):
        raise ValueError(f"repeats = {repeats!r}; allowed: an int, at least 1")
    distinct, row_of = _distinct(rows, weights)
    orders = (np.asarray(jax.random.permutation(k, ids.size)) for k in jax.random.split(key, repeats))
    return tuple(_layer_beta(ids[order], distinct, row_of, weights, curve) for order in orders)
