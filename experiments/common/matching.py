"""Correlation of the weights of different networks, as they are and up to the symmetries of their units.

A network is the same function after a permutation of the units of a hidden layer and, with an odd activation such as
tanh, after a change of sign of a unit's incoming and outgoing weights. So two networks are compared up to these: layer
by layer from the input, the units of one are matched with those of the other by the largest total absolute correlation
of their incoming weights (Hungarian algorithm), and permutation and signs are carried into the rows of the next layer.
Matched layer by layer, not jointly, which would be NP-hard: the correlation found is a lower bound of the largest, but
for the first layer.

Correlation is the cosine between vectors of weights, whose distribution is symmetric about 0 before training.

Shapes: L layers, U units, U' units of the layer before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from common.evidence import Values

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
