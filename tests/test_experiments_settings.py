"""Experiments on gradients, noise, settings and generalisation: planted truths are found, in both directions.

Shapes: S networks, E logged epochs, L layers (two hidden ones and the output).
"""

from __future__ import annotations

import dataclasses
import importlib
import math
import sys
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import ibjax

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))
common: Any = importlib.import_module("common")
generalization: Any = importlib.import_module("generalization")
gradients: Any = importlib.import_module("gradients")
noise: Any = importlib.import_module("noise")
settings: Any = importlib.import_module("settings")

EPOCHS = np.array(ibjax.Config(logged_epochs=200).logged)


def planted(peak: Any, crossing: Any, fall: float = 3.0, accuracy: Any = 0.99, **config: Any) -> ibjax.Trajectory:
    """Networks whose I(X;T) peaks, and whose gradients cross, at given epochs in every layer, (S,) each; NaN: never."""
    peak, crossing = (np.asarray(values, np.float64)[:, None, None] for values in (peak, crossing))
    S, E, L = len(peak), EPOCHS.size, 3
    after = np.log(np.maximum(EPOCHS, 1))[None, :, None] - np.log(peak)
    i_xt = np.where(after <= 0, 6.0 + after, 6.0 - fall * after / after[:, -1:])
    ratio = np.where(EPOCHS[None, :, None] < np.nan_to_num(crossing, nan=np.inf), 2.0, 0.5)
    return ibjax.Trajectory(
        config={
            "config": {"seeds": list(range(S)), "batch_size": 256, "optimizer": "sgd", "learning_rate": 0.1} | config
        },
        seeds=np.arange(S),
        epochs=EPOCHS,
        layer_names=("hidden_1", "hidden_2", "output"),
        layer_widths=(3, 2, 1),
        i_xt=np.broadcast_to(i_xt, (S, E, L)),
        i_ty=np.full((S, E, L), 0.9),
        gradient_mean=np.broadcast_to(ratio, (S, E, L)),
        gradient_std=np.ones((S, E, L)),
        weight_norm=np.ones((S, E, L)),
        train_loss=np.full((S, E), 0.1),
        test_loss=np.full((S, E), 0.1),
        train_accuracy=np.broadcast_to(np.reshape(accuracy, (-1, 1)), (S, E)),
        test_accuracy=np.full((S, E), 0.96),
        train_mask=np.arange(4096)[None, :] < np.full((S, 1), 3481),
        diverged=np.zeros(S, bool),
        i_xy=0.99,
        h_x=12.0,
        h_y=1.0,
    )


class TestGradients:
    BATCHES = (64, 256, 1024)

    def runs(self, power: float) -> dict[int, ibjax.Trajectory]:
        """Crossings move tenfold with the batch size, peaks by that to the power; each network has its pace."""
        pace = np.exp(np.random.default_rng(1).normal(0, 0.3, 12))
        move = dict(zip(self.BATCHES, (1.0, 10**0.5, 10.0), strict=True))
        runs = {size: planted(60 * pace * m**power, 30 * pace * m) for size, m in move.items()}
        never = runs[64]
        runs[64] = dataclasses.replace(
            never, gradient_mean=np.where(np.arange(12)[:, None, None] < 3, 0.5, never.gradient_mean)
        )
        return runs

    @pytest.mark.parametrize("power", [0.0, 1.0])
    def test_a_peak_that_follows_is_told_from_one_that_stays(self, power: float) -> None:
        """The grid of epochs is fine to 5%; that is 0.02 of the log10 of each number, over one decade."""
        (entry,) = gradients.follows(self.runs(power)).entries
        assert entry.n == 12
        assert entry.estimate == pytest.approx(power, abs=0.05)
        assert entry.low - 0.05 <= power <= entry.high + 0.05
        assert "never cross" in gradients.follows(self.runs(power)).detail

    def test_networks_differ_and_the_slope_is_within_them(self) -> None:
        """Between networks peak and crossing go together; within them nothing does."""
        pace = np.linspace(0, 2, 30)[:, None]
        x = pace + np.array([0.0, 0.5, 1.0])
        y = pace + 0.01 * np.random.default_rng(2).normal(size=x.shape)
        assert gradients.slope_within(x, y)[0] == pytest.approx(0, abs=0.02)
        assert gradients.slope_within(x, 0.7 * x + 5)[0] == pytest.approx(0.7)
        x[:, 1:] = np.nan
        assert gradients.slope_within(x, y)[4] == 0

    @pytest.mark.parametrize(
        ("times", "verdict"), [(1.0, "reproduced"), (5.0, "not reproduced"), (0.2, "not reproduced")]
    )
    def test_peak_at_the_crossing(self, times: float, verdict: str) -> None:
        crossing = np.geomspace(20, 60, 10)
        found = gradients.peak_at_crossing(planted(times * crossing, crossing))
        assert importlib.import_module("common.evidence").verdict(found) == verdict
        assert found.entries[0].estimate == pytest.approx(abs(np.log10(times)), abs=0.03)

    def test_a_share_of_the_networks_crosses(self) -> None:
        run = planted(np.full(8, 100.0), [30.0, np.nan] * 4)
        crosses, epoch, _ = gradients.of_run(run)
        assert [entry.estimate for entry in crosses.entries] == [0.5] * 3
        assert (epoch.entries[0].n, 10 ** epoch.entries[0].estimate) == (4, pytest.approx(30, abs=1.5))
        means = gradients.snr_falls(run)[0].mean(axis=0)  # half of them go from 2 to 1/2, half stay
        assert means == pytest.approx([np.log10(4) / 2] * 3)

    def test_layers_that_do_not_compress_are_not_asked(self) -> None:
        assert not gradients.peak_at_crossing(planted([50.0] * 3, [50.0] * 3, fall=0.1)).entries


class TestNoise:
    @pytest.mark.parametrize("share", [1.0, 0.25])
    def test_the_share_of_the_fall_that_is_left(self, share: float) -> None:
        """Seeds 0 to 5 of ten; the first of them does not learn without noise."""
        accuracy = [0.6, *[0.99] * 5]
        runs = {
            noise.MINIBATCH: planted([40.0] * 10, [20.0] * 10, fall=4.0),
            noise.SAME_STEP: planted([400.0] * 6, [np.nan] * 6, fall=4 * share, accuracy=accuracy, batch_size=None),
            noise.LONG_STEP: planted([40.0] * 6, [np.nan] * 6, fall=2.0, batch_size=None, learning_rate=1.4),
        }
        (found,) = noise.measure(runs)
        assert (found.entries[0].n, found.entries[0].estimate) == (5, pytest.approx(share, abs=0.02))

    def test_equal_flow(self) -> None:
        mini, full = (planted([40.0], [20.0], batch_size=size) for size in (256, None))
        assert noise.flows(mini)[-1] == pytest.approx(10_000 * 14 * 0.1)
        assert noise.flows(full)[-1] == pytest.approx(10_000 * 0.1)
        configs = noise.configs(common.Plan())
        flow = {
            name: config.epochs * config.learning_rate * (14 if config.batch_size else 1)
            for name, config in configs.items()
        }
        np.testing.assert_allclose(list(flow.values()), 14_000)


def setting(rate: float, run: ibjax.Trajectory, **choices: Any) -> Any:
    chosen = {"optimizer": "sgd", "batch": 256, "scale": 1.0, "learned": True} | choices
    return settings.Setting(rate=rate, run=run, **chosen)


class TestSettings:
    def test_every_setting_has_its_networks(self) -> None:
        configs = settings.configs(common.Plan(first_seed=0))
        assert len(configs) == 8
        pairs: dict[Any, int] = {}
        for config in configs.values():
            for rate, scale in zip(config.learning_rate, config.initial_scale, strict=True):
                key = (config.optimizer, config.batch_size, rate, scale)
                pairs[key] = pairs.get(key, 0) + 1
        assert len(pairs) >= 60
        assert set(pairs.values()) == {10}

    def test_networks_that_do_not_learn_are_left_out(self) -> None:
        """Rate 0.1: three of four learn; rate 0.3: one of four."""
        accuracy = [0.99, 0.99, 0.99, 0.6, 0.99, 0.6, 0.6, 0.6]
        run = planted([50.0] * 8, [50.0] * 8, accuracy=accuracy, learning_rate=[0.1] * 4 + [0.3] * 4, initial_scale=1.0)
        one, two = settings.settings_of({"sgd, batch 256": run})
        assert (one.rate, one.run.seeds.tolist(), one.learned) == (0.1, [0, 1, 2], True)
        assert (two.rate, two.run.seeds.tolist(), two.learned) == (0.3, [4], False)

    def test_where_a_claim_turns(self) -> None:
        """It holds below rate 0.3 whatever the batch size."""
        run = planted([50.0], [50.0])
        answers = [(setting(rate, run, batch=size), rate < 0.3) for rate in (0.1, 0.3) for size in (64, None)]
        assert settings.turns(answers) == "by sgd rate 0.1: 2/2, 0.3: 0/2"
        assert settings.turns(answers[:2]) == ""

    def test_an_estimate_meets_a_criterion(self) -> None:
        """crossing_350 is told in log10 and judged in epochs, 175 to 700; every layer must meet its own."""
        for epoch, answer in ((350, True), (100, False), (1000, False)):
            assert settings.meets(common.Evidence("crossing_350", np.log10([epoch] * 3))) is answer
        layers = np.array([[0.5, 0.05], [0.7, 0.05]])
        assert settings.meets(common.Evidence("compress_sooner", -layers, ["a", "b"])) is True
        assert settings.meets(common.Evidence("compress_sooner", layers, ["a", "b"])) is False
        assert settings.meets(common.Evidence("compress_sooner", layers * [1, -1], ["a", "b"])) is False
        assert settings.meets(common.Evidence.unmeasurable("crossing_350", "none")) is None

    def test_marks_that_conflict_are_named(self) -> None:
        """Late crossing at rate 0.01, peak far from it at 0.1; the output has 90% of I(X;Y) from the start."""
        late = setting(0.01, planted([350.0] * 4, [350.0] * 4))
        early = setting(0.1, planted([200.0] * 4, [20.0] * 4))
        found = settings.marks(late.run)
        assert [found[mark] for mark in settings.MARKS] == [True, False, True, True, True]
        assert [settings.marks(early.run)[mark] for mark in settings.MARKS] == [False, False, False, True, True]
        told = settings.marks_in_words([late, early])
        assert "at most 4 of 5 together, at sgd rate 0.01, batch 256, initial scale 1" in told
        assert "crossing at 175 to 700 with relevance at 200 to 800" in told.split("Never together: ")[1]


class TestGeneralization:
    def columns(self, direct: float, n: int = 4000) -> Any:
        """x and y both follow z; y also follows x by `direct`. Gaussian, then through a monotone function."""
        z, e, f = np.random.default_rng(5).normal(size=(3, n))
        x = z + e
        return {"x": np.exp(x), "y": (z + direct * e + f) ** 3, "z": z}

    @pytest.mark.parametrize("direct", [0.0, 1.0, -0.5])
    def test_partial_correlation_of_ranks(self, direct: float) -> None:
        """Given z, x is e and y is direct e + f: correlation direct/sqrt(1 + direct^2).

        Ranks of Gaussians are linear in them to a few hundredths; the sampling error is 1/sqrt(4000) = 0.016.
        """
        columns = self.columns(direct)
        everyone = np.ones(4000, bool)
        r, low, high, error, n = generalization.partial(columns, "x", "y", ("z",), everyone)
        assert r == pytest.approx(direct / math.sqrt(1 + direct**2), abs=0.07)
        assert low < r < high
        assert (n, error) == (4000, pytest.approx((high - low) / 3.92, rel=0.15))
        alone = generalization.partial(columns, "x", "y", (), everyone)
        assert alone[0] == pytest.approx(stats.spearmanr(columns["x"], columns["y"]).statistic)

    def test_partial_correlation_by_regressions(self) -> None:
        rng = np.random.default_rng(6)
        columns = dict(zip("xyuv", rng.normal(size=(4, 60)) + rng.normal(size=60), strict=True))
        rows = np.arange(60) < 50
        ranks = {name: stats.rankdata(column[rows]) for name, column in columns.items()}
        design = np.column_stack([np.ones(50), ranks["u"], ranks["v"]])
        left = [ranks[name] - design @ np.linalg.lstsq(design, ranks[name], rcond=None)[0] for name in "xy"]
        found = generalization.partial(columns, "x", "y", ("u", "v"), rows, resamples=50)
        assert found[0] == pytest.approx(np.corrcoef(*left)[0, 1], abs=1e-10)
        columns["x"][:47] = np.nan
        assert math.isnan(generalization.partial(columns, "x", "y", ("u", "v"), rows)[0])

    def test_capped_steps(self) -> None:
        """A step of descent, then hidden units whose in-weights are too long are shortened, and nothing else."""
        rng = np.random.default_rng(7)
        shapes = [(4, 3), (3, 2), (2, 1)]
        params, gradient = (
            [
                {"kernel": jnp.asarray(rng.normal(size=shape)), "bias": jnp.asarray(rng.normal(size=shape[1]))}
                for shape in shapes
            ]
            for _ in range(2)
        )
        rule = generalization.capped(0.1, 1.2)
        updates, _ = rule.update(gradient, rule.init(params), params)
        for layer, (p, g, u) in enumerate(zip(params, gradient, updates, strict=True)):
            free = np.asarray(p["kernel"] - 0.1 * g["kernel"], np.float64)
            norms = np.linalg.norm(free, axis=0)
            expected = free * np.minimum(1, 1.2 / norms) if layer < 2 else free
            np.testing.assert_allclose(p["kernel"] + u["kernel"], expected, rtol=0, atol=1e-6)
            np.testing.assert_allclose(u["bias"], -0.1 * g["bias"], rtol=0, atol=1e-6)
            assert layer == 2 or (norms > 1.2).any()

    def test_the_sample_is_the_same_every_time(self) -> None:
        one, two = (generalization.configs(common.Plan(first_seed=0))["sample"] for _ in range(2))
        assert one == two
        for field, (low, high) in generalization.RANGES.items():
            values = np.log(getattr(one, field))
            assert values.min() >= np.log(low)
            assert values.max() <= np.log(high)
            uniform = stats.uniform(np.log(low), np.log(high) - np.log(low))
            assert stats.kstest(values, uniform.cdf).pvalue > 0.001

    def test_seeds_are_paired(self) -> None:
        plain = planted([50.0] * 5, [20.0] * 5, fall=4.0)
        changed = dataclasses.replace(
            planted([50.0] * 3, [20.0] * 3, fall=1.0), test_loss=np.full((3, EPOCHS.size), 0.4)
        )
        found = generalization.against_paper({"paper": plain, "cap": changed}, "cap")
        np.testing.assert_allclose(found["fall"], -3.0, atol=0.02)
        np.testing.assert_allclose(found["loss"], 0.3)
