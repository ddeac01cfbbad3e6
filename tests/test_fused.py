"""The fused trainer against the plain one: the same training up to the order of float32 sums (emulated on a CPU)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from emulation import host_launch, needs_compiler

import ibjax
from ibjax import Config, Dataset
from ibjax.ensemble.assemble import assemble
from ibjax.networks.perceptron import Perceptron
from ibjax.training.fused import EPOCHS_PER_LAUNCH, FusedTrainer, Launch, gpu_launch
from ibjax.training.ptx import NoKernelError, Variant, kernel
from ibjax.training.rules.base import HyperParameters
from ibjax.training.rules.descent import GradientDescent
from ibjax.training.trainer import State

pytestmark = pytest.mark.usefixtures("unoptimized")

SHORT = replace(ibjax.PRESETS["paper"], seeds=2, epochs=3, logged_epochs=3)

Launches = Callable[[Variant], Launch]


@pytest.fixture(scope="session")
def launches(tmp_path_factory: pytest.TempPathFactory) -> Launches:
    """Emulated kernels, each compiled once."""
    folder: Path = tmp_path_factory.mktemp("kernels")
    return lambda variant: host_launch(variant, folder)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seeds a block: the emulation takes one after the other."""
    monkeypatch.setattr("ibjax.ensemble.blocks._BLOCK", 2)


@pytest.fixture
def emulated(monkeypatch: pytest.MonkeyPatch, launches: Launches) -> None:
    """A run with the fused trainer finds the emulation where a GPU's kernel would be."""

    def launch_on(device: jax.Device, network: Perceptron, *, adam: bool, noise: bool) -> Launch:
        return launches(Variant(network, adam, noise))

    monkeypatch.setattr("ibjax.ensemble.assemble.launch_on", launch_on)


CASES: dict[str, dict[str, Any]] = {
    "paper": {},
    "adam-softmax": {"optimizer": "adam", "learning_rate": 1e-3, "output": "softmax"},
    "odd-sizes": {"batch_size": 100, "hidden_widths": (17, 3), "shuffle": False},
    "one-layer": {"hidden_widths": (3,), "split": "ordered"},
    "relu-batches-of-several-chunks": {"activation": "relu", "batch_size": 600, "hidden_widths": (9, 8)},
    "wide": {"hidden_widths": (100, 20), "batch_size": 300},
    "uneven": {
        "train_fraction": (0.5, 0.85),
        "learning_rate": (0.1, 0.05),
        "weight_decay": (0.01, 0.02),
        "hidden_widths": (4, 3, 2),
    },
    "adamw": {"optimizer": "adam", "learning_rate": 1e-3, "weight_decay": 0.1, "hidden_widths": (5, 4)},
    "noise": {"noise": (0.1, 0.3), "batch_size": 300, "hidden_widths": (6, 5), "output": "softmax"},
    "noisy-adam": {"noise": 0.2, "optimizer": "adam", "learning_rate": 1e-3, "hidden_widths": (8, 6, 4)},
    "noisy-relu-adam": {
        "noise": 0.2,
        "optimizer": "adam",
        "learning_rate": 1e-3,
        "activation": "relu",
        "hidden_widths": (8, 6, 4),
    },
    "noisy-relu": {"noise": 0.2, "activation": "relu", "hidden_widths": (8, 6, 4)},
    "momentum": {"momentum": 0.9, "weight_decay": 0.01, "hidden_widths": (5, 4)},
}

RULES: dict[str, dict[str, Any]] = {
    "sgd": {},
    "momentum": {"momentum": 0.9, "weight_decay": 0.01},
    "adam": {"optimizer": "adam"},
}


@needs_compiler
@pytest.mark.parametrize(
    ("case", "patterns"),
    [
        *((case, 1 if case.startswith("noisy") else 2) for case in CASES),
        *((case, 1) for case in ("paper", "odd-sizes", "wide", "noise")),
    ],
)
def test_epochs_are_those_of_jax_and_repeat_to_the_bit(case: str, patterns: int, launches: Launches) -> None:
    """Two epochs of every kind of kernel: 1e-5 of the largest number is a hundred roundings."""
    config = replace(SHORT, **CASES[case])
    program = assemble(config)
    outputs = 1 if config.output == "sigmoid" else 2
    network = Perceptron((12, *config.hidden_widths, outputs), config.activation, config.output)
    variant = Variant(network, config.optimizer == "adam", bool(np.any(config.noise)), patterns)
    rate = 0.0 if isinstance(config.learning_rate, tuple) else config.learning_rate
    fused = FusedTrainer(program.trainer, learning_rate=rate, momentum=config.momentum, launch=launches(variant))
    sample, state = jax.jit(program.start)(np.arange(2, dtype=np.uint32), program.inputs, program.conditional)
    expected = jax.jit(program.train)(sample, state, program.inputs, 3, 5, True)
    epochs = jax.jit(fused.epochs)
    found = epochs(sample, state, 3, 5, True)
    assert str(jax.tree.structure(found)) == str(jax.tree.structure(expected))
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * float(np.abs(other).max()))
    np.testing.assert_allclose(found[0].params, expected[0].params, rtol=0, atol=1e-5)
    assert float(fused.error(sample, state)) < 1e-5
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(epochs(sample, state, 3, 5, True)), strict=True):
        np.testing.assert_array_equal(one, other)


@needs_compiler
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_steps_with_noise_are_those_of_jax_where_epochs_cannot_be(
    activation: str, rule: str, launches: Launches
) -> None:
    """From every state of the plain path one step: its gradient, and what optax makes of the kernel's own gradient.

    Adam at a rate of 0.1 moves each parameter by about 0.1 whatever the size of its gradient: on the plain path too,
    starts that differ in the last bit end an epoch 0.02 apart and three epochs 1 apart (the paper's network, noise 0.1
    and 0.3). Steps stay comparable.
    """
    # A batch is all that a network learns from: an epoch is one step.
    config = replace(SHORT, noise=(0.1, 0.3), train_fraction=256 / 4096, hidden_widths=(8, 6, 4), **RULES[rule])
    program = assemble(replace(config, activation=activation))
    variant = Variant(Perceptron((12, *config.hidden_widths, 1), activation), rule == "adam", noise=True, patterns=1)
    fused = FusedTrainer(program.trainer, learning_rate=0.1, momentum=config.momentum, launch=launches(variant))

    @jax.jit
    @jax.vmap
    def update(hyper: HyperParameters, gradient: jax.Array, state: State) -> Any:
        rule = program.trainer.make_rule(hyper)
        assert isinstance(rule, GradientDescent)
        return rule.optimizer.update(gradient, state.rule, state.params)

    epochs, plain = jax.jit(fused.epochs), jax.jit(program.train)
    sample, state = jax.jit(program.start)(np.arange(2, dtype=np.uint32), program.inputs, program.conditional)
    for epoch in range(20):
        found, moments = epochs(sample, state, epoch, epoch + 1, True)
        change, rest = update(sample.hyper, moments.mean, state)
        # A rounding of the last operation.
        np.testing.assert_allclose(found.params, state.params + change, rtol=0, atol=3e-7)
        for one, other in zip(jax.tree.leaves(found.rule), jax.tree.leaves(rest), strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-6 * float(np.abs(other).max()))
        state, expected = plain(sample, state, program.inputs, epoch, epoch + 1, True)
        # Against float64 both are off by up to 8e-6 where units are saturated: their slopes are what is left of 1 - 1.
        atol = 2e-5 * float(np.abs(expected.mean).max())
        np.testing.assert_allclose(moments.mean, expected.mean, rtol=0, atol=atol)


@needs_compiler
@pytest.mark.parametrize("rule", ["momentum", "adam"])
def test_more_epochs_than_a_launch_holds(rule: str, launches: Launches) -> None:
    """A launch goes on where the one before ended, to the bit: its weights, its optimizer, its order of patterns."""
    config = replace(SHORT, hidden_widths=(2,), learning_rate=1e-3, batch_size=3000, **RULES[rule])
    program = assemble(config)
    variant = Variant(Perceptron((12, 2, 1)), adam=rule == "adam")
    fused = FusedTrainer(program.trainer, learning_rate=1e-3, momentum=config.momentum, launch=launches(variant))
    sample, start = jax.jit(program.start)(np.arange(2, dtype=np.uint32), program.inputs, program.conditional)
    epochs, last = jax.jit(fused.epochs), EPOCHS_PER_LAUNCH + 5
    state, moments = epochs(sample, start, 0, last, True)
    other = start
    for first, end in ((0, 7), (7, EPOCHS_PER_LAUNCH), (EPOCHS_PER_LAUNCH, last)):
        other, other_moments = epochs(sample, other, first, end, True)
    for a, b in zip(jax.tree.leaves((state, moments)), jax.tree.leaves((other, other_moments)), strict=True):
        np.testing.assert_array_equal(a, b)


@needs_compiler
@pytest.mark.usefixtures("emulated")
@pytest.mark.parametrize("case", ["paper", "adam-softmax", "momentum"])
def test_a_short_run_is_that_of_the_plain_path(case: str) -> None:
    config = replace(SHORT, **CASES[case])
    plain = ibjax.run(replace(config, backend="plain"))
    fused = ibjax.run(replace(config, backend="fused"))
    for name in ("train_loss", "test_loss", "weight_norm"):
        np.testing.assert_allclose(getattr(fused, name), getattr(plain, name), rtol=1e-5)
    for name in ("gradient_mean", "gradient_std"):
        np.testing.assert_allclose(getattr(fused, name), getattr(plain, name), rtol=1e-3, atol=1e-7)
    np.testing.assert_array_equal(fused.train_mask, plain.train_mask)
    # A rounding moves a few activations across an edge of a bin, and a few patterns across the decision.
    np.testing.assert_allclose(fused.i_xt, plain.i_xt, atol=0.02)
    np.testing.assert_allclose(fused.i_ty, plain.i_ty, atol=0.02)
    np.testing.assert_allclose(fused.train_accuracy, plain.train_accuracy, atol=2e-3)


@needs_compiler
@pytest.mark.usefixtures("emulated")
def test_without_learning_only_the_moments_change() -> None:
    config = replace(SHORT, epochs=0, logged_epochs=(0,), backend="fused")
    fused, plain = ibjax.run(config), ibjax.run(replace(config, backend="plain"))
    np.testing.assert_array_equal(fused.train_loss, plain.train_loss)
    np.testing.assert_allclose(fused.gradient_mean, plain.gradient_mean, rtol=1e-4)


def broken(kind: str) -> Launch:
    """A kernel that a device does not run, or that computes something else than its source says."""
    calls = []

    def run(parameters: Any, state: Any) -> Any:
        calls.append(0)
        if kind == "fails":
            raise OSError("an illegal instruction was encountered")
        drift = len(calls) if kind == "wavers" else 0
        gradients = np.zeros_like(state)
        return np.asarray(parameters) + np.float32(drift), np.asarray(state), gradients

    def launch(*arguments: jax.Array) -> Any:
        parameters, state = arguments[-2:]
        shapes = tuple(jax.ShapeDtypeStruct(a.shape, a.dtype) for a in (parameters, state, state))
        return jax.pure_callback(run, shapes, parameters, state)

    return launch


@pytest.mark.parametrize(
    ("kind", "words"),
    [("fails", "illegal instruction"), ("errs", "gradients are off by"), ("wavers", "does not repeat itself")],
)
def test_auto_falls_back_to_the_plain_path(kind: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a kernel does not run or computes something else: said once, and trained all the same."""
    widths = (len(kind),)  # programs are kept, and one that fell back says nothing the second time
    config = replace(SHORT, hidden_widths=widths, epochs=1, logged_epochs=2)
    plain = ibjax.run(replace(config, backend="plain"))
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr("ibjax.ensemble.assemble.launch_on", lambda *_, **__: broken(kind))
    if kind == "wavers":
        monkeypatch.setattr("ibjax.ensemble.blocks.DeviceProgram.fused_error", lambda *_: 0.0)
    said = f"(?s)trains on the plain path: the fused kernel does not run here.*{words}"
    with pytest.warns(UserWarning, match=said) as told:
        found = ibjax.run(replace(config, backend="auto"))
    assert len(told) == 1
    assert not found.differences(plain)
    with pytest.raises(Exception, match=words):
        ibjax.run(replace(config, backend="fused"))


def test_auto_without_a_kernel_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU that is too old, say."""

    def launch_on(*_: Any, **__: Any) -> Launch:
        raise NoKernelError("compute capability 7.5; allowed: NVIDIA's, 8.0 or newer")

    config = replace(SHORT, hidden_widths=(3,), epochs=1, logged_epochs=2)
    plain = ibjax.run(replace(config, backend="plain"))
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr("ibjax.ensemble.assemble.launch_on", launch_on)
    with pytest.warns(UserWarning, match=r"trains on the plain path: compute capability 7\.5"):
        found = ibjax.run(replace(config, backend="auto"))
    assert not found.differences(plain)
    assert assemble(replace(config, activation="softplus", backend="auto")).fused is None  # not said: it is documented


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_kernel_is_a_part_of_a_gpu_s_program(optimizer: str) -> None:
    """Lowered for a GPU without one: the kernel's text, its grid, its memory, its arguments, once a launch."""
    config = replace(ibjax.PRESETS["quick" if optimizer == "sgd" else "saxe"], backend="plain")
    program = assemble(config)
    widths = (12, *program.model.layer_widths)
    variant = Variant(Perceptron(widths, "tanh", config.output), optimizer == "adam")
    fused = FusedTrainer(program.trainer, learning_rate=0.1, launch=gpu_launch(kernel(variant)))
    sample, state = jax.eval_shape(
        program.start, jax.ShapeDtypeStruct((3,), np.uint32), program.inputs, program.conditional
    )
    lowered = jax.jit(fused.epochs).trace(sample, state, 0, 2, True).lower(lowering_platforms=("cuda",))
    text = lowered.as_text()
    assert text.count("stablehlo.custom_call @__gpu$xla.gpu.ptx") == 1
    for setting in ('name = "train"', "grid_x = 3 : i32", "block_x = 256 : i32", ".target sm_80"):
        assert setting in text
    assert f"shared_mem_bytes = {kernel(variant).memory_bytes} : i32" in text
    assert "output_indices = [7 : i32, 8 : i32, 9 : i32]" in text


@pytest.mark.parametrize(
    "changes", [{"activation": "softplus"}, {"hidden_widths": (129,)}, {"precision": "float64"}], ids=str
)
def test_what_it_cannot_train_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="backend = 'fused'; allowed for"):
        ibjax.run(replace(SHORT, backend="fused", **changes))


def test_a_device_that_is_no_gpu_is_refused() -> None:
    with pytest.raises(ValueError, match=r"but compute capability of a cpu; allowed: NVIDIA's, 8\.0"):
        ibjax.run(replace(SHORT, backend="fused"))


def test_real_inputs_are_refused() -> None:
    dataset = Dataset(np.linspace(0, 1, 64).reshape(32, 2), np.repeat([0.0, 1.0], 16))
    with pytest.raises(ValueError, match="inputs of 0 and 1"):
        ibjax.run(Config(seeds=1, batch_size=8, backend="fused"), dataset=dataset)


def test_noise_of_the_other_way_to_draw_is_not_in_the_kernel() -> None:
    """JAX has two ways to make numbers from a key; the kernel knows the newer one, which is the default."""
    with jax.threefry_partitionable(False), pytest.raises(ValueError, match="backend = 'fused'; allowed for"):
        ibjax.run(replace(SHORT, noise=0.1, backend="fused"))
