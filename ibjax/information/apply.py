"""Estimators on plain arrays: checked, compiled, bits out.

Shapes: ... batch axes, M batch elements, N patterns, U units (width of the layer), C classes.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from ibjax import _checks
from ibjax.information import partition
from ibjax.information.estimator import Estimator, Information, LayerBatch, check_inputs, make
from ibjax.probability import FloatArray, checked_conditional, checked_marginal

_Result = TypeVar("_Result")


def as_activations(value: Any, n_patterns: int | None = None) -> Array:
    """(..., N, U) float32 or float64; float16, integers and booleans become float32.

    Args:
      value: (..., N, U), or (N, ...), a pattern's activations over several axes, which become one.
      n_patterns: N, where it is known.

    Raises:
      ValueError: a shape that is not allowed, or that may be read in both ways.
      TypeError: complex numbers.
    """
    a = jnp.asarray(value)
    if jnp.issubdtype(a.dtype, jnp.complexfloating):
        raise TypeError(f"activations have dtype {a.dtype}; allowed: real numbers")
    if a.dtype not in (jnp.float32, jnp.float64):
        a = a.astype(jnp.float32)
    if a.ndim < 2 or 0 in a.shape[-2:]:
        raise ValueError(f"activations have shape {a.shape}; allowed: (..., N, width), at least one of each")
    if a.ndim == 2 or a.shape[0] != n_patterns:
        return a
    if a.shape[-2] == n_patterns:
        raise ValueError(
            f"activations have shape {a.shape}, and {n_patterns} patterns may be its first axis or its last but one; "
            f"allowed: activations.reshape({n_patterns}, -1), or activations[None] where the first axes are batch axes"
        )
    return a.reshape(n_patterns, -1)


def as_distribution(p_y_given_x: Any, p_x: Any, n: int, dtype: jnp.dtype) -> tuple[Array, Array | None]:
    """p(y|x) and p(x) of n patterns, checked where their values are known (inside `jit` they are not)."""

    def checked(value: Any, check: Callable[[Any, int], FloatArray]) -> Array:
        return jnp.asarray(value if isinstance(value, jax.core.Tracer) else check(value, n)).astype(dtype)

    return checked(p_y_given_x, checked_conditional), None if p_x is None else checked(p_x, checked_marginal)


def apply(
    function: Callable[[Array, Array, Array | None], _Result], activations: Any, p_y_given_x: Any, p_x: Any
) -> _Result:
    """`function` of activations (..., N, U), p(y|x) and p(x), checked, in the precision of the activations.

    What is no JAX array is read as NumPy reads it, and its float64 computed in a local x64 scope. Results are then
    NumPy arrays, unless x64 is on: outside that scope JAX would round float64 to float32 at the next operation.
    """
    x64 = jax.config.read("jax_enable_x64")
    if not any(isinstance(leaf, jax.Array) or hasattr(leaf, "__jax_array__") for leaf in jax.tree.leaves(activations)):
        activations = np.asarray(activations)
    # Beside a traced p(y|x) or p(x), of another precision, they are what JAX makes of them.
    traced = any(isinstance(value, jax.core.Tracer) for value in (activations, p_y_given_x, p_x))
    double = not traced and getattr(activations, "dtype", None) == np.float64
    with jax.enable_x64(double or x64):
        shape = np.shape(p_y_given_x)
        a = as_activations(activations, shape[0] if shape else None)
        result = function(a, *as_distribution(p_y_given_x, p_x, a.shape[-2], a.dtype))
        if isinstance(p_y_given_x, jax.core.Tracer) and not jnp.issubdtype(p_y_given_x.dtype, jnp.floating):
            # Names of classes, which cannot be told from hard labels inside `jit`, must not become a number.
            hard = ((p_y_given_x == 0) | (p_y_given_x == 1)).all()
            result = jax.tree.map(lambda bits: jnp.where(hard, bits, jnp.nan), result)
    if double and not x64:
        return jax.tree.map(lambda value: value if isinstance(value, jax.core.Tracer) else np.asarray(value), result)
    return result


def as_inputs(value: Any, n: int, dtype: jnp.dtype) -> Array:
    """The patterns themselves, (N, ...), checked where their values are known.

    Raises:
      ValueError: another number of patterns, or values that are not finite. TypeError: no numbers.
    """
    try:
        inputs = value if isinstance(value, jax.core.Tracer) else np.asarray(value, np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"inputs are no array of numbers ({error}); allowed: (N, ...) numbers") from error
    if inputs.ndim < 1 or len(inputs) != n:
        raise ValueError(f"inputs have shape {inputs.shape}; allowed: ({n}, ...), one row a pattern")
    if isinstance(inputs, np.ndarray) and not np.isfinite(inputs).all():
        raise ValueError("inputs hold NaN or infinite values; allowed: finite numbers")
    return jnp.asarray(inputs, dtype)


def warn_outside(activations: Array, low: float, high: float) -> None:
    """Warns, to the caller of a public function that calls `apply`, of activations outside the range of the bins.

    Nothing inside `jit`, where no values are known. Beside the kernel the search for the extremes costs a few percent.
    """
    if isinstance(activations, jax.core.Tracer):
        return
    on_host = all(device.platform == "cpu" for device in activations.devices())  # then NumPy sees the same memory
    values: Any = np.asarray(activations) if on_host else activations
    low, high = values.dtype.type(low), values.dtype.type(high)
    if values.size == 0 or (values.min() >= low and values.max() <= high):
        return
    outside = int((((values < low) | (values > high)) & (abs(values) < np.inf)).sum())
    if outside:
        warnings.warn(
            f"{outside / values.size:.2%} of the activations lie outside low = {low:g}, high = {high:g} and count into "
            "the cells at the ends, which loses information; give another low and high (in ibjax.layer_information "
            "low=None, high=None takes the range of the layer)",
            RuntimeWarning,
            stacklevel=5,
        )


def information(
    estimator: str | Estimator,
    activations: ArrayLike,
    p_y_given_x: ArrayLike,
    *,
    p_x: ArrayLike | None = None,
    key: Array | None = None,
    inputs: ArrayLike | None = None,
    **options: Any,
) -> Information:
    """I(X;T) and I(T;Y) of layers by any estimator; jit-compiled, and may itself be called inside `jit`.

    Args:
      estimator: one of `ibjax.information.estimator.ESTIMATORS`, or an estimator of `make`.
      activations: (..., N, U); leading axes are batch axes. Or (N, ...), such as (N, height, width, channels), where
        only the first axis has the length N: the others become one. Float32 or float64; float16 and integers become
        float32. What is no JAX array is read as NumPy reads it, so lists of Python floats are float64.
      p_y_given_x: (N,) = p(y=1|x), or (N, C), or (N,) integers beyond 0 and 1 that name the classes (inside `jit`:
        NaN).
      p_x: (N,), or None for uniform.
      key: a typed PRNG key, `jax.random.key(seed)`; batch element m of the flattened batch takes
        `jax.random.fold_in(key, m)`. Only estimators that draw random numbers need one.
      inputs: (N, ...) the patterns themselves, for an estimator that looks at them (`edge`).
      options: of a named estimator, such as `noise_variance=1e-3`.

    Returns:
      Bits (...), of the dtype of the activations (NumPy arrays for float64 without JAX's x64, which would round them);
      NaN where a batch element holds a non-finite activation.

    Raises:
      ValueError: a shape or value that is not allowed, named in the message, or a layer beyond the estimator's reach.
      TypeError: an argument of the wrong type, named in the message.

    Warns:
      RuntimeWarning: activations outside the range of the histogram, with their share. Not inside `jit`.
    """
    if isinstance(estimator, str):
        estimator = make(estimator, **options)
    elif options:
        raise TypeError(f"options = {options} beside {estimator}; allowed: none, it has its options already")
    check_inputs(estimator, inputs)
    if key is None:
        if estimator.random:
            raise TypeError(f"key = None; allowed for {estimator.name!r}: a PRNG key such as jax.random.key(0)")
        key = jax.random.key(0)
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key) or key.shape:
        raise TypeError(f"key has dtype {key.dtype} and shape {key.shape}; allowed: one key of jax.random.key")

    def of_layer(a: Array, conditional: Array, marginal: Array | None) -> Information:
        chosen: Any = estimator.for_layer(a.shape[-1], a.shape[-2], True)
        if getattr(chosen, "low", None) is not None:
            warn_outside(a, chosen.low, chosen.high)
        batch, m = a.shape[:-2], math.prod(a.shape[:-2])
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.arange(m))
        seen = None if inputs is None else as_inputs(inputs, a.shape[-2], a.dtype)
        bits = information_of(chosen, a.reshape(m, *a.shape[-2:]), conditional, marginal, keys, seen)
        return jax.tree.map(lambda values: values.reshape(batch), bits)

    return apply(of_layer, activations, p_y_given_x, p_x)


@functools.partial(jax.jit, static_argnums=0)
def information_of(
    estimator: Estimator,
    a: Array,
    p_y_given_x: Array,
    p_x: Array | None,
    keys: Array,
    inputs: Array | None = None,
) -> Information:
    """What an estimator says of (M, N, U) activations that have been checked, each with its key, (M,); bits (M,)."""
    return estimator(LayerBatch(a, partition.channels(p_y_given_x, p_x, a.dtype), keys, inputs))


def adaptive_information(
    activations: ArrayLike,
    p_y_given_x: ArrayLike,
    *,
    p_x: ArrayLike | None = None,
    bins: int = 30,
    range_of: str = "layer",
) -> tuple[Array, Array]:
    """I(X;T) and I(T;Y), bits, binned over the range of each layer, or of each unit with `range_of="unit"`.

    See `AdaptiveLayer` and `AdaptiveUnit`; the other arguments, the results and the errors are those of `information`.
    """
    _checks.choice("range_of", range_of, ("layer", "unit"))
    return information(f"adaptive_{range_of}", activations, p_y_given_x, p_x=p_x, bins=bins)[:2]


def quantile_information(
    activations: ArrayLike,
    p_y_given_x: ArrayLike,
    *,
    p_x: ArrayLike | None = None,
    bins: int = 30,
    distinct: bool = False,
) -> tuple[Array, Array]:
    """I(X;T) and I(T;Y), bits, in cells of equal population; see `Quantile`, other arguments as `information`."""
    return information("quantile", activations, p_y_given_x, p_x=p_x, bins=bins, distinct=distinct)[:2]


def quantized_information(
    activations: ArrayLike, p_y_given_x: ArrayLike, *, p_x: ArrayLike | None = None, bits: int = 8
) -> tuple[Array, Array]:
    """I(X;T) and I(T;Y), bits, of activations of `bits` bits; see `Quantized`, other arguments as `information`."""
    return information("quantized", activations, p_y_given_x, p_x=p_x, bits=bits)[:2]


def kde_information(
    activations: ArrayLike,
    p_y_given_x: ArrayLike,
    *,
    p_x: ArrayLike | None = None,
    noise_variance: float = 1e-3,
    lower: bool = False,
) -> tuple[Array, Array]:
    """Upper bound on I(X;T) (or the `lower` one) and an estimate of I(T;Y), bits, of a layer with Gaussian noise.

    See `Kde`, `KdeLower` and their module; other arguments as `information`.
    """
    name = "kde_lower" if lower else "kde"
    return information(name, activations, p_y_given_x, p_x=p_x, noise_variance=noise_variance)[:2]


def noisy_information(
    activations: ArrayLike,
    p_y_given_x: ArrayLike,
    *,
    key: Array,
    p_x: ArrayLike | None = None,
    noise_std: float = 0.05,
    samples: int = 8,
) -> Information:
    """I(X;T) and I(T;Y), bits, of a layer with Gaussian noise by Monte Carlo, each with its standard error.

    The layers before it are without noise (see `ibjax.noisy_network_information`). See `Noisy` and its module; other
    arguments as `information`.
    """
    return information("noisy", activations, p_y_given_x, p_x=p_x, key=key, noise_std=noise_std, samples=samples)


def knn_information(
    activations: ArrayLike,
    p_y_given_x: ArrayLike,
    *,
    key: Array,
    noise_std: float = 0.05,
    samples: int = 8,
    neighbors: int = 1,
) -> tuple[Array, Array]:
    """Nearest-neighbour estimates of I(X;T) and I(T;Y), bits, of a layer with Gaussian noise and at most 16 units.

    Patterns are equally likely. See `Knn` and its module; other arguments as `information`.
    """
    options = {"noise_std": noise_std, "samples": samples, "neighbors": neighbors}
    return information("knn", activations, p_y_given_x, key=key, **options)[:2]
