"""One estimator applied to every layer of a block of networks: a program of its own beside those of the run.

Being its own program, it leaves the bits of the run's histogram alone, and gives the same bits whether the networks are
still in training or read from a file (`ibjax.measure`).

Shapes: K seeds of a block, P parameters, L layers, N patterns, F features, C classes, U units, R rows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import Array

from ibjax.information import partition
from ibjax.information.estimator import Estimator, Information, LayerBatch
from ibjax.networks.protocol import Model, Params
from ibjax.training.trainer import Sample

_STREAM = 0xE571_3A7E
"""Sets the keys of the estimators apart from those of the batch orders, whose numbers are epochs, at most 10^9."""


class Estimate:
    """What an estimator says of all layers.

    Args:
      estimator: which.
      model, unravel: the network, and its parameters from a vector.
      names, widths, bounded: of each layer; bounded where activations keep within [-1, 1].
      n_patterns: N.
      p_x: (N,), or None for uniform.

    Attributes:
      estimator: as given.
      rows: what the result holds: "i_xt", "i_ty" and, of a Monte-Carlo estimate, "i_xt_error", "i_ty_error".

    Raises:
      ValueError: a layer is out of the estimator's reach; names the layer.
    """

    def __init__(
        self,
        estimator: Estimator,
        *,
        model: Model,
        unravel: Callable[[Array], Params],
        names: Sequence[str],
        widths: Sequence[int],
        bounded: Sequence[bool],
        n_patterns: int,
        p_x: npt.NDArray[Any] | None,
    ) -> None:
        self.estimator = estimator
        self._model, self._unravel, self._p_x = model, unravel, p_x
        self._of_layers = []
        for name, width, within in zip(names, widths, bounded, strict=True):
            try:
                self._of_layers.append(estimator.for_layer(width, n_patterns, within))
            except ValueError as error:
                raise ValueError(f"estimator {estimator.name!r}, layer {name}: {error}") from error
        self.rows = self._rows(widths[-1], n_patterns)

    def _rows(self, width: int, n: int) -> tuple[str, ...]:
        """Which fields are not None, from the last layer alone: all are treated alike."""

        def one(activations: Array, conditional: Array, seeds: Array) -> Information:
            p_x = None if self._p_x is None else jnp.asarray(self._p_x)
            channels = partition.channels(conditional, p_x, activations.dtype)
            return self._of_layers[-1](LayerBatch(activations, channels, jax.vmap(jax.random.key)(seeds)))

        shaped = jax.ShapeDtypeStruct
        found = jax.eval_shape(
            one, shaped((1, n, width), jnp.float32), shaped((n, 2), jnp.float32), shaped((1,), jnp.uint32)
        )
        return tuple(row for row, value in found._asdict().items() if value is not None)

    def __call__(self, sample: Sample, params: Array, epoch: Array, inputs: Array, conditional: Array) -> Array:
        """All layers of a block, bits, for use inside `jit`.

        Args:
          sample: of the block; its seeds are known by their keys.
          params: (K, P).
          epoch: () int32; a random estimator draws anew at each.
          inputs: (N, F).
          conditional: (N, C).

        Returns:
          (K, R, L).
        """
        axis = self._model.patterns_axis
        patterns = inputs if axis == 0 else inputs.T
        _, activations = jax.vmap(self._model.forward, in_axes=(0, None))(jax.vmap(self._unravel)(params), patterns)
        p_x = None if self._p_x is None else jnp.asarray(self._p_x)
        channels = partition.channels(conditional, p_x, inputs.dtype)
        fold = jax.vmap(jax.random.fold_in, in_axes=(0, None))
        keys = fold(fold(sample.order, np.uint32(_STREAM)), epoch)
        found = []
        for number, (layer, estimator) in enumerate(zip(activations, self._of_layers, strict=True)):
            patterns_first = layer if axis == 0 else jnp.swapaxes(layer, 1, 2)
            of_layer = estimator(LayerBatch(patterns_first, channels, fold(keys, number)))
            found.append(jnp.stack([getattr(of_layer, row) for row in self.rows], axis=1))
        return jnp.stack(found, axis=2)


def described(estimator: Estimator) -> dict[str, Any]:
    """An estimator as the configuration of a file tells it: what its values are, and its options."""
    options = dataclasses.asdict(estimator)  # type: ignore[call-overload]  # a protocol cannot say "dataclass"
    return {"i_xt": estimator.i_xt_is, "i_ty": estimator.i_ty_is, "options": options}
