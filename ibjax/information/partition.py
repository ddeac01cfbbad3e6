"""Exact information of a partition: which patterns share a cell, and what the cells tell of X and Y.

A layer's cell is a word of codes, one code for each unit. Nothing is ordered and nothing is approximated: cells
are found with a hash table whose every hit is checked against the whole word, so no collision can merge two.
On a CPU a scatter costs about 1.5 ns an element where a sort costs 28.

Shapes: M batch elements, N patterns, U units, W words of 32 bits, C classes, T slots of the hash table.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

_SLOTS_PER_PATTERN = 4  # at most an eighth of the patterns meet another cell's in the first round
_FEW_WORDS = 8  # more are packed and compared in one go, which compiles faster
_WIDEST_ROWS = 64  # units; wider layers are packed with the units first
_TOGETHER = 60  # batch elements at most, and a divisor of many a batch
_ODD = np.uint32(0x9E3779B1)  # 2^32 / golden ratio, odd: multiplying permutes the 32-bit words
_IN_BOUNDS = "promise_in_bounds"


class Channels(NamedTuple):
    """p(x) and p(x, y) of the patterns, each as two parts whose sums over any set of patterns are exact enough.

    The first part is a multiple of a power of two so large that every partial sum of a channel fits the significand:
    its sums have no rounding error at all. The second is what is left, smaller by 2^-22 or so. Of
    `channels_per_network` each part is (C, M, N) and the scale (M,).

    Attributes:
      coarse: (C, N): channel 0 is p(x), channel c > 0 is p(x, y=c), in units of `1 / scale`.
      fine: (C, N), or (C - 1, N) without channel 0 where p(x) is uniform: whole patterns leave nothing.
      scale: () what turns sums into probabilities; 1/N where p(x) is uniform, whose channel counts patterns.
    """

    coarse: Array
    fine: Array
    scale: Array

    @property
    def whole(self) -> int:
        """The number of channels without a fine part: 1 where p(x) is uniform, else 0."""
        return len(self.coarse) - len(self.fine)


def channels(p_y_given_x: Array, p_x: Array | None, dtype: jnp.dtype) -> Channels:
    """The channels to be summed over each cell; class 0 is p(x) less all the others.

    Args:
      p_y_given_x: (N,) or (N, C).
      p_x: (N,) or None for uniform.
      dtype: of the sums, float32 or float64.
    """
    n = p_y_given_x.shape[0]
    others = p_y_given_x[:, None] if p_y_given_x.ndim == 1 else p_y_given_x[:, 1:]
    # A uniform p(x) is counted in whole patterns: integers, and hard labels too.
    weight = jnp.ones(n, dtype) if p_x is None else p_x.astype(dtype)
    masses = jnp.concatenate([weight[None], (others.astype(dtype) * weight[:, None]).T])
    total = jnp.sum(weight)
    # Round up to a power of two, so that dividing by it rounds nothing.
    # By its bits: exp2 of a whole number is not exact in XLA.
    integer, digits = (jnp.uint32, 23) if dtype == jnp.float32 else (jnp.uint64, 52)
    power = lax.bitcast_convert_type(lax.bitcast_convert_type(total, integer) >> digits << digits, dtype)
    unit = power * 2.0 ** (1 - digits)
    coarse = jnp.round(masses / unit) * unit
    return Channels(coarse, (masses - coarse)[1 if p_x is None else 0 :], 1 / total)


def channels_per_network(p_y_given_x: Array, p_x: Array, dtype: jnp.dtype) -> Channels:
    """`channels` with another p(x) for each batch element, (M, N), which need not sum to 1."""
    return Channels(*jax.vmap(lambda p: tuple(channels(p_y_given_x, p, dtype)), out_axes=(1, 1, 0))(p_x))


def joint(of: Channels) -> Array:
    """p(x, y), (C, N)."""
    masses = of.coarse.at[of.whole :].add(of.fine) * of.scale
    return masses.at[0].set(jnp.maximum(masses[0] - masses[1:].sum(axis=0), 0))


def pack(codes: Array, base: int) -> list[Array]:
    """Writes the codes of all units as few 32-bit words as hold them, each the number with these digits.

    Args:
      codes: (U, M, N) integers in [0, base).
      base: number of codes, 2 to 65536.

    Returns:
      Arrays (w, M, N) of uint32, together W words: the full ones, and the rest. Two patterns have equal words exactly
      where all their codes are equal.
    """
    digits = max(d for d in range(1, 33) if base**d <= 2**32)
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


def representatives(words: Sequence[Array], n_codes: int) -> Array:
    """For every pattern the first pattern of its cell.

    Each round, every pattern whose cell is not yet known writes its index into the slot its words hash to; the smallest
    index wins, and those whose words all equal the winner's have found their cell. The winner of a slot always finds
    itself, so each round settles at least one cell of each slot; the rest meet again under another hash.

    Args:
      words: arrays (w, M, N) of uint32.
      n_codes: how many different words there can be; few enough, and they index a table without collisions.

    Returns:
      (M, N) int32.
    """
    _, m, n = words[0].shape
    slots = 1 << (_SLOTS_PER_PATTERN * n - 1).bit_length()
    direct = len(words) == 1 and len(words[0]) == 1 and n_codes <= 2 * slots
    size = (n_codes if direct else slots) + 1  # the last slot takes the patterns already settled
    shift = np.uint32(32 - slots.bit_length() + 1)
    lane = lax.broadcasted_iota(jnp.int32, (m, n), 0)
    index = lax.broadcasted_iota(jnp.int32, (m, n), 1)
    generator = np.random.default_rng(0)
    multipliers = [generator.integers(0, 2**31, len(w), dtype=np.uint32) * 2 + 1 for w in words]

    def slot(turn: Array) -> Array:
        if direct:
            return words[0][0].astype(jnp.int32)
        digest = functools.reduce(
            operator.add,
            (jnp.sum(w * k[:, None, None], axis=0, dtype=jnp.uint32) for w, k in zip(words, multipliers, strict=True)),
        )
        mixed = (digest ^ (turn * _ODD)) * _ODD
        return ((mixed ^ (mixed >> 15)) * np.uint32(0x85EBCA6B) >> shift).astype(jnp.int32)

    def settle(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        turn, found = carry
        open_ = found == n
        where = lane * size + jnp.where(open_, slot(turn), size - 1)
        table = jnp.full(m * size, n, jnp.int32).at[where.reshape(-1)].min(index.reshape(-1), mode=_IN_BOUNDS)
        winner = table.at[where].get(mode=_IN_BOUNDS)
        same = open_
        for w in words:
            theirs = w.reshape(len(w), -1).at[:, lane * n + winner].get(mode=_IN_BOUNDS)
            same &= (theirs == w).all(axis=0)
        return turn + np.uint32(1), jnp.where(same, winner, found)

    # All rounds run in the loop, the first too: a loop's operands are computed once, in memory, where the compiler
    # would else bin the activations again for every use of a word.
    unknown = (jnp.uint32(0), jnp.full((m, n), n, jnp.int32))
    return lax.while_loop(lambda carry: (carry[1] == n).any(), settle, unknown)[1]


def partition_information(cell: Array, of: Channels) -> tuple[Array, Array]:
    """H(T) = I(X;T) and I(T;Y) = H(Y) - H(Y|T), (M,) bits each, of a deterministic T given by its cells.

    Patterns with equal values of `cell`, (M, N) integers in [0, N), share a cell; `of` are their channels.
    """
    m, n = cell.shape
    where = lax.broadcasted_iota(jnp.int32, (m, n), 0) * n + cell
    flat = where.reshape(-1)

    def sums(channel: Array) -> Array:
        spread = jnp.broadcast_to(channel, (m, n)).reshape(-1)
        return jnp.zeros(m * n, channel.dtype).at[flat].add(spread, mode=_IN_BOUNDS).reshape(m, n)

    mass = [
        (sums(coarse) if c < of.whole else sums(coarse) + sums(of.fine[c - of.whole])) * of.scale[..., None]
        for c, coarse in enumerate(of.coarse)
    ]
    classes = [jnp.maximum(mass[0] - sum(mass[1:]), 0), *mass[1:]]
    total = tree_sum(of.coarse) * of.scale
    total = total.at[of.whole :].add(tree_sum(of.fine) * of.scale)
    p_y = jnp.concatenate([jnp.maximum(total[:1] - total[1:].sum(axis=0), 0), total[1:]])
    i_xt = tree_sum(_surprise(mass[0], jnp.ones_like(mass[0])))
    h_y_given_t = tree_sum(functools.reduce(operator.add, (_surprise(p, mass[0]) for p in classes)))
    return i_xt, tree_sum(_surprise(p_y, jnp.ones_like(p_y)).T) - h_y_given_t


def words_information(words: list[Array], n_codes: int, finite: Array, of: Channels) -> tuple[Array, Array]:
    """`partition_information` where patterns with equal words share a cell (see `representatives`); NaN where not
    `finite`, (M,) bool."""
    i_xt, i_ty = partition_information(representatives(words, n_codes), of)
    return jnp.where(finite, i_xt, jnp.nan), jnp.where(finite, i_ty, jnp.nan)


def rows_information(
    activations: Array, words_of: Callable[[Array], list[Array]], n_codes: int, of: Channels
) -> tuple[Array, Array]:
    """`words_information` of activations (M, N, U), a few batch elements at a time; NaN where they are not all finite.

    Args:
      activations: (M, N, U).
      words_of: from (m, N, U) to words (w, m, N) of uint32.
      n_codes, of: as for `words_information`.
    """
    m, n, units = activations.shape

    def some(a: Array) -> tuple[Array, Array]:
        return words_information(words_of(a), n_codes, jnp.isfinite(a).all(axis=(1, 2)), of)

    # A few at a time keep the hash tables within the cache and the memory bounded.
    i_xt, i_ty = lax.map(some, activations.reshape(-1, math.gcd(m, _TOGETHER), n, units))
    return i_xt.reshape(m), i_ty.reshape(m)


def codes_information(
    activations: Array, codes_of: Callable[[Array], Array], base: int, of: Channels
) -> tuple[Array, Array]:
    """`rows_information` where T is the tuple of the codes of all units, integers in [0, base).

    Args:
      activations: (M, N, U).
      codes_of: from (m, N, U) activations to their codes, of the same shape.
      base: number of codes, 2 to 65536.
      of: as for `words_information`.
    """
    return rows_information(activations, lambda a: pack_rows(codes_of(a), base), base ** activations.shape[-1], of)


def _surprise(p: Array, of: Array) -> Array:
    """p log2(of / p), 0 where p = 0."""
    positive = p > 0
    return jnp.where(positive, p * jnp.log2(jnp.where(positive, of, 1) / jnp.where(positive, p, 1)), 0)


def tree_sum(terms: Array) -> Array:
    """Sum over the last axis by halves: rounding errors grow with log N only, and every step is a fast wide loop."""
    n = terms.shape[-1]
    size = 1 << (n - 1).bit_length()
    terms = jnp.pad(terms, [(0, 0)] * (terms.ndim - 1) + [(0, size - n)])
    while size > 1:
        size //= 2
        terms = terms[..., :size] + terms[..., size:]
    return terms[..., 0]
