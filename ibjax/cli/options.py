"""Options that stand for the fields of `Config` and of the estimators: their help, and their values from text."""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Callable
from typing import Any

from ibjax._checks import unknown
from ibjax.config import LARGEST_SEED, PRESETS, Config, choices
from ibjax.information.estimator import ESTIMATORS, estimator_class

_MOST_SEEDS = 10**7  # as many as `Config` takes; a longer range would fill the memory before it could refuse

# In the words of the command line; `Config` documents the same fields for Python.
_HELP = {
    "dataset": "the task, or a .mat or .npz file with the fields F and y",
    "seeds": "N for the networks 0..N-1, A:B for A..B-1, or a list A,B,C (one alone: A,)",
    "epochs": "passes over the training set",
    "logged_epochs": "how many log-spaced epochs to measure at (duplicates merged, 0 and the last always among them), "
    "or a list of them (one alone: E,)",
    "hidden_widths": "units of each hidden layer, from the input on",
    "activation": "of the hidden layers",
    "output": "sigmoid is one unit for binary labels, softmax a unit per class",
    "train_fraction": "share of the patterns used for training, more than 0, at most 1; or a list, one a seed",
    "split": "random: drawn anew for each seed; ordered: the first patterns in counting order",
    "batch_size": "patterns in a minibatch, the last of an epoch may be smaller; all: the full batch",
    "shuffle": "a new order of the patterns each epoch, or as they stand",
    "optimizer": "how the weights are updated",
    "learning_rate": "step size of the optimizer, more than 0; or a list, one a seed",
    "noise": "standard deviation of Gaussian noise on the activations of the hidden layers in training; or a list, "
    "one a seed",
    "initializer": "kernels are drawn from a normal distribution cut at two standard deviations, 1/sqrt(fan-in) or "
    "1/sqrt(fan-out) before the cut; biases start at zero",
    "measure_on": "the patterns whose information is measured; train and test are each network's own",
    "bins": "cells of the histogram for each unit, 2 to 4096",
    "compat": "idnns: take the bins as the number of edges from -1 to 1, as the released code does, which makes one "
    "interval fewer and one more cell for values >= 1; none: equal cells",
    "precision": "of the training and of the measures",
    "backend": "plain trains anything anywhere; fused trains tanh networks narrower than 64 in one GPU kernel an "
    "epoch (slowly on a CPU); auto takes the fused one on a GPU where it can",
    "store_weights": "keep all parameters at every logged epoch, for other estimators later",
    "estimators": f"what to measure at every logged epoch, of {', '.join(ESTIMATORS)}; the histogram always is",
}
_METAVARS = {
    "dataset": "NAME|FILE",
    "seeds": "N|A:B|A,B",
    "logged_epochs": "N|E,E",
    "hidden_widths": "W,W",
    "batch_size": "N|all",
    "train_fraction": "X|X,X",
    "learning_rate": "X|X,X",
    "noise": "X|X,X",
    "compat": "NAME|none",
    "estimators": "NAME,NAME",
}
_ABSENT = {"batch_size": ("all", "none"), "compat": ("none",)}
"""Words for None."""


class UsageError(Exception):
    """What the user asked for cannot be done; the message says why and what can."""


def option(field: str) -> str:
    """The option of a field of `Config`."""
    return "--" + field.replace("_", "-")


def add_fields(group: argparse._ArgumentGroup) -> None:
    """One option for each field of `Config`; what is not given is None and leaves the preset's value."""
    for field in dataclasses.fields(Config):
        default, names = field.default, choices(field.name)
        text = _HELP[field.name]
        if isinstance(default, bool):
            shown = option(field.name) if default else option("no_" + field.name)
            action = argparse.BooleanOptionalAction
            group.add_argument(option(field.name), action=action, default=None, help=f"{text} (default: {shown})")
            continue
        shown = ",".join(map(str, default)) if isinstance(default, tuple) else str(default).lower()
        allowed = f"; one of {', '.join(names)}" if names and len(names) > 1 else ""
        metavar = _METAVARS.get(field.name, "NAME" if names else "X" if isinstance(default, float) else "N")
        group.add_argument(option(field.name), metavar=metavar, help=f"{text}{allowed} (default: {shown})")


def config_of(arguments: argparse.Namespace) -> Config:
    """The preset with the options given in its place.

    Raises:
      UsageError: a value that is not allowed; says of which option and what is.
    """
    if arguments.preset not in PRESETS:
        raise UsageError(unknown("--preset", arguments.preset, tuple(PRESETS)))
    given = {field: getattr(arguments, field.name) for field in dataclasses.fields(Config)}
    changes = {field.name: _parsed(field, value) for field, value in given.items() if value is not None}
    try:
        return dataclasses.replace(PRESETS[arguments.preset], **changes)
    except (ValueError, TypeError) as error:
        raise UsageError(str(error)) from error


def _parsed(field: dataclasses.Field[Any], text: str | bool) -> Any:
    """The value of an option, by the type of its field; `Config` checks whether it is allowed."""
    kind = str(field.type)
    if isinstance(text, bool) or text in _ABSENT.get(field.name, ()):
        return None if isinstance(text, str) else text
    if field.name == "compat" and text not in (names := (*(choices("compat") or ()), *_ABSENT["compat"])):
        raise UsageError(unknown("--compat", text, names))  # `Config` would not speak of "none"
    allowed = "a number" if "float" in kind else "an integer"
    if field.name == "seeds":
        allowed = "N, A:B or a comma-separated list"
        if span := re.fullmatch(r"([0-9]{1,12}):([0-9]{1,12})", text):
            return _seed_range(text, int(span[1]), int(span[2]))
    elif "tuple[float" in kind:
        allowed = "a number or comma-separated numbers"
    elif "tuple" in kind:
        allowed = "comma-separated integers" if "int |" not in kind else "an integer or comma-separated integers"
    elif field.name in _ABSENT:
        allowed += f" or {_ABSENT[field.name][0]}"
    try:
        if "tuple" in kind and ("," in text or "| tuple" not in kind):
            items = text.removesuffix(",")  # a single item is told from a number by its comma, as in Python
            one = str if "tuple[str" in kind else float if "tuple[float" in kind else int
            return tuple(one(item) for item in items.split(",")) if items else ()
        if "float" in kind:
            return float(text)
        return int(text) if "int" in kind else text
    except ValueError:
        raise UsageError(f"{option(field.name)} = {text!r}; allowed: {allowed}") from None


def _seed_range(text: str, first: int, end: int) -> tuple[int, ...]:
    if not first < end <= LARGEST_SEED + 1 or end - first > _MOST_SEEDS:
        raise UsageError(
            f"--seeds = {text!r}; allowed: A:B with A < B, at most {_MOST_SEEDS} seeds from 0 to {LARGEST_SEED}"
        )
    return tuple(range(first, end))


def add_options(group: argparse._ArgumentGroup, estimator: str) -> None:
    """One option for each of an estimator; what is not given is None."""
    for field in dataclasses.fields(estimator_class(estimator)):
        words, _ = _of_kind(field)
        # The histogram's are those of the run.
        shown = "the run's" if estimator == "histogram" and field.name in ("bins", "compat") else str(field.default)
        text = f"{words} (default: {shown.lower()})"
        group.add_argument(option(field.name), dest=_dest(field), metavar="X", help=text)


def options_of(arguments: argparse.Namespace, estimator: str) -> dict[str, Any]:
    """The options of an estimator that were given, as values; the estimator checks whether they are allowed.

    Raises:
      UsageError: a text that is no value of the option.
    """
    values: dict[str, Any] = {}
    for field in dataclasses.fields(estimator_class(estimator)):
        if (text := getattr(arguments, _dest(field))) is None:
            continue
        words, parse = _of_kind(field)
        try:
            values[field.name] = None if text == "none" and "None" in str(field.type) else parse(text)
        except (ValueError, KeyError):
            raise UsageError(f"{option(field.name)} = {text!r}; allowed: {words}") from None
    return values


def _of_kind(field: dataclasses.Field[Any]) -> tuple[str, Callable[[str], Any]]:
    """What the text of an option may be, and how it is read."""
    kinds: dict[str, tuple[str, Callable[[str], Any]]] = {
        "bool": ("true or false", {"true": True, "false": False}.__getitem__),
        "int": ("an integer", int),
        "float": ("a number", float),
        "str": ("a name", str),
    }
    words, parse = kinds[str(field.type).split(" ")[0]]
    return words + " or none" * ("None" in str(field.type)), parse


def _dest(field: dataclasses.Field[Any]) -> str:
    return f"option_{field.name}"
