"""Room on the disk, asked for before there is anything to lose."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path


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
