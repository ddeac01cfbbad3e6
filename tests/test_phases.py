"""Runs in phases: the schedule, what ends a phase, what the file tells, and every rule against what is known of it.

Shapes: K networks or chains, P parameters.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import synthetic_trajectory
from scipy import stats

import ibjax
from ibjax import Config, Phase
from ibjax.bottleneck.curve import encoder
from ibjax.cli.main import main
from ibjax.ensemble.assemble import assemble
from ibjax.ensemble.blocks import DeviceProgram
from ibjax.ensemble.results import Doubts
from ibjax.networks.perceptron import Perceptron
from ibjax.schedule.phases import of_words
from ibjax.schedule.settings import RULES
from ibjax.training.loss import cross_entropy
from ibjax.training.rules import information
from ibjax.training.rules.base import Batch, HyperParameters
from ibjax.training.rules.bottleneck import Bottleneck, Cells, iterate
from ibjax.training.rules.constrained import Constrained
from ibjax.training.rules.descent import GradientDescent
from ibjax.training.rules.langevin import Langevin
from ibjax.training.rules.metropolis import Metropolis, groups_of, mean_loss
from ibjax.training.schedule import epochs_of_the_first

TINY = Config(seeds=3, epochs=30, logged_epochs=(0, 5, 10, 15, 20, 25, 30), hidden_widths=(6, 4, 3), store_weights=True)
MEASURES = ("i_xt", "i_ty", "train_loss", "test_loss", "gradient_mean", "gradient_std", "weight_norm")
TOLD = ("phase", "phase_began", "cost_forward", "cost_backward", "acceptance", "not_finite", "move_scale")


def run(*phases: str | Phase, **changes: Any) -> ibjax.Trajectory:
    config = dataclasses.replace(TINY, phases=phases, **changes)
    return ibjax.run(config, progress=False)


def same(one: ibjax.Trajectory, other: ibjax.Trajectory, epochs: slice = slice(None)) -> bool:
    return all(np.array_equal(getattr(one, key)[:, epochs], getattr(other, key)[:, epochs]) for key in MEASURES)


@pytest.fixture(scope="module")
def plain() -> ibjax.Trajectory:
    return run()


@pytest.fixture(scope="module")
def walked() -> ibjax.Trajectory:
    return run("sgd:until=10", "metropolis:moves=5:warmup=50")


@pytest.fixture(scope="module")
def mixed() -> ibjax.Trajectory:
    """Three rules, each network in each; by conditions, one of which is looked at when epochs are logged."""
    phases = ("sgd:until=loss<0.65", "metropolis:until=i_ty_rise<0.2:moves=3", "langevin:temperature=0.001")
    found = run(*phases, seeds=5, epochs=60, logged_epochs=tuple(range(0, 61, 5)))
    assert all(set(row) == {0, 1, 2} for row in found.extras["phase"].tolist())
    return found


class TestWords:
    @pytest.mark.parametrize("rule", RULES)
    def test_of_every_rule_come_back(self, rule: str) -> None:
        assert of_words(Phase(rule).words) == Phase(rule)
        ended = Phase(rule, until="loss<0.25", batch_size=16)
        assert of_words(ended.words) == ended

    def test_keep_the_name_of_a_layer(self) -> None:
        phase = Phase("information", layer="Dense_0", batch_size="all")
        assert of_words(phase.words) == phase

    def test_that_are_replaced(self) -> None:
        changes: dict[str, Any] = {"until": 6, "temperature": 0.5}
        phase = dataclasses.replace(Phase("metropolis", until=5, moves=3), **changes)
        assert phase == Phase("metropolis", until=6, moves=3, temperature=0.5)
        with pytest.raises(
            TypeError, match=r"settings = Metropolis\(.* of 'sgd'; allowed: an ibjax.Phase\('sgd', ...\)"
        ):
            dataclasses.replace(phase, rule="sgd")

    def test_hold_what_differs(self) -> None:
        phase = Phase("metropolis", until=400, batch_size="all", temperature=1e-3, proposal="unit")
        assert phase.words == "metropolis:until=400:batch_size=all:proposal=unit:temperature=0.001"
        assert Config(phases=(phase,) * 0).phases == ()
        config = Config(phases=(phase, "sgd"))
        assert config.phases == (phase.words, "sgd")
        assert config.schedule == (phase, Phase("sgd"))

    @pytest.mark.parametrize(
        ("phases", "words"),
        [
            (("sgd:until=3",), "phases[0] = 'sgd:until=3': until; allowed: none, as the run ends it"),
            (("sgd", "sgd"), "phases[0] = 'sgd': until; allowed: an epoch from 1"),
            (("sgd:until=9", "sgd:until=9", "sgd"), "phases[1]: until = 9; allowed: an epoch after 9"),
            (("sgd:until=30", "sgd"), "phases[0]: until = 30 with epochs = 30"),
            (("sgdd",), "phases[0]: rule = 'sgdd'"),
            (("sgd:rate=1",), "phases[0]: option of 'sgd' = 'rate'"),
            (("sgd:until=loss<-1", "sgd"), "until = 'loss<-1': the value = -1"),
            (("sgd:until=loss>1", "sgd"), "until = 'loss>1'"),
            (("sgd:until=0", "sgd"), "until = 0"),
            (("sgd:learning_rate=x",), "learning_rate = 'x' in the phase"),
            (("sgd:learning_rate=1:learning_rate=1",), "learning_rate more than once"),
            (("sgd:momentum",), "'momentum' in the phase 'sgd:momentum'"),
            (("sgd:batch_size=0",), "batch_size = 0; allowed: an integer from 1 to 1000000000, or 'all' training"),
            (
                ("information:layer=out:1",),
                "'1' in the phase 'information:layer=out:1'; allowed: information:OPTION=VALUE",
            ),
            (("metropolis:until=snr<1", "sgd"), "which takes no gradient"),
            (("metropolis:temperature=-1",), "temperature = -1"),
            (("information:strength=-1",), "strength = -1"),
            (("bottleneck:beta=0",), "beta = 0"),
            (("metropolis:proposal=some",), "proposal = 'some'"),
            (("langevin:friction=0",), "friction = 0"),
        ],
    )
    def test_that_are_not_allowed(self, phases: tuple[str, ...], words: str) -> None:
        with pytest.raises(ValueError, match=re.escape(words)):
            dataclasses.replace(TINY, phases=phases)

    @pytest.mark.parametrize(
        ("phases", "changes", "words"),
        [
            (("sgd",), {"optimizer": "adam"}, "optimizer = 'adam' with phases = ('sgd',), which train in its place"),
            (("adam:until=3", "metropolis"), {"momentum": 0.9}, "momentum = 0.9 with phases"),
            (("langevin",), {"weight_decay": 0.1}, "weight_decay = 0.1 with phases = ('langevin',); allowed: 0, or"),
            (("metropolis",), {"learning_rate": (0.1, 0.2, 0.3)}, "learning_rate holds one number a seed, with phases"),
            (("sgd:learning_rate=0.1",), {"learning_rate": (0.1, 0.2, 0.3)}, "none of which takes it; allowed: one"),
        ],
    )
    def test_that_do_not_take_a_setting(self, phases: tuple[str, ...], changes: dict[str, Any], words: str) -> None:
        with pytest.raises(ValueError, match=re.escape(words)):
            dataclasses.replace(TINY, phases=phases, **changes)
        dataclasses.replace(TINY, phases=("sgd:until=2", "adam:until=3", *phases[-1:]), **changes)

    def test_of_a_preset_of_another_optimizer(self) -> None:
        saxe = ibjax.PRESETS["saxe"]
        assert len(dataclasses.replace(saxe, phases=("adam:until=3", "langevin")).schedule) == 2
        assert len(dataclasses.replace(saxe, phases=("metropolis",), optimizer="sgd").schedule) == 1

    def test_cannot_hold_a_colon(self) -> None:
        with pytest.raises(ValueError, match="layer = 'out:1'; allowed: a name without ':'"):
            Phase("information", layer="out:1")

    @pytest.mark.parametrize("phases", ["sgd", (3,), 7, (None,)])
    def test_of_another_type(self, phases: Any) -> None:
        with pytest.raises(TypeError, match="phases"):
            dataclasses.replace(TINY, phases=phases)


class TestRefusals:
    @pytest.mark.parametrize(
        ("phases", "changes", "words"),
        [
            (("sgd:batch_size=4000",), {}, "batch_size = 4000; allowed: at most the 3481"),
            (("optax",), {}, "without optimizer=...; allowed: ibjax.run(optimizer=...) beside it"),
            (("information:layer=hidden_9",), {}, "layer = 'hidden_9'; allowed: hidden_1, hidden_2, hidden_3, output"),
            (("bottleneck:layer=output",), {}, "layer = 'output'; allowed: hidden_1, hidden_2, hidden_3"),
            (("metropolis",), {"noise": 0.1}, "with noise, dropout or batch norm"),
            (("bottleneck",), {"loss": "mean_squared_error"}, "loss = 'cross_entropy'"),
            (("sgd:until=snr<1:batch_size=all", "sgd"), {}, "batch_size = all, one batch an epoch"),
            (("sgd:until=snr<1:batch_size=3481", "sgd"), {}, "batch_size = 3481, one batch an epoch"),
            (("bottleneck:until=snr<1", "sgd"), {}, "allowed: fewer than the 3481 training patterns, or another until"),
            (("sgd:until=snr<1", "sgd"), {"batch_size": None}, "batch_size = all, one batch an epoch"),
            (
                ("sgd:until=10", "metropolis:moves=1000000:batch_size=1700"),
                {"epochs": 10**4},
                "moves = 1000000 for each of 3 batches an epoch, in up to 9990 epochs; allowed: at most 2147483647",
            ),
            (
                ("metropolis:until=loss<1:moves=1000000", "constrained:moves=1000000"),
                {"epochs": 1200},
                "up to 1200 epochs",
            ),
        ],
    )
    def test_before_compiling(self, phases: tuple[str, ...], changes: dict[str, Any], words: str) -> None:
        with pytest.raises(ValueError, match=re.escape(words)):
            run(*phases, **changes)

    def test_of_a_fused_backend(self) -> None:
        with pytest.raises(ValueError, match="phases with backend = 'fused'"):
            dataclasses.replace(TINY, phases=("sgd",), backend="fused")

    def test_of_an_optimizer_that_no_phase_takes(self) -> None:
        with pytest.raises(ValueError, match="allowed: one of them 'optax'"):
            ibjax.run(dataclasses.replace(TINY, phases=("sgd",)), optimizer=optax.sgd(0.1), progress=False)


class TestSchedule:
    def test_one_phase_of_sgd_is_the_run_without(self, plain: ibjax.Trajectory) -> None:
        assert same(run("sgd"), plain)

    def test_of_the_same_rule_twice_changes_no_bit(self, plain: ibjax.Trajectory) -> None:
        split = run("sgd:until=10", "sgd")
        assert same(split, plain)
        assert split.extras["phase"].tolist() == [[0, 0, 0, 1, 1, 1, 1]] * 3

    def test_until_the_end_of_a_phase_nothing_differs(self, plain: ibjax.Trajectory, walked: ibjax.Trajectory) -> None:
        assert same(walked, plain, slice(3))
        assert not np.array_equal(walked.train_loss[:, 3:], plain.train_loss[:, 3:])

    def test_a_seed_is_the_same_alone(self, walked: ibjax.Trajectory) -> None:
        alone = run("sgd:until=10", "metropolis:moves=5:warmup=50", seeds=(1,))
        for key in MEASURES:
            assert np.array_equal(getattr(alone, key)[0], getattr(walked, key)[1], equal_nan=True)

    def test_goes_on_from_a_checkpoint_to_the_bit(self, tmp_path: Path, walked: ibjax.Trajectory) -> None:
        class StopError(Exception):
            pass

        def stop(progress: ibjax.Progress) -> None:
            if progress.epoch >= 15:
                raise StopError

        config = dataclasses.replace(TINY, phases=walked.config["config"]["phases"])
        with pytest.raises(StopError):
            ibjax.run(config, progress=stop, checkpoint=tmp_path / "there", checkpoint_every=0)
        resumed = ibjax.run(config, progress=False, checkpoint=tmp_path / "there")
        for key in MEASURES:
            assert np.array_equal(getattr(resumed, key), getattr(walked, key), equal_nan=True)
        for key, values in walked.extras.items():
            assert np.array_equal(resumed.extras[key], values, equal_nan=True), key

    def test_is_in_the_file(self, tmp_path: Path, walked: ibjax.Trajectory) -> None:
        walked.save(tmp_path / "walked.npz")
        loaded = ibjax.load(tmp_path / "walked.npz")
        n = walked.train_mask[0].sum()
        assert loaded.extras["phase"][0].tolist() == [0, 0, 0, 1, 1, 1, 1]
        assert loaded.extras["phase_began"].tolist() == [[0, 10]] * 3
        assert loaded.to_xarray()["phase_began"].dims == ("seed", "training_phase")
        assert np.array_equal(loaded.extras["cost_backward"][0], n * np.array([0, 5, 10, 10, 10, 10, 10]))
        assert np.array_equal(loaded.extras["cost_forward"][0], n * np.array([0, 5, 10, 40, 70, 100, 130]))
        assert np.isnan(loaded.extras["acceptance"][:, :3]).all()
        assert ((loaded.extras["acceptance"][:, 3:] >= 0) & (loaded.extras["acceptance"][:, 3:] <= 1)).all()
        assert np.isnan(loaded.gradient_mean[:, 3:]).all()
        assert np.isfinite(loaded.gradient_mean[:, :3]).all()

    def test_warm_up_ends(self, walked: ibjax.Trajectory) -> None:
        scale = walked.extras["move_scale"]  # 50 moves of the warm-up are 10 epochs
        assert (scale[:, 3] != scale[:, 4]).all()
        assert (scale[:, 4:] == scale[:, 4:5]).all()

    def test_gradients_are_those_of_the_phase_of_each_network(self, mixed: ibjax.Trajectory) -> None:
        phase = mixed.extras["phase"]
        assert (phase.min(axis=0) < phase.max(axis=0)).any()  # networks in different ones at one epoch
        assert np.array_equal(np.isnan(mixed.gradient_std).all(axis=2), phase == 1)
        assert np.array_equal(np.isnan(mixed.gradient_std).any(axis=2), phase == 1)

    def test_seeds_concatenate(self, walked: ibjax.Trajectory) -> None:
        more = run("sgd:until=10", "metropolis:moves=5:warmup=50", seeds=(7,))
        assert ibjax.concatenate([walked, more]).extras["phase"].shape == (4, 7)


class TestConditions:
    def test_loss(self) -> None:
        bound = 0.55
        epochs = tuple(range(31))
        found = run("sgd:until=loss<0.55", "sgd:learning_rate=1e-30", logged_epochs=epochs)
        for losses, phase in zip(found.train_loss, found.extras["phase"], strict=True):
            first = int(np.argmax(losses < bound))  # epochs are logged one by one
            assert phase.tolist() == [0] * (first + 1) + [1] * (30 - first)
        n = found.train_mask[0].sum()
        watched = np.minimum(np.argmax(found.train_loss < bound, axis=1), 30)
        assert np.array_equal(found.extras["cost_forward"][:, -1], n * (30 + watched))

    @pytest.mark.filterwarnings("ignore:phase 'sgd.until=snr<1.8' never ended")
    @pytest.mark.parametrize("bound", [1.0, 1.8])
    def test_snr(self, bound: float) -> None:
        """Also of a network that begins below the bound, which has to be above it first."""
        found = run(f"sgd:until=snr<{bound}", "sgd", logged_epochs=tuple(range(31)))
        mean, spread = (np.sqrt((values**2).sum(axis=2)) for values in (found.gradient_mean, found.gradient_std))
        drifts = (mean >= bound * spread)[:, 1:]
        assert drifts[:, 0].all() == (bound == 1.0)
        for above, phase in zip(drifts, found.extras["phase"], strict=True):
            below = ~above & np.logical_or.accumulate(above)
            first = int(np.argmax(below)) + 1 if below.any() else 30
            assert phase.tolist() == [0] * (first + 1) + [1] * (30 - first)

    def test_rise_of_relevant_information(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # some may rise to the end
            found = run("sgd:until=i_ty_rise<0.05", "sgd", logged_epochs=tuple(range(31)))
        for values, phase in zip(found.i_ty[:, :, -1], found.extras["phase"], strict=True):
            level, since, ended = -math.inf, 0, 30
            for epoch, value in enumerate(values):
                if value > np.float32(level + np.float32(0.05)):
                    level, since = value, epoch
                elif epoch >= 2 * max(since, 1):
                    ended = epoch
                    break
            assert phase.tolist() == [0] * (ended + 1) + [1] * (30 - ended)

    def test_rise_beside_a_further_estimator(self) -> None:
        """Of a block that is not full, whose estimates are of fewer networks than it has."""
        phases = ("sgd:until=i_ty_rise<0.9", "adam")
        found = run(*phases, hidden_widths=(3,), epochs=4, logged_epochs=(0, 4), estimators=("histogram", "kde"))
        assert found.extras["phase"].tolist() == [[0, 0]] * 3
        assert found.extras["phase_began"].tolist() == [[0, 4]] * 3  # at the last log, and no warning says never

    def test_that_never_holds_is_said(self) -> None:
        with pytest.warns(RuntimeWarning, match=r"'sgd:until=loss<1e-09' never ended.*3 of 3 networks"):
            run("sgd:until=loss<1e-09", "sgd")

    def test_acceptance_stuck_is_said(self) -> None:
        with pytest.warns(RuntimeWarning, match="fewer than 1% of the moves are accepted"):
            run("metropolis:scale=100:warmup=0:temperature=1e-9:moves=50")
        with pytest.warns(RuntimeWarning, match="more than 99% of the moves are accepted"):
            run("metropolis:scale=1e-9:warmup=0:temperature=100")


def test_before_training_no_move_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """There are no gradients to be taken, for which a pass without learning is made of other rules."""
    seen: list[tuple[int, int]] = []

    def spied(*arguments: Any) -> Any:
        seen.append((int(arguments[3]), int(arguments[4])))
        return arguments[1], None

    for phases in (("sgd",), ("metropolis",), ("metropolis:until=5", "sgd")):
        device = DeviceProgram(
            assemble(dataclasses.replace(TINY, phases=phases)), 3, jax.devices()[0], train=False, measure=False
        )
        monkeypatch.setitem(device._programs, "train", spied)
        device.train(device.start(0, np.arange(3, dtype=np.uint32)), 0)
    assert seen == [(0, 1), (0, 0), (0, 0)]


class TestWarnings:
    """Of runs that are made up: three networks, logged at five epochs."""

    def told(self, *phases: str, began: Any, acceptance: Any = None, every: int = 100) -> list[str]:
        made = synthetic_trajectory(3)
        made = made.of_epochs(made.epochs[:5])
        config = made.config | {"config": {"phases": list(phases), "batch_size": 256}}
        extras = {"phase_began": np.broadcast_to(np.array(began, np.int32), (3, len(phases)))}
        if acceptance is not None:
            extras["acceptance"] = np.broadcast_to(acceptance, (3, 5))
        doubts = Doubts()
        doubts.add(dataclasses.replace(made, config=config, epochs=every * np.arange(5), extras=extras))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            doubts.warn(stacklevel=1)
        return [str(warning.message) for warning in caught]

    def test_two_phases_of_the_same_words(self) -> None:
        words = "sgd:until=loss<0.1"
        found = self.told(words, words, "sgd", began=[[0, -1, -1], [0, 7, -1], [0, 7, 9]])
        assert [text.partition(";")[0] for text in found] == [
            f"phase {words!r} (phases[0]) never ended",
            f"phase {words!r} (phases[1]) never ended",
        ]
        assert [text.partition(": 1 of")[2] for text in found] == [" 3 networks (seeds 0)", " 3 networks (seeds 1)"]

    def test_a_condition_that_holds_at_the_last_epoch(self) -> None:
        assert self.told("sgd:until=loss<0.1", "sgd", began=[0, 400]) == []

    def test_an_end_that_had_passed(self) -> None:
        found = self.told(
            "sgd:until=loss<0.1", "adam:until=200", "sgd", began=[[0, 200, 201], [0, 199, 200], [0, 9, 200]]
        )
        assert found == [
            "phase 'adam:until=200' began after its end, and lasted one epoch; allowed: a later end: 1 of 3 networks "
            "(seeds 0)"
        ]

    @pytest.mark.parametrize(
        ("acceptance", "every", "words"),
        [
            ([math.nan, 1, 1, 0.5, 0], 100, ""),  # what it does in the warm-up, and at the end alone, says nothing
            ([math.nan, 0, 0, 0, 0], 25, ""),  # warm-up, but for the last 25 moves
            ([math.nan, 0.5, 0.5, 0, 0], 100, "fewer than 1% of the moves are accepted"),
            ([math.nan, 0.5, 0.5, 1, 1], 100, "more than 99% of the moves are accepted"),
        ],
    )
    def test_a_walk_is_judged_by_its_moves_after_the_warm_up(self, acceptance: Any, every: int, words: str) -> None:
        warmup = 150 if every == 100 else 75
        phase = f"metropolis:moves=1:warmup={warmup}"
        found = self.told(phase, began=[0], acceptance=acceptance, every=every)
        assert len(found) == bool(words)
        assert all(text.startswith(f"phase {phase!r}: {words}") for text in found)

    def test_an_earlier_walk_is_named(self) -> None:
        phases = ("metropolis:until=200:moves=1:warmup=0", "constrained:moves=2:warmup=0")
        (found,) = self.told(*phases, began=[0, 200], acceptance=[math.nan, 0, 0, 0.5, 0.5])
        assert found.startswith(f"phase {phases[0]!r}: fewer than 1%")
        # Moves of both in between two logs are of neither: they are not told apart.
        assert self.told(*phases, began=[0, 150], acceptance=[math.nan, 0.5, 0, 0.5, 0.5]) == []


class TestForecast:
    WORK = 1001 / 3  # an epoch of 1000 moves by one of SGD, whose backward pass counts as two forward ones

    @pytest.mark.parametrize(
        ("phases", "epochs"),
        [
            ((), 600),
            (("langevin",), 600),
            (("metropolis:moves=1000",), 600),
            (("sgd:until=300", "metropolis:moves=1000"), 300 + 300 * WORK),
            (("metropolis:until=200:moves=1000", "sgd"), 200 + 400 / WORK),
            (("sgd:until=snr<1", "metropolis:moves=1000"), 300 + 300 * WORK),
            (("sgd:until=loss<1", "sgd"), 300 + 300 * 3 / 4),  # it looks at the loss at each epoch
            (("sgd:until=snr<1", "adam:until=snr<1", "metropolis:moves=1000"), 150 + 150 + 300 * WORK),
            (("sgd:until=200", "sgd:until=snr<1", "metropolis:moves=1000"), 200 + 200 + 200 * WORK),
            (("sgd:until=snr<1", "metropolis:moves=1000:until=200", "sgd"), 100 + 100 * WORK + 400),
        ],
    )
    def test_counts_passes(self, phases: tuple[str, ...], epochs: float) -> None:
        schedule = dataclasses.replace(TINY, phases=phases, epochs=600, logged_epochs=(0, 600)).schedule
        assert epochs_of_the_first(schedule, 600) == pytest.approx(epochs)

    def test_knows_the_pace_of_the_first_phase(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of a phase that ends after one epoch, too: the walk that follows is not what is timed."""
        config = dataclasses.replace(TINY, phases=("sgd:until=1", "metropolis:moves=300"))
        seen: list[Any] = []
        train = DeviceProgram.train

        def spied(self: DeviceProgram, *arguments: Any, **options: Any) -> Any:
            found = train(self, *arguments, **options)
            seen.append((found[0].epoch, np.asarray(found[0].state.stage.number).tolist()))
            return found

        monkeypatch.setattr(DeviceProgram, "train", spied)
        foretold = ibjax.forecast(config).seconds
        assert max(epoch for epoch, _ in seen) > 1
        assert all(number == [0] * 10 for _, number in seen)
        monkeypatch.setattr(DeviceProgram, "seconds", lambda *_: (2.0, 5.0))
        assert foretold is not None
        assert foretold > 0
        timed = ibjax.forecast(config).seconds
        assert timed == pytest.approx(2.0 * (1 + 29 * 301 / 3) + 5.0 * 7)

    @pytest.mark.parametrize(
        ("phases", "epochs"),
        [
            (("sgd",), 25),
            (("sgd:until=20", "metropolis:moves=29"), 2),
            (("metropolis:moves=29:until=20", "sgd"), 25),
            (("sgd:until=snr<1", "metropolis:moves=29:until=20", "sgd"), 2),
            (("sgd:until=20", "metropolis:moves=10000"), 1),
        ],
    )
    def test_an_interrupt_waits_for_no_slower_phase(
        self, phases: tuple[str, ...], epochs: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """After an epoch of 0.01 s a call takes 0.25 s, even if all its epochs should be of a later phase."""
        program = assemble(dataclasses.replace(TINY, phases=phases))
        device = DeviceProgram(program, 3, jax.devices()[0], measure=False)
        block, moments = device.train(device.start(0, np.arange(3, dtype=np.uint32)), 30)
        assert block.epoch == 1
        monkeypatch.setattr("time.perf_counter", lambda: 0.0101)
        device._wait(moments, 1, 0.0001)
        assert device.train(block, 30)[0].epoch == 1 + epochs


class TestFile:
    """What is done with the file of a run in phases, beyond reading it."""

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("JAX_ENABLE_COMPILATION_CACHE", "false")

    @pytest.mark.parametrize("epochs", [slice(None), slice(None, None, 3)], ids=["all epochs", "some epochs"])
    def test_is_repeated_to_the_bit(
        self, mixed: ibjax.Trajectory, epochs: slice, capsys: pytest.CaptureFixture[str]
    ) -> None:
        mixed.of_seeds([3, 1]).of_epochs(mixed.epochs[epochs]).save("run.npz")
        assert main(["rerun", "run.npz", "--quiet"]) == 0
        told = capsys.readouterr().out
        assert re.search(r"^all [0-9]+ arrays agree to the bit$", told, re.MULTILINE)
        assert "added after the run" not in told  # else they would not have been compared

    def test_that_differs_in_what_phases_tell_is_noticed(
        self, mixed: ibjax.Trajectory, capsys: pytest.CaptureFixture[str]
    ) -> None:
        changed = {key: mixed.extras[key] + 1 for key in TOLD}
        dataclasses.replace(mixed, extras={**mixed.extras, **changed}).save("run.npz")
        assert main(["rerun", "run.npz", "--quiet"]) == 1
        told = {line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("  ")}
        assert told == set(TOLD)

    def test_is_measured_again(self, mixed: ibjax.Trajectory) -> None:
        assert ibjax.measure(mixed).differences(mixed) == {}
        mixed.save("run.npz")
        assert main(["measure", "run.npz", "--estimator", "kde"]) == 0
        measured = ibjax.load("run_kde.npz")
        assert set(measured.differences(mixed)) == {"i_xt", "i_ty"}
        assert measured.extras.keys() == mixed.extras.keys() >= set(TOLD)

    def test_is_measured_without_the_optimizer_of_a_phase(self) -> None:
        config = dataclasses.replace(TINY, phases=("optax:until=10", "langevin"))
        found = ibjax.run(config, optimizer=optax.lamb(0.01), progress=False)
        assert ibjax.measure(found).differences(found) == {}


Loss = Callable[[jax.Array], jax.Array]


def batch_of(loss: Loss) -> Batch:
    """A batch whose loss is a function of the parameters alone."""
    nothing = jnp.zeros(0)
    return Batch(nothing, nothing, nothing, lambda params, _: (loss(params), None))


def chain(rule: Any, loss: Loss, start: jax.Array, steps: int, seed: int = 0) -> tuple[jax.Array, Any]:
    """Where K independent chains, begun at (K, P), stand after every step, (steps, K, P), and their last states."""
    keys = jax.random.split(jax.random.key(seed), len(start))

    def one(key: jax.Array, params: jax.Array) -> tuple[jax.Array, Any]:
        def step(carry: Any, number: jax.Array) -> tuple[Any, jax.Array]:
            params, state = carry
            params, state, _ = rule.step(jax.random.fold_in(key, number), params, state, batch_of(loss))
            return (params, state), params

        (_, state), path = jax.lax.scan(step, (params, rule.init(params)), jnp.arange(steps))
        return path, state

    paths, states = jax.jit(jax.vmap(one))(keys, start)
    return jnp.swapaxes(paths, 0, 1), states


def energy(loss: Loss) -> Any:
    return lambda params, batch: loss(params)


def double_well(x: jax.Array) -> jax.Array:
    return jnp.sum((x**2 - 1) ** 2)


def metropolis(loss: Loss, **changes: Any) -> Metropolis:
    options: dict[str, Any] = {"temperature": 0.5, "scale": 0.8, "moves": 10, "acceptance": 0.25, "warmup": 0}
    return Metropolis(energy(loss), groups=None, **options | changes)


class TestMetropolis:
    @pytest.mark.parametrize("groups", [None, np.array([0, 1], np.int32)])
    def test_samples_the_boltzmann_distribution(self, groups: Any) -> None:
        rule = dataclasses.replace(metropolis(double_well), groups=groups)
        chains = 4000
        last = chain(rule, double_well, jnp.zeros((chains, 2)), 30)[0][-1]
        edges = np.concatenate([[-np.inf], np.linspace(-1.5, 1.5, 13), [np.inf]])
        grid = np.linspace(-4, 4, 80_001)
        density = np.exp(-((grid**2 - 1) ** 2) / 0.5)
        share = np.array([density[(grid > a) & (grid <= b)].sum() for a, b in itertools.pairwise(edges)])
        for values in np.asarray(last).T:  # the coordinates are independent
            counts = np.histogram(values, edges)[0]
            # The seed is fixed; at the level 1e-4 one in ten thousand right rules would fail.
            assert stats.chisquare(counts, share / share.sum() * chains).pvalue > 1e-4

    def test_samples_that_of_a_network(self) -> None:
        """Weight and bias of one unit, learning labels that no line parts: the density over a grid, by cells of it."""
        temperature, chains = 0.2, 4000
        x, y = np.array([[-1.0, 1.0, -1.0, 1.5, 9.0]]), np.array([0, 1, 1, 0, 1])
        present = jnp.arange(5) < 4  # nobody learns the last pattern
        model = Perceptron((1, 1)).model

        def mean(tree: Any, labels: jax.Array) -> tuple[jax.Array, None]:
            losses = cross_entropy(model.forward(tree, jnp.asarray(x, jnp.float32))[0], labels)
            return jnp.sum(jnp.where(present, losses, 0)) / 4, None

        batch = Batch(jnp.asarray(x), jnp.asarray(y), present, mean)
        rule = Metropolis(mean_loss(model.unravel), temperature, 1.0, 600, 0.25, 0, None)

        def walked(key: jax.Array) -> jax.Array:
            start = jnp.zeros(2)
            return rule.step(key, start, rule.init(start), batch)[0]

        last = jax.jit(jax.vmap(walked))(jax.random.split(jax.random.key(0), chains))
        tree = jax.vmap(model.unravel)(last)[0]
        found = [np.asarray(tree[name]).reshape(-1) for name in ("kernel", "bias")]

        grid = np.linspace(-25, 25, 1001)
        odds = grid[:, None, None] * x[0, :4] + grid[None, :, None]  # of each pattern, at weight and bias
        energy = np.mean(np.logaddexp(0, odds) - odds * y[:4], axis=2)
        density = np.exp(-energy / temperature)
        edges = np.array([-np.inf, -1.5, -0.75, -0.25, 0.25, 0.75, 1.5, np.inf])
        cells = np.digitize(grid, edges[1:-1])
        share = np.zeros((7, 7))
        np.add.at(share, (cells[:, None], cells[None, :]), density)
        counts, expected = np.histogram2d(found[0], found[1], bins=[edges, edges])[0], share / share.sum() * chains
        assert expected.min() > 5
        assert stats.chisquare(counts.ravel(), expected.ravel()).pvalue > 1e-4

    def test_is_reversible(self) -> None:
        """In equilibrium a jump between two wells is as frequent as the jump back."""
        path = np.asarray(chain(metropolis(double_well, moves=1), double_well, jnp.ones((2000, 1)), 400)[0])[200:, :, 0]
        there = np.sum((path[:-1] < -0.5) & (path[1:] > 0.2))
        back = np.sum((path[:-1] > 0.2) & (path[1:] < -0.5))
        assert stats.binomtest(int(there), int(there + back)).pvalue > 1e-4

    def test_at_temperature_zero_never_rises(self) -> None:
        path, state = chain(metropolis(double_well, temperature=0.0), double_well, jnp.full((50, 3), 2.0), 40)
        values = np.asarray(jax.vmap(jax.vmap(double_well))(path))
        assert (np.diff(values, axis=0) <= 0).all()
        assert values[-1].max() < 1 < 0.1 * float(double_well(jnp.full(3, 2.0)))
        assert ((state.accepted > 0) & (state.accepted < state.moves)).all()

    @pytest.mark.parametrize("temperature", [0.0, 1e-60, 1e-4])
    def test_a_level_move_is_accepted_at_any_temperature(self, temperature: float) -> None:
        """Also at one that float32 rounds to 0."""
        rule, energy = metropolis(double_well, temperature=temperature), jnp.float32(1.0)
        assert bool(rule.accepts(jax.random.key(0), energy, energy))
        assert not bool(rule.accepts(jax.random.key(0), energy, energy + 1))

    def test_refuses_and_counts_what_is_not_finite(self) -> None:
        def cliff(x: jax.Array) -> jax.Array:
            return jnp.where(x[0] > 0, jnp.nan, x[0] ** 2)

        path, state = chain(metropolis(cliff), cliff, jnp.full((20, 1), -0.1), 20)
        assert float(path.max()) <= 0
        assert (state.not_finite > 20).all()
        assert (state.accepted + state.not_finite < state.moves).all()  # some are refused as the energy rises

    def test_warm_up_reaches_its_acceptance(self) -> None:
        rule = metropolis(double_well, scale=50.0, warmup=3000)
        _, state = chain(rule, double_well, jnp.ones((20, 4)), 300)
        fixed = dataclasses.replace(rule, scale=float(jnp.exp(state.log_scale.mean())), warmup=0)
        _, after = chain(fixed, double_well, jnp.ones((20, 4)), 300)
        assert float(after.accepted.sum() / after.moves.sum()) == pytest.approx(0.25, abs=0.04)

    def test_moves_what_the_proposal_says(self) -> None:
        model = Perceptron((3, 4, 2, 1)).model
        for proposal, sizes in {
            "layer": {16, 10, 3},
            "unit": {4, 5, 3},
            "weight": {1},
            "all": {model.n_params},
        }.items():
            rule = dataclasses.replace(
                metropolis(double_well), groups=groups_of(proposal, model.n_params, model.places)
            )
            keys = jax.random.split(jax.random.key(0), 200)
            changes = jax.vmap(lambda key, rule=rule: rule.change(key, jnp.zeros(model.n_params)))(keys)
            assert set((np.asarray(changes) != 0).sum(axis=1).tolist()) == sizes
            assert (np.asarray(changes) != 0).any(axis=0).all()

    def test_a_unit_is_its_incoming_weights_and_bias(self) -> None:
        model = Perceptron((3, 4, 1)).model
        groups = groups_of("unit", model.n_params, model.places)
        assert groups is not None
        layer = model.unravel(jnp.asarray(groups, jnp.float32))[0]
        assert np.array_equal(layer["kernel"], np.tile(layer["bias"], (3, 1)))

    def test_of_layers_that_are_not_known(self) -> None:
        kernel, bias = np.arange(6).reshape(2, 3), np.arange(6, 9)
        known = {"kernel": kernel, "bias": bias}
        groups = groups_of("unit", 9, [known])
        assert groups is not None
        assert groups.tolist() == [0, 1, 2] * 3
        others: list[Any] = [
            {"a": bias},
            [known | {"scale": np.arange(9, 12)}],  # whose groups would be whatever the memory held
            [{"kernel": kernel}],
            [{"kernel": kernel, "bias": bias[:2]}],
            [(kernel, bias)],
            [known, bias],
        ]
        for places in others:
            with pytest.raises(ValueError, match=r"proposal = 'unit' with network=\.\.\.; allowed: 'all' or 'weight'"):
                groups_of("unit", 12, places)


class TestConstrained:
    def test_never_leaves_its_set(self) -> None:
        rule = Constrained(energy(double_well), 0.0, 0.5, 10, 0.25, 0, None, bound=0.7)
        path, state = chain(rule, double_well, jnp.ones((100, 2)), 50)
        assert float(jax.vmap(jax.vmap(double_well))(path).max()) <= 0.7
        assert ((state.accepted > 0) & (state.accepted < state.moves)).all()

    def test_is_even_on_its_set(self) -> None:
        def square(x: jax.Array) -> jax.Array:
            return jnp.max(jnp.abs(x))

        rule = Constrained(energy(square), 0.0, 0.7, 20, 0.25, 0, None, bound=1.0)
        last = np.asarray(chain(rule, square, jnp.zeros((3000, 2)), 20)[0][-1])
        counts = np.histogram2d(last[:, 0], last[:, 1], bins=4, range=[[-1, 1]] * 2)[0]
        assert stats.chisquare(counts.ravel()).pvalue > 1e-4

    def test_comes_in_from_outside(self) -> None:
        rule = Constrained(energy(double_well), 0.0, 0.3, 10, 0.25, 0, None, bound=0.5)
        path, _ = chain(rule, double_well, jnp.full((20, 2), 3.0), 60)
        values = np.asarray(jax.vmap(jax.vmap(double_well))(path))
        outside = values[:-1] > 0.5
        assert (np.diff(values, axis=0)[outside] <= 0).all()
        assert (values[-1] <= 0.5).all()


class TestLangevin:
    @pytest.mark.parametrize("friction", [1.0, 0.2])
    def test_variance_on_a_quadratic(self, friction: float) -> None:
        stiffness, rate, temperature = 2.0, 0.05, 0.3
        rule = Langevin(rate, temperature, friction, lambda params: params)

        def loss(x: jax.Array) -> jax.Array:
            return stiffness / 2 * jnp.sum(x**2)

        last = np.asarray(chain(rule, loss, jnp.zeros((20_000, 1)), 400)[0][-1])
        # Exact for the recurrence: x' = x + v', v' = (1 - a) v - r k x + sqrt(2 a r T) xi.
        a, k = friction, rate * stiffness
        matrix = np.array([[1 - k, 1 - a], [-k, 1 - a]])
        kick = 2 * a * rate * temperature * np.ones((2, 2))
        covariance = np.linalg.solve(np.eye(4) - np.kron(matrix, matrix), kick.ravel())
        assert covariance[0] == pytest.approx(temperature / stiffness, rel=0.06)
        assert last.var() == pytest.approx(covariance[0], rel=5 * math.sqrt(2 / len(last)))

    def test_at_temperature_zero_is_descent(self) -> None:
        langevin = Langevin(0.1, 0.0, 1.0, lambda params: params)
        descent = GradientDescent(optax.sgd(0.1), lambda params: params, elementwise=True)
        start = jnp.full((2, 3), 1.7)
        one, other = (chain(rule, double_well, start, 20)[0] for rule in (langevin, descent))
        np.testing.assert_allclose(one, other, rtol=1e-6)

    def test_at_temperature_zero_with_less_friction_is_momentum(self) -> None:
        langevin = Langevin(0.01, 0.0, 0.1, lambda params: params)
        descent = GradientDescent(optax.sgd(0.01, momentum=0.9), lambda params: params, elementwise=True)
        start = jnp.full((2, 3), 1.7)
        one, other = (chain(rule, double_well, start, 20)[0] for rule in (langevin, descent))
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=2e-6)


class TestNoise:
    def test_on_labels_and_weights(self) -> None:
        rule = GradientDescent(optax.sgd(0.0), lambda p: p, True, label_noise=0.25, n_classes=4, weight_noise=0.5)
        labels = jnp.zeros(40_000, jnp.int32)
        noisy = np.asarray(rule._noisy(jax.random.key(0), labels))
        assert np.mean(noisy == 0) == pytest.approx(1 - 0.25 * 3 / 4, abs=0.01)
        assert np.bincount(noisy)[1:].std() < 100
        batch = Batch(labels, labels, labels, lambda params, _: (jnp.sum(params**2), None))
        moved, _, _ = rule.step(jax.random.key(1), jnp.zeros(20_000), rule.init(jnp.zeros(20_000)), batch)
        assert float(moved.std()) == pytest.approx(0.5, rel=0.03)

    def test_changes_a_run(self, plain: ibjax.Trajectory) -> None:
        assert not same(run("sgd:label_noise=0.2"), plain)
        assert not same(run("sgd:weight_noise=0.01"), plain)
        assert same(run("sgd:weight_noise=0:label_noise=0"), plain)


class TestInformation:
    @pytest.mark.parametrize("present", [40, 33])
    def test_energy_is_the_loss_and_the_histogram_of_the_training_patterns(self, present: int) -> None:
        network = Perceptron((5, 4, 3, 1))
        inputs = jax.random.bernoulli(jax.random.key(0), shape=(40, 5)).astype(jnp.float32)
        labels = (inputs.sum(axis=1) > 2).astype(jnp.int32)
        params = network.init(jax.random.key(1))
        vector = jax.flatten_util.ravel_pytree(params)[0]
        of = information.energy(network.model, cross_entropy, 1, 2, 30, None, 0.3, 2.0)
        batch = Batch(inputs.T, labels, jnp.arange(40) < present, lambda *_: (jnp.zeros(()), None))
        logits, activations = network.apply(params, inputs[:present])
        i_xt, i_ty = ibjax.layer_information(activations[1], labels[:present])
        expected = cross_entropy(logits.T, labels[:present]).mean() + 0.3 * (i_xt - 2.0 * i_ty)
        assert float(of(vector, batch)) == pytest.approx(float(expected), rel=1e-5)

    def test_lowers_what_it_is_told_to(self) -> None:
        """With no loss to speak of, T = 0 and beta = 0 the information of the layer only falls."""
        found = run("information:layer=hidden_3:strength=1000:beta=0:temperature=0:moves=20:proposal=unit", epochs=30)
        assert (found.i_xt[:, -1, 2] < found.i_xt[:, 0, 2] - 0.5).all()


class TestBottleneck:
    JOINT = np.array([[0.1, 0.05], [0.02, 0.18], [0.25, 0.05], [0.05, 0.3]])

    def test_step_is_the_iteration_of_the_curve(self) -> None:
        curve = ibjax.information_curve(self.JOINT)
        p_x = self.JOINT.sum(axis=1)
        rows = self.JOINT / p_x[:, None]
        anywhere = np.random.default_rng(0).dirichlet(np.ones(6)).reshape(3, 2)
        with jax.enable_x64(True):
            cells = Cells(jnp.asarray(anywhere.sum(axis=1)), jnp.asarray(anywhere))
            found, after = iterate(cells, jnp.asarray(rows), jnp.asarray(p_x), 4.0)
            expected = encoder(anywhere, rows, 4.0)
            np.testing.assert_allclose(found, expected, atol=1e-12)
            np.testing.assert_allclose(after.p_ty, expected.T @ self.JOINT, atol=1e-12)
            np.testing.assert_allclose(after.p_t, p_x @ expected, atol=1e-12)
            for number in range(0, len(curve.beta), 16):
                p_ty = curve.p_ty[number]
                found, after = iterate(
                    Cells(jnp.asarray(p_ty.sum(axis=1)), jnp.asarray(p_ty)),
                    jnp.asarray(rows),
                    jnp.asarray(p_x),
                    float(curve.beta[number]),
                )
                np.testing.assert_allclose(found, encoder(p_ty, rows, curve.beta[number]), atol=1e-12)
                np.testing.assert_allclose(after.p_ty, p_ty, atol=1e-6)  # a fixed point

    def test_lowers_the_lagrangian(self) -> None:
        def lagrangian(encoder: Any, cells: Cells) -> float:
            p_y = self.JOINT.sum(axis=0)
            with np.errstate(divide="ignore", invalid="ignore"):
                i_x = np.nansum(p_x[:, None] * encoder * np.log(encoder / np.asarray(cells.p_t)))
                i_y = np.nansum(cells.p_ty * np.log(cells.p_ty / np.outer(cells.p_t, p_y)))
            return float(i_x - 3.0 * i_y)

        p_x = self.JOINT.sum(axis=1)
        rows = self.JOINT / p_x[:, None]
        start = np.random.default_rng(0).dirichlet(np.ones(5), 4)
        with jax.enable_x64(True):
            cells = Cells(jnp.asarray(p_x @ start), jnp.asarray((p_x[:, None] * start).T @ rows))
            values = [lagrangian(start, cells)]
            for _ in range(30):
                found, cells = iterate(cells, jnp.asarray(rows), jnp.asarray(p_x), 3.0)
                values.append(lagrangian(np.asarray(found), cells))
        assert (np.diff(values) <= 1e-12).all()
        assert values[-1] < values[0] - 0.01

    def test_targets_are_means_of_centres(self) -> None:
        """By hand: three cells, of patterns of which the last is absent, and what each label's encoder makes of it."""
        rule = assemble(dataclasses.replace(TINY, phases=("bottleneck:beta=2",))).trainer.make_rule(HyperParameters())
        assert isinstance(rule, Bottleneck)
        cell, labels = np.array([0, 0, 2, 2, 2, 5, 5]), np.array([0, 1, 1, 1, 0, 0, 0])
        weight = np.array([0.2, 0.1, 0.15, 0.25, 0.1, 0.2, 0.0])
        reached = np.random.default_rng(0).normal(size=(3, 7))
        p_ty = np.array([[weight[(cell == t) & (labels == y)].sum() for y in (0, 1)] for t in (0, 2, 5)])
        p_t, p_y = p_ty.sum(axis=1), p_ty.sum(axis=0)
        centres = np.array([np.average(reached[:, cell == t], axis=1, weights=weight[cell == t]) for t in (0, 2, 5)])
        encoder = p_t[:, None] * (p_ty / p_t[:, None]) ** 2  # exp(-beta KL) = p(y_x|t)^beta, beta = 2
        encoder /= encoder.sum(axis=0)
        found, after, where = rule.targets(*map(jnp.asarray, (reached, cell, weight, labels)))
        np.testing.assert_allclose(where[:, [0, 2, 5]], centres.T, atol=1e-6)
        np.testing.assert_allclose(found, (centres.T @ encoder)[:, labels], atol=1e-6)
        np.testing.assert_allclose(after.p_ty[np.array([0, 2, 5])], encoder * p_y, atol=1e-6)
        assert float(after.p_t.sum()) == pytest.approx(1)

    def test_alone_the_layer_forgets(self) -> None:
        """Where the rule fails, as its module says: without the loss, at a large rate."""
        alone = "bottleneck:layer=hidden_1:beta=10:batch_size=256:learning_rate=0.5:loss_weight=0"
        config = dataclasses.replace(
            TINY, epochs=150, logged_epochs=(0, 100, 150), phases=("sgd:until=100:learning_rate=0.5", alone)
        )
        known = ibjax.run(config, progress=False).i_ty[:, :, 0]
        assert (known[:, 1] > 0.9).all()
        assert (known[:, 2] < 0.5).all()

    @pytest.mark.parametrize("loss_weight", [0.0, 0.5])
    def test_weights_follow_their_targets(self, loss_weight: float) -> None:
        """The objective of the module falls along the step, at fixed targets; each term moves its own side."""
        network = Perceptron((5, 4, 3, 1))
        inputs = jax.random.bernoulli(jax.random.key(0), shape=(5, 40)).astype(jnp.float32)
        labels = (inputs.sum(axis=0) > 2).astype(jnp.int32)
        rule = Bottleneck(network, 0, 5.0, 0.01, loss_weight, cross_entropy, 2, 30, None)
        forward = network.forward

        def loss(tree: Any, labels: jax.Array) -> tuple[jax.Array, None]:
            return optax.sigmoid_binary_cross_entropy(forward(tree, inputs)[0][0], labels).mean(), None

        batch = Batch(inputs, labels, jnp.ones(40, bool), loss)
        vector = jax.flatten_util.ravel_pytree(network.init(jax.random.key(1)))[0]
        weight = jnp.full(40, 1 / 40)
        reached = network.forward(network.model.unravel(vector), inputs)[1][0]
        target, cells, centres = rule.targets(reached, rule.cells(reached), weight, labels)

        def terms(vector: jax.Array) -> tuple[float, float]:
            tree = network.model.unravel(vector)
            gap = network.forward(tree, inputs)[1][0] - target
            return float(jnp.sum(gap**2) / 80), float(rule.decoding(tree, cells, centres))

        after, _, info = rule.step(jax.random.key(0), vector, (), batch)
        before, behind = terms(vector), terms(after)
        assert behind[0] < before[0]
        assert behind[1] < before[1]
        assert info.gradient is not None

        def objective(vector: jax.Array) -> jax.Array:
            tree = network.model.unravel(vector)
            gap = network.forward(tree, inputs)[1][0] - target
            return jnp.sum(gap**2) / 80 + rule.decoding(tree, cells, centres) + loss_weight * loss(tree, labels)[0]

        np.testing.assert_allclose(info.gradient, jax.grad(objective)(vector), atol=1e-6)
