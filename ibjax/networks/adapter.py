"""Any network that a user may pass to `ibjax.run`, as a `Model`: modules of flax, two functions, or the built-in one.

Shapes: B patterns of a batch, U units of a layer, C classes; ... the axes of one input pattern.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from ibjax.data.dataset import Dataset
from ibjax.networks.capture import Captured
from ibjax.networks.contract import Functions, check_contract
from ibjax.networks.modules import from_linen, from_nnx, in_order, is_linen
from ibjax.networks.perceptron import Perceptron
from ibjax.networks.protocol import Apply, Model, Network, Params, some_key


def as_model(network: Any, dataset: Dataset, dtype: jnp.dtype, n_numbers: int | None = None) -> Model:
    """A network as a `Model`, checked against the contract unless it is the built-in one; nothing is compiled.

    Args:
      network: a `Perceptron`; a flax linen module or an object with `init(key, inputs)` and `apply(params, inputs)`;
        or a callable `rngs -> nnx.Module`. Each gives `(logits, activations)`; in a `Captured`, logits alone.
      dataset: what the network is to learn.
      dtype: of its inputs.
      n_numbers: how many it is to give of a pattern in place of logits of the classes.

    Raises:
      TypeError: none of these, a class or one nnx.Module in their place, or see `check_contract`.
      ValueError: a callable that makes no module, or see `check_contract`.
    """
    if isinstance(network, Perceptron):
        return network.model
    captured = None
    if isinstance(network, Captured):  # layers are found anew for each data set
        captured = dataclasses.replace(network, numbers=n_numbers is not None, found=[])
    network = network if captured is None else captured.network
    if isinstance(network, type) and isinstance(network, Network):
        raise TypeError(f"network = {network.__name__}, a class; allowed: an instance of it, {network.__name__}(...)")
    sample = dataset.inputs[:2].astype(dtype)
    if is_linen(network):
        functions = from_linen(network, captured, sample)
    elif isinstance(network, Network):
        if captured is not None:
            raise TypeError(f"network = capture({network!r}); allowed: a flax module")
        functions = Functions(lambda key: in_order(network.init(key, jnp.asarray(sample))), network.apply)
    elif callable(network):
        functions = from_nnx(network, captured)
    else:
        raise TypeError(
            f"network = {network!r}; allowed: a flax linen module, a callable rngs -> nnx.Module, or an object with "
            "init(key, inputs) and apply(params, inputs) -> (logits, activations)"
        )
    widths = check_contract(functions, dataset, dtype, n_numbers)
    return Model(
        functions.init,
        patterns_last(functions.apply),
        layer_names=_layer_names(functions.init, len(widths)) if captured is None else tuple(captured.found),
        layer_widths=tuple(widths),
        bounded=(False,) * len(widths),
        statistics=functions.statistics,
        in_training=None if functions.in_training is None else _training_last(functions.in_training),
    )


def patterns_last(apply: Apply) -> Callable[..., tuple[Array, list[Array]]]:
    """`Model.forward` of a function whose patterns come first; layers of several axes become one axis of units."""

    def forward(params: Params, inputs: Array, *noise: Any) -> tuple[Array, list[Array]]:
        logits, activations = apply(params, jnp.moveaxis(inputs, -1, 0), *noise)
        return logits.T, [a.reshape(len(a), -1).T for a in activations]

    return forward


def _training_last(in_training: Callable[..., tuple[Array, Params]]) -> Callable[..., tuple[Array, Params]]:
    """`Model.in_training` of a function whose patterns come first."""

    def last(params: Params, statistics: Params, inputs: Array, key: Array) -> tuple[Array, Params]:
        logits, after = in_training(params, statistics, jnp.moveaxis(inputs, -1, 0), key)
        return logits.T, after

    return last


def _layer_names(init: Callable[[Array], Params], count: int) -> tuple[str, ...]:
    """Names of the groups of parameters with a kernel, where there is one a layer; else layer_1 ... output."""
    params = jax.eval_shape(init, some_key())
    while isinstance(params, Mapping) and len(params) == 1 and "params" in params:  # a flax variable collection
        params = params["params"]
    groups = params.items() if isinstance(params, Mapping) else ()
    names = tuple(str(name) for name, group in groups if any(a.ndim >= 2 for a in jax.tree.leaves(group)))
    if len(names) == count == len(set(names)) and all(name and name.isprintable() for name in names):
        return names
    return (*(f"layer_{i}" for i in range(1, count)), "output")
