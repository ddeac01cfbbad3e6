"""One network's training: pure functions of its state, no vmap, no input or output.

Shapes: N patterns, n of them for training, B patterns of a batch, F input features, C classes.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax

from ibjax import gradients
from ibjax.network import Model, Params

_ROUNDS = 24
"""Of the shuffle; twice log2 of the 4096 patterns."""


class Sample(NamedTuple):
    """What one network learns from: its split and its labels, drawn from its seed.

    Attributes:
      patterns: (n,) int32, the patterns for training in the order of the data set.
      labels: (N,) int32, a label for every pattern, drawn from p(y|x).
      order: key of the batch orders.
    """

    patterns: Array
    labels: Array
    order: Array


class State(NamedTuple):
    """What changes while a network trains; `moments` are those of the last epoch."""

    params: Params
    optimizer: Any
    moments: gradients.GradientMoments


@dataclasses.dataclass(frozen=True, eq=False)
class Trainer:
    """How every network of an ensemble trains.

    Attributes:
      model: the network.
      optimizer: any optax gradient transformation.
      n_train: n.
      batch_size: B, at most n; the last batch of an epoch holds what is left.
      shuffle: a new order each epoch.
      ordered_split: the first n patterns, rather than n drawn ones.
    """

    model: Model
    optimizer: optax.GradientTransformation
    n_train: int
    batch_size: int
    shuffle: bool
    ordered_split: bool

    def start(self, seed: Array, p_y_given_x: Array) -> tuple[Sample, State]:
        """A fresh network: everything random about it comes from `seed` alone.

        Args:
          seed: () uint32.
          p_y_given_x: (N, C).
        """
        n_patterns = p_y_given_x.shape[0]
        of_init, of_split, of_labels, order = jax.random.split(jax.random.key(seed, impl="threefry2x32"), 4)
        everyone = jnp.arange(n_patterns, dtype=jnp.int32)
        drawn = everyone if self.ordered_split else jax.random.permutation(of_split, everyone)
        patterns = jnp.sort(drawn[: self.n_train])
        # Inverse distribution function: label c where u lies between the cumulated probabilities of c-1 and c.
        u = jax.random.uniform(of_labels, (n_patterns, 1), jnp.float32)
        labels = jnp.sum(u >= jnp.cumsum(p_y_given_x, axis=1)[:, :-1], axis=1, dtype=jnp.int32)
        params = self.model.init(of_init)
        state = State(params, self.optimizer.init(params), gradients.begin(params))
        return Sample(patterns, labels, order), state

    def epoch(self, sample: Sample, state: State, inputs: Array, number: Array, learn: Array) -> State:
        """One pass over the training patterns.

        Args:
          inputs: (F, N) or (N, F), as `model.patterns_axis` says.
          number: () int32, which epoch; the batch order depends on it and on the seed only.
          learn: () bool; False leaves parameters and optimizer alone, and only the moments are gathered.
        """
        n, size, axis = self.n_train, self.batch_size, self.model.patterns_axis
        order_keys = round_keys(jax.random.fold_in(sample.order, number), n)
        place = jnp.arange(size, dtype=jnp.int32)

        def batch(step: Array) -> tuple[Array, Array, Array]:
            position = step * size + place
            present = position < n
            position = jnp.where(present, position, 0)
            if self.shuffle:
                position = swap_or_not(position, n, order_keys)
            # Gathered once, not once for every feature that reads it.
            pattern = lax.optimization_barrier(sample.patterns.at[position].get(mode="promise_in_bounds"))
            x = jnp.take(inputs, pattern, axis=axis, mode="clip")
            y = sample.labels.at[pattern].get(mode="promise_in_bounds")
            return x, y, present

        def step(index: Array, state: State) -> State:
            x, y, present = batch(index)

            def loss(params: Params) -> Array:
                logits, _ = self.model.forward(params, x)
                weight = present.astype(logits.dtype)
                return jnp.sum(weight * cross_entropy(logits, y, axis)) / jnp.sum(weight)

            gradient = jax.grad(loss)(state.params)
            updates, optimizer = self.optimizer.update(gradient, state.optimizer, state.params)
            changed = (optax.apply_updates(state.params, updates), optimizer)
            kept = jax.tree.map(lambda new, old: jnp.where(learn, new, old), changed, state[:2])
            return State(*kept, gradients.add(state.moments, gradient))

        fresh = state._replace(moments=gradients.begin(state.params))
        return lax.fori_loop(0, -(-n // size), step, fresh)


def cross_entropy(logits: Array, labels: Array, patterns_axis: int) -> Array:
    """Cross-entropy of each pattern in nats, (B,).

    Args:
      logits: (C, B) or (B, C) as `patterns_axis` says; C = 1 is the log odds of a binary label.
      labels: (B,) int32.
    """
    classes = 1 - patterns_axis
    if logits.shape[classes] == 1:
        return optax.sigmoid_binary_cross_entropy(lax.squeeze(logits, (classes,)), labels.astype(logits.dtype))
    one_hot = jax.nn.one_hot(labels, logits.shape[classes], dtype=logits.dtype, axis=classes)
    return optax.softmax_cross_entropy(logits, one_hot, axis=classes)


def correct(logits: Array, labels: Array, patterns_axis: int) -> Array:
    """Whether the likeliest label is the drawn one, (B,) bool; arguments as for `cross_entropy`."""
    classes = 1 - patterns_axis
    if logits.shape[classes] == 1:
        return (lax.squeeze(logits, (classes,)) > 0) == (labels > 0)
    return jnp.argmax(logits, axis=classes) == labels


def round_keys(key: Array, n: int) -> Array:
    """Keys of one shuffle of n things: a reflection in [0, n) and a hash key for each round, (rounds, 2) uint32."""
    return jax.random.bits(key, (_ROUNDS, 2), jnp.uint32) % jnp.array([n, 2**32 - 1], jnp.uint32)


def swap_or_not(position: Array, n: int, keys: Array) -> Array:
    """Where a random permutation of range(n) takes `position`, without making the permutation.

    Swap-or-not shuffle (Hoang, Morris & Rogaway, CRYPTO 2012): each round pairs every position with its reflection
    k - position mod n, and a hashed bit of the pair says whether the two are swapped. Elementwise integer work of some
    5 ns a position, where sorting random keys takes 28.

    Args:
      position: any shape, int32 in [0, n).
      n: how many things are permuted.
      keys: those of `round_keys`.

    Returns:
      The shape of `position`, int32 in [0, n); a bijection of range(n).
    """
    x = position.astype(jnp.int32)
    for turn in range(_ROUNDS):
        reflected = keys[turn, 0].astype(jnp.int32) - x
        reflected = jnp.where(reflected < 0, reflected + n, reflected)
        pair = jnp.maximum(x, reflected).astype(jnp.uint32)
        mixed = (pair ^ keys[turn, 1]) * np.uint32(0x9E3779B1)
        mixed = (mixed ^ (mixed >> 15)) * np.uint32(0x85EBCA6B)
        x = jnp.where(mixed >> 31 == 1, reflected, x)
    return x
