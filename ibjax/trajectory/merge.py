"""Runs of one configuration over different seeds as one.

Shapes: S seeds.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ibjax.config import PER_SEED
from ibjax.trajectory.schema import AXES, SCALARS, TrajectoryError, extra_axes
from ibjax.trajectory.trajectory import Trajectory


def concatenate(trajectories: Sequence[Trajectory]) -> Trajectory:
    """Join runs of one configuration over different seeds, in the order given.

    Runs may differ in a field that holds a value a seed (`setting`) in any of them. The joint `config` is the first's,
    with all seeds and their values; "merged_from" lists seeds, versions, device and command
    of each run.

    Raises:
        TrajectoryError: none given, a seed occurs in two, or the runs differ in a field of the configuration
            other than `seeds`, in the epochs, layers, data set or dtypes; names what differs.
    """
    if not trajectories:
        raise TrajectoryError("trajectories is empty; expected at least one")
    first = trajectories[0]
    for index, other in enumerate(trajectories[1:], 1):
        if differing := _differing(first, other):
            raise TrajectoryError(f"trajectories 0 and {index} differ in {', '.join(differing)}")
    seeds = np.concatenate([t.seeds for t in trajectories])
    values, counts = np.unique(seeds, return_counts=True)
    if np.any(counts > 1):
        raise TrajectoryError(f"seeds {values[counts > 1].tolist()} occur in more than one trajectory")
    if len(trajectories) == 1:
        return first
    config = dict(first.config)
    if isinstance(config.get("config"), dict):
        swept = {key: np.concatenate([t.setting(key) for t in trajectories]).tolist() for key in _swept(trajectories)}
        config["config"] = {**config["config"], "seeds": seeds.tolist(), **swept}
    config["merged_from"] = [part for t in trajectories for part in _sources(t)]
    joint: dict[str, Any] = {key: np.concatenate([getattr(t, key) for t in trajectories]) for key in AXES}
    extras = dict(first.extras)
    for key in extras:
        if extra_axes(key, first.layer_names)[0] == "S":
            extras[key] = np.concatenate([t.extras[key] for t in trajectories])
    return replace(first, config=config, seeds=seeds, extras=extras, **joint)


def _sources(trajectory: Trajectory) -> list[dict[str, Any]]:
    if "merged_from" in trajectory.config:
        return list(trajectory.config["merged_from"])
    rest = {key: value for key, value in trajectory.config.items() if key != "config"}
    return [{"seeds": trajectory.seeds.tolist(), **rest}]


def _differing(a: Trajectory, b: Trajectory) -> list[str]:
    """What keeps two runs from being parts of one, in words."""
    ours, others = (dict(t.config.get("config", {})) for t in (a, b))
    found = [
        f"config {key} ({ours.get(key)!r}, {others.get(key)!r})"
        for key in sorted(ours.keys() | others.keys())
        if key not in ("seeds", *_swept([a, b])) and (key in ours, ours.get(key)) != (key in others, others.get(key))
    ]
    found += [
        f"{key} ({mine!r}, {theirs!r})"
        for key in ("custom", "estimators", "measured")
        if (mine := _asked(a, key)) != (theirs := _asked(b, key))
    ]
    found += [key for key in ("layer_names", "layer_widths", *SCALARS) if getattr(a, key) != getattr(b, key)]
    if not np.array_equal(a.epochs, b.epochs):
        found.append("epochs")
    found += [key for key in AXES if _kind(getattr(a, key)) != _kind(getattr(b, key))]
    for key in sorted(a.extras.keys() | b.extras.keys()):
        if key not in a.extras or key not in b.extras or _kind(a.extras[key]) != _kind(b.extras[key]):
            found.append(key)
            continue
        of_the_task = extra_axes(key, a.layer_names)[0] != "S"
        if of_the_task and not np.array_equal(a.extras[key], b.extras[key]):
            found.append(key)
    return found


def _asked(trajectory: Trajectory, key: str) -> Any:
    """An entry of the configuration's file that must agree, less what tells where and when."""
    entry = trajectory.config.get(key)
    if key == "measured" and isinstance(entry, dict):
        return {part: entry.get(part) for part in ("estimator", "options")}
    return entry


def _swept(trajectories: Sequence[Trajectory]) -> list[str]:
    """The fields that hold a value a seed in one of the runs at least."""
    configs = [t.config.get("config") for t in trajectories]
    return [key for key in PER_SEED if any(isinstance(c, dict) and isinstance(c.get(key), list) for c in configs)]


def _kind(array: npt.NDArray[Any]) -> tuple[np.dtype[Any], tuple[int, ...]]:
    return array.dtype, array.shape[1:]
