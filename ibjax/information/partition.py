"""Exact information of a partition: which patterns share a cell, and what the cells tell of X and Y.

A layer's cell is a word of codes, one code for each unit. Nothing is approximated: cells are found with a hash table
whose every hit is checked, or by sorting whole words where that is faster (see `cells`).

Shapes: M batch elements, N patterns, U units, L layers, W words of 32 bits, C classes.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from ibjax.information.cells import sorting
from ibjax.information.cells.table import representatives
from ibjax.information.cells.words import pack_rows

_TOGETHER = 60  # batch elements at most, and a divisor of many a batch
_AT_ONCE = 2**26  # numbers, 256 MB
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
    total = tree_sum(of.coarse) * of.scale
    return _bits(mass, total.at[of.whole :].add(tree_sum(of.fine) * of.scale))


def sorted_information(words: Array, of: Channels) -> tuple[Array, Array]:
    """`partition_information` of the layers of one network, whose cells are found by sorting: the way of a GPU.

    A cell's sums are differences of running sums, those of the first parts of the channels without any rounding. The
    order of all sums is fixed, where a scatter would add as its threads come.

    Args:
      words: (W, L, N) uint32; patterns with equal words share a cell.
      of: the channels of this network.

    Returns:
      I(X;T) and I(T;Y), (L,) bits each.
    """
    coarse, fine = jnp.split(_cell_sums(jnp.concatenate(of[:2]), *sorting.runs(words)), [len(of.coarse)])
    # Rounding may leave a trace of p(x, y) where nothing is left of p(x).
    marginal, *others = jnp.maximum(coarse.at[of.whole :].add(fine) * of.scale, 0)
    mass = [marginal, *(jnp.minimum(p, marginal) for p in others)]
    return _bits(mass, tree_sum(jnp.stack(mass)))


def _cell_sums(channels: Array, order: Array, first: Array) -> Array:
    """Sums over the cells, one after the other, of channels (C, N), where `Runs` has their patterns, (L, N): (C, L, N).

    Behind the last cell the sums are not positive.
    """
    begins = first[..., None].astype(channels.dtype)
    # Which cell it is counts one more running sum; whole numbers are exact.
    through = jnp.cumsum(jnp.concatenate([channels.T.at[order].get(mode=_IN_BOUNDS), begins], axis=-1), axis=1)
    row, place = (lax.broadcasted_iota(jnp.int32, first.shape, axis) for axis in (0, 1))
    last = jnp.roll(first, -1, axis=1)
    to = jnp.where(last, through[..., -1].astype(jnp.int32) - 1, first.shape[1] + place)  # or nowhere
    through = through[..., :-1]
    ends = jnp.zeros_like(through).at[row, to].set(through, mode="drop", unique_indices=True)
    return jnp.moveaxis(jnp.diff(ends, axis=1, prepend=0), -1, 0)


def _bits(mass: list[Array], total: Array) -> tuple[Array, Array]:
    """I(X;T) and I(T;Y), (M,), of the sums of p(x) and p(x, y) over each cell, (M, N) each with 0 where there is no
    cell, and over all, (C, M) or (C,)."""
    classes = [jnp.maximum(mass[0] - sum(mass[1:]), 0), *mass[1:]]
    p_y = jnp.concatenate([jnp.maximum(total[:1] - total[1:].sum(axis=0), 0), total[1:]])
    i_xt = tree_sum(_surprise(mass[0], jnp.ones_like(mass[0])))
    h_y_given_t = tree_sum(functools.reduce(operator.add, (_surprise(p, mass[0]) for p in classes)))
    return i_xt, tree_sum(_surprise(p_y, jnp.ones_like(p_y)).T) - h_y_given_t


def over_networks(
    function: Callable[[Any, Channels], tuple[Array, ...]], arrays: Any, of: Channels, numbers: int
) -> tuple[Array, ...]:
    """`function` of one network's arrays and channels for M networks, as many at a time as 256 MB hold.

    Args:
      arrays: a pytree of arrays (M, ...).
      of: the channels of all networks, or of each.
      numbers: how many the function has in memory.
    """
    own = of._replace(coarse=jnp.moveaxis(of.coarse, 1, 0), fine=jnp.moveaxis(of.fine, 1, 0)) if of.scale.ndim else None

    def one(network: tuple[Any, Channels | None]) -> tuple[Array, ...]:
        arrays, own = network
        return function(arrays, of if own is None else own)

    together, networks = max(1, _AT_ONCE // numbers), (arrays, own)
    if len(jax.tree.leaves(arrays)[0]) <= together:  # no loop at all
        return jax.vmap(one)(networks)
    bits: tuple[Array, ...] = lax.map(one, networks, batch_size=together)
    return bits


def rows_information(
    activations: Array, words_of: Callable[[Array], list[Array]], n_codes: int, of: Channels
) -> tuple[Array, Array]:
    """I(X;T) and I(T;Y), (M,) bits each, where T is a word made of the activations; NaN where they are not all finite.

    Args:
      activations: (M, N, U).
      words_of: from (m, N, U) to words (w, m, N) of uint32; patterns with equal words share a cell.
      n_codes: as for `representatives`.
      of: the channels of the patterns.
    """
    m, n, units = activations.shape

    def by_table(words: list[Array]) -> tuple[Array, Array]:
        return partition_information(representatives(words, n_codes), of)

    def by_sorting(words: list[Array]) -> tuple[Array, Array]:
        together = jnp.moveaxis(jnp.concatenate(words), 0, 1)[:, :, None]  # (m, W, 1, N)
        i_xt, i_ty = over_networks(sorted_information, together, of, together[0].size + of.coarse.size)
        return i_xt[:, 0], i_ty[:, 0]

    def some(a: Array) -> tuple[Array, ...]:
        bits = lax.platform_dependent(words_of(a), cpu=by_table, default=by_sorting)
        finite = jnp.isfinite(a).all(axis=(1, 2))
        return tuple(jnp.where(finite, part, jnp.nan) for part in bits)

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
      of: the channels of the patterns.
    """
    return rows_information(activations, lambda a: pack_rows(codes_of(a), base), base ** activations.shape[-1], of)


def _surprise(p: Array, of: Array) -> Array:
    """p log2(of / p), 0 where p = 0."""
    positive = p > 0
    return jnp.where(positive, p * jnp.log2(jnp.where(positive, of, 1) / jnp.where(positive, p, 1)), 0)


def tree_sum(terms: Array) -> Array:
    """Sum over the last axis; rounding errors grow with log N only.

    By halves on a CPU, where every step is a fast wide loop. A GPU's threads share the terms in one kernel.
    """
    return lax.platform_dependent(terms, cpu=_sum_by_halves, default=functools.partial(jnp.sum, axis=-1))


def _sum_by_halves(terms: Array) -> Array:
    n = terms.shape[-1]
    size = 1 << (n - 1).bit_length()
    terms = jnp.pad(terms, [(0, 0)] * (terms.ndim - 1) + [(0, size - n)])
    while size > 1:
        size //= 2
        terms = terms[..., :size] + terms[..., size:]
    return terms[..., 0]
