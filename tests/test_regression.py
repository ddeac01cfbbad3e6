"""Mean squared error: of numbers, whose information is that of their cells, and of the probabilities of labels.

Shapes: N patterns, B of a batch, D targets.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
import pytest
from flax import linen

import ibjax
from ibjax import Dataset
from ibjax.training.loss import squared_error

RNG = np.random.default_rng(5)
X = RNG.integers(0, 2, (60, 7)).astype(float)
TARGETS = np.stack([X @ RNG.normal(size=7), X[:, 0] - 2 * X[:, 3]], axis=1)
CONFIG = ibjax.Config(
    seeds=2,
    epochs=30,
    logged_epochs=4,
    hidden_widths=(6, 3),
    output="linear",
    loss="mean_squared_error",
    batch_size=16,
    learning_rate=0.05,
    store_weights=True,
)


class TestDataset:
    def test_cells_of_equally_many(self) -> None:
        y = RNG.permutation(40).astype(float)
        data = Dataset.from_targets(np.eye(40), y, bins=4)
        assert data.target_edges == ((10.0, 20.0, 30.0),)
        assert np.array_equal(data.conditional.argmax(axis=1), y // 10)
        assert data.information == pytest.approx(2.0)
        assert data.targets is not None
        assert np.array_equal(data.targets[:, 0], y)

    def test_given_edges_and_several_numbers(self) -> None:
        """Y is the pair of cells: (0, 0), (0, 1), (1, 0), which occur 1, 1 and 2 times."""
        y = [[0.0, 0.0], [0.4, 0.5], [0.5, 0.1], [2.0, -1.0]]
        data = Dataset.from_targets(np.eye(4), y, bins=[0.5])
        assert data.conditional.argmax(axis=1).tolist() == [0, 1, 2, 2]
        assert data.h_y == pytest.approx(1.5)

    def test_targets_are_part_of_the_identity(self) -> None:
        one, other = (Dataset(X, X[:, 0], targets=t) for t in (TARGETS, TARGETS + 1))
        assert len({one.sha256, other.sha256, Dataset(X, X[:, 0]).sha256}) == 3

    @pytest.mark.parametrize(
        ("targets", "bins", "error", "words"),
        [
            (np.ones(59), 4, ValueError, ["targets has shape (59,)", "(60,) or (60, D)"]),
            (np.full(60, np.nan), 4, ValueError, ["targets holds 60 NaN"]),
            (np.ones(60), 4, ValueError, ["targets are all [1.0]; allowed: at least 2 different ones"]),
            (TARGETS, [1e9], ValueError, ["bins = [1000000000.0] leave all targets in one cell"]),
            (TARGETS, 1, ValueError, ["bins = 1", "at least 2"]),
            (TARGETS, [2.0, 1.0], ValueError, ["bins = [2.0, 1.0]", "increasing order"]),
            (TARGETS, "ten", TypeError, ["bins = 'ten'", "integer"]),
        ],
    )
    def test_bad_targets_are_refused(self, targets: Any, bins: Any, error: type[Exception], words: list[str]) -> None:
        with pytest.raises(error) as caught:
            Dataset.from_targets(X, targets, bins=bins)
        assert all(word in str(caught.value) for word in words), str(caught.value)

    def test_random_labels_are_of_labels(self) -> None:
        with pytest.raises(ValueError, match="targets"):
            Dataset.from_targets(X, TARGETS).with_random_labels(0)


class TestLoss:
    z = RNG.normal(size=(3, 8))
    labels = np.arange(8) % 3

    def test_of_numbers(self) -> None:
        y = RNG.normal(size=(8, 3))
        found = squared_error(jnp.asarray(self.z), jnp.asarray(y))
        np.testing.assert_allclose(found, ((self.z.T - y) ** 2).mean(axis=1), rtol=1e-5)

    def test_of_probabilities(self) -> None:
        e = np.exp(self.z)
        expected = ((e / e.sum(axis=0) - np.eye(3)[self.labels].T) ** 2).mean(axis=0)
        np.testing.assert_allclose(squared_error(jnp.asarray(self.z), jnp.asarray(self.labels)), expected, rtol=1e-5)

    def test_of_one_probability(self) -> None:
        expected = (1 / (1 + np.exp(-self.z[0])) - self.labels % 2) ** 2
        found = squared_error(jnp.asarray(self.z[:1]), jnp.asarray(self.labels % 2))
        np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.fixture(scope="module")
def trajectory() -> ibjax.Trajectory:
    return ibjax.run(CONFIG, dataset=Dataset.from_targets(X, TARGETS, bins=4))


class TestRun:
    def test_losses_are_those_of_the_stored_weights(self, trajectory: ibjax.Trajectory) -> None:
        """In NumPy, at the start and at the end; and they fall."""
        for epoch in (0, -1):
            layers = [
                [trajectory.extras[f"{kind}_{name}"][0, epoch] for kind in ("weights", "biases")]
                for name in trajectory.layer_names
            ]
            a = X
            for kernel, bias in layers[:-1]:
                a = np.tanh(a @ kernel + bias)
            given = a @ layers[-1][0] + layers[-1][1]
            errors = ((given - TARGETS) ** 2).mean(axis=1)
            trained = trajectory.require("train_mask")[0]
            assert trajectory.require("train_loss")[0, epoch] == pytest.approx(errors[trained].mean(), rel=1e-4)
            assert trajectory.require("test_loss")[0, epoch] == pytest.approx(errors[~trained].mean(), rel=1e-4)
        assert (trajectory.require("train_loss")[:, -1] < 0.5 * trajectory.require("train_loss")[:, 0]).all()

    def test_first_step_is_gradient_descent(self) -> None:
        """One step on the full batch, by the derivative of the mean squared error of two linear layers."""
        config = dataclasses.replace(
            CONFIG, epochs=1, logged_epochs=(0, 1), hidden_widths=(3,), activation="linear", batch_size=None, seeds=1
        )
        one = ibjax.run(config, dataset=Dataset.from_targets(X, TARGETS))
        first, last, bias = (one.extras[key][0] for key in ("weights_hidden_1", "weights_output", "biases_output"))
        x, y = (array[one.require("train_mask")[0]] for array in (X, TARGETS))
        error = (x @ first[0] @ last[0] - y) / len(x)  # of two numbers, whose squares are halved by their mean
        np.testing.assert_allclose(first[1], first[0] - 0.05 * x.T @ error @ last[0].T, rtol=0, atol=1e-6)
        np.testing.assert_allclose(last[1], last[0] - 0.05 * (x @ first[0]).T @ error, rtol=0, atol=1e-6)
        np.testing.assert_allclose(bias[1], -0.05 * error.sum(axis=0), rtol=0, atol=1e-6)

    def test_the_file_says_what_y_is_and_has_no_accuracy(self, trajectory: ibjax.Trajectory, tmp_path: Path) -> None:
        trajectory.save(tmp_path / "a.npz")
        read = ibjax.load(tmp_path / "a.npz")
        assert read.absent == ("train_accuracy", "test_accuracy")
        edges = Dataset.from_targets(X, TARGETS, bins=4).target_edges
        assert json.loads(json.dumps(edges)) == read.config["target_edges"]
        assert read.config["config"]["loss"] == "mean_squared_error"
        assert read.to_dataframe().attrs["units"]["train_loss"] == "1"
        axes = ibjax.figures.loss_and_accuracy(read)
        assert axes.get_ylabel() == "mean squared error"
        assert len(axes.figure.axes) == 1
        plt.close("all")

    def test_measured_again(self, trajectory: ibjax.Trajectory) -> None:
        data = Dataset.from_targets(X, TARGETS, bins=4)
        assert np.array_equal(ibjax.measure(trajectory, dataset=data).i_xt, trajectory.i_xt)
        with pytest.raises(ValueError, match="other losses"):
            ibjax.measure(trajectory, dataset=dataclasses.replace(data, targets=TARGETS + 1))

    def test_information_is_within_its_bounds(self, trajectory: ibjax.Trajectory) -> None:
        assert ibjax.analysis.check_bounds(trajectory).ok
        assert trajectory.i_ty.max() > 0.5

    def test_labels_by_squared_error(self) -> None:
        config = dataclasses.replace(CONFIG, output="sigmoid", learning_rate=1.0)
        traj = ibjax.run(config, dataset=Dataset(X, (X.sum(axis=1) > 3).astype(float)))
        assert traj.absent == ()
        assert (traj.require("train_loss")[:, 0] > 0.15).all()
        assert (traj.require("train_loss")[:, -1] < 0.8 * traj.require("train_loss")[:, 0]).all()
        assert (traj.require("train_accuracy")[:, -1] > 0.8).all()


class Numbers(linen.Module):  # type: ignore[misc]  # flax is not typed here
    width: int = 2

    @linen.compact  # type: ignore[untyped-decorator]
    def __call__(self, x: jax.Array) -> jax.Array:
        return linen.Dense(self.width)(linen.tanh(linen.Dense(5, name="hidden")(x)))


def test_a_module_that_gives_numbers(tmp_path: Path) -> None:
    """Captured, its output are the numbers themselves; in pieces, as a run without accuracy."""
    data = Dataset.from_targets(X, TARGETS, bins=3)
    given: dict[str, Any] = {"dataset": data, "network": ibjax.capture(Numbers(), ["hidden"])}
    traj = ibjax.run(CONFIG, optimizer=optax.adam(1e-2), **given)
    assert traj.layer_widths == (5, 2)
    low, high = (traj.extras[f"range_{end}"][:, -1, 1] for end in ("low", "high"))
    assert (low < -0.5).all()  # no probabilities
    assert (high > 0.5).all()
    pieces = ibjax.run(CONFIG, optimizer=optax.adam(1e-2), out=tmp_path / "pieces", progress=lambda _: None, **given)
    assert np.array_equal(pieces.i_xt, traj.i_xt)


@pytest.mark.parametrize(
    ("change", "arguments", "words"),
    [
        ({"output": "sigmoid"}, {}, ["output = 'sigmoid'", "'linear'", "with targets"]),
        ({"loss": "cross_entropy"}, {}, ["output = 'linear'", "loss = 'cross_entropy'"]),
        ({}, {"dataset": Dataset(X, X[:, 0])}, ["output = 'linear'", "without targets"]),
        ({}, {"network": ibjax.capture(Numbers(3), ["hidden"])}, ["3 numbers for targets of 2"]),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], arguments: dict[str, Any], words: list[str]) -> None:
    given = {"dataset": Dataset.from_targets(X, TARGETS), **arguments}
    with pytest.raises(ValueError, match=r"allowed|targets") as caught:
        ibjax.run(dataclasses.replace(CONFIG, **change), **given)
    assert all(word in str(caught.value) for word in words), str(caught.value)
