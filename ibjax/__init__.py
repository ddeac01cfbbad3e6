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
    from ibjax.information.adaptive import adaptive_information, quantile_information
    from ibjax.information.histogram import layer_information
    from ibjax.information.kde import kde_information
    from ibjax.information.knn import knn_information
    from ibjax.information.noisy import noisy_information
    from ibjax.information.quantized import quantized_information
    from ibjax.measuring import measure
    from ibjax.sources import digits_dataset, load_dataset
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
    "adaptive_information": "information.adaptive",
    "concatenate": "trajectory",
    "digits_dataset": "sources",
    "information_curve": "bottleneck",
    "kde_information": "information.kde",
    "knn_information": "information.knn",
    "layer_information": "information.histogram",
    "load": "trajectory",
    "load_dataset": "sources",
    "measure": "measuring",
    "noisy_information": "information.noisy",
    "quantile_information": "information.adaptive",
    "quantized_information": "information.quantized",
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
    "adaptive_information",
    "concatenate",
    "digits_dataset",
    "information_curve",
    "kde_information",
    "knn_information",
    "layer_information",
    "load",
    "load_dataset",
    "measure",
    "noisy_information",
    "quantile_information",
    "quantized_information",
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
