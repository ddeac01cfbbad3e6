"""Any network that a user may pass to `ibjax.run`, as a `Model`: modules of flax, two functions, or the built-in one.

Shapes: B patterns of a batch, U units of a layer, C classes; ... the axes of one input pattern.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from ibjax.data.dataset import Dataset
from ibjax.networks.capture import Captured
from ibjax.networks.perceptron import Perceptron
from ibjax.networks.protocol import Apply, Model, Network, Params, check_contract


class _Functions(NamedTuple):
    """A user's network as two functions, with the patterns first."""

    init: Callable[[Array], Params]
    apply: Apply


def as_model(network: Any, dataset: Dataset, dtype: jnp.dtype) -> Model:
    """A network as a `Model`, checked against the contract unless it is the built-in one; nothing is compiled.

    Args:
      network: a `Perceptron`; a flax linen module or an object with `init(key, inputs)` and `apply(params, inputs)`;
        or a callable `rngs -> nnx.Module`. Each gives `(logits, activations)`; in a `Captured`, logits alone.
      dataset: what the network is to learn.
      dtype: of its inputs.

    Raises:
      TypeError: none of these, a class or one nnx.Module in their place, or see `check_contract`.
      ValueError: a callable that makes no module, or see `check_contract`.
    """
    if isinstance(network, Perceptron):
        return network.model
    captured = network if isinstance(network, Captured) else None
    network = network if captured is None else captured.network
    if isinstance(network, type) and isinstance(network, Network):
        raise TypeError(f"network = {network.__name__}, a class; allowed: an instance of it, {network.__name__}(...)")
    if isinstance(network, Network):
        sample = dataset.inputs[:2].astype(dtype)
        apply = network.apply if captured is None else captured.apply_linen
        functions = _Functions(lambda key: _in_order(network.init(key, jnp.asarray(sample))), apply)
    elif callable(network):
        functions = _from_nnx(
            network, lambda module, x: module(x) if captured is None else captured.call_nnx(module, x)
        )
    else:
        raise TypeError(
            f"network = {network!r}; allowed: a flax linen module, a callable rngs -> nnx.Module, or an object with "
            "init(key, inputs) and apply(params, inputs) -> (logits, activations)"
        )
    widths = check_contract(*functions, dataset, dtype)
    return Model(
        functions.init,
        patterns_last(functions.apply),
        layer_names=_layer_names(functions.init, len(widths)) if captured is None else tuple(captured.found),
        layer_widths=tuple(widths),
        bounded=(False,) * len(widths),
    )


def patterns_last(apply: Apply) -> Callable[..., tuple[Array, list[Array]]]:
    """`Model.forward` of a function whose patterns come first; layers of several axes become one axis of units."""

    def forward(params: Params, inputs: Array, *noise: Any) -> tuple[Array, list[Array]]:
        logits, activations = apply(params, jnp.moveaxis(inputs, -1, 0), *noise)
        return logits.T, [a.reshape(len(a), -1).T for a in activations]

    return forward


def _in_order(params: Params) -> Params:
    """The same with every dictionary as an `OrderedDict`: jax sorts the keys of others, and with them the layers."""
    if not isinstance(params, Mapping):
        return params
    return collections.OrderedDict((name, _in_order(part)) for name, part in params.items())


def _layer_names(init: Callable[[Array], Params], count: int) -> tuple[str, ...]:
    """Names of the groups of parameters with a kernel, where there is one a layer; else layer_1 ... output."""
    params = jax.eval_shape(init, jax.eval_shape(lambda: jax.random.key(0)))
    while isinstance(params, Mapping) and len(params) == 1 and "params" in params:  # a flax variable collection
        params = params["params"]
    groups = params.items() if isinstance(params, Mapping) else ()
    names = tuple(str(name) for name, group in groups if any(a.ndim >= 2 for a in jax.tree.leaves(group)))
    if len(names) == count == len(set(names)) and all(name and name.isprintable() for name in names):
        return names
    return (*(f"layer_{i}" for i in range(1, count)), "output")


def _from_nnx(factory: Callable[[Any], Any], call: Callable[[Any, Array], Any]) -> _Functions:
    """`call` gives logits and activations of a module."""
    from flax import nnx  # here, not above: it takes a second, and most runs train the built-in network

    if isinstance(factory, nnx.Module):
        kind = type(factory).__name__
        raise TypeError(
            f"network = {kind}(...), one nnx.Module; allowed: a callable that makes one from the random numbers of a "
            f"seed, such as lambda rngs: {kind}(..., rngs=rngs)"
        )
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
        # nnx sorts by name; the layers are told in the order in which the module made them.
        return collections.OrderedDict((name, state[name]) for name in vars(module) if name in state)

    def apply(params: Params, inputs: Array) -> tuple[Array, list[Array]]:
        logits, activations = call(nnx.merge(graph, nnx.State(dict(params))), inputs)
        return logits, activations

    return _Functions(init, apply)
