"""The task of the paper: twelve bits on a sphere, labelled by a rule that no rotation or reflection changes.

Shapes: N patterns.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
from numpy.polynomial import legendre
from scipy import optimize

from ibjax._checks import unknown
from ibjax.data.dataset import Dataset
from ibjax.probability import FloatArray


class _Rule(NamedTuple):
    """p(y=1|x) = sigmoid(gain (f(x) - threshold)), f(x) = sum_l weights[l]/(2l+1) |a_l|(x)."""

    weights: tuple[float, ...]
    threshold: float
    gain: float
    information: float | None = None  # bits; where given, the gain is solved for


# The authors' tasks; "spherical" is the soft rule of the paper, whose gain is fixed by I(X;Y) = 0.99 bits.
_RULES = {
    "spherical": _Rule((1, 2, 0), 2.3215, math.nan, information=0.99),
    "var_u": _Rule((1, 2, 0), 2.3215, math.inf),
    "regular_90": _Rule((2, 5, 4), 5.89, 12.0),
}
DATASETS = tuple(_RULES)

_G = (1 + math.sqrt(5)) / 2
# Vertices of an icosahedron, in the order of the input bits (most significant first).
# fmt: off
_VERTICES = np.array([
    (0, -1, -_G), (-1, -_G, 0), (0, -1, _G), (1, -_G, 0), (-_G, 0, 1), (0, 1, -_G),
    (-1, _G, 0), (1, _G, 0), (_G, 0, 1), (0, 1, _G), (_G, 0, -1), (-_G, 0, -1),
])
# fmt: on


def _spherical_feature(inputs: FloatArray, weights: tuple[float, ...]) -> FloatArray:
    """f(x), (N,): a weighted sum of the norms of the pattern's spherical-harmonic coefficients.

    By the addition theorem |a_l|^2 needs only Legendre polynomials of the angles between vertices.
    """
    directions = _VERTICES / np.linalg.norm(_VERTICES, axis=1, keepdims=True)
    cosines = np.clip(directions @ directions.T, -1.0, 1.0)
    f = np.zeros(len(inputs))
    for order, weight in enumerate(weights):
        legendre_l = legendre.legval(cosines, np.eye(order + 1)[order])
        power = np.einsum("ni,ij,nj->n", inputs, legendre_l, inputs)
        norm = 4 * np.pi / 12 * np.sqrt((2 * order + 1) / (4 * np.pi) * np.where(power > 1e-9, power, 0))
        f += weight / (2 * order + 1) * norm
    # Symmetric patterns give values equal but for rounding; made equal, so that equal rules are equal rows.
    _, first, index = np.unique(np.round(f, 6), return_index=True, return_inverse=True)
    return np.asarray(f[first][index])


def spherical_dataset(name: str = "spherical", *, information: float | None = None) -> Dataset:
    """The O(3)-invariant binary task of Shwartz-Ziv & Tishby (arXiv 1703.00810): 12 bits on a sphere.

    The twelve inputs sit on the vertices of an icosahedron; the label depends only on the norms of the pattern's
    spherical-harmonic coefficients, so on its class under rotations and reflections (64 values of f).

    Args:
      name: "spherical" (soft rule, I(X;Y) = 0.99 bits), "var_u" (the authors' released hard labels) or
        "regular_90" (their later soft rule, 0.8995 bits).
      information: another I(X;Y) in bits to solve the gain for; more than 0 and less than that of hard labels.

    Raises:
      ValueError: an unknown name, or an information out of reach of the rule.
    """
    if name not in DATASETS:
        raise ValueError(unknown("dataset", name, DATASETS))
    target = _RULES[name].information if information is None else information
    if target is None:
        return _with_gain(name, _RULES[name].gain)
    highest = _with_gain(name, 1e6).information
    if not (isinstance(target, int | float | np.number) and 1e-9 <= target <= highest - 1e-9):
        raise ValueError(f"information = {target!r} bits; allowed for {name!r}: more than 0, less than {highest:.6f}")
    return _with_gain(name, _solve_gain(name, float(target)))


@functools.lru_cache(maxsize=16)  # every run of a built-in task asks again
def _with_gain(name: str, gain: float) -> Dataset:
    """The task with another gain of its rule."""
    rule = _RULES[name]
    inputs = (np.arange(4096)[:, None] >> np.arange(11, -1, -1) & 1).astype(np.float64)  # in counting order
    above = _spherical_feature(inputs, rule.weights) - rule.threshold
    return Dataset.from_log_odds(inputs, gain * above)


@functools.lru_cache
def _solve_gain(name: str, information: float) -> float:
    """The gain at which a task has the given I(X;Y), in bits."""

    def excess(log_gain: float) -> float:
        return _with_gain.__wrapped__(name, math.exp(log_gain)).information - information

    return math.exp(optimize.brentq(excess, math.log(1e-6), math.log(1e6), xtol=1e-13))
