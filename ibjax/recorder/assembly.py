"""The trajectory of a recorder's logs, and the logs of a trajectory that is to be continued.

Shapes: S seeds, E logged epochs, L layers, N patterns, C classes.
"""

from __future__ import annotations

import errno
import hashlib
import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import numpy.typing as npt

from ibjax._files import check_target
from ibjax.data.dataset import Dataset
from ibjax.information.estimator import Estimator, describe
from ibjax.probability import FloatArray
from ibjax.recorder.arrays import as_array
from ibjax.recorder.complaints import divergence
from ibjax.trajectory.provenance import differing_entries, origin
from ibjax.trajectory.schema import AXES, extra_axes
from ibjax.trajectory.trajectory import Trajectory

Log = dict[str, npt.NDArray[Any]]
"""What is measured at one epoch, by the trajectory's keys, (S,) or (S, L) each; "diverged": whether it shows there."""


def rows(inputs: Any, n_patterns: int) -> npt.NDArray[np.float64] | None:
    """(N, features) of patterns of any framework, (N, ...), a copy; None of none.

    Raises:
      ValueError: another number of them than of labels. TypeError: no array of real numbers.
    """
    if inputs is None:
        return None
    array = np.array(as_array("inputs", inputs), np.float64)
    if array.ndim == 0 or len(array) != n_patterns:
        raise ValueError(
            f"inputs have shape {array.shape}; allowed: ({n_patterns}, ...), as many patterns as there are labels"
        )
    return array.reshape(len(array), -1)


def entropies(
    p_y_given_x: FloatArray, p_x: FloatArray | None, inputs: npt.NDArray[np.float64] | None
) -> dict[str, float]:
    """`i_xy`, `h_x` and `h_y` in bits; without inputs each pattern is a value of X of its own."""
    known = np.arange(len(p_y_given_x), dtype=np.float64)[:, None] if inputs is None else inputs
    dataset = Dataset(known, p_y_given_x, p_x)
    return {"i_xy": dataset.information, "h_x": dataset.h_x, "h_y": dataset.h_y}


def identity(
    given: npt.NDArray[Any],
    p_x: FloatArray | None,
    inputs: npt.NDArray[np.float64] | None,
    estimators: Sequence[Estimator],
    **options: Any,
) -> dict[str, Any]:
    """What a recorder is, as its file tells: the same for every process that continues it."""
    if inputs is not None and any(estimator.needs_inputs for estimator in estimators):
        options["inputs_sha256"] = hashlib.sha256(inputs.tobytes()).hexdigest()
    parts = [given.tobytes(), b"" if p_x is None else p_x.tobytes()]
    labels = hashlib.sha256(b"|".join([repr(given.shape).encode(), *parts])).hexdigest()
    return {"labels_sha256": labels, "estimators": {e.name: describe(e) for e in estimators}, **options}


def checked_path(path: Path) -> tuple[int, int, int] | None:
    """The signature of a file that can be written; None where there is none yet.

    Raises:
      OSError: it cannot; names `path` and why.
    """
    target = Path(os.path.realpath(path))  # a link stays, what it points to is written
    try:
        check_target(target, overwrite=True)
        # Tried, not asked: permissions, read-only mounts and quotas all answer the same way.
        with tempfile.NamedTemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        why = f"there is no folder {str(target.parent)!r}" if missing else error.strerror or str(error)
        words = f"path = {str(path)!r} cannot be written: {why}; allowed: a file in a folder that is there"
        raise OSError(error.errno, words) from error  # of the same class, as Python chooses it by the number
    return signature(path)


def signature(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file is written; None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def write(trajectory: Trajectory, path: Path, seen: tuple[int, int, int] | None) -> tuple[int, int, int] | None:
    """Write the file of a recorder, unless it is no longer what this one has seen; its new signature.

    Raises:
      FileExistsError: it has changed. OSError: it cannot be written.
    """
    if signature(path) != seen:
        why = "somebody else, another recorder perhaps, has changed it since this one read or wrote it"
        raise FileExistsError(errno.EEXIST, why, str(path))
    trajectory.save(path)
    return signature(path)


def to_trajectory(
    recorder: Mapping[str, Any],
    *,
    seeds: Sequence[int],
    epochs: Sequence[int],
    widths: Mapping[str, int],
    logs: Sequence[Log],
    data: Mapping[str, Any],
    entropies: Mapping[str, float],
) -> Trajectory:
    """The trajectory of the logs.

    Args:
      recorder: its `identity`.
      seeds: S numbers.
      epochs: E of them.
      widths: units of each layer, by name.
      logs: E of them; a key that some lack is NaN there.
      data: `p_y_given_x` and `p_x` for the file.
      entropies: those of `entropies`.
    """
    keys = dict.fromkeys(key for log in logs for key in log if key != "diverged")
    arrays = {key: np.stack(_filled(key, logs), axis=1) for key in keys}
    estimators = recorder["estimators"]
    first = next(iter(estimators))
    measured = {} if first == "histogram" else {"measured": {"estimator": first, **estimators[first]}}
    fields: dict[str, Any] = {key: array for key, array in arrays.items() if key in AXES} | dict(entropies)
    return Trajectory(
        config={
            "recorder": dict(recorder),
            "estimators": estimators,
            **measured,
            **origin(jax.local_devices()[0].device_kind),
        },
        seeds=np.array(seeds, np.int64),
        epochs=np.array(epochs, np.int64),
        layer_names=tuple(widths),
        layer_widths=tuple(widths.values()),
        diverged=np.logical_or.reduce([log["diverged"] for log in logs]),  # once diverged, diverged
        extras={**{key: array for key, array in arrays.items() if key not in AXES}, **data},
        **fields,
    )


def _filled(key: str, logs: Sequence[Log]) -> list[npt.NDArray[Any]]:
    """What each log has of a key, NaN where it has nothing."""
    model = next(log[key] for log in logs if key in log)
    return [log.get(key, np.full_like(model, math.nan)) for log in logs]


def _differences(recorded: dict[str, Any], recorder: Mapping[str, Any]) -> list[str]:
    """In what a file's recorder differs from the one here, in words."""
    theirs, ours, found = dict(recorded), dict(recorder), []
    for what in ("labels", "inputs"):
        if theirs.pop(f"{what}_sha256", None) != ours.pop(f"{what}_sha256", None):
            found.append(f"other {what}")
            for entropy in ("i_xy", "h_x", "h_y"):  # what follows from them
                theirs[entropy] = ours[entropy]
    told = [each.get("estimators") for each in (theirs, ours)]
    names = [", ".join(each) if isinstance(each, dict) else "none" for each in told]  # theirs are whatever a file has
    if names[0] != names[1]:
        found.append(f"estimators {names[0]}, here {names[1]}")
        theirs["estimators"] = ours["estimators"]
    return found + [f"{name}: {old!r}, here {new!r}" for name, old, new in differing_entries(theirs, ours)]


def from_trajectory(trajectory: Trajectory, recorder: Mapping[str, Any]) -> list[Log]:
    """The logs of a file, if it is of an equal recorder.

    Raises:
      ValueError: it is of another; names what differs.
    """
    recorded = trajectory.config.get("recorder")
    if not isinstance(recorded, dict):
        raise ValueError("it is of no recorder; allowed: a new name, or a file that an equal recorder wrote")
    if differ := _differences(recorded, recorder):
        raise ValueError(f"it is of another recorder; {'; '.join(differ)}; allowed: an equal one, or a new name")
    names = trajectory.layer_names
    every = {key: getattr(trajectory, key) for key in AXES if key not in trajectory.absent} | dict(trajectory.extras)
    axes = {key: AXES.get(key) or extra_axes(key, names) for key in every}
    over_epochs = [key for key in every if axes[key].startswith("SE")]
    logs = [{key: np.array(every[key][:, place]) for key in over_epochs} for place in range(trajectory.epochs.size)]
    for log, signs in zip(logs, divergence(logs), strict=True):
        log["diverged"] = signs & trajectory.diverged
    return logs
