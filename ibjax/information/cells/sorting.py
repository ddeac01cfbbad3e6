"""Who shares a cell, by sorting the patterns by their words: as exact as the hash table, and no loop waits for data.

A GPU's host would have to read after every round of a hash table whether another one is due, and no number of rounds
is proof. XLA sorts rows of up to 4096 patterns by two words in one kernel, each row within a multiprocessor (counted in
what it compiles for an H100). Wider words are replaced, two by two, by the number of the cell that the two make.

Shapes: M batch elements, N patterns, W words of 32 bits.
"""

from __future__ import annotations

import functools
import operator
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax

_TOGETHER = 2  # words; with their places as much as fits 48 KB of shared memory


class Runs(NamedTuple):
    """The patterns in an order in which those of a cell are neighbours, (M, N) each.

    Attributes:
      order: int32, the pattern at each place; those of a cell ascend.
      first: bool, whether a cell begins at this place.
    """

    order: Array
    first: Array


def n_sorts(n_words: int) -> int:
    """How many sorts, one after the other, it takes to tell apart patterns of so many words."""
    return 1 if n_words <= _TOGETHER else 1 + n_sorts(-(-n_words // _TOGETHER))


def runs(words: Array) -> Runs:
    """The cells of patterns with words (W, M, N) of uint32: patterns with equal words share one."""
    while len(words) > _TOGETHER:
        words = _halve(words)
    return _sort(words)


def _sort(words: Array) -> Runs:
    place = lax.broadcasted_iota(jnp.int32, words.shape[1:], 1)
    # By the pattern last: nothing is equal then, so the order is one whatever the algorithm.
    *found, order = lax.sort((*words, place), num_keys=len(words) + 1, is_stable=False)
    differs = functools.reduce(operator.or_, (w[:, 1:] != w[:, :-1] for w in found))
    first = jnp.pad(differs, ((0, 0), (1, 0)), constant_values=True)
    return Runs(order, first)


def _halve(words: Array) -> Array:
    """(W, M, N) to (W / 2, M, N) words that are equal for the same patterns: of every two the number of their cell."""
    _, m, n = words.shape
    pairs = jnp.pad(words, [(0, -len(words) % _TOGETHER), (0, 0), (0, 0)]).reshape(-1, _TOGETHER, m, n)
    found = _sort(jnp.swapaxes(pairs, 0, 1).reshape(_TOGETHER, -1, n))
    cell = jnp.cumsum(found.first, axis=1, dtype=jnp.uint32)
    return jnp.put_along_axis(jnp.zeros_like(cell), found.order, cell, axis=1, inplace=False).reshape(-1, m, n)
