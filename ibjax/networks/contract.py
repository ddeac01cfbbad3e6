"""What a user's network is checked for before anything is compiled, by tracing it on a few patterns.

Shapes: B patterns of a batch, C classes; ... the axes of one input pattern.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import keystr

from ibjax.data.dataset import Dataset
from ibjax.networks.protocol import Apply, Params, some_key


class Functions(NamedTuple):
    """A user's network as pure functions, with the patterns first.

    Attributes:
      init: key -> params.
      apply: params, inputs (B, ...) -> logits, activations, as they are measured; where `statistics` is not None,
        params are the pair (params, statistics).
      statistics: see `Model.statistics`.
      in_training: params, statistics, inputs (B, ...), key -> logits, new statistics; see `Model.in_training`.
    """

    init: Callable[[Array], Params]
    apply: Apply
    statistics: Callable[[Array], Params] | None = None
    in_training: Callable[..., tuple[Array, Params]] | None = None


_ADDRESS = re.compile(r"0x[0-9a-f]+")
_SIZES = (2, 3)
"""Batches whose shapes are compared."""


def check_contract(network: Functions, dataset: Dataset, dtype: jnp.dtype, n_numbers: int | None = None) -> list[int]:
    """The widths of the layers of a user's network.

    Args:
      network: its functions.
      dataset: what the network is to learn.
      dtype: of its inputs.
      n_numbers: how many it is to give of a pattern in place of logits of the classes.

    Raises:
      TypeError: it returns no pair (logits, activations), or has parameters that are not floating point.
      ValueError: it fails on the patterns; a shape does not begin with the batch, or the width depends on the batch;
        the logits do not fit the classes; two calls with the same parameters and patterns differ; or several networks
        cannot be trained at once.
    """
    try:
        params = jax.eval_shape(network.init, some_key())
        statistics = None if network.statistics is None else jax.eval_shape(network.statistics, some_key())
    except Exception as error:
        raise ValueError(f"network cannot be initialised: {_first_line(error)}") from error
    _check_floating("parameters", params)
    _check_floating("statistics", statistics)
    weights = params if statistics is None else (params, statistics)
    logits, *widths = _widths(network.apply, weights, _SIZES[0], dataset, dtype)
    if (other := _widths(network.apply, weights, _SIZES[1], dataset, dtype)) != [logits, *widths]:
        raise ValueError(
            f"network returned layers of widths {tuple(widths)} for {_SIZES[0]} patterns and {tuple(other[1:])} for "
            f"{_SIZES[1]} patterns; allowed: widths that are always the same"
        )
    classes = dataset.n_classes
    if n_numbers is not None and logits != n_numbers:
        raise ValueError(f"network returned {logits} numbers for targets of {n_numbers}")
    if n_numbers is None and logits not in ({1, 2} if classes == 2 else {classes}):
        raise ValueError(f"network returned {logits} logits for {classes} classes")
    if _trace(network.apply, weights, dataset, dtype) != _trace(network.apply, weights, dataset, dtype):
        raise ValueError(
            "network is not deterministic: two calls with the same parameters and patterns differ; allowed: "
            "activations that depend on nothing else when they are measured (dropout off, no random numbers or "
            "counters of Python or NumPy)"
        )
    _check_training(network, params, statistics, logits, dataset, dtype)
    return widths


def _check_training(
    network: Functions, params: Params, statistics: Params, n_logits: int, dataset: Dataset, dtype: jnp.dtype
) -> None:
    """Refuses a network whose training fails, changes the shapes of its statistics, or cannot be had of several."""
    x = _patterns(_SIZES[0], dataset, dtype)

    def once(params: Params, statistics: Params, x: Array, key: Array) -> tuple[Array, Params]:
        if network.in_training is not None:
            return network.in_training(params, statistics, x, key)
        return network.apply(params if statistics is None else (params, statistics), x)[0], statistics

    try:
        logits, after = jax.eval_shape(once, params, statistics, x, some_key())
    except Exception as error:
        raise ValueError(f"network fails in training: {_first_line(error)}") from error
    if getattr(logits, "shape", None) != (_SIZES[0], n_logits):
        raise ValueError(
            f"network returned logits of shape {getattr(logits, 'shape', None)} in training for {_SIZES[0]} patterns; "
            f"allowed: {(_SIZES[0], n_logits)}, as when it is measured"
        )
    if (now := _shapes(after)) != (before := _shapes(statistics)):
        raise ValueError(f"network keeps {before or 'nothing'} before a pass in training and {now or 'nothing'} after")
    two: Any = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((2, *leaf.shape), leaf.dtype), (params, statistics, some_key())
    )

    def loss(params: Params, statistics: Params, key: Array, x: Array) -> Array:
        return jnp.sum(once(params, statistics, x, key)[0])

    try:
        jax.eval_shape(jax.vmap(jax.grad(loss), in_axes=(0, 0, 0, None)), *two, x)
    except Exception as error:
        raise ValueError(
            "network cannot be trained beside others in one program, for which jax.vmap takes its gradient: "
            f"{_first_line(error)}; allowed: what jax.vmap and jax.grad know (a callback needs a vmap_method and a "
            "derivative)"
        ) from error


def _shapes(tree: Params) -> dict[str, str]:
    """Dtype and shape of each array, by its place."""
    return {keystr(path): f"{leaf.dtype}{leaf.shape}" for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"


def _check_floating(kind: str, tree: Any) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise TypeError(
                f"network keeps {leaf.dtype} of shape {leaf.shape} at {keystr(path)}; allowed: {kind} in floating point"
            )


def _patterns(size: int, dataset: Dataset, dtype: jnp.dtype) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((size, *dataset.inputs.shape[1:]), dtype)


def _widths(apply: Apply, params: Any, size: int, dataset: Dataset, dtype: jnp.dtype) -> list[int]:
    """Numbers for each pattern of the logits and of each layer."""
    try:
        result = jax.eval_shape(lambda p, x: apply(p, x), params, _patterns(size, dataset, dtype))
    except Exception as error:
        raise ValueError(
            f"network fails on {size} patterns of {dataset.n_features} features: {_first_line(error)}{_hint(error)}"
        ) from error
    try:
        logits, activations = result
        shapes = [a.shape for a in (logits, *activations)]
    except (TypeError, ValueError, AttributeError):
        alone = "; of a flax module that returns its logits alone, ibjax.capture(network, layers=...) finds the layers"
        raise TypeError(
            "network returned no pair (logits, activations) with one activation array a layer"
            f"{alone if hasattr(result, 'shape') else ''}"
        ) from None
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
    # The words of a key tell its numbers; to take them out of it would compile a program.
    consts = [
        repr(c) if jnp.issubdtype(c.dtype, jax.dtypes.prng_key) else np.asarray(c).tolist() for c in closed.consts
    ]
    return _ADDRESS.sub("", str(closed.jaxpr)), consts


def _hint(error: Exception) -> str:
    """What to do where flax refuses what only training may do."""
    if type(error).__name__ not in ("InvalidRngError", "ModifyScopeVariableError"):
        return ""
    return (
        "; allowed: a module that, when it is measured, draws nothing and changes no statistics: give its __call__ an "
        "argument train, which is True in training only (use_running_average=not train, deterministic=not train)"
    )
