"""One network's training: pure functions of its state, no vmap, no input or output.

Shapes: N patterns, n of them for training, B patterns of a batch, C classes, P parameters, Q statistics; ... the
axes of one pattern.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.flatten_util import ravel_pytree

from ibjax.networks.dense import BARRIERS_HOLD
from ibjax.networks.protocol import Model, Params
from ibjax.training import gradients
from ibjax.training.gradients import GradientMoments
from ibjax.training.loss import Loss, cross_entropy
from ibjax.training.rules.base import Batch, HyperParameters, UpdateRule
from ibjax.training.shuffle import ROUNDS_TOGETHER, round_keys, swap_or_not

# Set the keys of the noise, of the update rule and of the network's own draws apart from those of the batch orders,
# whose numbers are epochs.
NOISE_STREAM = np.uint32(2**32 - 1)
RULE_STREAM = np.uint32(2**32 - 2)
NETWORK_STREAM = np.uint32(2**32 - 3)


_SHARED = HyperParameters()


class Sample(NamedTuple):
    """What one network learns from: its split and its labels, drawn from its seed.

    Attributes:
      patterns: (n,) int32, the patterns for training in the order of the data set.
      labels: (N,) int32, a label for every pattern, drawn from p(y|x).
      order: key of the batch orders.
      packed: (n,) uint32, input bits and label of each training pattern in one word; () where they do not fit.
      hyper: the network's hyper-parameters, where they differ between networks.
    """

    patterns: Array
    labels: Array
    order: Array
    packed: Array
    hyper: HyperParameters = _SHARED


class State(NamedTuple):
    """What changes while a network trains.

    Attributes:
      params: (P,) all parameters in one vector: updating them is a handful of loops, not a handful for every layer.
      rule: the state of the update rule; of a run in phases, a tuple of one for each.
      statistics: (Q,) what the network keeps beside them, see `Model.statistics`; None where it keeps nothing.
      stage: of a run in phases, see `schedule.Stage`; None for others.
    """

    params: Array
    rule: Any
    statistics: Array | None = None
    stage: Any = None

    @property
    def weights(self) -> Array:
        """(P + Q,) what the network is measured with."""
        return self.params if self.statistics is None else jnp.concatenate([self.params, self.statistics], axis=-1)

    def with_weights(self, weights: Array) -> State:
        """The same with other parameters and statistics, (P + Q,)."""
        n_params = self.params.shape[-1]
        statistics = None if self.statistics is None else weights[..., n_params:]
        return self._replace(params=weights[..., :n_params], statistics=statistics)


@dataclasses.dataclass(frozen=True, eq=False)
class Trainer:
    """How every network of an ensemble trains.

    Attributes:
      model: the network.
      make_rule: the update rule of a network with these hyper-parameters.
      n_train: n, the largest where networks differ in it.
      batch_size: B, at most n; the last batch of an epoch holds what is left.
      shuffle: a new order each epoch.
      ordered_split: the first n patterns, rather than n drawn ones.
      bits: F where the inputs are F bits that share a 32-bit word with the label: one gather of a word a pattern
        instead of one a feature. 0 where they do not.
      loss: of each pattern.
    """

    model: Model
    make_rule: Callable[[HyperParameters], UpdateRule]
    n_train: int
    batch_size: int
    shuffle: bool
    ordered_split: bool
    bits: int = 0
    loss: Loss = cross_entropy

    def start(
        self, seed: Array, inputs: Array, p_y_given_x: Array, hyper: HyperParameters = _SHARED
    ) -> tuple[Sample, State]:
        """A fresh network: everything random about it comes from `seed` alone.

        Args:
          seed: () uint32.
          inputs: (N, ...).
          p_y_given_x: (N, C).
          hyper: the network's hyper-parameters, where networks differ in them.
        """
        init_key, split_key, label_key, order = jax.random.split(jax.random.key(seed, impl="threefry2x32"), 4)
        patterns = self._draw_patterns(split_key, len(p_y_given_x), hyper)
        # Inverse distribution function: label c where u lies between the cumulated probabilities of c-1 and c.
        u = jax.random.uniform(label_key, (len(p_y_given_x), 1), jnp.float32)
        labels = jnp.sum(u >= jnp.cumsum(p_y_given_x, axis=1)[:, :-1], axis=1, dtype=jnp.int32)
        params, _ = ravel_pytree(self.model.init(init_key))
        if hyper.initial_scale is not None:  # biases start at zero: only kernels are scaled
            params = hyper.initial_scale.astype(params.dtype) * params
        statistics = None if self.model.statistics is None else ravel_pytree(self.model.statistics(init_key))[0]
        state = State(params, self.make_rule(hyper).init(params), statistics)
        packed = jnp.zeros((), jnp.uint32)
        if self.bits:
            shift = jnp.arange(self.bits, dtype=jnp.uint32)
            word = jnp.sum(inputs.astype(jnp.uint32) << shift, axis=1, dtype=jnp.uint32)
            packed = (word | labels.astype(jnp.uint32) << self.bits)[patterns]
        return Sample(patterns, labels, order, packed, hyper), state

    def _draw_patterns(self, key: Array, n_patterns: int, hyper: HyperParameters) -> Array:
        """`Sample.patterns`."""
        every = jnp.arange(n_patterns, dtype=jnp.int32)
        drawn = every if self.ordered_split else jax.random.permutation(key, every)
        chosen = drawn[: self.n_train]
        if hyper.n_train is None:
            return jnp.sort(chosen)
        patterns = jnp.sort(jnp.where(jnp.arange(self.n_train) < hyper.n_train, chosen, n_patterns))
        return jnp.where(patterns < n_patterns, patterns, patterns[0])

    def epoch(
        self,
        sample: Sample,
        state: State,
        inputs: Array,
        number: Array,
        learn: Array,
        targets: Array | None = None,
    ) -> tuple[State, GradientMoments]:
        """One pass over the training patterns.

        Args:
          inputs: (N, ...).
          number: () int32, which epoch; the batch order depends on it and on the seed only.
          learn: () bool; False leaves the state alone, and only the moments are gathered.
          targets: (N, D) numbers to be learnt in place of the labels.

        Returns:
          The new state, and the moments of the epoch's minibatch gradients.
        """
        rule, uneven = self.make_rule(sample.hyper), sample.hyper.n_train is not None
        position, present = epoch_positions(sample, number, self.n_train, self.batch_size, self.shuffle)
        steps = len(position)
        source = (sample.packed if self.bits else sample.patterns).at[position].get(mode="promise_in_bounds")

        def batch(step: Array) -> tuple[Array, Array, Array]:
            chosen, here = (lax.dynamic_index_in_dim(a, step, keepdims=False) for a in (source, present))
            return *self._patterns(chosen, sample, inputs, targets), here

        def step(index: Array, carry: Any, size: int = self.batch_size) -> Any:
            state, moments, ahead = carry
            x, y, here = lax.optimization_barrier(batch(index)) if BARRIERS_HOLD else ahead
            if size < self.batch_size:
                x, y, here = x[..., :size], y[:size], here[:size]
            seen = self._batch(sample, state.statistics, (x, y, here), number, index)
            key = step_key(sample, RULE_STREAM, number, index)
            params, rule_state, info = rule.step(key, state.params, state.rule, seen)
            # A step without patterns, at the end of the epoch of a network that has few, is none.
            accepted = learn & here.any() if uneven else learn
            after = State(params, rule_state, info.statistics)
            state = jax.tree.map(lambda new, old: jnp.where(accepted, new, old), after, state)
            if info.gradient is not None:
                added = gradients.add(moments, info.gradient)
                moments = (
                    jax.tree.map(lambda new, old: jnp.where(here.any(), new, old), added, moments) if uneven else added
                )
            return state, moments, following(index + 1)

        def following(index: Array) -> Any:
            # Where no barrier holds, the next batch travels in the carry: what a loop carries is laid out in memory,
            # or the compiler would gather or unpack it anew in every loop that reads it: ten times as long.
            return None if BARRIERS_HOLD else batch(jnp.minimum(index, steps - 1))

        carry = (state, gradients.begin(state.params), following(jnp.int32(0)))
        # Statistics are those of the patterns of a batch: what fills the last one up must not be among them.
        in_loop = steps if self.model.statistics is None else self.n_train // self.batch_size
        carry = lax.fori_loop(0, in_loop, step, carry)
        if in_loop < steps:
            carry = step(jnp.int32(in_loop), carry, self.n_train % self.batch_size)
        return carry[0], carry[1]

    def training_loss(self, sample: Sample, state: State, inputs: Array, targets: Array | None) -> Array:
        """() the mean loss over the training patterns, as it is logged: of the network as it is measured."""
        logits, _ = self.model.evaluate(state.weights, jnp.moveaxis(inputs[sample.patterns], 0, -1))
        learnt = (sample.labels if targets is None else targets)[sample.patterns]
        count = self.n_train if sample.hyper.n_train is None else sample.hyper.n_train
        return jnp.sum(jnp.where(jnp.arange(self.n_train) < count, self.loss(logits, learnt), 0)) / count

    def _batch(
        self, sample: Sample, statistics: Array | None, batch: tuple[Array, ...], number: Array, index: Array
    ) -> Batch:
        """What step `index` of epoch `number` sees, of the inputs, labels and presence of its patterns."""
        x, y, here = batch

        def mean_loss(params: Params, labels: Array) -> tuple[Array, Array | None]:
            logits, after = self._forward(sample, params, statistics, x, number, index)
            weight = here.astype(logits.dtype)
            count = jnp.sum(weight)
            uneven = sample.hyper.n_train is not None
            mean = jnp.sum(weight * self.loss(logits, labels)) / (jnp.maximum(count, 1) if uneven else count)
            return mean, after

        return Batch(x, y, here, mean_loss)

    def _patterns(self, chosen: Array, sample: Sample, inputs: Array, targets: Array | None) -> tuple[Array, Array]:
        """Inputs (..., B) and labels (B,), or targets (B, D), of patterns (B,), given by their words where packed."""
        if self.bits:
            shift = jnp.arange(self.bits, dtype=jnp.uint32)
            bits = chosen >> shift[:, None]
            return (bits & 1).astype(inputs.dtype), (chosen >> self.bits).astype(jnp.int32)
        x = jnp.moveaxis(jnp.take(inputs, chosen, axis=0, mode="clip"), 0, -1)
        learnt = sample.labels if targets is None else targets
        return x, learnt.at[chosen].get(mode="promise_in_bounds")

    def _forward(
        self, sample: Sample, params: Params, statistics: Array | None, x: Array, number: Array, index: Array
    ) -> tuple[Array, Array | None]:
        """Logits in training, with what step `index` of epoch `number` draws, and the statistics after it, (Q,)."""
        if self.model.in_training is not None:
            kept = None if statistics is None else self.model.unravel_statistics(statistics)
            key = step_key(sample, NETWORK_STREAM, number, index)
            logits, after = self.model.in_training(params, kept, x, key)
            return logits, None if statistics is None else ravel_pytree(after)[0]
        if sample.hyper.noise_std is None:
            return self.model.forward(params, x)[0], None
        if self.model.hidden is None:
            raise ValueError("noise needs a model that takes it")
        key = step_key(sample, NOISE_STREAM, number, index)
        # Patterns first, so that a longer batch begins with the numbers of a shorter one.
        drawn = jax.random.normal(key, (self.batch_size, sum(self.model.hidden)), x.dtype)
        noise = sample.hyper.noise_std.astype(x.dtype) * drawn.T
        return self.model.forward(params, x, jnp.split(noise, np.cumsum(self.model.hidden)[:-1]))[0], None


def step_key(sample: Sample, stream: np.uint32, number: Array, index: Array) -> Array:
    """The key of one step of one epoch, for one purpose."""
    return jax.random.fold_in(epoch_key(sample.order, stream, number), index)


def epoch_key(order: Array, stream: np.uint32, number: Array) -> Array:
    """What the keys of the steps of an epoch are made from, for one purpose."""
    return jax.random.fold_in(jax.random.fold_in(order, stream), number)


def epoch_positions(
    sample: Sample, number: Array, n: int, size: int, shuffle: bool, together: int = ROUNDS_TOGETHER
) -> tuple[Array, Array]:
    """Which of the n training patterns each batch of an epoch takes, and whether the place is taken at all.

    Returns:
      (steps, B) int32 in [0, n); (steps, B) bool, False at the end of an incomplete last batch, and in all batches
      after the last of a network with fewer training patterns.
    """
    position = jnp.arange(-(-n // size) * size, dtype=jnp.int32).reshape(-1, size)
    count = n if sample.hyper.n_train is None else sample.hyper.n_train
    present = position < count
    position = jnp.where(present, position, 0)
    if shuffle:
        keys = round_keys(jax.random.fold_in(sample.order, number), count)
        position = swap_or_not(position, count, keys, together)
    return position, present
