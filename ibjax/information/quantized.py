"""Exact information of activations of few bits, or of every float as it is.

Shapes: ... batch axes, M batch elements, N patterns, U units (width of the layer), C classes, W words of 32 bits.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from ibjax import _checks
from ibjax.information import partition
from ibjax.information.apply import apply
from ibjax.information.estimator import EXACT, Estimator, Information
from ibjax.information.histogram import bin_codes, own_range, pack_rows, rows_information

MOST_BITS = 11  # 2 (2^11 - 1) half steps are the most that `bin_codes` places exactly
ALL_BITS = 32


@dataclasses.dataclass(frozen=True)
class Quantized(Estimator):
    """I(X;T) = H(T) and I(T;Y) where T is the layer's activations rounded to `bits` bits, by exact counts.

    The 2^bits levels stand at equal steps from the layer's least to its greatest activation, both among them; an
    activation takes the nearest level, half-way the upper one. With bits=32 nothing is rounded: two patterns
    share a cell where all their activations are equal (of 64 bits in float64; 0 and -0 are equal).

    Lorenzen, Igel & Nielsen 2022 (arXiv 2106.12912) train the network with its activations so rounded; then this is
    the information of the network itself, without any choice of an estimator. Applied to a network that computes in
    float32 it is that of its rounded copy, layer by layer. No bias, cost as the histogram's.

    Attributes:
      bits: 1 to 11, or 32 for every float as it is.

    Raises:
      ValueError, TypeError: bits that are not allowed.
    """

    bits: int = 8
    name: ClassVar[str] = "quantized"
    i_xt_is: ClassVar[str] = EXACT
    i_ty_is: ClassVar[str] = EXACT

    def __post_init__(self) -> None:
        _checks.integer("bits", self.bits, 1, MOST_BITS, besides={ALL_BITS: "every float as it is"})

    def __call__(self, activations: Array, y: partition.Labels, keys: Array) -> Information:
        if self.bits == ALL_BITS:
            return Information(*rows_information(activations, _float_words, 2**64, y))
        levels = 2**self.bits
        words_of = lambda a: pack_rows(level_codes(a, self.bits), levels)  # noqa: E731
        return Information(*rows_information(activations, words_of, levels ** activations.shape[-1], y))


def level_codes(activations: Array, bits: int) -> Array:
    """The nearest of 2^bits levels between the least and the greatest activation of each (N, U) of (M, N, U).

    floor(s + 1/2) = floor((floor(2 s) + 1) / 2): the half steps are placed exactly, see `bin_codes`.
    """
    half_steps = 2 * (2**bits - 1)
    return (bin_codes(activations, half_steps, *own_range(activations, (1, 2)), None) + 1) // 2


def _float_words(activations: Array) -> list[Array]:
    """The bits of each activation, (M, N, U) to (W, M, N) with one word or two a unit."""
    # 0 for -0; a compiler would drop the addition of 0.
    bits = lax.bitcast_convert_type(jnp.where(activations == 0, 0, activations), jnp.uint32)
    return [jnp.moveaxis(bits.reshape(*activations.shape[:2], -1), -1, 0)]


def quantized_information(
    activations: ArrayLike, p_y_given_x: ArrayLike, *, p_x: ArrayLike | None = None, bits: int = 8
) -> tuple[Array, Array]:
    """I(X;T) and I(T;Y) of a layer of b-bit activations, exactly; see `Quantized`.

    Args:
      activations: (..., N, U) float32 or float64; leading axes are batch axes.
      p_y_given_x: (N,) = p(y=1|x), or (N, C).
      p_x: (N,), or None for uniform.
      bits: 1 to 11, or 32 for every float as it is.

    Returns:
      i_xt, i_ty: (...) bits; NaN where a batch element holds a non-finite activation.

    Raises:
      ValueError, TypeError: an argument that is not allowed.
    """
    return apply(Quantized(bits), activations, p_y_given_x, p_x)[:2]
