"""Sums over all pairs of patterns, a block of rows at a time: what the kernel and the sampling estimators share.

Shapes: K networks, N patterns, U units, C classes, S samples of a pattern, M = N S.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from ibjax.information import partition
from ibjax.information.estimator import Information, LayerBatch
from ibjax.information.partition import tree_sum

_UNROLLED = 16  # units
_PAIRS = {"cpu": 2**20}  # at a time: what the cache holds; elsewhere enough to fill a processor
_PAIRS_ELSEWHERE = 2**23
_ROWS = 256  # of those chosen, at a time


def map_networks(function: Callable[[Array, Array, Array], Information], batch: LayerBatch) -> Information:
    """`function`, from activations (N, U), a key () and p(x, y) (C, N) to numbers (), of one network after the other.

    The results are (K,) each, NaN for networks that hold a non-finite activation.
    """
    joint = partition.joint(batch.channels)
    results = lax.map(lambda network: function(network[0], network[1], joint), (batch.activations, batch.keys))
    finite = jnp.isfinite(batch.activations).all(axis=(1, 2))
    return jax.tree.map(lambda values: jnp.where(finite, values, jnp.nan), results)


def over_rows(function: Callable[[Any], Any], rows: Any, columns: int) -> Any:
    """`function`, to any pytree, of every row of a pytree of arrays with one leading axis in common; results stacked.

    As many rows at a time as make 4 MB of float32 pairs (32 MB on a GPU), `columns` of them a row.
    """
    pairs = _PAIRS.get(jax.default_backend(), _PAIRS_ELSEWHERE)
    return lax.map(function, rows, batch_size=max(1, pairs // columns))


def over_some(function: Callable[[Array, Any], Any], chosen: Array, state: Any) -> Any:
    """`function`, from the places (R,) of some of those `chosen`, (M,) bool, and a state of arrays (M, ...) to the next
    state, until all of them had their turn. The last time the place M, of which there is none, fills up.
    """
    size = len(chosen)
    turn = jnp.where(chosen, jnp.cumsum(chosen) - 1, size + _ROWS)
    rows = jnp.full(size + _ROWS, size, jnp.int32).at[turn].set(jnp.arange(size, dtype=jnp.int32), mode="drop")
    number = jnp.sum(chosen)

    def step(carry: tuple[Array, Any]) -> tuple[Array, Any]:
        first, state = carry
        return first + _ROWS, function(lax.dynamic_slice(rows, (first,), (_ROWS,)), state)

    return lax.while_loop(lambda carry: carry[0] < number, step, (jnp.zeros_like(number), state))[1]


def scaled_distances(
    row: Array, columns: Array, scale: float, noise: Array | None = None, column_noise: Array | None = None
) -> Array:
    """|scale (row - column) + noise - column noise|^2, (N,), of a row (U,) for every column of (U, N), noise alike.

    By differences, never by |a|^2 + |b|^2 - 2 a.b: the relative error is that of U additions, also where two rows are
    nearly equal, and exactly 0 where they are equal. The product form has an absolute error of about 1e-7 |a|^2, which
    divided by a noise variance of 1e-3 is already 1e-4, and by one of 1e-6 everything.
    """
    units, n = columns.shape
    parts = [part for part in (row, columns, noise, column_noise) if part is not None]

    def add(total: Array, some: list[Array]) -> tuple[Array, None]:
        for a, others, *noises in zip(*some, strict=True):
            step = scale * (a - others)
            if noises:
                step += functools.reduce(operator.sub, noises)
            total += step * step
        return total, None

    whole = units - units % _UNROLLED if units > _UNROLLED else 0
    total = jnp.zeros(n, row.dtype)
    if whole:
        total, _ = lax.scan(add, total, [part[:whole].reshape(-1, _UNROLLED, *part.shape[1:]) for part in parts])
    return add(total, [part[whole:] for part in parts])[0]


def weigh(kernel: Array, joint: Array) -> Array:
    """sum_j kernel_j p(x_j, y), (N,) and (C, N) to (C,); in full precision where a processor would take less."""
    return jnp.dot(joint, kernel, precision=lax.Precision.HIGHEST)


def label_entropy(joint: Array) -> Array:
    """H(Y) in nats of p(x, y), (C, N)."""
    return -xlogx(tree_sum(joint)).sum()


def xlogx(p: Array) -> Array:
    """p ln p, 0 where p = 0."""
    return p * safe_log(p)


def safe_log(p: Array) -> Array:
    """ln p, 0 where p = 0: for terms that have the weight 0 there; NaN stays."""
    return jnp.log(jnp.where(p == 0, 1, p))


class Cloud(NamedTuple):
    """The samples of one network, of which distances are taken in units of the noise.

    Attributes:
      centers: (M, U) activations.
      noise: (M, U) standard normal.
      labels: (M,) int32.
      scale: 1 / s.
    """

    centers: Array
    noise: Array
    labels: Array
    scale: float

    def take(self, which: Array) -> Cloud:
        """Some of the samples."""
        return Cloud(self.centers[which], self.noise[which], self.labels[which], self.scale)

    def distances(self, others: Cloud) -> Array:
        """Squared, of every sample (M,) to every one of others (M',): (M, M')."""
        columns, noise = others.centers.T, others.noise.T
        one = lambda center, z: scaled_distances(center, columns, self.scale, z, noise)  # noqa: E731
        return jax.vmap(one)(self.centers, self.noise)


def counts_of_all_pairs(cloud: Cloud, samples: int, k: int) -> tuple[Array, Array]:
    """How many others lie within the distance of the k-th neighbour of the same pattern, and of the same label.

    Args:
      cloud: M samples, those of a pattern together.
      samples: S.
      k: which neighbour.

    Returns:
      (M,) int32 each; of a label with at most k samples, any number.
    """
    points = len(cloud.labels)

    def counts(row: tuple[Array, Array, Array, Array]) -> tuple[Array, Array]:
        center, row_noise, label, index = row
        distances = scaled_distances(center, cloud.centers.T, cloud.scale, row_noise, cloud.noise.T)
        others = jnp.where(jnp.arange(points) == index, jnp.inf, distances)
        # Once, in memory: the compiler would else compute them again for every pass.
        others = lax.optimization_barrier(others)
        siblings = lax.dynamic_slice(others, (index // samples * samples,), (samples,))
        alike = jnp.where(cloud.labels == label, others, jnp.inf)
        m_x, m_y = (jnp.sum(others <= kth_least(some, k), dtype=jnp.int32) for some in (siblings, alike))
        return m_x, m_y

    return over_rows(counts, (cloud.centers, cloud.noise, cloud.labels, jnp.arange(points)), points)


def kth_least(distances: Array, k: int) -> Array:
    """The k-th least distance, by passes: k are few."""

    def further(_: int, radius: Array) -> Array:
        missing = jnp.sum(distances <= radius) < k
        return jnp.where(missing, jnp.min(distances, where=distances > radius, initial=jnp.inf), radius)

    return lax.fori_loop(0, k, further, jnp.full((), -1, distances.dtype))
