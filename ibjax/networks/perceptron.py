"""The built-in multilayer perceptron.

Shapes: B patterns of a batch, F input features, U units of a layer, C classes.

The built-in network keeps patterns on the last axis, (U, B) instead of (B, U). Its matrices are tiny (12 x 10): a
library product of them costs its call, not its arithmetic, while a sum of a few scaled rows becomes one fused loop
along the patterns, which the compiler vectorises.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from ibjax.networks import units
from ibjax.networks.dense import BARRIERS_HOLD, LARGEST_UNROLLED, dense, tanh
from ibjax.networks.protocol import Model, Params

Noise = Sequence[Array] | None


def _fused_once(f: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """`f` behind a barrier: without one a cheap activation, and the product before it, is done again in every use."""
    return lambda z: lax.optimization_barrier(f(z))


# Layer by layer, on a CPU: cheap ones behind a barrier.
_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    **units.ACTIVATIONS,
    **{name: _fused_once(units.ACTIVATIONS[name]) for name in ("relu", "linear", "softsign")},
    **({"tanh": tanh} if BARRIERS_HOLD else {}),
}
# Activations within [-1, 1]: the paper's grid serves them and the output; the others are binned in their own range.
_BOUNDED = frozenset({"tanh", "softsign"})


@dataclasses.dataclass(frozen=True)
class Perceptron:
    """The built-in multilayer perceptron: hidden layers, then the output layer, with probabilities or numbers.

    Attributes:
      widths: units of each layer from the input to the output, (F, ..., C or 1).
      activation: of the hidden layers.
      output: "sigmoid" (last width 1), "softmax", or "linear", which gives numbers in place of probabilities.
      initializer: "fan_in" or "fan_out"; see `ibjax.Config`.
      dtype: of parameters and activations.
    """

    widths: tuple[int, ...]
    activation: str = "tanh"
    output: str = "sigmoid"
    initializer: str = "fan_in"
    dtype: str = "float32"

    @property
    def model(self) -> Model:
        """The network as the library sees it; inputs with several axes are flattened."""
        hidden = self.widths[1:-1]
        bounded = self.activation in _BOUNDED
        narrow = sum(a * b for a, b in itertools.pairwise(self.widths)) <= units.MOST_WEIGHTS
        return Model(
            self.init,
            self.forward,
            layer_names=(*(f"hidden_{i}" for i in range(1, len(hidden) + 1)), "output"),
            layer_widths=self.widths[1:],
            bounded=(bounded,) * len(hidden) + (self.output != "linear",),
            hidden=hidden,
            units=self.by_units if narrow else None,
        )

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

    def apply(self, params: Params, inputs: Array) -> tuple[Array, list[Array]]:
        """The public layout: inputs (B, ...) -> logits (B, C), activations (B, U)."""
        logits, activations = self.forward(params, jnp.moveaxis(jnp.asarray(inputs), 0, -1))
        return logits.T, [a.T for a in activations]

    def forward(self, params: Params, inputs: Array, noise: Noise = None) -> tuple[Array, list[Array]]:
        """Logits (C, B) and activations (U, B) of each layer for inputs (..., B).

        Args:
          noise: (U, B) for each hidden layer, which the next layer sees added to its activations.
        """
        features = inputs.reshape(-1, inputs.shape[-1])
        if max(a * b for a, b in itertools.pairwise(self.widths)) <= LARGEST_UNROLLED:
            return self.columns(params, features, noise)
        turned = None if noise is None else [a.T for a in noise]
        logits, activations = self.rows(params, features.T, turned)
        return logits.T, [a.T for a in activations]

    def by_units(self, params: Params, inputs: Array, noise: Noise = None) -> tuple[Array, list[Array]]:
        """As `forward`, for a GPU; the derivative is that of the logits, with respect to the parameters alone."""
        features = inputs.reshape(-1, inputs.shape[-1])
        logits, activations = units.forward(self.activation, params, features, noise)
        return logits, [*activations, self._outputs(logits, 0)]

    def propagate(self, params: Params, inputs: ArrayLike, *, key: Array, noise_std: float, passes: int) -> list[Array]:
        """Activations f_l(T_{l-1}) of every layer in `passes` of the noisy network T_l = f_l(T_{l-1}) + Z.

        Noise is independent for each pass, pattern and unit of the hidden layers; a layer's activations carry that of
        the layers before it. `ibjax.noisy_network_information` takes them, and adds the noise of the layer itself.

        Args:
          params: of one network.
          inputs: (B, ...).
          key: a typed PRNG key.
          noise_std: standard deviation of the noise.
          passes: R.

        Returns:
          L arrays (R, B, U).
        """
        features = jnp.moveaxis(jnp.asarray(inputs, self.dtype), 0, -1)
        hidden = self.widths[1:-1]

        def one(key: Array) -> list[Array]:
            drawn = jax.random.normal(key, (sum(hidden), features.shape[-1]), self.dtype) * noise_std
            noise = jnp.split(drawn, np.cumsum(hidden)[:-1]) if hidden else None
            return [layer.T for layer in self.forward(params, features, noise)[1]]

        return lax.map(one, jax.random.split(key, passes))

    def columns(self, params: Params, inputs: Array, noise: Noise = None) -> tuple[Array, list[Array]]:
        """As `forward`, by sums of scaled rows on (U, B), which serve narrow layers better than library products."""
        return self._layers(params, inputs, noise, dense, 0)

    def rows(self, params: Params, inputs: Array, noise: Noise = None) -> tuple[Array, list[Array]]:
        """The same with the patterns first, as the textbook writes it: inputs (B, F), noise (B, U)."""
        return self._layers(params, inputs, noise, lambda kernel, bias, a: a @ kernel + bias, 1)

    def _layers(
        self, params: Params, inputs: Array, noise: Noise, product: Callable[..., Array], classes: int
    ) -> tuple[Array, list[Array]]:
        activate = _ACTIVATIONS[self.activation]
        activations = []
        a = inputs
        for index, layer in enumerate(params[:-1]):
            a = activate(product(layer["kernel"], layer["bias"], a))
            activations.append(a)
            a = a if noise is None else a + noise[index]
        logits = product(params[-1]["kernel"], params[-1]["bias"], a)
        return logits, [*activations, self._outputs(logits, classes)]

    def _outputs(self, logits: Array, classes: int) -> Array:
        """Probabilities of the classes, which lie along an axis; or the numbers themselves."""
        if self.output == "linear":
            return logits
        return jax.nn.sigmoid(logits) if self.output == "sigmoid" else jax.nn.softmax(logits, axis=classes)
