"""Whatever a user may pass as `network`, as a `Model`: modules of flax, or two functions.

Shapes: B patterns of a batch, F input features, U units of a layer, C classes.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ibjax.networks.perceptron import Perceptron
from ibjax.networks.protocol import Model, Network, Params


def as_model(network: Any, sample: np.ndarray) -> Model:
    """Whatever a user may pass as `network`, as a `Model`.

    Args:
      network: a `Perceptron`; a flax linen module or an object with `init(key, inputs)` and `apply(params, inputs)`;
        or a callable `rngs -> nnx.Module`. Each gives `(logits, activations)`.
      sample: (B, F) inputs for the initialisation.

    Raises:
      TypeError: none of these.
      ValueError: a callable that makes no module.
    """
    if isinstance(network, Perceptron):
        hidden = network.widths[1:-1]
        if network.wide:
            return Model(network.init, network.rows, 0, hidden)
        return Model(network.init, network.forward, 1, hidden)
    if isinstance(network, Network):

        def init(key: Array) -> Params:
            return _in_order(network.init(key, jnp.asarray(sample)))

        return Model(init, network.apply, 0, names=_kernel_names(init))
    if callable(network):
        return _from_nnx(network)
    raise TypeError(
        f"network = {network!r}; allowed: a flax linen module, a callable rngs -> nnx.Module, or an object with "
        "init(key, inputs) and apply(params, inputs) -> (logits, activations)"
    )


def _in_order(params: Params) -> Params:
    """The same with every dictionary as an `OrderedDict`: jax sorts the keys of others, and with them the layers."""
    if not isinstance(params, Mapping):
        return params
    return collections.OrderedDict((name, _in_order(part)) for name, part in params.items())


def _kernel_names(init: Callable[[Array], Params]) -> tuple[str, ...] | None:
    """Names of the groups of parameters whose kernels `gradients.kernels` finds; None where they have none."""
    try:
        params = jax.eval_shape(init, jax.eval_shape(lambda: jax.random.key(0)))
    except Exception:  # said in full by `check_contract`
        return None
    while isinstance(params, Mapping) and len(params) == 1 and "params" in params:  # a flax variable collection
        params = params["params"]
    if not isinstance(params, Mapping):
        return None
    return tuple(str(name) for name, group in params.items() if any(a.ndim >= 2 for a in jax.tree.leaves(group)))


def _from_nnx(factory: Callable[[Any], Any]) -> Model:
    from flax import nnx

    try:
        module = nnx.eval_shape(lambda: factory(nnx.Rngs(0)))
    except Exception as error:
        raise ValueError(f"network(rngs) makes no nnx.Module: {type(error).__name__}: {error}") from error
    if not isinstance(module, nnx.Module):
        raise ValueError(f"network(rngs) makes a {type(module).__name__}; allowed: an nnx.Module")
    graph, _ = nnx.split(module)

    def init(key: Array) -> Params:
        module = factory(nnx.Rngs(key))
        state = nnx.split(module)[1]
        # nnx sorts by name; what a module holds is told in the order in which it was made.
        return collections.OrderedDict((name, state[name]) for name in vars(module) if name in state)

    def forward(params: Params, inputs: Array) -> tuple[Array, list[Array]]:
        logits, activations = nnx.merge(graph, nnx.State(dict(params)))(inputs)
        return logits, activations

    return Model(init, forward, 0, names=_kernel_names(init))
