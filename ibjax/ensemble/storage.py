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
    from ibjax.data.dataset import Dataset

_TASK = (4096, 12, 2)  # patterns, features and classes of the built-in tasks


def expected_bytes(config: Config, dataset: Dataset | None = None) -> int:
    """About how large the file of a run of the built-in network will be, and what its results take in memory.

    Args:
      config: of the run.
      dataset: in place of the configuration's task.
    """
    patterns, features, classes = _TASK
    if dataset is not None:
        patterns, features, classes = dataset.n_patterns, dataset.n_features, dataset.n_classes
    widths = (features, *config.hidden_widths, 1 if config.output == "sigmoid" else classes)
    others = sum(name != "histogram" for name in config.estimators)
    numbers = (7 + 4 * others) * (len(widths) - 1) + 4  # with errors; not every estimator knows its own
    if config.store_weights:
        numbers += sum((a + 1) * b for a, b in itertools.pairwise(widths))
    seeds = len(config.seed_list)
    return seeds * (len(config.logged) * numbers * (8 if config.precision == "float64" else 4) + patterns) + 10_000


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
