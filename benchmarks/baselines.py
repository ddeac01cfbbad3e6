"""What ibjax is compared with: textbook JAX, and NumPy for the information.

Shapes: S seeds, L layers, M batch elements, N patterns, n of them for training, U units.
"""

from __future__ import annotations

from concurrent import futures
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import optax
from jax import Array

import ibjax
from ibjax import Config, Dataset

Data = tuple[Array, Array]


def fan_in(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    """Normal numbers cut at two standard deviations, of 1/sqrt(fan-in) before the cut, as `Config.initializer` has it.

    `flax.linen.initializers.variance_scaling` makes it 1/sqrt(fan-in) after the cut, a seventh more: networks that
    start there are ahead after tens of epochs, by many standard errors of the mean information.
    """
    return shape[0] ** -0.5 * jax.random.truncated_normal(key, -2.0, 2.0, shape, dtype)


class Perceptron(nn.Module):  # type: ignore[misc]
    """The network as one would write it in flax; logits and the activations of each layer."""

    widths: tuple[int, ...]

    @nn.compact  # type: ignore[untyped-decorator]
    def __call__(self, x: Array) -> Any:
        activations = []
        for width in self.widths:
            x = nn.tanh(nn.Dense(width, kernel_init=fan_in)(x))
            activations.append(x)
        logits = nn.Dense(1, kernel_init=fan_in)(x)
        return logits, [*activations, nn.sigmoid(logits)]


class Textbook:
    """`vmap` over a flax module and an optax step, shuffled with `jax.random.permutation`: no trick of any kind.

    Of a configuration it follows the widths, the split, the batches and the learning rate; it knows tanh units, one
    sigmoid output and stochastic gradient descent, which are those of the `paper` preset.
    """

    def __init__(self, config: Config, dataset: Dataset) -> None:
        if isinstance(config.train_fraction, tuple) or isinstance(config.learning_rate, tuple):
            raise ValueError("the textbook trains all seeds alike")
        if (config.activation, config.output, config.optimizer) != ("tanh", "sigmoid", "sgd"):
            raise ValueError("the textbook network has tanh units, a sigmoid output and is trained by sgd")
        self.n = int(config.train_fraction * dataset.n_patterns)
        self.size = config.batch_size or self.n
        self.module = Perceptron(config.hidden_widths)
        self.optimizer = optax.sgd(config.learning_rate)
        self.inputs = jnp.asarray(dataset.inputs, jnp.float32)
        self.p = jnp.asarray(dataset.conditional[:, 1], jnp.float32)

    def start(self, seed: Array) -> tuple[Any, Any, Data, Array]:
        """Parameters, optimizer state, training inputs and drawn labels, and the key of the batch orders."""
        of_split, of_labels, of_init, order = jax.random.split(jax.random.key(seed), 4)
        chosen = jax.random.permutation(of_split, len(self.inputs))[: self.n]
        labels = jax.random.bernoulli(of_labels, self.p).astype(jnp.float32)
        params = self.module.init(of_init, self.inputs[:1])
        return params, self.optimizer.init(params), (self.inputs[chosen], labels[chosen]), order

    def loss(self, params: Any, x: Array, y: Array) -> Array:
        """Mean cross-entropy, nats."""
        return optax.sigmoid_binary_cross_entropy(self.module.apply(params, x)[0][:, 0], y).mean()

    def epoch(self, carry: Any, number: Array) -> tuple[Any, None]:
        """One pass over the full batches of a new order (what is left over waits for another epoch)."""
        params, state, (x, y), order = carry
        permutation = jax.random.permutation(jax.random.fold_in(order, number), self.n)
        batches = permutation[: self.n // self.size * self.size].reshape(-1, self.size)

        def step(now: Any, batch: Array) -> tuple[Any, None]:
            params, state = now
            gradient = jax.grad(self.loss)(params, x[batch], y[batch])
            updates, state = self.optimizer.update(gradient, state, params)
            return (optax.apply_updates(params, updates), state), None

        (params, state), _ = jax.lax.scan(step, (params, state), batches)
        return (params, state, (x, y), order), None

    def information(self, params: Any) -> tuple[Array, Array]:
        """I(X;T) and I(T;Y) of each layer, (L,) bits, by the kernel of ibjax: there is no textbook one inside jit."""
        _, activations = self.module.apply(params, self.inputs)
        layers = [ibjax.layer_information(a, self.p) for a in activations]
        i_xt, i_ty = (jnp.stack(values) for values in zip(*layers, strict=True))
        return i_xt, i_ty

    def advance(self, carry: Any, numbers: Array) -> Any:
        """The epochs of these numbers."""
        return jax.lax.scan(self.epoch, carry, numbers)[0]

    def train_loss(self, carry: Any) -> Array:
        """() training loss, nats."""
        params, _, (x, y), _ = carry
        return self.loss(params, x, y)


class Ensemble:
    """The textbook's programs, compiled for S seeds at once or for one seed.

    Attributes:
      epochs: how many one call of the compiled training makes.
    """

    def __init__(self, textbook: Textbook, seeds: Array, epochs: int) -> None:
        """Compile for seeds (S,) or () and `epochs` epochs at a time."""
        each: Any = jax.vmap if seeds.ndim else lambda function, **_: function
        self.epochs = epochs
        numbers = jax.ShapeDtypeStruct((epochs,), jnp.int32)
        carry = jax.eval_shape(each(textbook.start), seeds)
        lowered = (
            jax.jit(each(textbook.start)).lower(seeds),
            jax.jit(each(textbook.advance, in_axes=(0, None))).lower(carry, numbers),
            jax.jit(each(textbook.train_loss)).lower(carry),
        )
        with futures.ThreadPoolExecutor(len(lowered)) as pool:  # as ibjax compiles its programs
            self._start, self._advance, self._train_loss = pool.map(lambda program: program.compile(), lowered)
        self._information = jax.jit(each(lambda carry: textbook.information(carry[0])))

    def information(self, carry: Any) -> tuple[Array, Array]:
        """I(X;T) and I(T;Y) of each network's layers, each (S, L), bits. Compiled when first called."""
        return self._information(carry)

    def run(self, seeds: Array, chunks: int, *, measure: bool = False) -> tuple[Array, Any]:
        """Train `chunks` times the epochs, and measure after each of them where asked.

        Returns:
          The train losses (S,) in nats, and the information at the end, or None.
        """
        carry, information = self._start(seeds), None
        for chunk in range(chunks):
            carry = self._advance(carry, jnp.arange(chunk * self.epochs, (chunk + 1) * self.epochs, dtype=jnp.int32))
            if measure:
                information = jax.block_until_ready(self.information(carry))
        return jax.block_until_ready(self._train_loss(carry)), information


def numpy_information(
    activations: npt.NDArray[Any], p: npt.NDArray[Any], bins: int = 30
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """I(X;T) and I(T;Y) in bits of (M, N, U) activations in [-1, 1], layer by layer with `numpy.unique(axis=0)`."""

    def entropy(q: npt.NDArray[np.float64]) -> float:
        q = q[q > 0]
        return float(-(q * np.log2(q)).sum())

    i_xt, i_ty = [], []
    for layer in activations.astype(np.float64):
        codes = np.clip(np.floor((layer + 1) / 2 * bins), 0, bins - 1).astype(np.int64)
        _, cell = np.unique(codes, axis=0, return_inverse=True)
        cell = cell.reshape(-1)
        p_t = np.bincount(cell) / len(cell)
        p_t1 = np.bincount(cell, p) / len(cell)
        i_xt.append(entropy(p_t))
        h_joint = entropy(np.concatenate([p_t1, np.maximum(p_t - p_t1, 0)]))
        i_ty.append(entropy(np.array([p.mean(), 1 - p.mean()])) + i_xt[-1] - h_joint)
    return np.array(i_xt), np.array(i_ty)
