"""Checkpoints: a folder from which a run that was killed goes on, to the bit.

Blocks of seeds are stored apart, as they are trained. Of each there is one file with its newest state, replaced whole,
and a row of files with what it has measured, each written once: what a checkpoint costs does not grow with the run. All
are files of `ibjax.npz`, renamed into place when they are whole and on the disk; measures come before the state
that follows them, so that a death in between leaves a few measures too many, which are made again. Orbax, which brings
formats and processes for sharded arrays of many hosts, would add no safety to arrays of kilobytes.

    run.json                            whose checkpoint this is
    lock                                held by the process that trains
    state_BBBBB.npz                     block B: logged epochs done, the epoch reached, the bytes of the state's leaves
    records_BBBBB_FFFFFFF_LLLLLLL.npz   block B: its records at the logged epochs F, F + 1, ... L - 1

Shapes: K seeds of a block, E logged epochs.
"""

from __future__ import annotations

import errno
import os
import re
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
from pathlib import Path
from typing import Any, NamedTuple, Self

import jax
import numpy as np
import numpy.typing as npt

from ibjax._files import check_space
from ibjax.npz import Archive, ArchiveError, write_arrays
from ibjax.trajectory.folder import CheckpointError, ClaimedFolder

Arrays = Sequence[npt.NDArray[Any]]
Part = Callable[[int, int, int], Arrays]

__all__ = ["EVERY", "Checkpoint", "CheckpointError", "Position"]

EVERY = 30.0
"""Seconds between two checkpoints of a block."""
_SHARE = 0.05  # of the time may go into writing; a slow disk is written to more seldom
_FORMAT = 2
_OURS = re.compile(r"run\.json|lock|state_\d{5,}\.npz|records_\d{5,}_\d{7,}_\d{7,}\.npz|\.[0-9a-f]{16}\.tmp")


class Position(NamedTuple):
    """Where a block goes on.

    Attributes:
      n_logged: how many logged epochs it has behind it.
      epoch: completed epochs.
      state: the leaves of its state, as bytes; None where it is finished.
      records: the leaves of its records (K, n_logged, ...), in pieces along axis 1.
    """

    n_logged: int
    epoch: int
    state: Arrays | None
    records: list[Arrays]


class Checkpoint(ClaimedFolder):
    """The folder of one run's state, which writes in the background.

    Args:
      folder: made if it is not there.
      every: seconds between two checkpoints of a block, at least; also never more than a twentieth of the time is
        spent on them.

    Raises:
      CheckpointError: another process trains there, or the folder holds other things.
      TypeError, ValueError: an argument that is not allowed.
      OSError: the folder cannot be made or written.
    """

    def __init__(self, folder: str | os.PathLike[str], every: float = EVERY) -> None:
        super().__init__("checkpoint", folder, _OURS)
        if isinstance(every, bool) or not isinstance(every, int | float):
            raise TypeError(f"checkpoint_every = {every!r}; allowed: seconds, at least 0")
        if not every >= 0:
            raise ValueError(f"checkpoint_every = {every!r}; allowed: seconds, at least 0")
        self._every = float(every)
        self._began = time.monotonic()
        self._spent = 0.0
        self._next: dict[int, float] = {}
        self._written: dict[int, int] = {}  # logged epochs in files, by block
        self._pending: set[int] = set()
        self._failure: BaseException | None = None
        self._warned = False
        self._guard = threading.Lock()

    def __enter__(self) -> Self:
        super().__enter__()
        self._writer = futures.ThreadPoolExecutor(1, thread_name_prefix="ibjax checkpoint")
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._writer.shutdown(wait=True)
        finally:
            super().__exit__()

    def claim(self, facts: Mapping[str, Any]) -> None:
        """Say whose folder this is, as `ClaimedFolder.claim` does."""
        super().claim({"format": _FORMAT, **facts})

    def restore(self, number: int, logged: Sequence[int]) -> Position | None:
        """Where a block goes on, or None where there is nothing of it; files that nothing follows are removed.

        Raises:
          CheckpointError: files are damaged or do not fit together.
        """
        pieces = sorted(
            (int(first), int(last), path)
            for path in self.folder.glob(f"records_{number:05}_*.npz")
            for first, last in [path.stem.split("_")[2:]]
        )
        path = self.folder / f"state_{number:05}.npz"
        finished = bool(pieces) and max(last for _, last, _ in pieces) == len(logged)
        state: Arrays | None = None
        done, epoch = (len(logged), logged[-1]) if finished else (0, 0)
        if not finished and path.exists():
            position, *state = self._read(path)
            if position.shape != (2,) or position.dtype != np.int64:
                raise self.damage_error(path.name, "its position is missing")
            done, epoch = map(int, position)
            low, high = (logged[done - 1] if done else 0), (logged[done] if done < len(logged) else -1)
            if not low <= epoch < max(high, 1):
                raise self.damage_error(path.name, f"epoch {epoch} after {done} logged epochs")
        reached, records = 0, []
        for first, last, piece in pieces:
            if first >= done:  # its state was not written any more
                piece.unlink()
            elif first != reached or last > done:
                raise self.damage_error(piece.name, f"allowed: one from logged epoch {reached} to at most {done}")
            else:
                records.append(self._read(piece))
                reached = last
        if reached != done:
            raise self.damage_error(f"records of block {number}", f"they end at logged epoch {reached} of {done}")
        if not done and state is None:
            return None
        self._written[number] = done
        return Position(done, epoch, state, records)

    def _read(self, path: Path) -> Arrays:
        try:
            with Archive(path) as archive:
                return [archive.read(key) for key in archive.keys]
        except ArchiveError as error:
            raise self.damage_error(path.name, error) from error

    def reserve(self, nbytes: int) -> None:
        """Refuses, before anything is trained, a disk without room for a checkpoint of so many bytes.

        Raises:
          OSError: says how many are wanted and how many are free.
        """
        check_space(self.folder, nbytes - sum(path.stat().st_size for path in self.folder.iterdir()))

    def due(self, number: int) -> bool:
        """Whether the state of a block should be handed over now."""
        with self._guard:
            now = time.monotonic()
            return (
                now >= self._next.setdefault(number, self._began + self._every)
                and self._spent <= _SHARE * (now - self._began)
                and number not in self._pending
            )

    def save(self, number: int, n_logged: int, epoch: int, state: Arrays | None, part: Part) -> None:
        """Write, in the background, a block's state and what it has measured.

        Args:
          n_logged: how many logged epochs it has behind it.
          epoch: completed epochs.
          state: the leaves of its state, as bytes, which nobody changes; None where the block is finished.
          part: the leaves of its records at the logged epochs first ... last - 1, which nobody changes either.
        """
        with self._guard:
            self._pending.add(number)
            self._next[number] = time.monotonic() + self._every
        self._writer.submit(self._write, number, n_logged, epoch, state, part)

    def _write(self, number: int, n_logged: int, epoch: int, state: Arrays | None, part: Part) -> None:
        began = time.monotonic()
        try:
            first = self._written.get(number, 0)
            if n_logged > first:
                self._write_arrays(f"records_{number:05}_{first:07}_{n_logged:07}.npz", part(number, first, n_logged))
                self._written[number] = n_logged  # also where the state cannot follow: the next ones join here
            path = self.folder / f"state_{number:05}.npz"
            if state is None:
                path.unlink(missing_ok=True)
            else:
                self._write_arrays(path.name, [np.array([n_logged, epoch], np.int64), *state])
        except BaseException as error:  # for the caller's thread, which `watch`es
            self._failure = error
        finally:
            with self._guard:
                self._pending.discard(number)
                self._spent += time.monotonic() - began

    def _write_arrays(self, name: str, arrays: Arrays) -> None:
        write_arrays(self.folder / name, {f"leaf_{i:03}": array for i, array in enumerate(arrays)})

    def watch(self) -> None:
        """Say, once, what went wrong in the background: training goes on, the last good checkpoint stays.

        Warns:
          RuntimeWarning: a checkpoint could not be written; why, and what to do.
        """
        error, self._failure = self._failure, None
        if error is None:
            return
        if not isinstance(error, OSError):
            raise error
        if self._warned:
            return
        self._warned = True
        advice = "free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else "make it writable"
        warnings.warn(
            f"{self.name} could not be written ({error.strerror or error}): {advice}; the run goes on and tries "
            "again, what was written before stays good",
            RuntimeWarning,
            stacklevel=5,
        )

    def finish(self) -> None:
        """Wait until everything handed over is written; warns as `watch` does."""
        self._writer.submit(lambda: None).result()
        self.watch()


def to_bytes(tree: Any) -> list[npt.NDArray[Any]]:
    """Copies of the leaves of a pytree of arrays, as bytes: any dtype, keys of random numbers among them."""
    leaves = [jax.random.key_data(a) if _is_key(a) else a for a in jax.tree.leaves(tree)]
    return [np.array(leaf).reshape(-1).view(np.uint8) for leaf in leaves]


def from_bytes(leaves: Sequence[npt.NDArray[Any]], like: Any) -> Any:
    """The pytree, with the structure, shapes and dtypes of `like`.

    Raises:
      ValueError: other leaves than those of `like`.
    """
    models, structure = jax.tree.flatten(like)
    if len(models) != len(leaves):
        raise ValueError(f"{len(leaves)} arrays; allowed: {len(models)}")
    return jax.tree.unflatten(structure, [_from_bytes(a, model) for a, model in zip(leaves, models, strict=True)])


def _from_bytes(raw: npt.NDArray[Any], model: Any) -> Any:
    data = jax.random.key_data(model) if _is_key(model) else model
    if raw.dtype != np.uint8 or raw.ndim != 1 or raw.nbytes != data.nbytes:
        raise ValueError(f"{raw.dtype} of shape {raw.shape}; allowed: {data.nbytes} bytes")
    array = raw.view(data.dtype).reshape(data.shape)
    if not _is_key(model):
        return array
    return jax.random.wrap_key_data(jax.numpy.asarray(array), impl=jax.random.key_impl(model))


def _is_key(leaf: Any) -> bool:
    return bool(jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key))
