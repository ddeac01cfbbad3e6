"""What the stored weights of a run tell: arrays of the file, and the activations recomputed from them.

Shapes: S networks, E logged epochs, L layers, N patterns, F inputs of a pattern, U units.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np
import numpy.typing as npt

from ibjax import Trajectory
from ibjax.networks.perceptron import Perceptron

_ARRAYS = {"kernel": "weights", "bias": "biases"}


def stored_array(trajectory: Trajectory, key: str) -> npt.NDArray[Any]:
    """An optional array of a trajectory, such as `weights_output`.

    Raises:
      ValueError: the trajectory does not hold it.
    """
    if key not in trajectory.extras:
        raise ValueError(f"the trajectory holds no {key}; it must come from a run with store_weights=True")
    return trajectory.extras[key]


def spread_indices(epochs: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.intp]:
    """Indices of about `count` of the logged epochs, evenly spread over them, with the first and the last."""
    return np.unique(np.linspace(0, epochs.size - 1, min(count, epochs.size)).round().astype(np.intp))


def stored_activations(
    trajectory: Trajectory, inputs: npt.ArrayLike, row: int | np.integer[Any], entries: npt.NDArray[np.intp]
) -> list[npt.NDArray[Any]]:
    """Activations of one network at logged epochs, recomputed from the stored weights: L arrays (E, N, U).

    Args:
      trajectory: a run of the built-in network with stored weights.
      inputs: (N, F) patterns.
      row: index of the network.
      entries: (E,) indices of logged epochs.
    """
    config = trajectory.config["config"]
    params = [
        {part: stored_array(trajectory, f"{kind}_{name}")[row, entries] for part, kind in _ARRAYS.items()}
        for name in trajectory.layer_names
    ]
    dtype = str(params[0]["kernel"].dtype)
    widths = (params[0]["kernel"].shape[1], *trajectory.layer_widths)
    network = Perceptron(widths, config["activation"], config["output"], dtype=dtype)
    with jax.enable_x64(dtype == "float64"):
        return [np.asarray(layer) for layer in _forward(network, params, np.asarray(inputs, dtype))]


@functools.partial(jax.jit, static_argnums=0)
def _forward(network: Perceptron, params: Any, inputs: Any) -> Any:
    return jax.vmap(network.apply, (0, None))(params, inputs)[1]
