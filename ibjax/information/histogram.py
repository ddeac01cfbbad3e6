"""The plug-in estimate of the information plane: T is the tuple of the bins of a layer's units.

Shapes: ... batch axes, N patterns, U units (width of the layer), C classes.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from ibjax.config import COMPATS, MOST_BINS
from ibjax.data import checked_conditional, checked_marginal, unknown
from ibjax.information import cells

_WIDEST_ROWS = 64  # units; wider ones are packed with the units first
_TOGETHER = 60  # batch elements at most, and a divisor of many a batch


def bin_codes(activations: Array, bins: int, low: Array | float, high: Array | float, compat: str | None) -> Array:
    """The bin of each activation, exactly: as if compared with the true edges, not with rounded multiples.

    A value is put beside its nearest edge, and then on its side of it by the sign of
    intervals (a - low) - edge (high - low), evaluated with error-free sums.

    Args:
      activations: any shape, float; values outside [low, high] go to the end bins.
      bins, compat: see `layer_information`.
      low, high: range, broadcastable to `activations`.

    Returns:
      Codes, the shape of `activations`, int32.
    """
    dtype = activations.dtype
    intervals = bins - 1 if compat == "idnns" else bins
    low, high = jnp.asarray(low, dtype), jnp.asarray(high, dtype)
    offset, offset_rest = _two_sum(jnp.clip(activations, low, high), -low)
    span, span_rest = _two_sum(high, -low)
    edge = jnp.clip(jnp.round(offset / span * intervals), 0, intervals)
    (o_long, o_short), (s_long, s_short) = _halves(offset), _halves(span)
    # Sign of intervals * offset - edge * span; every product of a half is exact, and the first difference too.
    short, short_rest = _two_sum(intervals * o_short, -edge * s_short)
    total, total_rest = _two_sum(intervals * o_long - edge * s_long, short)
    below = total + (total_rest + short_rest + (intervals * offset_rest - edge * span_rest)) < 0
    code = jnp.clip(edge.astype(jnp.int32) - below, 0, intervals - 1)
    return jnp.where(activations >= high, intervals, code) if compat == "idnns" else code


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


def histogram_information(
    activations: Array,
    y: cells.Labels,
    *,
    bins: int,
    low: Array | float,
    high: Array | float,
    compat: str | None = None,
) -> tuple[Array, Array]:
    """`layer_information` without checks, for activations (U, M, N) with the units first; returns (M,), (M,)."""
    words = cells.pack(bin_codes(activations, bins, low, high, compat), bins)
    finite = jnp.isfinite(activations).all(axis=(0, 2))
    return _of_words(words, bins ** len(activations), finite, y)


def _of_words(words: list[Array], n_codes: int, finite: Array, y: cells.Labels) -> tuple[Array, Array]:
    i_xt, i_ty = cells.partition_information(cells.representatives(words, n_codes), y)
    return jnp.where(finite, i_xt, jnp.nan), jnp.where(finite, i_ty, jnp.nan)


def own_range(activations: Array) -> tuple[Array, Array]:
    """Least and greatest activation of each batch element, (U, M, N) -> (1, M, 1) twice; never an empty range."""
    low = activations.min(axis=(0, 2), keepdims=True)
    high = activations.max(axis=(0, 2), keepdims=True)
    return low, jnp.where(high > low, high, low + jnp.maximum(jnp.abs(low), 1))


@functools.partial(jax.jit, static_argnames=("bins", "compat"))
def _layer_information(
    activations: Array,
    p_y_given_x: Array,
    p_x: Array | None,
    low: Array,
    high: Array,
    *,
    bins: int,
    compat: str | None,
) -> tuple[Array, Array]:
    batch, (n, units) = activations.shape[:-2], activations.shape[-2:]
    flat = activations.reshape(-1, n, units)
    y = cells.labels(p_y_given_x, p_x, activations.dtype)

    def some(a: Array) -> tuple[Array, Array]:
        if units > _WIDEST_ROWS:
            return histogram_information(jnp.moveaxis(a, -1, 0), y, bins=bins, low=low, high=high, compat=compat)
        words = cells.pack_rows(bin_codes(a, bins, low, high, compat), bins)
        return _of_words(words, bins**units, jnp.isfinite(a).all(axis=(1, 2)), y)

    # A few batch elements at a time keep the hash tables within the cache and the memory bounded.
    together = math.gcd(len(flat), _TOGETHER)
    i_xt, i_ty = lax.map(some, flat.reshape(-1, together, n, units))
    return i_xt.reshape(batch), i_ty.reshape(batch)


def layer_information(
    activations: ArrayLike,
    p_y_given_x: ArrayLike,
    *,
    p_x: ArrayLike | None = None,
    bins: int = 30,
    low: float = -1.0,
    high: float = 1.0,
    compat: str | None = None,
) -> tuple[Array, Array]:
    """Information a deterministic layer holds of the input and of the label, from exact counts of its binned states.

    Each activation goes to one of `bins` equal intervals of [low, high], those outside to the end bins; T is the tuple
    of a layer's bins. I(X;T) = H(T) and I(T;Y) = H(Y) - H(Y|T) with p(y|t) = sum_{x in t} p(x) p(y|x) / p(t): the
    plug-in estimate of Shwartz-Ziv & Tishby (arXiv 1703.00810), section 3. Counts are exact at any width and number of
    bins; patterns that occur twice count as one value of X with the summed probability. jit-compiled; may itself be
    called inside `jit`, where the values of traced arguments cannot be checked.

    Args:
      activations: (..., N, U) float32 or float64; leading axes are batch axes. float16 and integers become float32.
      p_y_given_x: (N,) = p(y=1|x), or (N, C).
      p_x: (N,), or None for uniform.
      bins: 2 to 4096.
      low, high: range of the bins, finite, low < high.
      compat: "idnns" takes `bins` as the number of edges instead, and gives values >= high a cell of their own: the
        cells of the authors' released code, which calls this 30 bins.

    Returns:
      i_xt, i_ty: (...) bits, of the dtype of the activations; NaN where a batch element holds a non-finite activation.

    Raises:
      ValueError, TypeError: a shape, value or type that is not allowed, named in the message.
    """
    a = jnp.asarray(activations)
    if jnp.issubdtype(a.dtype, jnp.complexfloating):
        raise TypeError(f"activations have dtype {a.dtype}; allowed: real numbers")
    if a.dtype not in (jnp.float32, jnp.float64):
        a = a.astype(jnp.float32)
    if a.ndim < 2 or a.shape[-1] < 1 or a.shape[-2] < 1:
        raise ValueError(f"activations have shape {a.shape}; allowed: (..., N, width), at least one of each")
    if isinstance(bins, bool) or not isinstance(bins, int | np.integer):
        raise TypeError(f"bins = {bins!r}; allowed: an integer from 2 to {MOST_BINS}")
    if not 2 <= bins <= MOST_BINS:
        raise ValueError(f"bins = {bins}; allowed: an integer from 2 to {MOST_BINS}")
    if compat is not None and compat not in COMPATS:
        raise ValueError(unknown("compat", compat, COMPATS))
    for name, value in (("low", low), ("high", high)):
        if not isinstance(value, int | float | np.number) or not math.isfinite(value):
            raise ValueError(f"{name} = {value!r}; allowed: a finite number")
    with np.errstate(over="ignore"):
        ends = np.array([low, high], a.dtype)
        if not np.isfinite([*ends, MOST_BINS * (ends[1] - ends[0])]).all():
            raise ValueError(f"low = {low:g}, high = {high:g}; allowed: a range that is finite in {a.dtype}")
    if not ends[0] < ends[1]:
        raise ValueError(f"low = {low:g}, high = {high:g}; allowed: low < high in {a.dtype}")
    n = a.shape[-2]
    conditional = _checked(p_y_given_x, checked_conditional, n)
    marginal = None if p_x is None else _checked(p_x, checked_marginal, n)
    return _layer_information(
        a,
        conditional.astype(a.dtype),
        None if marginal is None else marginal.astype(a.dtype),
        jnp.asarray(low, a.dtype),
        jnp.asarray(high, a.dtype),
        bins=int(bins),
        compat=compat,
    )


def _checked(value: Any, check: Any, n: int) -> Array:
    """The array, after `check` where its values are known (inside `jit` they are not)."""
    if not isinstance(value, jax.core.Tracer):
        value = check(value, n)
    return jnp.asarray(value)
