"""Networks: the protocol, the built-in multilayer perceptron, and the adapter for flax modules.

Shapes: B patterns of a batch, F input features, U units of a layer, C classes.

The built-in network keeps patterns on the last axis, (U, B) instead of (B, U). Its matrices are tiny (12 x 10): a
library product of them costs its call, not its arithmetic, while a sum of a few scaled rows becomes one fused loop
along the patterns, which the compiler vectorises.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import itertools
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

Params = Any  # a pytree of arrays
Noise = Sequence[Array] | None

# Above this many weights a library product is faster than a sum of scaled rows.
_LARGEST_UNROLLED = 1024


@runtime_checkable
class Network(Protocol):
    """What `ibjax.run(network=...)` trains: two pure functions of one network."""

    def init(self, key: Array, inputs: Array) -> Params:
        """Parameters drawn with `key`, for inputs like `inputs` (B, F)."""

    def apply(self, params: Params, inputs: Array) -> tuple[Array, list[Array]]:
        """Logits (B, C), or (B, 1) of a binary label, and the activations of each layer (B, U)."""


class Model(NamedTuple):
    """A network as the training sees it.

    Attributes:
      init: key -> params.
      forward: params, inputs -> logits, activations; shaped as `patterns_axis` says. With a third argument, one array
        of noise for each hidden layer, where `hidden` is not None.
      patterns_axis: 0 where arrays are (B, features), 1 where they are (features, B).
      hidden: widths of the hidden layers, where noise may be added to their activations.
      names: of the groups of parameters that hold a kernel, in their order, where they have names.
    """

    init: Callable[[Array], Params]
    forward: Callable[..., tuple[Array, list[Array]]]
    patterns_axis: int
    hidden: tuple[int, ...] | None = None
    names: tuple[str, ...] | None = None


def _sum(terms: Iterable[Array]) -> Array:
    return functools.reduce(operator.add, terms)


@jax.custom_vjp
def dense(kernel: Array, bias: Array, a: Array) -> Array:
    """kernel^T a + bias with patterns on the last axis: (U', U), (U,), (U', B) -> (U, B)."""
    if kernel.size > _LARGEST_UNROLLED:
        return lax.dot_general(kernel, a, (((0,), (0,)), ((), ()))) + bias[:, None]
    return _sum(kernel[i, :, None] * a[i] for i in range(kernel.shape[0])) + bias[:, None]


def _dense_forward(kernel: Array, bias: Array, a: Array) -> tuple[Array, tuple[Array, Array]]:
    return dense(kernel, bias, a), (kernel, a)


def _dense_backward(saved: tuple[Array, Array], d: Array) -> tuple[Array, Array, Array]:
    kernel, a = saved
    d_kernel = lax.dot_general(a, d, (((1,), (1,)), ((), ())))
    # A sum over the last axis is slow on a CPU where a product with ones is not.
    d_bias = lax.dot_general(d, jnp.ones(d.shape[1], d.dtype), (((1,), (0,)), ((), ())))
    if kernel.size > _LARGEST_UNROLLED:
        return d_kernel, d_bias, lax.dot_general(kernel, d, (((1,), (0,)), ((), ())))
    return d_kernel, d_bias, _sum(kernel[:, o, None] * d[o] for o in range(kernel.shape[1]))


dense.defvjp(_dense_forward, _dense_backward)


def _fused_once(f: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """`f` behind a barrier: without one a cheap activation, and the product before it, is done again in every use."""
    return lambda z: lax.optimization_barrier(f(z))


_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": jnp.tanh,
    "relu": _fused_once(jax.nn.relu),
    "linear": _fused_once(lambda z: z),
    "softsign": _fused_once(jax.nn.soft_sign),
    "softplus": jax.nn.softplus,
}
# Activations within [-1, 1]: the paper's grid serves them and the output; the others are binned in their own range.
BOUNDED = frozenset({"tanh", "softsign"})


@dataclasses.dataclass(frozen=True)
class Perceptron:
    """The built-in multilayer perceptron: hidden layers, then the output layer, whose activations are probabilities.

    Attributes:
      widths: units of each layer from the input to the output, (F, ..., C or 1).
      activation: of the hidden layers.
      output: "sigmoid" (last width 1) or "softmax".
      initializer: "fan_in" or "fan_out"; see `ibjax.Config`.
      dtype: of parameters and activations.
    """

    widths: tuple[int, ...]
    activation: str = "tanh"
    output: str = "sigmoid"
    initializer: str = "fan_in"
    dtype: str = "float32"

    @property
    def layer_names(self) -> tuple[str, ...]:
        """hidden_1 ... output."""
        return (*(f"hidden_{i}" for i in range(1, len(self.widths) - 1)), "output")

    def init(self, key: Array, inputs: Array | None = None) -> Params:
        """A list of {"kernel": (U', U), "bias": (U,)}, one of each layer. The inputs are not looked at."""
        del inputs
        shapes = list(itertools.pairwise(self.widths))
        sizes = [fan_in * fan_out for fan_in, fan_out in shapes]
        # All layers are drawn in one go, which compiles three times faster than layer by layer.
        drawn = jnp.split(jax.random.truncated_normal(key, -2.0, 2.0, (sum(sizes),), self.dtype), np.cumsum(sizes)[:-1])
        fan = 1 if self.initializer == "fan_out" else 0
        return [
            {"kernel": shape[fan] ** -0.5 * part.reshape(shape), "bias": jnp.zeros(shape[1], self.dtype)}
            for shape, part in zip(shapes, drawn, strict=True)
        ]

    @property
    def wide(self) -> bool:
        """Whether library products on (B, U) serve it better than sums of scaled rows on (U, B)."""
        return max(a * b for a, b in itertools.pairwise(self.widths)) > _LARGEST_UNROLLED

    def forward(self, params: Params, inputs: Array, noise: Noise = None) -> tuple[Array, list[Array]]:
        """Logits (C, B) and activations (U, B) of each layer for inputs (F, B).

        Args:
          noise: (U, B) for each hidden layer, which the next layer sees added to its activations.
        """
        return self._layers(params, inputs, noise, dense, 0)

    def rows(self, params: Params, inputs: Array, noise: Noise = None) -> tuple[Array, list[Array]]:
        """The same with the patterns first, as the textbook writes it: inputs (B, F), noise (B, U)."""
        return self._layers(params, inputs, noise, lambda kernel, bias, a: a @ kernel + bias, 1)

    def _layers(
        self, params: Params, inputs: Array, noise: Noise, product: Callable[..., Array], classes: int
    ) -> tuple[Array, list[Array]]:
        act = _ACTIVATIONS[self.activation]
        activations = []
        a = inputs
        for index, layer in enumerate(params[:-1]):
            a = act(product(layer["kernel"], layer["bias"], a))
            activations.append(a)
            a = a if noise is None else a + noise[index]
        logits = product(params[-1]["kernel"], params[-1]["bias"], a)
        probabilities = jax.nn.sigmoid(logits) if self.output == "sigmoid" else jax.nn.softmax(logits, axis=classes)
        return logits, [*activations, probabilities]

    def apply(self, params: Params, inputs: Array) -> tuple[Array, list[Array]]:
        """The public layout: inputs (B, F) -> logits (B, C), activations (B, U)."""
        if self.wide:
            return self.rows(params, jnp.asarray(inputs))
        logits, activations = self.forward(params, jnp.asarray(inputs).T)
        return logits.T, [a.T for a in activations]


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
