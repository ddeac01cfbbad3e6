"""Room on the disk, asked for before there is anything to lose."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ibjax.config import Config

_PATTERNS, _FEATURES = 4096, 12  # of the built-in tasks


def expected_bytes(config: Config) -> int:
    """About how large the file of a run will be, and about what its results take in memory."""
    outputs = 1 if config.output == "sigmoid" else 2
    widths = (_FEATURES, *config.hidden_widths, outputs)
    numbers = 7 * (len(widths) - 1) + 4
    if config.store_weights:
        numbers += sum((a + 1) * b for a, b in itertools.pairwise(widths))
    seeds = len(config.seed_list)
    return seeds * (len(config.logged) * numbers * (8 if config.precision == "float64" else 4) + _PATTERNS) + 10_000


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
