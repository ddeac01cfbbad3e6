"""What is computed of a block of networks: start, train and measure, as pure functions that `blocks` compiles.

Shapes: K seeds of a block, S seeds, E logged epochs, L layers, N patterns, C classes, U units, P parameters, Q
statistics; ... the axes of one input pattern.
"""

from __future__ import annotations

import dataclasses
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import Array

from ibjax.config import Config
from ibjax.data.dataset import Dataset
from ibjax.ensemble.measurement import Measurement
from ibjax.information import partition
from ibjax.information.estimator import Estimator
from ibjax.information.histogram import all_layers, layer_by_layer
from ibjax.networks.protocol import Model
from ibjax.probability import conditional_rows
from ibjax.training import gradients
from ibjax.training.fused import FusedTrainer
from ibjax.training.gradients import GradientMoments
from ibjax.training.launches import FewLaunches
from ibjax.training.loss import correct
from ibjax.training.rules.base import HyperParameters
from ibjax.training.schedule import Schedule, walks
from ibjax.training.trainer import Sample, State, Trainer


class Record(NamedTuple):
    """What is measured of a block at one logged epoch: the arrays of the file, with K for S and no E.

    `weights` are the vectors of all parameters and statistics (K, P + Q) where weights are stored, else (K, 0);
    `estimates` are those of the configuration's further estimators, (K, R, L) with the rows of `Program.estimate_keys`:
    zeros until the programs of `Program.measurements` have filled them; of a run in R phases `stages` (K, R + 3) are
    the epochs at which each began and the moves proposed, accepted, and refused as their energy was not finite, and
    `scales` (K, 1) the size of a move, NaN in a phase without; of others both are (K, 0).
    """

    i_xt: Any
    i_ty: Any
    range_low: Any
    range_high: Any
    train_loss: Any
    test_loss: Any
    train_accuracy: Any
    test_accuracy: Any
    gradient_mean: Any
    gradient_std: Any
    weight_norm: Any
    weights: Any
    finite: Any
    estimates: Any
    stages: Any
    scales: Any


class PerSeed(NamedTuple):
    """The hyper-parameters in which seeds differ.

    Attributes:
      seeds: (S,) increasing.
      values: (S,) each, or None for one in which they do not differ.
    """

    seeds: npt.NDArray[np.uint32]
    values: HyperParameters


@dataclasses.dataclass(frozen=True, eq=False)
class Program:
    """Everything about a run but its devices; made by `assemble`.

    Attributes:
      config: of the run.
      dataset: the task.
      custom: which of dataset, network and optimizer the user supplied.
      trainer: how one network trains.
      fused: the GPU's way to train a block; None for that of `trainer`.
      per_seed: hyper-parameters that differ.
      histogram: what `measure` applies, as an estimator.
      measurements: further estimators, programs of their own beside `measure`.
      platform: the kind of device that computes it, see `on`.
      schedule: of a run in several phases, whose first is trained by `trainer`; None for others.
    """

    config: Config
    dataset: Dataset
    custom: tuple[str, ...]
    trainer: Trainer
    fused: FusedTrainer | None
    per_seed: PerSeed
    histogram: Estimator
    measurements: tuple[Measurement, ...]
    platform: str = "cpu"
    schedule: Schedule | None = None

    def on(self, platform: str) -> Program:
        """The same run, as devices of one kind compute it."""
        if platform == "cpu":
            return self
        schedule = self.schedule
        if schedule is not None:
            schedule = dataclasses.replace(schedule, trainers=tuple(map(FewLaunches.of, schedule.trainers)))
        return dataclasses.replace(self, platform=platform, trainer=FewLaunches.of(self.trainer), schedule=schedule)

    @property
    def model(self) -> Model:
        """The network."""
        return self.trainer.model

    @cached_property
    def inputs(self) -> npt.NDArray[Any]:
        """(N, ...) in the precision of the run."""
        return self.dataset.inputs.astype(self.config.precision)

    @cached_property
    def conditional(self) -> npt.NDArray[Any]:
        """p(y|x), (N, C), in the precision of the run, from `p_y_given_x` as it was given: so runs stay the same."""
        return conditional_rows(self.dataset.p_y_given_x).astype(self.config.precision)

    @property
    def estimators(self) -> list[Estimator]:
        """All that are applied, the histogram first."""
        return [self.histogram, *(measurement.estimator for measurement in self.measurements)]

    @property
    def estimate_keys(self) -> tuple[str, ...]:
        """The file's keys of the rows R of `Record.estimates`."""
        return tuple(key for measurement in self.measurements for key in measurement.keys)

    @cached_property
    def targets(self) -> npt.NDArray[Any] | None:
        """(N, D) numbers that are learnt in place of the labels, in the precision of the run; None for labels."""
        targets = learnt_targets(self.config, self.dataset)
        return None if targets is None else targets.astype(self.config.precision)

    def start(self, seeds: Array, inputs: Array, conditional: Array) -> tuple[Sample, State]:
        """Fresh networks for a block of seeds (K,), each with its hyper-parameters."""
        row = jnp.clip(jnp.searchsorted(self.per_seed.seeds, seeds), 0, len(self.per_seed.seeds) - 1)
        hyper = jax.tree.map(lambda values: jnp.asarray(values)[row], self.per_seed.values)
        sample, state = jax.vmap(self.trainer.start, in_axes=(0, None, None, 0))(seeds, inputs, conditional, hyper)
        return sample, state if self.schedule is None else self.schedule.start(sample, state)

    def train(
        self,
        sample: Sample,
        state: State,
        inputs: Array,
        first: Array,
        last: Array,
        learn: Array,
        targets: Array | None = None,
    ) -> tuple[State, GradientMoments]:
        """Epochs first, first + 1, ... last - 1 of a block; one program for any number of them.

        Returns:
          The new state, and the moments of the gradients of the last epoch.
        """
        if self.fused is not None:
            return self.fused.epochs(sample, state, first, last, learn)
        epoch = jax.vmap(self.trainer.epoch, in_axes=(0, 0, None, None, None, None))
        if self.schedule is not None:
            epoch = self.schedule.epoch

        def one(number: Array, carry: tuple[State, GradientMoments]) -> tuple[State, GradientMoments]:
            return epoch(sample, carry[0], inputs, number, learn, targets)

        return jax.lax.fori_loop(first, last, one, (state, self.no_moments(state)))

    def after_log(self, sample: Sample, state: State, record: Record, epoch: Array) -> State:
        """The state after a logged epoch, at which phases may end by what was measured."""
        return state if self.schedule is None else self.schedule.after_log(sample, state, record.i_ty[:, -1], epoch)

    def _stages(self, state: State) -> tuple[Array, Array]:
        """`Record.stages` and `Record.scales`."""
        k, dtype = len(state.params), state.params.dtype
        if not self.config.phases:
            return jnp.zeros((k, 0), jnp.int32), jnp.zeros((k, 0), dtype)
        several = self.schedule is not None
        began = state.stage.began if several else jnp.zeros((k, 1), jnp.int32)
        current = state.stage.number if several else jnp.zeros(k, jnp.int32)
        counts, scale = jnp.zeros((k, 3), jnp.int32), jnp.full(k, jnp.nan, dtype)
        for number, walk in walks(state.rule if several else (state.rule,)):
            counts += jnp.stack([walk.moves, walk.accepted, walk.not_finite], axis=1)
            scale = jnp.where(current == number, jnp.exp(walk.log_scale), scale)
        return jnp.concatenate([began, counts], axis=1), scale[:, None]

    def no_moments(self, state: State) -> GradientMoments:
        """Those of no gradients, of a block."""
        return jax.vmap(gradients.begin)(state.params)

    def measure(
        self,
        sample: Sample,
        state: State,
        moments: GradientMoments,
        inputs: Array,
        conditional: Array,
        targets: Array | None = None,
    ) -> Record:
        """All that is logged of a block; away from a CPU in as few kernels as can be, up to the order of sums."""
        evaluate = jax.vmap(self.model.evaluate, in_axes=(0, None))
        logits, activations = evaluate(state.weights, jnp.moveaxis(inputs, 0, -1))
        n, dtype = len(conditional), jnp.dtype(self.config.precision)
        trained = jax.vmap(lambda patterns: jnp.zeros(n, dtype).at[patterns].set(1))(sample.patterns)
        if targets is None:
            loss = jax.vmap(self.trainer.loss)(logits, sample.labels)
            hit = jax.vmap(correct)(logits, sample.labels).astype(loss.dtype)
        else:
            loss = jax.vmap(self.trainer.loss, in_axes=(0, None))(logits, targets)
            hit = jnp.full_like(loss, jnp.nan)  # numbers are not right or wrong

        def mean(values: Array, weight: Array) -> Array:
            # 0/0 = NaN where there are no test patterns.
            return partition.tree_sum(values * weight) / partition.tree_sum(weight)

        def norms(vectors: Array) -> Array:
            if self.platform == "cpu":
                return self._by_layer(jax.vmap(gradients.norms)(jax.vmap(self.model.unravel)(vectors)))
            return self._by_layer(gradients.vector_norms(vectors, self.model.places))

        histograms = layer_by_layer if self.platform == "cpu" else all_layers
        i_xt, i_ty, range_low, range_high = histograms(
            *self._binned(activations, trained, conditional),
            bounded=self.model.bounded,
            bins=self.config.bins,
            compat=self.config.compat,
        )
        train_loss = mean(loss, trained)
        if self.config.phases:  # some rules take no gradient
            moments = jax.vmap(gradients.seen_or_nan)(moments)
        stages, scales = self._stages(state)
        return Record(
            i_xt=i_xt,
            i_ty=i_ty,
            range_low=range_low,
            range_high=range_high,
            train_loss=train_loss,
            test_loss=mean(loss, 1 - trained),
            train_accuracy=mean(hit, trained),
            test_accuracy=mean(hit, 1 - trained),
            gradient_mean=norms(moments.mean),
            gradient_std=norms(jax.vmap(gradients.spread)(moments)),
            weight_norm=norms(state.params),
            weights=state.weights if self.config.store_weights else state.params[:, :0],
            finite=jnp.isfinite(train_loss) & jnp.isfinite(state.weights).all(axis=1),
            estimates=jnp.zeros((len(i_xt), len(self.estimate_keys), len(activations)), dtype),
            stages=stages,
            scales=scales,
        )

    def _binned(
        self, activations: list[Array], trained: Array, conditional: Array
    ) -> tuple[list[Array], partition.Channels]:
        """What the histogram is taken of: the activations of each layer, (U, K, N), and the channels of the patterns.

        Args:
          activations: (K, U, N) of each layer.
          trained: (K, N), 1 for patterns for training, else 0.
          conditional: (N, C).
        """
        dtype, part = conditional.dtype, self.config.measure_on
        p_x = None if self.dataset.p_x is None else jnp.asarray(self.dataset.p_x, dtype)
        units_first = [jnp.moveaxis(layer, 1, 0) for layer in activations]
        if part == "all":
            return units_first, partition.channels(conditional, p_x, dtype)
        measured = (trained > 0) == (part == "train")
        weights = measured.astype(dtype) * (1 if p_x is None else p_x)
        channels = partition.channels_per_network(conditional, weights, dtype)
        return [_only(layer, measured) for layer in units_first], channels

    def _by_layer(self, values: Array) -> Array:
        """(K, kernels) as (K, L); NaN where a network's kernels are not one a layer."""
        layers = len(self.model.layer_names)
        return values if values.shape[1] == layers else jnp.full((len(values), layers), jnp.nan, values.dtype)


def learnt_targets(config: Config, dataset: Dataset) -> npt.NDArray[np.float64] | None:
    """(N, D) targets of the data set, where the loss compares what the network gives with them; else None."""
    return None if config.loss == "cross_entropy" else dataset.targets


def _only(activations: Array, measured: Array) -> Array:
    """(U, K, N) activations where patterns that are not measured, (K, N), repeat the first that is: they widen no
    range."""
    source = jnp.where(measured, jnp.arange(measured.shape[1]), jnp.argmax(measured, axis=1)[:, None])
    return jnp.take_along_axis(activations, source[None], axis=2)
