"""The results of a run, in arrays of the file's shapes that fill up block by block, and how much room they take.

They are made once, so that the memory of a run is known before it trains.

Shapes: S seeds, E logged epochs, K seeds of a block.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ibjax.config import Config
from ibjax.data.dataset import Dataset

Leaves = list[npt.NDArray[Any]]

_TASK = (4096, 12, 2)  # patterns, features and classes of the built-in tasks


class ResultBuffer:
    """Measured arrays (S, E, ...), and how far each block of seeds has come.

    Args:
      sizes: seeds of each block.
      count: E.
      record: a NamedTuple of the shapes and dtypes of a block's record; axis 0 holds at least as many seeds as the
        block.
    """

    def __init__(self, sizes: Sequence[int], count: int, record: Any) -> None:
        ends = np.cumsum(sizes).tolist()
        self.rows = [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]
        self.n_logged = [0] * len(sizes)
        self._record = type(record)
        self._leaves: Leaves = [np.empty((ends[-1], count, *leaf.shape[1:]), leaf.dtype) for leaf in record]

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays when full."""
        return sum(leaf.nbytes for leaf in self._leaves)

    @property
    def arrays(self) -> Any:
        """The record with (S, E, ...) in place of (K, ...)."""
        return self._record(*self._leaves)

    def add(self, number: int, record: Any) -> None:
        """The next logged epoch of a block."""
        rows, epoch = self.rows[number], self.n_logged[number]
        for leaf, value in zip(self._leaves, record, strict=True):
            leaf[rows, epoch] = np.asarray(value)[: rows.stop - rows.start]
        self.n_logged[number] = epoch + 1

    def part(self, number: int, first: int, last: int) -> Leaves:
        """Views (K, last - first, ...) of what a block measured at some of its logged epochs."""
        return [leaf[self.rows[number], first:last] for leaf in self._leaves]

    def restore(self, number: int, pieces: Sequence[Sequence[npt.NDArray[Any]]]) -> None:
        """What a block measured before, in pieces along the epochs.

        Raises:
          ValueError: other arrays than a block of this run measures.
        """
        for piece in pieces:
            first = self.n_logged[number]
            last = first + (piece[0].shape[1] if piece and piece[0].ndim > 1 else 0)
            places = self.part(number, first, last)
            if last == first or [(a.shape, a.dtype) for a in piece] != [(a.shape, a.dtype) for a in places]:
                raise ValueError(f"its records from logged epoch {first} on have other shapes or types")
            for place, array in zip(places, piece, strict=True):
                place[:] = array
            self.n_logged[number] = last


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
