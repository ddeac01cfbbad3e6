"""Where the pieces of a run go: into memory, or into a folder from which the same run goes on.

    run.json            whose folder this is, and how many seeds a piece has
    lock                held by the process that writes
    piece_NNNNNN.npz    piece N, a trajectory of its own

Shapes: S seeds.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ibjax._files import check_space
from ibjax.config import Config
from ibjax.trajectory.folder import ClaimedFolder
from ibjax.trajectory.merge import concatenate
from ibjax.trajectory.provenance import origin
from ibjax.trajectory.reading import load
from ibjax.trajectory.trajectory import Trajectory

_OURS = re.compile(r"run\.json|lock|piece_\d{6,}\.npz|\.[0-9a-f]{16}\.tmp")
_FORMAT = 1
_BESIDE = 20_000  # bytes of a file beside its arrays, at most
_MOST = 10_000  # pieces: more files than that are slow to handle


class PiecesInMemory:
    """Holds the pieces of a run until all are there."""

    copies = 2
    """How many times the results are in memory in the end."""
    hint = "nothing is kept (out=FOLDER keeps the pieces that are finished)"
    """What is left of a run that ended early, in words."""

    def __init__(self) -> None:
        self._pieces: dict[int, Trajectory] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pieces = {}

    def begin(self, facts: Callable[[], dict[str, Any]], size: int) -> int:
        """Before the first piece; how many seeds each has.

        Args:
          facts: what decides about the arrays of the run.
          size: seeds that a piece should have.
        """
        return size

    def reserve(self, nbytes: int, n_pieces: int) -> None:
        """Refuse a run for whose files, of so many bytes of arrays, there is no room."""

    def has(self, number: int) -> bool:
        """Whether a piece is there."""
        return number in self._pieces

    def add(self, number: int, piece: Trajectory) -> None:
        """Take a finished piece."""
        self._pieces[number] = piece

    def result(self, config: Config) -> Trajectory:
        """The run, of which all pieces are there."""
        pieces = [self._pieces[number] for number in sorted(self._pieces)]
        joint = concatenate(pieces)
        kinds = sorted({str(piece.config["device_kind"]) for piece in pieces})
        about = {key: value for key, value in joint.config.items() if key != "merged_from"}
        return replace(joint, config=about | {"config": asdict(config)} | origin(", ".join(kinds)))


class PiecesInFolder(ClaimedFolder):
    """Writes the pieces of a run into a folder, each whole or not at all; its methods are those of `PiecesInMemory`.

    Raises:
      CheckpointError, TypeError, OSError: as `ClaimedFolder`.
    """

    copies = 0

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        super().__init__("out", folder, _OURS)

    @property
    def hint(self) -> str:
        """What is left of a run that ended early, in words."""
        return f"the pieces that are finished are in {str(self.folder)!r}, from where the same call or command goes on"

    def begin(self, facts: Callable[[], dict[str, Any]], size: int) -> int:
        """Claims the folder; one that was begun keeps the size of its pieces.

        Raises:
          CheckpointError: it is another run's; names what differs.
        """
        kept = self.claimed().get("piece")
        size = kept if isinstance(kept, int) and kept > 0 else size
        self.claim({"format": _FORMAT, **facts(), "piece": size})
        return size

    def reserve(self, nbytes: int, n_pieces: int) -> None:
        """Refuse, before anything is trained, a disk without room.

        Raises:
          OSError: says how many bytes are wanted and how many are free.
        """
        held = sum(path.stat().st_size for path in self.folder.iterdir())
        check_space(self.folder, nbytes + n_pieces * _BESIDE - held)

    def has(self, number: int) -> bool:
        """Whether a piece is there."""
        return self._path(number).exists()

    def add(self, number: int, piece: Trajectory) -> None:
        """Write a finished piece, with the command that was given here."""
        command = {"command": origin("")["command"]}
        replace(piece, config=piece.config | command).save(self._path(number))

    def result(self, config: Config) -> Trajectory:
        """The run, read when it is asked for; all pieces are there."""
        return load(self.folder)

    def _path(self, number: int) -> Path:
        return self.folder / f"piece_{number:06}.npz"


def piece_size(n_seeds: int, together: int) -> int:
    """Seeds of a piece of a run of S seeds, of which so many are trained together: few files, all of them full."""
    n_groups = -(-n_seeds // together)
    return together * -(-n_groups // _MOST)
