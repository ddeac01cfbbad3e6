"""Layers of a few units for the compiler of a CPU: patterns on the last axis, (U, B) instead of (B, U).

The matrices of the built-in network are tiny (12 x 10): a library product of them costs its call, not its arithmetic,
while a sum of a few scaled rows becomes one loop along the patterns, which the compiler vectorises. Where nothing is
left to a library, it even makes one function of a whole epoch. Measured on an AVX-512 core with jax 0.12, ten networks
of the `paper` preset and 256 patterns: 131 us a training step, 181 with library products for the weight gradients and
the compiler's own tanh.

Shapes: B patterns of a batch, U units of a layer, U' of the one below.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from ibjax.information.partition import tree_sum

# What stands behind a barrier is computed once, in memory. Before jax 0.11 the compiler of a CPU drops barriers before
# it fuses loops, and then computes cheap values anew in every loop that reads them: what follows would be slower there.
BARRIERS_HOLD = jax.__version_info__ >= (0, 11)

LARGEST_UNROLLED = 1024
"""Weights of a layer above which a library product is faster than a sum of scaled rows."""

_LANES = 16  # float32 numbers of the widest vector
_SLICES = range(6, 33)
"""How many vectors of patterns a batch may be for its weight gradients to be summed here: of fewer the sums take longer
than a library product, of more they fall out of the cache."""


def _sum(terms: Iterable[Array]) -> Array:
    return functools.reduce(operator.add, terms)


@jax.custom_vjp
def dense(kernel: Array, bias: Array, a: Array) -> Array:
    """kernel^T a + bias with patterns on the last axis: (U', U), (U,), (U', B) -> (U, B)."""
    if kernel.size > LARGEST_UNROLLED:
        return lax.dot_general(kernel, a, (((0,), (0,)), ((), ()))) + bias[:, None]
    return _sum(kernel[i, :, None] * a[i] for i in range(kernel.shape[0])) + bias[:, None]


def _dense_forward(kernel: Array, bias: Array, a: Array) -> tuple[Array, tuple[Array, Array]]:
    return dense(kernel, bias, a), (kernel, a)


def _dense_backward(saved: tuple[Array, Array], d: Array) -> tuple[Array, Array, Array]:
    kernel, a = saved
    if kernel.size > LARGEST_UNROLLED:
        return *product_gradients(a, d), lax.dot_general(kernel, d, (((1,), (0,)), ((), ())))
    if BARRIERS_HOLD and -(-d.shape[1] // _LANES) in _SLICES:
        d = lax.optimization_barrier(d)
        gradients = summed_gradients(a, d)
    else:
        gradients = product_gradients(a, d)
    return *gradients, _sum(kernel[:, o, None] * d[o] for o in range(kernel.shape[1]))


dense.defvjp(_dense_forward, _dense_backward)


def product_gradients(a: Array, d: Array) -> tuple[Array, Array]:
    """Gradients of kernel (U', U) and bias (U,) from activations (U', B) and deltas (U, B), by library products."""
    # A sum over the last axis is slow on a CPU where a product with ones is not.
    ones = jnp.ones(d.shape[1], d.dtype)
    return lax.dot_general(a, d, (((1,), (1,)), ((), ()))), lax.dot_general(d, ones, (((1,), (0,)), ((), ())))


def summed_gradients(a: Array, d: Array) -> tuple[Array, Array]:
    """The same as sums of slices of the batch, a vector each, and then of the lanes of that vector."""
    missing = -d.shape[1] % _LANES
    a, d = (jnp.pad(part, ((0, 0), (0, missing))).reshape(len(part), -1, _LANES) for part in (a, d))
    slices = range(d.shape[1])
    return tree_sum(_sum(a[:, None, i] * d[None, :, i] for i in slices)), tree_sum(_sum(d[:, i] for i in slices))


# tanh(x) = x p(x^2) / q(x^2) up to x = 8, least greatest relative error; coefficients from the highest power down.
_NUMERATOR = (1.529245530e-08, 2.193912042e-05, 3.574313130e-03, 1.344679445e-01, 1.0)
_DENOMINATOR = (8.547692119e-07, 3.415718093e-04, 2.617480233e-02, 4.678012431e-01, 1.0)


@jax.custom_jvp
def tanh(x: Array) -> Array:
    """tanh, in float32 within 5 units in the last place of the truth and exactly +-1 from 8 on, as the compiler's own.

    A quarter faster than that inside a layer's loop, which has fewer operations; behind a barrier, as it is read often.
    """
    if x.dtype != jnp.float32:
        return jnp.tanh(x)
    square = jnp.minimum(x * x, 64)
    quotient = x * _polynomial(_NUMERATOR, square) / _polynomial(_DENOMINATOR, square)
    return lax.optimization_barrier(lax.clamp(np.float32(-1), quotient, np.float32(1)))


@tanh.defjvp
def _tanh_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    a = tanh(*primals)
    return a, tangents[0] * (1 - a * a)


def _polynomial(coefficients: tuple[float, ...], x: Array) -> Array:
    return functools.reduce(lambda value, c: value * x + c, coefficients[1:], jnp.full_like(x, coefficients[0]))
