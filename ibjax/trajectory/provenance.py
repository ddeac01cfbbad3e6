"""Where a trajectory comes from, how to train it again, and in what two descriptions of runs differ.

Shapes: S seeds.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import Any

from ibjax.config import Config
from ibjax.trajectory.trajectory import Trajectory


@functools.cache
def versions() -> dict[str, str]:
    """Versions of what decides about the numbers of a run, by package."""
    return {name: metadata.version(name) for name in ("ibjax", "jax", "jaxlib", "numpy", "optax")}


def origin(device_kind: str) -> dict[str, Any]:
    """Of what is computed here and now, for a trajectory's `config`: versions, device and command."""
    return {"versions": versions(), "device_kind": device_kind, "command": list(sys.argv)}


def recorded_config(trajectory: Trajectory) -> Config:
    """The configuration of a run's file, with the seeds the file holds and the per-seed settings of these.

    Raises:
      ValueError: the configuration is not one of this ibjax, or not that of the file's arrays.
    """
    recorded = trajectory.config.get("config")
    if recorded is None:
        raise ValueError("the trajectory holds no configuration")
    known = {field.name for field in dataclasses.fields(Config)}
    if strange := sorted(map(str, recorded.keys() - known)):
        raise ValueError(f"this ibjax does not know {', '.join(strange)} of its configuration")
    try:
        config = Config(**recorded | trajectory.swept() | {"seeds": trajectory.seeds})
    except (ValueError, TypeError) as error:
        raise ValueError(f"its configuration is not allowed: {error}") from error
    sizes = {"logged epochs": (config.logged, tuple(trajectory.epochs.tolist()))}
    if "network" not in (trajectory.config.get("custom") or ()):
        sizes["hidden widths"] = (config.hidden_widths, trajectory.layer_widths[:-1])
    for name, (stated, held) in sizes.items():
        if stated != held:
            raise ValueError(f"its configuration states {name} {_short(stated)}, its arrays are of {_short(held)}")
    return config


def _short(numbers: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, numbers[:6]))}{', ...' if len(numbers) > 6 else ''}), {len(numbers)} in all"


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
