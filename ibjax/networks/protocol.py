"""What a network must be: the protocol, and the contract that one of the user's own is checked for before compiling.

Shapes: B patterns of a batch, F input features, U units of a layer, C classes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import keystr

from ibjax.data.dataset import Dataset

Params = Any  # a pytree of arrays


@runtime_checkable
class Network(Protocol):
    """What `ibjax.run(network=...)` trains: two pure functions of one network."""

    def init(self, key: Array, inputs: Array) -> Params:
        """Parameters drawn with `key`, for inputs like `inputs` (B, F)."""

    def apply(self, params: Params, inputs: Array) -> tuple[Array, list[Array]]:
        """Logits (B, C), or (B, 1) of a binary label, and the activations of each layer (B, U)."""


class Model(NamedTuple):
    """A network as the training sees it.

    Attributes:
      init: key -> params.
      forward: params, inputs -> logits, activations; shaped as `patterns_axis` says. With a third argument, one array
        of noise for each hidden layer, where `hidden` is not None.
      patterns_axis: 0 where arrays are (B, features), 1 where they are (features, B).
      hidden: widths of the hidden layers, where noise may be added to their activations.
      names: of the groups of parameters that hold a kernel, in their order, where they have names.
    """

    init: Callable[[Array], Params]
    forward: Callable[..., tuple[Array, list[Array]]]
    patterns_axis: int
    hidden: tuple[int, ...] | None = None
    names: tuple[str, ...] | None = None


_ADDRESS = re.compile(r"0x[0-9a-f]+")
_SIZES = (2, 3)
"""Batches whose shapes are compared."""


def check_contract(model: Model, dataset: Dataset, dtype: jnp.dtype, *, trusted: bool) -> tuple[int, ...]:
    """The widths of a network's layers, found by tracing it on a few patterns.

    Args:
      model: the network.
      dataset: what it is to learn.
      dtype: of its inputs.
      trusted: the network is built in: its shapes are looked at, no more.

    Raises:
      TypeError: it returns no pair (logits, activations), or has parameters that are not floating point.
      ValueError: it fails on the patterns; a shape is not (batch, width), or the width depends on the batch; the logits
        do not fit the classes; or two calls with the same parameters and patterns differ.
    """
    key = jax.eval_shape(lambda: jax.random.key(0))
    try:
        params = jax.eval_shape(model.init, key)
    except Exception as error:
        raise ValueError(f"network cannot be initialised: {_said(error)}") from error
    if not trusted:
        _check_parameters(params)
    shapes = [_shapes(model, params, size, dataset, dtype) for size in _SIZES[: 1 if trusted else None]]
    widths = [tuple(width for _, width in of_size) for of_size in shapes]
    if len(set(widths)) > 1:
        told = " and ".join(f"{w[1:]} for {size} patterns" for w, size in zip(widths, _SIZES, strict=True))
        raise ValueError(f"network returned layers of widths {told}; allowed: widths that are always the same")
    logits, *layers = widths[0]
    classes = dataset.n_classes
    if logits not in ({1, 2} if classes == 2 else {classes}):
        raise ValueError(f"network returned {logits} logits for {classes} classes")
    if not trusted and _traced(model, params, dataset, dtype) != _traced(model, params, dataset, dtype):
        raise ValueError(
            "network is not deterministic: two calls with the same parameters and patterns differ; allowed: "
            "activations that depend on nothing else (dropout off, no random numbers or counters of Python or NumPy)"
        )
    return tuple(layers)


def _said(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"


def _check_parameters(params: Any) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise TypeError(
                f"network keeps {leaf.dtype} of shape {leaf.shape} at {keystr(path)}; allowed: parameters in floating "
                "point only (a random state, as of dropout in nnx, makes a network that is not deterministic)"
            )


def _patterns(model: Model, size: int, dataset: Dataset, dtype: jnp.dtype) -> jax.ShapeDtypeStruct:
    shape = (size, dataset.n_features)
    return jax.ShapeDtypeStruct(shape if model.patterns_axis == 0 else shape[::-1], dtype)


def _shapes(model: Model, params: Any, size: int, dataset: Dataset, dtype: jnp.dtype) -> list[tuple[int, int]]:
    """(B, width) of the logits and of each layer."""
    try:
        result = jax.eval_shape(lambda p, x: model.forward(p, x), params, _patterns(model, size, dataset, dtype))
    except Exception as error:
        raise ValueError(
            f"network fails on {size} patterns of {dataset.n_features} features: {_said(error)}"
        ) from error
    try:
        logits, activations = result
        shapes = [a.shape for a in (logits, *activations)]
    except (TypeError, ValueError, AttributeError):
        raise TypeError("network returned no pair (logits, activations) with one activation array a layer") from None
    wrong = [shape for shape in shapes if len(shape) != 2 or shape[model.patterns_axis] != size or 0 in shape]
    if wrong or len(shapes) < 2:
        raise ValueError(f"network returned arrays of shape {wrong} for {size} patterns; allowed: (batch, width)")
    return [(size, shape[1 - model.patterns_axis]) for shape in shapes]


def _traced(model: Model, params: Any, dataset: Dataset, dtype: jnp.dtype) -> tuple[str, list[Any]]:
    """All that one call computes, in words, and the constants in it: two traces differ where two calls would."""
    trace = jax.make_jaxpr(lambda p, x: model.forward(p, x))  # a new function, so that nothing is remembered
    closed = trace(params, _patterns(model, _SIZES[0], dataset, dtype))
    return _ADDRESS.sub("", str(closed.jaxpr)), [np.asarray(c).tolist() for c in closed.consts]
