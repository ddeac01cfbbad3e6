"""Options that stand for the fields of `Config` and of the estimators: their help, and their values from text."""

from __future__ import annotations

import argparse
import dataclasses
import re
from typing import Any

from ibjax._checks import unknown
from ibjax._fields import Kind, kinds
from ibjax.config import LARGEST_SEED, MOST_SEEDS, PRESETS, Config
from ibjax.information.estimator import estimator_class

_WORDS = {bool: "true or false", int: "an integer", float: "a number", str: "a name"}


class UsageError(Exception):
    """What the user asked for cannot be done; the message says why and what can."""


def flag(field: str) -> str:
    """The option of a field."""
    return "--" + field.replace("_", "-")


def add_fields(group: argparse._ArgumentGroup) -> None:
    """One option for each field of `Config`; what is not given is None and leaves the preset's value."""
    for field in dataclasses.fields(Config):
        default, about, kind = field.default, field.metadata, kinds(Config)[field.name]
        names = about.get("choices", ())
        text = "; ".join(filter(None, (about["help"], about.get("usage"))))
        if kind.item is bool:
            shown = flag(field.name if default else f"no_{field.name}")
            action = argparse.BooleanOptionalAction
            group.add_argument(flag(field.name), action=action, default=None, help=f"{text} (default: {shown})")
            continue
        shown = ",".join(map(str, default)) if isinstance(default, tuple) else str(default).lower()
        allowed = f"; {'of' if kind.several else 'one of'} {', '.join(names)}" if len(names) > 1 else ""
        metavar = about.get("metavar") or {str: "NAME", int: "N", float: "X"}[kind.item]
        group.add_argument(flag(field.name), metavar=metavar, help=f"{text}{allowed} (default: {shown})")


def config_of(arguments: argparse.Namespace) -> Config:
    """The preset with the options given in its place.

    Raises:
      UsageError: a value that is not allowed; says of which option and what is.
    """
    if arguments.preset not in PRESETS:
        raise UsageError(unknown("--preset", arguments.preset, tuple(PRESETS)))
    given = {field: getattr(arguments, field.name) for field in dataclasses.fields(Config)}
    changes = {field.name: _value(field, value) for field, value in given.items() if value is not None}
    try:
        return dataclasses.replace(PRESETS[arguments.preset], **changes)
    except (ValueError, TypeError) as error:
        raise UsageError(str(error)) from error


def _value(field: dataclasses.Field[Any], text: str | bool) -> Any:
    """The value of an option, by the kind of its field; `Config` checks whether it is allowed."""
    kind, none = kinds(Config)[field.name], field.metadata.get("none", ())
    if isinstance(text, bool):
        return text
    if text in none:
        return None
    if kind.item is str and none and text not in (names := (*field.metadata["choices"], *none)):
        raise UsageError(unknown(flag(field.name), text, names))  # `Config` would not speak of "none"
    if field.name == "seeds" and (span := re.fullmatch(r"([0-9]{1,12}):([0-9]{1,12})", text)):
        return _seed_range(text, int(span[1]), int(span[2]))
    try:
        if kind.several and ("," in text or not kind.single):
            items = text.removesuffix(",")  # a single item is told from a number by its comma, as in Python
            return tuple(kind.item(item) for item in items.split(",")) if items else ()
        return kind.item(text)
    except ValueError:
        one, many = _WORDS[kind.item], _WORDS[kind.item].split()[1] + "s"
        parts = [one] * kind.single + [f"comma-separated {many}"] * kind.several + [*none[:1]]
        allowed = "N, A:B or a comma-separated list" if field.name == "seeds" else " or ".join(parts)
        raise UsageError(f"{flag(field.name)} = {text!r}; allowed: {allowed}") from None


def _seed_range(text: str, first: int, end: int) -> tuple[int, ...]:
    # A longer range would fill the memory before `Config` could refuse it.
    if not first < end <= LARGEST_SEED + 1 or end - first > MOST_SEEDS:
        raise UsageError(
            f"--seeds = {text!r}; allowed: A:B with A < B, at most {MOST_SEEDS} seeds from 0 to {LARGEST_SEED}"
        )
    return tuple(range(first, end))


def add_options(group: argparse._ArgumentGroup, estimator: str) -> None:
    """One option for each of an estimator; what is not given is None."""
    of: Any = estimator_class(estimator)
    for field in dataclasses.fields(of):
        # The histogram's are those of the run.
        shown = "the run's" if estimator == "histogram" and field.name in ("bins", "compat") else str(field.default)
        text = f"{_words(kinds(of)[field.name])} (default: {shown.lower()})"
        group.add_argument(flag(field.name), dest=_dest(field.name), metavar="X", help=text)


def options_of(arguments: argparse.Namespace, estimator: str) -> dict[str, Any]:
    """The options of an estimator that were given, as values; the estimator checks whether they are allowed.

    Raises:
      UsageError: a text that is no value of the option.
    """
    of: Any = estimator_class(estimator)
    values: dict[str, Any] = {}
    for name, kind in kinds(of).items():
        if (text := getattr(arguments, _dest(name))) is None:
            continue
        try:
            if kind.optional and text == "none":
                values[name] = None
            else:
                values[name] = {"true": True, "false": False}[text] if kind.item is bool else kind.item(text)
        except (ValueError, KeyError):
            raise UsageError(f"{flag(name)} = {text!r}; allowed: {_words(kind)}") from None
    return values


def _words(kind: Kind) -> str:
    """What the text of an estimator's option may be."""
    return _WORDS[kind.item] + " or none" * kind.optional


def _dest(name: str) -> str:
    return f"option_{name}"
