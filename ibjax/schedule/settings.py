"""The options of the rules that update weights, by name; each rule's code is in `ibjax.training.rules`.

This file imports no jax: names and options are checked without waiting for the compiler.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from ibjax import _checks
from ibjax._fields import check, kinds, option

PROPOSALS = ("all", "layer", "unit", "weight")


def _layer(field: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError(f"{field} = {value!r}; allowed: the name of a layer, such as 'hidden_5'")
    if ":" in value:
        raise ValueError(f"{field} = {value!r}; allowed: a name without ':', which stands between a phase's options")
    return value


def _rate() -> Any:
    return option(None, "step size; none for that of the run", low=0, above=True)


_TEMPERATURE = "of the Boltzmann distribution exp(-E/T) that is sampled, E the mean training loss; 1/n is Bayes' rule"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """The options of a rule; each subclass is one rule, of the same name in `ibjax.training.rules`.

    Attributes:
      gradient: whether it takes the gradient of the loss.
      walks: whether it proposes moves and may refuse them.
    """

    gradient: ClassVar[bool] = True
    walks: ClassVar[bool] = False

    def __post_init__(self) -> None:
        of: Any = type(self)
        for field in dataclasses.fields(self):
            value = check(field.name, getattr(self, field.name), kinds(of)[field.name], field.metadata)
            object.__setattr__(self, field.name, value)

    @property
    def passes(self) -> tuple[int, int]:
        """Forward and backward passes of each pattern of a batch in a step, through the whole network."""
        return 1, 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sgd(Settings):
    """Stochastic gradient descent, of the configuration's momentum and weight decay."""

    learning_rate: float | None = _rate()
    weight_noise: float = option(0.0, "standard deviation of noise added to every weight after each step", low=0)
    label_noise: float = option(
        0.0, "share of a batch's labels drawn anew at each step, evenly over the classes", low=0, high=1
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adam(Settings):
    """Adam, with the configuration's weight decay."""

    learning_rate: float | None = _rate()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optax(Settings):
    """The optimizer given to `ibjax.run(optimizer=...)`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Langevin(Settings):
    """Stochastic gradient Langevin dynamics."""

    learning_rate: float | None = _rate()
    temperature: float = option(1e-4, _TEMPERATURE, low=0)
    friction: float = option(1.0, "share of the velocity lost at each step; 1 is overdamped", low=0, high=1, above=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Walk(Settings):
    proposal: str = option(
        "all", "which weights a move changes: all, those of a layer, into a unit, or one", choices=PROPOSALS
    )
    scale: float = option(0.01, "standard deviation of the change of each weight, at first", low=0, above=True)
    moves: int = option(10, "proposed for each batch", low=1, high=10**6)
    acceptance: float = option(
        0.25, "share of moves accepted to which the warm-up adapts the scale", low=0, high=1, above=True
    )
    warmup: int = option(1000, "moves in which the scale is adapted; 0 keeps it", low=0, high=10**9)

    gradient: ClassVar[bool] = False
    walks: ClassVar[bool] = True

    @property
    def passes(self) -> tuple[int, int]:
        """One for the energy at the beginning of a step, and one a move."""
        return 1 + self.moves, 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metropolis(Walk):
    """Random walk with Metropolis' acceptance, without any gradient."""

    temperature: float = option(1e-4, _TEMPERATURE, low=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Constrained(Walk):
    """Free diffusion among the weights whose training loss is within a bound."""

    bound: float = option(0.1, "the largest training loss, nats; from above it only moves down are accepted", low=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Information(Walk):
    """Metropolis on the training loss and a layer's information, E = loss + strength (I(X;T) - beta I(T;Y))."""

    layer: str = option("hidden_1", "whose information", check=_layer)
    temperature: float = option(1e-4, "of the distribution exp(-E/T)", low=0)
    strength: float = option(1e-3, "lambda, nats a bit", low=0)
    beta: float = option(1.0, "the worth of a relevant bit, in bits of I(X;T)", low=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bottleneck(Settings):
    """A bottleneck iteration of one layer, and gradient steps of the weights below and above towards it."""

    layer: str = option("hidden_1", "whose encoder and decoder", check=_layer)
    beta: float = option(5.0, "of the bottleneck", low=0, above=True)
    learning_rate: float | None = _rate()
    loss_weight: float = option(1.0, "of the training loss, which is descended too; 0: the iterations alone", low=0)


RULES: Mapping[str, type[Settings]] = MappingProxyType(
    {
        "sgd": Sgd,
        "adam": Adam,
        "optax": Optax,
        "langevin": Langevin,
        "metropolis": Metropolis,
        "constrained": Constrained,
        "information": Information,
        "bottleneck": Bottleneck,
    }
)


def settings_of(rule: str) -> Any:
    """The options of a rule, by its name.

    Raises:
      ValueError: an unknown name; the message suggests the nearest. TypeError: no name.
    """
    return RULES[_checks.choice("rule", rule, tuple(RULES))]
