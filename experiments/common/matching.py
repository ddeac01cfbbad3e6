"""Correlation of the weights of different networks, as they are and up to the symmetries of their units.

A network is the same function after a permutation of the units of a hidden layer and, with an odd activation such as
tanh, after a change of sign of a unit's incoming and outgoing weights. So two networks are compared up to these: layer
by layer from the input, the units of one are matched with those of the other by the largest total absolute correlation
of their incoming weights (Hungarian algorithm), and permutation and signs are carried into the rows of the next layer.
Matched layer by layer, not jointly, which would be NP-hard: the correlation found is a lower bound of the largest, but
for the first layer.

Correlation is the cosine between vectors of weights, whose distribution is symmetric about 0 before training.

Shapes: S networks, L layers, U units, U' units of the layer before, K entries.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from common.evidence import Values
from ibjax.analysis import Estimate
from ibjax.analysis.statistics import percentiles, resampling_weights

Kernels = Sequence[npt.NDArray[Any]]


class Alignment(NamedTuple):
    """One network brought as near to another as the symmetries of its units allow.

    Attributes:
      kernels: L arrays (U', U), those of the other network after permutations and signs.
      order: for each hidden layer, which unit of the other network stands in each place, (U,).
      sign: for each hidden layer, the sign it is given, (U,).
    """

    kernels: list[Values]
    order: list[npt.NDArray[np.intp]]
    sign: list[Values]


def align(reference: Kernels, other: Kernels, *, odd: bool = True) -> Alignment:
    """Match the hidden units of `other` with those of `reference`.

    Args:
      reference, other: L kernels (U', U), the last one of the output, whose units have names and stay.
      odd: whether the activation is odd, so that a unit's sign is free too.
    """
    kernels, orders, signs = [], [], []
    order, sign = np.arange(len(reference[0])), np.ones(len(reference[0]))
    for target, kernel in zip(reference[:-1], other[:-1], strict=True):
        rows = np.asarray(kernel, np.float64)[order] * sign[:, None]
        like = cosine(np.asarray(target, np.float64).T[:, None], rows.T[None])
        order = linear_sum_assignment(np.abs(like) if odd else like, maximize=True)[1]
        chosen = like[np.arange(len(order)), order]
        sign = np.where(chosen < 0, -1.0, 1.0) if odd else np.ones(len(order))
        kernels.append(rows[:, order] * sign)
        orders.append(order)
        signs.append(sign)
    kernels.append(np.asarray(other[-1], np.float64)[order] * sign[:, None])
    return Alignment(kernels, orders, signs)


def cosine(a: npt.ArrayLike, b: npt.ArrayLike) -> Values:
    """Correlation of vectors of mean 0 along the last axis; 0 where one of them vanishes."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    norm = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return np.asarray((a * b).sum(axis=-1) / np.where(norm > 0, norm, 1.0))


def correlations(kernels: Sequence[npt.NDArray[Any]], *, odd: bool = True) -> tuple[Values, Values]:
    """Correlation of every pair of networks in every layer, as they are and matched.

    Args:
      kernels: L arrays (S, U', U).
      odd: see `align`.

    Returns:
      (L, S, S) twice, symmetric, 1 on the diagonal.
    """
    count = len(kernels[0])
    plain, matched = (np.tile(np.eye(count), (len(kernels), 1, 1)) for _ in range(2))
    for i, j in itertools.combinations(range(count), 2):
        mine, theirs = [k[i] for k in kernels], [k[j] for k in kernels]
        for found, others in ((plain, theirs), (matched, align(mine, theirs, odd=odd).kernels)):
            for layer, (a, b) in enumerate(zip(mine, others, strict=True)):
                found[layer, i, j] = found[layer, j, i] = cosine(a.ravel(), b.ravel())
    return plain, matched


def pair_mean(values: Values, *, level: float = 0.95, resamples: int = 1000, seed: int = 0) -> Estimate:
    """Mean over pairs of different networks, (K, S, S) -> (K,), the interval by resampling networks.

    A network drawn twice makes no pair with itself. With two networks there is one pair and no interval.
    """
    count = values.shape[1]
    off = values * (1 - np.eye(count))
    mean = off.sum(axis=(1, 2)) / max(count * (count - 1), 1) if count > 1 else np.full(len(values), np.nan)
    low = high = np.full(len(values), np.nan)
    if count > 2:
        weights = resampling_weights(count, resamples, seed)
        pairs = weights.sum(axis=1) ** 2 - (weights**2).sum(axis=1)
        total = np.einsum("ri,kij,rj->rk", weights, off, weights, optimize=True)
        low, high = percentiles(np.where(pairs > 0, total.T / np.maximum(pairs, 1), np.nan).T, level)
    counts = np.full(len(values), count)
    return Estimate(mean=mean, low=low, high=high, count=counts, left_out=0, level=level)
