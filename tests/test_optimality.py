"""The optimality of layers against brute force, the ends of beta, and encoders drawn at random.

Shapes: N patterns, C classes.
"""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from typing import Any

import jax
import numpy as np
import numpy.typing as npt
import pytest
from conftest import divergence, information
from scipy import optimize, special

from ibjax.bottleneck import Curve, information_curve, layer_beta, random_encoder_control
from ibjax.data import spherical_dataset
from ibjax.probability import precise_divergence

Array = npt.NDArray[np.float64]


def brute_kl(beta: float, cells: npt.NDArray[np.int64], rows: Array, p_x: Array) -> float:
    """E_x[-log2 p_beta(t(x)|x)] without merging anything."""
    member = cells[:, None] == np.unique(cells)
    p_t = p_x @ member
    decoders = (member * p_x[:, None]).T @ rows / p_t[:, None]
    weights = p_t * np.exp(-beta * divergence(rows, decoders))
    chosen = (weights * member).sum(axis=1) / weights.sum(axis=1)
    return float(-(p_x * np.log2(chosen)).sum())


def test_tiny_divergences_have_all_their_digits() -> None:
    """Against 700 decimals; with a difference of 1e-4 in the log-odds twice that relative to it is lost, 1e-11."""
    odds = [-290.0, -100.0, -1e-3, 0.0, 3.0, 3.0001, 40.0, 160.0]
    with localcontext(prec=700):
        exact = [[(1 / (1 + Decimal(sign * z).exp())) for sign in (1, -1)] for z in odds]
        expected = [[float(sum(a * (a / b).ln() for a, b in zip(p, q, strict=True))) for q in exact] for p in exact]
    rows = np.stack([special.expit([-z for z in odds]), special.expit(odds)], axis=1)
    np.testing.assert_allclose(precise_divergence(rows, rows), expected, rtol=1e-11)
    wide = np.random.default_rng(0).dirichlet(np.ones(4), 9)
    np.testing.assert_allclose(precise_divergence(wide[:5], wide), divergence(wide[:5], wide), rtol=0, atol=1e-14)
    assert precise_divergence(np.eye(2), np.eye(2)).tolist() == [[0, math.inf], [math.inf, 0]]


def test_layer_beta_is_the_brute_force_minimum() -> None:
    rng = np.random.default_rng(3)
    rows = np.repeat(rng.dirichlet([0.7, 0.7, 0.7], 20), 3, axis=0)
    p_x = rng.dirichlet(np.ones(60))
    cells = np.where(rng.random(60) < 0.8, rows.argmax(axis=1), rng.integers(0, 5, 60)) * 10 - 7
    layer = layer_beta(cells, rows, p_x=p_x)
    best = optimize.minimize_scalar(brute_kl, (0.1, 1.0, 50.0), args=(cells, rows, p_x), tol=1e-12)
    assert layer.kl == pytest.approx(best.fun, abs=1e-9)
    assert layer.beta == pytest.approx(best.x, rel=1e-4)  # a minimum is flat: sqrt of the rounding of the KL
    joint = np.stack([(p_x * (cells == t)) @ rows for t in np.unique(cells)])
    assert (layer.i_x, layer.i_y) == pytest.approx(
        (-(joint.sum(axis=1) * np.log2(joint.sum(axis=1))).sum(), information(joint)), abs=1e-12
    )
    assert math.isnan(layer.distance)


def test_layers_at_the_ends_of_beta(task: Curve) -> None:
    data = spherical_dataset()
    rule = data.conditional
    constant = layer_beta(np.zeros(4096, int), rule, curve=task)
    assert constant[:3] == (0, 0, 0)
    assert constant[-2:] == (0, math.inf)
    identity = layer_beta(np.arange(4096), rule, curve=task)
    assert identity.beta == math.inf
    # 2^-kl shares a class of equal rules among its members: H(X) less the entropy of the classes.
    assert identity.kl == pytest.approx(12 - task.h_sufficient, abs=1e-9)
    assert identity.distance == pytest.approx(0, abs=1e-9)
    assert identity.excess == pytest.approx(12 - task.h_sufficient, abs=1e-9)
    labels = layer_beta((data.p_y_given_x > 0.5).astype(int), rule, curve=task)
    assert labels.beta == math.inf
    assert labels.kl == pytest.approx(0, abs=1e-6)
    assert 0 <= labels.distance + 1e-9 < 1e-6


def test_random_encoders_lie_far_from_the_curve(task: Curve) -> None:
    rule = spherical_dataset().p_y_given_x
    cells = np.floor(rule * 10).astype(int)
    layer = layer_beta(cells, rule, curve=task)
    control = np.array(random_encoder_control(cells, rule, key=jax.random.key(0), repeats=4, curve=task))
    again = np.array(random_encoder_control(cells, rule, key=jax.random.key(0), repeats=4, curve=task))
    np.testing.assert_array_equal(control, again)
    assert control.shape == (4, 8)
    np.testing.assert_allclose(control[:, 2], layer.i_x, rtol=1e-12)  # the same p(t)
    assert layer.distance < 0.01
    # A random encoder of m cells keeps about (m - 1)/(2 N ln 2) bits: 0.002 at most here.
    assert (control[:, 4] > 0.98).all()
    assert (control[:, 1] > layer.kl).all()
    assert len(np.unique(control[:, 3])) == 4


def test_a_layer_apart_by_tiny_probabilities_only() -> None:
    """Four rows, two of them nearly certain: T = X is the bottleneck of a beta of order 1e30, and its KL says so."""
    odds = np.array([-2.0, 2.0, 70.0, 90.0])
    rows = np.stack([special.expit(-odds), special.expit(odds)], axis=1)
    layer = layer_beta(np.arange(4), rows)
    assert layer[:3] == (math.inf, 0, 2)
    assert layer.beta_high == math.inf
    # The least of the six divergences is that of row 2 from row 3 or back, a (e^-d - 1 + d) of a = e^-90, d = -20.
    divergences = np.array([math.exp(-70) * (math.exp(-20) + 19), math.exp(-90) * (math.exp(20) - 21)])
    # KL = .25 sum over both of log2(1 + e^(-beta D)); the rows -2 and 2 are told apart long before.
    assert 0.25 * np.log2(1 + np.exp(-layer.beta_low * divergences)).sum() == pytest.approx(0.01, rel=1e-9)
    joined = layer_beta(np.array([0, 1, 2, 2]), rows)
    assert joined.kl < 1e-12


def test_the_flat_part_of_the_kl() -> None:
    """Where the KL has risen by 0.01 bits, on both sides of the least, by brute force."""
    rng = np.random.default_rng(4)
    rows, p_x = rng.dirichlet([0.7, 0.7], 40), np.full(40, 1 / 40)
    cells = np.where(rng.random(40) < 0.8, rows.argmax(axis=1), rng.integers(0, 4, 40))
    layer = layer_beta(cells, rows)
    assert 0 < layer.beta_low < layer.beta < layer.beta_high < math.inf
    for end in layer[-2:]:
        assert brute_kl(end, cells, rows, p_x) == pytest.approx(layer.kl + 0.01, abs=1e-9)


def test_excess_is_horizontal() -> None:
    """A channel: the layer that tells four patterns apart where two would do holds one bit too many."""
    rows = np.array([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.1, 0.9]])
    curve = information_curve(rows / 4)
    assert layer_beta(np.arange(4), rows, curve=curve).excess == pytest.approx(1, abs=1e-9)
    assert layer_beta(np.array([0, 0, 1, 1]), rows, curve=curve).excess == pytest.approx(0, abs=1e-9)
    # Cells that say nothing of Y hold their bit for nothing.
    assert layer_beta(np.array([0, 1, 0, 1]), rows, curve=curve).excess == pytest.approx(1, abs=1e-9)
    assert math.isnan(layer_beta(np.arange(4), rows).excess)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cells": [0, 1]}, r"cells is int64 of shape \(2,\)"),
        ({"cells": [0.0, 1.0, 2.0]}, "cells is float64"),
        ({"p_y_given_x": [0.1, 0.2, 1.2]}, "p_y_given_x has maximum 1.2"),
        ({"p_y_given_x": [[0.5, 0.4]] * 3}, "p_y_given_x sums to 0.9"),
        ({"p_y_given_x": 0.5}, r"p_y_given_x has shape \(\)"),
        ({"p_x": [0.5, 0.5]}, r"p_x has shape \(2,\)"),
        ({"p_x": [0.5, 0.9, -0.4]}, "p_x has minimum -0.4"),
        ({"repeats": 0}, "repeats = 0"),
    ],
)
def test_bad_layers_are_named(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"cells": [0, 1, 1], "p_y_given_x": [0.1, 0.5, 0.9], "key": jax.random.key(0)}
    with pytest.raises(ValueError, match=message):
        random_encoder_control(**arguments | change)
