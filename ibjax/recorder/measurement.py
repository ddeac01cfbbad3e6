"""Estimators on the layers of a foreign network: what a log measures.

Shapes: S seeds, N patterns, U units of a layer.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import Array

from ibjax.information.apply import apply, information_of
from ibjax.information.cells.bins import activation_range
from ibjax.information.cells.table import representatives
from ibjax.information.cells.words import pack_rows
from ibjax.information.estimator import (
    Estimator,
    Information,
    check_inputs,
    for_named_layer,
    of_specification,
    specifications,
)
from ibjax.information.histogram import Histogram
from ibjax.information.partition import channels, partition_information
from ibjax.probability import FloatArray

_STREAM = np.uint32(0x2EC0_2DE2)  # sets the keys of a recorder's estimators apart from any others of a seed


def estimators_of(value: Any, bins: int) -> tuple[Estimator, ...]:
    """The estimators of a recorder, the histogram with `bins` cells.

    Raises:
      ValueError, TypeError: unknown ones, or options that are not allowed.
    """
    histogram = Histogram(bins=bins)
    found = specifications("estimators", value, histogram="the argument bins, which the histogram takes")
    if not found:
        raise ValueError("estimators is empty; allowed: at least one, such as ('histogram',)")
    return tuple(histogram if text == "histogram" else of_specification(text) for text in found)


class LayerMeasurement:
    """What all estimators say of a layer.

    Args:
      estimators: the first gives the trajectory's `i_xt` and `i_ty`.
      p_y_given_x: (N,) or (N, C).
      p_x: (N,), or None for uniform.
      seeds: S numbers, from which random estimators draw.
      inputs: (N, features) the patterns themselves, or None where no estimator needs them.

    Raises:
      TypeError: an estimator needs the inputs.
    """

    def __init__(
        self,
        estimators: tuple[Estimator, ...],
        p_y_given_x: FloatArray,
        p_x: FloatArray | None,
        seeds: tuple[int, ...],
        inputs: FloatArray | None,
    ) -> None:
        for estimator in estimators:
            check_inputs(estimator, inputs)
        self._estimators, self._p_y_given_x, self._p_x, self._inputs = estimators, p_y_given_x, p_x, inputs
        self._keys = jax.vmap(lambda seed: jax.random.fold_in(jax.random.key(seed), _STREAM))(
            jnp.asarray(seeds, jnp.uint32)
        )

    def check(self, name: str, width: int, *, bounded: bool) -> None:
        """Refuses a layer that is out of an estimator's reach.

        Raises:
          ValueError: names the layer, the estimator and its limit.
        """
        for estimator in self._estimators:
            for_named_layer(estimator, repr(name), width, len(self._p_y_given_x), bounded)

    def __call__(self, array: Any, place: tuple[int, int], *, bounded: bool) -> dict[str, npt.NDArray[Any]]:
        """One layer, by the trajectory's keys, (S,) each.

        Args:
          array: (S, N, U).
          place: the epoch and the number of the layer, at which a random estimator draws anew.
          bounded: whether its activations keep within [-1, 1].

        Returns:
          NaN for networks of which an activation is not finite.
        """
        keys = self._keys
        for number in place:
            keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, number)

        def all_of(layers: Array, conditional: Array, marginal: Array | None) -> dict[str, Array]:
            (a,) = layers
            values: dict[str, Array] = {}
            for key, estimator in self._named():
                chosen: Any = estimator.for_layer(a.shape[2], a.shape[1], bounded)
                if isinstance(chosen, Histogram):
                    bits, values["singleton_share"], low, high = _by_cells(chosen, a, conditional, marginal)
                    if not bounded:
                        values |= {"range_low": low, "range_high": high}
                else:
                    inputs = jnp.asarray(self._inputs, a.dtype) if chosen.needs_inputs else None
                    bits = information_of(chosen, a, conditional, marginal, keys, inputs)
                values |= {f"{row}{key}": getattr(bits, row) for row in estimator.rows}
            finite = jnp.isfinite(a).all(axis=(1, 2))  # of other activations nothing is known
            return {key: jnp.where(finite, value, jnp.nan) for key, value in values.items()}

        # With an axis before: as many seeds as patterns could be read in two ways.
        found = apply(all_of, array[None], self._p_y_given_x, self._p_x)
        return {key: np.asarray(value) for key, value in found.items()}

    def _named(self) -> Iterator[tuple[str, Estimator]]:
        """Estimators with what is added to their keys: nothing to those of the first."""
        for number, estimator in enumerate(self._estimators):
            yield (f"_{estimator.name}" if number else ""), estimator


@functools.partial(jax.jit, static_argnums=0)
def _by_cells(
    histogram: Histogram, a: Array, p_y_given_x: Array, p_x: Array | None
) -> tuple[Information, Array, Array, Array]:
    """What the histogram says of layers (S, N, U), whose cells are found once for all of it.

    Returns:
      Bits; the share of the cells that hold one pattern; and the ends of the layer's range; (S,) each.
    """
    cell = representatives(pack_rows(histogram.codes(a), histogram.bins), histogram.bins ** a.shape[-1])
    bits = partition_information(cell, channels(p_y_given_x, p_x, a.dtype))
    counts = jax.vmap(lambda of: jnp.zeros(len(of), jnp.int32).at[of].add(1))(cell)
    share = (counts == 1).sum(axis=1) / (counts > 0).sum(axis=1)
    low, high = activation_range(a, (1, 2))
    return Information(*bits), share.astype(a.dtype), low[:, 0, 0], high[:, 0, 0]
