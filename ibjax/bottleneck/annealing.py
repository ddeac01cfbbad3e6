"""The numerical core of the bottleneck: annealing over beta, compiled, in nats and in whatever precision it is given.

With the decoders p(y|t) as points q of the simplex the bottleneck is rate distortion with distortion KL[p(y|x) || q],
which is convex. Its optimality condition (Berger 1971, Rate Distortion Theory, chapter 2) tells whether a solution is
the global one: with Z(x) the norm of its encoder,

    gain(q) = sum_x p(x) exp(-beta KL[p(y|x) || q]) / Z(x) <= 1   for every q,

and where it fails, log max gain(q) bounds what one more cluster, at that q, can still save. So no bifurcation
is missed, be it continuous or a jump.

Shapes: R distinct rows p(y|x) of positive probability, C classes, M = 2 (R + 1) clusters of T, K betas. A cluster may
be empty.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ibjax.probability import LN2, divergence, softmax

_RESEED = 1e-2  # share of the mass that goes to fresh clusters before each solution
_DEAD = 1e-7  # a cluster with less mass is none
_SAME_CLUSTER = 1e-6  # beta KL between decoders that make one cluster, nats
_ROUNDS = 4  # times a solution that is not the global one is seeded again
SAVING = 1e-7  # bits that a new cluster could still save at a point called converged


class Point(NamedTuple):
    """The solution at one beta, (), or at all of them, (K,): what `curve.Curve` says of it, in nats; p_ty is (M, C)."""

    i_x: Any
    i_y: Any
    residual: Any
    excess: Any
    iterations: Any
    cardinality: Any
    p_ty: Any


@jax.jit
def anneal(betas: Any, joint: Any, tolerance: Any, max_iterations: Any) -> Point:
    """The bottleneck at each of the falling betas (K,), each solution the start of the next; p(x, y) is (R, C)."""
    p_x = joint.sum(axis=1)
    rows = joint / p_x[:, None]
    seeds = jnp.concatenate([joint, joint.sum(axis=0, keepdims=True)]) / 2

    def solve(p_ty: Any, beta: Any) -> tuple[Any, Point]:
        def again(state: Any) -> Any:
            p_ty, _, _, used, rounds = state
            start = _reseed(p_ty, seeds, beta)
            p_ty, residual, iterations = _iterate(start, beta, rows, p_x, tolerance, max_iterations)
            return p_ty, residual, _excess(p_ty, beta, rows, p_x), used + iterations, rounds + 1

        def unfinished(state: Any) -> Any:
            return (state[4] == 0) | ((state[2] > SAVING * LN2) & (state[4] < _ROUNDS))

        state = jax.lax.while_loop(unfinished, again, (p_ty, jnp.inf, jnp.inf, 0, 0))
        p_ty, residual, excess, iterations, _ = state
        image, _, p_t_x = _update(p_ty, beta, rows, p_x)
        p_t, clusters = image.sum(axis=1), _merge(image, beta)
        return p_ty, Point(
            i_x=relative_entropy(p_x[:, None] * p_t_x, p_x[:, None] * p_t),
            i_y=relative_entropy(image, p_t[:, None] * image.sum(axis=0)),
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
    p_t_x, log_z = encode(p_ty, beta, rows, jnp)
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
        fourth, leap_energy, _ = _update(leap / leap.sum(), beta, rows, p_x)
        falls = leap_energy <= energy + 1e-14  # the rounding of the energy, not a licence to rise
        return jnp.where(falls, fourth, third), jnp.abs(encoder_2 - encoder_1).max(), used + 3

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
    log_weights = jnp.log(p_x) - encode(p_ty, beta, rows, jnp)[1]

    def gain(q: Any) -> tuple[Any, Any]:
        return softmax(log_weights - beta * divergence(rows, q, jnp).T, jnp)

    starts = jnp.concatenate([rows, (p_x @ rows)[None]])
    q = jax.lax.fori_loop(0, 100, lambda _, q: gain(q)[0] @ rows, starts)
    return jnp.maximum(gain(q)[1].max(), 0.0)


@jax.jit
def least_ratio(joint: Any, ceiling: Any) -> Any:
    """Smallest beta up to `ceiling` at which a cluster r can save on T = constant.

    That is min_r KL[r(x) || p(x)] / KL[r(y) || p(y)]: from every row the climb of `_excess`, at a beta
    that is itself lowered to the ratio reached (Dinkelbach 1967).
    """
    p_x, p_y = joint.sum(axis=1), joint.sum(axis=0)
    rows = joint / p_x[:, None]
    trivial = divergence(rows, p_y[None], jnp).T

    def climb(_: Any, state: tuple[Any, Any]) -> tuple[Any, Any]:
        q, beta = state
        r = softmax(jnp.log(p_x) - beta[:, None] * (divergence(rows, q, jnp).T - trivial), jnp)[0]
        q = r @ rows
        i_x, i_y = (jax.vmap(relative_entropy, (0, None))(*pair) for pair in ((r, p_x), (q, p_y)))
        # Next to p(y) the ratio is 0/0 and its limit, the ceiling, is known.
        return q, jnp.where(i_y > 1e-8, jnp.minimum(beta, i_x / jnp.maximum(i_y, 1e-8)), beta)

    return jax.lax.fori_loop(0, 10_000, climb, (rows, jnp.full(p_x.shape, ceiling)))[1].min()


def encode(p_ty: Any, beta: Any, rows: Any, xp: ModuleType) -> tuple[Any, Any]:
    """p(t|x), (N, M), and ln Z(x), (N,). A cluster without mass has infinite divergence, so it gets none."""
    p_t = p_ty.sum(axis=1)
    safe = xp.where(p_t > 0, p_t, 1.0)
    return softmax(xp.log(safe) - beta * divergence(rows, p_ty / safe[:, None], xp), xp)


def relative_entropy(p: Any, q: Any) -> Any:
    """Sum of p ln p/q in nats; 0 ln 0 = 0."""
    positive = p > 0
    return (p * (jnp.log(jnp.where(positive, p, 1.0)) - jnp.log(jnp.where(positive, q, 1.0)))).sum()
