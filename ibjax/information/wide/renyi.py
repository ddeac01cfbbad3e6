"""Matrix-based Renyi information of a layer: entropies of Gram matrices, with no density and no bins.

With the kernel `k(t, t') = exp(-|t - t'|^2 / 2w^2)` of activations, A_ij = sqrt(p_i p_j) k(a_i, a_j) has trace 1, and
its eigenvalues l are read as a distribution, of which the entropy of order r is taken::

    S_r(A) = log2( sum l^r ) / (1 - r),      r = 1: -sum l log2 l
    I(U;V) = S_r(A_U) + S_r(A_V) - S_r(A_UV),    A_UV the elementwise product of the kernels, weighted alike

Source: Giraldo, Rao & Principe 2015 (IEEE Trans. Inf. Theory 61, 535), for p_i = 1/N; for networks Wickstrom et al.
2019 (arXiv 1909.11396), who take r = 1.01. The kernel of Y is p(y|x) . p(y|x') of vectors scaled to length 1: 1 for
equal hard labels and else 0. That of X is 1 for a pattern with itself and else 0, since X is the number of a pattern;
then A_XT = A_X and I(X;T) = S_r(A_T), where Wickstrom et al. take a kernel of the inputs.

Width w of the kernel: `sigma`, or by `width`::

    silverman    s (4 / (U + 2))^(1/(U+4)) N^(-1/(U+4)), s the root of the units' mean variance
    alignment    of 40 widths from 0.1 to 10 times the mean distance of two patterns that of the greatest
                 <K_T, K_Y> / |K_T| |K_Y| (Cristianini et al. 2001), as Wickstrom et al. do for hidden layers;
                 it looks at the labels

Both follow the scale of the layer, and no rotation of it matters. With `silverman` the kernel of wide layers is nearly
1 for a pattern with itself and else 0, as cells are that hold one pattern each; with `alignment` it still moves.

Kind: estimates; no interval. S_r lies between 0 (all patterns equal) and log2 N (none near another). I(T;Y) of such
entropies is no Shannon information and may break bounds that hold of it, I(T;Y) <= I(X;Y) among them, by little at
r = 1.01.

Cost: eigenvalues of two N x N matrices a layer and network, hence at most 4096 patterns; `order=2` needs none, for
sum l^2 = sum_ij A_ij^2: N^2 (U + 10) operations and any N.

Shapes: K networks, N patterns, U units, C classes, S widths of the kernel.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Self

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from ibjax import _checks
from ibjax.information.apply import information
from ibjax.information.estimator import Estimator, Information, LayerBatch
from ibjax.information.pairs import map_networks, over_rows, safe_log, scaled_distances, xlogx
from ibjax.information.partition import tree_sum
from ibjax.probability import LN2

WIDTHS = ("alignment", "silverman")
MOST_PATTERNS = 4096
_TRIED = np.geomspace(0.1, 10, 40)  # widths, in mean distances


@dataclasses.dataclass(frozen=True)
class Renyi(Estimator):
    """Information by entropies of Gram matrices, see the module.

    Attributes:
      order: r, 1 to 16.
      width: "alignment" or "silverman": how the width of the kernel is chosen.
      sigma: the width in units of the activations, 1e-15 to 1e15, in place of a choice; None for that by `width`.
    """

    order: float = 1.01
    width: str = dataclasses.field(default="alignment", metadata={"choices": WIDTHS})
    sigma: float | None = None

    name: ClassVar[str] = "renyi"

    def __post_init__(self) -> None:
        object.__setattr__(self, "order", _checks.number("order", self.order, 1, 16))
        _checks.choice("width", self.width, WIDTHS)
        if self.sigma is not None:
            object.__setattr__(self, "sigma", _checks.number("sigma", self.sigma, 1e-15, 1e15))

    def for_layer(self, width: int, n_patterns: int, bounded: bool) -> Self:
        if self.order != 2 and n_patterns > MOST_PATTERNS:
            raise ValueError(
                f"renyi of {n_patterns} patterns with order = {self.order:g}; allowed: at most {MOST_PATTERNS} "
                "(eigenvalues of N x N matrices), or order = 2, which needs none"
            )
        return self

    def __call__(self, batch: LayerBatch) -> Information:
        return map_networks(self._network, batch)

    def _network(self, activations: Array, _: Array, joint: Array) -> Information:
        """One network, (N, U) with p(x, y) (C, N)."""
        p_x = joint.sum(axis=0)
        length = jnp.linalg.norm(joint, axis=0)
        labels = (joint / jnp.where(length > 0, length, 1)).T  # (N, C), whose products are the kernel of Y
        weights = jnp.sqrt(p_x)
        scale: Any = self._scale(activations, labels, p_x)
        columns = activations.T

        def kernel(row: tuple[Array, Array]) -> tuple[Array, Array]:
            """Those of one pattern with all, (N,) each: of T, and of T and Y."""
            of_t = jnp.exp(-scaled_distances(row[0], columns, scale) / 2)
            return of_t, of_t * _products(labels, row[1])

        rows, n = (activations, labels), len(activations)
        # The eigenvalues of the N x N matrix of Y that are not 0 are those of a C x C one.
        of_y = (weights[:, None] * labels).T
        of_y = jnp.dot(of_y, of_y.T, precision=lax.Precision.HIGHEST)
        if self.order == 2:
            squares = over_rows(lambda row: tuple(tree_sum(p_x * k**2) for k in kernel(row)), rows, n)
            s_t, s_ty = (-safe_log(tree_sum(p_x * square)) for square in squares)
            s_y = -safe_log((of_y**2).sum())
        else:
            matrices = (weights[:, None] * k * weights for k in over_rows(kernel, rows, n))
            s_t, s_ty, s_y = (self._entropy(matrix) for matrix in (*matrices, of_y))
        return Information(s_t / LN2, (s_t + s_y - s_ty) / LN2)

    def _entropy(self, matrix: Array) -> Array:
        """S_r in nats of a symmetric matrix of trace 1."""
        found = jnp.maximum(jnp.linalg.eigvalsh(matrix), 0)
        found /= found.sum()
        if self.order == 1:
            return -xlogx(found).sum()
        if self.order > 1.5:
            return -jnp.log((found**self.order).sum()) / (self.order - 1)
        # By what sum l^r differs from sum l = 1: near r = 1 the sum itself would keep few digits of it.
        return -jnp.log1p((found * jnp.expm1((self.order - 1) * safe_log(found))).sum()) / (self.order - 1)

    def _scale(self, activations: Array, labels: Array, p_x: Array) -> Array:
        """1 / w, () ; 0 where all activations are equal."""
        if self.sigma is not None:
            return jnp.asarray(1 / self.sigma, activations.dtype)
        n, units = activations.shape
        if self.width == "silverman":
            center = p_x @ activations
            s = jnp.sqrt(p_x @ ((activations - center) ** 2).mean(axis=1))
            return _inverse(s * (4 / (units + 2)) ** (1 / (units + 4)) * n ** (-1 / (units + 4)))
        columns = activations.T
        far = over_rows(lambda row: tree_sum(p_x * jnp.sqrt(scaled_distances(row, columns, 1.0))), activations, n)
        scales = _inverse(tree_sum(p_x * far)) / jnp.asarray(_TRIED, activations.dtype)

        def aligned(row: tuple[Array, Array]) -> tuple[Array, Array]:
            """<K_T, K_Y> and <K_T, K_T> of one pattern with all, (S,) each."""
            k = jnp.exp(-scaled_distances(row[0], columns, 1.0) * scales[:, None] ** 2 / 2)
            return tree_sum(p_x * k * _products(labels, row[1])), tree_sum(p_x * k**2)

        both, own = (p_x @ sums for sums in over_rows(aligned, (activations, labels), n * len(_TRIED)))
        return scales[jnp.argmax(both / jnp.sqrt(own))]


def _products(labels: Array, one: Array) -> Array:
    """Of the vectors (N, C) with one of them, (N,)."""
    return jnp.dot(labels, one, precision=lax.Precision.HIGHEST)


def _inverse(width: Array) -> Array:
    return jnp.where(width > 0, 1 / jnp.where(width > 0, width, 1), 0)


def renyi_information(
    activations: ArrayLike,
    p_y_given_x: ArrayLike,
    *,
    p_x: ArrayLike | None = None,
    order: float = 1.01,
    width: str = "alignment",
    sigma: float | None = None,
) -> tuple[Array, Array]:
    """Matrix-based Renyi estimates of I(X;T) and I(T;Y), bits, for layers of any width and up to 4096 patterns.

    See `Renyi` and its module; other arguments as `ibjax.information.apply.information`.
    """
    return information("renyi", activations, p_y_given_x, p_x=p_x, order=order, width=width, sigma=sigma)[:2]
