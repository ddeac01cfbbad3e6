"""Phases of training: each network follows one rule until its own condition holds, then the next.

The networks of a block are trained together in one program. A phase in which none of them is costs nothing; in one in
which only some are, the others are computed too, and left as they are.

Shapes: K networks of a block, R phases, S seeds, E logged epochs, L layers, N patterns, n of them for training.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import Array, lax

from ibjax.networks.protocol import Model
from ibjax.schedule.phases import LOSS, RISE, Condition, Phase
from ibjax.schedule.settings import Bottleneck
from ibjax.training import gradients
from ibjax.training.gradients import GradientMoments
from ibjax.training.rules.metropolis import Walk
from ibjax.training.trainer import Sample, State, Trainer


class Stage(NamedTuple):
    """Where a network is in the phases of its run, of which there are R.

    Attributes:
      number: () int32, which phase it is in.
      began: (R,) int32, epochs completed when each phase began; -1 for one that has not.
      drifted: () bool, whether the gradients' signal to noise has been above the phase's bound.
      level: () I(T;Y) of the output, bits, at `level_epoch`, from which a rise is counted.
      level_epoch: () int32.
    """

    number: Array
    began: Array
    drifted: Array
    level: Array
    level_epoch: Array


@dataclasses.dataclass(frozen=True, eq=False)
class Schedule:
    """The phases of a run, in the order in which every network goes through them.

    Attributes:
      phases: R, at least two.
      trainers: what trains a network in each.
    """

    phases: tuple[Phase, ...]
    trainers: tuple[Trainer, ...]

    def start(self, sample: Sample, state: State) -> State:
        """Fresh networks as the first trainer makes them, (K,), at the beginning of the first phase."""
        k = len(state.params)
        began = jnp.full((k, len(self.phases)), -1, jnp.int32).at[:, 0].set(0)
        level = jnp.full(k, -jnp.inf, state.params.dtype)
        zeros = jnp.zeros(k, jnp.int32)
        stage = Stage(zeros, began, jnp.zeros(k, bool), level, zeros)
        rules = tuple(self._fresh(number, sample, state.params) for number in range(len(self.phases)))
        return state._replace(rule=rules, stage=stage)

    def _fresh(self, number: int, sample: Sample, params: Array) -> Any:
        """The state of a phase's rule, at parameters (K, P)."""
        return jax.vmap(lambda hyper, params: self.trainers[number].make_rule(hyper).init(params))(sample.hyper, params)

    def epoch(
        self, sample: Sample, state: State, inputs: Array, number: Array, learn: Array, targets: Array | None = None
    ) -> tuple[State, GradientMoments]:
        """An epoch of a block, each network in its phase; arguments and results as those of `Trainer.epoch`, (K,)."""
        at, carry = state.stage.number, (state, jax.vmap(gradients.begin)(state.params))
        for phase in range(len(self.phases)):

            def train(carry: tuple[State, GradientMoments], phase: int = phase) -> tuple[State, GradientMoments]:
                state, moments = carry
                here = at == phase
                inner = State(state.params, state.rule[phase], state.statistics)
                epoch = jax.vmap(self.trainers[phase].epoch, in_axes=(0, 0, None, None, 0, None))
                after, found = epoch(sample, inner, inputs, number, here & learn, targets)
                rules = (*state.rule[:phase], after.rule, *state.rule[phase + 1 :])
                state = state._replace(params=after.params, statistics=after.statistics, rule=rules)
                state = self._follow(phase, sample, state, inputs, here & learn, number + 1, found, targets)
                return state, _choose(here, found, moments)

            carry = lax.cond((at == phase).any(), train, lambda carry: carry, carry)
        return carry

    def _follow(
        self,
        phase: int,
        sample: Sample,
        state: State,
        inputs: Array,
        here: Array,
        completed: Array,
        moments: GradientMoments,
        targets: Array | None,
    ) -> State:
        """The state after an epoch of a phase: networks whose condition holds, (K,) of those `here`, begin the next."""
        until, stage = self.phases[phase].until, state.stage
        if until is None or (isinstance(until, Condition) and until.quantity == RISE):
            return state
        if isinstance(until, int):
            return self.begin_next(phase, sample, state, here & (completed >= until), completed)
        if until.quantity == LOSS:
            of = jax.vmap(self.trainers[phase].training_loss, in_axes=(0, 0, None, None))
            below = of(sample, state, inputs, targets) < until.value
            return self.begin_next(phase, sample, state, here & below, completed)
        model = self.trainers[phase].model

        def norm(vector: Array) -> Array:
            return jnp.sqrt(jnp.sum(jnp.square(gradients.norms(model.unravel(vector)))))

        mean, spread = jax.vmap(lambda of: (norm(of.mean), norm(gradients.spread(of))))(moments)
        below = mean < until.value * spread
        ended = here & stage.drifted & below
        state = state._replace(stage=stage._replace(drifted=stage.drifted | here & ~below))
        return self.begin_next(phase, sample, state, ended, completed)

    def begin_next(self, phase: int, sample: Sample, state: State, ended: Array, completed: Array) -> State:
        """The state where some networks, (K,) bool, go from a phase to the next, after so many epochs."""
        stage = state.stage
        following = phase + 1
        stage = Stage(
            stage.number + ended,
            stage.began.at[:, following].set(jnp.where(ended, completed, stage.began[:, following])),
            stage.drifted & ~ended,
            jnp.where(ended, -jnp.inf, stage.level),
            jnp.where(ended, 0, stage.level_epoch),
        )
        fresh = self._fresh(following, sample, state.params)
        rules = list(state.rule)
        rules[following] = _choose(ended, fresh, rules[following])
        return state._replace(rule=tuple(rules), stage=stage)

    @property
    def watches(self) -> bool:
        """Whether a phase ends by what is measured at logged epochs."""
        return any(isinstance(phase.until, Condition) and phase.until.quantity == RISE for phase in self.phases)

    def after_log(self, sample: Sample, state: State, i_ty: Array, completed: Array) -> State:
        """The state after a logged epoch, by I(T;Y) of the output, bits (K,).

        A phase ends where it has not risen by more than the given bits above a level for as many epochs as had passed
        when it was reached.
        """
        for phase, of in enumerate(self.phases[:-1]):
            if not (isinstance(of.until, Condition) and of.until.quantity == RISE):
                continue
            stage = state.stage
            here = stage.number == phase
            rose = here & (i_ty > stage.level + of.until.value)
            level = jnp.where(rose, i_ty, stage.level)
            since = jnp.where(rose, completed, stage.level_epoch)
            state = state._replace(stage=stage._replace(level=level, level_epoch=since))
            ended = here & ~rose & (completed >= 2 * jnp.maximum(since, 1))
            state = self.begin_next(phase, sample, state, ended, completed)
        return state


def phases_at(began: npt.NDArray[np.integer[Any]], epochs: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int32]:
    """(S, E) the phase of the last epoch before each logged one, from when each began, (S, R), -1 for never."""
    later = np.where(began < 0, np.iinfo(np.int32).max, began)[:, None, 1:]
    return np.sum(later < np.maximum(epochs, 1)[None, :, None], axis=2, dtype=np.int32)


def costs(
    phases: tuple[Phase, ...],
    began: npt.NDArray[np.integer[Any]],
    epochs: npt.NDArray[np.integer[Any]],
    n_train: npt.NDArray[np.integer[Any]],
    model: Model,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Forward and backward passes of one pattern that the training has taken up to each logged epoch, (S, E) each.

    What measuring takes does not count. A condition on the training loss takes one forward pass an epoch.

    Args:
      phases: R.
      began: (S, R) epoch at which each phase began, -1 for never.
      epochs: (E,).
      n_train: (S,).
      model: what is trained.
    """
    never = np.iinfo(np.int64).max
    starts = began.astype(np.int64)
    starts[starts < 0] = never
    ends = np.concatenate([starts[:, 1:], np.full((len(starts), 1), never)], axis=1)
    at = epochs.astype(np.int64)[None, :, None]
    spent = np.clip(np.minimum(at, ends[:, None]) - np.minimum(starts[:, None], at), 0, None)  # (S, E, R) epochs
    forward, backward = np.array([passes(phase, model) for phase in phases]).T
    whole = n_train.astype(np.float64)[:, None]
    return whole * (spent @ forward), whole * (spent @ backward)


def epochs_of_the_first(phases: tuple[Phase, ...], epochs: int) -> float:
    """So many epochs of the first phase take about as long as the epochs of a run, each in its phase.

    A backward pass counts as two forward ones. When a condition will hold is not known: phases that end so are taken to
    share evenly the first half of the time up to the next end that is known, and the phase that ends there to have the
    rest. Networks that are in several phases at once take longer: all of a block are computed in each.

    Args:
      phases: R; none for a run of one optimizer.
      epochs: of the run.
    """
    if not phases:
        return float(epochs)
    ends: list[float] = []
    for number, phase in enumerate(phases):
        if not isinstance(phase.until, Condition):
            begin, waiting = ends[-1] if ends else 0.0, number - len(ends)
            end = epochs if phase.until is None else min(phase.until, epochs)
            ends += [begin + (end - begin) / 2 * (share + 1) / waiting for share in range(waiting)] + [end]
    work = _work(phases)
    return float(np.diff(ends, prepend=0.0) @ work / work[0])


def slowdown(phases: tuple[Phase, ...]) -> float:
    """How many times as long as an epoch of a phase one of a later phase may take, about; at least 1."""
    work = _work(phases)
    return float(np.max(np.maximum.accumulate(work[::-1])[::-1] / work))


def _work(phases: tuple[Phase, ...]) -> npt.NDArray[np.float64]:
    """(R,) what an epoch of each phase takes, in forward passes of the training patterns; a backward one is two."""
    forward, backward = np.array([passes(phase) for phase in phases]).T
    return forward + 2 * backward


def passes(phase: Phase, model: Model | None = None) -> tuple[float, float]:
    """Forward and backward passes of each training pattern in an epoch.

    A pass through a part of the network counts with its share of the parameters: that of the cells of `bottleneck`,
    which are as many as the patterns, through the layers above. Without a model it is left out.
    """
    forward, backward = phase.settings.passes
    watched = isinstance(phase.until, Condition) and phase.until.quantity == LOSS
    above = 0.0
    if isinstance(phase.settings, Bottleneck) and model is not None:
        layer = model.layer_names.index(phase.settings.layer)
        above = sum(place.size for place in jax.tree.leaves(model.places[layer + 1 :])) / model.n_params
    return forward + watched + above, backward + above


def walks(rules: tuple[Any, ...]) -> list[tuple[int, Walk]]:
    """The states, among those of the phases' rules, of those that propose moves, each with the number of its phase."""
    return [(number, state) for number, state in enumerate(rules) if isinstance(state, Walk)]


def _choose(where: Array, new: Any, old: Any) -> Any:
    """One of two pytrees of arrays (K, ...), for each network."""

    def one(new: Array, old: Array) -> Array:
        return jnp.where(where.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    return jax.tree.map(one, new, old)
