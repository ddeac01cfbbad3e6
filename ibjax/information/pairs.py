"""Sums over all pairs of patterns, a block of rows at a time: what the kernel and the sampling estimators share.

Shapes: K networks, N patterns, U units, C classes.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from ibjax.information import partition
from ibjax.information.estimator import Information, LayerBatch
from ibjax.information.partition import tree_sum

_UNROLLED = 16  # units
_PAIRS = {"cpu": 2**20}  # at a time: what the cache holds; elsewhere enough to fill a processor
_PAIRS_ELSEWHERE = 2**23


def map_networks(function: Callable[[Array, Array, Array], Information], batch: LayerBatch) -> Information:
    """`function`, from activations (N, U), a key () and p(x, y) (C, N) to numbers (), of one network after the other.

    The results are (K,) each, NaN for networks that hold a non-finite activation.
    """
    joint = partition.joint(batch.channels)
    results = lax.map(lambda network: function(network[0], network[1], joint), (batch.activations, batch.keys))
    finite = jnp.isfinite(batch.activations).all(axis=(1, 2))
    return jax.tree.map(lambda values: jnp.where(finite, values, jnp.nan), results)


def over_rows(function: Callable[[Any], Any], rows: Any, columns: int) -> Any:
    """`function`, to any pytree, of every row of a pytree of arrays with one leading axis in common; results stacked.

    As many rows at a time as make 4 MB of float32 pairs (32 MB on a GPU), `columns` of them a row.
    """
    pairs = _PAIRS.get(jax.default_backend(), _PAIRS_ELSEWHERE)
    return lax.map(function, rows, batch_size=max(1, pairs // columns))


def scaled_distances(
    row: Array, columns: Array, scale: float, noise: Array | None = None, column_noise: Array | None = None
) -> Array:
    """|scale (row - column) + noise - column noise|^2, (N,), of a row (U,) for every column of (U, N), noise alike.

    By differences, never by |a|^2 + |b|^2 - 2 a.b: the relative error is that of U additions, also where two rows are
    nearly equal, and exactly 0 where they are equal. The product form has an absolute error of about 1e-7 |a|^2, which
    divided by a noise variance of 1e-3 is already 1e-4, and by one of 1e-6 everything.
    """
    units, n = columns.shape
    parts = [part for part in (row, columns, noise, column_noise) if part is not None]

    def add(total: Array, some: list[Array]) -> tuple[Array, None]:
        for a, others, *noises in zip(*some, strict=True):
            step = scale * (a - others)
            if noises:
                step += functools.reduce(operator.sub, noises)
            total += step * step
        return total, None

    whole = units - units % _UNROLLED if units > _UNROLLED else 0
    total = jnp.zeros(n, row.dtype)
    if whole:
        total, _ = lax.scan(add, total, [part[:whole].reshape(-1, _UNROLLED, *part.shape[1:]) for part in parts])
    return add(total, [part[whole:] for part in parts])[0]


def weigh(kernel: Array, joint: Array) -> Array:
    """sum_j kernel_j p(x_j, y), (N,) and (C, N) to (C,); in full precision where a processor would take less."""
    return jnp.dot(joint, kernel, precision=lax.Precision.HIGHEST)


def label_entropy(joint: Array) -> Array:
    """H(Y) in nats of p(x, y), (C, N)."""
    return -xlogx(tree_sum(joint)).sum()


def xlogx(p: Array) -> Array:
    """p ln p, 0 where p = 0."""
    return p * safe_log(p)


def safe_log(p: Array) -> Array:
    """ln p, 0 where p = 0: for terms that have the weight 0 there; NaN stays."""
    return jnp.log(jnp.where(p == 0, 1, p))
