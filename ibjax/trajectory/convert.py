"""A trajectory in the terms of xarray and of pandas, neither of which ibjax needs for anything else, or of another one.

Shapes: S seeds, E logged epochs, L layers, N input patterns.
"""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ibjax.trajectory.schema import LABELS, all_axes, is_squared_error

if TYPE_CHECKING:
    import pandas
    import xarray

Arrays = Mapping[str, npt.NDArray[Any]]
"""What a file holds, by key (`Trajectory.arrays`)."""

_DIMENSIONS = {"S": "seed", "E": "epoch", "L": "layer", "N": "pattern", "P": "parameter", "R": "training_phase"}
_NAMES = {
    "i_xt": ("I(X;T)", "bits"),
    "i_ty": ("I(T;Y)", "bits"),
    "i_xt_error": ("standard error of I(X;T)", "bits"),
    "i_ty_error": ("standard error of I(T;Y)", "bits"),
    "i_xy": ("I(X;Y)", "bits"),
    "h_x": ("H(X)", "bits"),
    "h_y": ("H(Y)", "bits"),
    "train_loss": ("cross-entropy of the training patterns", "nats"),
    "test_loss": ("cross-entropy of the other patterns", "nats"),
    "train_accuracy": ("accuracy on the training patterns", "1"),
    "test_accuracy": ("accuracy on the other patterns", "1"),
    "gradient_mean": ("norm of the mean of the minibatch gradients", "1"),
    "gradient_std": ("norm of the standard deviation of the minibatch gradients", "1"),
    "weight_norm": ("Frobenius norm of the kernel", "1"),
    "train_mask": ("the network trained on the pattern", "1"),
    "diverged": ("the network produced a loss that is not finite", "1"),
    "train_fraction": ("share of the patterns used for training", "1"),
    "learning_rate": ("step size of the optimizer", "1"),
    "weight_decay": ("decay of the parameters beside the step size", "1"),
    "noise": ("standard deviation of the noise on hidden activations in training", "1"),
    "initial_scale": ("factor of the kernels drawn", "1"),
    "range_low": ("lower end of the histogram", "1"),
    "gradient_snr": ("norm of the mean of the minibatch gradients over that of their standard deviation", "1"),
    "range_high": ("upper end of the histogram", "1"),
}


def to_xarray(arrays: Arrays, config: dict[str, Any], swept: Arrays) -> xarray.Dataset:
    """See `Trajectory.to_xarray`."""
    xarray = _import("xarray", "to_xarray")
    variables: dict[str, Any] = {}
    sizes: dict[str, int] = {}
    for key, array, axes in _measured(arrays):
        dimensions = _dimensions(key, axes, array.ndim - len(axes.removesuffix("*")))
        variables[key] = (dimensions, array, attributes_of(config, key))
        sizes |= dict(zip(dimensions, array.shape, strict=True))
    coordinates: dict[str, Any] = {
        "seed": ("seed", arrays["seeds"], {"long_name": "seed of the network"}),
        "epoch": ("epoch", arrays["epochs"], {"long_name": "completed epochs", "units": "epochs"}),
        "layer": ("layer", arrays["layer_names"], {"long_name": "layer, from the input on"}),
        "layer_width": ("layer", arrays["layer_widths"], {"long_name": "units of the layer"}),
    }
    coordinates |= {field: ("seed", values, attributes_of(config, field)) for field, values in swept.items()}
    if "pattern" in sizes:
        coordinates["pattern"] = ("pattern", np.arange(sizes["pattern"]), {"long_name": "input pattern"})
    attributes = {"schema_version": int(arrays["schema_version"]), "config": arrays["config"].item()}
    return xarray.Dataset(variables, coordinates, attributes)


def to_dataframe(arrays: Arrays, config: dict[str, Any], swept: Arrays) -> pandas.DataFrame:
    """See `Trajectory.to_dataframe`."""
    pandas = _import("pandas", "to_dataframe")
    sizes = arrays["i_xt"].shape
    names = arrays["layer_names"].tolist()

    def column(array: npt.NDArray[Any], axes: str) -> Any:
        placed = array.reshape([n if axis in axes else 1 for axis, n in zip("SEL", sizes, strict=True)])
        return np.broadcast_to(placed, sizes).reshape(-1)

    columns = {
        "seed": column(arrays["seeds"], "S"),
        "epoch": column(arrays["epochs"], "E"),
        "layer": pandas.Categorical.from_codes(column(np.arange(len(names)), "L"), names, ordered=True),
        "layer_width": column(arrays["layer_widths"], "L"),
        **{field: column(values, "S") for field, values in swept.items()},
    }
    for wanted in ("SEL", "SE", "S"):
        columns |= {key: column(array, axes) for key, array, axes in _measured(arrays) if axes == wanted}
    frame = pandas.DataFrame(columns)
    labels = ("seed", "layer", "layer_width")
    units = {key: attributes_of(config, key)["units"] for key in columns if key not in labels}
    frame.attrs["units"] = units | {"epoch": "epochs"}
    return frame


def differences(mine: Arrays, theirs: Arrays) -> dict[str, float]:
    """See `Trajectory.differences`."""
    found = dict.fromkeys(mine.keys() ^ theirs.keys(), math.inf)
    for key in mine.keys() & theirs.keys() - {"config", "schema_version"}:
        a, b = mine[key], theirs[key]
        if a.dtype.kind == "U" or b.dtype != a.dtype or b.shape != a.shape:
            if not np.array_equal(a, b) or (a.dtype != b.dtype and a.dtype.kind != "U"):
                found[key] = math.inf
        elif not np.array_equal(a, b, equal_nan=a.dtype.kind == "f"):
            differ = (a != b) & ~(np.isnan(a) & np.isnan(b))
            gap = np.abs(a[differ].astype(np.float64) - b[differ].astype(np.float64))
            found[key] = math.inf if np.isnan(gap).any() else float(gap.max())
    return dict(sorted(found.items()))


def _measured(arrays: Arrays) -> list[tuple[str, npt.NDArray[Any], str]]:
    """Key, array and axes of all but the labels."""
    names = arrays["layer_names"].tolist()
    keys = [key for key in arrays if key not in ("schema_version", *LABELS)]
    return [(key, arrays[key], all_axes(key, names)) for key in keys]


def _import(package: str, method: str) -> Any:
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{method} needs {package}, which is not installed: pip install 'ibjax[{package}]'", name=package
        ) from error


def _dimensions(key: str, axes: str, further: int) -> tuple[str, ...]:
    """Names of the axes of an array; `further` is how many stand for the star."""
    fixed = tuple(_DIMENSIONS[axis] for axis in axes.removesuffix("*"))
    kind, _, layer = key.partition("_")
    known = {
        ("weights", 2): (f"{layer}_input", f"{layer}_unit"),
        ("biases", 1): (f"{layer}_unit",),
        ("inputs", 1): ("feature",),
        ("p", 1): ("label",),
    }
    return fixed + known.get((kind, further), tuple(f"{key}_{axis}" for axis in range(further)))


def attributes_of(config: dict[str, Any], key: str) -> dict[str, str]:
    """What the numbers are: `long_name`, `units`, and of an information the estimator."""
    which = next((base for base in ("i_xt_error", "i_ty_error", "i_xt", "i_ty") if key.startswith(base)), None)
    name, unit = _NAMES.get(which or key, (key.replace("_", " "), "1"))
    if key.endswith("_loss") and is_squared_error(config):
        name, unit = name.replace("cross-entropy", "mean squared error"), "1"
    attributes = {"long_name": name, "units": unit}
    if which is None:
        return attributes
    estimator = key.removeprefix(which).removeprefix("_")
    measured = config.get("measured", {}) if not estimator else {}
    estimator = str(estimator or measured.get("estimator", "histogram"))
    facts = measured or config.get("estimators", {}).get(estimator, {})
    attributes["estimator"] = estimator
    if which in facts:
        attributes["estimate_is"] = str(facts[which])
    if "options" in facts:
        attributes["options"] = json.dumps(facts["options"])
    return attributes
