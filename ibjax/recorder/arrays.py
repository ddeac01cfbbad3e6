"""Activations of any framework as arrays of JAX or NumPy, and labels of any kind as p(y|x).

Shapes: S seeds, N patterns, U units of a layer, C classes; ... further axes, which become one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from ibjax._checks import distinct, integer, integers, unknown
from ibjax.probability import checked_conditional, one_hot, within_unit

_MOST_SEEDS = 10**6
_EXACT = 1e-6  # what any p(y|x) may miss 1 by
_MOST_ROUNDING = 0.05  # by which rows of few bits may miss 1, however many classes
_CPU = 1  # the device type of DLPack


def as_array(field: str, value: Any) -> Any:
    """An array of JAX or NumPy with the values of any framework's, detached, on this host unless JAX knows its device.

    What has `__dlpack__` is read without a copy where JAX or NumPy can; else what it says by `__array__` is taken.

    Raises:
      TypeError: it is no array of real numbers.
    """
    if getattr(value, "is_sparse", False) or getattr(value, "is_sparse_csr", False) or hasattr(value, "todense"):
        raise TypeError(f"{field} is of {_kind(value)}, sparse; allowed: a dense array, such as of .to_dense()")
    array = value if isinstance(value, jax.Array | np.ndarray) else _foreign(value)
    if not any(jnp.issubdtype(array.dtype, kind) for kind in (jnp.floating, jnp.integer, jnp.bool_)):
        raise TypeError(f"{field} is of {_kind(value)} with dtype {array.dtype}; allowed: an array of real numbers")
    return array


def _foreign(value: Any) -> Any:
    for step in ("detach", "resolve_conj", "resolve_neg", "contiguous"):  # of PyTorch: what is left is numbers in order
        if hasattr(value, step):
            value = getattr(value, step)()
    if hasattr(value, "__dlpack_device__") and value.__dlpack_device__()[0] != _CPU:
        value = _to_host(value)
    if hasattr(value, "__dlpack__"):
        for read in (np.from_dlpack, jax.dlpack.from_dlpack):  # JAX halves 64 bits, NumPy lacks bfloat16
            try:
                return read(value)
            except Exception as error:  # what a framework raises for a type that DLPack or a reader lacks differs
                refused = error
        if not hasattr(value, "__array__"):
            raise refused
    return np.asarray(value)


def _to_host(value: Any) -> Any:
    """A copy on this host of an array on an accelerator."""
    for step in ("cpu", "get"):  # PyTorch and TensorFlow, CuPy
        if hasattr(value, step):
            return getattr(value, step)()
    return value


def _kind(value: Any) -> str:
    return f"type {type(value).__module__}.{type(value).__qualname__}"


def conditional(labels: Any, p_y_given_x: Any, label_cells: int | None) -> npt.NDArray[Any]:
    """p(y|x) from one of both: (N,) of a binary label, whole numbers (N,) that name classes, or (N, C).

    Args:
      labels: (N,) numbers or names of classes, or (N, C) one-hot or probabilities; real numbers with `label_cells`.
      p_y_given_x: as of `ibjax.Dataset`.
      label_cells: of equal population, into which real labels go.

    Raises:
      ValueError, TypeError: both or none given, or values that are not allowed.
    """
    if (labels is None) == (p_y_given_x is None):
        raise TypeError("labels and p_y_given_x: allowed: one of them")
    if labels is None:
        if label_cells is not None:
            raise TypeError(f"label_cells = {label_cells} with p_y_given_x; allowed: None, or labels=...")
        given = np.array(as_array("p_y_given_x", p_y_given_x))  # a copy: the caller may use theirs again
        given = _rows_of_one(given) if given.dtype.kind not in "biu" else given
        if given.ndim == 0 or len(given) < 2:
            raise ValueError(f"p_y_given_x has shape {given.shape}; allowed: (N,) or (N, C) of at least 2 patterns")
        return given
    array = _numbered(labels)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim not in (1, 2) or 0 in array.shape:
        raise ValueError(f"labels have shape {array.shape}; allowed: (N,), or (N, C) one-hot or probabilities")
    if array.ndim == 2:
        if label_cells is not None:
            raise ValueError(f"label_cells = {label_cells} for labels of shape {array.shape}; allowed: None")
        try:
            return checked_conditional(_rows_of_one(array), len(array))
        except ValueError as error:  # which speaks of what the labels are taken for
            words = f"labels of shape {array.shape}, as p(y|x),"
            raise ValueError(str(error).replace("p_y_given_x", words, 1)) from None
    if label_cells is not None:
        return _cells(array, integer("label_cells", label_cells, 2, 4096))
    if array.dtype.kind == "f" and not np.array_equal(array, np.round(array)):
        raise ValueError(
            f"labels hold {array[array != np.round(array)][0]:g}, which names no class; allowed: whole numbers, names, "
            "(N, C) probabilities, real labels with label_cells=..., or p_y_given_x=..."
        )
    if not np.isfinite(array).all():
        raise ValueError("labels hold NaN or infinite values; allowed: whole numbers, or names")
    ids = np.unique(array, return_inverse=True)[1].reshape(-1)
    one_hot("labels", ids)  # whether there are classes, and not too many
    return array.astype(np.float64) if within_unit(array) else ids


def _numbered(labels: Any) -> npt.NDArray[Any]:
    """Labels as numbers: those given, or those of names in alphabetical order.

    Raises:
      TypeError: one text or a mapping, which has no labels in order; names beside numbers, or beside missing ones.
    """
    allowed = "allowed: an array or a list of whole numbers, of names, or of rows of probabilities"
    if isinstance(labels, str | bytes | bytearray | Mapping | set | frozenset):
        raise TypeError(f"labels are of {_kind(labels)}; {allowed}")
    if np.dtype(object) == getattr(labels, "dtype", None):  # names, as pandas gives them
        labels = np.asarray(labels).tolist()
    if isinstance(labels, Iterable) and not hasattr(labels, "shape"):
        labels = list(labels)
        is_name = [isinstance(label, str | bytes) for label in labels]
        if any(is_name) and not all(is_name):  # NumPy would make names of the others
            other = labels[is_name.index(False)]
            raise TypeError(f"labels hold names and {other!r}; allowed: all names, or all numbers, none missing")
        labels = np.asarray(labels)
    if isinstance(labels, np.ndarray) and labels.dtype.kind in "US":
        labels = np.unique(labels, return_inverse=True)[1]
    return np.asarray(as_array("labels", labels))


def _rows_of_one(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """p(y|x) as float64; rows (N, C) whose sums miss 1 by no more than their type rounds to are divided by them."""
    p = values.astype(np.float64)
    if p.ndim == 2 and jnp.issubdtype(values.dtype, jnp.floating):
        sums = p.sum(axis=1, keepdims=True)
        most = min(p.shape[1] * float(jnp.finfo(values.dtype).eps), _MOST_ROUNDING)
        gap = np.abs(sums - 1)
        p = np.where((gap > _EXACT) & (gap <= most), p / np.where(sums > 0, sums, 1.0), p)
    return p


def _cells(values: npt.NDArray[Any], cells: int) -> npt.NDArray[np.int64]:
    """Real labels (N,) as numbers of cells of equal population; equal labels share a cell."""
    if not np.isfinite(values).all():
        raise ValueError("labels hold NaN or infinite values; allowed: finite")
    edges = np.unique(np.quantile(values, np.arange(1, cells) / cells))
    ids = np.unique(np.searchsorted(edges, values, side="right"), return_inverse=True)[1].reshape(-1)
    if ids.max() == 0:
        raise ValueError(f"labels are all {values.flat[0]:g}; allowed: at least 2 different ones")
    return ids


def layers_of(activations: Any, names: Sequence[str] | None) -> dict[str, Any]:
    """The layers of a log by name, in order: those of `names` where a mapping holds more.

    Args:
      activations: a mapping of names to arrays, or a sequence of arrays.
      names: of the layers to take; None for all, which a sequence calls layer_1, layer_2, ...

    Raises:
      TypeError: it is neither.
      ValueError: a layer of `names` is not there; tells which are. None at all.
    """
    if isinstance(activations, Mapping):
        found = {str(name): value for name, value in activations.items()}
        if len(found) < len(activations):
            raise ValueError(f"activations are of {', '.join(map(repr, activations))}; allowed: different names")
        for name in names or ():
            if name not in found:
                raise ValueError(unknown("layer_names", name, tuple(found)))
        found = {name: found[name] for name in names or found}
    elif isinstance(activations, Sequence) and not isinstance(activations, str):
        wanted = names or [f"layer_{number}" for number in range(1, len(activations) + 1)]
        if len(wanted) != len(activations):
            raise ValueError(
                f"activations are of {len(activations)} layers; allowed: {len(wanted)}, as layer_names has: "
                f"{', '.join(wanted)}"
            )
        found = dict(zip(wanted, activations, strict=True))
    else:
        raise TypeError(f"activations are of {_kind(activations)}; allowed: a dict or a list of arrays, one a layer")
    if not found:
        raise ValueError("activations are of no layer; allowed: at least one")
    checked_names("activations", found)
    return found


def as_layer(name: str, value: Any, n_seeds: int, n_patterns: int, *, seed_axis: bool) -> Any:
    """Activations of a layer as (S, N, U).

    Raises:
      ValueError: another number of seeds or patterns.
      TypeError: no array of real numbers.
    """
    array = as_array(f"layer {name!r}", value)
    wanted = (n_seeds, n_patterns) if seed_axis else (n_patterns,)
    axes = "(seeds, patterns, ...)" if seed_axis else "(patterns, ...)"
    if array.shape[: len(wanted)] != wanted or 0 in array.shape:
        count = array.shape[len(wanted) - 1] if array.ndim >= len(wanted) else 0
        passes = count // n_patterns if count and count % n_patterns == 0 else 1
        hint = f" (these are {passes} passes of them: one block of watch for each log)" if passes > 1 else ""
        if not seed_axis and array.ndim > 2 and array.shape[1] == n_patterns:
            hint = f" (or is the first axis that of networks? Recorder(..., seeds={array.shape[0]}))"
        raise ValueError(
            f"layer {name!r} has shape {array.shape}; allowed: {axes} = ({', '.join(map(str, wanted))}, ...), as many "
            f"patterns as there are labels{hint}"
        )
    return array.reshape(n_seeds, n_patterns, -1)


def per_seed(field: str, value: Any, n_seeds: int) -> npt.NDArray[np.float64]:
    """A number for every seed, (S,).

    Raises:
      ValueError: another number of them.
    """
    array = np.asarray(as_array(field, value if hasattr(value, "shape") else np.asarray(value)), np.float64)
    if array.size != n_seeds or array.ndim > 1:
        raise ValueError(f"{field} has shape {array.shape}; allowed: one number for each of {n_seeds} seeds")
    return array.reshape(n_seeds).copy()


def halves(field: str, value: Any, n_seeds: int) -> dict[str, npt.NDArray[np.float64]]:
    """`loss` or `accuracy` of the training and of the test patterns, by the trajectory's keys.

    Args:
      field: "loss" or "accuracy".
      value: of the training patterns, or a mapping with "train", "test" or both; each () or (S,).
      n_seeds: S.
    """
    parts = value if isinstance(value, Mapping) else {"train": value}
    for part in parts:
        if part not in ("train", "test"):
            raise ValueError(unknown(field, part, ("train", "test")))
    found = {f"{part}_{field}": per_seed(f"{field}[{part!r}]", of_part, n_seeds) for part, of_part in parts.items()}
    for key, values in found.items():
        if field == "accuracy" and ((values < 0) | (values > 1)).any():
            raise ValueError(f"{key} = {values[(values < 0) | (values > 1)][0]:g}; allowed: 0 to 1")
    return found


def checked_names(field: str, value: Any) -> tuple[str, ...]:
    """At least one name, none twice."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError(f"{field} = {value!r}; allowed: a sequence of names")
    found = tuple(value)
    if not found or not all(isinstance(name, str) and name and name.isprintable() for name in found):
        raise ValueError(f"{field} = {found!r}; allowed: at least one name, each printable and not empty")
    return distinct(field, found)


def numbers(seed: int, seeds: int | Iterable[int] | None) -> tuple[int, ...]:
    """The numbers of the networks."""
    if seeds is None:
        return (integer("seed", seed, 0, 2**32 - 1),)
    if seed != 0:
        raise ValueError(f"seed = {seed} and seeds = {seeds!r}; allowed: one of them")
    if isinstance(seeds, Iterable):
        return distinct("seeds", integers("seeds", seeds, 0, 2**32 - 1))
    return tuple(range(integer("seeds", seeds, 1, _MOST_SEEDS)))
