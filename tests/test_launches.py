"""The plain path of a GPU, run on a CPU: the same training as the CPU's own, up to the order of sums.

How many kernels a step of it takes on a GPU is counted in `test_gpu_offline.py`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_network import LinenNetwork
from test_training import RandomWalk

import ibjax
from ibjax import Config
from ibjax.ensemble.assemble import assemble
from ibjax.ensemble.blocks import lower
from ibjax.ensemble.program import Program
from ibjax.networks import perceptron, units
from ibjax.networks.perceptron import Perceptron
from ibjax.training.gradients import GradientMoments
from ibjax.training.launches import FewLaunches
from ibjax.training.trainer import State

pytestmark = pytest.mark.usefixtures("unoptimized")

X = np.random.default_rng(0).normal(size=(50, 4))
TASK = ibjax.Dataset(X, np.eye(2)[(X[:, 0] * X[:, 1] > 0).astype(int)])
EASY = Config(
    seeds=3, hidden_widths=(5, 3), batch_size=16, train_fraction=0.8, learning_rate=0.1, precision="float64", epochs=3
)

CASES: dict[str, dict[str, Any]] = {
    "sgd": {},
    "softmax-adam-decay": {"output": "softmax", "optimizer": "adam", "learning_rate": 0.01, "weight_decay": 0.1},
    "noise": {"noise": (0.1, 0.2, 0.4)},
    "in-order": {"hidden_widths": (3,), "split": "ordered", "shuffle": False},
    # 40, 25 and 20 patterns: batches of 16 that are full, not full and empty.
    "uneven": {"train_fraction": (0.8, 0.5, 0.4), "learning_rate": (0.1, 0.2, 0.3)},
    "relu": {"activation": "relu", "initial_scale": (0.5, 1, 2)},
}


def trained(program: Program, learn: bool = True) -> tuple[State, GradientMoments]:
    """All epochs of three seeds."""
    inputs, conditional = jnp.asarray(program.inputs), jnp.asarray(program.conditional)
    sample, state = jax.jit(program.start)(jnp.arange(3, dtype=jnp.uint32), inputs, conditional)
    epochs = jnp.int32(0), jnp.int32(program.config.epochs)
    return jax.jit(program.train)(sample, state, inputs, *epochs, jnp.asarray(learn))


def assert_close(program: Program, tolerance: float) -> State:
    """Both ways to train give the same parameters, states and moments; the states, (3,)."""
    on_gpu = program.on("gpu")
    assert isinstance(on_gpu.trainer, FewLaunches)
    ours, theirs = trained(on_gpu), trained(program)
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance)
    return theirs[0]


@pytest.mark.parametrize("case", CASES)
def test_trains_as_the_plain_path(case: str) -> None:
    """In float64, where sums in another order differ by some 1e-16 of numbers about 1."""
    config = dataclasses.replace(EASY, **CASES[case])
    with jax.enable_x64():
        assert_close(assemble(config, dataset=TASK), 1e-13)


# Phases, changes, and the epoch at which the second phase of each of three networks begins, -1 for never.
SCHEDULES: dict[str, tuple[tuple[str, ...], dict[str, Any], list[int]]] = {
    "a walk": (("sgd:until=5", "metropolis:moves=3:warmup=9:temperature=0.01"), {}, [5, 5, 5]),
    "of units": (("metropolis:until=4:proposal=unit:scale=0.1", "constrained:bound=0.7:scale=0.1"), {}, [4, 4, 4]),
    "below a loss": (("sgd:until=loss<0.6837", "langevin:friction=0.5:batch_size=9"), {}, [8, -1, 1]),
    "in the noise": (("sgd:until=snr<0.6", "adam:learning_rate=0.01"), {}, [-1, 4, 3]),
    "bottleneck": (("sgd:until=4", "bottleneck:layer=hidden_2:beta=3"), {}, [4, 4, 4]),
    "information": (("sgd:until=4", "information:layer=hidden_2:strength=0.1:moves=4"), {}, [4, 4, 4]),
    "uneven": (("sgd:until=loss<0.68", "metropolis:moves=3"), CASES["uneven"], [-1, 7, 1]),
}


@pytest.mark.parametrize("case", SCHEDULES)
def test_trains_in_phases_as_the_plain_path(case: str) -> None:
    """Each network goes from phase to phase at the same epochs, and accepts the same moves."""
    phases, changes, second = SCHEDULES[case]
    config = dataclasses.replace(EASY, **changes, epochs=16, phases=phases)
    with jax.enable_x64():
        program = assemble(config, dataset=TASK)
        schedule = program.on("gpu").schedule
        assert schedule is not None
        assert all(isinstance(trainer, FewLaunches) for trainer in schedule.trainers)
        state = assert_close(program, 1e-12)
    assert state.stage.began[:, 1].tolist() == second


def test_an_optimizer_that_sees_the_layers() -> None:
    with jax.enable_x64():
        assert_close(assemble(EASY, dataset=TASK, optimizer=optax.lamb(0.01)), 1e-13)


def test_the_paper_s_task() -> None:
    """Packed inputs, float32, whose unit in the last place of numbers about 1 is 1.2e-7."""
    assert_close(assemble(Config(seeds=3, hidden_widths=(4, 3), batch_size=1024, epochs=3)), 2e-6)


def test_without_learning_the_moments_alone_are_gathered() -> None:
    program = assemble(dataclasses.replace(EASY, precision="float32"), dataset=TASK).on("gpu")
    state, moments = trained(program, learn=False)
    _, start = jax.jit(program.start)(jnp.arange(3, dtype=jnp.uint32), program.inputs, program.conditional)
    assert all(map(np.array_equal, jax.tree.leaves(state), jax.tree.leaves(start)))
    assert moments.seen.tolist() == [3, 3, 3]
    assert np.all(np.abs(moments.mean).max(axis=1) > 1e-3)


def test_a_rule_without_gradients() -> None:
    program = assemble(dataclasses.replace(EASY, precision="float32"), dataset=TASK)
    walking = dataclasses.replace(program.trainer, make_rule=lambda _: RandomWalk())
    both = dataclasses.replace(program, trainer=walking)
    (ours, moments), (theirs, _) = trained(both.on("gpu")), trained(both)
    assert np.array_equal(ours.params, theirs.params)
    assert moments.seen.tolist() == [0, 0, 0]


def test_every_activation_has_its_units() -> None:
    """Logits, activations and gradients are those of the network by layers."""
    rng = np.random.default_rng(1)
    assert set(units.ACTIVATIONS) == set(perceptron._ACTIVATIONS)
    with jax.enable_x64():
        for name in units.ACTIVATIONS:
            network = Perceptron((4, 5, 3, 2), name, "softmax", dtype="float64")
            model, params = network.model, network.init(jax.random.key(2))
            x, noise, weight = (jnp.asarray(rng.normal(size=(rows, 20))) for rows in (4, 8, 2))
            by_units = model.units
            assert by_units is not None

            def loss(params: Any, forward: Any, drawn: Any, x: Any = x, weight: Any = weight) -> Any:
                logits, activations = forward(params, x, drawn)
                return (logits * weight).sum(), activations

            for drawn in (None, [noise[:5], noise[5:]]):
                ours, theirs = (
                    jax.value_and_grad(loss, has_aux=True)(params, forward, drawn)
                    for forward in (by_units, model.forward)
                )
                for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
                    np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)


def test_others_train_by_layers() -> None:
    """Users' networks, wide ones, and all on a CPU."""
    program = assemble(EASY, dataset=TASK)
    assert program.on("cpu") is program
    wide = assemble(dataclasses.replace(EASY, hidden_widths=(40, 40)), dataset=TASK)
    users = assemble(EASY, dataset=TASK, network=LinenNetwork())
    for other in (wide, users):
        assert other.on("gpu").trainer is other.trainer


def test_a_gpu_is_given_few_launches(monkeypatch: pytest.MonkeyPatch) -> None:
    """`lower` asks for the way of the device that it lowers for."""
    asked: list[str] = []

    def on(program: Program, platform: str) -> Program:
        asked.append(platform)
        return program

    monkeypatch.setattr(Program, "on", on)
    lower(assemble(dataclasses.replace(EASY, precision="float32"), dataset=TASK), 2, jax.devices()[0], measure=False)
    assert asked == ["cpu"]
