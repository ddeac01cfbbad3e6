"""What a network must be: the protocol for users, and its form inside the library.

Shapes: B patterns of a batch, U units of a layer, C classes, P parameters, Q statistics; ... the axes of one input
pattern.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree

Params = Any  # a pytree of arrays
Apply = Callable[[Params, Array], tuple[Array, list[Array]]]


@runtime_checkable
class Network(Protocol):
    """What `ibjax.run(network=...)` trains: two pure functions of one network."""

    def init(self, key: Array, inputs: Array) -> Params:
        """Parameters drawn with `key`, for inputs like `inputs` (B, ...)."""

    def apply(self, params: Params, inputs: Array) -> tuple[Array, list[Array]]:
        """Logits (B, C), or (B, 1) of a binary label, and the activations of each layer, (B, U) or (B, ...)."""


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """A network as the library sees it: **patterns are on the last axis of every array**.

    The built-in network is several times faster so (see `perceptron`); a user's network, whose patterns come first, is
    turned once, in `adapter`.

    Attributes:
      init: key -> params.
      forward: params, inputs (..., B) -> logits (C, B), activations (U, B) of each layer, as they are measured; where
        `hidden` is not None, also with a third argument, an array (U, B) of noise for each hidden layer; where
        `statistics` is not None, params are the pair (params, statistics).
      layer_names: L names.
      layer_widths: U of each layer; the units of a layer with several axes are counted together.
      bounded: of each layer, whether its activations stay within [-1, 1], the range of the paper's bins.
      hidden: widths of the hidden layers to whose activations noise can be added; None where it cannot.
      units: as `forward`, computed unit by unit (see `units`) for devices where launches cost more than arithmetic;
        None where the network is only to be had by layers.
      statistics: key -> what the network keeps beside its parameters and no gradient changes, such as the running means
        of batch norm; None where it keeps nothing.
      in_training: params, statistics, inputs (..., B), key -> logits (C, B), new statistics: the network in training,
        where that is another function (batch norm, dropout); None where it is `forward`.
    """

    init: Callable[[Array], Params]
    forward: Callable[..., tuple[Array, list[Array]]]
    layer_names: tuple[str, ...]
    layer_widths: tuple[int, ...]
    bounded: tuple[bool, ...]
    hidden: tuple[int, ...] | None = None
    units: Callable[..., tuple[Array, list[Array]]] | None = None
    statistics: Callable[[Array], Params] | None = None
    in_training: Callable[..., tuple[Array, Params]] | None = None

    def evaluate(self, weights: Array, inputs: Array) -> tuple[Array, list[Array]]:
        """`forward` of the network whose parameters and statistics are one vector, (P + Q,)."""
        if self.statistics is None:
            return self.forward(self.unravel(weights), inputs)
        params, statistics = jnp.split(weights, [self.n_params])
        return self.forward((self.unravel(params), self.unravel_statistics(statistics)), inputs)

    @cached_property
    def unravel(self) -> Callable[[Array], Params]:
        """The vector (P,) of all parameters as the network's tree; nothing is drawn."""
        return _unravel(self._tree)

    @cached_property
    def unravel_statistics(self) -> Callable[[Array], Params]:
        """The vector (Q,) of all statistics as the network's tree; nothing is drawn."""
        return _unravel(self._statistics)

    @cached_property
    def places(self) -> Params:
        """Where each parameter stands in the vector: the network's tree, of NumPy arrays of int."""
        leaves, structure = jax.tree.flatten(self._tree)
        parts = np.split(np.arange(self.n_params), np.cumsum([leaf.size for leaf in leaves])[:-1])
        shaped = [part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)]
        return jax.tree.unflatten(structure, shaped)

    @property
    def n_params(self) -> int:
        """P."""
        return sum(leaf.size for leaf in jax.tree.leaves(self._tree))

    @property
    def n_weights(self) -> int:
        """P + Q: what `evaluate` takes, and a run stores."""
        return self.n_params + sum(leaf.size for leaf in jax.tree.leaves(self._statistics))

    @cached_property
    def _tree(self) -> Params:
        """Shapes and dtypes of the parameters."""
        return jax.eval_shape(self.init, some_key())

    @cached_property
    def _statistics(self) -> Params:
        """Shapes and dtypes of the statistics."""
        return None if self.statistics is None else jax.eval_shape(self.statistics, some_key())


def some_key() -> jax.ShapeDtypeStruct:
    """A key, to trace with."""
    return jax.eval_shape(lambda: jax.random.key(0))


def _unravel(tree: Params) -> Callable[[Array], Params]:
    found: list[Callable[[Array], Params]] = []
    # Traced, as concatenating zeros would compile a program for each shape before a run can be refused.
    jax.eval_shape(lambda tree: found.append(ravel_pytree(tree)[1]), tree)
    return found[0]
