"""The measures of `snapshots`, `samples`, `depth` and `width` find what was planted, in both directions.

Shapes: S networks, E logged epochs, L layers.
"""

from __future__ import annotations

import dataclasses
import importlib
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import synthetic_trajectory

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))
layers: Any = importlib.import_module("common.layers")
evidence: Any = importlib.import_module("common.evidence")
snapshots: Any = importlib.import_module("snapshots")
samples: Any = importlib.import_module("samples")
depth: Any = importlib.import_module("depth")
width: Any = importlib.import_module("width")

NAMES = ("hidden_1", "hidden_2", "hidden_3", "output")
S = 5
EPOCHS = synthetic_trajectory(1).epochs.astype(float)


def made(names: tuple[str, ...] = NAMES, **fields: Any) -> Any:
    """Networks of these curves; (E,), (E, L) and (S, E) arrays hold for the axes they lack."""
    run = synthetic_trajectory(S, names=names)
    whole: dict[str, Any] = {}
    for key, values in fields.items():
        old, new = getattr(run, key), np.asarray(values, np.float32)
        if old.ndim == 3 and new.ndim == 1:
            new = new[:, None]
        whole[key] = np.array(np.broadcast_to(new, old.shape))
    return dataclasses.replace(run, **whole)


def tent(peak: float, end: float, *, low: float = 3.0, top: float = 9.0) -> Any:
    """(E,) I(X;T), bits, that rises to the logged epoch near `peak`, then falls in equal steps of log to `end`."""
    peak = EPOCHS[np.abs(EPOCHS - peak).argmin()]
    fall = np.clip(np.log(np.maximum(EPOCHS, 1) / peak) / np.log(end / peak), 0, 1)
    return np.where(peak >= EPOCHS, low + (top - low) * EPOCHS / peak, top - (top - low) * fall)


def by_claim(found: list[Any]) -> dict[str, Any]:
    return {each.claim: each for each in found}


def estimate(found: Any) -> float:
    (entry,) = found.entries
    return float(entry.estimate)


class TestRows:
    def test_slopes_by_hand(self) -> None:
        rows = [[1.0, 3.0, 5.0], [5.0, math.nan, 1.0], [math.nan, 2.0, math.nan], [0.0, 3.0, 0.0]]
        np.testing.assert_allclose(layers.row_slopes([0, 1, 2], np.array(rows)), [2.0, -2.0, math.nan, 0.0])

    def test_taus_by_hand(self) -> None:
        rows = [[1.0, 2.0, 3.0], [3.0, math.nan, 1.0], [1.0, 1.0, 1.0], [math.nan, 2.0, math.nan], [1.0, 3.0, 2.0]]
        np.testing.assert_allclose(layers.row_taus(np.array(rows)), [1.0, -1.0, 0.0, math.nan, 1 / 3])

    def test_which_layers_compress_and_which_can_be_judged(self) -> None:
        curves = np.stack([np.full_like(EPOCHS, 12.0), tent(50, 900, top=11.95), tent(50, 900), tent(50, 9e3)], axis=1)
        curves[:, 3] = 3.0 + (curves[:, 3] - 3.0) / 20  # a fall of 0.3 bits
        run = made(i_xt=curves)
        assert layers.compressing(run).tolist() == [False, True, True, False]
        assert layers.measurable(run).tolist() == [False, False, True, True]


class TestSnapshots:
    @pytest.mark.parametrize(("at", "expected"), [(10.0, 1.0), (3000.0, 0.0)])
    def test_compression_after_or_before_the_loss_has_fallen(self, at: float, expected: float) -> None:
        run = made(i_xt=tent(100, 5000), train_loss=np.where(at < EPOCHS, 0.1, 0.7))
        assert estimate(by_claim(snapshots.when(run))["small_training_loss"]) == pytest.approx(expected)

    @pytest.mark.parametrize(("peak", "end", "low", "high"), [(10, 9000, 0.95, 1.0), (5000, 5600, 0.0, 0.3)])
    def test_most_epochs_compress_or_fit(self, peak: float, end: float, low: float, high: float) -> None:
        found = estimate(by_claim(snapshots.when(made(i_xt=tent(peak, end))))["mostly_compression"])
        assert low < found < high

    @pytest.mark.parametrize(("ends", "tau"), [((9000, 3000, 1000, 300), -1.0), ((300, 1000, 3000, 9000), 1.0)])
    def test_which_layers_are_first(self, ends: tuple[float, ...], tau: float) -> None:
        run = made(i_xt=np.stack([tent(30, end) for end in ends], axis=1))
        assert estimate(by_claim(snapshots.when(run))["top_first"]) == tau

    def test_without_compression_nothing_begins(self) -> None:
        assert all(not found.entries for found in snapshots.when(made(i_xt=np.full_like(EPOCHS, 5.0))))

    @pytest.mark.parametrize("factor", [0.25, 4.0])
    def test_networks_that_come_together_or_part(self, factor: float) -> None:
        spread = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])[:, None, None] * 0.05
        run = synthetic_trajectory(S, names=NAMES)
        scale = np.linspace(1.0, factor, len(EPOCHS))[:, None] * np.array([1.0, 1.0, 0.01, 1.0])
        run = dataclasses.replace(run, i_ty=(0.5 + spread * scale).astype(np.float32))
        entry = snapshots.narrowing(run, "i_ty", 0, -1, 0)
        assert entry.estimate == pytest.approx(-math.log2(factor), abs=1e-4)
        assert (entry.low > 0) == (factor < 1)
        assert (entry.high < 0) == (factor > 1)
        assert snapshots.narrowing(run, "i_ty", 0, -1, 2) is None  # hardly varies


class TestSamples:
    def runs(self, few: float, many: float) -> Any:
        """I(T;Y) of the last hidden layer ends that much below its largest value."""
        falls = {"5%": (0.05, few), "45%": (0.45, 0.0), "85%": (0.85, many)}
        made_runs = {}
        for label, (share, fall) in falls.items():
            curve = np.where(EPOCHS < 300, 0.8, 0.8 - fall)
            run = made(i_ty=curve)
            mask = np.zeros_like(run.train_mask)
            mask[:, : round(share * mask.shape[1])] = True
            made_runs[label] = dataclasses.replace(run, train_mask=mask)
        return made_runs

    @pytest.mark.parametrize(("few", "many"), [(0.1, 0.0), (0.0, 0.1)])
    def test_what_is_lost_again(self, few: float, many: float) -> None:
        found = by_claim(samples.measure(self.runs(few, many)))
        assert estimate(found["few_lose"]) == pytest.approx(few - many, abs=1e-6)
        assert np.sign(estimate(found["more_patterns"])) == np.sign(few - many)

    def test_the_slope_is_that_of_each_seed(self) -> None:
        """A fall of a tenth of a bit for each ten times the patterns, whatever the seed's level."""
        runs = self.runs(0.0, 0.0)
        for label, run in list(runs.items()):
            level = 0.5 - 0.1 * np.log10(run.train_mask.mean()) + np.linspace(0.0, 0.1, S)
            runs[label] = dataclasses.replace(run, i_ty=np.full_like(run.i_ty, 1.0) * level[:, None, None])
        (entry,) = by_claim(samples.measure(runs))["more_patterns"].entries
        assert entry.estimate == pytest.approx(-0.1, abs=1e-6)
        assert entry.error < 1e-6


def reaching(*epochs: float) -> Any:
    """(E, L) I(T;Y)/I(X;Y) of a step in each layer at its epoch; infinite: none."""
    return np.stack([np.where(epoch <= EPOCHS, 0.98, 0.5) * 0.99 for epoch in epochs], axis=1)


class TestDepth:
    def runs(self, arrive: list[float], spend: list[float]) -> Any:
        """One run per depth whose output arrives at such an epoch and whose layers compress until such an epoch."""
        runs = {}
        for number, (epoch, end) in enumerate(zip(arrive, spend, strict=True), start=1):
            names = (*(f"hidden_{k}" for k in range(1, number + 1)), "output")
            run = made(names, i_xt=tent(20, end), i_ty=reaching(*[1.0] * number, epoch))
            runs[str(number)] = run
        return {**runs, "caption": runs[str(len(arrive))], "paper": runs[str(len(arrive))], "3 units": runs["1"]}

    @pytest.mark.parametrize(
        ("arrive", "sign"), [((9000, 5000, 1000, 200), -1), ((9000, 200, 1000, 5000), 1), ((9000, 300, 300, 300), 0)]
    )
    def test_from_two_layers_on(self, arrive: list[float], sign: int) -> None:
        """The first step, from one layer to two, does not count."""
        found = by_claim(depth.measure(self.runs(arrive, [2000] * 4)))
        assert np.sign(round(estimate(found["deeper_sooner"]), 9)) == sign

    def test_networks_that_never_arrive_count_with_the_last_epoch(self) -> None:
        run = self.runs([math.inf, 100], [2000, 2000])["1"]
        assert depth.times(run, 0.9) == pytest.approx(4.0)
        assert depth.mark(run, 0.9) == "10000 (5 of 5 never)"
        found = by_claim(depth.measure(self.runs([math.inf, 100], [2000, 2000])))
        assert estimate(found["one_layer_never"]) == 0.0
        assert estimate(by_claim(depth.measure(self.runs([100, 100], [2000, 2000])))["one_layer_never"]) == 1.0

    @pytest.mark.parametrize(("spend", "sign"), [((9000, 4000, 1000), -1), ((1000, 4000, 9000), 1)])
    def test_the_same_layer_with_more_layers(self, spend: list[float], sign: int) -> None:
        found = by_claim(depth.measure(self.runs([500] * 3, spend)))
        assert {np.sign(entry.estimate) for entry in found["compress_sooner"].entries} == {sign}
        assert [entry.name for entry in found["compress_sooner"].entries] == ["hidden_1", "hidden_2"]

    @pytest.mark.parametrize(("ends", "tau"), [((9000, 2000, 500), -1.0), ((500, 2000, 9000), 1.0)])
    def test_which_layers_are_faster(self, ends: tuple[float, ...], tau: float) -> None:
        curves = np.stack([tent(20, end) for end in ends], axis=1)
        runs = {str(k): made(NAMES[:k] + NAMES[-1:], i_xt=curves[:, [*range(k), 2]]) for k in (1, 2)}
        assert estimate(depth.within(runs["2"], runs["1"])) == tau

    def test_how_far_the_layer_below_is(self) -> None:
        """One that fell long before, one that falls at the same time, and one that falls later."""
        curves = np.stack([tent(3, 10), tent(300, 9000), tent(300, 9000), tent(20, 250)], axis=1)
        done = depth.done_below(made(i_xt=curves))
        np.testing.assert_allclose(done, np.tile([math.nan, 1.0, 0.0, 0.0], (S, 1)), atol=1e-5)

    @pytest.mark.parametrize(("low", "fall"), [(3.0, 6.0), (9.0, 0.0)])
    def test_one_layer(self, low: float, fall: float) -> None:
        """Of the layers that can be judged the widest counts."""
        full, narrow, narrowest = (
            dataclasses.replace(made(("h", "o"), i_xt=curve), layer_widths=(units, 1))
            for units, curve in ((12, np.full_like(EPOCHS, 12.0)), (5, tent(20, 2000, low=low)), (3, tent(20, 2000)))
        )
        found = depth.one_layer({"12 units": full, "5 units": narrow, "3 units": narrowest})
        assert estimate(found) == pytest.approx(fall)
        assert "This is 5 units. " in found.detail
        assert not depth.one_layer({"12 units": full}).entries


class TestWidth:
    def run(self, widths: tuple[int, ...], curves: list[Any], accuracy: Any, seeds: Any = range(S)) -> Any:
        run = made(i_xt=np.stack(curves, axis=1), test_accuracy=np.asarray(accuracy)[:, None])
        return dataclasses.replace(run, layer_widths=(*widths, 1), seeds=np.array(seeds))

    def test_saturated_layers_are_not_judged(self) -> None:
        flat, falls, full = np.full_like(EPOCHS, 8.0), tent(50, 900), np.full_like(EPOCHS, 12.0)
        even = np.full(S, 0.9)
        wide = self.run((40, 20, 12), [full, falls, flat, flat], even)
        paper = self.run((12, 5, 3), [full, falls, falls, flat], even)
        found = width.falls({"paper": paper, "wide": wide})
        assert [(entry.name, entry.estimate) for entry in found.entries] == [
            ("hidden_2 of 20 units (wide)", pytest.approx(6.0)),
            ("hidden_3 of 12 units (wide)", 0.0),
        ]
        assert "hidden_1 of 12 units (paper)" in found.detail
        assert not width.falls({"paper": paper}).entries

    def test_accuracy_is_paired_by_seed(self) -> None:
        curve = [np.full_like(EPOCHS, 8.0)] * 4
        paper = self.run((12, 5, 3), curve, [0.5, 0.6, 0.7, 0.8, 0.9])
        wide = self.run((48, 20, 12), curve, [0.52, 0.62, 0.72, 0.82, 0.92])
        turned = self.run((48, 20, 12), curve, [0.86, 0.76, 0.66, 0.56, 0.46], range(S)[::-1])
        found = width.gains({"paper": paper, "wide": wide, "turned": turned})
        assert "wide 0.02 [0.02, 0.02], turned -0.04 [-0.04, -0.04]" in found
