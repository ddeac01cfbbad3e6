"""Checks of the options of estimators."""

from __future__ import annotations

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
