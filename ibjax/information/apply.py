"""The public door of the estimators: plain arrays in, checked, bits out.

Shapes: ... batch axes, M batch elements, N patterns, U units (width of the layer), C classes.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from ibjax.information import partition
from ibjax.information.estimator import Estimator, Information
from ibjax.probability import FloatArray, checked_conditional, checked_marginal


def as_activations(value: ArrayLike) -> Array:
    """(..., N, U) float32 or float64; float16, integers and booleans become float32."""
    a = jnp.asarray(value)
    if jnp.issubdtype(a.dtype, jnp.complexfloating):
        raise TypeError(f"activations have dtype {a.dtype}; allowed: real numbers")
    if a.dtype not in (jnp.float32, jnp.float64):
        a = a.astype(jnp.float32)
    if a.ndim < 2 or a.shape[-1] < 1 or a.shape[-2] < 1:
        raise ValueError(f"activations have shape {a.shape}; allowed: (..., N, width), at least one of each")
    return a


def as_distribution(
    p_y_given_x: ArrayLike, p_x: ArrayLike | None, n: int, dtype: jnp.dtype
) -> tuple[Array, Array | None]:
    """p(y|x) and p(x) of n patterns, checked where their values are known (inside `jit` they are not)."""

    def checked(value: Any, check: Callable[[Any, int], FloatArray]) -> Array:
        return jnp.asarray(value if isinstance(value, jax.core.Tracer) else check(value, n)).astype(dtype)

    return checked(p_y_given_x, checked_conditional), None if p_x is None else checked(p_x, checked_marginal)


def apply(
    estimator: Estimator,
    activations: ArrayLike,
    p_y_given_x: ArrayLike,
    p_x: ArrayLike | None = None,
    key: Array | None = None,
) -> Information:
    """Any estimator on plain arrays; jit-compiled, and may itself be called inside `jit`.

    Args:
      estimator: what to apply to each batch element.
      activations: (..., N, U) float32 or float64; leading axes are batch axes. float16 and integers become float32.
      p_y_given_x: (N,) = p(y=1|x), or (N, C).
      p_x: (N,), or None for uniform.
      key: a typed PRNG key, `jax.random.key(seed)`; batch element m of the flattened batch takes `fold_in(key, m)`.

    Returns:
      Bits (...), of the dtype of the activations; NaN where a batch element holds a non-finite activation.

    Raises:
      ValueError, TypeError: a shape, value or type that is not allowed, named in the message.
    """
    a = as_activations(activations)
    n, units = a.shape[-2:]
    bound = estimator.for_layer(units, n, True)
    if key is None:
        if estimator.random:
            raise TypeError(f"key = None; allowed for {estimator.name!r}: a PRNG key such as jax.random.key(0)")
        key = jax.random.key(0)
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key) or key.shape:
        raise TypeError(f"key has dtype {key.dtype} and shape {key.shape}; allowed: one key of jax.random.key")
    return _apply(bound, a, *as_distribution(p_y_given_x, p_x, n, a.dtype), key)


@functools.partial(jax.jit, static_argnums=0)
def _apply(estimator: Estimator, a: Array, p_y_given_x: Array, p_x: Array | None, key: Array) -> Information:
    batch, m = a.shape[:-2], math.prod(a.shape[:-2])
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.arange(m))
    y = partition.labels(p_y_given_x, p_x, a.dtype)
    bits = estimator(a.reshape(m, *a.shape[-2:]), y, keys)
    return jax.tree.map(lambda values: values.reshape(batch), bits)


def where_finite(activations: Array, bits: Information) -> Information:
    """NaN for the networks of (K, N, U) that hold a non-finite activation."""
    finite = jnp.isfinite(activations).all(axis=(1, 2))
    return jax.tree.map(lambda values: jnp.where(finite, values, jnp.nan), bits)
