"""Drift and diffusion: the mean and the spread of the minibatch gradients of an epoch, layer by layer.

Shwartz-Ziv & Tishby (arXiv 1703.00810), section 3.3: the norm of the mean and the norm of the standard deviation of
the stochastic gradient of a layer's kernel, each over the norm of the kernel.

Shapes: L layers; a gradient has the shape of the parameters.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

Params = Any


class GradientMoments(NamedTuple):
    """Running moments of the gradients seen since `begin` (Welford's recurrence: no cancellation of large squares).

    Attributes:
      seen: () how many gradients.
      mean: their mean, shaped like the parameters.
      deviations: sum of squared deviations from the mean, shaped like the parameters.
    """

    seen: Array
    mean: Params
    deviations: Params


def begin(params: Params) -> GradientMoments:
    """Moments of no gradients."""
    zeros = jax.tree.map(jnp.zeros_like, params)
    return GradientMoments(jnp.zeros(()), zeros, zeros)


def add(moments: GradientMoments, gradient: Params) -> GradientMoments:
    """The moments with one more gradient."""
    seen = moments.seen + 1
    share = (1 / seen).astype(jnp.result_type(*jax.tree.leaves(gradient)))
    mean = jax.tree.map(lambda m, g: m + (g - m) * share, moments.mean, gradient)
    deviations = jax.tree.map(
        lambda v, g, old, new: v + (g - old) * (g - new), moments.deviations, gradient, moments.mean, mean
    )
    return GradientMoments(seen, mean, deviations)


def seen_or_nan(moments: GradientMoments) -> GradientMoments:
    """The moments, NaN where no gradient was seen."""
    mean, deviations = jax.tree.map(lambda values: jnp.where(moments.seen > 0, values, jnp.nan), tuple(moments[1:]))
    return GradientMoments(moments.seen, mean, deviations)


def kernels(params: Params) -> list[Array]:
    """The kernel (largest array of two or more axes) of each top-level group of parameters, in order.

    For the built-in network: a (U', U) array a layer. Groups without a matrix (norms, embeddings of scalars) are left
    out.
    """
    groups = params if isinstance(params, list | tuple) else _groups(params)
    found = []
    for group in groups:
        matrices = [leaf for leaf in jax.tree.leaves(group) if leaf.ndim >= 2]
        if matrices:
            found.append(max(matrices, key=lambda leaf: leaf.size))
    return found


def _groups(params: Params) -> list[Params]:
    if not hasattr(params, "keys"):
        return [params]
    if len(params) == 1 and "params" in params:  # a flax variable collection
        return _groups(params["params"])
    return [params[name] for name in params]


def norms(tree: Params) -> Array:
    """Frobenius norm of each layer's kernel, (L,)."""
    return jnp.stack([jnp.sqrt(jnp.sum(jnp.square(kernel))) for kernel in kernels(tree)])


def vector_norms(vectors: Array, places: Params) -> Array:
    """`norms` of vectors of parameters, (..., P) to (..., L), in one go for a GPU; `places` is `Model.places`."""
    found = [place.ravel() for place in kernels(places)]
    first, last = (np.array([place[end] for place in found])[:, None] for end in (0, -1))
    place = jnp.arange(vectors.shape[-1])
    of_layer = jnp.where((first <= place) & (place <= last), vectors[..., None, :], 0)
    return jnp.sqrt(jnp.sum(jnp.square(of_layer), axis=-1))


def spread(moments: GradientMoments) -> Params:
    """The (population) standard deviation of each entry of the gradient."""
    return jax.tree.map(lambda v: jnp.sqrt(v / moments.seen.astype(v.dtype)), moments.deviations)
