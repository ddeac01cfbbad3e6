"""What ibjax is compared with: textbook JAX, and NumPy for the information.

Shapes: S seeds, N patterns, n training patterns, F features, U units.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import optax
from jax import Array

from ibjax import Config, Dataset

Data = tuple[Array, Array]


class Perceptron(nn.Module):  # type: ignore[misc]
    """The network as one would write it in flax; logits and the activations of each layer."""

    widths: tuple[int, ...]

    @nn.compact  # type: ignore[untyped-decorator]
    def __call__(self, x: Array) -> Any:
        start = nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal")
        activations = []
        for width in self.widths:
            x = nn.tanh(nn.Dense(width, kernel_init=start)(x))
            activations.append(x)
        logits = nn.Dense(1, kernel_init=start)(x)
        return logits, [*activations, nn.sigmoid(logits)]


class Textbook:
    """`vmap` over a flax module and an optax step, shuffled with `jax.random.permutation`: no trick of any kind."""

    def __init__(self, config: Config, dataset: Dataset) -> None:
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

    def program(self, epochs: int, *, vectorised: bool) -> Any:
        """A jitted function: seeds (S,), or one seed () -> train losses after `epochs` epochs."""

        def train(seed: Array) -> Array:
            params, _, (x, y), _ = jax.lax.scan(self.epoch, self.start(seed), jnp.arange(epochs))[0]
            return self.loss(params, x, y)

        return jax.jit(jax.vmap(train) if vectorised else train)


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
