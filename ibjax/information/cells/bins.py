"""The bin of each activation, exactly: no rounding puts a value on the wrong side of an edge.

Shapes: U units, M batch elements, N patterns.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import Array, lax


def bin_codes(activations: Array, bins: int, low: Array | float, high: Array | float, compat: str | None) -> Array:
    """The bin of each activation, exactly: as if compared with the true edges, not with rounded multiples.

    A value is put beside its nearest edge, and then on its side of it by the sign of
    intervals (a - low) - edge (high - low), evaluated with error-free sums.

    Args:
      activations: any shape, float; values outside [low, high] go to the end bins.
      bins, compat: see `layer_information`; for "idnns" see `_released_codes`.
      low, high: range, broadcastable to `activations`.

    Returns:
      Codes, the shape of `activations`, int32.
    """
    dtype = activations.dtype
    low, high = jnp.asarray(low, dtype), jnp.asarray(high, dtype)
    if compat == "idnns":
        return _released_codes(activations, bins, low, high)
    offset, offset_rest = _two_sum(jnp.clip(activations, low, high), -low)
    span, span_rest = _two_sum(high, -low)
    edge = jnp.clip(jnp.round(offset / span * bins), 0, bins)
    (o_long, o_short), (s_long, s_short) = _halves(offset), _halves(span)
    # Sign of bins * offset - edge * span; every product of a half is exact, and the first difference too.
    short, short_rest = _two_sum(bins * o_short, -edge * s_short)
    total, total_rest = _two_sum(bins * o_long - edge * s_long, short)
    below = total + (total_rest + short_rest + (bins * offset_rest - edge * span_rest)) < 0
    return jnp.clip(edge.astype(jnp.int32) - below, 0, bins - 1)


def _released_codes(activations: Array, edges: int, low: Array, high: Array) -> Array:
    """The cell of each activation in the authors' released code, which takes -1 and 1 for `low` and `high`.

    Its edges are those of `numpy.linspace(-1, 1, edges)` rounded to float32. Cell k lies from edge k, which belongs to
    it, to the next; the last has no upper end, and also takes the values below the first edge, whose index there is -1.
    For another range the edges are moved and stretched.
    """
    unit = jnp.asarray(np.linspace(-1, 1, edges).astype(np.float32), activations.dtype)
    nearest = jnp.clip(jnp.round((activations - low) / (high - low) * (edges - 1)), 0, edges - 1).astype(jnp.int32)
    middle, half = low / 2 + high / 2, high / 2 - low / 2  # 0 and 1, and so no rounding, for [-1, 1]
    edge = middle + half * unit.at[nearest].get(mode="clip")
    code = jnp.clip(nearest - (activations < edge), 0, edges - 2)
    return jnp.where((activations < low) | (activations >= high), edges - 1, code)


def _two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """a + b rounded, and exactly what rounding took away (Knuth)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def _halves(x: Array) -> tuple[Array, Array]:
    """x as a sum of two numbers of half its digits; cut with a mask, which no compiler contracts."""
    single = x.dtype == jnp.float32
    integer, dropped = (jnp.uint32, 12) if single else (jnp.uint64, 27)
    bits = lax.bitcast_convert_type(x, integer)
    long = lax.bitcast_convert_type(bits >> dropped << dropped, x.dtype)
    return long, x - long


def activation_range(activations: Array, axis: int | tuple[int, ...] = (0, 2)) -> tuple[Array, Array]:
    """Least and greatest activation over some axes, which stay with length 1; never an empty range.

    The default is the range of each batch element of (U, M, N), with the units first.
    """
    low = activations.min(axis=axis, keepdims=True)
    return low, widened(low, activations.max(axis=axis, keepdims=True))


def widened(low: Array, high: Array) -> Array:
    """The upper end of a range that is not empty."""
    return jnp.where(high > low, high, low + jnp.maximum(jnp.abs(low), 1))
