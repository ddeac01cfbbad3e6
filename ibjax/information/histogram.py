"""The plug-in estimate of the information plane: T is the tuple of the bins of a layer's units.

Shapes: ... batch axes, N patterns, U units (width of the layer), C classes.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from ibjax import _checks
from ibjax.information import partition
from ibjax.information.apply import apply, warn_outside
from ibjax.information.cells.bins import activation_range, bin_codes, widened
from ibjax.information.cells.sorting import n_sorts
from ibjax.information.cells.table import representatives
from ibjax.information.cells.words import n_words, pack, pack_layers
from ibjax.information.estimator import COMPATS, EXACT, MOST_BINS, Estimator, Information, LayerBatch
from ibjax.information.partition import (
    Channels,
    codes_information,
    over_networks,
    partition_information,
    sorted_information,
)


def histogram_information(
    activations: Array,
    channels: Channels,
    *,
    bins: int,
    low: Array | float,
    high: Array | float,
    compat: str | None = None,
) -> tuple[Array, Array]:
    """`layer_information` without checks, for activations (U, M, N) with the units first; returns (M,), (M,)."""
    words = pack(bin_codes(activations, bins, low, high, compat), bins)
    finite = jnp.isfinite(activations).all(axis=(0, 2))
    i_xt, i_ty = partition_information(representatives(words, bins ** len(activations)), channels)
    return jnp.where(finite, i_xt, jnp.nan), jnp.where(finite, i_ty, jnp.nan)


def layer_by_layer(
    layers: list[Array], channels: Channels, *, bounded: Sequence[bool], bins: int, compat: str | None
) -> list[Array]:
    """I(X;T), I(T;Y) and the ends of the bins' range of each layer of M networks, (M, L) each.

    Args:
      layers: (U, M, N) of each layer.
      channels: of all layers.
      bounded: of each layer, whether its range is [-1, 1]; it is each network's own otherwise.
      bins, compat: see `layer_information`.
    """
    found = []
    for layer, is_bounded in zip(layers, bounded, strict=True):
        low, high = (jnp.full((1, layer.shape[1], 1), end, layer.dtype) for end in (-1, 1))
        if not is_bounded:
            low, high = activation_range(layer)
        bits = histogram_information(layer, channels, bins=bins, low=low, high=high, compat=compat)
        found.append((*bits, low[0, :, 0], high[0, :, 0]))
    return [jnp.stack(values, axis=1) for values in zip(*found, strict=True)]


def all_layers(
    layers: list[Array], channels: Channels, *, bounded: Sequence[bool], bins: int, compat: str | None
) -> list[Array]:
    """`layer_by_layer` in as few kernels as can be, the way of a GPU: layers of a similar width in one go."""
    groups: dict[int, list[int]] = {}
    for number, layer in enumerate(layers):
        groups.setdefault(n_sorts(n_words(len(layer), bins)), []).append(number)
    found = []
    for group in groups.values():
        chosen = [jnp.moveaxis(layers[i], 1, 0) for i in group]
        units, n = sum(len(layers[i]) for i in group), chosen[0].shape[-1]
        way = functools.partial(_of_network, bounded=[bounded[i] for i in group], bins=bins, compat=compat)
        found.append(over_networks(way, chosen, channels, n * (2 * units + len(group) * len(channels.coarse))))
    back = np.argsort(np.concatenate(list(groups.values())))
    return [jnp.concatenate(values, axis=1)[:, back] for values in zip(*found, strict=True)]


def _of_network(
    layers: list[Array], channels: Channels, *, bounded: list[bool], bins: int, compat: str | None
) -> tuple[Array, ...]:
    """`all_layers` of one network, (U, N) each, whose layers take equally many sorts; (L,) each."""
    widths = [len(layer) for layer in layers]
    units, owner = jnp.concatenate(layers), np.repeat(np.arange(len(layers)), widths)
    own = owner == np.arange(len(layers))[:, None]  # (L, U)
    least, greatest = units.min(axis=1), units.max(axis=1)
    finite = jnp.where(own, jnp.isfinite(units).all(axis=1), True).all(axis=1)  # not every minimum shows a NaN
    least, greatest = jnp.where(own, least, jnp.inf).min(axis=1), jnp.where(own, greatest, -jnp.inf).max(axis=1)
    within = np.array(bounded)
    low, high = jnp.where(within, -1, least), jnp.where(within, 1, widened(least, greatest))
    codes = bin_codes(units, bins, low[owner, None], high[owner, None], compat)
    i_xt, i_ty = sorted_information(pack_layers(codes, widths, bins), channels)
    return *(jnp.where(finite, bits, jnp.nan) for bits in (i_xt, i_ty)), low, high


@functools.partial(jax.jit, static_argnames=("bins", "compat"))
def _layer_information(
    activations: Array,
    p_y_given_x: Array,
    p_x: Array | None,
    low: float | None,
    high: float | None,
    *,
    bins: int,
    compat: str | None,
) -> tuple[Array, Array]:
    batch, (n, units) = activations.shape[:-2], activations.shape[-2:]
    channels = partition.channels(p_y_given_x, p_x, activations.dtype)
    codes_of = lambda a: _codes(a, bins, low, high, compat)  # noqa: E731
    i_xt, i_ty = codes_information(activations.reshape(-1, n, units), codes_of, bins, channels)
    return i_xt.reshape(batch), i_ty.reshape(batch)


def _codes(activations: Array, bins: int, low: Any, high: Any, compat: str | None) -> Array:
    """`bin_codes` of (m, N, U), over the range of each of the m where none is given."""
    if low is None:
        return range_codes(activations, bins, (1, 2), compat)
    return bin_codes(activations, bins, low, high, compat)


def range_codes(activations: Array, bins: int, axis: int | tuple[int, ...], compat: str | None = None) -> Array:
    """`bin_codes` between the least and the greatest activation over some axes of (m, N, U)."""
    # Whose multiples would overflow are made smaller, exactly: by a power of two.
    largest = float(jnp.finfo(activations.dtype).max) / (4 * MOST_BINS)
    low, high = activation_range(activations, axis)
    scale = jnp.where(jnp.maximum(jnp.abs(low), jnp.abs(high)) > largest, 0.5**16, 1.0).astype(activations.dtype)
    return bin_codes(activations * scale, bins, low * scale, high * scale, compat)


def layer_information(
    activations: ArrayLike,
    p_y_given_x: ArrayLike,
    *,
    p_x: ArrayLike | None = None,
    bins: int = 30,
    low: float | None = -1.0,
    high: float | None = 1.0,
    compat: str | None = None,
) -> tuple[Array, Array]:
    """Information a deterministic layer holds of the input and of the label, from exact counts of its binned states.

    Each activation goes to one of `bins` equal intervals of [low, high], those outside to the end bins; T is the tuple
    of a layer's bins. I(X;T) = H(T) and I(T;Y) = H(Y) - H(Y|T) with p(y|t) = sum_{x in t} p(x) p(y|x) / p(t): the
    plug-in estimate of Shwartz-Ziv & Tishby (arXiv 1703.00810), section 3. Counts are exact at any width and number of
    bins; patterns that occur twice count as one value of X with the summed probability. jit-compiled; may itself be
    called inside `jit`, where the values of traced arguments cannot be checked.

    Args:
      activations: (..., N, U); leading axes are batch axes. Or (N, ...), such as (N, height, width, channels), where
        only the first axis has the length N: the others become one. Float32 or float64; float16 and integers become
        float32. What is no JAX array is read as NumPy reads it, so lists of Python floats are float64.
      p_y_given_x: (N,) = p(y=1|x), or (N, C), or (N,) integers beyond 0 and 1 that name the classes (inside `jit`:
        NaN).
      p_x: (N,), or None for uniform.
      bins: 2 to 4096.
      low, high: range of the bins, finite, low < high; None for both takes the least and the greatest activation of
        each batch element, as `adaptive_layer` does.
      compat: "idnns" takes `bins` as the number of edges instead, and gives values >= high a separate cell: the
        cells of the authors' released code, which calls this 30 bins. Its float32 edges, and its place for values
        below low, which is that of values >= high.

    Returns:
      I(X;T) and I(T;Y), (...) bits each, of the dtype of the activations (NumPy arrays for float64 without JAX's x64,
      which would round them); NaN where a batch element holds a non-finite activation.

    Raises:
      ValueError, TypeError: a shape, value or type that is not allowed, named in the message.

    Warns:
      RuntimeWarning: activations outside [low, high], with their share. Not inside `jit`.
    """
    check_bins(bins, compat)

    def of_layer(a: Array, conditional: Array, marginal: Array | None) -> tuple[Array, Array]:
        check_range(low, high, a.dtype)
        ends = (None, None) if low is None or high is None else (float(low), float(high))
        if ends[0] is not None:
            warn_outside(a, *ends)
        return _layer_information(a, conditional, marginal, *ends, bins=int(bins), compat=compat)

    return apply(of_layer, activations, p_y_given_x, p_x)


def check_bins(bins: Any, compat: str | None = None) -> None:
    """The number of bins, and what it counts."""
    _checks.integer("bins", bins, 2, MOST_BINS)
    if compat is not None:
        _checks.choice("compat", compat, COMPATS)


def check_range(low: Any, high: Any, dtype: jnp.dtype) -> None:
    """The range of the bins, in the type of the activations; None for both ends is that of the layer."""
    if low is None and high is None:
        return
    if low is None or high is None:
        raise ValueError(f"low = {low!r}, high = {high!r}; allowed: two numbers, or None for both")
    for name, value in (("low", low), ("high", high)):
        if not isinstance(value, int | float | np.number) or not math.isfinite(value):
            raise ValueError(f"{name} = {value!r}; allowed: a finite number")
    with np.errstate(over="ignore"):
        ends = np.array([low, high], dtype)
        if not np.isfinite([*ends, MOST_BINS * (ends[1] - ends[0])]).all():
            raise ValueError(f"low = {low:g}, high = {high:g}; allowed: a range that is finite in {dtype}")
    if not ends[0] < ends[1]:
        raise ValueError(f"low = {low:g}, high = {high:g}; allowed: low < high in {dtype}")


class Binned(Estimator):
    """T is the tuple of the codes of a layer's units, in any way of coding: what the exact estimators share."""

    bins: int

    i_xt_is: ClassVar[str] = EXACT
    i_ty_is: ClassVar[str] = EXACT

    def __post_init__(self) -> None:
        check_bins(self.bins)

    def __call__(self, batch: LayerBatch) -> Information:
        return Information(*codes_information(batch.activations, self.codes, self.bins, batch.channels))

    @abc.abstractmethod
    def codes(self, activations: Array) -> Array:
        """(m, N, U) activations to codes in [0, bins), each of the m alone."""


@dataclasses.dataclass(frozen=True)
class Histogram(Binned):
    """The estimator of every run, see `layer_information`: the same cells, the same numbers to the bit.

    Attributes:
      bins: cells of each unit, 2 to 4096.
      low, high: range of the cells. None for both is what a run takes: [-1, 1] for a layer whose activations keep
        within it, each network's least and greatest activation of the layer for the others.
      compat: None or "idnns".
    """

    bins: int = 30
    low: float | None = None
    high: float | None = None
    compat: str | None = None

    name: ClassVar[str] = "histogram"

    def __post_init__(self) -> None:
        check_bins(self.bins, self.compat)
        check_range(self.low, self.high, jnp.dtype("float32"))

    def for_layer(self, width: int, n_patterns: int, bounded: bool) -> Self:
        return dataclasses.replace(self, low=-1.0, high=1.0) if bounded and self.low is None else self

    def codes(self, activations: Array) -> Array:
        return _codes(activations, self.bins, self.low, self.high, self.compat)
