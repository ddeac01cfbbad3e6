"""What the experiments share. Not a script: those are the files beside this folder.

The scripts import it by its plain name: Python puts a script's folder on the path.
"""

from common.findings import (
    NOT_REPRODUCED,
    PAPER,
    REPRODUCED,
    Finding,
    depends_on,
    judge,
    verdict_above,
    verdict_below,
)
from common.intervals import (
    NOTHING,
    Interval,
    Values,
    at,
    describe,
    difference,
    drop_after_peak,
    entries,
    interval,
    log_epochs,
    mean,
    part,
    power_of_ten,
    slope,
)
from common.runs import Runs, execute, paper, parser, run_file, run_or_load, train, write
from common.stored import spread_indices, stored_activations, stored_array

__all__ = [
    "NOTHING",
    "NOT_REPRODUCED",
    "PAPER",
    "REPRODUCED",
    "Finding",
    "Interval",
    "Runs",
    "Values",
    "at",
    "depends_on",
    "describe",
    "difference",
    "drop_after_peak",
    "entries",
    "execute",
    "interval",
    "judge",
    "log_epochs",
    "mean",
    "paper",
    "parser",
    "part",
    "power_of_ten",
    "run_file",
    "run_or_load",
    "slope",
    "spread_indices",
    "stored_activations",
    "stored_array",
    "train",
    "verdict_above",
    "verdict_below",
    "write",
]
