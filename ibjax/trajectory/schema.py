"""Schema 1 of the trajectory file: its keys, their shapes, and the checks of both.

Shapes: S seeds, E logged epochs, L layers (hidden layers in order, then the output), N input patterns, P parameters;
* any further axes.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

SCHEMA_VERSION = 1

AXES = {
    "i_xt": "SEL",
    "i_ty": "SEL",
    "train_loss": "SE",
    "test_loss": "SE",
    "train_accuracy": "SE",
    "test_accuracy": "SE",
    "gradient_mean": "SEL",
    "gradient_std": "SEL",
    "weight_norm": "SEL",
    "train_mask": "SN",
    "diverged": "S",
}
"""Axes of the measured arrays: floating point but for the two of `FLAGS`."""
FLAGS = ("train_mask", "diverged")
SCALARS = ("i_xy", "h_x", "h_y")
LABELS = ("config", "seeds", "epochs", "layer_names", "layer_widths")
REQUIRED = ("schema_version", *LABELS, *AXES, *SCALARS)

_EXTRAS = {
    "range_low": "SEL",
    "range_high": "SEL",
    "singleton_share": "SEL",
    "params": "SEP",
    "i_xt_error": "SEL",
    "i_ty_error": "SEL",
    "h_x_measured": "S",
    "i_xy_measured": "S",
    "train_labels": "SN",
    "inputs": "N*",
    "p_y_given_x": "N*",
    "p_x": "N",
}
_EXTRAS_OF_LAYER = {"weights_": "SE*", "biases_": "SE*"}
_EXTRAS_OF_ESTIMATOR = {"i_xt_error_": "SEL", "i_ty_error_": "SEL", "i_xt_": "SEL", "i_ty_": "SEL"}
WEIGHTS = ("params", *_EXTRAS_OF_LAYER)
"""Beginnings of the keys that hold parameters."""


class TrajectoryError(ValueError):
    """Arrays that make no trajectory, or a file that holds none; the message names the key or the file."""


def extra_axes(key: str, layer_names: Sequence[str]) -> str:
    """Axes of an optional array.

    Raises:
        TrajectoryError: the schema has no such key.
    """
    if key in _EXTRAS:
        return _EXTRAS[key]
    for prefix, axes in _EXTRAS_OF_LAYER.items():
        if key.startswith(prefix) and key.removeprefix(prefix) in layer_names:
            return axes
    for prefix, axes in _EXTRAS_OF_ESTIMATOR.items():
        # Only the error of "x" is called i_xt_error_x: no estimator's own name may begin so.
        name = key.removeprefix(prefix)
        if key.startswith(prefix) and name.isidentifier() and name.partition("_")[0] != "error":
            return axes
    patterns = [f"{p}<layer>" for p in _EXTRAS_OF_LAYER] + [f"{p}<estimator>" for p in _EXTRAS_OF_ESTIMATOR]
    raise TrajectoryError(
        f"{key!r} is no key of schema {SCHEMA_VERSION}; optional are {', '.join([*_EXTRAS, *patterns])}, "
        f"with the layers {', '.join(layer_names)}"
    )


def check_array(
    key: str, value: npt.ArrayLike, axes: str, sizes: Mapping[str, int], *, kinds: str = "f"
) -> npt.NDArray[Any]:
    """A read-only view of `value`, whose dtype kind must be one of `kinds` (floats of 4 or 8 bytes)."""
    array = np.asarray(value)
    fixed = axes.removesuffix("*")
    expected = tuple(sizes.get(axis) for axis in fixed)
    shape = array.shape[: len(fixed)] if axes.endswith("*") else array.shape
    fits = len(shape) == len(expected) and all(e in (None, n) for e, n in zip(expected, shape, strict=True))
    right_kind = array.dtype.kind in kinds and (array.dtype.kind != "f" or array.dtype.itemsize in (4, 8))
    if not (fits and right_kind):
        names = {"f": "float32 or float64", "b": "bool", "iu": "integers"}
        wanted = ", ".join(f"{axis}={n}" if n is not None else axis for axis, n in zip(fixed, expected, strict=True))
        raise TrajectoryError(
            f"{key} is {array.dtype} of shape {array.shape}; expected {names.get(kinds, 'numbers')} of shape "
            f"({wanted}{', ...' if axes.endswith('*') else ''})"
        )
    view = array.view()
    view.flags.writeable = False
    return view


def check_integers(key: str, value: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """A non-empty vector of integers, as int64."""
    array = check_array(key, value, "n", {}, kinds="iu")
    if array.size == 0:
        raise TrajectoryError(f"{key} is empty; expected at least one integer")
    if array.dtype.kind == "u" and array.max() > np.iinfo(np.int64).max:
        raise TrajectoryError(f"{key} holds {array.max()}, beyond int64")
    return check_array(key, array.astype(np.int64), "n", {}, kinds="iu")


def check_scalar(key: str, value: object) -> float:
    """A finite number, as float."""
    array = np.asarray(value)
    if array.shape != () or array.dtype.kind not in "iuf" or not np.isfinite(array):
        raise TrajectoryError(f"{key} is {value!r}; expected one finite number")
    return float(array)


def check_names(key: str, value: Sequence[str]) -> tuple[str, ...]:
    """Different, printable, not empty: they become names inside the file."""
    names = tuple(value)
    if isinstance(value, str) or not names or not all(isinstance(n, str) and n and n.isprintable() for n in names):
        raise TrajectoryError(f"{key} is {value!r}; expected at least one name, each printable and not empty")
    if len(set(names)) != len(names):
        raise TrajectoryError(f"{key} holds one twice: {names}")
    return tuple(str(name) for name in names)


def check_config(value: object) -> dict[str, Any]:
    """A copy of a JSON object as JSON gives it back: tuples become lists, now and not only after loading."""
    if not isinstance(value, dict):
        raise TrajectoryError(f"config is of type {type(value).__name__}; expected a dict")
    try:
        copy = json.loads(json.dumps(value))
    except (TypeError, ValueError, RecursionError) as error:
        raise TrajectoryError(f"config cannot be written as JSON: {error}") from error
    return dict(copy)
