"""The checks of what users give: what comes out of good values, and every kind of message."""

import math
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from ibjax import _checks as c

NAMES = ("kde", "noisy")

GOOD: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], Any]] = [
    (c.integer, (np.uint8(3), 0, 3), {}, 3),
    (c.integer, (32, 1, 11), {"besides": {32: "*"}}, 32),
    (c.integers, (np.arange(3), 0, 9), {}, (0, 1, 2)),
    (c.number, (np.float32(0.5), 0, 1), {}, 0.5),
    (c.number, (Fraction(1, 4), 0), {"above": True}, 0.25),
    (c.number, (np.array(2), 0, 2), {}, 2.0),
    (c.number, (0, 0), {}, 0.0),
    (c.boolean, (np.True_,), {}, True),
    (c.choice, ("kde", NAMES), {}, "kde"),
    (c.choices, (["noisy", "kde"], NAMES), {}, ("noisy", "kde")),
    (c.choices, ((), NAMES), {}, ()),
    (c.distinct, ((3, 1),), {}, (3, 1)),
]

BAD: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], type[Exception], str]] = [
    (c.integer, (True, 0, 1), {}, TypeError, "f = True; allowed: an integer from 0 to 1"),
    (c.integer, (1.0, 0, 1), {}, TypeError, "f = 1.0; allowed: an integer from 0 to 1"),
    (c.integer, (2, 0, 1), {}, ValueError, "f = 2; allowed: an integer from 0 to 1"),
    (c.integer, (9, 1, 2), {"besides": {8: "*"}}, ValueError, "f = 9; allowed: an integer from 1 to 2, or 8 for *"),
    (c.integers, ("12", 0, 9), {}, TypeError, "f = '12'; allowed: a tuple of integers from 0 to 9"),
    (c.integers, (7, 0, 9), {}, TypeError, "f = 7; allowed: a tuple of integers from 0 to 9"),
    (c.integers, ((), 0, 9), {}, ValueError, "f is empty; allowed: at least one integer from 0 to 9"),
    (c.integers, ((0, 10), 0, 9), {}, ValueError, "f[1] = 10; allowed: an integer from 0 to 9"),
    (c.number, (0, 1e-3, 10), {}, ValueError, "f = 0; allowed: a number from 0.001 to 10"),
    (c.number, (0, 0, 1), {"above": True}, ValueError, "f = 0; allowed: a finite number more than 0 and at most 1"),
    (c.number, (-1, 0), {}, ValueError, "f = -1; allowed: a finite number of at least 0"),
    (c.number, (math.inf, 0), {"above": True}, ValueError, "f = inf; allowed: a finite number more than 0"),
    (c.number, (math.nan, 0), {}, ValueError, "f = nan; allowed: a finite number of at least 0"),
    (c.number, (10**400, 0, 1), {}, ValueError, f"f = {10**400}; allowed: a number from 0 to 1"),
    (c.number, ("1", 0, 1), {}, TypeError, "f = '1'; allowed: a number from 0 to 1"),
    (c.number, (np.False_, 0, 1), {}, TypeError, "f = np.False_; allowed: a number from 0 to 1"),
    (c.number, (np.complex64(1), 0, 1), {}, TypeError, "f = np.complex64(1+0j); allowed: a number from 0 to 1"),
    (c.number, (np.ones(1), 0, 1), {}, TypeError, "f = array([1.]); allowed: a number from 0 to 1"),
    (c.number, (None, 0), {}, TypeError, "f = None; allowed: a finite number of at least 0"),
    (c.boolean, (1,), {}, TypeError, "f = 1; allowed: True or False"),
    (c.choice, (3, NAMES), {}, TypeError, "f = 3; allowed: 'kde', 'noisy'"),
    (c.choice, ("kd", NAMES), {}, ValueError, "f = 'kd'; allowed: 'kde', 'noisy' (did you mean 'kde'?)"),
    (c.choices, ("kde", NAMES), {}, TypeError, "f = 'kde'; allowed: a tuple of 'kde', 'noisy'"),
    (c.choices, (("kde", "x"), NAMES), {}, ValueError, "f[1] = 'x'; allowed: 'kde', 'noisy'"),
    (c.choices, (("kde", "kde"), NAMES), {}, ValueError, "f holds 'kde' more than once; allowed: each at most once"),
    (c.distinct, ((3, 1, 3),), {}, ValueError, "f holds 3 more than once; allowed: each at most once"),
]  # fmt: skip


@pytest.mark.parametrize(("check", "arguments", "options", "expected"), GOOD)
def test_good_values_become_plain(
    check: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any], expected: Any
) -> None:
    got = check("f", *arguments, **options)
    assert got == expected
    assert type(got) is type(expected)


@pytest.mark.parametrize(("check", "arguments", "options", "exception", "message"), BAD)
def test_bad_values_are_named(
    check: Callable[..., Any],
    arguments: tuple[Any, ...],
    options: dict[str, Any],
    exception: type[Exception],
    message: str,
) -> None:
    with pytest.raises(exception) as caught:
        check("f", *arguments, **options)
    assert str(caught.value) == message


@pytest.mark.parametrize("module", ["_checks", "config", "information.estimator", "information", "probability"])
def test_no_jax_is_imported(module: str) -> None:
    """Names, options and configurations are checked without waiting for the compiler."""
    code = f"import sys, ibjax.{module}; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
