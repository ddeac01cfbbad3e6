"""The measures of estimators, saturation and noisy_training find what was planted, either way.

Shapes: S networks, E epochs, N patterns, U units.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))
estimators: Any = importlib.import_module("estimators")
saturation: Any = importlib.import_module("saturation")
noisy_training: Any = importlib.import_module("noisy_training")

pytestmark = pytest.mark.usefixtures("unoptimized")

N = 256


def patterns(scales: list[float], units: int = 2, seed: int = 0) -> Any:
    """(E, N, U) one cloud of patterns, scaled at every epoch."""
    cloud = np.random.default_rng(seed).normal(size=(N, units))
    return np.stack([scale * cloud for scale in scales]).astype(np.float32)


class TestCertainFall:
    def test_bounds_certify_only_what_they_exclude(self) -> None:
        low, high = np.array([1.0, 4.0, 2.0, 0.5]), np.array([3.0, 6.0, 5.0, 3.0])
        assert estimators.Range(low, high, low).fall() == 1.0  # 4 at least, then 3 at most
        loose = estimators.Range(low, high + 2, low)
        assert loose.fall() == -1.0  # the upper bound falls by 3, and nothing is certain
        assert estimators.Range.exact(low).fall() == 3.5
        assert estimators.Range.exact(low).fall(since=2) == 1.5
        assert estimators.Range.exact(low[::-1]).fall(since=2) == 3.0

    def test_noise_does_not_make_a_peak(self) -> None:
        """Of two independent halves of mere noise: no fall on average; of one half: that of the largest of 25."""
        rng = np.random.default_rng(0)
        first, second = rng.normal(size=(2, 2000, 25))
        crossed = [estimators.Range(b, b, a).fall() for a, b in zip(first, second, strict=True)]
        alone = [estimators.Range(a, a, a).fall() for a in first]
        assert abs(np.mean(crossed)) < 0.15  # five standard errors
        assert np.mean(alone) > 1.5

    @pytest.mark.slow
    def test_every_estimator_sees_clusters_form_and_none_a_change_of_scale(self) -> None:
        """Patterns that draw together into two places lose all but a bit; a layer that shrinks as a whole, nothing."""
        rule = np.repeat([0.0, 1.0], N // 2)
        cloud = patterns([1.0])[0]
        places = np.where(rule[:, None] > 0.5, 1.0, -1.0)
        gather = np.stack([share * cloud + (1 - share) * places for share in (1.0, 0.5, 0.0)]).astype(np.float32)
        falls = estimators.ranges(gather, rule, 0, bounded=False)
        for name in estimators.ESTIMATORS:
            assert falls[name].fall() > 0.5, name
            assert falls[name].low[-1] == pytest.approx(1.0, abs=1e-3), name
        still = estimators.ranges(patterns([1.0, 0.1, 0.01]), rule, 0, bounded=False)
        for name in estimators.ESTIMATORS:
            assert still[name].fall() < 0.1, name
        assert still["kde"].high[0] > still["noisy"].low[0] > still["kde"].low[0]

    def test_bins_are_exact_at_any_number(self) -> None:
        layer = np.tanh(patterns([0.5, 2.0]))
        for bins in (8, 30, 65536):
            cells = np.clip(np.floor((layer.astype(np.float64) + 1) / 2 * bins), 0, bins - 1)
            counts = [np.unique(epoch, axis=0, return_counts=True)[1] / N for epoch in cells]
            truth = [-(p * np.log2(p)).sum() for p in counts]
            np.testing.assert_allclose(estimators.binned(layer, np.zeros(N), bins), truth, rtol=0, atol=1e-9)


class TestLinearStudents:
    def test_information_is_that_of_the_determinants(self) -> None:
        """Against the covariance of X and T together: I = (ln det S_X + ln det S_T - ln det S_XT) / 2."""
        w = np.random.default_rng(1).normal(size=(2, 3, 5))
        for each in w:
            of_t = each @ each.T + 0.3 * np.eye(3)
            both = np.block([[np.eye(5), each.T], [each, of_t]])
            truth = (np.linalg.slogdet(of_t)[1] - np.linalg.slogdet(both)[1]) / 2 / np.log(2)
            assert saturation.gaussian_information(each, 0.3) == pytest.approx(truth, rel=1e-12)
        assert saturation.gaussian_information(w, 0.3).shape == (2,)

    def test_descent_is_that_of_autodiff(self) -> None:
        """Ten steps by jax.grad of the mean squared error on the samples themselves."""
        found = saturation.student([3], samples=60, noise=0.5, decay=0.1, steps=10)
        rng = np.random.default_rng(3)
        width = saturation.INPUTS
        first = rng.normal(size=(saturation.HIDDEN, width)) * 0.1 / width**0.5
        second = rng.normal(size=saturation.HIDDEN) * 0.1 / saturation.HIDDEN**0.5
        teacher = rng.normal(size=width)
        teacher /= np.linalg.norm(teacher)
        x = rng.normal(size=(60, width))
        y = x @ teacher + 0.5 * rng.normal(size=60)

        def loss(weights: Any) -> Any:
            penalty = 0.1 * sum((w**2).sum() for w in weights) / 2
            return ((x @ weights[0].T @ weights[1] - y) ** 2).mean() / 2 + penalty

        with jax.enable_x64(True):
            weights = (jnp.asarray(first), jnp.asarray(second))
            for _ in range(10):
                weights = tuple(w - saturation.RATE * g for w, g in zip(weights, jax.grad(loss)(weights), strict=True))
            error = float(((x @ weights[0].T @ weights[1] - y) ** 2).mean())
            total = saturation.gaussian_information(np.asarray(weights[0]), saturation.NOISE_VARIANCE)
        assert found.train_error[0, -1] == pytest.approx(error, rel=1e-9)
        assert found.total[0, -1] == pytest.approx(float(total), rel=1e-9)

    def test_the_instrument_sees_what_was_planted(self) -> None:
        """Decay makes the information fall; overfitting shows in the test error; what is irrelevant is lost."""
        kinds = {
            name: saturation.student((0, 1, 2), **options, steps=2500) for name, options in saturation.STUDENTS.items()
        }
        assert (saturation.fall(kinds["decays"].total) > 5).all()
        assert (saturation.fall(kinds["generalises"].total) < 1e-6).all()
        assert (kinds["generalises"].test_error[:, -1] < 0.05).all()
        assert (kinds["overfits"].test_error[:, -1] > 0.5).all()
        apart = kinds["irrelevant"]
        assert (saturation.fall(apart.irrelevant) > 0.1).all()
        assert (apart.relevant <= apart.total + 1e-9).all()
        assert (kinds["generalises"].irrelevant == 0).all()

    def test_fixed_noise_alone_sees_the_scale(self) -> None:
        shrinks = saturation.by_instrument(patterns([1.0, 0.01]), np.zeros(N), 0)
        assert shrinks["fixed"].fall() > 1
        assert abs(shrinks["spread"].fall()) < 0.3  # five standard errors of four estimates of 256 patterns
        assert shrinks["range"].fall() < 0.1

    def test_what_lies_beyond_one_direction(self) -> None:
        line = np.random.default_rng(0).normal(size=(N, 1)) * np.array([[3.0, -4.0]]) + 7
        square = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]) * [1.0, 0.5]
        assert saturation.beyond_first(line[None])[0] == pytest.approx(0, abs=1e-12)
        assert saturation.beyond_first(square[None])[0] == pytest.approx(0.2)


class TestQuantised:
    @pytest.mark.parametrize("bits", [1, 4, 8])
    def test_levels_are_the_centres_of_the_bins(self, bits: int) -> None:
        a = jnp.concatenate([jnp.linspace(-1, 1, 4001), jnp.tanh(jnp.linspace(-30, 30, 101))])
        q = np.asarray(noisy_training.quantise(a, bits))
        levels = (2 * np.arange(2**bits) + 1) / 2**bits - 1
        assert np.isin(q, levels.astype(np.float32)).all()
        assert np.unique(q).size == 2**bits
        assert (np.abs(q - np.asarray(a)) <= 1 / 2**bits + 1e-7).all()
        np.testing.assert_array_equal(noisy_training.quantise(jnp.asarray(q), bits), q)
        gradient = jax.grad(lambda z: noisy_training.quantise(z, bits).sum())(a)
        np.testing.assert_array_equal(gradient, 1)

    def test_the_network_computes_with_its_levels(self) -> None:
        """Each layer sees the rounded activations of the one before; with a bin for a level the histogram is exact."""
        network = noisy_training.Quantised((3, 4, 2, 1), bits=3)
        params = network.init(jax.random.key(0))
        x = jnp.asarray(np.random.default_rng(0).random((50, 3)), jnp.float32)
        logits, (first, second, output) = network.apply(params, x)
        again = noisy_training.quantise(jnp.tanh(first @ params[1]["kernel"] + params[1]["bias"]), 3)
        np.testing.assert_array_equal(second, again)
        np.testing.assert_allclose(logits, second @ params[2]["kernel"] + params[2]["bias"], rtol=0, atol=1e-6)
        np.testing.assert_allclose(output, jax.nn.sigmoid(logits), rtol=0, atol=1e-7)
        p = np.unique(np.asarray(second), axis=0, return_counts=True)[1] / 50
        truth = -(p * np.log2(p)).sum()
        assert estimators.binned(np.asarray(second)[None], np.zeros(50), 8)[0] == pytest.approx(truth)


class TestGeometry:
    def test_scatter_of_two_classes(self) -> None:
        labels = np.repeat([True, False], N // 2)
        apart = patterns([1.0])[0] * 1e-3 + np.where(labels[:, None], 1.0, -1.0)
        mixed = patterns([1.0])[0]
        together, spread = noisy_training.scatter(np.stack([apart, mixed]), labels)
        assert together < 1e-5
        assert spread == pytest.approx(1.0, abs=0.03)

    def test_distance_from_the_corners(self) -> None:
        corners = np.array([[1.0, -1.0], [-1.0, -1.0]], np.float32)
        assert noisy_training.corner_distance(np.stack([corners, 0 * corners])).tolist() == [0.0, 1.0]

    def test_a_shared_trend_is_no_correlation_of_changes(self) -> None:
        """Two independent falling walks: their levels correlate, their changes do not; those of one walk do."""
        rng = np.random.default_rng(0)
        one, other = (-np.cumsum(1 + 0.3 * rng.normal(size=400)) for _ in range(2))
        assert noisy_training.since_peak(one, other, changes=False) > 0.99
        assert abs(noisy_training.since_peak(one, other, changes=True)) < 0.25  # five standard errors
        assert noisy_training.since_peak(one, 3 * one, changes=True) == pytest.approx(1.0)
        assert np.isnan(noisy_training.since_peak(np.arange(9.0), other[:9], changes=False))  # peaks at the end
