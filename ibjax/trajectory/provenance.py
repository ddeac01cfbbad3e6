"""Where a trajectory comes from, in words too, how to train it again, and in what two descriptions of runs differ.

Shapes: S seeds.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import Any

from ibjax.config import Config
from ibjax.data.spherical import spherical_dataset
from ibjax.trajectory.trajectory import Trajectory

_REPLACED_BY = {
    "dataset": ("dataset",),
    "network": ("hidden_widths", "activation", "output", "initializer"),
    "optimizer": ("optimizer", "learning_rate", "momentum"),
}
"""Fields of the configuration that a custom part takes the place of."""


def facts(trajectory: Trajectory) -> dict[str, Any]:
    """What a file tells of its run: the configuration field by field, estimators, versions, device, seeds, epochs."""
    config = trajectory.config
    told = dict(config.get("config", {}))
    for part in config.get("custom", []):
        told |= dict.fromkeys(_REPLACED_BY.get(part, ()), "custom")
    names = ("custom", "estimators", "measured", "versions", "device_kind", "command")
    told |= {name: config[name] for name in names if config.get(name)}
    told |= {"seeds held": trajectory.seeds.tolist(), "epochs logged": trajectory.epochs.tolist()}
    return told | ({"absent": list(trajectory.absent)} if trajectory.absent else {})


def in_words(value: Any) -> str:
    """A value of the configuration, of JSON, in a line; as untrusted as its file."""
    if isinstance(value, dict):  # one within it in brackets; of one that is empty, the key alone
        words = {key: f"({in_words(item)})" if isinstance(item, dict) else str(item) for key, item in value.items()}
        return ", ".join(key if words[key] == "()" else f"{key} {words[key]}" for key in value)
    if isinstance(value, list) and len(value) > 16:
        return f"{', '.join(map(str, value[:6]))} ... {value[-1]} ({len(value)} of them)"
    if isinstance(value, list):
        return " ".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value)


@functools.cache
def versions() -> dict[str, str]:
    """Versions of what decides about the numbers of a run, by package."""
    return {name: metadata.version(name) for name in ("ibjax", "jax", "jaxlib", "numpy", "optax")}


def origin(device_kind: str) -> dict[str, Any]:
    """Of what is computed here and now, for a trajectory's `config`: versions, device and command."""
    return {"versions": versions(), "device_kind": device_kind, "command": list(sys.argv)}


def recorded_config(trajectory: Trajectory) -> Config:
    """The configuration of a run's file, with the seeds and logged epochs the file holds, and the settings of these.

    Raises:
      ValueError: the configuration is not one of this ibjax, or not that of the file's arrays.
    """
    recorded = trajectory.config.get("config")
    if "recorder" in trajectory.config:
        raise ValueError("it is of a recorder, which keeps no weights and no settings; allowed: the file of a run")
    if recorded is None:
        raise ValueError("the trajectory holds no configuration")
    known = {field.name for field in dataclasses.fields(Config)}
    if strange := sorted(map(str, recorded.keys() - known)):
        raise ValueError(f"this ibjax does not know {', '.join(strange)} of its configuration")
    try:
        config = Config(**recorded | trajectory.swept() | {"seeds": trajectory.seeds})
    except (ValueError, TypeError) as error:
        raise ValueError(f"its configuration is not allowed: {error}") from error
    epochs = tuple(trajectory.epochs.tolist())
    if epochs != config.logged and set(epochs) <= set(config.logged):  # a part of a run, by `Trajectory.of_epochs`
        config = dataclasses.replace(config, logged_epochs=epochs)
    for name, stated, held in _claims(config, trajectory):
        if stated != held:
            raise ValueError(f"its configuration states {name} {_short(stated)}, its arrays are of {_short(held)}")
    return config


def _claims(config: Config, trajectory: Trajectory) -> Iterator[tuple[str, Any, Any]]:
    """What a configuration states of a file, by name: as it says, and as the file has it."""
    custom = trajectory.config.get("custom", [])
    yield "logged epochs", config.logged, tuple(trajectory.epochs.tolist())
    if "network" not in custom:
        yield "hidden widths", config.hidden_widths, trajectory.layer_widths[:-1]
        if config.output != "linear":  # which may have one unit or several
            yield "output", config.output, "sigmoid" if trajectory.layer_widths[-1] == 1 else "softmax"
    if "dataset" not in custom:
        task = spherical_dataset(config.dataset)
        of_task = tuple(round(value, 5) for value in (task.h_x, task.h_y, task.information))
        of_file = tuple(round(value, 5) for value in (trajectory.h_x, trajectory.h_y, trajectory.i_xy))
        yield f"dataset {config.dataset!r}, of H(X), H(Y), I(X;Y) in bits", of_task, of_file
    recorded = trajectory.config.get("estimators", {})
    for estimator in config.further_estimators:
        if estimator.name in recorded:
            yield f"options of {estimator.name}", estimator.options, recorded[estimator.name].get("options")


def _short(value: Any) -> str:
    if not isinstance(value, tuple):
        return repr(value)
    return f"({', '.join(map(str, value[:6]))}{', ...' if len(value) > 6 else ''}), {len(value)} in all"


def conditions(recorded: Trajectory, again: Trajectory) -> list[str]:
    """What differs between two runs of one configuration in versions and device, a line each."""
    now, then = (
        {"device_kind": t.config.get("device_kind"), **t.config.get("versions", {})} for t in (again, recorded)
    )
    return [
        f"{name}: {before} then, {after} now"
        for name, before, after in differing_entries({key: then.get(key) for key in now}, now)
    ]


def differing_entries(a: Any, b: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """In what two descriptions of runs, of JSON values, differ.

    Args:
      a, b: values; of two dicts the entries are compared, and so on.
      name: what the values are called.

    Yields:
      The name of an entry, its keys joined by spaces, and its value in `a` and in `b`; None for one that is missing.
    """
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted(a.keys() | b.keys()):
            inner = f"{name} {key}".lstrip()
            if key in a and key in b:
                yield from differing_entries(a[key], b[key], inner)
            else:
                yield inner, a.get(key), b.get(key)
    elif a != b:
        yield name, a, b
