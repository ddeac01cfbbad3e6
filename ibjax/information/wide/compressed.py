"""Compress, then estimate: nearest neighbours in the few directions in which a wide layer varies most.

The activations are centred and projected onto the `components` principal directions with the greatest variance, an
orthonormal V of U x m, and T = V^T a(X) + s Z is measured as `knn` measures a layer of m units. V^T of noise on all
units is noise of the same s on the m projections, so T is a function of a(X) + s Z: by data processing its information
is at most that of the whole noisy layer, and equal to it where the layer varies in m directions only.

Source: Butakov et al. 2023 (ICLR 2024, arXiv 2305.08013), who compress the representations of a noisy network with
autoencoders or PCA and estimate by neighbours, among others; here PCA and the estimate of Ross 2014 that
`ibjax.information.knn` describes, with its bias. For uniform p(x) only; no standard error. How much the projections
leave out, `noisy` on the whole layer tells.

Cost: U^3 operations for the directions beside those of `knn` at m units.

Shapes: N patterns, U units, m components, C classes.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Self

import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from ibjax import _checks
from ibjax.information.apply import information
from ibjax.information.estimator import Information
from ibjax.information.knn import WIDEST, Knn


@dataclasses.dataclass(frozen=True)
class Compressed(Knn):
    """`Knn` in the principal components of the layer, see the module; its other options are those of `Knn`.

    Attributes:
      components: m, 1 to 16; a layer of fewer units is measured as it is.
    """

    components: int = 4

    name: ClassVar[str] = "compressed"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "components", _checks.integer("components", self.components, 1, WIDEST))

    def for_layer(self, width: int, n_patterns: int, bounded: bool) -> Self:
        return super().for_layer(min(width, self.components), n_patterns, bounded)

    def _network(self, activations: Array, key: Array, joint: Array) -> Information:
        return super()._network(principal(activations, self.components), key, joint)


def principal(activations: Array, components: int) -> Array:
    """The activations (N, U) in their principal directions of the greatest variance, (N, m); as they are if U <= m."""
    if activations.shape[1] <= components:
        return activations
    a = activations - activations.mean(axis=0)
    directions = jnp.linalg.eigh(jnp.dot(a.T, a, precision=lax.Precision.HIGHEST))[1][:, -components:]
    return jnp.dot(a, directions, precision=lax.Precision.HIGHEST)


def compressed_information(
    activations: ArrayLike,
    p_y_given_x: ArrayLike,
    *,
    key: Array,
    components: int = 4,
    noise_std: float = 0.05,
    samples: int = 8,
    neighbors: int = 1,
) -> tuple[Array, Array]:
    """Nearest-neighbour estimates of I(X;T) and I(T;Y), bits, of the principal components of a wide noisy layer.

    Patterns are equally likely. See `Compressed` and its module; other arguments as
    `ibjax.information.apply.information`.
    """
    options = {"components": components, "noise_std": noise_std, "samples": samples, "neighbors": neighbors}
    return information("compressed", activations, p_y_given_x, key=key, **options)[:2]
