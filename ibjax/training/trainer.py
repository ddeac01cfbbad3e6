"""One network's training: pure functions of its state, no vmap, no input or output.

Shapes: N patterns, n of them for training, B patterns of a batch, F input features, C classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax
from jax.flatten_util import ravel_pytree

from ibjax.networks.protocol import Model, Params
from ibjax.training import gradients

_ROUNDS = 24
"""Of the shuffle; twice log2 of the 4096 patterns."""
_ROUNDS_TOGETHER = 8
"""In one loop; longer chains run out of registers."""


_NOISE = np.uint32(2**32 - 1)
"""Sets the keys of the noise apart from those of the batch orders, whose numbers are epochs."""


class Settings(NamedTuple):
    """Hyper-parameters in which the networks of one run may differ, () each; None where they do not.

    Attributes:
      train_fraction: n, int32: patterns of this network; the others of `Sample.patterns` repeat the first.
      learning_rate: of the optimizer.
      noise: standard deviation of the noise on the hidden activations; None for no noise.
    """

    train_fraction: Array | None = None
    learning_rate: Array | None = None
    noise: Array | None = None


_NOTHING = Settings()


class Sample(NamedTuple):
    """What one network learns from: its split and its labels, drawn from its seed.

    Attributes:
      patterns: (n,) int32, the patterns for training in the order of the data set.
      labels: (N,) int32, a label for every pattern, drawn from p(y|x).
      order: key of the batch orders.
      packed: (n,) uint32, input bits and label of each training pattern in one word; () where they do not fit.
      own: what is this network's own of the hyper-parameters.
    """

    patterns: Array
    labels: Array
    order: Array
    packed: Array
    own: Settings = _NOTHING


class State(NamedTuple):
    """What changes while a network trains.

    Attributes:
      params: (P,) all parameters in one vector: updating them is a handful of loops, not a handful for every layer.
      optimizer: the state of the optimizer.
      moments: of the gradients (P,) of the last epoch.
    """

    params: Array
    optimizer: Any
    moments: gradients.GradientMoments


@dataclasses.dataclass(frozen=True, eq=False)
class Trainer:
    """How every network of an ensemble trains.

    Attributes:
      model: the network.
      optimizer: any optax gradient transformation, or what makes one from a network's own learning rate.
      elementwise: the optimizer treats every parameter alike, so that it may see them as one vector; others see
        the network's own tree (layer-wise rates, masks, norms of a layer).
      n_train: n, the largest where networks have their own.
      batch_size: B, at most n; the last batch of an epoch holds what is left.
      shuffle: a new order each epoch.
      ordered_split: the first n patterns, rather than n drawn ones.
      bits: F where the inputs are F bits that share a 32-bit word with the label: one gather of a word a pattern
        instead of one a feature. 0 where they do not.
    """

    model: Model
    optimizer: optax.GradientTransformation | Callable[[Array], optax.GradientTransformation]
    elementwise: bool
    n_train: int
    batch_size: int
    shuffle: bool
    ordered_split: bool
    bits: int = 0

    def start(self, seed: Array, inputs: Array, p_y_given_x: Array, own: Settings = _NOTHING) -> tuple[Sample, State]:
        """A fresh network: everything random about it comes from `seed` alone.

        Args:
          seed: () uint32.
          inputs: (N, F).
          p_y_given_x: (N, C).
          own: the network's own hyper-parameters.
        """
        n_patterns = p_y_given_x.shape[0]
        of_init, of_split, of_labels, order = jax.random.split(jax.random.key(seed, impl="threefry2x32"), 4)
        everyone = jnp.arange(n_patterns, dtype=jnp.int32)
        drawn = everyone if self.ordered_split else jax.random.permutation(of_split, everyone)
        chosen = drawn[: self.n_train]
        if own.train_fraction is not None:
            chosen = jnp.where(jnp.arange(self.n_train) < own.train_fraction, chosen, n_patterns)
        patterns = jnp.sort(chosen)
        if own.train_fraction is not None:
            patterns = jnp.where(patterns < n_patterns, patterns, patterns[0])
        # Inverse distribution function: label c where u lies between the cumulated probabilities of c-1 and c.
        u = jax.random.uniform(of_labels, (n_patterns, 1), jnp.float32)
        labels = jnp.sum(u >= jnp.cumsum(p_y_given_x, axis=1)[:, :-1], axis=1, dtype=jnp.int32)
        tree = self.model.init(of_init)
        params, _ = ravel_pytree(tree)
        optimizer = self.optimizer_of(own).init(params if self.elementwise else tree)
        state = State(params, optimizer, gradients.begin(params))
        packed = jnp.zeros((), jnp.uint32)
        if self.bits:
            shift = jnp.arange(self.bits, dtype=jnp.uint32)
            word = jnp.sum(inputs.astype(jnp.uint32) << shift, axis=1, dtype=jnp.uint32)
            packed = (word | labels.astype(jnp.uint32) << self.bits)[patterns]
        return Sample(patterns, labels, order, packed, own), state

    def optimizer_of(self, own: Settings) -> optax.GradientTransformation:
        """The optimizer of a network with these hyper-parameters."""
        if isinstance(self.optimizer, optax.GradientTransformation):
            return self.optimizer
        if own.learning_rate is None:
            raise ValueError("own.learning_rate = None, but the optimizer is made from one")
        return self.optimizer(own.learning_rate)

    def _forward(self, sample: Sample, params: Params, x: Array, number: Array, index: Array) -> Array:
        """Logits in training, with the noise of step `index` of epoch `number`."""
        if sample.own.noise is None:
            return self.model.forward(params, x)[0]
        if self.model.hidden is None:
            raise ValueError("noise needs a model that takes it")
        key = jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(sample.order, _NOISE), number), index)
        # Patterns first, so that a longer batch begins with the numbers of a shorter one.
        drawn = jax.random.normal(key, (self.batch_size, sum(self.model.hidden)), x.dtype)
        noise = sample.own.noise.astype(x.dtype) * (drawn if self.model.patterns_axis == 0 else drawn.T)
        ends = np.cumsum(self.model.hidden)[:-1]
        return self.model.forward(params, x, jnp.split(noise, ends, axis=1 - self.model.patterns_axis))[0]

    @cached_property
    def unravel(self) -> Callable[[Array], Params]:
        """The vector of all parameters as the network's own tree."""
        tree = jax.eval_shape(self.model.init, jax.eval_shape(lambda: jax.random.key(0)))
        unravel: Callable[[Array], Params] = ravel_pytree(jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), tree))[1]
        return unravel

    def epoch(self, sample: Sample, state: State, inputs: Array, number: Array, learn: Array) -> State:
        """One pass over the training patterns.

        Args:
          inputs: (N, F).
          number: () int32, which epoch; the batch order depends on it and on the seed only.
          learn: () bool; False leaves parameters and optimizer alone, and only the moments are gathered.
        """
        n, size, axis = self.n_train, self.batch_size, self.model.patterns_axis
        optimizer, uneven = self.optimizer_of(sample.own), sample.own.train_fraction is not None
        position, present = epoch_positions(sample, number, n, size, self.shuffle)
        steps = len(position)
        source = (sample.packed if self.bits else sample.patterns).at[position].get(mode="promise_in_bounds")

        def batch(step: Array) -> tuple[Array, Array, Array]:
            chosen, here = (lax.dynamic_index_in_dim(a, step, keepdims=False) for a in (source, present))
            if self.bits:
                shift = jnp.arange(self.bits, dtype=jnp.uint32)
                bits = chosen[:, None] >> shift if axis == 0 else chosen >> shift[:, None]
                return (bits & 1).astype(inputs.dtype), (chosen >> self.bits).astype(jnp.int32), here
            x = jnp.take(inputs if axis == 0 else inputs.T, chosen, axis=axis, mode="clip")
            return x, sample.labels.at[chosen].get(mode="promise_in_bounds"), here

        def step(index: Array, carry: tuple[State, Any]) -> tuple[State, Any]:
            state, (x, y, here) = carry

            def loss(params: Params) -> Array:
                logits = self._forward(sample, params, x, number, index)
                weight = here.astype(logits.dtype)
                count = jnp.sum(weight)
                return jnp.sum(weight * cross_entropy(logits, y, axis)) / (jnp.maximum(count, 1) if uneven else count)

            tree = self.unravel(state.params)
            gradient, _ = ravel_pytree(jax.grad(loss)(tree))
            if self.elementwise:
                updates, updated = optimizer.update(gradient, state.optimizer, state.params)
            else:
                tree_updates, updated = optimizer.update(self.unravel(gradient), state.optimizer, tree)
                updates, _ = ravel_pytree(tree_updates)
            changed, was = (state.params + updates, updated), (state.params, state.optimizer)
            taken = learn & here.any() if uneven else learn
            kept = jax.tree.map(lambda new, old: jnp.where(taken, new, old), changed, was)
            moments = gradients.add(state.moments, gradient)
            if uneven:  # a step without patterns, at the end of the epoch of a network with few, is none
                moments = jax.tree.map(lambda new, old: jnp.where(here.any(), new, old), moments, state.moments)
            # The next batch travels in the carry: what a loop carries is laid out in memory, where the compiler would
            # else gather or unpack it anew in every loop that reads it (the first layer took ten times as long).
            state = State(kept[0], kept[1], moments)
            return state, batch(jnp.minimum(index + 1, steps - 1))

        fresh = state._replace(moments=gradients.begin(state.params))
        return lax.fori_loop(0, steps, step, (fresh, batch(jnp.int32(0))))[0]


def epoch_positions(sample: Sample, number: Array, n: int, size: int, shuffle: bool) -> tuple[Array, Array]:
    """Which of the n training patterns each batch of an epoch takes, and whether the place is taken at all.

    Returns:
      (steps, B) int32 in [0, n); (steps, B) bool, False at the end of an incomplete last batch, and in all batches
      after the last of a network with fewer patterns of its own.
    """
    position = jnp.arange(-(-n // size) * size, dtype=jnp.int32).reshape(-1, size)
    own = n if sample.own.train_fraction is None else sample.own.train_fraction
    present = position < own
    position = jnp.where(present, position, 0)
    if shuffle:
        position = swap_or_not(position, own, round_keys(jax.random.fold_in(sample.order, number), own))
    return position, present


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


def round_keys(key: Array, n: int | Array) -> Array:
    """Keys of one shuffle of n things, (rounds, 3) uint32: a reflection in [0, n), an odd factor and a summand."""
    bits = jax.random.bits(key, (_ROUNDS, 3), jnp.uint32)
    modulus = n.astype(jnp.uint32) if isinstance(n, Array) else np.uint32(n)
    return jnp.stack([bits[:, 0] % modulus, bits[:, 1] | 1, bits[:, 2]], axis=1)


def swap_or_not(position: Array, n: int | Array, keys: Array) -> Array:
    """Where a random permutation of range(n) takes `position`.

    Swap-or-not shuffle (Hoang, Morris & Rogaway, CRYPTO 2012): each round pairs every position with its reflection
    k - position mod n, and a hashed bit of the pair says whether the two are swapped. The bit is the top one of
    a x + b mod 2^32 with a random odd a (multiply-shift hashing, Dietzfelbinger et al. 1997). Elementwise integer work,
    about 7 ns a position on one core where sorting random keys takes 19.

    Args:
      position: any shape, int32 in [0, n).
      n: how many things are permuted.
      keys: those of `round_keys`.

    Returns:
      The shape of `position`, int32 in [0, n); a bijection of range(n).
    """

    def rounds(part: Array, x: Array) -> Array:
        for reflection, factor, summand in keys.reshape(-1, _ROUNDS_TOGETHER, 3)[part]:
            reflected = reflection.astype(jnp.int32) - x
            reflected = jnp.where(reflected < 0, reflected + n, reflected)
            hashed = jnp.maximum(x, reflected).astype(jnp.uint32) * factor + summand
            x = jnp.where(hashed.astype(jnp.int32) < 0, reflected, x)
        return x

    return lax.fori_loop(0, _ROUNDS // _ROUNDS_TOGETHER, rounds, position)
