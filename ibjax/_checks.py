"""Checks of what users give, with messages that name the field, its value and what is allowed."""

from __future__ import annotations

import difflib
import math
import operator
from typing import Any

import numpy as np


def integer(field: str, value: Any, low: int, high: int) -> int:
    """An integer from low to high, of whatever type, as an int."""
    allowed = f"an integer from {low} to {high}"
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{field} = {value!r}; allowed: {allowed}") from None
    if not low <= number <= high:
        raise ValueError(f"{field} = {number}; allowed: {allowed}")
    return number


def positive(field: str, value: Any, low: float, high: float) -> float:
    """A number from low to high, of whatever type, as a float."""
    allowed = f"a number from {low:g} to {high:g}"
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.number):
        raise TypeError(f"{field} = {value!r}; allowed: {allowed}")
    number = float(value)
    if not (low <= number <= high and math.isfinite(number)):
        raise ValueError(f"{field} = {number:g}; allowed: {allowed}")
    return number


def unknown(field: str, value: object, allowed: tuple[str, ...]) -> str:
    """The message for a name that is none of `allowed`, with the nearest of them."""
    near = difflib.get_close_matches(str(value), allowed, n=1, cutoff=0.5)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"{field} = {value!r}; allowed: {', '.join(map(repr, allowed))}{hint}"
