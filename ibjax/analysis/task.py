"""The task that a trajectory's networks were trained on, as far as its file tells it.

Shapes: N patterns, C classes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ibjax.data.spherical import DATASETS, spherical_dataset
from ibjax.probability import checked_conditional, conditional_rows
from ibjax.trajectory.trajectory import Trajectory


def task_joint(trajectory: Trajectory) -> npt.NDArray[np.float64] | None:
    """p(x, y), (N, C), of the patterns that the file holds or of the built-in task that it names; None without either.

    Raises:
      ValueError: `p_y_given_x` of the file holds no probabilities.
    """
    if "p_y_given_x" in trajectory.extras:
        given = trajectory.extras["p_y_given_x"]
        rows = conditional_rows(checked_conditional(given, len(given)))
        return rows * np.asarray(trajectory.extras.get("p_x", np.full(len(rows), 1 / len(rows))))[:, None]
    task = trajectory.config.get("config", {}).get("dataset")
    if task not in DATASETS or "dataset" in trajectory.config.get("custom", []):
        return None
    return spherical_dataset(task).joint
