"""What a data set is.

Shapes: N patterns, ... axes of one input (a row of features, the pixels of an image), F features in all, C classes, D
targets of a pattern, S sets of patterns.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import special

from ibjax import probability
from ibjax._checks import floats
from ibjax.probability import FloatArray


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Input patterns with p(y|x) and p(x).

    A pattern that occurs twice is one value of X with the summed probability: every information here and in
    `ibjax.layer_information` is that of the values, so repeated rows change nothing but p(x). The arrays are copied,
    and read-only.

    Args:
      inputs: (N, F) or, for images and the like, (N, ...) float, finite.
      p_y_given_x: (N,) = p(y=1|x) of a binary label, or (N, C) with rows that sum to 1. Hard labels are 0 and 1. (N,)
        integers beyond 0 and 1 name classes, and become (N, C), the classes in increasing order.
      p_x: (N,) probability of each pattern, or None for the uniform distribution.
      targets: (N, D) or (N,) float, finite: what `Config(loss="mean_squared_error")` trains the network to give; None
        to train it on the labels. Information is that of the labels all the same: `from_targets` makes them of targets.

    Raises:
      ValueError: a shape that does not fit, a value that is not finite or not a probability; the message names
        the argument, what it holds, and what is allowed.
    """

    inputs: FloatArray
    p_y_given_x: FloatArray
    p_x: FloatArray | None = None
    targets: FloatArray | None = None
    target_edges: tuple[tuple[float, ...], ...] | None = dataclasses.field(default=None, init=False, repr=False)
    _log_odds: FloatArray | None = dataclasses.field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        inputs = floats("inputs", self.inputs)
        if inputs.ndim < 2 or len(inputs) < 2 or inputs.size == 0:
            raise ValueError(
                f"inputs has shape {inputs.shape}; allowed: (N, F) or (N, ...) with at least 2 patterns and 1 feature"
            )
        n = len(inputs)
        arrays = {"inputs": inputs, "p_y_given_x": probability.checked_conditional(self.p_y_given_x, n)}
        if self.p_x is not None:
            arrays["p_x"] = probability.checked_marginal(self.p_x, n)
        if self.targets is not None:
            arrays["targets"] = _checked_targets(self.targets, n)
        for name, array in arrays.items():
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    def __repr__(self) -> str:
        weights = "" if self.p_x is None else ", p_x given"
        targets = "" if self.targets is None else f", targets {self.targets.shape}"
        return (
            f"Dataset(inputs {self.inputs.shape}, p_y_given_x {self.p_y_given_x.shape}{weights}{targets}, "
            f"I(X;Y) {self.information:.4g} bits)"
        )

    @classmethod
    def from_log_odds(cls, inputs: npt.ArrayLike, log_odds: npt.ArrayLike, p_x: npt.ArrayLike | None = None) -> Dataset:
        """A binary task whose p(y=1|x) = 1/(1 + exp(-log_odds)) may lie nearer to 0 or 1 than float64 can tell.

        Networks see the same as with `p_y_given_x`. `conditional` and `joint`, from which the bottleneck is computed,
        hold the probability of the less likely label to all digits, so patterns that differ in it stay apart.

        Args:
          inputs, p_x: as of `Dataset`.
          log_odds: (N,) ln p(y=1|x)/p(y=0|x); infinite for hard labels.

        Raises:
          ValueError: as `Dataset` does; NaN among the log-odds.
        """
        odds = np.array(log_odds, np.float64)
        if odds.ndim != 1 or np.isnan(odds).any():
            nans = int(np.isnan(odds).sum())
            raise ValueError(f"log_odds has shape {odds.shape} and {nans} NaN; allowed: (N,) numbers, also infinite")
        dataset = cls(np.asarray(inputs), 0.5 * (1 + np.tanh(0.5 * odds)), None if p_x is None else np.asarray(p_x))
        odds.flags.writeable = False
        object.__setattr__(dataset, "_log_odds", odds)
        return dataset

    @classmethod
    def from_targets(
        cls,
        inputs: npt.ArrayLike,
        targets: npt.ArrayLike,
        *,
        bins: int | Sequence[float] = 10,
        p_x: npt.ArrayLike | None = None,
    ) -> Dataset:
        """A regression: numbers to be learnt by `Config(loss="mean_squared_error", output="linear")`.

        I(T;Y) is that of Y = the cell of the target, as the information a deterministic real target gives of X has no
        bound but H(X): it depends on the cells, which `target_edges` states, and a run's file with it.

        Args:
          inputs, p_x: as of `Dataset`.
          targets: (N,) or (N, D) float.
          bins: an int: so many cells for each of the D numbers, with equally many patterns in each as far as ties
            allow; or the inner edges of the cells, increasing, the same for each number: a value at an edge lies in the
            upper cell. Where D > 1, Y is the tuple of the cells.

        Raises:
          TypeError, ValueError: as `Dataset` does; bins that are neither, or leave all patterns in one cell.
        """
        numbers = _checked_targets(targets, len(np.asarray(inputs)))
        if (numbers == numbers[0]).all():
            raise ValueError(f"targets are all {numbers[0].tolist()}; allowed: at least 2 different ones")
        edges = tuple(_inner_edges(column, bins) for column in numbers.T)
        cells = np.stack(
            [np.searchsorted(inner, column, side="right") for inner, column in zip(edges, numbers.T, strict=True)], 1
        )
        found, labels = np.unique(cells, axis=0, return_inverse=True)
        if len(found) < 2:
            raise ValueError(f"bins = {bins!r} leave all targets in one cell; allowed: cells that tell them apart")
        one_hot = np.eye(len(found))[labels.reshape(-1)]
        p_y_given_x = one_hot[:, 1] if len(found) == 2 else one_hot
        dataset = cls(np.asarray(inputs), p_y_given_x, None if p_x is None else np.asarray(p_x), numbers)
        object.__setattr__(dataset, "target_edges", edges)
        return dataset

    @property
    def n_patterns(self) -> int:
        """N."""
        return len(self.inputs)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The axes of one input: (F,) of a row of features, (height, width, channels) of an image."""
        return self.inputs.shape[1:]

    @property
    def n_features(self) -> int:
        """F, the product of `input_shape`."""
        return math.prod(self.input_shape)

    @property
    def n_classes(self) -> int:
        """C; 2 when `p_y_given_x` is (N,)."""
        return 2 if self.p_y_given_x.ndim == 1 else int(self.p_y_given_x.shape[1])

    @property
    def conditional(self) -> FloatArray:
        """p(y|x) as (N, C), whichever way it was given, its small values as exact as is known."""
        if self._log_odds is None:
            return self._given
        return np.stack([special.expit(-self._log_odds), special.expit(self._log_odds)], axis=1)

    @property
    def log_odds(self) -> FloatArray | None:
        """(N,) ln p(y=1|x)/p(y=0|x) of a binary label, infinite where it is certain; None for more classes."""
        if self._log_odds is not None or self.n_classes > 2:
            return self._log_odds
        with np.errstate(divide="ignore"):
            logs = np.log(self.conditional)
        return np.asarray(logs[:, 1] - logs[:, 0])

    @property
    def _given(self) -> FloatArray:
        """p(y|x) as (N, C) from `p_y_given_x`: what runs are trained and measured with, whatever else is known."""
        return probability.conditional_rows(self.p_y_given_x)

    @property
    def marginal(self) -> FloatArray:
        """p(x), (N,)."""
        return np.full(self.n_patterns, 1.0 / self.n_patterns) if self.p_x is None else self.p_x

    @property
    def joint(self) -> FloatArray:
        """p(x, y), (N, C); what `ibjax.information_curve` takes."""
        return self.conditional * self.marginal[:, None]

    @property
    def _given_joint(self) -> FloatArray:
        """`joint`, of `_given`."""
        return self._given * self.marginal[:, None]

    @cached_property
    def sha256(self) -> str:
        """What tells two data sets apart: a hash of their arrays, 64 hexadecimal digits."""
        arrays = (self.inputs, self._given, self.marginal, *(() if self.targets is None else (self.targets,)))
        parts = [repr((a.shape, self.p_x is None)).encode() + a.tobytes() for a in arrays]
        return hashlib.sha256(b"".join(parts)).hexdigest()

    @cached_property
    def h_x(self) -> float:
        """H(X) in bits, of the distinct patterns."""
        return probability.entropy(self._distinct_joint().sum(axis=1))

    @property
    def h_y(self) -> float:
        """H(Y) in bits."""
        return probability.entropy(self._given_joint.sum(axis=0))

    @cached_property
    def information(self) -> float:
        """I(X;Y) in bits."""
        return probability.mutual_information(self._distinct_joint())

    def with_random_labels(self, seed: int) -> Dataset:
        """The same patterns with labels that say nothing of them: hard, uniform over the classes, drawn once.

        Patterns that occur twice get one label, so that the labels stay a function of X (Zhang et al. 2017 train
        networks on such ones).

        Args:
          seed: of the draw.

        Raises:
          ValueError: the data set has targets.
        """
        if self.targets is not None:
            raise ValueError("with_random_labels of a data set with targets; allowed: one whose labels are learnt")
        index = self._distinct
        drawn = np.random.default_rng(seed).integers(0, self.n_classes, index.max() + 1)[index]
        one_hot = np.eye(self.n_classes)[drawn]
        return dataclasses.replace(self, p_y_given_x=one_hot[:, 1] if self.p_y_given_x.ndim == 1 else one_hot)

    def restricted(self, masks: npt.NDArray[np.bool_]) -> tuple[FloatArray, FloatArray]:
        """H(X) and I(X;Y) in bits, (S,) each, where X is drawn from some of the patterns only.

        Args:
          masks: (S, N) bool, which patterns; p(x) keeps its proportions among them.
        """
        index, entropies = self._distinct, []
        for mask in masks:
            joint = probability.sum_by(index, self._given_joint * mask[:, None])
            joint /= joint.sum()
            entropies.append((probability.entropy(joint.sum(axis=1)), probability.mutual_information(joint)))
        h_x, i_xy = np.array(entropies).reshape(-1, 2).T
        return h_x, i_xy

    @cached_property
    def _distinct(self) -> npt.NDArray[np.intp]:
        """The number of each pattern's value of X, (N,)."""
        rows = self.inputs.reshape(self.n_patterns, -1)
        return np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)

    def _distinct_joint(self) -> FloatArray:
        """p(x, y) over the distinct patterns, (N' <= N, C)."""
        return probability.sum_by(self._distinct, self._given_joint)


def _checked_targets(targets: npt.ArrayLike, n: int) -> FloatArray:
    """(N, D) float64, a copy."""
    array = floats("targets", targets)
    if array.ndim not in (1, 2) or len(array) != n or array.size == 0:
        raise ValueError(f"targets has shape {array.shape}; allowed: ({n},) or ({n}, D)")
    return array.reshape(n, -1)


def _inner_edges(column: FloatArray, bins: int | Sequence[float]) -> tuple[float, ...]:
    """Increasing."""
    if isinstance(bins, int | np.integer) and not isinstance(bins, bool):
        if bins < 2:
            raise ValueError(f"bins = {bins}; allowed: at least 2")
        inner = np.unique(np.quantile(column, np.arange(1, bins) / bins, method="higher"))
        return tuple(inner[inner > column.min()].tolist())
    if isinstance(bins, str | int) or not isinstance(bins, Iterable):
        raise TypeError(f"bins = {bins!r}; allowed: an integer, or the inner edges of the cells")
    inner = floats("bins", list(bins))
    if inner.ndim != 1 or not inner.size or (np.diff(inner) <= 0).any():
        raise ValueError(f"bins = {bins!r}; allowed: at least one inner edge, in increasing order")
    return tuple(inner.tolist())
