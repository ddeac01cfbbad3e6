"""`ibjax.run`: a seed whatever is trained beside it, one compilation, the physics of the paper, failures kept apart."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import ibjax
from ibjax import Config, Dataset, Trajectory
from ibjax.analysis import check_bounds
from ibjax.ensemble import blocks
from ibjax.ensemble.assemble import assemble
from ibjax.ensemble.blocks import Block, DeviceProgram, split
from ibjax.ensemble.compiled import CACHE
from ibjax.ensemble.results import ResultBuffer
from ibjax.networks.perceptron import Perceptron
from ibjax.training.rules.base import HyperParameters

TINY = Config(seeds=2, epochs=3, logged_epochs=3, hidden_widths=(4, 3))


def toy_dataset(classes: int = 2) -> Dataset:
    """Sixty-four patterns of six bits, labelled by their number of ones."""
    inputs = np.array([[i >> k & 1 for k in range(6)] for i in range(64)], float)
    return Dataset(inputs, np.eye(classes)[inputs.sum(axis=1).astype(int) * classes // 7])


@contextmanager
def compilations() -> Iterator[list[str]]:
    """The programs compiled inside the block."""
    seen: list[str] = []
    active = True

    def listen(event: str, duration_secs: float, **_: Any) -> None:
        if active and event == "/jax/core/compile/backend_compile_duration":
            seen.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield seen
    finally:
        active = False


def test_a_seed_is_the_same_network_whatever_is_trained_beside_it() -> None:
    """To the bit: alone, among eight, and in the third block of another run, over three hundred epochs."""
    config = replace(TINY, hidden_widths=(5, 4, 3), epochs=300, logged_epochs=6)
    alone = ibjax.run(replace(config, seeds=(3,)))
    among = ibjax.run(replace(config, seeds=8))
    far = ibjax.run(replace(config, seeds=(*range(100, 123), 3)))
    assert alone.differences(among.of_seeds([3])) == {}
    assert alone.differences(far.of_seeds([3])) == {}
    assert among.differences(among.of_seeds(range(8))) == {}
    assert "i_xt" in alone.differences(replace(among.of_seeds([4]), seeds=np.array([3])))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_logging_does_not_change_the_training(optimizer: str) -> None:
    config = replace(TINY, epochs=20, optimizer=optimizer)
    often = ibjax.run(replace(config, logged_epochs=tuple(range(21))))
    once = ibjax.run(replace(config, logged_epochs=(20,)))
    assert np.array_equal(often.i_xt[:, -1], once.i_xt[:, -1])
    assert np.array_equal(often.gradient_mean[:, -1], once.gradient_mean[:, -1])
    assert np.array_equal(often.train_loss[:, -1], once.train_loss[:, -1])


def test_programs_compile_once_whatever_the_length_of_the_run() -> None:
    ibjax.run(TINY)
    CACHE.clear()
    with compilations() as short:
        ibjax.run(TINY)
    with compilations() as long:
        ibjax.run(replace(TINY, seeds=24, epochs=40, logged_epochs=tuple(range(0, 41, 2))))
    assert len(short) == len(long) == 3  # start, train, measure
    with compilations() as again:
        ibjax.run(replace(TINY, seeds=(70, 71)))
    assert len(again) == 0


def test_untrained_networks_of_the_released_code() -> None:
    """FACTS of the released code's cells: mean over 300 untrained networks of the `idnns` preset.

    Tolerances are four standard errors of the mean, std / sqrt(300), or the last digit given.
    """
    config = replace(ibjax.PRESETS["idnns"], seeds=300, epochs=0, logged_epochs=(0,))
    traj = ibjax.run(config)
    i_xt, i_ty = traj.i_xt[:, 0], traj.i_ty[:, 0]
    expected = np.array([12.000, 11.998, 11.541, 9.163, 6.227, 1.742])
    deviation = np.array([0, 0.003, 0.345, 1.03, 1.15, 0.86])
    assert np.all(np.abs(i_xt.mean(axis=0) - expected) < 4 * np.sqrt(2) * deviation / np.sqrt(300) + 6e-4)
    expected = np.array([0.999, 0.998, 0.841, 0.325, 0.105, 0.023])
    deviation = np.array([0, 0.001, 0.10, 0.12, 0.05, 0.03])
    assert np.all(np.abs(i_ty.mean(axis=0) - expected) < 4 * np.sqrt(2) * deviation / np.sqrt(300) + 6e-4)

    thirty = ibjax.run(replace(config, compat=None))
    expected = np.array([12.000, 11.999, 11.591, 9.289, 6.337, 1.043])
    deviation = np.array([0, 0.003, 0.345, 1.03, 1.15, 0.86])
    means = thirty.i_xt[:, 0].mean(axis=0)
    assert np.all(np.abs(means - expected) < 4 * np.sqrt(2) * deviation / np.sqrt(300) + 6e-4)


@pytest.fixture(scope="module")
def shortened_paper() -> Trajectory:
    """Ten networks of 10-7-5-4-3 tanh units on the hard labels for 2500 epochs."""
    return ibjax.run(replace(ibjax.PRESETS["quick"], dataset="var_u", epochs=2500, logged_epochs=50))


def test_two_phases(shortened_paper: Trajectory) -> None:
    """Fitting past the plateau of the number of ones (accuracy .88), then compression of the last hidden layer."""
    traj = shortened_paper
    assert not traj.diverged.any()
    assert traj.test_accuracy[:, -1].mean() >= 0.95
    last = traj.i_xt[:, :, -2].mean(axis=0)
    peak = int(last.argmax())
    assert 10 <= traj.epochs[peak] <= 1000
    assert last[peak] - last[-1] > 1.0
    assert traj.i_xt[:, -1, 0].mean() > 11.9  # the first layer keeps nearly all
    snr = traj.gradient_mean / traj.gradient_std
    after = traj.epoch_index(100)
    assert np.all(snr[:, after].mean(axis=0) < snr[:, 0].mean(axis=0))


def test_information_keeps_its_bounds(shortened_paper: Trajectory) -> None:
    traj = shortened_paper
    tolerance = 1e-5  # of the kernel in float32
    assert np.all(traj.i_xt <= traj.h_x + tolerance)
    assert np.all(traj.i_ty <= traj.i_xt + tolerance)
    assert np.all(traj.i_ty <= traj.i_xy + tolerance)
    assert np.all(traj.i_ty >= -tolerance)
    for measure in (traj.i_xt, traj.i_ty):  # data processing: no layer knows more than the one before, on average
        assert np.all(np.diff(measure.mean(axis=0), axis=1) <= 0.01)
    assert traj.i_xy == pytest.approx(0.9991571, abs=1e-7)
    assert traj.h_x == pytest.approx(12)


def test_losses_are_of_the_right_patterns() -> None:
    """Accuracy and loss against the network itself, rebuilt from its seed and evaluated in NumPy."""
    config = replace(TINY, dataset="regular_90", epochs=0, logged_epochs=(0,), seeds=(7,))
    traj = ibjax.run(config)
    program = assemble(config)
    sample, state = program.trainer.start(jnp.uint32(7), jnp.asarray(program.inputs), jnp.asarray(program.conditional))
    a = np.asarray(program.inputs, np.float64)
    layers = program.model.unravel(state.params)
    for i, layer in enumerate(layers):
        a = a @ np.asarray(layer["kernel"], np.float64) + np.asarray(layer["bias"], np.float64)
        a = np.tanh(a) if i < len(layers) - 1 else a
    y, mask = np.asarray(sample.labels), traj.train_mask[0]
    loss = np.logaddexp(0, np.where(y == 1, -a[:, 0], a[:, 0]))
    hit = (a[:, 0] > 0) == (y == 1)
    assert mask.sum() == int(0.85 * 4096)
    assert traj.train_loss[0, 0] == pytest.approx(loss[mask].mean(), rel=1e-5)
    assert traj.test_loss[0, 0] == pytest.approx(loss[~mask].mean(), rel=1e-5)
    assert traj.train_accuracy[0, 0] == pytest.approx(hit[mask].mean(), abs=1e-6)
    assert traj.test_accuracy[0, 0] == pytest.approx(hit[~mask].mean(), abs=1e-6)
    kernel = np.linalg.norm(np.asarray(layers[0]["kernel"]))
    assert traj.weight_norm[0, 0, 0] == pytest.approx(kernel, rel=1e-5)


def test_a_diverging_seed_leaves_the_others_alone() -> None:
    """A learning rate at which some networks overflow and some do not."""

    class Fragile:
        """Overflows in the seeds whose first weight is negative; some others have an infinite weight of no effect."""

        def init(self, key: jax.Array, inputs: jax.Array) -> Any:
            one = jax.random.normal(key, (inputs.shape[1], 3))
            return {"one": one, "out": jnp.ones((3, 1)), "idle": jnp.where(one[0, 1] > 0.5, jnp.inf, 0)}

        def apply(self, params: Any, inputs: jax.Array) -> Any:
            scale = jnp.where(params["one"][0, 0] < 0, 1e38, 1.0)
            a = jnp.tanh(inputs @ params["one"])
            logits = a @ params["out"] * scale * scale
            return logits, [a, jax.nn.sigmoid(logits)]

    config = Config(seeds=9, epochs=4, logged_epochs=4, batch_size=16, store_weights=True)
    with pytest.warns(RuntimeWarning, match=r"[1-8] of 9 networks diverged"):
        traj = ibjax.run(config, dataset=toy_dataset(), network=Fragile())
    assert 0 < traj.diverged.sum() < 9
    assert np.isfinite(traj.extras["params"][~traj.diverged]).all()
    assert np.isnan(traj.i_xt[traj.diverged, -1]).all()
    assert np.isfinite(traj.i_xt[~traj.diverged]).all()
    healthy = traj.seeds[~traj.diverged].tolist()
    alone = ibjax.run(replace(config, seeds=tuple(healthy)), dataset=toy_dataset(), network=Fragile())
    assert traj.of_seeds(healthy).differences(alone) == {}


def test_a_diverged_network_stays_diverged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it measures afterwards: here the second of two is not finite at the second logged epoch alone."""
    add = ResultBuffer.add

    def once(self: ResultBuffer, number: int, record: Any) -> None:
        if self.n_logged[number] == 1:
            record = record._replace(finite=np.arange(len(record.finite)) != 1)
        add(self, number, record)

    whole = ibjax.run(TINY)
    monkeypatch.setattr(ResultBuffer, "add", once)
    with pytest.warns(RuntimeWarning, match="1 of 2 networks diverged"):
        traj = ibjax.run(TINY)
    assert traj.diverged.tolist() == [False, True]
    assert traj.of_seeds([0]).differences(whole.of_seeds([0])) == {}
    assert np.isfinite(traj.i_xt[1, 0]).all()
    assert np.isnan(traj.i_xt[1, 1:]).all()


class Linen(nn.Module):  # type: ignore[misc]
    """Two layers of the contract."""

    @nn.compact  # type: ignore[untyped-decorator]
    def __call__(self, x: jax.Array) -> Any:
        a = nn.tanh(nn.Dense(5, name="first")(x))
        logits = nn.Dense(3, name="second")(a)
        return logits, [a, nn.softmax(logits)]


class Nnx(nnx.Module):  # type: ignore[misc]
    """The same in the newer interface."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first = nnx.Linear(6, 5, rngs=rngs)
        self.second = nnx.Linear(5, 3, rngs=rngs)

    def __call__(self, x: jax.Array) -> Any:
        a = nnx.tanh(self.first(x))
        logits = self.second(a)
        return logits, [a, nnx.softmax(logits)]


def test_a_sweep_is_one_run() -> None:
    """All that may differ by seed, at once: each network to the bit as where all have its values."""
    config = replace(TINY, seeds=3, epochs=20, dataset="var_u", backend="plain")
    rates, shares, noises = (0.1, 0.4, 0.1), (0.85, 0.3, 0.85), (0.1, 0.0, 0.0)
    fields: dict[str, Any] = {"learning_rate": rates, "train_fraction": shares, "noise": noises}
    fields |= {"weight_decay": (0.01, 0.0, 0.0), "initial_scale": (1.0, 0.5, 1.0)}
    with compilations() as compiled:
        sweep = ibjax.run(replace(config, **fields))
    assert len(compiled) == 3
    for seed in (0, 1):
        one: dict[str, Any] = {field: values[seed] for field, values in fields.items()}
        alone = ibjax.run(replace(config, seeds=(seed,), **one))
        assert sweep.of_seeds([seed]).differences(alone) == {}
    assert sweep.swept().keys() == fields.keys()
    assert sweep.train_mask.sum(axis=1).tolist() == [3481, 1228, 3481]
    assert sweep.of_seeds([2, 1]).setting("learning_rate").tolist() == [0.1, 0.4]
    assert sweep.setting("bins").tolist() == [30, 30, 30]
    other = ibjax.run(replace(config, seeds=(9, 7), learning_rate=(0.2, 0.3), noise=0.5))
    joint = ibjax.concatenate([sweep.of_seeds([2, 0]), other])
    assert joint.setting("learning_rate").tolist() == [0.1, 0.1, 0.2, 0.3]
    assert joint.setting("train_fraction").tolist() == [0.85, 0.85, 0.85, 0.85]
    assert joint.of_seeds([9, 0]).setting("noise").tolist() == [0.5, 0.1]


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_step_takes_off_its_share_of_every_parameter(optimizer: str) -> None:
    """Two full batches: the second begins with biases other than zero. The gradients told are the loss's alone."""
    config = replace(TINY, batch_size=None, epochs=2, logged_epochs=(0, 1, 2), optimizer=optimizer, store_weights=True)
    config, decay = replace(config, learning_rate=0.2), np.array([0.3, 0.1])
    plain, decayed = ibjax.run(config), ibjax.run(replace(config, weight_decay=tuple(decay)))
    np.testing.assert_array_equal(decayed.gradient_mean[:, :2], plain.gradient_mean[:, :2])
    for layer, name in enumerate(plain.layer_names):
        for kind in ("weights", "biases"):
            before, after = plain.extras[f"{kind}_{name}"][:, 0], plain.extras[f"{kind}_{name}"][:, 1]
            taken = 0.2 * decay.reshape(2, *(1,) * (before.ndim - 1)) * before
            np.testing.assert_allclose(decayed.extras[f"{kind}_{name}"][:, 1], after - taken, rtol=0, atol=1e-6)
        if optimizer == "sgd":
            first, second = (decayed.extras[f"weights_{name}"][:, epoch].astype(np.float64) for epoch in (1, 2))
            gradient = (first - second) / 0.2 - decay[:, None, None] * first
            norms = np.linalg.norm(gradient, axis=(1, 2))
            np.testing.assert_allclose(norms, decayed.gradient_mean[:, 2, layer], rtol=1e-3, atol=1e-6)


def test_steps_with_momentum_go_along_what_came_before() -> None:
    """Full batches: from the weights of three epochs the gradients follow, whose norms the run tells by itself."""
    config = replace(TINY, batch_size=None, logged_epochs=(0, 1, 2, 3), learning_rate=0.2, store_weights=True)
    run = ibjax.run(replace(config, momentum=0.9))
    for layer, name in enumerate(run.layer_names):
        steps = -np.diff(run.extras[f"weights_{name}"].astype(np.float64), axis=1) / 0.2
        gradients = np.concatenate([steps[:, :1], steps[:, 1:] - 0.9 * steps[:, :-1]], axis=1)
        norms = np.linalg.norm(gradients, axis=(2, 3))
        np.testing.assert_allclose(norms, run.gradient_mean[:, 1:, layer], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(("platform", "ahead"), [("cpu", 0), ("gpu", 1)])
def test_how_far_the_host_runs_ahead(platform: str, ahead: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt waits for all that a device was given: one call on a CPU, elsewhere the next one too, and of epochs
    of a tenth of a second two a call. The device is a pretence, with a clock of its own."""
    now, given, waits = 0.0, [], []

    def train(sample: Any, state: Any, inputs: Any, first: int, last: int, learn: bool, _: None) -> tuple[Any, int]:
        given.append(int(last) - int(first))
        return state, len(given) - 1

    def block_until_ready(call: int) -> None:
        nonlocal now
        waits.append(len(given) - 1 - call)
        now += 0.1 * given[call]

    programs: dict[str, Any] = {"train": train, "measure": lambda *_: np.zeros(1)}
    lowered = {name: SimpleNamespace(out_info=None) for name in programs}
    monkeypatch.setattr(blocks, "lower", lambda *_, **__: lowered)
    monkeypatch.setattr(blocks, "_compile", lambda *_: list(programs.values()))
    monkeypatch.setattr(blocks, "time", SimpleNamespace(perf_counter=lambda: now))
    monkeypatch.setattr(DeviceProgram, "put", lambda _, value: value)
    monkeypatch.setattr(jax, "block_until_ready", block_until_ready)
    parts = dict.fromkeys(("inputs", "conditional", "targets", "schedule"))
    program: Any = SimpleNamespace(**parts, measurements=(), config=SimpleNamespace(schedule=()))
    where: Any = SimpleNamespace(platform=platform)
    nothing: Any = None
    device = DeviceProgram(program, 2, where)
    block: Block | None = Block(0, 2, 0, 0, nothing, nothing)
    while block is not None:
        block = device.advance(block, (0, 1, 50), threading.Event(), lambda *_: None)
    assert sum(given) == 51  # one without updates
    assert given[-5:-1] == [2] * 4
    assert waits == [ahead] * (len(given) - 3 * ahead)  # the last of an interval is waited for by who measures


def test_initial_kernels_are_scaled() -> None:
    config = replace(TINY, epochs=1, logged_epochs=2, store_weights=True)
    plain, scaled = (ibjax.run(replace(config, initial_scale=scale)) for scale in (1.0, (2.0, 0.5)))
    for name in plain.layer_names:
        before, after = (run.extras[f"weights_{name}"][:, 0] for run in (plain, scaled))
        np.testing.assert_array_equal(after, before * np.array([2.0, 0.5], np.float32)[:, None, None])
        assert not scaled.extras[f"biases_{name}"][:, 0].any()
        assert scaled.extras[f"biases_{name}"][:, 1].any()
    np.testing.assert_array_equal(scaled.train_mask, plain.train_mask)


def test_what_is_not_used_is_no_part_of_the_program() -> None:
    """A decay of 0 and a scale of 1, said or not, for all or by seed, compile to the program of before; a momentum of 0
    is no state of the optimizer."""
    still, moved = (assemble(replace(TINY, momentum=momentum)).trainer.make_rule for momentum in (0.0, 0.9))
    assert [len(jax.tree.leaves(make(HyperParameters()).init(jnp.zeros(3)))) for make in (still, moved)] == [0, 1]
    assert not jax.tree.leaves(assemble(replace(TINY, weight_decay=(0.0, 0.0), initial_scale=(1, 1.0))).per_seed.values)
    assert len(jax.tree.leaves(assemble(replace(TINY, weight_decay=(0.0, 0.1), initial_scale=2)).per_seed.values)) == 2


@pytest.mark.parametrize(
    ("activation", "p_x"),
    [("tanh", None), ("relu", np.random.default_rng(5).dirichlet(np.ones(64)))],
    ids=["uniform", "weighted"],
)
def test_measured_on_some_of_the_patterns(activation: str, p_x: Any) -> None:
    """Against the kernel applied to the patterns of the set alone, network by network."""
    toy = replace(toy_dataset(3), p_x=p_x)
    config = replace(TINY, epochs=4, batch_size=8, output="softmax", activation=activation, store_weights=True)
    for part in ("train", "test"):
        traj = ibjax.run(replace(config, measure_on=part), dataset=toy)
        for seed in range(2):
            chosen = traj.train_mask[seed] == (part == "train")
            weight = toy.marginal[chosen] / toy.marginal[chosen].sum()
            a = jnp.asarray(toy.inputs[chosen], jnp.float32)
            for layer, name in enumerate(traj.layer_names):
                a = a @ traj.extras[f"weights_{name}"][seed, -1] + traj.extras[f"biases_{name}"][seed, -1]
                a = getattr(jax.nn, activation)(a) if name != "output" else jax.nn.softmax(a)
                ends: dict[str, Any] = {}
                if activation == "relu" and name != "output":
                    low, high = float(a.min()), float(a.max())
                    assert traj.extras["range_high"][seed, -1, layer] == pytest.approx(high, rel=1e-5)
                    assert traj.extras["range_low"][seed, -1, layer] == pytest.approx(low, rel=1e-5, abs=1e-7)
                    ends = {"low": low, "high": high}
                i_xt, i_ty = ibjax.layer_information(
                    a, toy.p_y_given_x[chosen], p_x=None if p_x is None else weight, **ends
                )
                # A rounding of an activation may move one pattern across an edge of a bin.
                slack = 1e-5 if activation == "tanh" else 2 * float(weight.max()) * np.log2(64)
                assert traj.i_xt[seed, -1, layer] == pytest.approx(float(i_xt), abs=slack)
                assert traj.i_ty[seed, -1, layer] == pytest.approx(float(i_ty), abs=slack)
            part_alone = Dataset(toy.inputs[chosen], toy.p_y_given_x[chosen], weight)
            assert traj.extras["h_x_measured"][seed] == pytest.approx(part_alone.h_x, abs=1e-12)
            assert traj.extras["i_xy_measured"][seed] == pytest.approx(part_alone.information, abs=1e-12)
        assert np.all(traj.i_xt <= traj.extras["h_x_measured"][:, None, None] + 1e-5)
        assert check_bounds(traj).ok


class Copy:
    """The built-in network as a flax module, with its weights."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        self._own = Perceptron(widths)

        class Module(nn.Module):  # type: ignore[misc]
            @nn.compact  # type: ignore[untyped-decorator]
            def __call__(self, x: jax.Array) -> Any:
                activations = []
                for index, width in enumerate(widths[1:-1], 1):
                    x = nn.tanh(nn.Dense(width, name=f"hidden_{index}")(x))
                    activations.append(x)
                logits = nn.Dense(1, name="output")(x)
                return logits, [*activations, nn.sigmoid(logits)]

        self._module = Module()

    def init(self, key: jax.Array, inputs: jax.Array) -> Any:
        names = self._own.model.layer_names
        return {"params": dict(zip(names, self._own.init(key), strict=True))}

    def apply(self, params: Any, inputs: jax.Array) -> Any:
        return self._module.apply(params, inputs)


@pytest.mark.parametrize("hidden", [(4, 3), (100, 20, 3)], ids=["narrow", "wide"])
def test_the_built_in_network_and_its_copy_in_flax(hidden: tuple[int, ...]) -> None:
    """The unrolled sums of narrow layers, the products of wide ones, and flax's: the same up to 300 roundings."""
    config = replace(TINY, hidden_widths=hidden, epochs=20, dataset="var_u")
    own, copy = ibjax.run(config), ibjax.run(config, network=Copy((12, *hidden, 1)))
    assert copy.layer_names == own.layer_names
    assert copy.layer_widths == own.layer_widths
    for key in ("train_loss", "test_loss", "weight_norm"):
        np.testing.assert_allclose(getattr(copy, key), getattr(own, key), rtol=3e-5)
    for key in ("gradient_mean", "gradient_std"):
        np.testing.assert_allclose(getattr(copy, key), getattr(own, key), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("network", [Linen(), Nnx], ids=["linen", "nnx"])
def test_other_peoples_networks_train(network: Any) -> None:
    config = Config(seeds=3, epochs=60, logged_epochs=(0, 60), batch_size=16)
    traj = ibjax.run(config, dataset=toy_dataset(3), network=network, optimizer=optax.adam(1e-2))
    assert traj.layer_widths == (5, 3)
    assert traj.layer_names == ("first", "second")
    assert np.all(traj.train_loss[:, -1] < traj.train_loss[:, 0])
    assert np.isfinite(traj.gradient_mean).all()
    assert np.all(traj.extras["range_low"] < traj.extras["range_high"])
    assert traj.config["custom"] == ["dataset", "network", "optimizer"]


class Convolution(nn.Module):  # type: ignore[misc]
    """Images in, a layer of several axes; where `flat`, the same of vectors, with layers of one axis."""

    flat: bool = False

    @nn.compact  # type: ignore[untyped-decorator]
    def __call__(self, x: jax.Array) -> Any:
        images = x.reshape(-1, 2, 3, 1)
        a = nn.tanh(nn.Conv(2, (2, 2), name="filters")(images))
        logits = nn.Dense(3, name="classes")(a.reshape(len(a), -1))
        return logits, [a.reshape(len(a), -1) if self.flat else a, nn.softmax(logits)]


def test_inputs_and_layers_of_any_rank() -> None:
    """Images and a convolution are the vectors and the layers that they make when their axes are joined."""
    vectors = toy_dataset(3)
    images = Dataset(vectors.inputs.reshape(-1, 2, 3, 1), vectors.p_y_given_x)
    config = Config(seeds=3, epochs=20, logged_epochs=(0, 20), batch_size=16, store_weights=True)
    one = ibjax.run(config, dataset=images, network=Convolution())
    other = ibjax.run(config, dataset=vectors, network=Convolution(flat=True))
    assert one.layer_widths == other.layer_widths == (12, 3)
    assert (one.h_x, one.i_xy) == (other.h_x, other.i_xy)
    np.testing.assert_allclose(one.train_loss, other.train_loss, rtol=1e-5)
    # A rounding of an activation may move one of the 64 patterns across an edge of a bin.
    np.testing.assert_allclose(one.i_xt, other.i_xt, atol=2 * np.log2(64) / 64)
    assert one.i_xt[:, 0, 0].min() > 3
    again = ibjax.measure(one, dataset=images, network=Convolution())
    np.testing.assert_array_equal(again.i_xt, one.i_xt)


def test_own_optimizer_equals_the_configured_one() -> None:
    config = replace(TINY, learning_rate=0.05)
    a, b = ibjax.run(config), ibjax.run(config, optimizer=optax.sgd(0.05))
    np.testing.assert_allclose(a.train_loss, b.train_loss, rtol=1e-6)


def test_own_optimizer_sees_the_layers() -> None:
    """The network's tree of parameters, whose layers it may treat apart: a kernel and a bias for each of three."""
    seen: list[int] = []

    def init(params: Any) -> Any:
        seen.append(len(jax.tree.leaves(params)))
        return optax.EmptyState()

    optimizer = optax.GradientTransformation(init, lambda updates, state, params=None: (updates, state))
    program = assemble(TINY, optimizer=optimizer)
    jax.eval_shape(program.start, np.zeros(2, np.uint32), program.inputs, program.conditional)
    assert seen == [6]


def test_full_batch_of_seeds_with_more_and_fewer_patterns() -> None:
    assert assemble(replace(TINY, batch_size=None, train_fraction=(0.3, 0.85))).trainer.batch_size == 3481


def test_float64_stays_inside_the_run() -> None:
    """Where every pattern has a cell of its own, the informations are those of the data, to more than float32 holds."""
    traj = ibjax.run(replace(TINY, precision="float64", bins=4096))
    assert traj.i_xt.dtype == np.float64
    np.testing.assert_allclose(traj.i_xt[:, 0, 0], 12, rtol=0, atol=1e-12)
    np.testing.assert_allclose(traj.i_ty[:, 0, 0], traj.i_xy, rtol=0, atol=1e-12)
    assert jnp.ones(2).dtype == jnp.float32
    rates = assemble(replace(TINY, precision="float64", learning_rate=(0.1, 0.7), noise=0.3)).per_seed.values
    assert [np.asarray(rate).tolist() for rate in (rates.learning_rate, rates.noise_std)] == [[0.1, 0.7], [0.3, 0.3]]
    single = ibjax.run(TINY)
    assert single.i_xt.dtype == np.float32
    np.testing.assert_array_equal(traj.train_mask, single.train_mask)


@pytest.mark.parametrize("activation", ["relu", "linear", "softsign", "softplus", "arcsinh"])
def test_unbounded_layers_are_binned_in_their_own_range(activation: str) -> None:
    traj = ibjax.run(replace(TINY, activation=activation, output="softmax"))
    assert np.isfinite(traj.i_xt).all()
    if activation == "softsign":
        assert traj.extras == {}
    else:
        assert np.all(traj.extras["range_high"][..., :-1] > traj.extras["range_low"][..., :-1])
        assert np.all(traj.extras["range_low"][..., -1] == -1)


def test_stored_weights_give_the_stored_norms() -> None:
    traj = ibjax.run(replace(TINY, store_weights=True))
    for layer, name in enumerate(traj.layer_names):
        norms = np.linalg.norm(traj.extras[f"weights_{name}"], axis=(2, 3))
        np.testing.assert_allclose(norms, traj.weight_norm[:, :, layer], rtol=1e-6)
    assert traj.extras["biases_output"].shape == (2, len(TINY.logged), 1)
    assert np.any(traj.extras["biases_output"][:, -1] != 0)
    plain = ibjax.run(TINY)
    assert np.array_equal(plain.i_xt, traj.i_xt)


def test_no_test_patterns() -> None:
    traj = ibjax.run(replace(TINY, train_fraction=1.0))
    assert np.isnan(traj.test_loss).all()
    assert np.isnan(traj.test_accuracy).all()
    assert not traj.diverged.any()


def test_full_batch_and_patterns_in_order() -> None:
    traj = ibjax.run(replace(TINY, batch_size=None, shuffle=False, split="ordered"))
    assert traj.train_mask[:, :3481].all()
    assert not traj.train_mask[:, 3481:].any()
    assert np.all(traj.gradient_std[:, 0] < 1e-6)  # one batch: nothing to spread


def test_progress_is_told_of_every_logged_epoch() -> None:
    seen: list[ibjax.Progress] = []
    ibjax.run(replace(TINY, seeds=12), progress=seen.append)
    assert len(seen) == 1 + 2 * len(TINY.logged)
    assert (seen[0].done, seen[0].total, seen[0].resumed) == (0, 6, 0)
    assert np.isnan([seen[0].accuracy, seen[0].i_xt]).all()
    assert all(0 < state.seconds == seen[0].seconds for state in seen)
    assert seen[-1].done == seen[-1].total == 6
    assert seen[-1].epoch == 3
    assert 0 <= seen[-1].accuracy <= 1
    assert 0 <= seen[-1].i_xt <= 12


def test_an_interrupt_in_the_middle_ends_the_run() -> None:
    class EnoughError(Exception):
        pass

    def stop(progress: ibjax.Progress) -> None:
        raise EnoughError

    with pytest.raises(EnoughError):
        ibjax.run(replace(TINY, epochs=1000, logged_epochs=50), progress=stop)


class NoPair:
    def init(self, key: jax.Array, inputs: jax.Array) -> Any:
        return {"w": jnp.ones((inputs.shape[1], 1))}

    def apply(self, params: Any, inputs: jax.Array) -> Any:
        return inputs @ params["w"]


class WrongShape(NoPair):
    def apply(self, params: Any, inputs: jax.Array) -> Any:
        logits = inputs @ params["w"]
        return logits, [logits[:, 0]]


class ManyLogits(NoPair):
    def apply(self, params: Any, inputs: jax.Array) -> Any:
        a = jnp.tile(inputs @ params["w"], (1, 5))
        return a, [a]


class ChangesShape(NoPair):
    def apply(self, params: Any, inputs: jax.Array) -> Any:
        logits = inputs @ params["w"]
        return logits, [jnp.tile(logits, (1, len(inputs)))]


class Fails(NoPair):
    def apply(self, params: Any, inputs: jax.Array) -> Any:
        return inputs @ params["w"].T, [inputs]


class Random(NoPair):
    """Python's own random numbers, a constant of every trace."""

    def apply(self, params: Any, inputs: jax.Array) -> Any:
        logits = inputs @ params["w"] * random.random()
        return logits, [logits]


class RandomArray(NoPair):
    def apply(self, params: Any, inputs: jax.Array) -> Any:
        logits = inputs @ params["w"] + np.random.default_rng().normal(size=(len(inputs), 1))
        return logits, [logits]


class Counts(NoPair):
    def init(self, key: jax.Array, inputs: jax.Array) -> Any:
        return {"w": jnp.ones((inputs.shape[1], 1)), "calls": jnp.int32(0)}


class Dropout(nn.Module):  # type: ignore[misc]
    @nn.compact  # type: ignore[untyped-decorator]
    def __call__(self, x: jax.Array) -> Any:
        logits = nn.Dense(1)(nn.Dropout(0.5, deterministic=False)(x))
        return logits, [logits]


class Norm(nn.Module):  # type: ignore[misc]
    @nn.compact  # type: ignore[untyped-decorator]
    def __call__(self, x: jax.Array) -> Any:
        logits = nn.Dense(1)(nn.BatchNorm(use_running_average=False)(x))
        return logits, [logits]


class TrainableNorm(nn.Module):  # type: ignore[misc]
    @nn.compact  # type: ignore[untyped-decorator]
    def __call__(self, x: jax.Array, train: bool) -> Any:
        logits = nn.Dense(1)(nn.BatchNorm(use_running_average=not train)(x))
        return logits, [logits]


class OtherInTraining(nn.Module):  # type: ignore[misc]
    @nn.compact  # type: ignore[untyped-decorator]
    def __call__(self, x: jax.Array, train: bool) -> Any:
        logits = nn.Dense(2)(x)[:, : 2 - train]
        return logits, [logits]


class NnxDropout(nnx.Module):  # type: ignore[misc]
    """Dropout that is on when the network is measured, too."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.dense, self.dropout = nnx.Linear(12, 1, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x: jax.Array) -> Any:
        logits = self.dense(self.dropout(x, deterministic=False))
        return logits, [logits]


class Callback(NoPair):
    """Computed by Python, which nobody has told how to compute several at once."""

    def apply(self, params: Any, inputs: jax.Array) -> Any:
        logits = inputs @ params["w"]
        logits += jax.pure_callback(np.sin, jax.ShapeDtypeStruct(logits.shape, logits.dtype), logits)
        return logits, [logits]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"network": ChangesShape()}, ValueError, ["widths (2,) for 2 patterns and (3,) for 3", "always the same"]),
        ({"network": Fails()}, ValueError, ["network fails on 2 patterns of 12 features"]),
        ({"network": Random()}, ValueError, ["not deterministic", "random numbers"]),
        ({"network": RandomArray()}, ValueError, ["not deterministic"]),
        ({"network": Counts()}, TypeError, ["int32", "calls", "floating"]),
        ({"network": Dropout()}, ValueError, ["network", "PRNG", "an argument train"]),
        ({"network": Norm()}, ValueError, ["network", "batch_stats", "an argument train"]),
        ({"network": OtherInTraining()}, ValueError, ["logits of shape (2, 1) in training", "(2, 2)"]),
        ({"network": NnxDropout}, ValueError, ["not deterministic", "dropout off"]),
        ({"network": Callback()}, ValueError, ["jax.vmap", "vmap_method"]),
        (
            {"network": TrainableNorm(), "config": replace(TINY, train_fraction=(0.5, 0.8))},
            ValueError,
            ["train_fraction", "statistics", "one number for all"],
        ),
        ({"network": lambda rngs: 3}, ValueError, ["nnx.Module"]),
        ({"network": Dropout, "config": TINY}, TypeError, ["network = Dropout, a class", "an instance"]),
        ({"network": NoPair(), "config": replace(TINY, noise=0.1)}, ValueError, ["noise = 0.1", "built-in network"]),
        (
            {"network": NoPair(), "config": replace(TINY, initial_scale=(1, 2))},
            ValueError,
            ["initial_scale = (1.0, 2.0)", "built-in network"],
        ),
        (
            {"optimizer": optax.sgd(0.1), "config": replace(TINY, weight_decay=(0, 0.1))},
            ValueError,
            ["weight_decay = (0.0, 0.1)", "with optimizer=...", "allowed: 0"],
        ),
        (
            {"optimizer": optax.sgd(0.1), "config": replace(TINY, momentum=0.9)},
            ValueError,
            ["momentum = 0.9", "with optimizer=...", "allowed: 0"],
        ),
        (
            {"optimizer": optax.sgd(0.1), "config": replace(TINY, learning_rate=(0.1, 0.2))},
            ValueError,
            ["learning_rate", "with optimizer=...", "one number for all"],
        ),
        ({"config": replace(TINY, train_fraction=(0.5, 1e-5))}, ValueError, ["train_fraction", "1e-05"]),
        ({"config": replace(TINY, train_fraction=(0.5, 0.05))}, ValueError, ["batch_size = 256", "204"]),
        ({"config": replace(TINY, train_fraction=1.0, measure_on="test")}, ValueError, ["measure_on", "less than 1"]),
        ({"config": replace(TINY, backend="fused")}, ValueError, ["backend", "compute capability of a cpu"]),
        ({"config": replace(TINY, activation="softsign", backend="fused")}, ValueError, ["backend", "tanh or relu"]),
        ({"config": {"seeds": 3}}, TypeError, ["config", "ibjax.Config"]),
        ({"config": replace(TINY, batch_size=3482)}, ValueError, ["batch_size", "3482", "3481"]),
        ({"config": replace(TINY, train_fraction=1e-5)}, ValueError, ["train_fraction", "1e-05"]),
        ({"dataset": np.ones((3, 2))}, TypeError, ["dataset", "ibjax.Dataset"]),
        ({"dataset": toy_dataset(3)}, ValueError, ["batch_size", "54"]),
        ({"config": replace(TINY, batch_size=8), "dataset": toy_dataset(3)}, ValueError, ["output", "softmax"]),
        (
            {
                "config": replace(TINY, batch_size=8, output="softmax", estimators=("knn",)),
                "dataset": replace(toy_dataset(3), p_x=np.full(64, 1 / 64)),
            },
            ValueError,
            ["estimator 'knn' with p_x given", "equally likely"],
        ),
        ({"network": 3}, TypeError, ["network", "flax"]),
        ({"network": NoPair()}, TypeError, ["network", "activations"]),
        ({"network": WrongShape()}, ValueError, ["network", "shape"]),
        ({"network": ManyLogits()}, ValueError, ["5 logits", "2 classes"]),
        ({"optimizer": "adam"}, TypeError, ["optimizer", "optax"]),
        ({"progress": 3}, TypeError, ["progress", "3"]),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_compiled(
    arguments: dict[str, Any], error: type[Exception], words: list[str]
) -> None:
    with compilations() as compiled, pytest.raises(error) as caught:
        ibjax.run(**{"config": TINY, **arguments})
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert len(compiled) == 0


def test_importing_is_silent_and_leaves_the_flags_alone() -> None:
    code = (
        "import jax; before = dict(jax.config.values); import ibjax; ibjax.run, ibjax.Config, ibjax.load; "
        "assert dict(jax.config.values) == before"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == done.stderr == ""


@pytest.mark.parametrize(("n_devices", "seeds"), [(2, 24), pytest.param(8, 50, marks=pytest.mark.slow)])
def test_all_devices_are_used_and_give_the_same_to_the_bit(n_devices: int, seeds: int, tmp_path: Path) -> None:
    """Blocks of seeds go to the devices in turn; here parts of a CPU, which only a fresh process can have."""
    config = replace(TINY, seeds=seeds)
    code = f"""
import ibjax
from ibjax.ensemble.blocks import DeviceProgram

used, advance = set(), DeviceProgram.advance

def recorded(self, *arguments):
    used.add(self._device)
    return advance(self, *arguments)

DeviceProgram.advance = recorded
ibjax.run(ibjax.{config!r}).save("several.npz")
assert len(used) == {n_devices}, used
"""
    environment = {**os.environ, "XLA_FLAGS": f"--xla_force_host_platform_device_count={n_devices}"}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert ibjax.run(config).differences(ibjax.load(tmp_path / "several.npz")) == {}


@pytest.mark.parametrize(
    ("n_seeds", "n_devices", "sizes"),
    [
        (50, 1, [10] * 5),
        (24, 2, [10, 10, 4]),
        (50, 8, [7, 7, 6, 6, 6, 6, 6, 6]),
        (3, 8, [1, 1, 1]),
        (81, 8, [10] * 8 + [1]),
    ],
)
def test_blocks_of_seeds(n_seeds: int, n_devices: int, sizes: list[int]) -> None:
    """Every device has one where there are seeds enough, and none is larger than it must be."""
    parts, blocks = split(np.arange(100, 100 + n_seeds), 10, n_devices)
    assert [len(part) for part in parts] == sizes
    assert np.concatenate(parts).tolist() == list(range(100, 100 + n_seeds))
    for part, block in zip(parts, blocks, strict=True):
        assert block.tolist() == [*part.tolist(), *[part[0]] * (10 - len(part))]


def test_what_a_run_takes_is_told_before_any_network_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """A million blocks take long to begin."""
    monkeypatch.setattr("ibjax.ensemble.run._begin", lambda *_: pytest.fail("a block was begun"))

    class ToldError(Exception):
        pass

    def told(state: ibjax.Progress) -> None:
        assert state.seconds > 0
        raise ToldError

    with pytest.raises(ToldError):
        ibjax.run(TINY, progress=told)


def test_a_process_of_a_distributed_job_trains_on_its_own_devices(tmp_path: Path) -> None:
    """Two processes that have called jax.distributed.initialize, with a device each; both say so."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = f"""
import sys, warnings, jax
number = int(sys.argv[1])
jax.distributed.initialize("127.0.0.1:{port}", num_processes=2, process_id=number)
import ibjax
from dataclasses import replace
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    ibjax.run(replace(ibjax.{TINY!r}, seeds=(2 * number, 2 * number + 1))).save(f"{{number}}.npz")
print([str(one.message) for one in told if one.category is RuntimeWarning])
"""
    environment = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(n)], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
        )
        for n in (0, 1)
    ]
    said = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    for number, text in enumerate(said):
        assert f"process {number} of 2 of a jax.distributed job" in text
        assert "on its own 1 of 2 devices" in text
    parts = [ibjax.load(tmp_path / f"{number}.npz") for number in (0, 1)]
    assert ibjax.concatenate(parts).differences(ibjax.run(replace(TINY, seeds=4))) == {}


def test_kept_programs_do_not_mix_up_the_settings_of_seeds() -> None:
    """Same rates, other seeds: the second run must not take the programs of the first."""
    first, second = (replace(TINY, seeds=seeds, learning_rate=(0.05, 0.2)) for seeds in ((0, 1), (1, 0)))
    runs = [ibjax.run(first), ibjax.run(second)]
    alone = ibjax.run(replace(TINY, seeds=(1,), learning_rate=0.05))
    np.testing.assert_array_equal(runs[1].train_loss[0], alone.train_loss[0])
    assert (runs[0].train_loss[1] != alone.train_loss[0]).any()
