"""Fields of dataclasses that users fill in: what they may hold, in checks and in words.

The annotation says the kind of a field, its metadata the rest, once for the checks, the command line and the
documentation:

    help           what the field is
    note, usage    what the documentation, or the command line, adds to it
    choices        the names allowed
    low, high      ends of the range of a number that stands alone, the upper one infinite by default
    above          whether the lower end is excluded
    items          ends of the range of the integers of a tuple
    metavar        what stands for the value on the command line, where its kind does not say
    none           the word for None there, besides "none"
    check          a function (field, value) that takes the place of the checks here
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ibjax import _checks

WORDS = {bool: "true or false", int: "an integer", float: "a number", str: "a name"}
"""One value of each type, written as on the command line, in words."""


class Kind(NamedTuple):
    """What values a field holds, by its annotation."""

    item: type  # of one value: str, int, float or bool
    single: bool  # whether one may stand alone
    several: bool  # whether a tuple of them may
    optional: bool  # whether None may


def option(default: Any, text: str, **metadata: Any) -> Any:
    """A field of a dataclass, with its help and what else of the metadata it has."""
    return dataclasses.field(default=default, metadata={"help": text, **metadata})


@functools.cache
def kinds(of: type) -> Mapping[str, Kind]:
    """The kinds of the fields of a dataclass, by name."""
    hints = typing.get_type_hints(of)
    return {field.name: _kind(hints[field.name]) for field in dataclasses.fields(of)}


def _kind(hint: Any) -> Kind:
    parts = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    parts = tuple(part for part in parts if typing.get_origin(part) is not Mapping)  # another way to write a tuple
    tuples = [part for part in parts if typing.get_origin(part) is tuple]
    singles = [part for part in parts if part not in (*tuples, types.NoneType)]
    item = singles[0] if singles else typing.get_args(tuples[0])[0]
    item = typing.get_args(item)[0] if isinstance(item, types.UnionType) else item
    return Kind(item, bool(singles), bool(tuples), types.NoneType in parts)


def check(name: str, value: Any, kind: Kind, about: Mapping[str, Any]) -> Any:
    """What the user gave for a field in plain types; ValueError or TypeError if its metadata, `about`, forbid it."""
    if "check" in about:
        return about["check"](name, value)
    if value is None and kind.optional:
        return None
    if kind.item is bool:
        return _checks.boolean(name, value)
    if kind.item is str:
        return (_checks.choices if kind.several else _checks.choice)(name, value, about["choices"])
    several = isinstance(value, Iterable) and getattr(value, "ndim", 1) > 0
    if kind.item is int:
        if kind.several and (several or not kind.single):
            return _checks.integers(name, value, *about["items"])
        return _checks.integer(name, value, about["low"], about["high"])
    ends: dict[str, Any] = {end: about[end] for end in ("low", "high", "above") if end in about}
    if kind.several and several and not isinstance(value, str | bytes):
        return tuple(_checks.number(f"{name}[{i}]", item, **ends) for i, item in enumerate(value))
    return _checks.number(name, value, **ends)


def from_text(text: str, kind: Kind) -> Any:
    """One value of a field, written as on the command line; ValueError where it is none."""
    if kind.optional and text == "none":
        return None
    if kind.item is not bool:
        return kind.item(text)
    if text not in ("true", "false"):
        raise ValueError(text)
    return text == "true"


def allowed(kind: Kind, about: Mapping[str, Any]) -> str:
    """What a field may hold, in words."""
    if kind.item is bool:
        return "True or False"
    if kind.item is str:
        names = ", ".join(map(repr, about["choices"]))
        return f"a tuple of {names}" if kind.several else names + ", None" * kind.optional
    parts = []
    if kind.single and kind.item is int:
        parts.append(f"an integer from {about['low']} to {about['high']}")
    elif kind.single:
        end = f" and at most {about['high']:g}" if "high" in about else ""
        parts.append(f"a number {'more than' if about.get('above') else 'of at least'} {about['low']:g}{end}")
    if kind.several:
        items = "integers from {} to {}".format(*about["items"]) if "items" in about else "them, one a seed"
        parts.append(f"a tuple of {items}")
    return ", or ".join([*parts, *["None"] * kind.optional])
