"""What the experiments share. Not a script: those are the files beside this folder.

The scripts import it by its plain name: Python puts a script's folder on the path.
"""

from common.evidence import Entry, Evidence, Interval, OverSettings, Values, describe, known_mean, mean, share
from common.runs import Job, Plan, Runs, execute, parser, plan_of, run_file, run_or_load, train, write
from common.stored import spread_indices, stored_activations, stored_array

__all__ = [
    "Entry",
    "Evidence",
    "Interval",
    "Job",
    "OverSettings",
    "Plan",
    "Runs",
    "Values",
    "describe",
    "execute",
    "known_mean",
    "mean",
    "parser",
    "plan_of",
    "run_file",
    "run_or_load",
    "share",
    "spread_indices",
    "stored_activations",
    "stored_array",
    "train",
    "write",
]
