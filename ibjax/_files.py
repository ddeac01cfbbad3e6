"""Files written whole or not at all, files locked by a process, and room on the disk."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str], *, overwrite: bool = True, suffix: str = ".tmp") -> Iterator[Path]:
    """Write a file so that `path` always holds a whole one.

    The block writes to an empty temporary file beside the target, which is then forced to disk and renamed. Whatever
    goes wrong before, also an interrupt, leaves what was there and removes the temporary file.

    Args:
      path: the name, to which nothing is appended. A symbolic link stays, and what it points to is replaced: replacing
        the link itself would leave a second, older copy behind it. A file that is replaced passes on its permissions.
      overwrite: whether an existing file may be replaced.
      suffix: ending of the temporary file's name, for writers that choose the format by it.

    Yields:
      The path of the temporary file.

    Raises:
      FileExistsError: there is a file and `overwrite` is false.
      OSError: the folder is missing or not writable, the disk is full, the name is that of a folder, of a device or of
        a file one may not write; its `filename` is `path` or what that links to.
    """
    target = Path(os.path.realpath(path))
    check_target(target, overwrite)
    temporary = target.with_name(f".{secrets.token_hex(8)}{suffix}")  # short: the name itself may be of full length
    try:
        open(temporary, "xb").close()
        yield temporary
        with open(temporary, "r+b") as file:
            os.fsync(file.fileno())
        _publish(temporary, target, overwrite)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (None, str(temporary)):  # that of a full disk names none
            raise OSError(error.errno, error.strerror or str(error), os.fspath(path)) from error
        raise


def opens_at_once(path: str | os.PathLike[str]) -> bool:
    """Whether it is a file or a folder: opening a pipe would wait for a writer.

    Raises:
      OSError: it is not there, or may not be looked at.
    """
    mode = os.stat(path).st_mode
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


def check_target(target: Path, overwrite: bool) -> None:
    """Refuse a path, links resolved, at which there is something that may not be replaced, as `atomic_write` does."""
    try:
        mode = os.stat(target).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a regular file, but a device or a pipe", str(target))
    if not overwrite:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    if not os.access(target, os.W_OK):  # a rename would not ask
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(target))


def _publish(temporary: Path, target: Path, overwrite: bool) -> None:
    if overwrite:
        with contextlib.suppress(FileNotFoundError):
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
    else:
        try:
            os.link(temporary, target)  # unlike a rename, fails where another process was faster
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            check_target(target, overwrite)
            os.replace(temporary, target)
        temporary.unlink(missing_ok=True)
    if hasattr(os, "O_DIRECTORY"):  # the rename itself must reach the disk; Windows has no such call
        folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def lock_file(path: Path) -> IO[str]:
    """The file, locked until it is closed or its process is gone, however it went.

    Raises:
      BlockingIOError: another process has it; the message names that.
      ImportError: this system has no file locks.
    """
    try:
        import fcntl  # here, not above: Windows has none
    except ImportError:
        raise ImportError("this system has no file locks (fcntl)") from None
    file = open(path, "a+", encoding="utf-8")  # noqa: SIM115  (closed by the caller)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        holder = " ".join(file.read(200).split()) or "another process"
        file.close()
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise
        raise BlockingIOError(holder) from error
    with contextlib.suppress(OSError):  # only for the message above
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
    return file


def check_space(path: str | os.PathLike[str], nbytes: int) -> int:
    """How many bytes are free where `path` is or will be.

    Raises:
      OSError: fewer than `nbytes`; says both.
    """
    place = Path(os.path.realpath(path))
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < nbytes:
        message = f"{os.strerror(errno.ENOSPC)}: {size(nbytes)} wanted, {size(free)} free; free some or go elsewhere"
        raise OSError(errno.ENOSPC, message, os.fspath(path))
    return free


def size(nbytes: float) -> str:
    """Bytes in words of three digits."""
    for unit in ("B", "kB", "MB", "GB"):
        if nbytes < 999.5:
            return f"{nbytes:.3g} {unit}"
        nbytes /= 1000
    return f"{nbytes:.3g} TB"
