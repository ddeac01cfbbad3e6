"""The experiments: planted answers, then toy runs of every script; the table that gathers them.

Shapes: S networks, E logged epochs, N patterns, U units.
"""

from __future__ import annotations

import dataclasses
import importlib
import itertools
import json
import math
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.text import Text
from PIL import Image

import ibjax
from ibjax.analysis import Estimate

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))
common: Any = importlib.import_module("common")
matching: Any = importlib.import_module("common.matching")
weights: Any = importlib.import_module("weights")
bound: Any = importlib.import_module("bound")
compression_time: Any = importlib.import_module("compression_time")
bins: Any = importlib.import_module("bins")
estimators: Any = importlib.import_module("estimators")
claims: Any = importlib.import_module("claims")
snapshots: Any = importlib.import_module("snapshots")
trajectories: Any = importlib.import_module("trajectories")
gradients: Any = importlib.import_module("gradients")
depth: Any = importlib.import_module("depth")
width: Any = importlib.import_module("width")
samples: Any = importlib.import_module("samples")
noise: Any = importlib.import_module("noise")

pytestmark = pytest.mark.usefixtures("unoptimized")

Array = npt.NDArray[np.float64]
UNSETTLED = "depends on the seeds: no interval, or one that holds both answers"
WIDTHS = (12, 8, 5, 3, 1)


def random_kernels(seed: int, widths: tuple[int, ...] = WIDTHS) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape) for shape in itertools.pairwise(widths)]


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


def test_noise_on_a_disguise_is_what_is_left() -> None:
    kernels = random_kernels(2)
    other = disguised([k + 0.1 * n for k, n in zip(kernels, random_kernels(3), strict=True)], 4, odd=True)[0]
    plain, matched = matching.correlations([np.stack(pair) for pair in zip(kernels, other, strict=True)])
    # The cosine of w and w + 0.1 n with unit variances is 1/sqrt(1.01), up to 1/sqrt(number of weights) of the noise.
    np.testing.assert_allclose(matched[:-1, 0, 1], 1.01**-0.5, atol=0.03)
    assert (np.abs(plain[:2, 0, 1]) < 0.5).all()
    np.testing.assert_array_equal(matched, matched.transpose(0, 2, 1))


def test_a_sign_is_no_symmetry_of_relu() -> None:
    kernels = random_kernels(5)
    other = disguised(kernels, 6, odd=True)[0]
    assert matching.cosine(kernels[0].ravel(), matching.align(kernels, other, odd=False).kernels[0].ravel()) < 0.9


def test_mean_over_pairs_is_that_of_pairs() -> None:
    rng = np.random.default_rng(7)
    values = rng.normal(size=(2, 6, 6))
    values = values + values.transpose(0, 2, 1)
    found = matching.pair_mean(values)
    np.testing.assert_allclose(found.mean, [v[np.triu_indices(6, 1)].mean() for v in values], rtol=1e-12)
    assert ((found.low < found.mean) & (found.mean < found.high)).all()
    constant = matching.pair_mean(np.full((1, 5, 5), 0.25))
    assert (constant.low[0], constant.mean[0], constant.high[0]) == pytest.approx((0.25, 0.25, 0.25), abs=1e-12)
    assert np.isnan(matching.pair_mean(values[:, :2, :2]).low).all()


def test_free_diffusion_gains_half_a_bit_a_doubling() -> None:
    """Brownian weights from nothing: variance ~ t. 800 networks x 20 weights leave an error of about 0.01."""
    epochs = 2 ** np.arange(8)
    steps = np.random.default_rng(8).normal(size=(800, 8, 4, 5)) * np.sqrt(np.diff(epochs, prepend=0))[:, None, None]
    bits = weights.entropy([np.cumsum(steps, axis=1) + 3.0], np.ones((1, 800)))
    assert bits.shape == (1, 8, 1)
    assert weights.slope(np.log2(epochs), bits)[0, 0] == pytest.approx(0.5, abs=0.02)
    assert bits[0, 0, 0] == pytest.approx(0.5 * math.log2(2 * math.pi * math.e), abs=0.02)


def estimate(low: list[float], high: list[float]) -> Estimate:
    ends = np.array(low), np.array(high)
    middle = (ends[0] + ends[1]) / 2
    return Estimate(
        mean=np.where(np.isnan(middle), 0.5, middle),
        low=ends[0],
        high=ends[1],
        count=np.full(len(low), 9),
        left_out=0,
        level=0.95,
    )


@pytest.mark.parametrize(
    ("low", "high", "below", "verdict", "number"),
    [
        ([0.2, 0.3], [0.4, 0.5], False, "reproduced", 0.3),
        ([0.2, 0.3], [0.4, 0.5], True, "not reproduced", 0.4),
        ([-0.4, -0.3], [-0.2, 0.05], True, "reproduced", -0.125),
        ([-0.4, 0.3], [0.05, 0.5], False, "depends on the layer: holds in b; not in a", -0.175),
        ([0.0, 0.3], [0.2, 0.5], False, "depends on the layer: holds in b; open in a", 0.1),
        (
            [0.0, math.nan],
            [0.2, math.nan],
            False,
            "depends on the seeds: no interval, or one that holds both answers",
            0.1,
        ),
    ],
)
def test_the_verdict_follows_from_the_intervals(
    low: list[float], high: list[float], below: bool, verdict: str, number: float
) -> None:
    words = {"claim": "c", "source": "s", "measured": "m"}
    found = common.judge(estimate(low, high), 0.1, ["a", "b"], **words, below=below)
    assert found.verdict == verdict
    assert found.estimate == pytest.approx(number)


def test_the_two_laws_are_told_apart() -> None:
    epochs = np.unique(np.geomspace(100, 10_000, 100).astype(int))
    noise = 0.02 * np.random.default_rng(9).normal(size=epochs.size)
    logarithm = compression_time.fit_laws(epochs, 8.0 - 0.7 * np.log(epochs) + noise)
    assert logarithm.bic > 0
    assert logarithm.slope == pytest.approx(0.7, abs=0.01)
    assert logarithm.explained > 0.99
    power = compression_time.fit_laws(epochs, 2.0 + 40.0 * epochs**-0.8 + noise)
    assert power.bic < -10
    assert power.aic < power.bic
    assert power.exponent == pytest.approx(0.8, abs=0.1)
    # Three parameters against two: BIC charges ln n, AIC 2, and nothing else differs.
    assert power.bic - power.aic == pytest.approx(math.log(epochs.size) - 2)


def test_exact_laws_and_too_few_epochs() -> None:
    epochs = np.arange(10, 200, 7)
    assert compression_time.fit_laws(epochs, 5.0 - np.log(epochs)).bic > 100
    exact = compression_time.fit_laws(epochs, 1.0 + 30.0 / epochs)
    assert exact.exponent == pytest.approx(1.0, abs=1e-4)
    np.testing.assert_allclose(exact.power, 1.0 + 30.0 / epochs, atol=1e-5)
    assert compression_time.fit_laws(epochs[:5], np.ones(5)) is None


def test_a_layer_that_knows_the_rule_is_on_the_curve() -> None:
    """Binned p(y|x) as the only unit: distance 0 where each class of equal rules has a cell to itself."""
    data = ibjax.spherical_dataset()
    curve = ibjax.information_curve(data.joint)
    _, classes = np.unique(np.round(data.p_y_given_x, 12), return_inverse=True)
    activations = (2.0 * (classes + 0.5) / (classes.max() + 1) - 1)[:, None]
    cells = bound.cells_of(activations, int(classes.max()) + 1)
    np.testing.assert_array_equal(cells, classes)
    layer = bound.layer_beta(cells, data.p_y_given_x, curve=curve)
    assert layer.distance == pytest.approx(0, abs=1e-9)
    assert layer.i_y == pytest.approx(data.information, abs=1e-9)


def test_depth_against_beta() -> None:
    assert bound.rank_correlation(np.array([math.inf, 30.0, 8.0, 2.0])) == -1
    assert bound.rank_correlation(np.array([1.0, 2.0, 3.0])) == 1
    assert bound.rank_correlation(np.array([math.inf, math.inf])) == 0
    assert -1 < bound.rank_correlation(np.array([math.inf, math.inf, 2.0])) < 0


@pytest.mark.parametrize(("count", "bounded"), [(30, True), (65_536, True), (65_536, False)])
def test_bins_agree_with_unique(count: int, bounded: bool) -> None:
    rng = np.random.default_rng(10)
    activations = np.tanh(rng.normal(size=(2, 512, 3))).astype(np.float32) * (1 if bounded else 3)
    activations[:, 256:] = np.round(activations[:, 256:], 1)
    found = bins.information(activations, np.full(512, 0.5), count, bounded=bounded)
    for layer, bits in zip(activations.astype(np.float64), found, strict=True):
        low, high = (-1.0, 1.0) if bounded else (layer.min(), layer.max())
        codes = np.clip(np.floor((layer - low) / (high - low) * count), 0, count - 1)
        share = np.unique(codes, axis=0, return_counts=True)[1] / 512
        assert bits == pytest.approx(-(share * np.log2(share)).sum(), abs=1e-10)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the toy runs of all tests below are, so that each is trained once."""
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def toy(results: Path) -> ibjax.Trajectory:
    run: ibjax.Trajectory = common.train(bound.configs(True), results)["paper"]
    return run


def test_recomputed_activations_are_those_of_the_run(toy: ibjax.Trajectory) -> None:
    """At the run's 30 bins; a rounding of the last digit may move a few patterns over an edge."""
    data = ibjax.spherical_dataset()
    entries = np.array([0, toy.epochs.size - 1])
    for layer, activations in enumerate(common.stored_activations(toy, data.inputs, 1, entries)):
        i_xt = bins.information(activations, data.p_y_given_x, 30)
        np.testing.assert_allclose(i_xt, toy.i_xt[1, entries, layer], atol=0.01)


def test_a_run_without_weights_is_refused(trajectory: ibjax.Trajectory) -> None:
    with pytest.raises(ValueError, match="holds no weights_h1; it must come from a run with store_weights=True"):
        common.stored_array(trajectory, "weights_h1")


QUICK = [name for name in claims.EXPERIMENTS if name != "movie"]
LONG = ("bins", "estimators", "noise", "width")  # compute longer than they compile


@pytest.mark.parametrize("name", QUICK)
def test_quick_experiment(name: str, toy: ibjax.Trajectory, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert toy.extras
    jax.config.update("jax_disable_most_optimizations", name not in LONG)
    monkeypatch.setattr(bins, "BINS", (8, 30, 65_536))
    monkeypatch.setattr(estimators, "MOST_EPOCHS", 3)
    assert importlib.import_module(name).main(["--quick", "--out", str(results)]) == 0
    record = claims.read_record(name, results, True)
    assert record is not None
    assert record["findings"]
    assert claims.read_record(name, results, False) is None
    assert (results / f"{name}.png").stat().st_size > 10_000
    for finding in record["findings"]:
        assert finding["n_seeds"] == 4 or finding["low"] is None or name == "compression_time"
        if finding["low"] is not None:
            assert finding["low"] <= finding["estimate"] <= finding["high"]


def test_quick_movie(toy: ibjax.Trajectory, results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert toy.extras
    assert importlib.import_module("movie").main(["--quick", "--out", str(results)]) == 0
    film = Path(capsys.readouterr().out.strip())
    assert film.parent == results
    assert film.stat().st_size > 10_000
    assert (results / "movie.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "runs"), [("custom_network", 2), ("wide", 2)])
def test_examples(name: str, runs: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert importlib.import_module(name).main(["--quick", "--seeds", "1", "--out", str(tmp_path)]) == 0
    assert "accuracy" in capsys.readouterr().out
    assert (tmp_path / f"{name}.png").stat().st_size > 10_000
    for path in (found := sorted(tmp_path.glob("*.npz"))):
        assert np.isfinite(ibjax.load(path).i_xt).all()
    assert len(found) == runs


def test_no_run_no_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compression_time.main(["--quick", "--out", str(tmp_path)]) == 1
    assert "no run to read" in capsys.readouterr().out


class Made:
    """A stand-in for an experiment: how often it ran, and whether it fails."""

    def __init__(self, name: str, fails: bool = False) -> None:
        self.name, self.fails, self.calls = name, fails, 0

    def main(self, argv: list[str]) -> int:
        self.calls += 1
        if self.fails:
            raise ValueError("no such thing")
        finding: dict[str, Any] = dict(zip(("claim", "source", "measured"), ("it | is", "here", "bits"), strict=True))
        finding |= {"estimate": 0.5, "low": 0.25, "high": None, "n_seeds": 3, "verdict": "reproduced", "note": "who"}
        record = {"name": self.name, "quick": "--quick" in argv, "findings": [finding]}
        Path(argv[1], f"{self.name}.json").write_text(json.dumps(record))
        return 0


def test_the_table_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = {"first": Made("first"), "second": Made("second", fails=True), "third": Made("third")}
    monkeypatch.setattr(claims, "EXPERIMENTS", tuple(made))
    for name, experiment in made.items():
        monkeypatch.setitem(sys.modules, name, experiment)
    options = ["--quick", "--out", str(tmp_path)]
    assert claims.main(options) == 1
    assert "failed: second" in capsys.readouterr().err
    text = (tmp_path / "claims.md").read_text()
    assert "it \\| is" in text
    assert "`second`: ValueError: no such thing" in text
    assert "1. `first`: bits. *who*" in text
    assert "proves" in text
    made["second"].fails = False
    assert claims.main(options) == 0
    assert [experiment.calls for experiment in made.values()] == [1, 2, 1]
    content = json.loads((tmp_path / "claims.json").read_text())
    assert [finding["experiment"] for finding in content["findings"]] == ["first", "second", "third"]
    assert content["errors"] == {}
    Image.new("RGB", (3000, 2000), "red").save(tmp_path / "third.png")
    assert claims.main([*options, "--redo", "third", "--page", str(tmp_path / "page")]) == 0
    with Image.open(tmp_path / "page" / "third.png") as picture:
        assert picture.size == (1300, 867)
    assert (tmp_path / "page" / "claims.md").read_text() == (tmp_path / "claims.md").read_text()
    assert [experiment.calls for experiment in made.values()] == [1, 2, 2]
    (tmp_path / "first.json").write_text("{ half")
    assert claims.main(options) == 0
    assert made["first"].calls == 2
    assert claims.main(options[1:]) == 0  # the full size does not take the toy's findings
    assert [experiment.calls for experiment in made.values()] == [3, 3, 3]
    assert "proves" not in (tmp_path / "claims.md").read_text()


def alike(run: ibjax.Trajectory, labels: list[str]) -> dict[str, ibjax.Trajectory]:
    return dict.fromkeys(labels, run)


EXPERIMENTS_ON_ARRAYS = [
    (snapshots, ["paper"]),
    (trajectories, ["5%", "45%", "85%"]),
    (gradients, ["paper"]),
    (depth, ["1", "2", "3"]),
    (width, ["paper", "256 first"]),
    (noise, ["minibatches", "full batch"]),
    (compression_time, ["paper"]),
]


@pytest.mark.parametrize(("module", "labels"), EXPERIMENTS_ON_ARRAYS, ids=lambda value: getattr(value, "NAME", ""))
def test_diverged_networks_do_not_count(module: Any, labels: list[str], damaged: ibjax.Trajectory) -> None:
    for finding in module.measure(alike(damaged, labels)):
        assert finding.n_seeds <= 4
    texts = [text.get_text() for text in module.figure(alike(damaged, labels)).findobj(Text)]
    assert any("2 diverged" in text for text in texts), texts


@pytest.mark.parametrize(("module", "labels"), EXPERIMENTS_ON_ARRAYS, ids=lambda value: getattr(value, "NAME", ""))
def test_one_network_gives_no_interval_and_no_verdict(
    module: Any, labels: list[str], trajectory: ibjax.Trajectory
) -> None:
    for finding in module.measure(alike(trajectory.of_seeds([3]), labels)):
        assert math.isnan(finding.low)
        assert math.isnan(finding.high)
        assert finding.verdict.startswith("depends on")
    assert module.figure(alike(trajectory.of_seeds([3]), labels)).get_axes()


def test_a_network_that_never_learns_counts_with_the_last_epoch(trajectory: ibjax.Trajectory) -> None:
    ignorant = dataclasses.replace(trajectory, i_ty=np.zeros_like(trajectory.i_ty))
    np.testing.assert_array_equal(depth.times(ignorant), np.log10(trajectory.epochs[-1]))
    np.testing.assert_array_equal(depth.success(ignorant), 0)


def test_the_slope_is_that_of_the_means() -> None:
    rng = np.random.default_rng(0)
    found = common.slope([0.0, 1.0, 3.0], [3 * x + rng.normal(0, 0.01, 40) for x in (0.0, 1.0, 3.0)])
    assert found.low < 3 < found.high
    assert found.high - found.low < 0.02
    assert math.isnan(common.slope([0.0, 1.0], [[1.0, 2.0], [math.nan]]).estimate)


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        ((2.0, 1.0, 3.0), "reproduced"),
        ((2.0, 0.0, 3.0), "depends on the seeds: the interval holds both answers"),
        ((-1.0, -2.0, 0.0), "not reproduced"),
        ((2.0, math.nan, math.nan), "depends on the seeds: too few for an interval"),
    ],
)
def test_verdict_of_a_threshold(interval: tuple[float, float, float], verdict: str) -> None:
    assert common.verdict_above(common.Interval(*interval, 5)) == verdict
    estimate, low, high = interval
    assert common.verdict_below(common.Interval(-estimate, -high, -low, 5)) == verdict


def test_a_file_of_another_run_is_refused(toy: ibjax.Trajectory, tmp_path: Path) -> None:
    path = toy.save(tmp_path / "run.npz")
    asked = dataclasses.replace(common.paper(True), learning_rate=0.2, bins=20)
    with pytest.raises(ValueError, match=r"it differs in bins \(stored 30, asked 20\), learning_rate \(stored 0.1"):
        common.run_or_load(asked, path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ibjax.TrajectoryError, match="cannot read"):
        common.run_or_load(common.paper(True), path)


def test_no_test_patterns_leave_the_accuracy_untold(results: Path) -> None:
    config = common.paper(True, train_fraction=1.0, epochs=2, logged_epochs=2)
    run = common.train({"all": config}, results)["all"]
    assert np.isnan(run.test_accuracy).all()
    assert math.isnan(width.measure({"paper": run, "256 first": run})[-1].estimate)
