"""Reading trajectories: a file into memory, a folder of files piece by piece.

Shapes: S seeds, E logged epochs, L layers.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ibjax.npz import Archive, ArchiveError
from ibjax.trajectory import schema
from ibjax.trajectory.merge import concatenate, joint_config, joint_seeds, sources
from ibjax.trajectory.schema import AXES, OPTIONAL, TrajectoryError, all_axes, check_array
from ibjax.trajectory.trajectory import Trajectory

_REMEMBERED = 2  # arrays of a folder that stay in memory: what computes with I(X;T) often does with I(T;Y)


def load(path: str | os.PathLike[str]) -> Trajectory:
    """Read a trajectory from its npz file, or from a folder of such files with other seeds each.

    No file is trusted: nothing in it is executed, and no more memory is taken than its own size and half a gigabyte.

    Of a folder, the pieces of `ibjax.run(out=FOLDER)` or files put there, no more is read than what tells that they
    belong together. Each array of the trajectory is read when it is asked for, from all files, and the last two stay in
    memory; `Trajectory.pieces` gives one file after another, and `ibjax.analysis.streamed_mean` means over all of them.
    An unfinished folder has the seeds that are finished.

    Raises:
      FileNotFoundError, PermissionError: as `open` does; IsADirectoryError: a folder without .npz files.
      TrajectoryError: a file is damaged, not a trajectory, of another schema version or not of the others' run; says
        which.
    """
    if os.path.isdir(path):
        return FolderTrajectory(Path(path))
    with _named(path), Archive(path) as archive:
        return Trajectory(**schema.read_fields(archive))


class FolderTrajectory(Trajectory):
    """The files of a folder as one trajectory, whose arrays are read when they are asked for; see `load`.

    A copy with other fields (`dataclasses.replace`) is a trajectory in memory.
    """

    def __new__(cls, folder: Path | None = None, **fields: Any) -> Any:
        return super().__new__(cls) if folder is not None else Trajectory(**fields)

    def __init__(self, folder: Path) -> None:
        paths = sorted(folder.glob("*.npz"))
        if not paths:
            raise IsADirectoryError(errno.EISDIR, "a folder without .npz files", str(folder))
        heads = [_head(path) for path in paths]
        seeds = joint_seeds([head for head, _ in heads], [path.name for path in paths])
        first, keys = heads[0]
        for path, (_, others) in zip(paths, heads, strict=True):
            if strange := sorted(set(keys) ^ set(others)):
                raise TrajectoryError(f"trajectories {paths[0].name} and {path.name} differ in {', '.join(strange)}")
        labels = {key: getattr(first, key) for key in ("epochs", "layer_names", "layer_widths", *schema.SCALARS)}
        self.__dict__ |= labels | {
            "seeds": seeds,
            "config": _joint_config([head for head, _ in heads]),
            "diverged": np.concatenate([head.diverged for head, _ in heads]),
            "_folder": folder,
            "_keys": keys,
            "_files": [(path, head.seeds) for path, (head, _) in zip(paths, heads, strict=True)],
            "_array": functools.lru_cache(_REMEMBERED)(self._joint_array),
        }

    def __getattribute__(self, name: str) -> Any:
        if name == "extras":
            return _Extras(self)
        if name in AXES and name != "diverged":
            return None if name in self.absent else self._array(name)
        return super().__getattribute__(name)

    def __reduce__(self) -> Any:
        return FolderTrajectory, (self._folder,)

    @property
    def absent(self) -> tuple[str, ...]:
        """Keys of the arrays that the training loop did not give."""
        return tuple(key for key in OPTIONAL if key not in self._keys)

    def pieces(self) -> Iterator[Trajectory]:
        """The trajectory of each file."""
        for path, _ in self._files:
            yield load(path)

    def of_seeds(self, seeds: Iterable[int]) -> Trajectory:
        """The trajectory of these seeds only, in the order given; no other files are read than theirs.

        Raises:
          TrajectoryError: a seed is not in the trajectory, is named twice, or none is named.
        """
        wanted = [int(seed) for seed in seeds]
        paths = [path for path, held in self._files if not set(wanted).isdisjoint(held.tolist())]
        parts = [load(path) for path in paths or [self._files[0][0]]]
        return replace(concatenate(parts).of_seeds(wanted), config=self.config)

    def _joint_array(self, key: str) -> npt.NDArray[Any]:
        """One array from all files, read-only."""
        axes = all_axes(key, self.layer_names)
        sizes = {"E": self.epochs.size, "L": len(self.layer_names)}
        joint: npt.NDArray[Any] | None = None
        row = 0
        for path, seeds in self._files:
            with _named(path), Archive(path) as archive:
                array = check_array(key, archive.read(key), axes, sizes | {"S": seeds.size}, kinds="biuf")
            if not axes.startswith("S"):
                return array
            if joint is None:
                joint = np.empty((self.seeds.size, *array.shape[1:]), array.dtype)
            if (array.shape[1:], array.dtype) != (joint.shape[1:], joint.dtype):
                raise TrajectoryError(f"cannot read {str(path)!r} as a piece of a trajectory: {key} is of another kind")
            joint[row : row + seeds.size] = array
            row += seeds.size
        assert joint is not None
        joint.flags.writeable = False
        return joint


class _Extras(Mapping[str, npt.NDArray[Any]]):
    """The extra arrays of a folder, read when they are asked for."""

    def __init__(self, trajectory: FolderTrajectory) -> None:
        self._trajectory = trajectory
        self._keys = [key for key in trajectory._keys if key not in schema.KEYS]

    def __getitem__(self, key: str) -> npt.NDArray[Any]:
        if key not in self._keys:
            raise KeyError(key)
        array: npt.NDArray[Any] = self._trajectory._array(key)
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


def _head(path: Path) -> tuple[Trajectory, tuple[str, ...]]:
    """A trajectory of the labels of a file, whose arrays are made up and take no memory, and the file's keys."""
    with _named(path), Archive(path) as archive:
        fields = schema.read_fields(archive, only=(*schema.LABELS, *schema.SCALARS, "diverged"))
        nothing = np.broadcast_to(
            np.float32(0), (fields["seeds"].size, fields["epochs"].size, len(fields["layer_names"]))
        )
        return Trajectory(i_xt=nothing, i_ty=nothing, **fields), archive.keys


def _joint_config(heads: list[Trajectory]) -> dict[str, Any]:
    """The `config` of all; only where they come from several places it tells from which, as a merged file does."""
    groups: dict[str, dict[str, Any]] = {}
    for head in heads:
        for source in sources(head):
            rest = json.dumps({key: value for key, value in source.items() if key != "seeds"})
            groups.setdefault(rest, {**source, "seeds": []})["seeds"] += source["seeds"]
    config = joint_config(heads)
    return config | {"merged_from": list(groups.values())} if len(groups) > 1 or "merged_from" in config else config


@contextlib.contextmanager
def _named(path: str | os.PathLike[str]) -> Iterator[None]:
    """Errors of reading say which file."""
    try:
        yield
    except (ArchiveError, TrajectoryError) as error:
        raise TrajectoryError(f"cannot read {os.fspath(path)!r} as a trajectory: {error}") from error
