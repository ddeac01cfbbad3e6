"""Who shares a cell, by a hash table whose every hit is checked against the whole word: no collision can merge two.

On a CPU a scatter costs about 1.5 ns an element where a sort costs 28.

Shapes: M batch elements, N patterns, W words of 32 bits, T slots of the hash table.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

_SLOTS_PER_PATTERN = 4  # at most an eighth of the patterns meet another cell's in the first round
_ODD = np.uint32(0x9E3779B1)  # 2^32 / golden ratio, odd: multiplying permutes the 32-bit words
_IN_BOUNDS = "promise_in_bounds"


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
