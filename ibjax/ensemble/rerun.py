"""Repeating a run from what its file says of it."""

from __future__ import annotations

import dataclasses
from typing import Any

from ibjax.config import PER_SEED, Config
from ibjax.trajectory.trajectory import Trajectory


def recorded_config(trajectory: Trajectory) -> Config:
    """The configuration of a run's file, with the seeds the file holds and their own settings.

    Raises:
      ValueError: the configuration is not one of this ibjax.
    """
    recorded = trajectory.config.get("config")
    if not isinstance(recorded, dict):
        raise ValueError("the trajectory holds no configuration")
    known = {field.name for field in dataclasses.fields(Config)}
    if strange := sorted(map(str, recorded.keys() - known)):
        raise ValueError(f"this ibjax does not know {', '.join(strange)} of its configuration")
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in recorded.items()
    }
    varied = [name for name in PER_SEED if isinstance(values.get(name), tuple)]
    values |= {name: tuple(trajectory.setting(name).tolist()) for name in varied}
    try:
        return Config(**{**values, "seeds": tuple(trajectory.seeds.tolist())})
    except (ValueError, TypeError) as error:
        raise ValueError(f"its configuration is not allowed: {error}") from error


def repeatable_config(trajectory: Trajectory) -> Config:
    """`recorded_config` of a run that can be repeated from its file.

    Raises:
      ValueError: the run had parts that no file can hold, or its configuration is not one of this ibjax.
    """
    if custom := trajectory.config.get("custom"):
        names = ", ".join(map(str, custom)) if isinstance(custom, list) else repr(custom)
        raise ValueError(f"it was trained with a {names} of its own, which the file does not hold; repeat it in Python")
    return recorded_config(trajectory)


def conditions(recorded: Trajectory, again: Trajectory) -> list[str]:
    """What else differs between two runs of one configuration: versions and device, a line each."""
    then, now = ({"device_kind": t.config.get("device_kind"), **_versions(t)} for t in (recorded, again))
    return [f"{key}: {then.get(key)} then, {now[key]} now" for key in now if then.get(key) != now[key]]


def _versions(trajectory: Trajectory) -> dict[str, Any]:
    versions = trajectory.config.get("versions")
    return dict(versions) if isinstance(versions, dict) else {}
