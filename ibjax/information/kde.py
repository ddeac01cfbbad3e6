"""Kernel bounds on the information of a layer with Gaussian noise.

T = a(X) + Z, Z ~ N(0, v I), is a mixture of Gaussians with one component for each pattern, and so is T given y, with
weights p(x|y). The entropy of a mixture has no closed form; Kolchinsky & Tracey 2017 (Entropy 19, 361,
with the Kullback-Leibler divergence and with the Bhattacharyya distance) bound it by pairwise distances::

    H(T) - H(T|X)  <=  -sum_i p_i ln sum_j p_j exp(-|a_i - a_j|^2 / 2v)      `kde`
    H(T) - H(T|X)  >=  -sum_i p_i ln sum_j p_j exp(-|a_i - a_j|^2 / 8v)      `kde_lower`

Both lie between 0 and H(X), reach H(X of distinct activations) for v -> 0 and 0 for v -> infinity. They are bounds of
the information of the *noisy* layer, with p(x) the whole population: no bias of sampling. I(T;Y) = H(T) - sum_y p(y)
H(T|Y=y) is a difference of two bounds of one kind, hence neither an upper nor a lower bound: an estimate, between 0
and H(Y). The choice of v is a choice of scale as that of bins is: 1e-3 (Saxe et al. 2018 take 1e-3 and 0.1) is a
standard deviation of 0.032, half of one of 30 bins of [-1, 1].

Cost: N^2 (U + 10) operations a layer of a network, 12 to 30 ms for 4096 patterns of 3 to 12 units on one CPU core.

Shapes: K networks, N patterns, U units (width of the layer), C classes.
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import jax.numpy as jnp
from jax import Array

from ibjax import _checks
from ibjax.information.estimator import LOWER, UPPER, Estimator, Information, LayerBatch
from ibjax.information.pairs import label_entropy, map_networks, over_rows, safe_log, scaled_distances, weigh
from ibjax.information.partition import tree_sum
from ibjax.probability import LN2

LEAST_VARIANCE, GREATEST_VARIANCE = 1e-30, 1e30


@dataclasses.dataclass(frozen=True)
class Kde(Estimator):
    """The upper bound, see the module.

    Attributes:
      noise_variance: v, in squared units of the activations, 1e-30 to 1e30.
    """

    noise_variance: float = 1e-3

    name: ClassVar[str] = "kde"
    i_xt_is: ClassVar[str] = UPPER
    sharpness: ClassVar[float] = 1.0  # the kernel is exp(-sharpness |a_i - a_j|^2 / 2v)

    def __post_init__(self) -> None:
        v = _checks.number("noise_variance", self.noise_variance, LEAST_VARIANCE, GREATEST_VARIANCE)
        object.__setattr__(self, "noise_variance", v)

    def __call__(self, batch: LayerBatch) -> Information:
        return map_networks(self._network, batch)

    def _network(self, activations: Array, _: Array, joint: Array) -> Information:
        """One network, (N, U) with p(x, y) (C, N)."""
        columns = activations.T
        scale = math.sqrt(self.sharpness / self.noise_variance)

        def density(row: Array) -> Array:
            return weigh(jnp.exp(-scaled_distances(row, columns, scale) / 2), joint)

        joint_density = over_rows(density, activations, len(activations)).T  # (C, N)
        total = joint_density.sum(axis=0)
        i_xt = -tree_sum(joint.sum(axis=0) * safe_log(total))
        # H(T) - sum_y p(y) H(T|y) = H(Y) + sum p(x,y) ln p(y|t_x), with p(y|t) from the kernels.
        posterior = joint_density / jnp.where(total == 0, 1, total)
        i_ty = label_entropy(joint) + tree_sum(joint * safe_log(posterior)).sum()
        return Information(i_xt / LN2, i_ty / LN2)


@dataclasses.dataclass(frozen=True)
class KdeLower(Kde):
    """The lower bound, see the module; the option is that of `Kde`."""

    name: ClassVar[str] = "kde_lower"
    i_xt_is: ClassVar[str] = LOWER
    sharpness: ClassVar[float] = 0.25
