"""`ibjax.write_tensorboard`: a run as event files, which TensorBoard shows.

Shapes: S seeds, E logged epochs, L layers; K curves, one for each tag.
"""

from __future__ import annotations

import contextlib
import os
import time
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from ibjax import _checks
from ibjax._files import atomic_write
from ibjax.analysis.phases import snr
from ibjax.analysis.statistics import Values, streamed_mean
from ibjax.trajectory.convert import attributes_of
from ibjax.trajectory.estimators import further_estimators
from ibjax.trajectory.trajectory import Trajectory

EVENTS = "events.out.tfevents.ibjax"
"""Name of each file: TensorBoard reads what has "tfevents" in its name."""

_SNR = "gradient_snr"


def write_tensorboard(
    trajectory: Trajectory, folder: str | os.PathLike[str], *, networks: bool = False, overwrite: bool = True
) -> Path:
    """Write the curves of a run over its logged epochs where TensorBoard finds them.

    The folder is a run of TensorBoard's, the mean over the networks that did not diverge; the folder above it is what
    `tensorboard --logdir` is given. Tags: `loss/train`, `loss/test`, `accuracy/train`, `accuracy/test`; for each layer
    `i_xt/<layer>` and `i_ty/<layer>` (bits), those of further estimators under their keys, and `gradient_snr/<layer>`,
    whose mean is geometric, as in `ibjax.figures.snr`. What the trajectory lacks is left out, and so are values that
    are not finite. Steps are completed epochs; the time is that of writing. Numbers are float32.

    Args:
      trajectory: of a run or a recorder; a folder of pieces is read one after another.
      folder: of the run, made where it is not there.
      networks: whether to write each network too, as a run `seed_<seed>` in the folder.
      overwrite: whether files of an earlier call may be replaced.

    Returns:
      The folder.

    Raises:
      ModuleNotFoundError: tensorboardX is not installed; it comes with the extra `tensorboard`.
      TypeError: something else than a trajectory.
      FileExistsError: a file is there and `overwrite` is false.
      OSError: it cannot be written.
    """
    if not isinstance(trajectory, Trajectory):
        raise TypeError(f"trajectory is of type {type(trajectory).__name__}; allowed: a Trajectory")
    networks = _checks.boolean("networks", networks)
    tensorboardx = import_tensorboardx()
    told = _descriptions(trajectory)
    geometric = np.array([tag.startswith(_SNR) for tag in told])
    mean = streamed_mean(trajectory, lambda piece: _in_logarithms(_curves(piece), geometric)).mean
    mean[:, geometric] = np.exp(mean[:, geometric])
    count = int(trajectory.healthy.sum())
    whose = f"mean over {count:,} network{'s' * (count != 1)}: "
    of_mean = {tag: ("geometric " if tag.startswith(_SNR) else "") + whose + text for tag, text in told.items()}
    folder = Path(folder)
    write = partial(_write, tensorboardx, epochs=trajectory.epochs, overwrite=overwrite)
    write(folder, mean, of_mean)
    for piece in trajectory.pieces() if networks else ():
        for seed, curves in zip(piece.seeds.tolist(), _curves(piece), strict=True):
            write(folder / f"seed_{seed}", curves, told)
    return folder


def _keys(run: Trajectory) -> dict[str, str]:
    """Beginnings of the tags, and of each under which key the run has its values."""
    names = [(f"{name}/{part}", f"{part}_{name}") for name in ("loss", "accuracy") for part in ("train", "test")]
    keys = {tag: key for tag, key in names if key not in run.absent}
    informations = [f"{key}_{name}" for name in further_estimators(run) for key in ("i_xt", "i_ty")]
    gradients = [] if {"gradient_mean", "gradient_std"} & set(run.absent) else [_SNR]
    return keys | {key: key for key in ("i_xt", "i_ty", *informations, *gradients)}


def _descriptions(run: Trajectory) -> dict[str, str]:
    """K tags, and what each curve is: name, unit, and of an information by which estimator."""
    told: dict[str, str] = {}
    for tag, key in _keys(run).items():
        facts = attributes_of(run.config, key)
        text = f"{facts['long_name']}, {facts['units']}".removesuffix(", 1")
        text = ", ".join([text, *(facts[name] for name in ("estimator", "estimate_is") if name in facts)])
        told |= {tag: text} if tag != key else {f"{tag}/{layer}": text for layer in run.layer_names}
    return told


def _curves(piece: Trajectory) -> Values:
    """(s, E, K) the values of s seeds."""
    arrays: list[npt.NDArray[Any]] = []
    for tag, key in _keys(piece).items():
        array = snr(piece) if key == _SNR else piece.extras[key] if key in piece.extras else piece.require(key)
        arrays.append(array if tag == key else array[..., None])
    return np.concatenate(arrays, axis=-1, dtype=np.float64)


def _in_logarithms(curves: Values, which: npt.NDArray[np.bool_]) -> Values:
    """The curves, of some the logarithms, NaN where there is none."""
    part = curves[..., which]
    positive = np.isfinite(part) & (part > 0)
    curves[..., which] = np.log(part, out=np.full(part.shape, np.nan), where=positive)
    return curves


def _write(
    tensorboardx: ModuleType, folder: Path, curves: Values, told: dict[str, str], *, epochs: Any, overwrite: bool
) -> None:
    """The file of a run, whole or not at all: (E, K) values, and what they are by their tags."""
    proto = tensorboardx.proto
    told, now = dict(told), time.time()
    tags = list(told)
    folder.mkdir(parents=True, exist_ok=True)
    with (
        atomic_write(folder / EVENTS, overwrite=overwrite) as temporary,
        contextlib.closing(tensorboardx.RecordWriter(str(temporary))) as file,
    ):
        # The first record says what the others are.
        file.write(proto.event_pb2.Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
        for epoch, row in zip(epochs.tolist(), curves, strict=True):
            values = []
            for number in np.flatnonzero(np.isfinite(row)):
                value = proto.summary_pb2.Summary.Value(tag=tags[number], simple_value=row[number])
                if text := told.pop(tags[number], ""):  # once is enough
                    value.metadata.summary_description = text
                values.append(value)
            event = proto.event_pb2.Event(wall_time=now, step=epoch, summary={"value": values})
            file.write(event.SerializeToString())


def import_tensorboardx() -> ModuleType:
    """The package that writes event files.

    Raises:
      ModuleNotFoundError: it is not installed, or what it needs is not.
    """
    try:
        import tensorboardX.proto.event_pb2  # here: an extra
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] not in ("tensorboardX", "google"):
            raise
        message = f"event files need {error.name}, which is not installed; allowed: pip install 'ibjax[tensorboard]'"
        raise ModuleNotFoundError(message, name=error.name) from None
    return tensorboardX
