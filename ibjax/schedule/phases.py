"""The phases of training: which rule updates the weights until when, checked before anything is compiled.

    Phase("sgd", until=300)                       300 epochs of the run's stochastic gradient descent
    Phase("sgd", until="snr<1")                   until the gradients of this network are noise more than drift
    Phase("metropolis", temperature=1e-3)         and then no gradient at all, to the end

or the same in words, which is how a configuration stores them: "sgd:until=snr<1", "metropolis:temperature=0.001".

Shapes: S seeds, R phases, E logged epochs.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from ibjax import _checks
from ibjax._checks import unknown
from ibjax._fields import WORDS, from_text, kinds
from ibjax.schedule.settings import RULES, Settings, settings_of

LOSS, SNR, RISE = "loss", "snr", "i_ty_rise"
QUANTITIES = (LOSS, SNR, RISE)
_LARGEST_EPOCH = 10**9
_UNTIL = (
    f"an epoch from 1 to {_LARGEST_EPOCH}, 'loss<X' (the training loss), 'snr<X' (norm of the mean over norm of the "
    "spread of an epoch's gradients, once it has been at least X), or 'i_ty_rise<X' (bits by which I(T;Y) of the "
    "output rose in the latter half of the epochs so far, at logged ones)"
)
_CONDITION = re.compile(rf"({'|'.join(QUANTITIES)})<(.+)")


class Condition(NamedTuple):
    """A phase of a network ends after the first epoch at which a quantity of that network is below a value."""

    quantity: str
    value: float


_COMMON = ("until", "batch_size")


@dataclasses.dataclass(frozen=True, init=False)
class Phase:
    """One phase of training.

    Attributes:
      rule: how weights are updated, a name of `RULES`.
      until: the epoch after which it ends, a `Condition` of each network, or None for the end of the run.
      batch_size: patterns of a batch, "all" of them, or None for that of the run.
      settings: the rule's options, each of which `Phase` takes by name.

    Raises:
      ValueError, TypeError: a rule or an option that there is not, or a value that is not allowed.
    """

    rule: str
    until: int | Condition | None
    batch_size: int | str | None
    settings: Settings

    def __init__(
        self,
        rule: str,
        *,
        until: int | str | Condition | None = None,
        batch_size: int | str | None = None,
        settings: Settings | None = None,
        **options: Any,
    ) -> None:
        known = tuple(kinds(settings_of(rule)))
        for name in options:
            if name not in known:
                raise ValueError(unknown(f"option of {rule!r}", name, (*_COMMON, *known)))
        put = object.__setattr__  # the class is frozen
        put(self, "rule", rule)
        put(self, "until", _until(until))
        put(self, "batch_size", _batch_size(batch_size))
        if settings is not None:  # of the phase that `dataclasses.replace` copies
            if type(settings) is not settings_of(rule):
                raise TypeError(f"settings = {settings!r} of {rule!r}; allowed: an ibjax.Phase({rule!r}, ...) anew")
            options = {name: getattr(settings, name) for name in known} | options
        put(self, "settings", settings_of(rule)(**options))
        if isinstance(self.until, Condition) and self.until.quantity == SNR and not self.settings.gradient:
            raise ValueError(
                f"until = 'snr<{self.until.value:g}' of {rule!r}, which takes no gradient; allowed: {_UNTIL}"
            )

    def batch_of(self, of_run: int | None) -> int | None:
        """Patterns of a batch, where those of the run's are so many; None for all of them."""
        if self.batch_size is None:  # what takes no gradient of a batch has a distribution only if all patterns decide
            return of_run if self.settings.gradient and self.rule != "bottleneck" else None
        return None if isinstance(self.batch_size, str) else self.batch_size

    @property
    def words(self) -> str:
        """What `of_words` reads: the rule, and what differs from its defaults."""
        until = f"{self.until.quantity}<{self.until.value!r}" if isinstance(self.until, Condition) else self.until
        options = {"until": until, "batch_size": self.batch_size}
        given = {name: value for name, value in options.items() if value is not None}
        default = settings_of(self.rule)()
        given |= {
            name: getattr(self.settings, name)
            for name in kinds(settings_of(self.rule))
            if getattr(self.settings, name) != getattr(default, name)
        }
        return ":".join([self.rule, *(f"{name}={_word(value)}" for name, value in given.items())])


def _word(value: Any) -> str:
    """A value of an option; names stay as they are."""
    return value if isinstance(value, str) else str(value).lower()


def _batch_size(value: Any) -> int | str | None:
    if value is None:
        return None
    if isinstance(value, str) and value == "all":
        return "all"
    try:
        return _checks.integer("batch_size", value, 1, 10**9)
    except (ValueError, TypeError) as error:
        raise type(error)(f"{error}, or 'all' training patterns") from None


def _until(value: Any) -> int | Condition | None:
    if value is None or isinstance(value, Condition):
        return value
    if isinstance(value, str) and not value.isdecimal():
        found = _CONDITION.fullmatch(value)
        try:
            if found is None:
                raise ValueError
            bound = float(found[2])
        except ValueError:
            raise ValueError(f"until = {value!r}; allowed: {_UNTIL}") from None
        return Condition(found[1], _checks.number(f"until = {value!r}: the value", bound, 0, above=True))
    if isinstance(value, str):
        value = int(value)
    try:
        return _checks.integer("until", value, 1, _LARGEST_EPOCH)
    except (ValueError, TypeError) as error:
        raise type(error)(f"until = {value!r}; allowed: {_UNTIL}") from None


def of_words(text: str) -> Phase:
    """The phase of a text such as "langevin:until=500:temperature=0.001".

    Raises:
      ValueError, TypeError: as `Phase`.
    """
    rule, *parts = text.split(":")
    known = kinds(settings_of(rule))
    options: dict[str, Any] = {}
    for name, equals, value in (part.partition("=") for part in parts):
        if not equals:
            raise ValueError(
                f"{name!r} in the phase {text!r}; allowed: {rule}:OPTION=VALUE:OPTION=VALUE ..., none with ':' in it"
            )
        if name in options:
            raise ValueError(f"{name} more than once in the phase {text!r}; allowed: each at most once")
        if name == "batch_size":
            options[name] = int(value) if value.isdecimal() else value
        elif name == "until":
            options[name] = value
        elif name not in known:
            raise ValueError(unknown(f"option of {rule!r}", name, (*_COMMON, *known)))
        else:
            kind = known[name]
            try:
                options[name] = from_text(value, kind)
            except ValueError:
                raise ValueError(f"{name} = {value!r} in the phase {text!r}; allowed: {WORDS[kind.item]}") from None
    return Phase(rule, **options)


def phases(field: str, value: Any) -> tuple[str, ...]:
    """The phases of a configuration, however they were given, in words.

    Args:
      field: of the configuration.
      value: phases, or their words.

    Raises:
      ValueError, TypeError: no phases, or phases that do not follow each other.
    """
    allowed = f"a tuple of ibjax.Phase, or of their words, such as 'sgd:until=300'; rules: {', '.join(RULES)}"
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError(f"{field} = {value!r}; allowed: {allowed}")
    found = []
    for number, item in enumerate(value):
        if not isinstance(item, Phase | str):
            raise TypeError(f"{field}[{number}] = {item!r}; allowed: {allowed}")
        try:
            found.append(of_words(item) if isinstance(item, str) else item)
        except (ValueError, TypeError) as error:
            raise type(error)(f"{field}[{number}]: {error}") from None
    before = 0
    for number, phase in enumerate(found):
        if (phase.until is None) != (number == len(found) - 1):
            need = "none, as the run ends it" if phase.until is not None else _UNTIL
            raise ValueError(f"{field}[{number}] = {phase.words!r}: until; allowed: {need}")
        if isinstance(phase.until, int):
            if phase.until <= before:
                raise ValueError(f"{field}[{number}]: until = {phase.until}; allowed: an epoch after {before}")
            before = phase.until
    return tuple(phase.words for phase in found)
