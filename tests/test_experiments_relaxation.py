"""The measures of `relaxation` find what was planted, and its rules were chosen by the search that it states.

Shapes: S networks, E logged epochs.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import synthetic_trajectory

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))
common: Any = importlib.import_module("common")
relaxation: Any = importlib.import_module("relaxation")

SETTINGS = [words for settings in relaxation.GRID.values() for words in settings]
S, NAMES = 6, ("hidden_1", "hidden_2", "output")


def continued(seeds: int = S, **fields: Any) -> Any:
    """Six logged epochs, the first three of SGD, then three of 30 passes each; fields (E,) hold for all networks."""
    run = synthetic_trajectory(seeds, names=NAMES)
    run = run.of_epochs(run.epochs[:6])
    whole: dict[str, Any] = {}
    for key, values in ({"train_accuracy": [1.0] * 6} | fields).items():
        old = getattr(run, key)
        new = np.asarray(values, np.float32)
        whole[key] = np.broadcast_to(new[:, None] if old.ndim == 3 else new, old.shape).copy()
    mask = np.zeros_like(run.train_mask)
    mask[:, :40] = True
    passes = 40.0 * np.array([0, 1, 2, 12, 22, 32])
    extras: dict[str, Any] = {
        "phase": np.broadcast_to(np.array([0, 0, 0, 1, 1, 1], np.int32), (seeds, 6)).copy(),
        "cost_forward": np.broadcast_to(passes, (seeds, 6)).copy(),
        "cost_backward": np.broadcast_to(passes, (seeds, 6)).copy(),
    }
    return dataclasses.replace(run, train_mask=mask, extras=extras, **whole)


@pytest.mark.parametrize("words", SETTINGS)
def test_settings_cost_the_same(words: str) -> None:
    """To within an epoch: forward passes and twice the backward ones, from the rule's own count."""
    config = relaxation.config(common.Plan(), words)
    assert config.phases[0] == f"sgd:until={relaxation.SWITCH}"
    each = relaxation.cost_of_epoch(words)
    assert abs((config.epochs - relaxation.SWITCH) * each - relaxation.BUDGET) < each
    assert relaxation.SWITCH in config.logged_epochs


def test_chosen_by_the_search() -> None:
    """What the script runs is what its rule chooses from the stored search, of every setting of the grid."""
    stored = json.loads((Path(relaxation.__file__).parent / "figures" / relaxation.SEARCH).read_text())
    assert {name: tuple(settings) for name, settings in stored["settings"].items()} == dict(relaxation.GRID)
    assert stored["best"] == relaxation.best(stored["settings"]) == dict(relaxation.CHOSEN)
    assert stored["fastest"] == relaxation.fastest(stored["settings"]) == dict(relaxation.FASTEST)
    falls = {name: stored["settings"][name][words]["fall"] for name, words in relaxation.CHOSEN.items()}
    assert falls[relaxation.NOISY] == max(falls["SGD"], falls["SGD, momentum"])
    assert falls[relaxation.DESCENT] == max(falls[relaxation.NOISY], falls["full batch"])


def test_controls_differ_in_one_option() -> None:
    for control, of in (("information, strength 0", "information"), ("bottleneck, beta 0", "bottleneck")):
        words, chosen = (set(relaxation.RULES[name].split(":")) for name in (control, of))
        assert {part.split("=")[0] for part in words ^ chosen} == {control.split()[1].replace("0", "")}


def test_fastest_is_the_least_cost_that_loses_little() -> None:
    def row(half: float, i_ty: float = 0.0) -> dict[str, Any]:
        return {"half": half, "i_ty": i_ty, "test_accuracy": 0.0}

    table = {
        "SGD": {"x": row(9), "y": row(3), "forgets": row(1, -0.03)},
        "SGD, momentum": {"z": row(2)},
        "bottleneck": {"u": row(4), "v": row(5)},
    }
    assert relaxation.fastest(table) == {"SGD": "z", "bottleneck": "u"}


def test_best_is_the_largest_fall_that_loses_little() -> None:
    def row(fall: float, i_ty: float = 0.0, test_accuracy: float = 0.0) -> dict[str, Any]:
        return {"fall": fall, "i_ty": i_ty, "test_accuracy": test_accuracy}

    table = {
        "a": {"x": row(1), "y": row(2), "forgets": row(9, i_ty=-0.03), "errs": row(8, test_accuracy=-0.02)},
        "b": {"x": row(1, i_ty=-1), "y": row(2, i_ty=-1), "none learned": row(1, i_ty=-1) | {"fall": None}},
    }
    assert relaxation.best(table) == {"a": "y", "b": "y"}


class TestMeasures:
    def test_costs_and_falls(self) -> None:
        run = continued(i_xt=[1, 5, 4, 3.5, 3, 1.5])
        np.testing.assert_allclose(relaxation.costs(run), [-6, -3, 0, 30, 60, 90])
        np.testing.assert_allclose(relaxation.falls(run), 2.5)

    def test_a_network_that_forgot_has_no_fall(self) -> None:
        run = continued(i_xt=[1, 5, 4, 3.5, 3, 1.5], train_accuracy=[0, 0, 1, 1, 1, 0.9])
        assert np.isnan(relaxation.falls(run)).all()
        assert not np.isnan(relaxation.kept(run)).any()

    def test_the_lowest_on_the_way(self) -> None:
        run = continued(i_ty=[0.1, 0.5, 0.9, 0.3, 0.8, 0.95])
        assert relaxation.lowest(run) == pytest.approx(-0.6)

    def test_a_diverged_network_does_not_count(self) -> None:
        run = continued(i_xt=[1, 5, 4, 3.5, 3, 1.5])
        run = dataclasses.replace(run, diverged=np.arange(S) == 2)
        for values in (relaxation.falls(run), relaxation.kept(run), relaxation.halving(run)[:, None]):
            assert np.isnan(values).all(axis=1).tolist() == (np.arange(S) == 2).tolist()

    @pytest.mark.parametrize(("loss", "cost"), [([9, 9, 4, 3, 1, 1], 45.0), ([9, 9, 4, 4, 4, 3], 90.0)])
    def test_halving_is_interpolated(self, loss: list[float], cost: float) -> None:
        np.testing.assert_allclose(relaxation.halving(continued(train_loss=loss)), cost)

    def test_entropy_of_weights_that_went_a_normal_distance(self) -> None:
        rng = np.random.default_rng(0)
        run = continued()
        weights = {f"weights_{name}": np.zeros((S, 6, 30, 40), np.float32) for name in NAMES}
        for array in weights.values():
            array[:, 2:] += rng.normal(size=(S, 1, 30, 40))  # at the switch already: no way gone
            array[:, -1] += 0.25 * rng.normal(size=(S, 30, 40))
        run = dataclasses.replace(run, extras=run.extras | weights)
        expected = 0.5 * np.log2(2 * np.pi * np.e) - 2
        np.testing.assert_allclose(relaxation.entropies(run), expected, atol=0.06)


class TestBoltzmann:
    @staticmethod
    def runs(apart: float, shift: float, factor: float = 1.0) -> dict[str, Any]:
        """SGD at 3 bits and a loss of 0.01; the second temperature at 3 + shift and nearly that loss.

        Its two starts are `apart`, in bits, and their losses a factor; those of the others have met far from SGD.
        """
        found = {"SGD": continued(10, i_xt=[3.0] * 6, train_loss=[0.01] * 6)}
        for number, temperature in enumerate(relaxation.TEMPERATURES):
            for place, start in enumerate(relaxation.STARTS):
                bits = 3 + shift + (2 * place - 1) * apart / 2 if number == 1 else 9.0
                loss = 0.01 * 10.0 ** (number - 1) * (factor ** (place - 0.5) if number == 1 else 1.0)
                noise = 0.01 * np.random.default_rng(number).normal(size=(10, 1, 1))
                run = continued(10, i_xt=[bits] * 6, train_loss=[loss] * 6)
                run = dataclasses.replace(run, i_xt=(run.i_xt + noise).astype(np.float32))
                found[relaxation.bath(temperature, start)] = run
        return found

    @pytest.mark.parametrize(("shift", "verdict"), [(0.2, "reproduced"), (1.5, "not reproduced")])
    def test_the_temperature_of_the_loss_decides(self, shift: float, verdict: str) -> None:
        found = relaxation.boltzmann(self.runs(0.1, shift))
        assert f"T = {relaxation.TEMPERATURES[1]:g}, of" in found.detail
        assert [entry.estimate for entry in found.entries] == pytest.approx([shift] * 2, abs=0.02)
        assert common.evidence.verdict(found) == verdict

    def test_starts_that_do_not_meet_tell_nothing(self) -> None:
        assert not relaxation.boltzmann(self.runs(1.0, 0.0)).entries

    def test_a_temperature_whose_losses_do_not_meet_is_left_out(self) -> None:
        found = relaxation.boltzmann(self.runs(0.1, 0.0, factor=3.0))
        assert f"T = {relaxation.TEMPERATURES[1]:g}, of" not in found.detail
        assert [entry.estimate for entry in found.entries] == pytest.approx([6.0] * 2, abs=0.02)
