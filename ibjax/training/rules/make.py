"""The update rules of a configuration: what the names of its phases, or of its optimizer, stand for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax

from ibjax.config import Config
from ibjax.networks.perceptron import Perceptron
from ibjax.networks.protocol import Model
from ibjax.schedule import settings
from ibjax.schedule.phases import Phase
from ibjax.training.loss import Loss
from ibjax.training.rules import information
from ibjax.training.rules.base import HyperParameters, UpdateRule
from ibjax.training.rules.bottleneck import Bottleneck
from ibjax.training.rules.constrained import Constrained
from ibjax.training.rules.descent import GradientDescent
from ibjax.training.rules.langevin import Langevin
from ibjax.training.rules.metropolis import Metropolis, groups_of, mean_loss

RuleMaker = Callable[[HyperParameters], UpdateRule]


def configured(config: Config, model: Model, optimizer: optax.GradientTransformation | None) -> RuleMaker:
    """That of the configuration's optimizer, or of the user's."""

    def make(hyper: HyperParameters) -> UpdateRule:
        chosen = (
            _optimizer(config, config.optimizer, _rate(config, None, hyper), hyper) if optimizer is None else optimizer
        )
        return GradientDescent(chosen, model.unravel, elementwise=optimizer is None)

    return make


def of_phase(
    phase: Phase,
    config: Config,
    network: Any,
    model: Model,
    loss: Loss,
    n_classes: int | None,
    optimizer: optax.GradientTransformation | None,
) -> RuleMaker:
    """That of a phase.

    Args:
      phase, config: as they are.
      network: what the user gave or the built-in one.
      model: the same, as the library sees it.
      loss: of each pattern.
      n_classes: of the labels; None where numbers are learnt in their place.
      optimizer: the user's.

    Raises:
      ValueError: the rule needs what the network or the task has not.
    """
    of = phase.settings
    if not of.gradient and (model.in_training is not None or np.any(config.noise)):
        raise ValueError(
            f"phase {phase.words!r} with noise, dropout or batch norm in training; allowed: a network whose loss "
            "is a function of its weights"
        )
    if isinstance(of, settings.Sgd | settings.Adam | settings.Optax):
        return _descent(phase, config, model, n_classes, optimizer)
    if isinstance(of, settings.Langevin):
        given, temperature, friction = of.learning_rate, of.temperature, of.friction
        return lambda hyper: Langevin(_rate(config, given, hyper), temperature, friction, model.unravel)
    if isinstance(of, settings.Bottleneck):
        return _bottleneck(phase, of, config, network, loss, n_classes)
    assert isinstance(of, settings.Walk)  # the others of `settings.RULES`
    groups = groups_of(of.proposal, model.n_params, model.places)
    walk = (of.scale, of.moves, of.acceptance, of.warmup, groups)
    energy = mean_loss(model.unravel)
    if isinstance(of, settings.Constrained):
        bounded = Constrained(energy, 0.0, *walk, bound=of.bound)
        return lambda _: bounded
    if isinstance(of, settings.Information):
        layer = _layer(phase, of.layer, model.layer_names)
        if n_classes is None:
            raise ValueError(f"phase {phase.words!r} with targets; allowed: labels, of which I(T;Y) tells")
        energy = information.energy(model, loss, layer, n_classes, config.bins, config.compat, of.strength, of.beta)
    assert isinstance(of, settings.Metropolis | settings.Information)
    metropolis = Metropolis(energy, of.temperature, *walk)
    return lambda _: metropolis


def _descent(
    phase: Phase, config: Config, model: Model, n_classes: int | None, optimizer: optax.GradientTransformation | None
) -> RuleMaker:
    of = phase.settings
    if isinstance(of, settings.Optax):
        if optimizer is None:
            raise ValueError(
                f"phase {phase.words!r} without optimizer=...; allowed: ibjax.run(optimizer=...) beside it"
            )
        return configured(config, model, optimizer)
    noises = (of.label_noise, of.weight_noise) if isinstance(of, settings.Sgd) else (0.0, 0.0)
    if noises[0] and n_classes is None:
        raise ValueError(f"phase {phase.words!r} with targets; allowed: label_noise = 0, or labels")
    given = of.learning_rate if isinstance(of, settings.Sgd | settings.Adam) else None

    def make(hyper: HyperParameters) -> UpdateRule:
        chosen = _optimizer(config, phase.rule, _rate(config, given, hyper), hyper)
        return GradientDescent(chosen, model.unravel, True, noises[0], n_classes or 0, noises[1])

    return make


def _bottleneck(
    phase: Phase, of: settings.Bottleneck, config: Config, network: Any, loss: Loss, n_classes: int | None
) -> RuleMaker:
    if not isinstance(network, Perceptron) or config.loss != "cross_entropy" or n_classes is None:
        raise ValueError(
            f"phase {phase.words!r}; allowed: with the built-in network, which can be cut at a layer, and loss = "
            "'cross_entropy'"
        )
    layer = _layer(phase, of.layer, network.model.layer_names[:-1])

    def make(hyper: HyperParameters) -> UpdateRule:
        rate = _rate(config, of.learning_rate, hyper)
        return Bottleneck(network, layer, of.beta, rate, of.loss_weight, loss, n_classes, config.bins, config.compat)

    return make


def _layer(phase: Phase, name: str, names: tuple[str, ...]) -> int:
    if name not in names:
        raise ValueError(f"phase {phase.words!r}: layer = {name!r}; allowed: {', '.join(names)}")
    return names.index(name)


def _rate(config: Config, given: float | None, hyper: HyperParameters) -> Any:
    """The step size of a phase, which may say its own."""
    if given is not None:
        return jnp.asarray(given, config.precision)
    return config.learning_rate if hyper.learning_rate is None else hyper.learning_rate


def _optimizer(config: Config, name: str, rate: Any, hyper: HyperParameters) -> optax.GradientTransformation:
    """An optimizer by name; a decay (None) or a momentum that is none is no part of the program."""
    decay = hyper.weight_decay
    if name == "adam":
        return optax.adam(rate) if decay is None else optax.adamw(rate, weight_decay=decay)
    descent = optax.sgd(rate, momentum=config.momentum or None)
    return descent if decay is None else optax.chain(optax.add_decayed_weights(decay), descent)
