"""Minibatch gradients of a foreign loop: the norms of their mean and of their standard deviation, layer by layer.

Shapes: S seeds, M minibatches; ... the axes of a layer's kernel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ibjax._checks import unknown
from ibjax.recorder.arrays import as_array

FloatArray = npt.NDArray[np.float64]


class GradientSpread:
    """Running moments of the gradients of each layer since `clear`, by Welford's recurrence as in a run.

    Args:
      n_seeds: S.
      seed_axis: whether gradients come with a leading seed axis.

    Attributes:
      seen: how many minibatches.
    """

    def __init__(self, n_seeds: int, *, seed_axis: bool) -> None:
        self._n_seeds, self._seed_axis = n_seeds, seed_axis
        self.clear()

    def clear(self) -> None:
        """Forget all gradients."""
        self.seen = 0
        self._mean: dict[str, FloatArray] = {}
        self._deviations: dict[str, FloatArray] = {}

    def add(self, gradients: Mapping[str, Any], field: str = "gradients") -> None:
        """The gradients of one minibatch, by layer, (...) each, or (S, ...); `field` names them in messages.

        Raises:
          ValueError: other layers or shapes than before. TypeError: no mapping of arrays.
        """
        if by_layer(field, gradients) is None:
            return
        flat = {name: self._flat(f"{field}[{name!r}]", value) for name, value in gradients.items()}
        shapes = {name: array.shape for name, array in flat.items()}
        if self.seen and shapes != (before := {name: array.shape for name, array in self._mean.items()}):
            raise ValueError(f"gradients are of {shapes}; allowed: {before}, as at the minibatch before")
        self.seen += 1
        for name, gradient in flat.items():
            mean = self._mean.get(name, np.zeros_like(gradient))
            self._mean[name] = mean + (gradient - mean) / self.seen
            spread = (gradient - mean) * (gradient - self._mean[name])
            self._deviations[name] = self._deviations.get(name, 0.0) + spread

    def _flat(self, name: str, value: Any) -> FloatArray:
        array = np.asarray(as_array(name, value), np.float64)
        if not self._seed_axis:
            return array.reshape(1, -1)
        if array.ndim == 0 or len(array) != self._n_seeds:
            raise ValueError(f"{name} has shape {array.shape}; allowed: ({self._n_seeds} seeds, ...)")
        return array.reshape(self._n_seeds, -1)

    def norms(self, field: str, layers: Sequence[str]) -> tuple[FloatArray, FloatArray]:
        """Norms of the mean and of the population standard deviation, (S, L) each; NaN for layers that have none.

        Args:
          field: what the gradients are called in a message.
          layers: L names.

        Raises:
          ValueError: gradients of a layer that is none of them.
        """
        for name in self._mean:
            if name not in layers:
                raise ValueError(unknown(field, name, tuple(layers)))
        found = np.full((2, self._n_seeds, len(layers)), np.nan)
        for place, name in enumerate(layers):
            if name in self._mean:
                found[0, :, place] = np.sqrt(np.square(self._mean[name]).sum(axis=1))
                found[1, :, place] = np.sqrt(self._deviations[name].sum(axis=1) / self.seen)
        return found[0], found[1]


def stacked(gradients: Mapping[str, Any], n_seeds: int, *, seed_axis: bool) -> GradientSpread:
    """The moments of minibatch gradients given together, by layer, (M, ...), or (S, M, ...).

    Raises:
      ValueError: other numbers of minibatches for other layers, or 0.
    """
    moments, axis = GradientSpread(n_seeds, seed_axis=seed_axis), 1 if seed_axis else 0
    arrays = {name: np.asarray(as_array(f"gradients[{name!r}]", value)) for name, value in gradients.items()}
    counts = {value.shape[axis] if value.ndim > axis else 0 for value in arrays.values()}
    if len(counts) != 1 or 0 in counts:
        raise ValueError(f"gradients are of {sorted(counts)} minibatches; allowed: one number for all layers, not 0")
    for place in range(counts.pop()):
        moments.add({name: np.take(value, place, axis) for name, value in arrays.items()})
    return moments


def kernel_norms(weights: Mapping[str, Any], layers: Sequence[str], n_seeds: int, *, seed_axis: bool) -> FloatArray:
    """Norms of the layers' kernels, (S, L); NaN for layers that have none.

    Raises:
      ValueError: a kernel of a layer that is none of them.
    """
    one = GradientSpread(n_seeds, seed_axis=seed_axis)
    one.add(weights, "weights")  # the mean of one is itself
    return one.norms("weights", layers)[0]


def by_layer(field: str, value: Any) -> Mapping[str, Any] | None:
    """Arrays by layer; None where there are none, as of a network without kernels.

    Raises:
      TypeError: no mapping.
    """
    if not isinstance(value, Mapping | None):
        raise TypeError(f"{field} = {value!r}; allowed: a dict of arrays, by layer")
    return value or None
