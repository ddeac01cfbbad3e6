"""The trajectory file: its keys, their shapes, and the checks of both.

Schema 1 has every array of `AXES`. Schema 2 may lack those of `OPTIONAL`, which not every training loop can give; a
trajectory that lacks none is written as schema 1.

Shapes: S seeds, E logged epochs, L layers (hidden layers in order, then the output), N input patterns, P parameters,
R phases; * any further axes.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ibjax.config import PER_SEED
from ibjax.npz import Archive

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
OPTIONAL = tuple(key for key in AXES if key not in ("i_xt", "i_ty", "diverged"))
"""Arrays of `AXES` that schema 2 may lack."""
FLAGS = ("train_mask", "diverged")
SCALARS = ("i_xy", "h_x", "h_y")
LABELS = ("config", "seeds", "epochs", "layer_names", "layer_widths")
KEYS = ("schema_version", *LABELS, *AXES, *SCALARS)
REQUIRED = {1: KEYS, 2: tuple(key for key in KEYS if key not in OPTIONAL)}
"""Keys that a file must hold, by its schema version."""

_EXTRAS = {
    "range_low": "SEL",
    "range_high": "SEL",
    "singleton_share": "SEL",
    "params": "SEP",
    "i_xt_error": "SEL",
    "i_ty_error": "SEL",
    "phase": "SE",
    "phase_began": "SR",
    "cost_forward": "SE",
    "cost_backward": "SE",
    "acceptance": "SE",
    "not_finite": "SE",
    "move_scale": "SE",
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


_CONFIG: dict[str, tuple[type, type, str]] = {
    "config": (dict, object, "a dict of the fields of ibjax.Config"),
    "versions": (dict, object, "a dict of versions by package"),
    "estimators": (dict, dict, "a dict of dicts by estimator"),
    "measured": (dict, object, "a dict that tells the estimator"),
    "custom": (list, str, "a list of names"),
    "merged_from": (list, dict, "a list of dicts"),
}
"""Entries of `config`, each optional: the type of the entry, of its items, and both in words."""
_DEEPEST = 32  # levels of the config; what compares or prints two of them recurses


class TrajectoryError(ValueError):
    """Arrays that make no trajectory, or a file that holds none; the message names the key or the file."""


def extra_axes(key: str, layer_names: Sequence[str]) -> str:
    """Axes of an extra array.

    Raises:
      TrajectoryError: the schema has no such key.
    """
    if key in _EXTRAS:
        return _EXTRAS[key]
    for prefix, axes in _EXTRAS_OF_LAYER.items():
        if key.startswith(prefix) and key.removeprefix(prefix) in layer_names:
            return axes
    for prefix, axes in _EXTRAS_OF_ESTIMATOR.items():
        # Only the error of "x" is called i_xt_error_x: no estimator's name may begin so.
        name = key.removeprefix(prefix)
        if key.startswith(prefix) and name.isidentifier() and name.partition("_")[0] != "error":
            return axes
    patterns = [f"{p}<layer>" for p in _EXTRAS_OF_LAYER] + [f"{p}<estimator>" for p in _EXTRAS_OF_ESTIMATOR]
    raise TrajectoryError(
        f"{key!r} is no key of schema 1 or 2; allowed besides theirs: {', '.join([*_EXTRAS, *patterns])}, with the "
        f"layers {', '.join(layer_names)}"
    )


def all_axes(key: str, layer_names: Sequence[str]) -> str:
    """Axes of an array of the schema; none for labels and scalars, TrajectoryError for what is no key."""
    return "" if key in ("schema_version", *LABELS, *SCALARS) else AXES.get(key) or extra_axes(key, layer_names)


def check_array(
    key: str, value: npt.ArrayLike, axes: str, sizes: dict[str, int], *, kinds: str = "f"
) -> npt.NDArray[Any]:
    """A read-only view of `value`, whose dtype kind must be one of `kinds` (floats of 4 or 8 bytes).

    `sizes` are the lengths of the axes known so far; those of others are added.

    Raises:
      TrajectoryError: another dtype or shape.
    """
    array = np.asarray(value)
    fixed = axes.removesuffix("*")
    wanted = tuple(sizes.get(axis) for axis in fixed)
    shape = array.shape[: len(fixed)] if axes.endswith("*") else array.shape
    fits = len(shape) == len(wanted) and all(w in (None, n) for w, n in zip(wanted, shape, strict=True))
    right_kind = array.dtype.kind in kinds and (array.dtype.kind != "f" or array.dtype.itemsize in (4, 8))
    if not (fits and right_kind):
        names = {"f": "float32 or float64", "b": "bool", "iu": "integers"}
        allowed = ", ".join(axis if n is None else f"{axis}={n}" for axis, n in zip(fixed, wanted, strict=True))
        raise TrajectoryError(
            f"{key} is {array.dtype} of shape {array.shape}; allowed: {names.get(kinds, 'numbers')} of shape "
            f"({allowed}{', ...' if axes.endswith('*') else ''})"
        )
    sizes.update(zip(fixed, shape, strict=True))
    view = array.view()
    view.flags.writeable = False
    return view


def check_integers(key: str, value: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """A non-empty vector of integers, as int64."""
    array = check_array(key, value, "n", {}, kinds="iu")
    if array.size == 0:
        raise TrajectoryError(f"{key} is empty; allowed: at least one integer")
    if array.dtype.kind == "u" and array.max() > np.iinfo(np.int64).max:
        raise TrajectoryError(f"{key} holds {array.max()}, beyond int64")
    return check_array(key, array.astype(np.int64), "n", {}, kinds="iu")


def check_scalar(key: str, value: object) -> float:
    """A finite number, as float."""
    array = np.asarray(value)
    if array.shape != () or array.dtype.kind not in "iuf" or not np.isfinite(array):
        raise TrajectoryError(f"{key} is {value!r}; allowed: one finite number")
    return float(array)


def check_names(key: str, value: Sequence[str]) -> tuple[str, ...]:
    """Different, printable, not empty: they become names inside the file."""
    names = tuple(value)
    if isinstance(value, str) or not names or not all(isinstance(n, str) and n and n.isprintable() for n in names):
        raise TrajectoryError(f"{key} is {value!r}; allowed: at least one name, each printable and not empty")
    if len(set(names)) != len(names):
        raise TrajectoryError(f"{key} holds one twice: {names}")
    return tuple(str(name) for name in names)


def check_config(value: object) -> dict[str, Any]:
    """A copy of a JSON object as JSON gives it back: tuples become lists, now and not only after loading.

    Raises:
      TrajectoryError: it is no dict, cannot be JSON, or an entry that the library reads is of another type; names it.
    """
    if not isinstance(value, dict):
        raise TrajectoryError(f"config is of type {type(value).__name__}; allowed: a dict")
    try:
        copy: dict[str, Any] = json.loads(json.dumps(value))
    except (TypeError, ValueError, RecursionError) as error:
        raise TrajectoryError(f"config cannot be written as JSON: {error}") from error
    level: list[Any] = [copy]
    for _ in range(_DEEPEST):
        parts = [part.values() if isinstance(part, dict) else part for part in level if isinstance(part, dict | list)]
        level = [item for part in parts for item in part]
    if level:
        raise TrajectoryError(f"config is nested too deeply; allowed: {_DEEPEST} levels")
    for key, (kind, item, words) in _CONFIG.items():
        held = copy.get(key, kind())
        items = held.values() if isinstance(held, dict) else held
        if not isinstance(held, kind) or not all(isinstance(one, item) for one in items):
            raise TrajectoryError(f"{key} of the config = {_brief(held)}; allowed: {words}")
    if not isinstance(options := copy.get("measured", {}).get("options", {}), dict):
        raise TrajectoryError(f"measured options of the config = {_brief(options)}; allowed: a dict")
    for key, numbers in (("seeds", int), *((key, int | float) for key in PER_SEED)):
        held = copy.get("config", {}).get(key, 0)
        if not all(isinstance(one, numbers) for one in (held if isinstance(held, list) else [held])):
            raise TrajectoryError(f"{key} of the configuration = {_brief(held)}; allowed: a number, or a list of them")
    return copy


def _brief(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def read_fields(archive: Archive, only: Sequence[str] | None = None) -> dict[str, Any]:
    """The fields of a `Trajectory` from its file, their shapes not yet checked; or those of some keys only.

    Raises:
      TrajectoryError: the schema version is another, a key is missing or unknown, names or configuration are no text.
      ArchiveError: a member is damaged.
    """
    if "schema_version" not in archive.keys:
        raise TrajectoryError("it holds no schema_version, so ibjax did not write it")
    version = archive.read("schema_version")
    if version.ndim or version.dtype.kind not in "iu":
        raise TrajectoryError(f"schema_version is {version.dtype} of shape {version.shape}; allowed: an integer")
    if int(version) not in REQUIRED:
        raise TrajectoryError(f"it has schema version {version}; this ibjax reads versions 1 and 2")
    if missing := [key for key in REQUIRED[int(version)] if key not in archive.keys]:
        raise TrajectoryError(f"it lacks {', '.join(missing)}")
    names = archive.read("layer_names")
    text = archive.read("config")
    if names.dtype.kind != "U" or names.ndim != 1 or text.dtype.kind != "U" or text.ndim != 0:
        raise TrajectoryError("layer_names or config is not text of the right shape")
    extras = [key for key in archive.keys if key not in KEYS]
    for key in extras:
        extra_axes(key, names.tolist())
    try:
        config = json.loads(text.item())
    except (ValueError, RecursionError) as error:
        raise TrajectoryError(f"config is no JSON: {error}") from error
    done = ("schema_version", "config", "layer_names")
    wanted = [key for key in archive.keys if key not in done and (only is None or key in only)]
    arrays = {key: archive.read(key) for key in wanted}
    further = {key: arrays.pop(key) for key in extras if key in arrays}
    return dict(config=config, layer_names=tuple(names.tolist()), extras=further, **arrays)


def share(bits: npt.NDArray[np.floating[Any]], of: Any) -> npt.NDArray[np.floating[Any]]:
    """`bits` (S, E, L) over a number () or one a seed (S,), in the dtype of the bits; NaN where that is not above 0."""
    whole = np.asarray(of, np.float64).reshape(-1, 1, 1)
    return bits / np.where(whole > 0, whole, np.nan).astype(bits.dtype)


def is_squared_error(config: Mapping[str, Any]) -> bool:
    """Whether the losses of a trajectory with this `config` are mean squared errors, and not cross-entropies."""
    return bool(config.get("config", {}).get("loss") == "mean_squared_error")


def loss_label(config: Mapping[str, Any]) -> str:
    """What the losses of a trajectory with this `config` are, with their unit."""
    return "mean squared error" if is_squared_error(config) else "cross-entropy [nats]"
