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
from typing import ClassVar, Self

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
        points = n * self.samples
        scale = 1 / self.noise_std
        noise_key, label_key = jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)
        noise = jax.random.normal(noise_key, (points, units), activations.dtype)
        centers = jnp.repeat(activations, self.samples, axis=0)
        labels = self._draw(label_key, joint)
        columns, noise_columns = centers.T, noise.T
        of_class = jnp.bincount(labels, length=len(joint))

        def terms(row: tuple[Array, Array, Array, Array]) -> tuple[Array, Array]:
            """psi(k) - psi(m) of one sample, for X; the same less psi(n) for Y."""
            center, row_noise, label, index = row
            distances = scaled_distances(center, columns, scale, row_noise, noise_columns)
            others = jnp.where(jnp.arange(points) == index, jnp.inf, distances)
            # Once, in memory: the compiler would else compute them again for every pass.
            others = lax.optimization_barrier(others)
            first = index // self.samples * self.samples
            siblings = lax.dynamic_slice(others, (first,), (self.samples,))
            alike = jnp.where(labels == label, others, jnp.inf)

            def within(some: Array) -> Array:
                """psi(m); m is at least k, also where the compiler rounds a distance in two ways."""
                m = jnp.maximum(jnp.sum(others <= _nearest(some, self.neighbors)), self.neighbors)
                return digamma(m.astype(others.dtype))

            n_y = of_class[label].astype(others.dtype)
            enough = of_class[label] > self.neighbors
            for_y = jnp.where(enough, psi_k - within(alike) - digamma(n_y), -digamma(float(points)))
            return psi_k - within(siblings), for_y

        psi_k = digamma(jnp.asarray(self.neighbors, activations.dtype))
        psi_m, psi_s = (digamma(jnp.asarray(count, activations.dtype)) for count in (points, self.samples))
        for_x, for_y = over_rows(terms, (centers, noise, labels, jnp.arange(points)), points)
        i_xt, i_ty = psi_m - psi_s + tree_sum(for_x) / points, psi_m + tree_sum(for_y) / points
        return Information(i_xt / LN2, i_ty / LN2)

    def _draw(self, key: Array, joint: Array) -> Array:
        """y ~ p(y|x) for each sample, (M,), from p(x, y) (C, N)."""
        below = jnp.cumsum(joint, axis=0)[:-1] / joint.sum(axis=0)
        level = jax.random.uniform(key, (joint.shape[1], self.samples), joint.dtype)
        return (level[None] >= below[:, :, None]).sum(axis=0).reshape(-1)


def _nearest(distances: Array, k: int) -> Array:
    """The k-th least distance, by passes: k are few."""

    def further(_: int, radius: Array) -> Array:
        missing = jnp.sum(distances <= radius) < k
        return jnp.where(missing, jnp.min(distances, where=distances > radius, initial=jnp.inf), radius)

    return lax.fori_loop(0, k, further, jnp.full((), -1, distances.dtype))
