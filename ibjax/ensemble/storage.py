"""How large the file of a run will be, known before there is anything to lose."""

from __future__ import annotations

import itertools
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
