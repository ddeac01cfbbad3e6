"""The information curve against closed forms and an optimality certificate.

Shapes: N patterns, C classes, M clusters, K betas.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pytest
from conftest import divergence, information
from scipy import optimize

from ibjax.bottleneck import (
    Curve,
    critical_betas,
    encoder,
    information_curve,
)
from ibjax.bottleneck.annealing import anneal
from ibjax.data import spherical_dataset

Array = npt.NDArray[np.float64]
CLOSED_FORM = 1e-6  # bits, what the closed forms are owed; a residual of 1e-10 leaves about 1e-10


def binary_entropy(a: float) -> float:
    return -sum(v * math.log2(v) for v in (a, 1 - a) if v > 0)


def channel(p: float) -> Array:
    """Binary symmetric channel with uniform input, (2, 2)."""
    return np.array([[1 - p, p], [p, 1 - p]]) / 2


def channel_point(p: float, beta: float) -> tuple[float, float]:
    """Its curve at beta, from dI_Y/dI_X = 1/beta along (1 - h(a), 1 - h(a * p))."""

    def stationarity(a: float) -> float:
        b = a * (1 - p) + p * (1 - a)
        return math.log((1 - a) / a) - beta * (1 - 2 * p) * math.log((1 - b) / b)

    a = optimize.brentq(stationarity, 1e-15, 0.5 - 1e-5, xtol=1e-15)
    return 1 - binary_entropy(a), 1 - binary_entropy(a * (1 - p) + p * (1 - a))


def gaussian(rho: float, points: int = 37, width: float = 6.0) -> Array:
    """Two unit normals of correlation rho on a grid; cutting them at 6 sigma costs 2e-8 bits of I(X;Y)."""
    x = np.linspace(-width, width, points)
    density = np.exp(-(x[:, None] ** 2 - 2 * rho * x[:, None] * x + x**2) / (2 * (1 - rho**2)))
    return np.asarray(density / density.sum())


def random_joint(patterns: int = 20, classes: int = 5) -> Array:
    rng = np.random.default_rng(0)
    return np.asarray(rng.dirichlet(np.full(classes, 0.5), patterns) / patterns)


def test_channel_meets_its_closed_form() -> None:
    onset = 1 / (1 - 2 * 0.11) ** 2
    ratios = np.array([2.0, 1.003, 10.0, 1.03, 1.3])  # unsorted: the order given is the order returned
    curve = information_curve(channel(0.11), ratios * onset)
    expected = [channel_point(0.11, beta) for beta in ratios * onset]
    assert curve.converged.all()
    np.testing.assert_allclose(np.stack([curve.i_x, curve.i_y], axis=1), expected, rtol=0, atol=CLOSED_FORM)
    np.testing.assert_allclose((curve.i_x[4], curve.i_y[4]), (0.696931, 0.384919), rtol=0, atol=CLOSED_FORM)


def test_nothing_below_the_onset_of_the_channel() -> None:
    onset = 1 / (1 - 2 * 0.11) ** 2
    curve = information_curve(channel(0.11), np.array([0.5, 0.9, 0.99]) * onset)
    assert curve.converged.all()
    assert (curve.cardinality == 1).all()
    assert curve.i_x.max() < 1e-9
    critical = critical_betas(channel(0.11))
    np.testing.assert_allclose(critical[:2], onset, rtol=1e-9)
    assert critical.splits.size == 0


def test_default_betas_cover_the_whole_curve() -> None:
    curve = information_curve(channel(0.11))
    assert curve.converged.all()
    assert curve.i_x[0] < 1e-9
    assert curve.i_y[-1] > 0.999 * curve.i_xy
    assert (np.diff(curve.i_x) > -1e-9).all()
    assert (np.diff(curve.i_y) > -1e-9).all()


def test_hard_labels_jump_at_one() -> None:
    """I_Y = min(I_X, H(Y)): below beta = 1 nothing, above it T = Y, at 1 any point of the line."""
    data = spherical_dataset("var_u")
    curve = information_curve(data.joint, [0.9, 0.98, 1.02, 1.5, 1e6])
    assert curve.converged.all()
    assert curve.cardinality.tolist() == [1, 1, 2, 2, 2]
    np.testing.assert_allclose(curve.i_x, [0, 0, data.h_y, data.h_y, data.h_y], rtol=0, atol=CLOSED_FORM)
    np.testing.assert_allclose(curve.i_y, curve.i_x, rtol=0, atol=CLOSED_FORM)
    i_x = np.array([0.0, 0.3, 0.9, 2.0, 12.0])
    np.testing.assert_allclose(curve.relevance(i_x), np.minimum(i_x, data.h_y), rtol=0, atol=CLOSED_FORM)
    np.testing.assert_allclose(critical_betas(data.joint)[:2], 1.0, rtol=1e-9)
    at_one = information_curve(data.joint, [1.0])
    np.testing.assert_allclose(at_one.i_y, at_one.i_x, rtol=0, atol=CLOSED_FORM)


def test_gaussian_bottleneck() -> None:
    """I_Y = .5 log2 1/(1 - rho^2 (1 - 2^(-2 I_X))) with 2^(2 I_X) = (beta - 1) rho^2/(1 - rho^2).

    A continuous T is nearly degenerate as clusters, so the iterations end at their cap and must say so; the
    Lagrangian is then good to `excess` all the same, and the points lie on the curve to second order.
    """
    rho2 = 0.64
    curve = information_curve(gaussian(0.8), [0.97 / rho2, 1.8, 2.5], max_iterations=1000)
    assert curve.converged.tolist() == [True, False, False]
    assert curve.i_x[0] < 1e-9
    i_x = 0.5 * np.log2((curve.beta[1:] - 1) * rho2 / (1 - rho2))
    np.testing.assert_allclose(curve.i_x[1:], i_x, rtol=0, atol=1e-5)
    i_y = 0.5 * np.log2(1 / (1 - rho2 * (1 - 2.0 ** (-2 * curve.i_x[1:]))))
    np.testing.assert_allclose(curve.i_y[1:], i_y, rtol=0, atol=CLOSED_FORM)


@pytest.mark.parametrize("name", ["spherical", "regular_90"])
def test_no_cluster_anywhere_can_lower_the_lagrangian(name: str) -> None:
    """gain(q) <= 1 for every q proves the global minimum; a binary label leaves q one number, so scan it."""
    data = spherical_dataset(name)
    curve = information_curve(data.joint)
    assert curve.converged.all()
    assert curve.residual.max() < 1e-8
    rows, counts = np.unique(data.conditional, axis=0, return_counts=True)
    logits = np.linspace(-30, 30, 3001)
    q = np.stack([1 / (1 + np.exp(logits)), 1 / (1 + np.exp(-logits))], axis=1)
    to_q = divergence(rows, q)
    for beta, p_ty in zip(curve.beta[::4], curve.p_ty[::4], strict=True):
        p_t = p_ty.sum(axis=1)
        p_t, decoders = p_t[p_t > 0], p_ty[p_t > 0] / p_t[p_t > 0][:, None]
        z = (p_t * np.exp(-beta * divergence(rows, decoders))).sum(axis=1)
        with np.errstate(over="ignore"):
            gain = (counts / counts.sum()) @ np.exp(-beta * to_q - np.log(z)[:, None])
        assert gain.max() < 1 + 1e-6  # clusters merged within beta KL = 1e-6


def test_slope_is_one_over_beta(task: Curve) -> None:
    """The tangent of slope 1/beta at any point lies above all others; slack 1e-9 bits for rounding."""
    tangents = task.i_y[:, None] + (task.i_x[None, :] - task.i_x[:, None]) / task.beta[:, None]
    assert (tangents >= task.i_y[None, :] - 1e-9).all()
    beta, step = 1.5 * 1.643655, 1e-3
    curve = information_curve(channel(0.11), [beta * (1 - step), beta * (1 + step)])
    slope = (curve.i_y[1] - curve.i_y[0]) / (curve.i_x[1] - curve.i_x[0])
    assert slope == pytest.approx(1 / beta, rel=3 * step**2)


def test_lagrangian_never_rises() -> None:
    """More iterations, never a higher I_X - beta I_Y; 1e-12 bits for rounding."""
    joint, beta = random_joint(), 6.0
    caps = [3, 6, 12, 24, 48, 96, 300, 1000]
    curves = [information_curve(joint, [beta], max_iterations=cap) for cap in caps]
    lagrangian = np.array([curve.i_x[0] - beta * curve.i_y[0] for curve in curves])
    assert (np.diff(lagrangian) < 1e-12).all()
    assert lagrangian[-1] < lagrangian[0]


def test_points_are_those_of_their_encoder() -> None:
    joint = random_joint()
    curve = information_curve(joint, [5.0, 30.0, 12.0])  # in the order given
    for k, beta in enumerate(curve.beta):
        p_t_x = encoder(curve.p_ty[k], joint / joint.sum(axis=1, keepdims=True), float(beta))
        np.testing.assert_allclose(p_t_x.sum(axis=1), 1.0, rtol=1e-12)
        # Self-consistency, and the two informations of the encoder itself.
        np.testing.assert_allclose(p_t_x.T @ joint, curve.p_ty[k], rtol=0, atol=1e-6)
        i_x = information(joint.sum(axis=1)[:, None] * p_t_x)
        assert (i_x, information(p_t_x.T @ joint)) == pytest.approx((curve.i_x[k], curve.i_y[k]), abs=1e-6)


def test_a_cap_is_reported() -> None:
    curve = information_curve(channel(0.11), [1.65], max_iterations=6)
    assert not curve.converged[0]
    assert curve.residual[0] > 1e-10


def test_a_solution_on_which_a_cluster_could_save_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def saving(*arguments: Any) -> Any:
        return anneal(*arguments)._replace(excess=np.full(1, 1e-3))

    assert information_curve(channel(0.11), [3.0]).converged[0]
    monkeypatch.setattr("ibjax.bottleneck.curve.anneal", saving)
    curve = information_curve(channel(0.11), [3.0])
    assert not curve.converged[0]
    assert curve.excess[0] == pytest.approx(1e-3 / math.log(2))


def test_the_curve_may_leave_the_origin_before_the_instability() -> None:
    """The authors' later task: T = constant is beaten before it is unstable, so onset < 1/rho^2."""
    data = spherical_dataset("regular_90")
    singular = np.linalg.svd(data.joint / np.sqrt(np.outer(data.marginal, data.joint.sum(axis=0))))[1]
    critical = critical_betas(data.joint, resolution=1)
    assert critical.instability == pytest.approx(1 / singular[1] ** 2, rel=1e-9)
    assert critical.onset < critical.instability * (1 - 1e-4)
    joint = random_joint()
    onset, instability = critical_betas(joint, resolution=1)[:2]
    assert onset < 0.9 * instability
    below, above = information_curve(joint, np.array([1 - 1e-4, 1 + 1e-4]) * onset).i_x
    assert below < 1e-8
    assert above > 1e-5


def test_splits_are_where_the_cardinality_grows() -> None:
    data = spherical_dataset()
    critical = critical_betas(data.joint, resolution=0.01)
    assert (np.diff(critical.splits) > 0).all()
    for side, expected in ((0.98, critical.cardinality - 1), (1.02, critical.cardinality)):
        assert (information_curve(data.joint, critical.splits * side).cardinality == expected).all()


def test_relevance_is_the_concave_envelope(task: Curve) -> None:
    i_x = np.linspace(0, 13, 400)
    i_y = task.relevance(i_x)
    assert i_y[0] == 0
    assert (np.diff(i_y, 2) < 1e-12).all()
    np.testing.assert_allclose(i_y[i_x >= task.h_sufficient], task.i_xy, rtol=1e-12)
    np.testing.assert_allclose(task.relevance(task.i_x), task.i_y, rtol=0, atol=1e-9)
    assert task.relevance(0.5).shape == ()
    # What did not converge says nothing: the chord from the origin to I(X;Y) is left.
    chord = task._replace(converged=np.zeros_like(task.converged))
    assert chord.relevance(task.h_sufficient / 2) == pytest.approx(task.i_xy / 2)


def test_rate_is_the_inverse_of_relevance(task: Curve) -> None:
    i_y = np.array([0.0, 0.1, 0.5, 0.9, 0.98, task.i_xy])
    np.testing.assert_allclose(task.relevance(task.rate(i_y)), i_y, rtol=0, atol=1e-12)
    assert task.rate(task.i_xy) == pytest.approx(task.h_sufficient, abs=1e-9)
    np.testing.assert_array_equal(task.rate([-1.0, task.i_xy + 0.01]), [0.0, math.nan])
    curve = information_curve(channel(0.11))
    expected, relevance = channel_point(0.11, 4.0)
    assert curve.rate(relevance) == pytest.approx(expected, abs=1e-3)  # the points are .03 bits apart: a chord
    assert curve.rate(relevance) >= expected - CLOSED_FORM


def test_all_values_of_the_rule_count() -> None:
    """64 values of f, most of which float64 rounds to p(y|x) = 0 or 1."""
    data = spherical_dataset()
    assert data.log_odds is not None
    counts = np.unique(np.round(data.log_odds, 6), return_counts=True)[1]
    assert counts.size == 64
    entropy = -(counts / 4096 * np.log2(counts / 4096)).sum()
    assert information_curve(data.joint, [2.0]).h_sufficient == pytest.approx(entropy, abs=1e-9)
    assert entropy == pytest.approx(5.5695, abs=1e-4)


def test_merging_and_impossible_patterns_change_nothing() -> None:
    joint = random_joint(6, 3)
    whole = information_curve(joint, [4.0, 9.0])
    split = np.concatenate([joint * 0.25, np.zeros((2, 3)), joint * 0.75])
    parts = information_curve(np.concatenate([split, np.zeros((14, 1))], axis=1), [4.0, 9.0])
    np.testing.assert_allclose(parts[1:3], whole[1:3], rtol=0, atol=1e-9)


@pytest.mark.parametrize("joint", [np.outer([0.5, 0.3, 0.2], [0.1, 0.9]), np.ones((3, 1)) / 3, [[0.4, 0.6]]])
def test_no_information_no_curve(joint: Any) -> None:
    curve = information_curve(joint)
    assert curve.converged.all()
    np.testing.assert_allclose([*curve.i_x, *curve.i_y, *curve.relevance([0.0, 1.0])], 0, atol=1e-9)
    assert critical_betas(joint).onset == math.inf


def test_zeros_and_huge_betas_make_no_nan() -> None:
    joint = np.array([[0.3, 0.0, 0.0], [0.1, 0.1, 0.0], [0.0, 0.2, 0.1], [0.0, 0.0, 0.2]])
    with jax.debug_nans(True):
        curve = information_curve(joint, [1e-3, 1.0, 3.0, 1e3, 1e12])
    assert curve.converged.all()
    assert (curve.i_x[-1], curve.i_y[-1]) == pytest.approx((curve.h_sufficient, information(joint)), abs=1e-9)


def test_the_callers_precision_is_left_alone() -> None:
    before = jax.config.values["jax_enable_x64"]
    curve = information_curve(channel(0.2), [5.0])
    critical_betas(channel(0.2))
    assert jax.config.values["jax_enable_x64"] == before
    assert jnp.ones(3).dtype == (jnp.float64 if before else jnp.float32)
    assert curve.i_x.dtype == np.float64


@pytest.mark.parametrize(
    ("p_xy", "options", "message"),
    [
        ([0.5, 0.5], {}, r"p_xy has shape \(2,\)"),
        (np.zeros((0, 2)), {}, r"p_xy has shape \(0, 2\)"),
        ([[0.5, math.nan]], {}, "p_xy holds 1 NaN"),
        ([["a", "b"]], {}, "p_xy cannot be read"),
        ([[1.5, -0.5]], {}, "p_xy has minimum -0.5"),
        ([[0.5, 0.4]], {}, "p_xy sums to 0.9"),
        (channel(0.1), {"betas": [[1.0]]}, r"betas has shape \(1, 1\)"),
        (channel(0.1), {"betas": []}, r"betas has shape \(0,\)"),
        (channel(0.1), {"betas": [1.0, 0.0]}, "betas has minimum 0"),
        (channel(0.1), {"betas": [math.inf]}, "betas holds 1 NaN or infinite"),
        (channel(0.1), {"tolerance": 1e-3}, "tolerance = 0.001"),
        (channel(0.1), {"max_iterations": 0}, "max_iterations = 0"),
    ],
)
def test_bad_input_is_named(p_xy: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        information_curve(p_xy, **options)


@pytest.mark.parametrize("resolution", [0.0, 2.0])
def test_bad_resolution_is_named(resolution: float) -> None:
    with pytest.raises(ValueError, match=f"resolution = {resolution}"):
        critical_betas(channel(0.1), resolution=resolution)
