"""What an estimator of the information plane is, and which there are.

This file imports no estimator and no jax: names and options are checked without waiting for either.

Shapes: K networks, N patterns, U units of one layer; ... the axes of one pattern.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, Self

from ibjax._checks import choice, distinct, unknown
from ibjax._fields import WORDS, from_text, kinds

if TYPE_CHECKING:
    from jax import Array

    from ibjax.information.partition import Channels

COMPATS = ("idnns",)
MOST_BINS = 4096

EXACT, UPPER, LOWER, ESTIMATE = "exact", "upper bound", "lower bound", "estimate"


class LayerBatch(NamedTuple):
    """What an estimator sees of one layer of K networks.

    Fields may be added, with a default (the state of an estimator that is trained), never removed: an estimator takes
    the ones it needs.

    Attributes:
      activations: (K, N, U) float32 or float64.
      channels: p(x) and p(x, y) from `partition.channels`, in the dtype of the activations.
      keys: (K,) typed PRNG keys, one a network (and epoch and layer, by `jax.random.fold_in`).
      inputs: (N, ...) what the networks are given, in the dtype of the activations; may be None for an estimator that
        does not need them.
    """

    activations: Array
    channels: Channels
    keys: Array
    inputs: Array | None = None


class Information(NamedTuple):
    """One layer of K networks in the information plane, bits.

    Attributes:
      i_xt, i_ty: (K,) I(X;T) and I(T;Y).
      i_xt_error, i_ty_error: (K,) standard errors of a Monte-Carlo estimate, else None.
    """

    i_xt: Array
    i_ty: Array
    i_xt_error: Array | None = None
    i_ty_error: Array | None = None


class Estimator(Protocol):
    """A frozen dataclass whose fields are its options, all with defaults, checked when it is made.

    Equal options make equal, hashable estimators: one may be a static argument of `jax.jit`.

    Attributes:
      name: what `make`, the configuration and the file call it.
      i_xt_is, i_ty_is: "exact" (for the T that the estimator defines), "upper bound", "lower bound" or "estimate".
      random: whether the result depends on the keys.
      uniform: whether it takes equally likely patterns only.
      needs_inputs: whether it looks at the inputs.
      rows: the fields of `Information` that it fills.

    Raises:
      ValueError, TypeError: an option that is not allowed.
    """

    name: ClassVar[str]
    i_xt_is: ClassVar[str] = ESTIMATE
    i_ty_is: ClassVar[str] = ESTIMATE
    random: ClassVar[bool] = False
    uniform: ClassVar[bool] = False
    needs_inputs: ClassVar[bool] = False
    rows: ClassVar[tuple[str, ...]] = ("i_xt", "i_ty")

    @property
    def options(self) -> dict[str, Any]:
        """The options by name."""
        return {name: getattr(self, name) for name in option_names(type(self))}

    def for_layer(self, width: int, n_patterns: int, bounded: bool) -> Self:
        """The estimator to apply to a layer, itself but for options that depend on the layer; nothing is compiled.

        Args:
          width: U.
          n_patterns: N.
          bounded: whether the activations keep within [-1, 1].

        Raises:
          ValueError: the layer is out of reach; the message says the limit and what to take instead.
        """
        return self

    def __call__(self, batch: LayerBatch) -> Information:
        """One layer of K networks; pure JAX, for use inside `jit`.

        Networks do not see each other: each result is that of its network alone. Memory is bounded by the estimator,
        so give it all K and do not `vmap` it over networks.

        Returns:
          Bits (K,), in the dtype of the activations; NaN for a network with a non-finite activation.
        """
        ...


_CLASSES = {
    "histogram": ("histogram", "Histogram"),
    "adaptive_layer": ("binned", "AdaptiveLayer"),
    "adaptive_unit": ("binned", "AdaptiveUnit"),
    "quantile": ("binned", "Quantile"),
    "quantized": ("binned", "Quantized"),
    "kde": ("kde", "Kde"),
    "kde_lower": ("kde", "KdeLower"),
    "noisy": ("noisy", "Noisy"),
    "knn": ("knn", "Knn"),
    "compressed": ("wide.compressed", "Compressed"),
    "corrected": ("wide.corrected", "Corrected"),
    "edge": ("wide.edge", "Edge"),
    "infonce": ("wide.variational", "InfoNce"),
    "mine": ("wide.variational", "Mine"),
    "renyi": ("wide.renyi", "Renyi"),
    "sliced": ("wide.sliced", "Sliced"),
    "soft": ("wide.soft", "Soft"),
}
ESTIMATORS = tuple(_CLASSES)


def estimator_class(name: str) -> type[Any]:
    """The class of an estimator; its dataclass fields are the options, with their defaults.

    Raises:
      ValueError: an unknown name; the message suggests the nearest. TypeError: no name.
    """
    if not isinstance(name, str):
        raise TypeError(f"estimator = {name!r}; allowed: {', '.join(map(repr, ESTIMATORS))}")
    if name not in _CLASSES:
        raise ValueError(unknown("estimator", name, ESTIMATORS))
    module, attribute = _CLASSES[name]
    return getattr(importlib.import_module(f"ibjax.information.{module}"), attribute)


def option_names(kind: type[Any]) -> tuple[str, ...]:
    """The options of an estimator's class."""
    return tuple(field.name for field in dataclasses.fields(kind))


def make(name: str, /, **options: Any) -> Estimator:
    """An estimator by name, with its options: `make("kde", noise_variance=0.1)`.

    Raises:
      ValueError, TypeError: an unknown name or option, or a value that is not allowed.
    """
    kind = estimator_class(name)
    allowed = option_names(kind)
    for option in options:
        if option not in allowed:
            raise ValueError(unknown(f"option of {name!r}", option, allowed))
    return kind(**options)


def describe(estimator: Estimator) -> dict[str, Any]:
    """An estimator as the configuration of a file tells it: what its values are, and its options."""
    return {"i_xt": estimator.i_xt_is, "i_ty": estimator.i_ty_is, "options": estimator.options}


def for_named_layer(estimator: Estimator, layer: str, width: int, n_patterns: int, bounded: bool) -> Estimator:
    """`Estimator.for_layer`, whose refusal names the layer, given in the words of the message."""
    try:
        return estimator.for_layer(width, n_patterns, bounded)
    except ValueError as error:
        raise ValueError(f"estimator {estimator.name!r}, layer {layer}: {error}") from error


def check_inputs(estimator: Estimator, inputs: Any) -> None:
    """Refuses an estimator that looks at the inputs where there are none.

    Raises:
      TypeError: says so.
    """
    if estimator.needs_inputs and inputs is None:
        raise TypeError(f"inputs = None; allowed for {estimator.name!r}: the patterns themselves, (N, ...)")


def specification(estimator: Estimator) -> str:
    """An estimator in words that `of_specification` reads: its name and the options that differ from their defaults."""
    default = make(estimator.name).options
    options = {option: value for option, value in estimator.options.items() if value != default[option]}
    return ":".join([estimator.name, *(f"{option}={str(value).lower()}" for option, value in options.items())])


def of_specification(text: str) -> Estimator:
    """The estimator of a text such as "kde" or "noisy:noise_std=0.1:samples=16".

    Raises:
      ValueError, TypeError: an unknown name or option, or a value that is not allowed.
    """
    name, *parts = text.split(":")
    of: Any = estimator_class(name)
    options: dict[str, Any] = {}
    for option, equals, value in (part.partition("=") for part in parts):
        if not equals:
            raise ValueError(f"{option!r} in the estimator {text!r}; allowed: {name}:OPTION=VALUE:OPTION=VALUE ...")
        if option not in option_names(of):
            raise ValueError(unknown(f"option of {name!r}", option, option_names(of)))
        if option in options:
            raise ValueError(f"{option} more than once in the estimator {text!r}; allowed: each at most once")
        kind = kinds(of)[option]
        try:
            options[option] = from_text(value, kind)
        except ValueError:
            words = f"{option} = {value!r} in the estimator {text!r}; allowed: {WORDS[kind.item]}"
            raise ValueError(words) from None
    return make(name, **options)


def specifications(
    field: str, value: Any, *, histogram: str = "the fields bins and compat, which the histogram takes"
) -> tuple[str, ...]:
    """The estimators of a configuration, however they were given, as their specifications; each name at most once.

    Args:
      field: of the configuration.
      value: names or specifications and estimators of `make`, or a mapping of names to options.
      histogram: where the options of the histogram go instead, for the message.

    Raises:
      ValueError, TypeError: another value, or options of the histogram, which are fields of the configuration.
    """
    allowed = f"names of {', '.join(ESTIMATORS)}, estimators of ibjax.information.estimator.make, or a mapping of names"
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError(f"{field} = {value!r}; allowed: a tuple of {allowed} to options")
    found: list[str] = []
    for number, item in enumerate(value):
        place = f"{field}[{item!r}]" if isinstance(value, Mapping) else f"{field}[{number}]"
        try:
            if isinstance(value, Mapping):
                options = value[item]
                if not isinstance(options, Mapping) or not all(isinstance(option, str) for option in options):
                    raise TypeError(f"options of {item!r} = {options!r}; allowed: a mapping of their names to values")
                item = make(item, **options)
            elif isinstance(item, str) and ":" in item:
                item = of_specification(item)
        except (ValueError, TypeError) as error:
            raise type(error)(f"{place}: {error}") from None
        if isinstance(item, str):
            found.append(choice(place, item, ESTIMATORS))  # without waiting for the compiler
        elif (name := getattr(item, "name", None)) in _CLASSES and isinstance(item, estimator_class(name)):
            found.append(specification(item))
        else:
            raise TypeError(f"{place} = {item!r}; allowed: {allowed} to options")
    if options := [text for text in found if text.startswith("histogram:")]:
        raise ValueError(f"{field} holds {options[0]!r}; allowed: {histogram}")
    distinct(field, tuple(text.partition(":")[0] for text in found))
    return tuple(found)
