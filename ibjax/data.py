"""Data sets: a finite set of input patterns X, with the distribution of the label Y given each.

Shapes: N patterns, F input features, C classes, K spherical-harmonic orders.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.polynomial import legendre
from scipy import optimize

FloatArray = npt.NDArray[np.float64]

_PROBABILITY_TOLERANCE = 1e-6


def entropy(p: FloatArray, axis: int | None = None) -> FloatArray:
    """Shannon entropy in bits of the distribution(s) `p` along `axis` (all axes by default); 0 log 0 = 0."""
    logs = np.log2(p, out=np.zeros_like(p), where=p > 0)
    return np.asarray(-(p * logs).sum(axis=axis))


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Input patterns with p(y|x) and p(x).

    A pattern that occurs twice is one value of X with the summed probability: every information here and in
    `ibjax.layer_information` is that of the values, so repeated rows change nothing but p(x).

    Args:
      inputs: (N, F) float, finite.
      p_y_given_x: (N,) = p(y=1|x) of a binary label, or (N, C) with rows that sum to 1. Hard labels are 0 and 1.
      p_x: (N,) probability of each pattern, or None for the uniform distribution.

    Raises:
      ValueError: a shape that does not fit, a value that is not finite or not a probability; the message names
        the argument, what it holds, and what is allowed.
    """

    inputs: FloatArray
    p_y_given_x: FloatArray
    p_x: FloatArray | None = None

    def __post_init__(self) -> None:
        inputs = _as_floats("inputs", self.inputs)
        if inputs.ndim != 2 or inputs.shape[0] < 2 or inputs.shape[1] < 1:
            raise ValueError(f"inputs has shape {inputs.shape}; allowed: (N, F) with at least 2 patterns and 1 feature")
        n = inputs.shape[0]
        object.__setattr__(self, "inputs", inputs)
        object.__setattr__(self, "p_y_given_x", checked_conditional(self.p_y_given_x, n))
        if self.p_x is not None:
            object.__setattr__(self, "p_x", checked_marginal(self.p_x, n))

    @property
    def n_patterns(self) -> int:
        """N."""
        return int(self.inputs.shape[0])

    @property
    def n_features(self) -> int:
        """F."""
        return int(self.inputs.shape[1])

    @property
    def n_classes(self) -> int:
        """C; 2 when `p_y_given_x` is (N,)."""
        return 2 if self.p_y_given_x.ndim == 1 else int(self.p_y_given_x.shape[1])

    @property
    def conditional(self) -> FloatArray:
        """p(y|x) as (N, C), whichever way it was given."""
        p = self.p_y_given_x
        return np.stack([1.0 - p, p], axis=1) if p.ndim == 1 else p

    @property
    def marginal(self) -> FloatArray:
        """p(x), (N,)."""
        return np.full(self.n_patterns, 1.0 / self.n_patterns) if self.p_x is None else self.p_x

    @property
    def joint(self) -> FloatArray:
        """p(x, y), (N, C); what `ibjax.information_curve` takes."""
        return self.conditional * self.marginal[:, None]

    @property
    def h_x(self) -> float:
        """H(X) in bits, of the distinct patterns."""
        return float(entropy(self._distinct_joint().sum(axis=1)))

    @property
    def h_y(self) -> float:
        """H(Y) in bits."""
        return float(entropy(self.joint.sum(axis=0)))

    @property
    def information(self) -> float:
        """I(X;Y) in bits."""
        joint = self._distinct_joint()
        return float(entropy(joint.sum(axis=0)) + entropy(joint.sum(axis=1)) - entropy(joint))

    def with_random_labels(self, seed: int) -> Dataset:
        """The same patterns with labels that say nothing of them: hard, uniform over the classes, drawn once.

        Patterns that occur twice get one label, so that the labels stay a function of X (Zhang et al. 2017 train
        networks on such ones).

        Args:
          seed: of the draw.
        """
        index = self._distinct()
        drawn = np.random.default_rng(seed).integers(0, self.n_classes, index.max() + 1)[index]
        one_hot = np.eye(self.n_classes)[drawn]
        return dataclasses.replace(self, p_y_given_x=one_hot[:, 1] if self.p_y_given_x.ndim == 1 else one_hot)

    def restricted(self, masks: npt.NDArray[np.bool_]) -> tuple[FloatArray, FloatArray]:
        """H(X) and I(X;Y) in bits, (S,) each, where X is drawn from some of the patterns only.

        Args:
          masks: (S, N) bool, which patterns; p(x) keeps its proportions among them.
        """
        index, entropies = self._distinct(), []
        for mask in masks:
            joint = self._summed(index, self.joint * mask[:, None])
            joint /= joint.sum()
            h_x = entropy(joint.sum(axis=1))
            entropies.append((h_x, entropy(joint.sum(axis=0)) + h_x - entropy(joint)))
        h_x, i_xy = np.array(entropies).reshape(-1, 2).T
        return h_x, i_xy

    def _distinct(self) -> npt.NDArray[np.intp]:
        """The number of each pattern's value of X, (N,)."""
        return np.unique(self.inputs, axis=0, return_inverse=True)[1].reshape(-1)

    def _summed(self, index: npt.NDArray[np.intp], joint: FloatArray) -> FloatArray:
        summed = np.zeros((index.max() + 1, self.n_classes))
        np.add.at(summed, index, joint)
        return summed

    def _distinct_joint(self) -> FloatArray:
        """p(x, y) over the distinct patterns, (N' <= N, C)."""
        return self._summed(self._distinct(), self.joint)


def _as_floats(name: str, value: npt.ArrayLike) -> FloatArray:
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} cannot be read as an array of floats: {error}") from None
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds {int((~np.isfinite(array)).sum())} NaN or infinite values; allowed: finite")
    array.flags.writeable = False
    return array


def checked_conditional(value: npt.ArrayLike, n: int) -> FloatArray:
    p = _as_floats("p_y_given_x", value)
    if p.ndim not in (1, 2) or p.shape[0] != n or (p.ndim == 2 and p.shape[1] < 2):
        raise ValueError(
            f"p_y_given_x has shape {p.shape}; allowed for {n} patterns: ({n},), or ({n}, C) with C >= 2 classes"
        )
    if (p < 0).any() or (p > 1).any():
        raise ValueError(f"p_y_given_x ranges over [{p.min():g}, {p.max():g}]; allowed: probabilities in [0, 1]")
    if p.ndim == 2 and np.abs(p.sum(axis=1) - 1).max() > _PROBABILITY_TOLERANCE:
        worst = int(np.abs(p.sum(axis=1) - 1).argmax())
        raise ValueError(f"p_y_given_x: row {worst} sums to {p[worst].sum():g}; allowed: rows that sum to 1")
    return p


def checked_marginal(value: npt.ArrayLike, n: int) -> FloatArray:
    p = _as_floats("p_x", value)
    if p.shape != (n,):
        raise ValueError(f"p_x has shape {p.shape}; allowed for {n} patterns: ({n},)")
    if (p < 0).any() or abs(p.sum() - 1) > _PROBABILITY_TOLERANCE:
        raise ValueError(f"p_x has minimum {p.min():g} and sums to {p.sum():g}; allowed: probabilities that sum to 1")
    return p


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


def _spherical_inputs() -> FloatArray:
    """All 4096 patterns of 12 bits in counting order, (4096, 12)."""
    return (np.arange(4096)[:, None] >> np.arange(11, -1, -1) & 1).astype(np.float64)


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


def _label_probability(f: FloatArray, threshold: float, gain: float) -> FloatArray:
    if math.isinf(gain):
        return (f > threshold).astype(np.float64)
    return np.asarray(0.5 * (1 + np.tanh(0.5 * gain * (f - threshold))))


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
    rule = _RULES[name]
    inputs = _spherical_inputs()
    f = _spherical_feature(inputs, rule.weights)

    def with_gain(gain: float) -> Dataset:
        return Dataset(inputs, _label_probability(f, rule.threshold, gain))

    target = rule.information if information is None else information
    if target is None:
        return with_gain(rule.gain)
    highest = with_gain(1e6).information
    if not (isinstance(target, int | float | np.number) and 1e-9 <= target <= highest - 1e-9):
        raise ValueError(f"information = {target!r} bits; allowed for {name!r}: more than 0, less than {highest:.6f}")
    target = float(target)
    log_gain = optimize.brentq(
        lambda u: with_gain(math.exp(u)).information - target, math.log(1e-6), math.log(1e6), xtol=1e-13
    )
    return with_gain(math.exp(log_gain))


def unknown(field: str, value: object, allowed: tuple[str, ...]) -> str:
    """The message for a name that is none of `allowed`, with the nearest of them."""
    near = difflib.get_close_matches(str(value), allowed, n=1, cutoff=0.5)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"{field} = {value!r}; allowed: {', '.join(map(repr, allowed))}{hint}"
