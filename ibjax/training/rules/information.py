r"""Relaxation on the information itself: an energy that no gradient could follow.

    E = loss + lambda (I(X;T) - beta I(T;Y))

with the training loss in nats, and the informations of one layer, in bits, in the run's own cells, of the training
patterns alone: X is evenly one of them, Y its label. The histogram's value is exact and constant between its steps, so
it has no gradient; a walk needs none.

The first half of the paper's conclusion asks for Monte-Carlo relaxation in place of SGD; that the energy itself may
then be the bottleneck's Lagrangian is ibjax's own step, and no result of the paper.

Shapes: P parameters, B patterns of a batch, U units.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from ibjax.information import partition
from ibjax.information.histogram import layer_by_layer
from ibjax.networks.protocol import Model
from ibjax.training.rules.base import Batch
from ibjax.training.rules.metropolis import Energy


def energy(
    model: Model,
    loss: Callable[[Array, Array], Array],
    layer: int,
    n_classes: int,
    bins: int,
    compat: str | None,
    strength: float,
    beta: float,
) -> Energy:
    """The energy of the module.

    Args:
      model: the network; its loss and its layer come from one forward pass.
      loss: of each pattern.
      layer: number of the layer.
      n_classes: of the labels.
      bins, compat: the cells, as in `ibjax.Config`.
      strength: lambda, nats a bit.
      beta: of the Lagrangian.
    """

    def of(params: Array, batch: Batch) -> Array:
        logits, activations = model.evaluate(params, batch.inputs)
        weight = batch.present.astype(logits.dtype)
        mean = jnp.sum(weight * loss(logits, batch.labels)) / jnp.sum(weight)
        given = jax.nn.one_hot(batch.labels, n_classes, dtype=logits.dtype)
        channels = partition.channels(given, weight / jnp.sum(weight), logits.dtype)
        one = activations[layer][:, None]  # (U, 1, B)
        i_xt, i_ty, _, _ = layer_by_layer([one], channels, bounded=(model.bounded[layer],), bins=bins, compat=compat)
        return mean + strength * (i_xt[0, 0] - beta * i_ty[0, 0])

    return of
