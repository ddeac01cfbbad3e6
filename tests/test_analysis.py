"""The analysis against curves whose answer is known by hand, and against plain loops."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import synthetic_trajectory
from scipy import stats

from ibjax import Config, analysis
from ibjax.analysis.statistics import resampling_weights
from ibjax.trajectory import Trajectory, load


def made(
    *,
    epochs: list[int] | None = None,
    diverged: tuple[int, ...] = (),
    **fields: Any,
) -> Trajectory:
    """A trajectory with the shape of the given (S, E, L) fields and fillers elsewhere, in float64."""
    S, E, L = np.shape(next(iter(fields.values())))
    values: dict[str, Any] = {
        key: np.ones((S, E, L)) for key in ("i_xt", "i_ty", "gradient_mean", "gradient_std", "weight_norm")
    }
    values |= {key: np.zeros((S, E)) for key in ("train_loss", "test_loss", "train_accuracy", "test_accuracy")}
    values |= {key: np.asarray(value, np.float64) for key, value in fields.items()}
    return Trajectory(
        config={},
        seeds=np.arange(10, 10 + S),
        epochs=np.array(epochs or [0, *(2**power for power in range(E - 1))]),
        layer_names=tuple(f"layer{index}" for index in range(L)),
        layer_widths=(1,) * L,
        train_mask=np.ones((S, 4), bool),
        diverged=np.isin(np.arange(S), diverged),
        i_xy=1.0,
        h_x=12.0,
        h_y=1.0,
        **values,
    )


def single_layer(curve: list[float]) -> np.ndarray:
    """(1, E, 1)"""
    return np.array(curve, np.float64)[None, :, None]


class TestMeanOverSeeds:
    def test_mean_and_count_by_hand(self) -> None:
        run = made(i_xt=np.zeros((4, 1, 1)), diverged=(2,))
        estimate = analysis.mean_over_seeds(run, [[1.0, np.nan], [2.0, 5.0], [99.0, 99.0], [6.0, np.nan]])
        assert estimate.mean.tolist() == [3.0, 5.0]
        assert estimate.count.tolist() == [3, 1]
        assert estimate.left_out == 1
        assert np.isnan(estimate.low[1])
        assert np.isnan(estimate.high[1])
        assert 1.0 <= estimate.low[0] < 3.0 < estimate.high[0] <= 6.0

    def test_agrees_with_a_plain_bootstrap(self, damaged: Trajectory) -> None:
        """The same resamples, taken one by one with numpy.mean; sums in another order: 1e-12."""
        data = damaged.i_xt[damaged.healthy].astype(float)
        weights = resampling_weights(4, 300, seed=7).astype(int)
        means = np.array([np.mean(data[np.repeat(np.arange(4), w)], axis=0) for w in weights])
        estimate = analysis.mean_over_seeds(damaged, "i_xt", resamples=300, seed=7, level=0.9)
        np.testing.assert_allclose(estimate.mean, data.mean(axis=0), atol=1e-12)
        np.testing.assert_allclose(estimate.low, np.percentile(means, 5.0, axis=0), atol=1e-12)
        np.testing.assert_allclose(estimate.high, np.percentile(means, 95.0, axis=0), atol=1e-12)

    def test_interval_has_the_width_of_the_central_limit_theorem(self) -> None:
        """400 normal values: half width 1.96 s / sqrt(400); 5% for 4000 resamples' percentile noise."""
        values = np.random.default_rng(3).normal(size=400)
        estimate = analysis.mean_over_seeds(made(i_xt=np.zeros((400, 1, 1))), values, resamples=4000)
        expected = 2 * 1.959964 * values.std() / 20.0
        assert float(estimate.high - estimate.low) == pytest.approx(expected, rel=0.05)

    def test_same_seed_same_interval(self, trajectory: Trajectory) -> None:
        one, two, other = (analysis.mean_over_seeds(trajectory, "i_xt", resamples=50, seed=s) for s in (1, 1, 2))
        np.testing.assert_array_equal(one.low, two.low)
        assert not np.array_equal(one.low, other.low)

    def test_blocks_do_not_matter(self, trajectory: Trajectory, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = analysis.mean_over_seeds(trajectory, "i_xt", resamples=50)
        monkeypatch.setattr("ibjax.analysis.statistics._BLOCK", 350)
        pieces = analysis.mean_over_seeds(trajectory, "i_xt", resamples=50)
        np.testing.assert_allclose(pieces.low, whole.low, atol=1e-12)
        np.testing.assert_allclose(pieces.high, whole.high, atol=1e-12)

    def test_one_seed_has_no_interval_and_says_so(self) -> None:
        run = made(i_xt=np.zeros((1, 2, 1)))
        estimate = analysis.mean_over_seeds(run, "i_xt")
        assert np.isnan(estimate.low).all()
        assert np.isnan(estimate.high).all()
        assert not np.isnan(estimate.mean).any()
        assert str(analysis.mean_over_seeds(run, [2.5])) == "2.5 (1 seed, no interval)"

    def test_no_healthy_seed(self) -> None:
        estimate = analysis.mean_over_seeds(made(i_xt=np.zeros((2, 2, 1)), diverged=(0, 1)), "i_xt")
        assert np.isnan(estimate.mean).all()
        assert estimate.count.tolist() == [[0], [0]]
        assert estimate.left_out == 2

    @pytest.mark.parametrize(
        ("options", "message"),
        [({"level": 1.0}, "level"), ({"level": np.nan}, "level"), ({"resamples": 0}, "resamples")],
    )
    def test_bad_options(self, trajectory: Trajectory, options: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            analysis.mean_over_seeds(trajectory, "i_xt", **options)
        with pytest.raises(ValueError, match=message):
            analysis.phase_change(trajectory, **options)

    def test_bad_values(self, trajectory: Trajectory) -> None:
        with pytest.raises(ValueError, match=r"\(3,\).*each of 6 seeds"):
            analysis.mean_over_seeds(trajectory, [1.0, 2.0, 3.0])


class TestStreamedMean:
    """Against NumPy's mean and SciPy's t interval of all values at once."""

    @staticmethod
    def in_pieces(trajectory: Trajectory, folder: Path, *seeds: list[int]) -> Trajectory:
        for number, some in enumerate(seeds):
            trajectory.of_seeds(some).save(folder / f"{number}.npz")
        return load(folder)

    def test_mean_and_interval(self, tmp_path: Path) -> None:
        values = np.random.default_rng(7).normal(1000.0, 1.0, (9, 3, 2))
        values[2, 1] = np.nan
        values[:, 2, 1] = np.nan
        values[1:, 2, 0] = np.nan
        run = made(i_xt=values, diverged=(4,))
        pieces = self.in_pieces(run, tmp_path, [10], [11, 14], [13, 12, 18], [15, 16, 17])
        for trajectory in (run, pieces):
            found = analysis.streamed_mean(trajectory, "i_xt", level=0.9)
            assert found.left_out == 1
            assert found.level == 0.9
            assert found.count.tolist() == [[8, 8], [7, 7], [1, 0]]
            for place in ((0, 0), (0, 1), (1, 0), (1, 1)):
                known = np.delete(values[:, *place], 4)
                known = known[~np.isnan(known)]
                low, high = stats.t.interval(0.9, known.size - 1, known.mean(), stats.sem(known))
                ours = [found.mean[place], found.low[place], found.high[place]]
                np.testing.assert_allclose(ours, [known.mean(), low, high], rtol=1e-12)
            assert found.mean[2, 0] == values[0, 2, 0]
            assert np.isnan([found.low[2, 0], found.high[2, 0], found.mean[2, 1]]).all()

    def test_of_what_a_function_computes(self, tmp_path: Path) -> None:
        run = made(i_xt=np.arange(12.0).reshape(6, 2, 1))
        pieces = self.in_pieces(run, tmp_path, [10, 11, 12], [15, 14, 13])
        drop = analysis.streamed_mean(pieces, lambda piece: piece.i_xt[:, 1, 0] - 3 * piece.i_xt[:, 0, 0])
        of_all = run.i_xt[:, 1, 0] - 3 * run.i_xt[:, 0, 0]
        assert drop.mean == of_all.mean()
        assert str(drop) == f"-9 [{drop.low:.4g}, {drop.high:.4g}] (6 seeds)"

    def test_of_many_it_is_that_of_the_bootstrap(self) -> None:
        values = np.random.default_rng(3).exponential(1.0, (4000, 1, 1))
        run = made(i_xt=values)
        ours, theirs = analysis.streamed_mean(run, "i_xt"), analysis.mean_over_seeds(run, "i_xt", resamples=4000)
        # Ends of percentile intervals scatter by about 2.7 / sqrt(resamples) standard errors: 4%; skewness adds 1%.
        np.testing.assert_allclose(
            [ours.low - ours.mean, ours.high - ours.mean], [theirs.low - ours.mean, theirs.high - ours.mean], rtol=0.08
        )

    def test_refuses(self, trajectory: Trajectory) -> None:
        with pytest.raises(ValueError, match=r"values has shape \(2,\); allowed: a row for each of 6 seeds"):
            analysis.streamed_mean(trajectory, lambda _: [1.0, 2.0])
        with pytest.raises(ValueError, match="level = 2"):
            analysis.streamed_mean(trajectory, "i_xt", level=2)


class TestGradients:
    def test_snr_and_normalised(self) -> None:
        run = made(
            gradient_mean=[[[3.0, 0.0], [1.0, 0.0]]],
            gradient_std=[[[1.5, 2.0], [0.0, 0.0]]],
            weight_norm=[[[2.0, 4.0], [2.0, 4.0]]],
        )
        np.testing.assert_array_equal(analysis.snr(run), [[[2.0, 0.0], [np.inf, np.nan]]])
        normalised = analysis.normalised_gradients(run)
        np.testing.assert_array_equal(normalised.mean, [[[1.5, 0.0], [0.5, 0.0]]])
        np.testing.assert_array_equal(normalised.std, [[[0.75, 0.5], [0.0, 0.0]]])


class TestPhaseChange:
    @pytest.mark.parametrize(
        ("ratio", "window", "epoch"),
        [
            ([2, 2, 2, 0.5, 0.5, 0.5, 0.5, 0.5], 1, 4),
            ([2, 2, 2, 0.5, 0.5, 0.5, 0.5, 0.5], 3, 4),
            ([2, 2, 2, 0.5, 0.5, 0.5, 2, 2], 4, 4),  # as far as 4 * 4, that epoch among them
            ([2, 2, 2, 0.5, 0.5, 0.5, 2, 2], 8, np.nan),
            ([2, 1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5], 1, 2),
            ([2, 2, 0.5, 2, 0.5, 0.5, 0.5, 0.5], 1, 8),  # one epoch is no phase, however narrow the window
            ([2, 2, 0.5, 2, 0.5, 0.5, 0.5, 0.5], 3, 8),
            ([2, 2, 0.5, 0.5, 0.5, 2, 2, 2], 3, 2),  # the first change, whatever comes later
            ([0.5, 0.5, 2, 2, 0.5, 0.5, 0.5, 0.5], 3, 8),  # drift may begin late
            ([2, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5], 3, 1),
            ([2, 2, 2, 2, 2, 0.5, 0.5, 0.5], 4, 16),
            ([2, 2, 2, 2, 2, 0.5, 0.5, 0.5], 4.1, np.nan),  # the run ends before 4.1 * 16
            ([2, 2, 2, 2, 2, 2, 2, 0.5], 1, np.nan),
            ([0.5] * 8, 3, np.nan),
            ([2] * 8, 3, np.nan),
            ([2] * 8, 9, np.nan),
        ],
    )
    def test_epoch_by_hand(self, ratio: list[float], window: float, epoch: float) -> None:
        """Epochs 0 1 2 4 8 16 32 64; the weight norm cancels."""
        run = made(gradient_mean=3 * single_layer(ratio), gradient_std=3 * single_layer([1.0] * 8))
        change = analysis.phase_change(run, window=window)
        np.testing.assert_allclose(change.epoch, [epoch], rtol=1e-12)  # out of a logarithm
        np.testing.assert_array_equal(change.per_seed, [[epoch]])
        np.testing.assert_allclose(change.network_epoch, epoch, rtol=1e-12)
        assert np.isnan(change.low).all()
        assert change.count == 1

    def test_the_spacing_of_the_logged_epochs_does_not_matter(self) -> None:
        """400 noisy networks that cross at 10 ... 3000 epochs, logged at 100, 250 and 1000 epochs of one training.

        log(mean/std) falls by 2 per factor e, its noise is 0.02 an epoch: the crossing is sharp to 2%.
        """
        rng = np.random.default_rng(4)
        epochs = np.arange(10_001)
        crossing = np.geomspace(10, 3000, 400)
        ratio = np.exp(-2 * np.log(np.maximum(epochs, 1) / crossing[:, None]) + 0.02 * rng.normal(size=(400, 10_001)))
        found = {}
        for count in (100, 250, 1000):
            logged = list(Config(logged_epochs=count).logged)
            run = made(epochs=logged, gradient_mean=ratio[:, logged, None], gradient_std=np.ones((400, len(logged), 1)))
            found[count] = np.log(analysis.phase_change(run).network_per_seed)
            late = found[count] - np.log(crossing)
            step = max(np.log(10_000) / (count - 2), 0.02)
            assert np.all((late > -0.04) & (late < step + 0.1))  # an epoch is 0.1 at epoch 10
        assert np.all(np.abs(found[100] - found[250]) <= np.log(10_000) / 98 + 0.1)
        assert abs(np.mean(found[100] - found[250])) < np.log(10_000) / 98
        assert abs(np.mean(found[250] - found[1000])) < np.log(10_000) / 248

    def test_the_whole_network_adds_squares(self) -> None:
        """Layers (3, 4) and (4, 3) of mean, std (4, 3), (4, 3.1): norms 5 against 5, then 5 against 5.06."""
        run = made(
            gradient_mean=[[[3.0, 4.0], [4.0, 3.0], [4.0, 3.0]]],
            gradient_std=[[[4.0, 3.0], [4.0, 3.1], [4.0, 3.1]]],
        )
        assert analysis.phase_change(run, window=1).network_epoch == 1

    def test_the_ensemble_is_the_geometric_mean_of_those_that_change(self) -> None:
        """Changes at 1 and 4 and never; the first one drifts again."""
        mean = np.array([[2, 0.5, 0.5, 0.5, 2], [2, 2, 2, 0.5, 0.5], [2, 2, 2, 2, 2]])[..., None]
        change = analysis.phase_change(made(gradient_mean=mean, gradient_std=np.ones((3, 5, 1))), window=1)
        np.testing.assert_array_equal(change.per_seed, [[1], [4], [np.nan]])
        np.testing.assert_allclose(change.epoch, [2.0])
        np.testing.assert_allclose(change.found, [2 / 3])
        np.testing.assert_allclose(change.lasting, [1 / 3])
        assert change.network_lasting == pytest.approx(1 / 3)
        np.testing.assert_allclose([change.low[0], change.high[0]], [1, 4])

    def test_diverged_seeds_say_nothing(self, damaged: Trajectory) -> None:
        healthy = damaged.of_seeds([0, 2, 3, 5])
        with_them, without = (analysis.phase_change(t, resamples=200) for t in (damaged, healthy))
        np.testing.assert_array_equal(with_them.epoch, without.epoch)
        np.testing.assert_array_equal(with_them.low, without.low)
        assert with_them.network_epoch == without.network_epoch
        assert np.isnan(with_them.per_seed[[1, 4]]).all()
        assert (with_them.count, with_them.left_out) == (4, 2)
        assert (without.count, without.left_out) == (4, 0)

    def test_made_up_training(self) -> None:
        """mean/std = 2 (1 + .3 d)/(1 + .2 d) / (1 + (t/120)^1.2) is 1 at t = 120 .. 132; delays of 15%."""
        run = synthetic_trajectory(50)
        change = analysis.phase_change(run)
        assert np.all((change.epoch > 95) & (change.epoch < 180))
        assert np.all((change.low <= change.epoch) & (change.epoch <= change.high))
        assert np.isin(change.per_seed, run.epochs).all()
        assert change.lasting.min() > 0.9
        assert change.low[0] <= change.network_epoch <= change.high[-1]

    def test_full_batch_has_no_phase_change(self) -> None:
        run = made(gradient_mean=np.ones((2, 4, 1)), gradient_std=np.zeros((2, 4, 1)))
        change = analysis.phase_change(run)
        assert np.isnan(change.epoch).all()
        assert change.found.tolist() == [0.0]

    def test_all_diverged(self) -> None:
        change = analysis.phase_change(made(i_xt=np.full((2, 3, 1), np.nan), diverged=(0, 1)))
        assert np.isnan(change.epoch).all()
        assert change.count == 0

    @pytest.mark.parametrize("window", [0, 0.99, np.nan])
    def test_bad_window(self, trajectory: Trajectory, window: float) -> None:
        with pytest.raises(ValueError, match="window"):
            analysis.phase_change(trajectory, window=window)


class TestCompression:
    def test_by_hand(self) -> None:
        """Peak 8 at epoch 2, end 4: half is 6, 90% is 4.4."""
        i_xt = single_layer([5, 7, 8, 8, 6.0, 4.5, 4.4, 4])
        result = analysis.compression(made(i_xt=i_xt))
        assert result.start.tolist() == [[5.0]]
        assert (result.peak.tolist(), result.peak_epoch.tolist()) == ([[8.0]], [[2.0]])
        assert (result.end.tolist(), result.drop.tolist()) == ([[4.0]], [[4.0]])
        assert result.half_epoch.tolist() == [[8.0]]
        assert result.most_epoch.tolist() == [[32.0]]

    def test_the_way_up_does_not_count(self) -> None:
        result = analysis.compression(made(i_xt=single_layer([1, 2, 8, 7, 4, 4])))
        assert result.half_epoch.tolist() == [[8.0]]

    def test_no_compression_has_no_time(self) -> None:
        rising = analysis.compression(made(i_xt=single_layer([1, 2, 3])))
        assert rising.drop.tolist() == [[0.0]]
        assert rising.peak_epoch.tolist() == [[2.0]]
        assert np.isnan(rising.half_epoch).all()
        slight = made(i_xt=single_layer([12, 12, 11.95]))
        assert np.isnan(analysis.compression(slight).most_epoch).all()
        assert analysis.compression(slight, minimum_drop=0.0).most_epoch.tolist() == [[2.0]]
        flat = made(i_xt=single_layer([12, 12, 12]))
        assert np.isnan(analysis.compression(flat, minimum_drop=0.0).half_epoch).all()

    def test_diverged_seeds_are_nan(self, damaged: Trajectory) -> None:
        result = analysis.compression(damaged)
        assert result.left_out == 2
        for values in (result.start, result.peak, result.peak_epoch, result.drop, result.half_epoch):
            assert np.isnan(values[[1, 4]]).all()
        assert not np.isnan(result.drop[[0, 2, 3, 5]]).any()

    def test_against_a_loop(self, trajectory: Trajectory) -> None:
        result = analysis.compression(trajectory, minimum_drop=0.5)
        for s in range(6):
            for layer in range(4):
                curve = [float(value) for value in trajectory.i_xt[s, :, layer]]
                top = curve.index(max(curve))
                goal = curve[top] - 0.9 * (curve[top] - curve[-1])
                hit = next(e for e in range(top, len(curve)) if curve[e] <= goal)
                expected = trajectory.epochs[hit] if curve[top] - curve[-1] >= 0.5 else np.nan
                np.testing.assert_equal(result.most_epoch[s, layer], expected)


class TestRelevance:
    def test_by_hand(self) -> None:
        i_ty = np.array([[0.95, 0.1], [0.9, 0.94], [0.9, 0.96]])[None]
        assert analysis.epochs_to_relevance(made(i_ty=i_ty)).tolist() == [[0.0, 2.0]]
        assert analysis.epochs_to_relevance(made(i_ty=i_ty), share=0.94).tolist() == [[0.0, 1.0]]
        assert np.isnan(analysis.epochs_to_relevance(made(i_ty=i_ty), share=0.97)).all()

    def test_diverged(self, damaged: Trajectory) -> None:
        result = analysis.epochs_to_relevance(damaged)
        assert np.isnan(result[[1, 4]]).all()
        assert result[[0, 2, 3, 5], 0].tolist() == [0.0] * 4

    @pytest.mark.parametrize("share", [0.0, 1.5, -1.0, np.nan])
    def test_bad_share(self, trajectory: Trajectory, share: float) -> None:
        with pytest.raises(ValueError, match="share"):
            analysis.epochs_to_relevance(trajectory, share)


class TestBounds:
    def broken(self, key: str, where: tuple[int, int, int], value: float) -> analysis.BoundsReport:
        values: dict[str, Any] = {"i_xt": np.full((2, 3, 2), 4.0), "i_ty": np.full((2, 3, 2), 0.5)}
        values[key][where] = value
        return analysis.check_bounds(made(**values))

    @pytest.mark.parametrize(
        ("key", "value", "statement", "excess"),
        [
            ("i_xt", 12.25, "I(X;T) <= H(X)", 0.25),
            ("i_xt", 0.25, "I(T;Y) <= I(X;T)", 0.25),
            ("i_ty", 1.5, "I(T;Y) <= I(X;Y)", 0.5),
            ("i_ty", -0.125, "0 <= I(T;Y)", 0.125),
        ],
    )
    def test_each_bound(self, key: str, value: float, statement: str, excess: float) -> None:
        report = self.broken(key, (1, 2, 0), value)
        assert not report.ok
        (found,) = [entry for entry in report.bounds if entry.count]
        assert (found.statement, found.count, found.checked) == (statement, 1, 12)
        assert found.worst == excess
        assert found.where == (11, 2, "layer0")
        assert f"{statement}: 1 of 12 broken, worst by {excess:.3g} bits (seed 11, epoch 2" in str(report)

    def test_negative_rate(self) -> None:
        report = self.broken("i_xt", (0, 0, 1), -1.0)
        assert {entry.statement for entry in report.bounds if entry.count} == {
            "0 <= I(X;T)",
            "I(T;Y) <= I(X;T)",
        }

    def test_order_along_the_layers_is_no_error(self) -> None:
        report = self.broken("i_xt", (0, 1, 1), 4.5)
        assert report.ok
        assert [entry.count for entry in report.order] == [1, 0]
        assert report.order[0].where == (10, 1, "layer1")
        assert report.order[0].worst == 0.5
        assert report.order[0].checked == 6

    @pytest.mark.parametrize(("dtype", "excess", "ok"), [("f4", 5e-6, True), ("f4", 5e-5, False)])
    def test_tolerance_follows_the_precision(self, dtype: str, excess: float, ok: bool) -> None:
        i_ty = np.full((1, 1, 1), 1.0 + excess)
        run = made(i_xt=np.full((1, 1, 1), 4.0), i_ty=i_ty)
        assert not analysis.check_bounds(run).ok
        single = replace(run, i_ty=i_ty.astype(dtype))
        assert analysis.check_bounds(single).ok is ok
        assert analysis.check_bounds(single, tolerance=1e-3).ok

    def test_diverged_and_nan(self) -> None:
        i_xt = np.full((3, 2, 1), 4.0)
        i_xt[0, 1], i_xt[2, 0] = 99.0, np.nan
        report = analysis.check_bounds(made(i_xt=i_xt, diverged=(0,)))
        assert (report.not_finite, report.left_out, report.ok) == (1, 1, False)
        assert report.bounds[0].checked == 3
        assert not any(entry.count for entry in report.bounds)

    def test_estimates_err_and_are_not_clipped(self) -> None:
        """What is broken is told with what the values are, for `i_xt` and for a further estimator."""
        i_xt = np.full((2, 3, 1), 12.5)
        kind = {"i_xt": "estimate", "i_ty": "lower bound"}
        extras = {"i_xt_sliced": i_xt + 1, "i_ty_sliced": 0 * i_xt - 0.25}
        run = replace(made(i_xt=np.full((2, 3, 1), 4.0)), extras=extras, config={"estimators": {"sliced": kind}})
        assert analysis.check_bounds(run).exact
        assert analysis.check_bounds(run).ok
        report = analysis.check_bounds(run, estimator="sliced")
        assert (report.ok, report.exact, report.estimator) == (False, False, "sliced")
        assert {entry.statement: entry.worst for entry in report.bounds if entry.count} == {
            "I(X;T) <= H(X)": 1.5,
            "0 <= I(T;Y)": 0.25,
        }
        assert "I(X;T) is an estimate, I(T;Y) a lower bound: what is broken is its error" in str(report)
        measured = replace(run, i_xt=i_xt, config={"measured": {"estimator": "sliced", **kind}})
        assert not analysis.check_bounds(measured).exact
        assert analysis.check_bounds(measured).bounds[1].worst == 0.5
        with pytest.raises(ValueError, match="estimator = 'slice'; allowed: None, 'sliced'"):
            analysis.check_bounds(run, estimator="slice")

    def test_nothing_to_check(self) -> None:
        report = analysis.check_bounds(made(i_xt=np.ones((1, 2, 1)), diverged=(0,)))
        assert report.ok
        assert report.bounds[0].where is None
        assert np.isnan(report.bounds[0].worst)

    def test_made_up_training_obeys(self, damaged: Trajectory) -> None:
        assert analysis.check_bounds(damaged).ok

    @pytest.mark.parametrize("tolerance", [-1e-9, np.nan])
    def test_bad_tolerance(self, trajectory: Trajectory, tolerance: float) -> None:
        with pytest.raises(ValueError, match="tolerance"):
            analysis.check_bounds(trajectory, tolerance=tolerance)


class TestSummary:
    def test_by_hand(self) -> None:
        i_xt = np.array([[[2.0], [8.0], [3.0]], [[4.0], [5.0], [6.0]], [[0.0], [99.0], [0.0]]])
        (row,) = analysis.summary(made(i_xt=i_xt, i_ty=i_xt / 100, diverged=(2,)))
        assert row[:5] == ("layer0", 1, 3.0, 7.0, 4.5)
        assert row[5:] == pytest.approx((0.03, 0.07, 0.045))
        assert row.i_xt_peak == 7.0

    def test_one_row_per_layer(self, trajectory: Trajectory) -> None:
        rows = analysis.summary(trajectory)
        assert tuple(row.layer for row in rows) == trajectory.layer_names
        assert tuple(row.width for row in rows) == trajectory.layer_widths

    def test_all_diverged(self) -> None:
        (row,) = analysis.summary(made(i_xt=np.ones((1, 2, 1)), diverged=(0,)))
        assert np.isnan(row[2:]).all()
