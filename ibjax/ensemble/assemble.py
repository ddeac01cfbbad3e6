"""From what the user gives to the parts of a run: every check of how they fit together, before anything is compiled.

Shapes: S seeds, N patterns.
"""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import optax

from ibjax.config import PER_SEED, Config
from ibjax.data.dataset import Dataset
from ibjax.data.spherical import spherical_dataset
from ibjax.ensemble.measurement import Measurement
from ibjax.ensemble.program import PerSeed, Program, learnt_targets
from ibjax.information.estimator import Estimator, make
from ibjax.networks.adapter import as_model
from ibjax.networks.perceptron import Perceptron
from ibjax.networks.protocol import Model
from ibjax.schedule.checks import check_batches, check_moves
from ibjax.training.fused import WIDEST, FusedTrainer, launch_on, supports
from ibjax.training.loss import LOSSES
from ibjax.training.ptx import NoKernelError
from ibjax.training.rules.base import HyperParameters
from ibjax.training.rules.make import configured, of_phase
from ibjax.training.schedule import Schedule
from ibjax.training.trainer import Trainer


def assemble(
    config: Config,
    *,
    dataset: Dataset | None = None,
    network: Any = None,
    optimizer: optax.GradientTransformation | None = None,
) -> Program:
    """The program of a run; arguments and errors are those of `ibjax.run`.

    Call it in the precision of the run (`blocks.precision`). Nothing is compiled; a user's network is traced.
    """
    _check_types(dataset, optimizer)
    supplied = {"dataset": dataset, "network": network, "optimizer": optimizer}
    custom = tuple(sorted(name for name, value in supplied.items() if value is not None))
    task = spherical_dataset(config.dataset) if dataset is None else dataset
    counts = _train_counts(config, task)
    _check_fit(config, task, network, optimizer)
    if network is None:
        network = _perceptron(config, task)
    numbers = _n_targets(config, task)
    model = as_model(network, task, jnp.dtype(config.precision), numbers)
    if model.statistics is not None and isinstance(config.train_fraction, tuple):
        raise ValueError(
            "train_fraction holds one number a seed, with a network that keeps statistics of its batches; allowed: one "
            "number for all, as their batches must be equally large"
        )
    per_seed = _per_seed(config, counts)
    trainer = Trainer(
        model=model,
        make_rule=configured(config, model, optimizer),
        n_train=max(counts),
        batch_size=config.batch_size or max(counts),
        shuffle=config.shuffle,
        ordered_split=config.split == "ordered",
        bits=0 if numbers is not None else _packable_bits(task),
        loss=LOSSES[config.loss],
    )
    trainers = _trainers_of_phases(config, task, network, trainer, optimizer, min(counts))
    trainer = trainers[0] if trainers else trainer
    return Program(
        config=config,
        dataset=task,
        custom=custom,
        trainer=trainer,
        fused=_fused_trainer(config, network, trainer, per_seed.values),
        per_seed=per_seed,
        histogram=make("histogram", bins=config.bins, compat=config.compat),
        measurements=tuple(measurement(config, task, model, further) for further in config.further_estimators),
        schedule=Schedule(config.schedule, trainers) if len(trainers) > 1 else None,
    )


def measurement(config: Config, dataset: Dataset, model: Model, estimator: Estimator) -> Measurement:
    """A further estimator of all layers, to be compiled beside the histogram.

    Raises:
      ValueError: a layer or p(x) is out of its reach, or each network would be measured on patterns of its own.
    """
    part = slice(None)
    if config.measure_on != "all":
        counts = set(_train_counts(config, dataset))
        if config.split != "ordered" or len(counts) > 1:
            raise ValueError(
                f"estimator {estimator.name!r} with measure_on = {config.measure_on!r}; allowed: 'all', or split = "
                "'ordered' with one train_fraction (patterns that differ between networks are for the run's own "
                "histogram)"
            )
        count = counts.pop()
        part = slice(count) if config.measure_on == "train" else slice(count, None)
    if estimator.uniform and dataset.p_x is not None:
        raise ValueError(f"estimator {estimator.name!r} with p_x given; allowed: p_x = None, equally likely patterns")
    p_x = None if dataset.p_x is None else (dataset.p_x[part] / dataset.p_x[part].sum()).astype(config.precision)
    return Measurement(estimator, model, len(dataset.inputs[part]), p_x, part)


def _check_types(dataset: Any, optimizer: Any) -> None:
    if dataset is not None and not isinstance(dataset, Dataset):
        raise TypeError(f"dataset = {dataset!r}; allowed: an ibjax.Dataset")
    if optimizer is not None and not isinstance(optimizer, optax.GradientTransformation):
        raise TypeError(f"optimizer = {optimizer!r}; allowed: an optax.GradientTransformation")


def _train_counts(config: Config, dataset: Dataset) -> list[int]:
    """Training patterns of each seed, or one number for all."""
    n, fraction = dataset.n_patterns, config.train_fraction
    fractions = fraction if isinstance(fraction, tuple) else (fraction,)
    counts = [int(f * n) for f in fractions]
    if min(counts) < 1:
        raise ValueError(f"train_fraction = {min(fractions):g} leaves none of {n} patterns for training")
    if config.batch_size is not None and config.batch_size > min(counts):
        raise ValueError(f"batch_size = {config.batch_size}; allowed: at most the {min(counts)} training patterns")
    if config.measure_on == "test" and max(counts) == n:
        raise ValueError(f"measure_on = 'test' with train_fraction = {max(counts) / n:g}; allowed: less than 1")
    return counts


def _check_fit(config: Config, dataset: Dataset, network: Any, optimizer: Any) -> None:
    numbers = _n_targets(config, dataset)
    if network is None and numbers is None and config.output == "sigmoid" and dataset.n_classes != 2:
        raise ValueError(f"output = 'sigmoid' with {dataset.n_classes} classes; allowed: 'softmax'")
    if network is None and (config.output == "linear") != (numbers is not None):
        raise ValueError(
            f"output = {config.output!r} with loss = {config.loss!r} on a data set "
            f"{'without' if dataset.targets is None else 'with'} targets; allowed: 'linear' where "
            "loss = 'mean_squared_error' compares it with targets, and only there"
        )
    if optimizer is not None and isinstance(config.learning_rate, tuple):
        raise ValueError("learning_rate holds one number a seed, with optimizer=...; allowed: one number for all")
    if optimizer is not None and np.any(config.weight_decay):
        raise ValueError(
            f"weight_decay = {config.weight_decay} with optimizer=...; allowed: 0 (chain "
            "optax.add_decayed_weights into yours)"
        )
    if optimizer is not None and config.momentum:
        raise ValueError(f"momentum = {config.momentum:g} with optimizer=...; allowed: 0 (give it to yours)")
    if network is None or isinstance(network, Perceptron):
        return
    if np.any(config.noise):
        raise ValueError(
            f"noise = {config.noise} with network=...; allowed: 0, or the built-in network (no network=...), to whose "
            "hidden layers alone ibjax adds noise in training"
        )
    if np.any(np.not_equal(config.initial_scale, 1)):
        raise ValueError(
            f"initial_scale = {config.initial_scale} with network=...; allowed: 1, or the built-in network (no "
            "network=...), whose kernels ibjax knows: scale yours in its initializers"
        )


def _perceptron(config: Config, dataset: Dataset) -> Perceptron:
    """The built-in network of a configuration."""
    outputs = _n_targets(config, dataset) or (1 if config.output == "sigmoid" else dataset.n_classes)
    widths = (dataset.n_features, *config.hidden_widths, outputs)
    return Perceptron(widths, config.activation, config.output, config.initializer, config.precision)


def _trainers_of_phases(
    config: Config, dataset: Dataset, network: Any, trainer: Trainer, optimizer: Any, fewest: int
) -> tuple[Trainer, ...]:
    """What trains a network in each phase; none of a run without phases.

    Args:
      trainer: of the run, were it one of a single optimizer.
      fewest: training patterns of the network that has fewest.

    Raises:
      ValueError: a rule needs what the network, the task or the run has not.
    """
    if config.phases and optimizer is not None and not any(phase.rule == "optax" for phase in config.schedule):
        raise ValueError(f"optimizer=... with phases = {config.phases}; allowed: one of them 'optax', which it is")
    check_moves(config.schedule, config.epochs, config.batch_size, trainer.n_train)
    n_classes = None if _n_targets(config, dataset) else dataset.n_classes
    found = []
    for phase in config.schedule:
        size = phase.batch_of(config.batch_size)
        check_batches(phase, size, fewest)
        make = of_phase(phase, config, network, trainer.model, trainer.loss, n_classes, optimizer)
        found.append(dataclasses.replace(trainer, make_rule=make, batch_size=size or trainer.n_train))
    return tuple(found)


def _fused_trainer(config: Config, network: Any, trainer: Trainer, per_seed: HyperParameters) -> FusedTrainer | None:
    """The GPU's trainer, where `config.backend` asks for it."""
    if config.phases or config.backend == "plain" or (config.backend == "auto" and jax.default_backend() != "gpu"):
        return None
    noise = per_seed.noise_std is not None
    if not supports(network, trainer, noise=noise):
        if config.backend == "auto":
            return None
        raise ValueError(
            f"backend = 'fused'; allowed for the built-in network of tanh or relu units, at most {WIDEST} a layer, in "
            "float32, with an optimizer of the configuration, on inputs of 0 and 1 that fit 30 bits; else 'plain' or "
            "'auto'"
        )
    try:
        launch = launch_on(jax.local_devices()[0], network, adam=config.optimizer == "adam", noise=noise)
    except NoKernelError as error:
        if config.backend == "fused":
            raise ValueError(f"backend = 'fused', but {error}; else 'plain' or 'auto'") from error
        warnings.warn(f"trains on the plain path: {error}", stacklevel=4)
        return None
    rate = config.learning_rate
    rate = 0.0 if isinstance(rate, tuple) else rate
    return FusedTrainer(trainer, learning_rate=rate, momentum=config.momentum, launch=launch)


def _per_seed(config: Config, counts: list[int]) -> PerSeed:
    """The hyper-parameters in which seeds differ, and those that not every compiled program has."""
    seeds = np.array(config.seed_list, np.uint32)
    order = np.argsort(seeds)

    def of_seeds(value: Any, dtype: Any) -> Any:
        return np.broadcast_to(np.asarray(value, dtype), seeds.shape)[order]

    varied = {field for field in PER_SEED if isinstance(getattr(config, field), tuple)}
    values = HyperParameters(
        n_train=of_seeds(counts, np.int32) if "train_fraction" in varied else None,
        learning_rate=of_seeds(config.learning_rate, config.precision) if "learning_rate" in varied else None,
        weight_decay=of_seeds(config.weight_decay, config.precision) if np.any(config.weight_decay) else None,
        noise_std=of_seeds(config.noise, config.precision) if np.any(config.noise) else None,
        initial_scale=(
            of_seeds(config.initial_scale, config.precision) if np.any(np.not_equal(config.initial_scale, 1)) else None
        ),
    )
    return PerSeed(seeds[order], values)


def _n_targets(config: Config, dataset: Dataset) -> int | None:
    """D, where targets are learnt in place of labels."""
    targets = learnt_targets(config, dataset)
    return None if targets is None else targets.shape[1]


def _packable_bits(dataset: Dataset) -> int:
    """F where the inputs are vectors of 0 and 1 and fit a 32-bit word beside the label, else 0."""
    label_bits = (dataset.n_classes - 1).bit_length()
    fits = dataset.inputs.ndim == 2 and dataset.n_features + label_bits <= 32
    binary: npt.NDArray[np.bool_] = np.isin(dataset.inputs, (0, 1)) if fits else np.zeros(1, bool)
    return dataset.n_features if bool(binary.all()) else 0
