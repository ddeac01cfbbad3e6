"""The information bottleneck: the curve of a joint distribution p(x, y), and how near to it a layer lies.

A bottleneck T of X minimises the Lagrangian I(X;T) - beta I(T;Y) (Tishby, Pereira & Bialek 1999,
arXiv physics/0004057). Given the joint p(t, y) of T and Y, the best encoder is

    p(t|x) = p(t)/Z(x) exp(-beta KL[p(y|x) || p(y|t)]),

it in turn gives a new p(t, y), and repeating the two steps never raises the Lagrangian.

With the decoders p(y|t) as points q of the simplex this is rate distortion with distortion KL[p(y|x) || q],
which is convex. Its optimality condition (Berger 1971, Rate Distortion Theory, chapter 2) tells whether a
solution is the global one: with Z as above,

    gain(q) = sum_x p(x) exp(-beta KL[p(y|x) || q]) / Z(x) <= 1   for every q,

and where it fails, log max gain(q) bounds what one more cluster, at that q, can still save. So no bifurcation
is missed, be it continuous or a jump.

Shapes: N patterns, R <= N distinct rows p(y|x) of positive probability, C classes, M clusters of T, K betas.
Everything returned is float64 and in bits; inside, nats.
"""

from __future__ import annotations

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
_DEAD = 1e-7  # a cluster with less mass is none
_SAME_CLUSTER = 1e-6  # beta KL between decoders that make one cluster, nats
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
      h_sufficient: entropy of the rows p(y|x) that differ (by 1e-12), bits; the smallest I(X;T) that keeps
        all of I(X;Y).
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
    before, its equal clusters merged and one per cent of its mass given to fresh clusters at every p(y|x) and
    at p(y). The iterations are extrapolated (squared iterative method, Varadhan & Roland 2008, scheme S3); an
    extrapolation that would raise the Lagrangian is discarded. Float64 whatever the caller's JAX settings.
    Patterns with equal p(y|x) are merged first, so time grows with R^2 and not with N.

    Args:
      p_xy: (N, C) joint distribution; sums to 1 within 1e-6 and is then normalised.
      betas: (K,) positive; by default 80 values, the first just below the onset of the curve, denser near it,
        the last so large that I(T;Y) is surely above 99.9% of I(X;Y).
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
    joint, rows = _checked_joint(p_ty, "p_ty"), _checked_conditional(p_y_given_x)
    if joint.shape[1] != rows.shape[1]:
        raise ValueError(f"p_ty has {joint.shape[1]} classes; allowed: the {rows.shape[1]} of p_y_given_x")
    return np.asarray(_encode(joint, float(_checked_betas([beta])[0]), rows, np)[0])


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
    joint = _distinct_joint(_checked_joint(p_xy))
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


class LayerOptimality(NamedTuple):
    """A deterministic layer against the bottleneck encoder built from its own p(t) and p(y|t).

    The agreement is partly built in, since the encoder is made of the layer's own decoder; so see the
    distance to the curve as well, and compare with `random_encoder_control`.

    Attributes:
      beta: where E_x KL[p_layer(t|x) || p_beta(t|x)] is smallest. Infinite if the KL falls for ever, because
        every pattern is in the cell of nearest p(y|t). If it depends on no beta: 0 when T says nothing about
        Y, else infinite.
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
    """The beta at which a layer is most like a bottleneck (Shwartz-Ziv & Tishby 2017).

    beta* = argmin_beta E_x KL[p_layer(t|x) || p_beta(t|x)]. The layer is deterministic, so the KL of a
    pattern is -log p_beta(t(x)|x), which is convex in beta.

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

    Each cell keeps its number of patterns, hence p(t) where p(x) is uniform. What a layer has in common with
    these says nothing about its training.

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


class _Point(NamedTuple):
    """One beta, or all of them with a leading axis K; nats."""

    i_x: Any
    i_y: Any
    residual: Any
    excess: Any
    iterations: Any
    cardinality: Any
    p_ty: Any


@jax.jit
def _anneal(betas: Any, joint: Any, tolerance: Any, max_iterations: Any) -> _Point:
    p_x = joint.sum(axis=1)
    rows = joint / p_x[:, None]
    seeds = jnp.concatenate([joint, joint.sum(axis=0, keepdims=True)]) / 2

    def solve(p_ty: Any, beta: Any) -> tuple[Any, _Point]:
        def again(state: Any) -> Any:
            p_ty, _, _, used, rounds = state
            start = _reseed(p_ty, seeds, beta)
            p_ty, residual, iterations = _iterate(start, beta, rows, p_x, tolerance, max_iterations)
            return p_ty, residual, _excess(p_ty, beta, rows, p_x), used + iterations, rounds + 1

        def unfinished(state: Any) -> Any:
            return (state[4] == 0) | ((state[2] > _SAVING * _LN2) & (state[4] < _ROUNDS))

        state = jax.lax.while_loop(unfinished, again, (p_ty, jnp.inf, jnp.inf, 0, 0))
        p_ty, residual, excess, iterations, _ = state
        image, _, p_t_x = _update(p_ty, beta, rows, p_x)
        p_t, clusters = image.sum(axis=1), _merge(image, beta)
        return p_ty, _Point(
            i_x=_relative_entropy(p_x[:, None] * p_t_x, p_x[:, None] * p_t),
            i_y=_relative_entropy(image, p_t[:, None] * image.sum(axis=0)),
            residual=residual,
            excess=excess,
            iterations=iterations,
            cardinality=(clusters.sum(axis=1) > 0).sum(),
            p_ty=clusters[jnp.argsort(-clusters.sum(axis=1))],
        )

    return jax.lax.scan(solve, jnp.concatenate([seeds, jnp.zeros_like(seeds)]), betas)[1]


def _update(p_ty: Any, beta: Any, rows: Any, p_x: Any) -> tuple[Any, Any, Any]:
    """One bottleneck iteration, p(t, y) -> p(t, y); also its free energy -E_x ln Z and its encoder (R, M).

    The free energy is I(X;T) + beta (I(X;Y) - I(T;Y)) at a fixed point and never rises on the way.
    """
    p_t_x, log_z = _encode(p_ty, beta, rows, jnp)
    return p_t_x.T @ (p_x[:, None] * rows), -p_x @ log_z, p_t_x


def _iterate(p_ty: Any, beta: Any, rows: Any, p_x: Any, tolerance: Any, most: Any) -> tuple[Any, Any, Any]:
    """Extrapolated iterations from p(t, y) to a fixed point; also the residual and the number of updates."""

    def cycle(state: Any) -> Any:
        first, _, used = state
        second, _, encoder_1 = _update(first, beta, rows, p_x)
        third, energy, encoder_2 = _update(second, beta, rows, p_x)
        change = second - first
        bend = third - second - change
        step = jnp.sqrt((change**2).sum() / jnp.maximum((bend**2).sum(), 1e-300))
        step = jnp.maximum(step, 1.0)
        # A cluster may shrink to a hundredth, never vanish: what an extrapolation kills could not grow again.
        leap = jnp.maximum(first + 2 * step * change + step**2 * bend, 0.01 * third)
        landed, leap_energy, _ = _update(leap / leap.sum(), beta, rows, p_x)
        kept = leap_energy <= energy + 1e-14  # the rounding of the energy, not a licence to rise
        return jnp.where(kept, landed, third), jnp.abs(encoder_2 - encoder_1).max(), used + 3

    def unfinished(state: Any) -> Any:
        return (state[1] > tolerance) & (state[2] < most)

    final: tuple[Any, Any, Any] = jax.lax.while_loop(unfinished, cycle, (p_ty, jnp.inf, 0))
    return final


def _merge(p_ty: Any, beta: Any) -> Any:
    """p(t, y) with clusters that no encoder at this beta tells apart summed up in the first, (M, C)."""
    p_t = p_ty.sum(axis=1)
    lives = p_t > _DEAD
    root = jnp.sqrt(p_ty / jnp.where(lives, p_t, 1.0)[:, None])
    # KL of near neighbours is twice this sum; class by class, since (M, M, C) may not fit in memory.
    hellinger = jax.lax.fori_loop(
        0,
        p_ty.shape[1],
        lambda c, total: total + (root[:, None, c] - root[None, :, c]) ** 2,
        jnp.zeros((p_t.size, p_t.size), p_ty.dtype),
    )
    same = (2 * beta * hellinger < _SAME_CLUSTER) & lives[:, None] & lives[None, :]
    first = jnp.argmax(same, axis=1)
    return ((first == jnp.arange(p_t.size)[:, None]) & lives).astype(p_ty.dtype) @ p_ty


def _reseed(p_ty: Any, seeds: Any, beta: Any) -> Any:
    """Equal clusters merged, the rows so freed given to the seeds."""
    merged = _merge(p_ty, beta)
    free = merged.sum(axis=1) <= 0
    which = jnp.where(free, jnp.minimum(jnp.cumsum(free) - 1, len(seeds)), len(seeds))
    fresh = jnp.concatenate([seeds, jnp.zeros_like(seeds[:1])])[which]
    start = (1 - _RESEED) * merged / merged.sum() + _RESEED * fresh
    return start / start.sum()


def _excess(p_ty: Any, beta: Any, rows: Any, p_x: Any) -> Any:
    """ln of the largest gain(q), nats, 0 if none is above 1: q climbs from every row p(y|x) and from p(y).

    Each step is the bottleneck update of a cluster without weight, so gain(q) never falls.
    """
    log_weights = jnp.log(p_x) - _encode(p_ty, beta, rows, jnp)[1]

    def gain(q: Any) -> tuple[Any, Any]:
        return _softmax(log_weights - beta * _divergence(rows, q, jnp).T, jnp)

    starts = jnp.concatenate([rows, (p_x @ rows)[None]])
    q = jax.lax.fori_loop(0, 100, lambda _, q: gain(q)[0] @ rows, starts)
    return jnp.maximum(gain(q)[1].max(), 0.0)


@jax.jit
def _least_ratio(joint: Any, ceiling: Any) -> Any:
    """Smallest beta up to `ceiling` at which a cluster r can save on T = constant.

    That is min_r KL[r(x) || p(x)] / KL[r(y) || p(y)]: from every row the climb of `_excess`, at a beta
    that is itself lowered to the ratio reached (Dinkelbach 1967).
    """
    p_x, p_y = joint.sum(axis=1), joint.sum(axis=0)
    rows = joint / p_x[:, None]
    trivial = _divergence(rows, p_y[None], jnp).T

    def climb(_: Any, state: tuple[Any, Any]) -> tuple[Any, Any]:
        q, beta = state
        r = _softmax(jnp.log(p_x) - beta[:, None] * (_divergence(rows, q, jnp).T - trivial), jnp)[0]
        q = r @ rows
        i_x, i_y = (jax.vmap(_relative_entropy, (0, None))(*pair) for pair in ((r, p_x), (q, p_y)))
        # Next to p(y) the ratio is 0/0 and its limit, the ceiling, is known.
        return q, jnp.where(i_y > 1e-8, jnp.minimum(beta, i_x / jnp.maximum(i_y, 1e-8)), beta)

    return jax.lax.fori_loop(0, 10_000, climb, (rows, jnp.full(p_x.shape, ceiling)))[1].min()


def _onset(joint: FloatArray) -> tuple[float, float]:
    """`CriticalBetas.onset` and `.instability`."""
    joint = joint[:, joint.sum(axis=0) > 0]
    scale = np.sqrt(np.outer(joint.sum(axis=1), joint.sum(axis=0)))
    values = np.linalg.svd(joint / scale, compute_uv=False)
    if values.size < 2 or values[1] < 1e-7:  # X and Y independent up to rounding
        return math.inf, math.inf
    instability = max(1.0, float(values[1]) ** -2)
    with jax.enable_x64(True):
        return float(_least_ratio(joint, instability)), instability


def _default_betas(joint: FloatArray) -> FloatArray:
    onset, instability = _onset(joint)
    if math.isinf(onset):
        return np.ones(1)
    # I_X - beta I_Y <= H - beta I(X;Y) and I_X >= 0 at the minimum: I(X;Y) - I_Y <= H/beta.
    last = max(4 * instability, 1000 * _entropy(joint.sum(axis=1)) / _information(joint))
    return np.concatenate([[0.98 * onset], onset * (1 + np.geomspace(0.01, last / onset - 1, 79))])


def _layer_beta(
    ids: npt.NDArray[np.int64],
    distinct: FloatArray,
    row_of: npt.NDArray[np.intp],
    weights: FloatArray,
    curve: Curve | None,
) -> LayerOptimality:
    cell = np.unique(ids, return_inverse=True)[1].reshape(-1)
    p_t, p_ty = _sum_by(cell, weights), _sum_by(cell, weights[:, None] * distinct[row_of])
    i_x, i_y = _entropy(p_t), _information(p_ty)
    distance = math.nan if curve is None else float(curve.relevance(i_x)) - i_y

    # Cells of equal p(y|t) share an encoder up to p(t): G groups in their place, (R, G) instead of (N, M).
    decoders, group_of = _distinct(p_ty / p_t[:, None], p_t)
    mass = np.zeros((len(distinct), len(decoders)))
    np.add.at(mass, (row_of, group_of[cell]), weights)
    p_r, p_g = mass.sum(axis=1), mass.sum(axis=0)
    divergence = _divergence(distinct, decoders)
    log_p = np.where(np.isinf(divergence), -np.inf, np.log(p_g))
    finite = np.where(np.isinf(divergence), 0.0, divergence)
    own, nearest = float((mass * finite).sum()), divergence.min(axis=1)

    def kl(beta: float) -> float:
        return i_x + (beta * own + float(p_r @ _softmax(log_p - beta * finite)[1])) / _LN2

    def slope(beta: float) -> float:
        return own - float(p_r @ (_softmax(log_p - beta * finite)[0] * finite).sum(axis=1))

    if slope(0.0) > -1e-14:
        return LayerOptimality(0.0 if i_y < 1e-12 else math.inf, kl(0.0), i_x, i_y, distance)
    if own - p_r @ nearest < 1e-13:
        tied = np.where(divergence <= nearest[:, None] + 1e-12, log_p, -np.inf)
        return LayerOptimality(math.inf, i_x + float(p_r @ _softmax(tied)[1]) / _LN2, i_x, i_y, distance)
    high = 1.0
    while slope(high) <= 0:
        high *= 2
    beta = float(optimize.brentq(slope, 0.0, high, xtol=1e-12, rtol=1e-12))
    return LayerOptimality(beta, kl(beta), i_x, i_y, distance)


def _encode(p_ty: Any, beta: Any, rows: Any, xp: ModuleType) -> tuple[Any, Any]:
    """p(t|x), (N, M), and ln Z(x), (N,). A cluster without mass has infinite divergence, so it gets none."""
    p_t = p_ty.sum(axis=1)
    safe = xp.where(p_t > 0, p_t, 1.0)
    return _softmax(xp.log(safe) - beta * _divergence(rows, p_ty / safe[:, None], xp), xp)


def _divergence(p: Any, q: Any, xp: ModuleType = np) -> Any:
    """KL[p_i || q_j] in nats, (N, C), (M, C) -> (N, M); infinite where p has what q lacks, also for q = 0."""
    negentropy = (p * xp.log(xp.where(p > 0, p, 1.0))).sum(axis=1, keepdims=True)
    cross = p @ xp.log(xp.where(q > 0, q, 1.0)).T
    return xp.where(p @ (q <= 0).T.astype(p.dtype) > 0, xp.inf, xp.maximum(negentropy - cross, 0.0))


def _softmax(scores: Any, xp: ModuleType = np) -> tuple[Any, Any]:
    """exp(scores), rows normalised, and the ln of their norms; a row of nothing but -inf gives 0 and -inf."""
    top = scores.max(axis=1, keepdims=True)
    top = xp.where(top > -xp.inf, top, 0.0)
    terms = xp.exp(scores - top)
    norm = terms.sum(axis=1, keepdims=True)
    some = norm > 0
    safe = xp.where(some, norm, 1.0)
    return terms / safe, xp.where(some, top + xp.log(safe), -xp.inf)[:, 0]


def _relative_entropy(p: Any, q: Any) -> Any:
    """Sum of p ln p/q in nats; 0 ln 0 = 0."""
    positive = p > 0
    return (p * (jnp.log(jnp.where(positive, p, 1.0)) - jnp.log(jnp.where(positive, q, 1.0)))).sum()


def _entropy(p: FloatArray) -> float:
    """Bits."""
    return max(0.0, float(-(p * np.log2(np.where(p > 0, p, 1.0))).sum()))


def _information(joint: FloatArray) -> float:
    """I in bits of a joint distribution."""
    return max(0.0, _entropy(joint.sum(axis=0)) + _entropy(joint.sum(axis=1)) - _entropy(joint))


def _distinct(rows: FloatArray, weights: FloatArray) -> tuple[FloatArray, npt.NDArray[np.intp]]:
    """The rows that differ, (R, C), each the weighted mean of its like; which of them each row is, (N,)."""
    row_of = np.unique(np.round(rows / _SAME_ROW), axis=0, return_inverse=True)[1].reshape(-1)
    return _sum_by(row_of, weights[:, None] * rows) / _sum_by(row_of, weights)[:, None], row_of


def _sum_by(group: npt.NDArray[np.intp], values: FloatArray) -> FloatArray:
    """Sum over the members of each group, (N, ...) -> (groups, ...)."""
    sums = np.zeros((group.max() + 1, *values.shape[1:]))
    np.add.at(sums, group, values)
    return sums


def _distinct_joint(p_xy: FloatArray) -> FloatArray:
    """p(x, y) with patterns of equal p(y|x) as one and impossible ones left out, (R, C)."""
    p_xy = p_xy[p_xy.sum(axis=1) > 0]
    p_x = p_xy.sum(axis=1)
    return _sum_by(_distinct(p_xy / p_x[:, None], p_x)[1], p_xy)


def _below(middle: FloatArray, left: FloatArray, right: FloatArray) -> bool:
    """Is the middle point on or below the chord?"""
    (x, y), (x_end, y_end) = middle - left, right - left
    return bool(y * x_end <= y_end * x)


def _floats(name: str, value: npt.ArrayLike) -> FloatArray:
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} cannot be read as an array of floats: {error}") from None
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds {int((~np.isfinite(array)).sum())} NaN or infinite values; allowed: finite")
    return array


def _sums_to_one(name: str, p: FloatArray, axis: int | None = None) -> FloatArray:
    """`p`, normalised along `axis`."""
    if p.min() < 0:
        raise ValueError(f"{name} has minimum {p.min():g}; allowed: probabilities, at least 0")
    total = np.asarray(p.sum(axis=axis, keepdims=True))
    worst = float(total.flat[np.abs(total - 1).argmax()])
    if abs(worst - 1) > _PROBABILITY_TOLERANCE:
        raise ValueError(f"{name} sums to {worst:.9g}; allowed: 1 within {_PROBABILITY_TOLERANCE:g}")
    return np.asarray(p / total)


def _checked_joint(value: npt.ArrayLike, name: str = "p_xy") -> FloatArray:
    joint = _floats(name, value)
    if joint.ndim != 2 or joint.size == 0:
        raise ValueError(f"{name} has shape {joint.shape}; allowed: two axes, neither of them empty")
    return _sums_to_one(name, joint)


def _checked_betas(betas: npt.ArrayLike) -> FloatArray:
    beta = _floats("betas", betas)
    if beta.ndim != 1 or beta.size == 0:
        raise ValueError(f"betas has shape {beta.shape}; allowed: (K,), at least one")
    if beta.min() <= 0:
        raise ValueError(f"betas has minimum {beta.min():g}; allowed: more than 0")
    return beta


def _checked_conditional(p_y_given_x: npt.ArrayLike) -> FloatArray:
    rows = _floats("p_y_given_x", p_y_given_x)
    if rows.ndim not in (1, 2) or rows.size == 0:
        raise ValueError(f"p_y_given_x has shape {rows.shape}; allowed: (N,) or (N, C), at least one pattern")
    if rows.max() > 1 + _PROBABILITY_TOLERANCE:
        raise ValueError(f"p_y_given_x has maximum {rows.max():g}; allowed: probabilities, at most 1")
    rows = np.stack([1.0 - rows, rows], axis=1) if rows.ndim == 1 else rows
    return _sums_to_one("p_y_given_x", rows, axis=1)


def _checked_layer(
    cells: npt.ArrayLike, p_y_given_x: npt.ArrayLike, p_x: npt.ArrayLike | None
) -> tuple[FloatArray, FloatArray, npt.NDArray[np.int64]]:
    """p(y|x) (N, C), p(x) (N,) and the cells (N,) of the patterns that occur."""
    rows, ids = _checked_conditional(p_y_given_x), np.asarray(cells)
    if ids.shape != rows.shape[:1] or not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f"cells is {ids.dtype} of shape {ids.shape}; allowed: integers of shape {rows.shape[:1]}")
    weights = np.full(len(rows), 1.0 / len(rows)) if p_x is None else _floats("p_x", p_x)
    if weights.shape != rows.shape[:1]:
        raise ValueError(f"p_x has shape {weights.shape}; allowed: {rows.shape[:1]}")
    weights = _sums_to_one("p_x", weights)
    occurs = weights > 0
    return rows[occurs], weights[occurs], ids[occurs]
