"""The experiments on the bottleneck, the diffusion of weights and the time of the compression find what was planted.

Shapes: S networks, E logged epochs, L layers, U units.
"""

from __future__ import annotations

import importlib
import itertools
import math
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from ibjax.probability import mutual_information

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))
common: Any = importlib.import_module("common")
matching: Any = importlib.import_module("common.matching")
bound: Any = importlib.import_module("bound")
weights: Any = importlib.import_module("weights")
compression_time: Any = importlib.import_module("compression_time")

pytestmark = pytest.mark.usefixtures("unoptimized")

Array = npt.NDArray[np.float64]
WIDTHS = (12, 8, 5, 3, 1)
EPOCHS = np.unique(np.geomspace(100, 10_000, 120).astype(int))
LAWS = {
    "logarithm": 9 - 0.7 * np.log(EPOCHS),
    "power law": 2 + 40.0 * EPOCHS**-0.8,
    "exponential": 2 + 3 * np.exp(-(EPOCHS - 100) / 600),
}


def noisy(law: str, seed: int, correlation: float = 0.9) -> Any:
    made = compression_time.Law(0.0, 1.0, 0.0, correlation, 0.02, LAWS[law])
    return compression_time.fit_laws(EPOCHS, LAWS[law] + compression_time.errors(made, np.random.default_rng(seed)))


@pytest.mark.parametrize("law", LAWS)
def test_the_law_planted_is_found(law: str) -> None:
    """Errors of correlation 0.9: the logarithm passes where it is planted and nowhere else, in 20 draws of each."""
    fits = [noisy(law, seed) for seed in range(20)]
    passes = [compression_time.passed([fit.aic for fit in each.values()]) for each in fits]
    assert np.mean(passes) > 0.7 if law == "logarithm" else np.mean(passes) < 0.2
    parameter = np.median([each[law].parameter for each in fits])
    assert parameter == pytest.approx({"logarithm": 0.0, "power law": -0.8, "exponential": 600}[law], rel=0.2)
    # 120 epochs know rho to sqrt((1 - .81) / 120) = .04 each, and fitted lines take some of it.
    assert np.median([each[law].correlation for each in fits]) == pytest.approx(0.9, abs=0.1)


def test_an_accelerating_fall_is_no_logarithm() -> None:
    values = 8 - 1e-3 * EPOCHS**0.9
    laws = compression_time.fit_laws(EPOCHS, values)
    assert laws["power law"].parameter == pytest.approx(0.9, abs=1e-3)
    assert not compression_time.passed([law.aic for law in laws.values()])
    np.testing.assert_allclose(laws["power law"].curve, values, atol=1e-3)
    assert laws["logarithm"].explained < laws["power law"].explained


def test_the_likelihood_is_that_of_the_whole_covariance() -> None:
    """-2 ln L from the n x n covariance of the errors, at the rho and the line found, and no better at others."""
    y = LAWS["exponential"] + 0.1 * np.random.default_rng(0).normal(size=EPOCHS.size)
    law = compression_time.fit_laws(EPOCHS, y)["logarithm"]
    lags = np.abs(np.subtract.outer(np.arange(y.size), np.arange(y.size)))
    design = np.stack([np.ones(y.size), np.log(EPOCHS)], axis=1)

    def cost(rho: float) -> tuple[float, Array]:
        covariance = rho**lags / (1 - rho**2)
        inverse = np.linalg.inv(covariance)
        line = design @ np.linalg.solve(design.T @ inverse @ design, design.T @ inverse @ y)
        rss = (y - line) @ inverse @ (y - line)
        return float(y.size * np.log(rss / y.size) + np.linalg.slogdet(covariance)[1]), line

    found, line = cost(law.correlation)
    assert law.aic == pytest.approx(found + 8, abs=1e-6)
    np.testing.assert_allclose(law.curve, line, atol=1e-8)
    assert all(cost(law.correlation + step)[0] > found for step in (-0.03, 0.01))


def test_too_little_to_fit() -> None:
    assert compression_time.fit_laws(EPOCHS[:11], LAWS["logarithm"][:11]) is None
    assert compression_time.fit_laws(EPOCHS, np.ones(EPOCHS.size)) is None
    assert np.isnan(compression_time.passed([math.nan] * 3))


@pytest.mark.parametrize(("exponent", "atol"), [(1.0, 0.03), (0.0, 0.03), (0.5, 0.03)])
def test_the_exponent_of_the_diffusion(exponent: float, atol: float) -> None:
    """Gaussian weights of variance t^a: 40 replicas x 500 weights, whose mean log variance errs by .01 an epoch."""
    epochs = np.geomspace(350, 10_000, 20).astype(int)
    drawn = np.random.default_rng(0).normal(size=(40, 20, 500)) * (epochs[:, None] / 1e3) ** (exponent / 2)
    bits = np.log2(drawn.var(axis=0, ddof=1)).mean(axis=1)[:, None]
    assert weights.exponents(epochs, bits, 350, 10_000) == pytest.approx(exponent, abs=atol)
    assert np.isnan(weights.exponents(epochs, bits, 14, 350)).all()


class Replicas(SimpleNamespace):
    """What is asked of a trajectory here; can be a key."""

    def __hash__(self) -> int:  # type: ignore[override]
        return id(self)


def test_a_free_diffusion_counts_from_its_start() -> None:
    """Whatever the weights had spread by before: from the start its exponent would be too small."""
    epochs, rng = np.array([0, 350, *np.geomspace(700, 10_000, 30).astype(int)]), np.random.default_rng(0)
    steps = rng.normal(size=(60, epochs.size - 2, 400)) * np.sqrt(np.diff(epochs[1:]))[:, None]
    before = rng.normal(size=(60, 1, 400)) * 60
    way = np.concatenate([np.zeros_like(before), before, before + steps.cumsum(axis=1)], axis=1)
    run = Replicas(
        epochs=epochs,
        layer_names=("a",),
        healthy=np.ones(60, bool),
        extras={"weights_a": way},
        epoch_index=lambda epoch: int(np.abs(epochs - epoch).argmin()),
    )
    assert weights.in_window([run], 350, 700, 10_000)[0, 0] == pytest.approx(1.0, abs=0.05)
    assert weights.in_window([run], 0, 700, 10_000)[0, 0] < 0.75


def test_replicas_differ_in_the_order_of_the_batches_only(tmp_path: Path) -> None:
    """They begin alike and part; in one batch they stay together but for the order of float32 sums."""
    plan = common.Plan(quick=True, first_seed=7)
    runs = {
        "noisy": weights.replicas(plan, 3, epochs=5, logged_epochs=3),
        "full": weights.replicas(plan, 3, epochs=5, logged_epochs=3, batch_size=None),
        "other": weights.replicas(plan, 4, epochs=5, logged_epochs=3),
    }
    noisy, full, other = common.train(runs, tmp_path).values()
    kernels = noisy.extras["weights_hidden_1"]
    assert (kernels[:, 0] == kernels[:1, 0]).all()
    assert (kernels[0, 0] != other.extras["weights_hidden_1"][0, 0]).all()
    assert np.isneginf(weights.log_variance(noisy)[0]).all()
    assert (weights.log_variance(noisy)[-1] > math.log2(1e-8)).all()
    assert (weights.log_variance(full)[-1] < math.log2(1e-11)).all()
    data = weights.training_set(3, 0.85)
    assert data.n_patterns == 3481
    assert set(np.unique(data.p_y_given_x)) == {0.0, 1.0}


def test_likeness_of_neurons() -> None:
    kernels = np.stack([np.ones((4, 3)), np.eye(4)[:, :3], -np.ones((4, 3)) * [1, -2, 3]])
    np.testing.assert_allclose(weights.neuron_likeness(kernels), [1, 0, 1], atol=1e-12)
    assert np.isnan(weights.neuron_likeness(np.ones((5, 4, 1)))).all()
    # Two random directions of three dimensions: cos is uniform on [-1, 1].
    drawn = np.random.default_rng(0).normal(size=(20_000, 3, 2))
    assert weights.neuron_likeness(drawn).mean() == pytest.approx(0.5, abs=0.01)


def random_kernels(seed: int) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape) for shape in itertools.pairwise(WIDTHS)]


def disguised(
    kernels: list[Array], seed: int, *, odd: bool
) -> tuple[list[Array], list[npt.NDArray[np.intp]], list[Array]]:
    """The same network with its hidden units in another order and, if odd, with other signs."""
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(kernel.shape[1]) for kernel in kernels[:-1]]
    signs = [rng.choice([-1.0, 1.0], kernel.shape[1]) if odd else np.ones(kernel.shape[1]) for kernel in kernels[:-1]]
    made = [kernel.copy() for kernel in kernels]
    for layer, (order, sign) in enumerate(zip(orders, signs, strict=True)):
        made[layer] = made[layer][:, order] * sign
        made[layer + 1] = made[layer + 1][order] * sign[:, None]
    return made, orders, signs


@pytest.mark.parametrize("odd", [True, False])
def test_planted_permutations_and_signs_are_recovered(odd: bool) -> None:
    kernels = random_kernels(0)
    other, orders, signs = disguised(kernels, 1, odd=odd)
    found = matching.align(kernels, other, odd=odd)
    for mine, back in zip(kernels, found.kernels, strict=True):
        np.testing.assert_array_equal(mine, back)  # permutations and signs round nothing
    for planted, order, sign, given in zip(orders, found.order, signs, found.sign, strict=True):
        np.testing.assert_array_equal(order, np.argsort(planted))
        np.testing.assert_array_equal(given, sign[np.argsort(planted)])


def test_a_sign_is_no_symmetry_of_relu() -> None:
    kernels = random_kernels(5)
    other = disguised(kernels, 6, odd=True)[0]
    assert matching.cosine(kernels[0].ravel(), matching.align(kernels, other, odd=False).kernels[0].ravel()) < 0.9


def test_a_layer_that_knows_the_rule_satisfies_the_equations() -> None:
    """Binned values of f as the only unit: no KL, no excess; every pattern apart: all the excess there is."""
    data = bound.task()
    classes = np.unique(np.round(data.log_odds, 6), return_inverse=True)[1]
    activations = (2.0 * (classes + 0.5) / (classes.max() + 1) - 1)[:, None]
    cells = bound.cells_of(activations, int(classes.max()) + 1)
    np.testing.assert_array_equal(cells, classes)
    layer = bound.layer_beta(cells, data.conditional, curve=bound.curve_of())
    assert (layer.kl, layer.excess) == pytest.approx((0, 0), abs=1e-9)
    assert layer.i_y == pytest.approx(data.information, abs=1e-9)


def test_shuffled_labels_are_the_same_task_of_other_patterns() -> None:
    shuffled, data = bound.shuffled(), bound.task()
    assert shuffled.information == pytest.approx(data.information, abs=1e-12)
    np.testing.assert_array_equal(np.sort(shuffled.log_odds), np.sort(data.log_odds))
    # As alike as by chance: G = 2 N ln 2 I of two independent binary labels is chi-squared with one degree of freedom.
    codes = 2 * (shuffled.log_odds > 0) + (data.log_odds > 0)
    joint = np.bincount(codes, minlength=4).reshape(2, 2) / 4096
    assert mutual_information(joint) < 10 / (2 * 4096 * math.log(2))


def test_depth_against_beta() -> None:
    assert bound.rank_correlation(np.array([math.inf, 30.0, 8.0, 2.0])) == -1
    assert bound.rank_correlation(np.array([1.0, 2.0, 3.0])) == 1
    assert bound.rank_correlation(np.array([math.inf, math.inf])) == 0
    assert -1 < bound.rank_correlation(np.array([math.inf, math.inf, 2.0])) < 0
    assert math.isnan(bound.rank_correlation(np.array([math.nan, 1.0])))


def points(i_x: list[float], i_y: list[float], beta: list[float], kl: list[float] | None = None) -> Array:
    """(1, L, F) of a network's layers, the output last."""
    found = np.full((1, len(i_x), 8), np.nan)
    for field, values in {"i_x": i_x, "i_y": i_y, "beta": beta, "kl": kl or [0.0] * len(i_x)}.items():
        found[0, :, bound.LayerOptimality._fields.index(field)] = values
    return found


def test_layers_on_a_curve_have_the_slope_of_their_beta() -> None:
    """Neighbours on I_Y = sqrt(I_X): 1/beta is 1/(2 sqrt(I_X)), and their chord is nearly the geometric mean."""
    i_x = np.array([4.0, 3.8, 3.6])
    on = points(i_x.tolist(), np.sqrt(i_x).tolist(), (2 * np.sqrt(i_x)).tolist())
    np.testing.assert_allclose(bound.slope_times_beta(on), 0, atol=1e-3)
    steep = points(i_x.tolist(), (10 * np.sqrt(i_x)).tolist(), (2 * np.sqrt(i_x)).tolist())
    np.testing.assert_allclose(bound.slope_times_beta(steep), 1, atol=1e-3)
    assert np.isnan(bound.slope_times_beta(points([3, 2], [0.5, 0.6], [2, 1]))).all()
    assert np.isnan(bound.slope_times_beta(points([3, 2], [0.6, 0.5], [math.inf, 1]))).all()


def test_nearness_to_critical_betas() -> None:
    betas = np.array([1.0, 4.0, 16.0, 64.0, 0.5, math.inf])
    found = bound.nearness(betas, np.array([4.0, 16.0]), 1.0, 64.0)
    np.testing.assert_allclose(found, [1, 0, 0, 1, math.nan, math.nan], atol=1e-3)
    chance = np.exp(np.random.default_rng(0).uniform(0, math.log(64), 20_000))
    assert bound.nearness(chance, np.array([4.0, 16.0]), 1.0, 64.0).mean() == pytest.approx(0.5, abs=0.01)


def test_training_that_helps_is_told_from_training_that_does_not() -> None:
    """KL a fifth of I(X;T) after training, and four fifths before: below 0 only against that control."""
    found = {label: points([5, 4, 1], [0, 0, 0], [1, 1, 1], [0.8 * 5, 0.8 * 4, 0]) for label in bound.LOOKS}
    found["trained"] = points([5, 4, 1], [0, 0, 0], [1, 1, 1], [1.0, 0.8, 0])
    found[f"epoch {bound.EARLY}"] = found["trained"]
    evidence = bound.learned(found)
    assert {entry.name: entry.estimate for entry in evidence.entries} == pytest.approx(
        {"untrained": -0.6, f"epoch {bound.EARLY}": 0.0, "shuffled labels": -0.6}
    )
