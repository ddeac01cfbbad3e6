"""The fused epoch against the plain one: the same training up to the order of float32 sums (interpreted on a CPU)."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest

import ibjax
from ibjax import Config, Dataset
from ibjax.ensemble.assemble import assemble
from ibjax.networks.perceptron import Perceptron
from ibjax.training.fused import FusedTrainer

pytestmark = pytest.mark.usefixtures("unoptimized")

SHORT = replace(ibjax.PRESETS["paper"], seeds=2, epochs=3, logged_epochs=3)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seeds a block: the interpreter takes one after the other."""
    monkeypatch.setattr("ibjax.ensemble.blocks._BLOCK", 2)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": "adam", "learning_rate": 1e-3, "output": "softmax"},
        {"batch_size": 100, "hidden_widths": (17, 3), "shuffle": False},  # a last tile and a last batch not full
        {"hidden_widths": (3,), "split": "ordered"},
    ],
    ids=["paper", "adam-softmax", "odd-sizes", "one-layer"],
)
def test_a_short_run_is_that_of_the_plain_path(changes: dict[str, Any]) -> None:
    """Three epochs: about 40 updates, whose float32 sums differ by their order only; 1e-5 is a hundred roundings."""
    config = replace(SHORT, **changes)
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


def test_without_learning_only_the_moments_change() -> None:
    config = replace(SHORT, epochs=0, logged_epochs=(0,), backend="fused")
    fused, plain = ibjax.run(config), ibjax.run(replace(config, backend="plain"))
    np.testing.assert_array_equal(fused.train_loss, plain.train_loss)
    np.testing.assert_allclose(fused.gradient_mean, plain.gradient_mean, rtol=1e-4)


@pytest.mark.skipif(jax.__version_info__ >= (0, 11), reason="jax deprecates Pallas' Triton backend since 0.11")
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_kernel_lowers_for_a_gpu(optimizer: str) -> None:
    """Without a GPU the kernel can still be translated for one, which refuses what its compiler does not know."""
    program = assemble(replace(SHORT, optimizer=optimizer))
    assert program.fused is None  # "auto" on a CPU
    fused = FusedTrainer(Perceptron((12, *SHORT.hidden_widths, 1)), program.trainer, interpret=False)
    seeds = np.arange(3, dtype=np.uint32)
    sample, state = jax.eval_shape(program.start, seeds, program.inputs, program.conditional)
    lowered = jax.jit(fused.epochs).trace(sample, state, 0, 2, True).lower(lowering_platforms=("cuda",))
    assert "triton" in lowered.as_text()


def test_auto_takes_the_plain_path_where_jax_has_no_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU beside a jax that has removed the deprecated backend: said once, and trained all the same."""
    config = replace(SHORT, epochs=1, logged_epochs=2)
    plain = ibjax.run(replace(config, backend="plain"))
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.delattr("jax.experimental.pallas.triton", raising=False)
    monkeypatch.setitem(sys.modules, "jax.experimental.pallas.triton", None)
    with pytest.warns(UserWarning, match="trains on the plain path: the fused kernel does not compile here"):
        found = ibjax.run(replace(config, backend="auto"))
    assert not found.differences(plain)
    with pytest.raises(ImportError, match="triton"):
        ibjax.run(replace(config, backend="fused"))


@pytest.mark.parametrize(
    "changes", [{"activation": "relu"}, {"hidden_widths": (64,)}, {"precision": "float64"}], ids=str
)
def test_what_it_cannot_train_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="backend = 'fused'; allowed for"):
        ibjax.run(replace(SHORT, backend="fused", **changes))


def test_real_inputs_are_refused() -> None:
    dataset = Dataset(np.linspace(0, 1, 64).reshape(32, 2), np.repeat([0.0, 1.0], 16))
    with pytest.raises(ValueError, match="inputs of 0 and 1"):
        ibjax.run(Config(seeds=1, batch_size=8, backend="fused"), dataset=dataset)
