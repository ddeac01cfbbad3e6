"""ibjax: the information plane of ensembles of neural networks, in JAX.

Names are imported when first used, so that reading a file or drawing a figure does not wait for the compiler.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ibjax.bottleneck import Curve, information_curve
    from ibjax.checkpoint import CheckpointError
    from ibjax.config import PRESETS, Config
    from ibjax.data import Dataset, spherical_dataset
    from ibjax.ensemble import Progress, run
    from ibjax.information.histogram import layer_information
    from ibjax.trajectory import Trajectory, TrajectoryError, concatenate, load

__version__ = "0.1.0"

_HOMES = {
    "CheckpointError": "checkpoint",
    "Config": "config",
    "Curve": "bottleneck",
    "Dataset": "data",
    "PRESETS": "config",
    "Progress": "ensemble",
    "Trajectory": "trajectory",
    "TrajectoryError": "trajectory",
    "concatenate": "trajectory",
    "information_curve": "bottleneck",
    "layer_information": "information.histogram",
    "load": "trajectory",
    "run": "ensemble",
    "spherical_dataset": "data",
}

__all__ = [
    "PRESETS",
    "CheckpointError",
    "Config",
    "Curve",
    "Dataset",
    "Progress",
    "Trajectory",
    "TrajectoryError",
    "concatenate",
    "information_curve",
    "layer_information",
    "load",
    "run",
    "spherical_dataset",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ibjax' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"ibjax.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
