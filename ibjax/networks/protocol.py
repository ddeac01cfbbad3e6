"""What a network must be: the protocol for users, its form inside the library, and the contract it is checked for.

Shapes: B patterns of a batch, U units of a layer, C classes, P parameters; ... the axes of one input pattern.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree
from jax.tree_util import keystr

from ibjax.data.dataset import Dataset

Params = Any  # a pytree of arrays
Apply = Callable[[Params, Array], tuple[Array, list[Array]]]


@runtime_checkable
class Network(Protocol):
    """What `ibjax.run(network=...)` trains: two pure functions of one network."""

    def init(self, key: Array, inputs: Array) -> Params:
        """Parameters drawn with `key`, for inputs like `inputs` (B, ...)."""

    def apply(self, params: Params, inputs: Array) -> tuple[Array, list[Array]]:
        """Logits (B, C), or (B, 1) of a binary label, and the activations of each layer, (B, U) or (B, ...)."""


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """A network as the library sees it: **patterns are on the last axis of every array**.

    The built-in network is several times faster so (see `perceptron`); a user's network, whose patterns come first, is
    turned once, in `adapter`.

    Attributes:
      init: key -> params.
      forward: params, inputs (..., B) -> logits (C, B), activations (U, B) of each layer; where `hidden` is not None,
        also with a third argument, an array (U, B) of noise for each hidden layer.
      layer_names: L names.
      layer_widths: U of each layer; the units of a layer with several axes are counted together.
      bounded: of each layer, whether its activations stay within [-1, 1], the range of the paper's bins.
      hidden: widths of the hidden layers to whose activations noise can be added; None where it cannot.
      units: as `forward`, computed unit by unit (see `units`) for devices where launches cost more than arithmetic;
        None where the network is only to be had by layers.
    """

    init: Callable[[Array], Params]
    forward: Callable[..., tuple[Array, list[Array]]]
    layer_names: tuple[str, ...]
    layer_widths: tuple[int, ...]
    bounded: tuple[bool, ...]
    hidden: tuple[int, ...] | None = None
    units: Callable[..., tuple[Array, list[Array]]] | None = None

    @cached_property
    def unravel(self) -> Callable[[Array], Params]:
        """The vector (P,) of all parameters as the network's tree; nothing is drawn."""
        found: list[Callable[[Array], Params]] = []
        # Traced, as concatenating zeros would compile a program for each shape before a run can be refused.
        jax.eval_shape(lambda tree: found.append(ravel_pytree(tree)[1]), self._tree)
        return found[0]

    @cached_property
    def places(self) -> Params:
        """Where each parameter stands in the vector: the network's tree, of NumPy arrays of int."""
        leaves, structure = jax.tree.flatten(self._tree)
        parts = np.split(np.arange(self.n_params), np.cumsum([leaf.size for leaf in leaves])[:-1])
        shaped = [part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)]
        return jax.tree.unflatten(structure, shaped)

    @property
    def n_params(self) -> int:
        """P."""
        return sum(leaf.size for leaf in jax.tree.leaves(self._tree))

    @cached_property
    def _tree(self) -> Params:
        """Shapes and dtypes of the parameters."""
        return jax.eval_shape(self.init, jax.eval_shape(lambda: jax.random.key(0)))


_ADDRESS = re.compile(r"0x[0-9a-f]+")
_SIZES = (2, 3)
"""Batches whose shapes are compared."""


def check_contract(init: Callable[[Array], Params], apply: Apply, dataset: Dataset, dtype: jnp.dtype) -> list[int]:
    """The widths of the layers of a user's network, found by tracing it on a few patterns; nothing is compiled.

    Args:
      init: key -> params.
      apply: params, inputs (B, ...) -> logits, activations.
      dataset: what the network is to learn.
      dtype: of its inputs.

    Raises:
      TypeError: it returns no pair (logits, activations), or has parameters that are not floating point.
      ValueError: it fails on the patterns; a shape does not begin with the batch, or the width depends on the batch;
        the logits do not fit the classes; or two calls with the same parameters and patterns differ.
    """
    try:
        params = jax.eval_shape(init, jax.eval_shape(lambda: jax.random.key(0)))
    except Exception as error:
        raise ValueError(f"network cannot be initialised: {_first_line(error)}") from error
    _check_parameters(params)
    logits, *widths = _widths(apply, params, _SIZES[0], dataset, dtype)
    if (other := _widths(apply, params, _SIZES[1], dataset, dtype)) != [logits, *widths]:
        raise ValueError(
            f"network returned layers of widths {tuple(widths)} for {_SIZES[0]} patterns and {tuple(other[1:])} for "
            f"{_SIZES[1]} patterns; allowed: widths that are always the same"
        )
    classes = dataset.n_classes
    if logits not in ({1, 2} if classes == 2 else {classes}):
        raise ValueError(f"network returned {logits} logits for {classes} classes")
    if _trace(apply, params, dataset, dtype) != _trace(apply, params, dataset, dtype):
        raise ValueError(
            "network is not deterministic: two calls with the same parameters and patterns differ; allowed: "
            "activations that depend on nothing else (dropout off, no random numbers or counters of Python or NumPy)"
        )
    return widths


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"


def _check_parameters(params: Any) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise TypeError(
                f"network keeps {leaf.dtype} of shape {leaf.shape} at {keystr(path)}; allowed: parameters in floating "
                "point only (a random state, as of dropout in nnx, makes a network that is not deterministic)"
            )


def _patterns(size: int, dataset: Dataset, dtype: jnp.dtype) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((size, *dataset.inputs.shape[1:]), dtype)


def _widths(apply: Apply, params: Any, size: int, dataset: Dataset, dtype: jnp.dtype) -> list[int]:
    """Numbers for each pattern of the logits and of each layer."""
    try:
        result = jax.eval_shape(lambda p, x: apply(p, x), params, _patterns(size, dataset, dtype))
    except Exception as error:
        raise ValueError(
            f"network fails on {size} patterns of {dataset.n_features} features: {_first_line(error)}"
        ) from error
    try:
        logits, activations = result
        shapes = [a.shape for a in (logits, *activations)]
    except (TypeError, ValueError, AttributeError):
        raise TypeError("network returned no pair (logits, activations) with one activation array a layer") from None
    wrong = [shape for shape in shapes if len(shape) < 2 or shape[0] != size or 0 in shape]
    if wrong or len(shapes) < 2 or len(shapes[0]) != 2:
        raise ValueError(
            f"network returned arrays of shape {wrong or shapes[:1]} for {size} patterns; allowed: (batch, width), "
            "and for activations (batch, ...)"
        )
    return [math.prod(shape[1:]) for shape in shapes]


def _trace(apply: Apply, params: Any, dataset: Dataset, dtype: jnp.dtype) -> tuple[str, list[Any]]:
    """All that one call computes, in words, and the constants in it: two traces differ where two calls would."""
    trace = jax.make_jaxpr(lambda p, x: apply(p, x))  # a new function, so that nothing is remembered
    closed = trace(params, _patterns(_SIZES[0], dataset, dtype))
    return _ADDRESS.sub("", str(closed.jaxpr)), [np.asarray(c).tolist() for c in closed.consts]
