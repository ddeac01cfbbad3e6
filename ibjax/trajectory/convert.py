"""A trajectory in the terms of xarray and of pandas, neither of which ibjax needs for anything else.

Shapes: S seeds, E logged epochs, L layers, N input patterns.
"""

from __future__ import annotations

import importlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from ibjax.trajectory.schema import AXES, SCALARS, SCHEMA_VERSION, extra_axes

if TYPE_CHECKING:
    import pandas
    import xarray

    from ibjax.trajectory.trajectory import Trajectory

_DIMENSIONS = {"S": "seed", "E": "epoch", "L": "layer", "N": "pattern", "P": "parameter"}
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
    "range_low": ("lower end of the histogram", "1"),
    "range_high": ("upper end of the histogram", "1"),
}


def to_xarray(trajectory: Trajectory) -> xarray.Dataset:
    """See `Trajectory.to_xarray`."""
    xarray = _wanted("xarray", "to_xarray")
    variables: dict[str, Any] = {}
    for key, axes in AXES.items():
        variables[key] = (_dimensions(key, axes, 0), getattr(trajectory, key), _attributes(trajectory, key))
    for key in SCALARS:
        variables[key] = ((), getattr(trajectory, key), _attributes(trajectory, key))
    for key, array in trajectory.extras.items():
        axes = extra_axes(key, trajectory.layer_names)
        dimensions = _dimensions(key, axes, array.ndim - len(axes.removesuffix("*")))
        variables[key] = (dimensions, array, _attributes(trajectory, key))
    coordinates = {
        "seed": ("seed", trajectory.seeds, {"long_name": "seed of the network"}),
        "epoch": ("epoch", trajectory.epochs, {"long_name": "completed epochs", "units": "epochs"}),
        "layer": ("layer", np.array(trajectory.layer_names), {"long_name": "layer, from the input on"}),
        "layer_width": ("layer", np.array(trajectory.layer_widths), {"long_name": "units of the layer"}),
        "pattern": ("pattern", np.arange(trajectory.train_mask.shape[1]), {"long_name": "input pattern"}),
    }
    attributes = {"schema_version": SCHEMA_VERSION, "config": json.dumps(trajectory.config)}
    return xarray.Dataset(variables, coordinates, attributes)


def to_dataframe(trajectory: Trajectory) -> pandas.DataFrame:
    """See `Trajectory.to_dataframe`."""
    pandas = _wanted("pandas", "to_dataframe")
    sizes = trajectory.i_xt.shape
    names = trajectory.layer_names

    def column(values: Any, axes: str) -> Any:
        array = np.asarray(values)
        placed = array.reshape([n if axis in axes else 1 for axis, n in zip("SEL", sizes, strict=True)])
        return np.broadcast_to(placed, sizes).reshape(-1)

    columns = {
        "seed": column(trajectory.seeds, "S"),
        "epoch": column(trajectory.epochs, "E"),
        "layer": pandas.Categorical.from_codes(column(np.arange(len(names)), "L"), list(names), ordered=True),
        "layer_width": column(trajectory.layer_widths, "L"),
    }
    measured = [(key, axes, getattr(trajectory, key)) for key, axes in AXES.items()]
    measured += [(key, extra_axes(key, names), array) for key, array in trajectory.extras.items()]
    for wanted in ("SEL", "SE", "S"):
        columns |= {key: column(array, axes) for key, axes, array in measured if axes == wanted}
    frame = pandas.DataFrame(columns)
    labels = ("seed", "layer", "layer_width")
    units = {key: _attributes(trajectory, key)["units"] for key in columns if key not in labels}
    frame.attrs["units"] = units | {"epoch": "epochs"}
    return frame


def _wanted(package: str, method: str) -> Any:
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


def _attributes(trajectory: Trajectory, key: str) -> dict[str, str]:
    """What the numbers are: `long_name`, `units`, and of an information the estimator."""
    which = next((base for base in ("i_xt_error", "i_ty_error", "i_xt", "i_ty") if key.startswith(base)), key)
    name, unit = _NAMES.get(which, (key.replace("_", " "), "1"))
    attributes = {"long_name": name, "units": unit}
    if which not in ("i_xt", "i_ty", "i_xt_error", "i_ty_error"):
        return attributes
    estimator = key.removeprefix(which).removeprefix("_")
    measured = _entry(trajectory.config, "measured") if not estimator else {}
    estimator = estimator or measured.get("estimator", "histogram")
    described = measured or _entry(_entry(trajectory.config, "estimators"), estimator)
    attributes["estimator"] = str(estimator)
    if which in described:
        attributes["estimate_is"] = str(described[which])
    if "options" in described:
        attributes["options"] = json.dumps(described["options"])
    return attributes


def _entry(config: dict[str, Any], key: str) -> dict[str, Any]:
    """A part of a configuration, which in a file may be anything."""
    value = config.get(key)
    return value if isinstance(value, dict) else {}
