"""Folders that belong to one run: locked by the process that writes there, with a note of whose they are.

run.json    what decides about the arrays of the run
lock        held by the process that writes
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from ibjax._files import atomic_write, lock_file
from ibjax.trajectory.provenance import differing_entries


class CheckpointError(ValueError):
    """The folder cannot serve this run; the message says why and what can be done."""


class ClaimedFolder:
    """The folder of one run, a context manager that holds its lock.

    Args:
      option: by which the user names it.
      folder: made if it is not there.
      ours: the names of files that may be in it.

    Raises:
      CheckpointError: another process writes there, or the folder holds other things.
      TypeError: the folder is no path.
      OSError: it cannot be made or written.
    """

    def __init__(self, option: str, folder: str | os.PathLike[str], ours: re.Pattern[str]) -> None:
        if not isinstance(folder, str | os.PathLike):
            raise TypeError(f"{option} = {folder!r}; allowed: the path of a folder")
        self.folder, self._option, self._ours = Path(folder), option, ours
        if self.folder.exists() and not self.folder.is_dir():
            raise CheckpointError(f"{self.name} is no folder; allowed: the path of a folder")

    @property
    def name(self) -> str:
        """The option and its value, as messages begin."""
        return f"{self._option} = {str(self.folder)!r}"

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock = lock_file(self.folder / "lock")
        except BlockingIOError as error:
            raise CheckpointError(f"{self.name} is in use by {error}; allowed: one run at a time") from error
        except ImportError as error:
            raise CheckpointError(f"{self.name}: {error}, without which it is not safe") from error
        try:
            names = sorted(path.name for path in self.folder.iterdir())
            if strange := [name for name in names if not self._ours.fullmatch(name)]:
                raise CheckpointError(
                    f"{self.name} holds {strange[0]!r}, which is no part of a run; allowed: a folder of its own"
                )
            if "run.json" not in names and any(name.endswith(".npz") for name in names):
                raise self.damage_error("run.json", "it is missing")
            for name in names:
                if name.endswith(".tmp"):  # of a process that died while it wrote
                    (self.folder / name).unlink()
        except BaseException:
            self._lock.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()  # the file stays: a process that waits for it must not lock one that has gone

    def damage_error(self, name: str, reason: object) -> CheckpointError:
        """The error that says so."""
        return CheckpointError(f"{self.name} is damaged: {name}: {reason}; remove the folder to begin anew")

    def claimed(self) -> dict[str, Any]:
        """Whose folder this is; empty where it is nobody's yet."""
        path = self.folder / "run.json"
        try:
            recorded = json.loads(path.read_bytes()) if path.exists() else {}
        except (ValueError, RecursionError) as error:
            raise self.damage_error(path.name, f"no JSON ({error})") from error
        if not isinstance(recorded, dict):
            raise self.damage_error(path.name, "no JSON object")
        return recorded

    def claim(self, facts: Mapping[str, Any]) -> None:
        """Say whose folder this is: what decides about the arrays of a run, as JSON.

        Raises:
          CheckpointError: it is another run's; names what differs.
        """
        asked, recorded = json.loads(json.dumps(facts)), self.claimed()
        if differing := [
            f"{name} ({_short(there)} there, {_short(now)} asked for)"
            for key in asked
            if key in recorded
            for name, there, now in differing_entries(recorded[key], asked[key], key)
        ]:
            raise CheckpointError(
                f"{self.name} belongs to another run, which differs in {'; '.join(differing)}; allowed: a new folder, "
                "or the same run"
            )
        if missing := asked.keys() - recorded.keys():
            path = self.folder / "run.json"
            if any(self.folder.glob("*.npz")):  # they are written only after everything is claimed
                raise self.damage_error(path.name, f"it lacks {', '.join(sorted(missing))}")
            with atomic_write(path) as temporary:
                temporary.write_text(json.dumps(recorded | asked, indent=1), encoding="utf-8")


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
