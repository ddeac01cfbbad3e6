"""Checks of numbers and names that users give; the messages tell the field, its value and what is allowed.

They raise TypeError for a value of the wrong type and ValueError for one that is not allowed. Imports no jax.
"""

from __future__ import annotations

import difflib
import math
import operator
from collections.abc import Iterable, Mapping
from types import MappingProxyType, ModuleType
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

_Item = TypeVar("_Item", int, str)
_NONE: Mapping[int, str] = MappingProxyType({})


def integer(field: str, value: Any, low: int, high: int, *, besides: Mapping[int, str] = _NONE) -> int:
    """An integer from low to high, of whatever type, as an int; `besides` are further ones, each with its meaning."""
    allowed = f"an integer from {low} to {high}" + "".join(f", or {n} for {what}" for n, what in besides.items())
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{field} = {value!r}; allowed: {allowed}") from None
    if not (low <= number <= high or number in besides):
        raise ValueError(f"{field} = {number}; allowed: {allowed}")
    return number


def integers(field: str, value: Any, low: int, high: int) -> tuple[int, ...]:
    """At least one integer from low to high, as a tuple of ints; messages name the place, `field[2] = 0`."""
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise TypeError(f"{field} = {value!r}; allowed: a tuple of integers from {low} to {high}")
    numbers = tuple(integer(f"{field}[{i}]", item, low, high) for i, item in enumerate(value))
    if not numbers:
        raise ValueError(f"{field} is empty; allowed: at least one integer from {low} to {high}")
    return numbers


def number(field: str, value: Any, low: float, high: float = math.inf, *, above: bool = False) -> float:
    """A finite real number from low (or, with `above`, more than low) to high, of whatever type, as a float."""
    if not above and math.isfinite(high):
        allowed = f"a number from {low:g} to {high:g}"
    else:
        allowed = f"a finite number {'more than' if above else 'of at least'} {low:g}"
        allowed += f" and at most {high:g}" if math.isfinite(high) else ""
    other = bool | np.bool_ | str | bytes | complex | np.complexfloating
    try:
        if isinstance(value, other) or getattr(value, "ndim", 0) > 0:
            raise TypeError
        real = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{field} = {value!r}; allowed: {allowed}") from None
    except OverflowError:
        raise ValueError(f"{field} = {value!r}; allowed: {allowed}") from None
    if not ((low < real if above else low <= real) and real <= high and math.isfinite(real)):
        raise ValueError(f"{field} = {real:g}; allowed: {allowed}")
    return real


def floats(field: str, value: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Finite numbers of any shape, as a new float64 array; a ValueError also where there are no numbers."""
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{field} cannot be read as an array of floats: {error}") from None
    if not np.isfinite(array).all():
        raise ValueError(f"{field} holds {int((~np.isfinite(array)).sum())} NaN or infinite values; allowed: finite")
    return array


def boolean(field: str, value: Any) -> bool:
    """True or False, also NumPy's, as a bool."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{field} = {value!r}; allowed: True or False")
    return bool(value)


def choice(field: str, value: Any, allowed: tuple[str, ...]) -> str:
    """One of the names in `allowed`."""
    if not isinstance(value, str):
        raise TypeError(f"{field} = {value!r}; allowed: {', '.join(map(repr, allowed))}")
    if value not in allowed:
        raise ValueError(unknown(field, value, allowed))
    return value


def choices(field: str, value: Any, allowed: tuple[str, ...]) -> tuple[str, ...]:
    """Any number of the names in `allowed`, each at most once, as a tuple."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError(f"{field} = {value!r}; allowed: a tuple of {', '.join(map(repr, allowed))}")
    return distinct(field, tuple(choice(f"{field}[{i}]", name, allowed) for i, name in enumerate(value)))


def distinct(field: str, items: tuple[_Item, ...]) -> tuple[_Item, ...]:
    """The items, none of which occurs twice."""
    if len(set(items)) < len(items):
        twice = next(item for i, item in enumerate(items) if item in items[:i])
        raise ValueError(f"{field} holds {twice!r} more than once; allowed: each at most once")
    return items


def platforms(jax: ModuleType) -> None:
    """Refuses a JAX_PLATFORMS of which no device is there; takes the module, so that this one need not import it.

    Raises:
      RuntimeError: names the variable, its value and what is allowed.
    """
    try:
        jax.local_devices()
    except (RuntimeError, AssertionError) as error:  # the latter, without a word, where CUDA finds no GPU
        reason = str(error).partition(" (set JAX_PLATFORMS")[0].splitlines()[:1]
        raise RuntimeError(
            f"JAX_PLATFORMS = {jax.config.jax_platforms!r}, of which there is no device here; allowed: unset, or "
            f"platforms that are here, such as cpu{f' ({reason[0]})' if reason else ''}"
        ) from error


def unknown(field: str, value: object, allowed: tuple[str, ...]) -> str:
    """The message for a name that is none of `allowed`, with the nearest of them."""
    near = difflib.get_close_matches(str(value), allowed, n=1, cutoff=0.5)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"{field} = {value!r}; allowed: {', '.join(map(repr, allowed))}{hint}"
