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

Cost: 0.1 to 0.3 s a layer of a network for 4096 patterns on one CPU core, up to 1 s where most patterns coincide.
Elsewhere all pairs are compared, M^2 (U + 20) operations. A thousand times the kernel's: it is an independent check of
`noisy` and `kde`, not a way to a whole plane.

Shapes: K networks, N patterns, U units (width of the layer), C classes, S samples, M = N S.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any, ClassVar, NamedTuple, Self

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.special import digamma

from ibjax import _checks
from ibjax.information.estimator import Estimator, Information, LayerBatch
from ibjax.information.noisy import GREATEST_STD, LEAST_STD
from ibjax.information.pairs import Cloud, counts_of_all_pairs, kth_least, map_networks, over_some
from ibjax.information.partition import tree_sum
from ibjax.probability import LN2

WIDEST = 16
MOST_POINTS = 65_536
MOST_SAMPLES = 256
_BLOCK = 512  # samples of a block, or so
_ROUNDING = 1e-4  # more than that of a squared distance


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
        # Elsewhere the many small steps would take longer than all pairs.
        counts = counts_by_blocks if jax.default_backend() == "cpu" else counts_of_all_pairs
        m_x, m_y = counts(cloud, self.samples, self.neighbors)

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


def counts_by_blocks(cloud: Cloud, samples: int, k: int) -> tuple[Array, Array]:
    """`counts_of_all_pairs`, with most pairs left out.

    Samples are compared only with the blocks whose box is within their radius, those of one block that need it 256 at a
    time; a box that lies within as a whole is counted as such. The radius of the pattern is known from its S samples;
    that of the label shrinks on the way, and then only the blocks are counted that hold a sample nearer than it.

    Of the same pattern or label exactly k are within; only the others are compared with the radius. Where rounding
    (see `_Blocks.distances`) takes another of two for the nearer, a count differs by one.
    """
    noise = cloud.noise.reshape(-1, samples, cloud.noise.shape[1])
    between = jnp.sum((noise[:, :, None] - noise[:, None]) ** 2, axis=-1)
    between = jnp.where(jnp.eye(samples, dtype=bool), jnp.inf, between)
    radius = jax.vmap(jax.vmap(functools.partial(kth_least, k=k)))(between).reshape(-1)
    blocks = _Blocks.of(cloud, radius, samples)
    numbers = jnp.arange(len(blocks.low))

    def among_its_block(j: Array) -> Array:
        rows = blocks.columns(j)
        nearest = jnp.full((len(rows), k), jnp.inf, noise.dtype)
        return blocks.nearer(nearest, rows, j)

    def compare(j: Array, state: tuple[Array, Array]) -> tuple[tuple[Array, Array], Array]:
        m_x, nearest = state
        inside, least = blocks.reach(j, nearest[:, -1])
        others = (least <= nearest[:, -1]) & (blocks.place // blocks.size != j)
        nearest = over_some(lambda rows, best: best.at[rows].set(blocks.nearer(best[rows], rows, j)), others, nearest)
        return (m_x + inside, nearest), least

    def count(m_y: Array, j_and_least: tuple[Array, Array]) -> tuple[Array, None]:
        j, least = j_and_least

        def some(rows: Array, m_y: Array) -> Array:
            other = blocks.cloud.labels[rows][:, None] != blocks.cloud.labels[blocks.columns(j)]
            within = other & (blocks.distances(rows, j) <= radius_y[rows][:, None])
            return m_y.at[rows].add(jnp.sum(within, axis=1, dtype=jnp.int32))

        return over_some(some, least <= radius_y, m_y), None

    start = jnp.full(len(blocks.place), k, jnp.int32)
    nearest = lax.map(among_its_block, numbers).reshape(-1, k)
    (m_x, nearest), least = lax.scan(lambda state, j: compare(j, state), (start, nearest), numbers)
    radius_y = nearest[:, -1]
    m_y, _ = lax.scan(count, start, (numbers, least))
    back = jnp.zeros(len(radius), jnp.int32).at[blocks.order].set(blocks.place, mode="drop")
    return m_x[back], m_y[back]


class _Blocks(NamedTuple):
    """Samples in the order of a k-d tree, hence in blocks of neighbours.

    Attributes:
      cloud: (M') samples in their new order.
      order: (M',) which sample of the cloud each is; M and more for those that only fill up, whose `radius` is -1.
      pattern: (M',) of which pattern.
      radius: (M',) squared, of the k-th of the same pattern.
      where: (M', U) rough places, all about 0.
      low, high: (J, U) box of each block, in those places.
      points: M.
    """

    cloud: Cloud
    order: Array
    pattern: Array
    radius: Array
    where: Array
    low: Array
    high: Array
    points: int

    @property
    def size(self) -> int:
        """Samples of a block."""
        return len(self.order) // len(self.low)

    @property
    def place(self) -> Array:
        """0 to M' - 1."""
        return jnp.arange(len(self.order), dtype=jnp.int32)

    def columns(self, j: Array) -> Array:
        """The places of block j, (B,)."""
        return j * self.size + jnp.arange(self.size)

    @classmethod
    def of(cls, cloud: Cloud, radius: Array, samples: int) -> _Blocks:
        """By halves, each time along the widest axis."""
        points, units = cloud.centers.shape
        levels = max(0, round(math.log2(points / _BLOCK)))
        size = -(-points >> levels) << levels
        number = jnp.arange(size, dtype=jnp.int32) // (size >> levels)  # of the block
        where = cloud.scale * (cloud.centers - cloud.centers.mean(axis=0)) + cloud.noise
        where = jnp.concatenate([where, jnp.broadcast_to(where[:1], (size - points, units))])

        def box(order: Array) -> tuple[Array, Array]:
            of_block = where[order].reshape(1 << levels, -1, units)
            return of_block.min(axis=1), of_block.max(axis=1)

        def halve(level: Array, order: Array) -> Array:
            group = number >> (levels - level)
            low, high = box(order)
            blocks = group.reshape(1 << levels, -1)[:, 0]
            width = jnp.full_like(high, -jnp.inf).at[blocks].max(high) - jnp.full_like(low, jnp.inf).at[blocks].min(low)
            along = where[order, jnp.argmax(width, axis=1)[group]]
            return lax.sort((group, along, order), num_keys=2)[2]

        order = lax.fori_loop(0, levels, halve, jnp.arange(size, dtype=jnp.int32))
        real = order < points
        first = jnp.where(real, order, 0)
        radius = jnp.where(real, radius[first], -1)
        return cls(cloud.take(first), order, order // samples, radius, where[order], *box(order), points)

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
        """Squared, of some samples (R,) to those of block j, (R, B); infinite to what only fills up.

        As |x|^2 + |y|^2 - 2 x.y about the middle of the block, a product of two small matrices, where all are so near
        that in float32 its error is 1e-2 or less of the squared distances that matter; else by differences.
        """
        row, column = self.cloud.take(rows), self.cloud.take(self.columns(j))
        middle, units = column.centers.mean(axis=0), column.centers.shape[1]
        x, y = (some.scale * (some.centers - middle) + some.noise for some in (row, column))
        x2, y2 = (jnp.sum(place * place, axis=1, keepdims=True) for place in (x, y))
        hidden = self.radius[self.columns(j)] < 0

        def product() -> Array:
            left = jnp.concatenate([-2 * x, jnp.ones_like(x2), x2], axis=1)
            right = jnp.concatenate([y, jnp.where(hidden[:, None], jnp.inf, y2), jnp.ones_like(y2)], axis=1)
            return jnp.dot(left, right.T, precision=lax.Precision.HIGHEST)

        def differences() -> Array:
            return jnp.where(hidden, jnp.inf, row.distances(column))

        far = jnp.maximum(x2.max(), y2.max()) > min(4 * units**4, 1000 * units)
        return differences() if units == 1 else lax.cond(far, differences, product)

    def reach(self, j: Array, radius_y: Array) -> tuple[Array, Array]:
        """How many of other patterns in block j each sample's `radius` holds, and the square of the least distance to
        one of them, infinite where it is beyond `radius` and `radius_y`, (M',) each."""
        least, most = self.bounds(j)
        whole = (most < self.radius) & (least > radius_y)
        compared = ((least <= self.radius) | (least <= radius_y)) & ~whole & (self.radius >= 0)
        patterns = self.pattern[self.columns(j)]

        def some(rows: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
            distances = self.distances(rows, j)
            within = (distances <= self.radius[rows][:, None]) & (self.pattern[rows][:, None] != patterns)
            inside, nearest = state
            inside = inside.at[rows].set(jnp.sum(within, axis=1, dtype=jnp.int32))
            return inside, nearest.at[rows].set(distances.min(axis=1))

        of_pattern = jnp.zeros(len(self.order), jnp.int32)
        of_pattern = of_pattern.at[patterns].add((self.radius[self.columns(j)] >= 0).astype(jnp.int32))
        inside = jnp.where(whole, jnp.sum(of_pattern, dtype=jnp.int32) - of_pattern[self.pattern], 0)
        return over_some(some, compared, (inside, jnp.full_like(least, jnp.inf)))

    def nearer(self, nearest: Array, rows: Array, j: Array) -> Array:
        """The k least of `nearest`, (R, k), and of these samples' distances to others of their label in block j."""
        columns, labels = self.columns(j), self.cloud.labels
        alike = (labels[rows][:, None] == labels[columns]) & (rows[:, None] != columns)
        distances = jnp.where(alike, self.distances(rows, j), jnp.inf)
        if nearest.shape[1] == 1:
            return jnp.minimum(nearest, distances.min(axis=1, keepdims=True))
        return -lax.top_k(-jnp.concatenate([nearest, distances], axis=1), nearest.shape[1])[0]
