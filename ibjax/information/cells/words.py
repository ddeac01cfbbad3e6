"""A layer's cell as few words of 32 bits: each holds as many codes as it can, and equal words mean equal codes.

Shapes: M batch elements, N patterns, U units, L layers, W words of 32 bits.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

_FEW_WORDS = 8  # more are packed and compared in one go, which compiles faster
_WIDEST_ROWS = 64  # units; wider layers are packed with the units first


def pack(codes: Array, base: int) -> list[Array]:
    """Writes the codes of all units as few 32-bit words as hold them, each the number with these digits.

    Args:
      codes: (U, M, N) integers in [0, base).
      base: number of codes, 2 to 65536.

    Returns:
      Arrays (w, M, N) of uint32, together W words: the full ones, and the rest. Two patterns have equal words exactly
      where all their codes are equal.
    """
    digits = _digits(base)
    units = len(codes)
    full = units - units % digits
    groups = [codes[:full].reshape(-1, digits, *codes.shape[1:])] if full else []
    if full <= _FEW_WORDS * digits:  # each in a separate loop: two words in one take eight times as long
        groups = [codes[None, i : i + digits] for i in range(0, full, digits)]
    if units > full:
        groups.append(codes[None, full:])
    # Digit by digit, the first word of a thousand units beside the last: as many operations as a word has digits.
    return [
        functools.reduce(lambda word, digit: word * np.uint32(base) + digit, jnp.moveaxis(g.astype(jnp.uint32), 1, 0))
        for g in groups
    ]


def _digits(base: int) -> int:
    """How many codes a word of 32 bits holds."""
    return max(d for d in range(1, 33) if base**d <= 2**32)


def n_words(units: int, base: int) -> int:
    """W of a layer of so many units."""
    return -(-units // _digits(base))


def pack_layers(codes: Array, widths: Sequence[int], base: int) -> Array:
    """`pack` of the layers of one network in one go, each with the words of the widest.

    Args:
      codes: (U, N), the units of all layers one after the other.
      widths: units of each layer.
      base: number of codes, 2 to 65536.

    Returns:
      (W, L, N) uint32.
    """
    digits = _digits(base)
    unit = np.full((len(widths), n_words(max(widths), base) * digits), -1)
    for row, width, end in zip(unit, widths, np.cumsum(widths), strict=True):
        row[:width] = np.arange(end - width, end)
    words = jnp.uint32(0)
    for of_digit in unit.reshape(len(widths), -1, digits).T:  # units that are this digit of (W, L), -1 for none
        digit = jnp.where(of_digit[..., None] < 0, 0, codes[of_digit]).astype(jnp.uint32)
        words = words * np.uint32(base) + digit
    return words


def pack_rows(codes: Array, base: int) -> list[Array]:
    """`pack` for codes with the units last, (M, N, U): for narrow layers by one small matrix product, where taking
    every unit apart would read with a stride. Its words have 24 bits, which a float32 product of integers gets exactly.
    """
    if codes.shape[-1] > _WIDEST_ROWS:
        return pack(jnp.moveaxis(codes, -1, 0), base)
    digits = max(d for d in range(1, 25) if base**d <= 2**24)
    units = codes.shape[-1]
    unit = np.arange(units)
    powers = np.zeros((units, -(-units // digits)), np.float32)
    powers[unit, unit // digits] = float(base) ** (unit % digits)
    words = jnp.tensordot(powers, codes.astype(jnp.float32), (0, 2), precision=lax.Precision.HIGHEST)
    return [words.astype(jnp.uint32)]
