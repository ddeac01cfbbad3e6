"""The plain path on a GPU: a minibatch step of few kernels, each of which costs some microseconds to launch.

Shapes: n patterns for training, B patterns of a batch; ... the axes of one pattern.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from ibjax.networks.protocol import Params
from ibjax.training import gradients
from ibjax.training.gradients import GradientMoments
from ibjax.training.rules.base import Batch
from ibjax.training.shuffle import ROUNDS
from ibjax.training.trainer import RULE_STREAM, Sample, State, Trainer, epoch_positions, step_key


class FewLaunches(Trainer):
    """A trainer whose epochs are those of `Trainer` up to the order of sums, for networks that can be had by units.

    What a CPU keeps in memory from step to step, a GPU computes again where it is used: the next batch, how many
    patterns it has, how many gradients were seen. Each would be a kernel, or two.
    """

    @classmethod
    def of(cls, trainer: Trainer) -> Trainer:
        """The same training in few launches; the trainer itself where its network is only to be had by layers."""
        if trainer.model.units is None:
            return trainer
        fields = {field.name: getattr(trainer, field.name) for field in dataclasses.fields(trainer)}
        return cls(**{**fields, "model": dataclasses.replace(trainer.model, forward=trainer.model.units)})

    def epoch(
        self,
        sample: Sample,
        state: State,
        inputs: Array,
        number: Array,
        learn: Array,
        targets: Array | None = None,
    ) -> tuple[State, GradientMoments]:
        rule, b = self.make_rule(sample.hyper), self.batch_size
        position, _ = epoch_positions(sample, number, self.n_train, b, self.shuffle, together=ROUNDS)
        source = (sample.packed if self.bits else sample.patterns).at[position].get(mode="promise_in_bounds")
        n = jnp.int32(self.n_train) if sample.hyper.n_train is None else sample.hyper.n_train

        def step(index: Array, carry: tuple[State, GradientMoments]) -> tuple[State, GradientMoments]:
            state, moments = carry
            count = jnp.clip(n - index * b, 0, b)
            x, y = self._patterns(source[index], sample, inputs, targets)

            present = jnp.arange(b) < count

            def mean_loss(params: Params, labels: Array) -> tuple[Array, None]:
                logits, _ = self._forward(sample, params, None, x, number, index)
                weight = present.astype(logits.dtype)
                return jnp.sum(weight * self.loss(logits, labels)) / jnp.maximum(count, 1), None

            # A step without patterns, at the end of the epoch of a network that has few, is none.
            key, taken = step_key(sample, RULE_STREAM, number, index), count > 0
            seen = Batch(x, y, present, mean_loss)
            params, rule_state, info = rule.step(key, state.params, state.rule, seen)
            state = _choose(taken & learn, State(params, rule_state), state)
            if info.gradient is not None:
                before = moments._replace(seen=index.astype(moments.seen.dtype))
                moments = _choose(taken, gradients.add(before, info.gradient), moments)
            return state, moments

        return lax.fori_loop(0, len(position), step, (state, gradients.begin(state.params)))


def _choose(new: Array, if_new: Any, if_old: Any) -> Any:
    """One of two pytrees of arrays."""
    return jax.tree.map(lambda *both: jnp.where(new, *both), if_new, if_old)
