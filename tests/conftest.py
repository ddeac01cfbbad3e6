"""What tests share: compiled programs, a made-up trajectory, information and divergence term by term, a task's curve.

Most of the suite's time is the compiler's, so a session has one folder of compiled programs for all its workers and the
processes that they start. JAX looks a program up by all that it is compiled from (text, options, versions, machine) and
finds again what took at least 0.2 s to compile. So two runs of one program are compared with the same machine code, as
are two calls of the command line with its cache; that compiling a program twice gives the same bits is not tested.
"""

import importlib.util
import os
import shutil
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pytest

from ibjax.trajectory import Trajectory

if TYPE_CHECKING:
    from ibjax import Curve

Array = npt.NDArray[np.float64]


def pytest_configure(config: pytest.Config) -> None:
    """Workers and other processes inherit the environment, which JAX reads when it is imported."""
    if not hasattr(config, "workerinput"):
        if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # sessions may share one: those of `mutants` do
            folder = tempfile.mkdtemp(prefix="ibjax_tests_")
            config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
            os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
        # JAX writes entries in place; only with a limit of size does it lock them, so that no worker reads half of one.
        os.environ["JAX_COMPILATION_CACHE_MAX_SIZE"] = str(2**33)
        os.environ.setdefault("KERAS_BACKEND", "jax")  # its own default is TensorFlow
        settings = tempfile.mkdtemp(prefix="ibjax_keras_")
        config.add_cleanup(lambda: shutil.rmtree(settings, ignore_errors=True))
        os.environ.setdefault("KERAS_HOME", settings)  # where Keras writes its settings when it is imported


def missing(*frameworks: str) -> list[str]:
    """Which frameworks are not installed; none of those that IBJAX_FRAMEWORKS names may be, as the gate lets it."""
    absent = [name for name in dict.fromkeys(frameworks) if importlib.util.find_spec(name) is None]
    wanted = set(absent) & set(os.environ.get("IBJAX_FRAMEWORKS", "").split())
    assert not wanted, f"not installed: {', '.join(wanted)}"
    return absent


@pytest.fixture(scope="module")
def unoptimized() -> Iterator[None]:
    """Compile in half the time what runs slower: for what must run, whatever its last digits."""
    import jax

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "true")  # of processes
        jax.config.update("jax_disable_most_optimizations", True)
        yield
    jax.config.update("jax_disable_most_optimizations", False)
    jax.clear_caches()


def synthetic_trajectory(
    seeds: int = 6, diverged: tuple[int, ...] = (), names: tuple[str, ...] = ("h1", "h2", "h3", "output")
) -> Trajectory:
    """Closed curves instead of training: fitting until ~100 epochs, then compression of the deep layers.

    S seeds, 40 log-spaced epochs from 0 to 10^4, N = 64 patterns. Seeds differ by a fixed random delay and a
    little noise; networks in `diverged` are NaN from epoch 100 on.
    """
    rng = np.random.default_rng(20170300)
    epochs = np.unique(np.concatenate([[0], np.geomspace(1, 10_000, 60).astype(int)]))
    epochs = epochs[np.unique(np.linspace(0, epochs.size - 1, 40).astype(int))]
    S, E, L, N = seeds, epochs.size, len(names), 64
    delay = np.exp(rng.normal(0.0, 0.15, (S, 1, 1)))
    time = epochs[None, :, None] / delay
    depth = np.linspace(0.0, 1.0, L)
    fit = time / (time + 40.0)
    compress = time**1.2 / (time**1.2 + 1500.0**1.2)
    start, peak, end = 12.0 - 9.0 * depth, 12.0 - 5.0 * depth, 12.0 - 10.5 * depth
    i_xt = start + (peak - start) * fit - (peak - end) * compress + 0.05 * depth * rng.normal(size=(S, E, L))
    i_xy, h_x, h_y = 0.99, 12.0, 0.9992
    i_ty = i_xy * (1.0 - depth * 0.9 * (1.0 - fit)) * (1 - 0.02 * depth)
    i_ty = np.minimum(i_ty + 0.004 * depth * rng.normal(size=(S, E, L)), i_xy)
    drift = np.minimum(2.0 * (1.0 + 0.3 * depth) / (1.0 + (time / 120.0) ** 1.2), 1.5)
    mean = 0.02 * drift * np.exp(0.05 * rng.normal(size=(S, E, L)))
    std = 0.02 * (1.0 + 0.2 * depth) * np.exp(0.05 * rng.normal(size=(S, E, L)))
    loss = 0.69 * (1.0 - 0.9 * fit[..., 0])
    accuracy = 0.5 + 0.48 * fit[..., 0]
    norm = 2.0 + np.log1p(time) * (0.5 + 0.3 * depth)
    lost = np.isin(np.arange(S), diverged)
    dead = lost[:, None] & (epochs >= 100)[None, :]

    def float32(values: np.ndarray) -> np.ndarray:
        out = np.array(np.broadcast_to(values, (S, E) if values.ndim == 2 else (S, E, L)), np.float32)
        out[dead] = np.nan
        return out

    return Trajectory(
        config={
            "config": {"seeds": S, "epochs": 10_000, "learning_rate": 0.1, "hidden_widths": [10, 7, 3]},
            "versions": {"ibjax": "0.1.0", "numpy": "2.0"},
            "device_kind": "cpu",
            "command": "made up",
        },
        seeds=np.arange(S),
        epochs=epochs,
        layer_names=names,
        layer_widths=tuple(max(1, 10 - 2 * index) for index in range(L)),
        i_xt=float32(np.clip(i_xt, 0.0, h_x)),
        i_ty=float32(i_ty),
        train_loss=float32(loss),
        test_loss=float32(loss + 0.05 * fit[..., 0]),
        train_accuracy=float32(accuracy),
        test_accuracy=float32(accuracy - 0.02 * fit[..., 0]),
        gradient_mean=float32(mean * norm),
        gradient_std=float32(std * norm),
        weight_norm=float32(norm),
        train_mask=rng.random((S, N)) < 0.85,
        diverged=lost,
        i_xy=i_xy,
        h_x=h_x,
        h_y=h_y,
    )


@pytest.fixture
def trajectory() -> Trajectory:
    """Six healthy seeds, four layers."""
    return synthetic_trajectory()


@pytest.fixture
def damaged() -> Trajectory:
    """Six seeds, of which seeds 1 and 4 diverged."""
    return synthetic_trajectory(diverged=(1, 4))


def information(joint: Array) -> float:
    product = np.outer(joint.sum(axis=1), joint.sum(axis=0))
    inside = joint > 0
    return float((joint[inside] * np.log2(joint[inside] / product[inside])).sum())


def divergence(p: Array, q: Array) -> Array:
    """KL[p_i || q_j] in nats, (N, C), (M, C) -> (N, M), term by term."""
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p[:, None] > 0, p[:, None] * np.log(p[:, None] / q[None]), 0.0)
    return np.asarray(terms.sum(axis=2))


@pytest.fixture(scope="module")
def task() -> "Curve":
    """The curve of the paper's task, 4096 x 2."""
    from ibjax import information_curve, spherical_dataset

    return information_curve(spherical_dataset().joint)
