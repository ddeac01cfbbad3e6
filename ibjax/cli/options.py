"""Options that stand for the fields of `Config` and of the estimators: their help, and their values from text."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import math
import re
import textwrap
import tomllib
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from ibjax._checks import unknown
from ibjax._fields import WORDS, Kind, allowed, from_text, kinds
from ibjax.config import LARGEST_SEED, MOST_SEEDS, Config
from ibjax.information.estimator import estimator_class
from ibjax.presets import PRESETS


class UsageError(Exception):
    """What the user asked for cannot be done; the message says why and what can."""


class RunError(Exception):
    """What was asked for could be done and was not; the message says why."""


@contextlib.contextmanager
def refuse(subject: str = "") -> Iterator[None]:
    """Turn the library's refusal of what the user asked for into a `UsageError`, its message begun with `subject`."""
    try:
        yield
    except (ValueError, TypeError, MemoryError) as error:
        raise UsageError(f"{subject}{error}") from error


def add_fields(group: argparse._ArgumentGroup) -> None:
    """One option for each field of `Config`; what is not given is no attribute and leaves the preset's value."""
    for field in dataclasses.fields(Config):
        default, about, kind = field.default, field.metadata, kinds(Config)[field.name]
        parts, none = [about["help"], about.get("usage")], about.get("none", "none")
        options: dict[str, Any] = {"action": argparse.BooleanOptionalAction}
        shown = flag(field.name if default else f"no_{field.name}")
        if kind.item is not bool:
            one = {str: "NAME", int: "N", float: "X"}[kind.item]
            metavar = "|".join([one] * kind.single + [f"{one},{one}"] * kind.several + [none] * kind.optional)
            options = {"type": partial(parse, field.name, kind, about), "metavar": about.get("metavar", metavar)}
            shown = ",".join(map(str, default)) if isinstance(default, tuple) else str(default).lower()
            words = allowed(kind, about)  # in Python
            parts.append("allowed: " + words.replace("'", "").replace("a tuple", "a list").replace("None", none))
        text = f"{'; '.join(filter(None, parts))} (default: {shown})"
        group.add_argument(flag(field.name), default=argparse.SUPPRESS, help=text, **options)


def add_options(group: argparse._ArgumentGroup, estimator: str) -> None:
    """One option for each of an estimator; what is not given is no attribute."""
    of: Any = estimator_class(estimator)
    for field in dataclasses.fields(of):
        kind = kinds(of)[field.name]
        # The histogram's are those of the run.
        shown = "the run's" if estimator == "histogram" and field.name in ("bins", "compat") else str(field.default)
        text = f"{_words(kind)} (default: {shown.lower()})"
        value = partial(parse, field.name, kind, field.metadata)
        group.add_argument(flag(field.name), type=value, default=argparse.SUPPRESS, metavar="X", help=text)


def options_of(arguments: argparse.Namespace, of: type) -> dict[str, Any]:
    """The fields of a dataclass that were given; the dataclass checks whether they are allowed."""
    return {name: getattr(arguments, name) for name in kinds(of) if name in arguments}


def config_of(arguments: argparse.Namespace) -> Config:
    """The preset with what the file of `--config` says in its place, and with the options given in place of both.

    Raises:
      UsageError: a value that is not allowed; says of which option or file and what is.
      OSError: the file cannot be read.
    """
    if arguments.preset not in PRESETS:
        raise UsageError(unknown("--preset", arguments.preset, tuple(PRESETS)))
    base = PRESETS[arguments.preset]
    if arguments.config is not None:
        base = _read(arguments.config, base)
    with refuse():
        return dataclasses.replace(base, **options_of(arguments, Config))


def _read(path: str, base: Config) -> Config:
    """The configuration with the fields that a TOML file names."""
    subject = f"--config = {path!r}"
    with open(path, "rb") as file:
        try:
            values = tomllib.load(file)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UsageError(f"{subject} is no TOML: {error}") from error
    for name, value in values.items():
        if name not in kinds(Config):
            raise UsageError(unknown(f"{subject}: field", name, tuple(kinds(Config))))
        if kinds(Config)[name].optional and value == _none(name):  # TOML has no word for it
            values[name] = None
        elif isinstance(value, list):
            values[name] = tuple(value)
    with refuse(f"{subject}: "):
        return dataclasses.replace(base, **values)


def toml(config: Config) -> str:
    """What `--config` reads, a line for each field behind one that explains it."""
    lines: list[str] = []
    wrap = partial(textwrap.wrap, break_long_words=False, break_on_hyphens=False)
    for field in dataclasses.fields(Config):
        value = getattr(config, field.name)
        value = _none(field.name) if value is None else value
        lines += wrap(field.metadata["help"], 78, initial_indent="# ", subsequent_indent="# ")
        # JSON's numbers, texts and lists are TOML's; lists may have several lines, texts and assignments may not: only
        # spaces between the items of a list are for the wrapping to see, the others a character JSON never has.
        several = isinstance(value, tuple)
        items = [json.dumps(item).replace(" ", "\0") for item in (value if several else (value,))]
        text = ", ".join(items)
        text = f"{field.name}\0=\0{f'[{text}]' if several else text}"
        wrapped = [text] if len(text) <= 80 else wrap(text, 78, subsequent_indent="    ")
        lines += [line.replace("\0", " ") for line in wrapped]
    return "\n".join(lines) + "\n"


def _none(field: str) -> str:
    """The word for None on the command line and in files."""
    return str(next(f.metadata.get("none", "none") for f in dataclasses.fields(Config) if f.name == field))


def flag(field: str) -> str:
    """The option of a field."""
    return "--" + field.replace("_", "-")


def _words(kind: Kind, none: str = "none") -> str:
    """What the text of an option may be."""
    one = WORDS[kind.item]
    many = f"comma-separated {one.split()[1]}s"
    return " or ".join([one] * kind.single + [many] * kind.several + [none] * kind.optional)


def parse(name: str, kind: Kind, about: Mapping[str, Any], text: str) -> Any:
    """The value of an option, by the kind of its field."""
    none = about.get("none", "none")
    if kind.optional and text == none:
        return None
    if kind.optional and "choices" in about and text not in about["choices"]:  # `Config` would not speak of "none"
        raise UsageError(unknown(flag(name), text, (*about["choices"], none)))
    words = _words(kind, none)
    if name == "seeds":
        words = f"N, A:B with A < B, or a comma-separated list, at most {MOST_SEEDS} seeds from 0 to {LARGEST_SEED}"
    try:
        if name == "seeds" and (span := re.fullmatch(r"([0-9]{1,12}):([0-9]{1,12})", text)):
            first, end = map(int, span.groups())
            if not first < end <= LARGEST_SEED + 1 or end - first > MOST_SEEDS:
                raise ValueError  # here: a long range would fill the memory before `Config` could refuse it
            return tuple(range(first, end))
        if kind.several and ("," in text or not kind.single):
            items = text.removesuffix(",")  # a single item is told from a number by its comma, as in Python
            return tuple(kind.item(item) for item in items.split(",")) if items else ()
        return from_text(text, kind)
    except ValueError:
        raise UsageError(f"{flag(name)} = {text!r}; allowed: {words}") from None


def millimetres(text: str) -> float:
    """A width in inches, from millimetres with or without their unit.

    Raises:
      UsageError: it is none, or none that a figure can have.
    """
    try:
        width = float(text.removesuffix("mm"))
    except ValueError:
        width = math.nan
    if not 60 <= width <= 400:
        raise UsageError(f"--width = {text!r}; allowed: 60mm to 400mm, in mm with or without this unit")
    return width / 25.4
