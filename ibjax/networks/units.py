"""A multilayer perceptron unit by unit: for a GPU, where launching a kernel costs more than what narrow layers compute.

Layer by layer, every product and every activation is a kernel. Here each unit is an array of its own along the
patterns, so that a network is one long chain of elementwise work, which the compiler makes one kernel forward and one
backward; and the gradients of all weights are blocks of one product, of all activations with all deltas.

Shapes: B patterns of a batch, F input features, U units of a layer, C classes, A activations of all layers but the
last, D units of all layers.
"""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from ibjax.networks.protocol import Params

Units = list[Array]  # (B,) of each unit
Noise = Sequence[Array] | None
Saved = tuple[Callable[[Units], tuple[list[Units]]], list[Units]]  # what gives the deltas, and what each layer sees

MOST_WEIGHTS = 1024
"""Weights of a network, above which the chain takes long to compile."""

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "linear": lambda z: z,
    "softsign": jax.nn.soft_sign,
    "softplus": jax.nn.softplus,
    "arcsinh": jnp.arcsinh,
}


def forward(activation: str, params: Params, inputs: Array, noise: Noise = None) -> tuple[Array, list[Array]]:
    """Logits (C, B) and activations (U, B) of the hidden layers.

    Only the logits have a derivative, and with respect to the parameters alone.

    Args:
      activation: of the hidden layers.
      params: a list of {"kernel": (U', U), "bias": (U,)}, one of each layer.
      inputs: (F, B).
      noise: (U, B) for each hidden layer, which the next layer sees added to its activations.
    """

    @jax.custom_vjp
    def network(params: Params) -> tuple[Array, list[Array]]:
        return saving(params)[0]

    def saving(params: Params) -> tuple[tuple[Array, list[Array]], Saved]:
        # The delta of a unit is the derivative with respect to a shift of what goes into it.
        shifts = [[jnp.zeros_like(inputs[0])] * len(layer["bias"]) for layer in params]
        top, pull, (seen, hidden) = jax.vjp(
            lambda shifts: _forward(activation, params, inputs, noise, shifts), shifts, has_aux=True
        )
        return (jnp.stack(top), list(map(jnp.stack, hidden))), (pull, seen)

    def backward(saved: Saved, d: tuple[Array, list[Array]]) -> tuple[Params]:
        pull, seen = saved
        return (_gradient(seen, *pull(list(d[0]))),)

    network.defvjp(saving, backward)
    return network(params)


def _forward(
    activation: str, params: Params, inputs: Array, noise: Noise, shifts: list[Units]
) -> tuple[Units, tuple[list[Units], list[Units]]]:
    """The logits; what each layer sees of the one before it; and the activations of the hidden layers."""
    activate = ACTIVATIONS[activation]
    a, seen, hidden = list(inputs), [], []
    for index, layer in enumerate(params):
        kernel, bias = layer["kernel"], layer["bias"]
        seen.append(a)
        z = [
            functools.reduce(operator.add, (kernel[i, j] * a[i] for i in range(len(a)))) + bias[j] + shifts[index][j]
            for j in range(len(bias))
        ]
        if index < len(params) - 1:
            hidden.append([activate(unit) for unit in z])
            a = hidden[-1] if noise is None else list(map(operator.add, hidden[-1], noise[index]))
    return z, (seen, hidden)


def _gradient(seen: list[Units], deltas: list[Units]) -> Params:
    """Derivatives with respect to the parameters, by one product, (A + 1, B) times (D, B), mostly unused."""
    d = jnp.stack(list(itertools.chain(*deltas)))
    a = jnp.stack([*itertools.chain(*seen), jnp.ones_like(d[0])])
    product = lax.dot_general(a, d, (((1,), (1,)), ((), ())), precision=lax.Precision.HIGHEST)
    rows, columns = (np.cumsum([0, *map(len, layers)]) for layers in (seen, deltas))
    return [
        {"kernel": product[top:bottom, left:right], "bias": product[-1, left:right]}
        for (top, bottom), (left, right) in zip(itertools.pairwise(rows), itertools.pairwise(columns), strict=True)
    ]
