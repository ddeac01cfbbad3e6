"""One estimator applied to every layer of a block of networks: a program of its own beside those of the run.

Being its own program, it leaves the bits of the run's histogram alone, and gives the same bits whether the networks are
still in training or read from a file (`ibjax.measure`).

Shapes: K seeds of a block, P parameters, Q statistics, L layers, N patterns, C classes, U units, R rows; ... the
axes of one pattern.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import Array

from ibjax.information import partition
from ibjax.information.estimator import Estimator, LayerBatch, for_named_layer
from ibjax.networks.protocol import Model
from ibjax.training.trainer import Sample

# Sets the keys of the estimators apart from those of the batch orders, whose numbers are epochs, at most 10^9.
_ESTIMATOR_STREAM = np.uint32(0xE571_3A7E)


class Measurement:
    """What an estimator says of all layers.

    Args:
      estimator: which.
      model: the network.
      n_patterns: N, those that are measured.
      p_x: (N,), or None for uniform.
      part: which of the patterns of the data set are measured.

    Attributes:
      estimator: as given.
      rows: what the result holds: "i_xt", "i_ty" and, of a Monte-Carlo estimate, "i_xt_error", "i_ty_error".

    Raises:
      ValueError: a layer is out of the estimator's reach; names the layer.
    """

    def __init__(
        self,
        estimator: Estimator,
        model: Model,
        n_patterns: int,
        p_x: npt.NDArray[Any] | None,
        part: slice = slice(None),
    ) -> None:
        self.estimator = estimator
        self._model, self._p_x, self._part = model, p_x, part
        self._of_layers = [
            for_named_layer(estimator, name, width, n_patterns, bounded)
            for name, width, bounded in zip(model.layer_names, model.layer_widths, model.bounded, strict=True)
        ]
        self.rows = estimator.rows

    @property
    def keys(self) -> tuple[str, ...]:
        """The file's keys of the rows."""
        return tuple(f"{row}_{self.estimator.name}" for row in self.rows)

    def __call__(self, sample: Sample, weights: Array, epoch: Array, inputs: Array, conditional: Array) -> Array:
        """All layers of a block, bits, for use inside `jit`.

        Args:
          sample: of the block; its seeds are known by their keys.
          weights: (K, P + Q).
          epoch: () int32; a random estimator draws anew at each.
          inputs: (M, ...) of all M patterns.
          conditional: (M, C).

        Returns:
          (K, R, L).
        """
        inputs, conditional = inputs[self._part], conditional[self._part]
        patterns = jnp.moveaxis(inputs, 0, -1)
        _, activations = jax.vmap(self._model.evaluate, in_axes=(0, None))(weights, patterns)
        p_x = None if self._p_x is None else jnp.asarray(self._p_x)
        channels = partition.channels(conditional, p_x, inputs.dtype)
        fold = jax.vmap(jax.random.fold_in, in_axes=(0, None))
        keys = fold(fold(sample.order, _ESTIMATOR_STREAM), epoch)
        found = []
        for number, (layer, estimator) in enumerate(zip(activations, self._of_layers, strict=True)):
            of_layer = estimator(LayerBatch(jnp.swapaxes(layer, 1, 2), channels, fold(keys, number), inputs))
            found.append(jnp.stack([getattr(of_layer, row) for row in self.rows], axis=1))
        return jnp.stack(found, axis=2)

    def of_some(self, count: int, sample: Sample, weights: Array, first: Array, *rest: Array) -> Array:
        """The same of the networks first, ... first + count - 1 of the block; (count, R, L)."""
        sample, weights = jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, first, count), (sample, weights))
        return self(sample, weights, *rest)
