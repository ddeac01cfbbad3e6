"""Sliced information: the mean over random directions of the information in one projection of the layer.

For a direction f, drawn evenly over the unit sphere of the layer's U units, T_f = f . a(X) + s Z, Z ~ N(0, 1), is one
number with noise, and::

    I(X;T) = mean_f I(X; T_f),    I(T;Y) = mean_f I(T_f; Y)

Each is found as in `noisy`: the density of T_f is a sum over all patterns that is computed, and only the expectation
over Z is a mean over `samples` draws of it for each pattern. So nothing is estimated in many dimensions: the error does
not grow with the width.

Source: the sliced mutual information of Goldfeld & Greenewald 2021 (NeurIPS, arXiv 2110.05279). There both variables
are projected; here X is the number of a pattern and Y one of a label, which have no directions, so that only T is, as
Wongso, Ghosh & Motani 2023 (AISTATS) do with labels. The noise stands for their continuous density: without it every
generic projection tells all patterns apart, and I(X;T) is H(X) whatever the layer.

Kind: an estimate without bias, with the standard error of the mean over `projections` directions (which holds the noise
of the samples too). By data processing the sliced information is never more than that of T = a(X) + s Z, which `noisy`
estimates; it is no bound of the layer without noise. A projection of a layer of independent units of variance v has the
variance v, at any width: I(X;T) is then about log2(1 + v / s^2) / 2 for many units, and moves where bins and cells
are all full.

Cost: `projections` times `samples` times N^2 operations a layer and network, hardly more for a wide layer: 64 times as
many pairs as `kde` at the defaults.

Shapes: K networks, N patterns, U units, C classes, P projections.
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from ibjax import _checks
from ibjax.information.apply import information
from ibjax.information.estimator import Estimator, Information, LayerBatch
from ibjax.information.noisy import GREATEST_STD, LEAST_STD, MOST_SAMPLES, mixture_information
from ibjax.information.pairs import map_networks

MOST_PROJECTIONS = 65_536


@dataclasses.dataclass(frozen=True)
class Sliced(Estimator):
    """Mean information of noisy projections, see the module.

    Attributes:
      projections: P, 2 to 65536.
      noise_std: s, in units of the activations, 1e-15 to 1e15.
      samples: of the noise for each pattern and projection, 2 to 4096.
    """

    projections: int = 32
    noise_std: float = 0.05
    samples: int = 2

    name: ClassVar[str] = "sliced"
    random: ClassVar[bool] = True
    rows: ClassVar[tuple[str, ...]] = Information._fields

    def __post_init__(self) -> None:
        object.__setattr__(self, "projections", _checks.integer("projections", self.projections, 2, MOST_PROJECTIONS))
        object.__setattr__(self, "noise_std", _checks.number("noise_std", self.noise_std, LEAST_STD, GREATEST_STD))
        object.__setattr__(self, "samples", _checks.integer("samples", self.samples, 2, MOST_SAMPLES))

    def __call__(self, batch: LayerBatch) -> Information:
        return map_networks(self._network, batch)

    def _network(self, activations: Array, key: Array, joint: Array) -> Information:
        """One network, (N, U) with p(x, y) (C, N)."""

        def project(number: Array) -> Array:
            of_direction, of_noise = jax.random.split(jax.random.fold_in(key, number))
            drawn = jax.random.normal(of_direction, (activations.shape[1],), activations.dtype)
            along = jnp.dot(activations, drawn / jnp.linalg.norm(drawn), precision=lax.Precision.HIGHEST)
            found = mixture_information(along[None, :, None], of_noise, joint, self.noise_std, self.samples)
            return jnp.stack([found.i_xt, found.i_ty])

        bits = lax.map(project, jnp.arange(self.projections))  # (P, 2)
        mean, error = bits.mean(axis=0), bits.std(axis=0, ddof=1) / math.sqrt(self.projections)
        return Information(mean[0], mean[1], error[0], error[1])


def sliced_information(
    activations: ArrayLike,
    p_y_given_x: ArrayLike,
    *,
    key: Array,
    p_x: ArrayLike | None = None,
    projections: int = 32,
    noise_std: float = 0.05,
    samples: int = 2,
) -> Information:
    """Mean I(X;T) and I(T;Y), bits, of noisy projections of the layer, each with its standard error.

    See `Sliced` and its module; other arguments as `ibjax.information.apply.information`.
    """
    options = {"projections": projections, "noise_std": noise_std, "samples": samples}
    return information("sliced", activations, p_y_given_x, p_x=p_x, key=key, **options)
