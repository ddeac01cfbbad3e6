"""Runs of one configuration over different seeds as one.

Shapes: S seeds.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ibjax.config import PER_SEED
from ibjax.trajectory.provenance import differing_entries
from ibjax.trajectory.schema import AXES, TrajectoryError, all_axes, extra_axes
from ibjax.trajectory.trajectory import Trajectory

_ADDED = {"weight_decay": 0.0, "initial_scale": 1.0, "momentum": 0.0, "loss": "cross_entropy", "phases": []}
"""Fields of the configuration that version 0.1.0 had not, as its runs are in them."""


def concatenate(trajectories: Iterable[Trajectory]) -> Trajectory:
    """Join runs of one configuration over different seeds, in the order given.

    Runs may differ in a field that holds a value a seed (`setting`) in any of them. The joint `config` is the first's,
    with all seeds and their values; "merged_from" lists seeds, versions, device and command of each run.

    Raises:
      TypeError: something that is no trajectory is among them.
      TrajectoryError: none given, a seed occurs in two, or the runs differ in a field of the configuration other than
        `seeds`, in the epochs, layers, data set, dtypes or the arrays they have; names what differs.
    """
    trajectories = [trajectories] if isinstance(trajectories, Trajectory) else list(trajectories)
    for index, one in enumerate(trajectories):
        if not isinstance(one, Trajectory):
            raise TypeError(f"trajectories[{index}] = {one!r}; allowed: an ibjax.Trajectory, as ibjax.load reads it")
    if not trajectories:
        raise TrajectoryError("trajectories is empty; allowed: at least one")
    first = trajectories[0]
    seeds = joint_seeds(trajectories, [str(index) for index in range(len(trajectories))])
    if len(trajectories) == 1:
        return first
    config = joint_config(trajectories) | {"merged_from": [part for t in trajectories for part in sources(t)]}
    present = [key for key in AXES if key not in first.absent]
    joint: dict[str, Any] = {key: np.concatenate([getattr(t, key) for t in trajectories]) for key in present}
    extras = dict(first.extras)
    for key in extras:
        if extra_axes(key, first.layer_names)[0] == "S":
            extras[key] = np.concatenate([t.extras[key] for t in trajectories])
    return replace(first, config=config, seeds=seeds, extras=extras, **joint)


def joint_seeds(trajectories: Sequence[Trajectory], names: Sequence[str]) -> npt.NDArray[np.int64]:
    """The seeds of runs that are parts of one, in the order given; `names` tell them apart in messages.

    Raises:
      TrajectoryError: as `concatenate`.
    """
    for name, other in zip(names[1:], trajectories[1:], strict=True):
        if differences := _differences(trajectories[0], other, (names[0], name)):
            raise TrajectoryError(f"trajectories {names[0]} and {name} differ in {', '.join(differences)}")
    seeds = np.concatenate([t.seeds for t in trajectories])
    values, counts = np.unique(seeds, return_counts=True)
    if np.any(counts > 1):
        raise TrajectoryError(f"seeds {values[counts > 1].tolist()} occur in more than one trajectory")
    return seeds


def joint_config(trajectories: Sequence[Trajectory]) -> dict[str, Any]:
    """The first one's `config`, with the seeds of all and their settings."""
    config = dict(trajectories[0].config)
    if "config" in config:
        swept = {key: np.concatenate([t.setting(key) for t in trajectories]).tolist() for key in _swept(trajectories)}
        seeds = np.concatenate([t.seeds for t in trajectories])
        config["config"] = {**config["config"], "seeds": seeds.tolist(), **swept}
    return config


def sources(trajectory: Trajectory) -> list[dict[str, Any]]:
    """Where its seeds came from: in each entry those of one place, and its versions, device and command."""
    rest = {key: value for key, value in trajectory.config.items() if key != "config"}
    return rest.get("merged_from", [{"seeds": trajectory.seeds.tolist(), **rest}])


def _differences(a: Trajectory, b: Trajectory, names: tuple[str, str]) -> list[str]:
    """What keeps two runs, of these names, from being parts of one, in words."""
    free = ("seeds", *_swept([a, b]))
    decisive = differing_entries(_decisive(a, free), _decisive(b, free))
    found = [f"{name} ({ours!r}, {theirs!r})" for name, ours, theirs in decisive]
    ours, theirs = _signatures(a), _signatures(b)
    for key in ours | theirs:
        if absent := [name for name, there in zip(names, (ours, theirs), strict=True) if key not in there]:
            found.append(f"{key} (absent in {absent[0]})")
        elif ours[key] != theirs[key]:
            found.append(key)
    return found


def _signatures(trajectory: Trajectory) -> dict[str, tuple[Any, ...]]:
    """What must agree of each array: of one of the seeds dtype and shape, of one of the task the values too."""
    signatures: dict[str, tuple[Any, ...]] = {}
    for key, array in trajectory.arrays().items():
        if all_axes(key, trajectory.layer_names).startswith("S"):
            signatures[key] = (array.dtype, array.shape[1:])
        elif key not in ("schema_version", "config", "seeds"):
            signatures[key] = (array.dtype, array.shape, array.tobytes())
    return signatures


def _decisive(trajectory: Trajectory, free: Sequence[str]) -> dict[str, Any]:
    """The entries of the configuration's file that must agree: all but `free` fields and what tells where and when."""
    config = trajectory.config
    if measured := config.get("measured"):
        measured = {part: measured.get(part) for part in ("estimator", "options")}
    recorded = config.get("config", {})
    recorded = recorded and _ADDED | recorded
    decisive = {key: value for key, value in recorded.items() if key not in free}
    others = {key: config.get(key) for key in ("custom", "estimators", "target_edges")}
    return {"config": decisive, **others, "measured": measured}


def _swept(trajectories: Sequence[Trajectory]) -> list[str]:
    """The fields that hold a value a seed in one of the runs at least."""
    return [key for key in PER_SEED if any(key in t.swept() for t in trajectories)]
