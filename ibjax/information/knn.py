"""Nearest-neighbour estimate of the information of a narrow layer with Gaussian noise.

A deterministic continuous T has I(X;T) = infinity or a number that depends on no distance; neighbours can tell
something only of T = a(X) + s Z, Z ~ N(0, I), as in `noisy`. Each of the N equally likely patterns gives S samples t,
M = N S in all, and each sample a label y ~ p(y|x). Then X and Y are both discrete beside a continuous T, the case of
Ross 2014 (PLoS ONE 9, e87357, the discrete form of Kraskov, Stoegbauer & Grassberger): r is the distance from t to its
k-th neighbour among the samples of the same pattern (or label), m how many of all the others lie within r, n how many
share its pattern (n = S) or label. Then::

    I = psi(M) + psi(k) - <psi(n)> - <psi(m)>   nats,   psi the digamma function.

The errors of the two densities cancel to first order. Those of h(T) by Kozachenko & Leonenko less the known h(s Z) do
not: where the 1024 patterns of a layer lie apart, their difference passes H(X) by 0.4 bits at 5 units and by 2 at 10
(S = 8, k = 3).

Ties: equal distances all count into m and no logarithm of a distance is taken, so equal samples need no care.
Bias, from tests against `noisy` (1024 patterns, S = 8, k = 1): within 0.1 bits up to 3 units; where patterns overlap
it grows with the width, since the ball around S samples is no longer small: -0.1 bits at 5 units, -0.4 at 10; patterns
that lie apart give log2 N + 0.09 (psi(S) is less than ln S). k > 1 trades spread for more of the bias. A class of at
most k samples counts as uninformative. No standard error.

Cost: M^2 (U + 20) operations: about 10 s a layer of a network for 4096 patterns on one CPU core, hundreds of times the
kernel's. It is an independent check of `noisy` and `kde`, not a way to a whole plane.

Shapes: K networks, N patterns, U units (width of the layer), C classes, S samples, M = N S.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, Self

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.special import digamma

from ibjax import _checks
from ibjax.information.estimator import Estimator, Information, LayerBatch
from ibjax.information.noisy import GREATEST_STD, LEAST_STD
from ibjax.information.pairs import map_networks, over_rows, scaled_distances
from ibjax.information.partition import tree_sum
from ibjax.probability import LN2

WIDEST = 16
MOST_POINTS = 65_536
MOST_SAMPLES = 256
_BLOCK, _ROWS = 256, 256  # samples of a block; samples compared with it at a time
_FAR = 64.0  # from the middle of a block, squared, for each unit: the product's error is some 1e-5 of a noise variance
_ROUNDING = 1e-4


@dataclasses.dataclass(frozen=True)
class Knn(Estimator):
    """Ross's estimate for both I(X;T) and I(T;Y), see the module. For uniform p(x) only.

    Attributes:
      noise_std: s, in units of the activations, 1e-15 to 1e15.
      samples: S of each pattern, 2 to 256.
      neighbors: k, 1 to samples - 1.
    """

    noise_std: float = 0.05
    samples: int = 8
    neighbors: int = 1

    name: ClassVar[str] = "knn"
    random: ClassVar[bool] = True
    uniform: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "samples", _checks.integer("samples", self.samples, 2, MOST_SAMPLES))
        object.__setattr__(self, "neighbors", _checks.integer("neighbors", self.neighbors, 1, self.samples - 1))
        object.__setattr__(self, "noise_std", _checks.number("noise_std", self.noise_std, LEAST_STD, GREATEST_STD))

    def for_layer(self, width: int, n_patterns: int, bounded: bool) -> Self:
        instead = "take estimator 'noisy', which has no such limit"
        if width > WIDEST:
            raise ValueError(f"knn of a layer of {width} units; allowed: at most {WIDEST} (its bias grows); {instead}")
        points = n_patterns * self.samples
        if points > MOST_POINTS:
            raise ValueError(
                f"knn of {n_patterns} patterns with samples = {self.samples}, {points} points; "
                f"allowed: at most {MOST_POINTS} (all pairs are compared); {instead}"
            )
        return self

    def __call__(self, batch: LayerBatch) -> Information:
        if batch.channels.whole == 0:
            raise ValueError("knn with p_x given; allowed: p_x = None, equally likely patterns; take estimator 'noisy'")
        return map_networks(self._network, batch)

    def _network(self, activations: Array, key: Array, joint: Array) -> Information:
        """One network, (N, U) with p(x, y) (C, N). Samples of a pattern stand together."""
        n, units = activations.shape
        dtype, points = activations.dtype, n * self.samples
        noise_key, label_key = jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)
        noise = jax.random.normal(noise_key, (points, units), dtype)
        labels = self._draw(label_key, joint)
        cloud = Cloud(jnp.repeat(activations, self.samples, axis=0), noise, labels, 1 / self.noise_std)
        by_blocks = jax.default_backend() == "cpu"  # elsewhere its many small steps take longer than all pairs
        m_x, m_y = (counts_by_blocks if by_blocks else counts_of_all_pairs)(cloud, self.samples, self.neighbors)

        def psi(count: Any) -> Array:
            return digamma(jnp.asarray(count, dtype))

        # At least k, also where a distance is rounded in two ways.
        of_m_x, of_m_y = (psi(jnp.maximum(m, self.neighbors)) for m in (m_x, m_y))
        n_y = jnp.bincount(labels, length=len(joint))[labels]
        for_y = jnp.where(n_y > self.neighbors, psi(self.neighbors) - of_m_y - psi(n_y), -psi(points))
        i_xt = psi(points) - psi(self.samples) + psi(self.neighbors) - tree_sum(of_m_x) / points
        return Information(i_xt / LN2, (psi(points) + tree_sum(for_y) / points) / LN2)

    def _draw(self, key: Array, joint: Array) -> Array:
        """y ~ p(y|x) for each sample, (M,), from p(x, y) (C, N)."""
        below = jnp.cumsum(joint, axis=0)[:-1] / joint.sum(axis=0)
        level = jax.random.uniform(key, (joint.shape[1], self.samples), joint.dtype)
        return (level[None] >= below[:, :, None]).sum(axis=0).reshape(-1)


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
        m_x, m_y = (jnp.sum(others <= _nearest(some, k), dtype=jnp.int32) for some in (siblings, alike))
        return m_x, m_y

    return over_rows(counts, (cloud.centers, cloud.noise, cloud.labels, jnp.arange(points)), points)


def counts_by_blocks(cloud: Cloud, samples: int, k: int) -> tuple[Array, Array]:
    """`counts_of_all_pairs`, with most pairs left out: ten times faster on a CPU.

    The samples are put in the order of a k-d tree, in blocks of neighbouring ones. A sample is compared with the blocks
    whose box its radius reaches, some samples at a time; where its radius holds the whole box, the block counts
    without. The radius of the pattern is known before, that of the label shrinks on the way, and once it is known the
    blocks are counted whose nearest sample lies within.

    Distances are those of `_Blocks.distances`; where rounding makes another of two the nearer, a count differs by one.
    """
    points, dtype = len(cloud.labels), cloud.centers.dtype
    noise = cloud.noise.reshape(-1, samples, cloud.noise.shape[1])
    between = jnp.sum((noise[:, :, None] - noise[:, None]) ** 2, axis=-1)
    between = jnp.where(jnp.eye(samples, dtype=bool), jnp.inf, between)
    radius = jax.vmap(jax.vmap(functools.partial(_nearest, k=k)))(between).reshape(-1)

    blocks = _Blocks.of(cloud)
    order, size, n_blocks = blocks.order, blocks.size, len(blocks.low)
    real = order < points
    # One more place, for the rows that fill up the last of `_over_some`.
    pattern, labels = jnp.append(order // samples, -1), blocks.cloud.labels
    r_x = jnp.append(jnp.where(real, radius[jnp.minimum(order, points - 1)], -1), -1)

    def of_block(values: Array, j: Array) -> Array:
        return lax.dynamic_slice(values, (j * size,), (size,))

    def nearest(best: Array, distances: Array, rows: Array, j: Array) -> Array:
        """The k least of `best` and of the distances to others of the same label, (R, k)."""
        alike = (labels[rows][:, None] == of_block(labels, j)) & (rows[:, None] != j * size + jnp.arange(size))
        distances = jnp.where(alike, distances, jnp.inf)
        if k == 1:
            return jnp.minimum(best, distances.min(axis=1, keepdims=True))
        return -lax.top_k(jnp.concatenate([-best, -distances], axis=1), k)[0]

    def among_its_block(j: Array) -> Array:
        rows = j * size + jnp.arange(size)
        return nearest(jnp.full((size, k), jnp.inf, dtype), blocks.distances(rows, j), rows, j)

    def compare(j: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        least, most = blocks.bounds(j)
        whole = (most < r_x[:-1]) & real
        missing = (((least <= r_x[:-1]) & ~whole) | (least <= state[1][:-1, -1])) & real

        def reach(rows: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
            distances = blocks.distances(rows, j)
            within = (distances <= r_x[rows][:, None]) & (pattern[rows][:, None] != of_block(pattern, j))
            m_x, least = state
            return m_x.at[rows].add(jnp.sum(within, axis=1, dtype=jnp.int32)), least.at[rows].set(distances.min(axis=1))

        def approach(rows: Array, best: Array) -> Array:
            return best.at[rows].set(nearest(best[rows], blocks.distances(rows, j), rows, j))

        m_x, best, least_of_block = state
        m_x, least = _over_some(reach, missing, (m_x, jnp.full(len(r_x), jnp.inf, dtype)))
        best = _over_some(approach, (least <= best[:, -1])[:-1] & (jnp.arange(len(order)) // size != j) & real, best)
        of_pattern = jnp.zeros(points // samples, jnp.int32)
        of_pattern = of_pattern.at[of_block(pattern, j)].add(of_block(real, j).astype(jnp.int32), mode="drop")
        in_block = of_pattern.sum() - of_pattern[pattern[:-1]]
        m_x = m_x.at[:-1].add(jnp.where(whole & ~missing, in_block, 0))
        return m_x, best, least_of_block.at[j].set(least)

    best = lax.map(among_its_block, jnp.arange(n_blocks)).reshape(-1, k)
    best = jnp.concatenate([best, jnp.full((1, k), -1, dtype)])
    start = (jnp.full(len(r_x), k, jnp.int32), best, jnp.full((n_blocks, len(r_x)), jnp.inf, dtype))
    m_x, best, least_of_block = lax.fori_loop(0, n_blocks, compare, start)

    def count(j: Array, m_y: Array) -> Array:
        def some(rows: Array, m_y: Array) -> Array:
            within = (blocks.distances(rows, j) <= best[rows, -1:]) & (labels[rows][:, None] != of_block(labels, j))
            return m_y.at[rows].add(jnp.sum(within, axis=1, dtype=jnp.int32))

        return _over_some(some, (least_of_block[j] <= best[:, -1])[:-1] & real, m_y)

    m_y = lax.fori_loop(0, n_blocks, count, jnp.full(len(r_x), k, jnp.int32))
    place = jnp.zeros(points, jnp.int32).at[order].set(jnp.arange(len(order), dtype=jnp.int32), mode="drop")
    return m_x[place], m_y[place]


class _Blocks(NamedTuple):
    """Samples in blocks of neighbours.

    Attributes:
      cloud: (M') samples in their new order, and one more.
      order: (M',) which sample of the cloud each is; M and more for those that only fill up.
      where: (M', U) rough places, all about 0.
      low, high: (J, U) box of each block, in those places.
      points: M.
    """

    cloud: Cloud
    order: Array
    where: Array
    low: Array
    high: Array
    points: int

    @property
    def size(self) -> int:
        """Samples of a block."""
        return len(self.order) // len(self.low)

    @classmethod
    def of(cls, cloud: Cloud) -> _Blocks:
        """By halves, each time along the widest axis."""
        points, units = cloud.centers.shape
        n_blocks = 1 << max(0, round(math.log2(points / _BLOCK)))
        size = -(-points // n_blocks) * n_blocks
        where = cloud.scale * (cloud.centers - cloud.centers.mean(axis=0)) + cloud.noise
        where = jnp.concatenate([where, jnp.broadcast_to(where[:1], (size - points, units))])
        order = jnp.arange(size)[None]
        while len(order) < n_blocks:
            places = where[order]
            axis = jnp.argmax(jnp.ptp(places, axis=1), axis=1)
            along = jnp.take_along_axis(places, axis[:, None, None], axis=2)[..., 0]
            order = jnp.take_along_axis(order, jnp.argsort(along, axis=1), axis=1).reshape(2 * len(order), -1)
        of_block = where[order]
        order = order.reshape(-1)
        taken = cloud.take(jnp.append(jnp.where(order < points, order, 0), 0))
        return cls(taken, order, where[order], of_block.min(axis=1), of_block.max(axis=1), points)

    def bounds(self, j: Array) -> tuple[Array, Array]:
        """Squares of the least and the greatest distance of every sample (M',) to a place in the box of block j."""
        low, high, where = self.low[j], self.high[j], self.where.T
        rounding = 8 * jnp.finfo(where.dtype).eps * jnp.abs(self.where).max()
        least, most = jnp.zeros(where.shape[1], where.dtype), jnp.zeros(where.shape[1], where.dtype)
        for u, x in enumerate(where):
            below, above = low[u] - x, x - high[u]
            least += jnp.maximum(jnp.maximum(below, above) - rounding, 0) ** 2
            most += (jnp.maximum(jnp.abs(below), jnp.abs(above)) + rounding) ** 2
        return least * (1 - _ROUNDING), most * (1 + _ROUNDING)

    def distances(self, rows: Array, j: Array) -> Array:
        """Squared, of some samples (R,) to those of block j, (R, B); infinite to itself and to what only fills up.

        As |x|^2 + |y|^2 - 2 x.y about the middle of the block, a product of two small matrices, where that is exact
        enough; else by differences.
        """
        columns = j * self.size + jnp.arange(self.size)
        row, column = self.cloud.take(rows), self.cloud.take(columns)
        middle = column.centers.mean(axis=0)
        x, y = (some.scale * (some.centers - middle) + some.noise for some in (row, column))
        x2, y2 = (jnp.sum(place * place, axis=1, keepdims=True) for place in (x, y))

        def product() -> Array:
            left = jnp.concatenate([-2 * x, jnp.ones_like(x2), x2], axis=1)
            right = jnp.concatenate([y, jnp.where(hidden[:, None], jnp.inf, y2), jnp.ones_like(y2)], axis=1)
            return jnp.dot(left, right.T, precision=lax.Precision.HIGHEST)

        far = jnp.maximum(x2.max(), y2.max())
        units, hidden = x.shape[1], self.order[columns] >= self.points
        exact = lambda: jnp.where(hidden, jnp.inf, row.distances(column))  # noqa: E731
        return exact() if units == 1 else lax.cond(far > min(4 * units**4, 1000 * units), exact, product)


def _over_some(function: Callable[[Array, Any], Any], chosen: Array, state: Any) -> Any:
    """`function` of the places (R,) where `chosen`, (M',), is true and of a state, some after the other.

    Where fewer than R are left, M' fills up.
    """
    size = len(chosen)
    place = jnp.where(chosen, jnp.cumsum(chosen) - 1, size + _ROWS)
    rows = jnp.full(size + _ROWS, size, jnp.int32).at[place].set(jnp.arange(size, dtype=jnp.int32), mode="drop")
    n = jnp.sum(chosen)

    def step(carry: tuple[Array, Any]) -> tuple[Array, Any]:
        first, state = carry
        return first + _ROWS, function(lax.dynamic_slice(rows, (first,), (_ROWS,)), state)

    return lax.while_loop(lambda carry: carry[0] < n, step, (jnp.zeros_like(n), state))[1]


def _nearest(distances: Array, k: int) -> Array:
    """The k-th least distance, by passes: k are few."""

    def further(_: int, radius: Array) -> Array:
        missing = jnp.sum(distances <= radius) < k
        return jnp.where(missing, jnp.min(distances, where=distances > radius, initial=jnp.inf), radius)

    return lax.fori_loop(0, k, further, jnp.full((), -1, distances.dtype))
