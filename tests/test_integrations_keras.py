"""Keras itself, on JAX: what the callback logs, and the paper's network trained by `fit`.

Shapes: S seeds, E logged epochs, N patterns, L layers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import missing

if missing("keras"):
    pytest.skip("Keras is not installed (pip install keras)", allow_module_level=True)

import keras
from keras import layers

import ibjax
from ibjax.ensemble.assemble import assemble
from ibjax.integrations.keras import InformationPlane

pytestmark = [
    pytest.mark.usefixtures("unoptimized"),
    pytest.mark.filterwarnings(
        "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
    ),  # Keras' own
]

RNG = np.random.default_rng(8)
X = RNG.normal(size=(60, 5)).astype(np.float32)
Y = (X[:, 0] * X[:, 1] > 0).astype(np.int32)


def compiled(model: Any, **given: Any) -> Any:
    settings = {"optimizer": keras.optimizers.SGD(0.1), "loss": "sparse_categorical_crossentropy"}
    model.compile(**(settings | given))
    return model


def network(*, metrics: Any = ("accuracy",), dropout: float = 0.5) -> Any:
    """Names whose alphabetical order is not that of the layers."""
    keras.utils.set_random_seed(1)
    return compiled(
        keras.Sequential(
            [
                layers.Dense(4, activation="tanh", name="wide"),
                layers.BatchNormalization(name="norm"),
                layers.Dropout(dropout, name="drop"),
                layers.Dense(2, activation="softmax", name="classes"),
            ]
        ),
        metrics=list(metrics),
    )


def fit(model: Any, recorder: ibjax.Recorder, x: Any = X, *, epochs: int = 2, **given: Any) -> Any:
    """Trains with the callback, which takes `layers`, `chosen` (its epochs) and `batch_size`."""
    options = {"layers": given.pop("layers", None), "epochs": given.pop("chosen", None)}
    before = given.pop("callbacks", [])
    callbacks = [*before, InformationPlane(recorder, x, batch_size=32, **options)]
    return model.fit(x, Y, epochs=epochs, verbose=0, shuffle=False, callbacks=callbacks, **given)


class Crash(keras.callbacks.Callback):  # type: ignore[misc]  # keras is not typed here
    """As a machine that goes down within an epoch."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if epoch == 2:
            raise KeyboardInterrupt


def test_all_layers_in_order_and_what_fit_tells() -> None:
    model, recorder = network(), ibjax.Recorder(Y)
    history = fit(model, recorder, validation_data=(X[:20], Y[:20])).history
    traj = recorder.trajectory()
    assert traj.layer_names == ("wide", "norm", "drop", "classes")
    assert traj.layer_widths == (4, 4, 4, 2)
    assert traj.epochs.tolist() == [0, 1, 2]
    for key, told in {
        "train_loss": "loss",
        "test_loss": "val_loss",
        "train_accuracy": "accuracy",
        "test_accuracy": "val_accuracy",
    }.items():
        np.testing.assert_allclose(getattr(traj, key)[0], [np.nan, *history[told]], rtol=1e-6)
    kernels = [float(jnp.linalg.norm(model.get_layer(name).kernel.value)) for name in ("wide", "classes")]
    np.testing.assert_allclose(traj.weight_norm[0, -1], [kernels[0], np.nan, np.nan, kernels[1]], rtol=1e-6)
    a = np.tanh(X @ np.asarray(model.get_layer("wide").kernel.value) + np.asarray(model.get_layer("wide").bias.value))
    i_xt, i_ty = ibjax.layer_information(a, Y, low=None, high=None)
    assert traj.i_xt[0, -1, 0] == pytest.approx(float(i_xt), abs=0.1)  # a sum in another order may cross an edge
    assert traj.i_ty[0, -1, 0] == pytest.approx(float(i_ty), abs=0.1)


def test_the_callback_leaves_training_as_it_is() -> None:
    watched, free = network(), network()
    fit(watched, ibjax.Recorder(Y))
    free.fit(X, Y, epochs=2, verbose=0, shuffle=False)
    for one, other in zip(watched.get_weights(), free.get_weights(), strict=True):
        assert np.array_equal(one, other)


def test_chosen_epochs_and_layers() -> None:
    recorder = ibjax.Recorder(Y, layer_names=("classes",))
    fit(network(metrics=()), recorder, epochs=4, chosen=(2, 4), layers=("wide", "classes"))
    traj = recorder.trajectory()
    assert traj.epochs.tolist() == [0, 2, 4]
    assert traj.layer_names == ("classes",)
    assert "train_accuracy" in traj.absent
    assert "test_loss" in traj.absent
    assert np.isfinite(traj.train_loss[0, 1:]).all()


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float16"])
def test_few_bits(policy: str) -> None:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        recorder = ibjax.Recorder(Y)
        fit(network(), recorder, epochs=1)
    finally:
        keras.config.set_dtype_policy(before)
    assert (recorder.trajectory().i_xt > 1).all()


def test_a_second_fit_goes_on_or_is_refused() -> None:
    model, recorder = network(), ibjax.Recorder(Y)
    fit(model, recorder, epochs=4)
    with pytest.raises(ValueError, match=r"initial_epoch = 0; allowed: fit\(initial_epoch=4"):
        fit(model, recorder, epochs=2)
    fit(model, recorder, epochs=5, initial_epoch=4)
    assert list(recorder.epochs) == [0, 1, 2, 3, 4, 5]
    fit(model, recorder, epochs=4, initial_epoch=3)
    assert list(recorder.epochs) == [0, 1, 2, 3, 4]
    late = ibjax.Recorder(Y)
    fit(model, late, epochs=8, initial_epoch=7)
    assert list(late.epochs) == [7, 8]


def test_after_a_crash_it_goes_on_from_the_backup(tmp_path: Path) -> None:
    whole = ibjax.Recorder(Y)
    fit(network(dropout=0), whole, epochs=4)  # which units drop out begins anew after a crash
    file = tmp_path / "record.npz"
    for epochs, callbacks in ((3, [Crash()]), (4, [])):
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
        recorder, model = ibjax.Recorder(Y, path=file), network(dropout=0)
        try:
            fit(model, recorder, epochs=epochs, callbacks=[backup, *callbacks])
        except KeyboardInterrupt:
            assert ibjax.load(file).epochs.tolist() == [0, 1, 2]
    assert not ibjax.load(file).differences(whole.trajectory())


def test_models_of_every_kind() -> None:
    left, right = keras.Input((3,), name="left"), keras.Input((2,), name="right")
    part = keras.Sequential([keras.Input((3,)), layers.Dense(4), layers.Dense(3)], name="part")
    joint = layers.Concatenate(name="joint")([part(left), keras.ops.tanh(right)])
    model = keras.Model({"left": left, "right": right}, layers.Dense(2, activation="softmax", name="out")(joint))
    x = {"left": X[:, :3], "right": X[:, 3:]}
    recorder = ibjax.Recorder(Y)
    fit(compiled(model), recorder, x, epochs=1)
    assert recorder.trajectory().layer_names == ("part", "joint", "out")
    assert recorder.trajectory().layer_widths == (3, 5, 2)

    grown = keras.Sequential([keras.Input((5,))])  # layer by layer, each of which builds the model again
    for layer in [*network().layers[:1], layers.Dense(2, activation="softmax", name="out")]:
        grown.add(layer)
    recorder = ibjax.Recorder(Y)
    fit(compiled(grown), recorder, epochs=1)
    assert recorder.trajectory().layer_names == ("wide", "out")


def test_models_that_cannot_be_looked_into() -> None:
    class Own(keras.Model):  # type: ignore[misc]  # keras is not typed here
        def __init__(self) -> None:
            super().__init__()
            self.out = layers.Dense(2, activation="softmax")

        def call(self, x: Any) -> Any:
            return self.out(x)

    with pytest.raises(ValueError, match="model = 'own', of Own, has no graph of layers; allowed: Functional or Seq"):
        fit(compiled(Own()), ibjax.Recorder(Y))
    inputs, act = keras.Input((5,)), layers.Activation("tanh", name="act")
    outputs = layers.Dense(2, activation="softmax")(act(layers.Dense(3)(act(inputs))))
    with pytest.raises(ValueError, match="layer 'act' returns 2 tensors, in one call or in several; allowed: layers"):
        fit(compiled(keras.Model(inputs, outputs)), ibjax.Recorder(Y))


def test_what_is_refused() -> None:
    recorder, model = ibjax.Recorder(Y), network()
    weights = model.get_weights()
    with pytest.raises(ValueError, match=r"layers\[1\] = 'wid'; allowed: 'wide', 'norm', .* \(did you mean 'wide'\?\)"):
        fit(model, recorder, layers=("classes", "wid"))
    with pytest.raises(ValueError, match="layers is empty"):
        fit(model, recorder, layers=())
    with pytest.raises(ValueError, match=r"layer 'wide' has shape \(20, 4\); allowed: .* = \(60, ...\)"):
        model.fit(X, Y, verbose=0, callbacks=[InformationPlane(recorder, X[:20])])
    assert not recorder.epochs
    assert all(np.array_equal(a, b) for a, b in zip(weights, model.get_weights()[: len(weights)], strict=True))
    with pytest.raises(TypeError, match="recorder is of type list; allowed: an ibjax"):
        InformationPlane([], X)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="layers = 'wide'; allowed: a sequence of names"):
        InformationPlane(recorder, X, layers="wide")
    with pytest.raises(ValueError, match=r"epochs\[0\] = -1; allowed: an integer from 0"):
        InformationPlane(recorder, X, epochs=(-1,))
    with pytest.raises(ValueError, match="batch_size = 0; allowed: an integer from 1"):
        InformationPlane(recorder, X, batch_size=0)


def papers_network(parameters: Any) -> Any:
    """12-10-7-5-4-3-2 tanh units and a sigmoid, from kernels (U', U) and biases."""
    names = [f"hidden_{k}" for k in range(1, len(parameters))] + ["output"]
    model = keras.Sequential([keras.Input((12,))])
    for name, layer in zip(names, parameters, strict=True):
        activation = "sigmoid" if name == "output" else "tanh"
        model.add(layers.Dense(layer["bias"].size, activation=activation, name=name))
    model.set_weights([np.asarray(layer[key]) for layer in parameters for key in ("kernel", "bias")])
    return compiled(model, loss="binary_crossentropy")


@pytest.mark.slow
def test_the_papers_network_trained_by_fit_moves_as_in_a_run() -> None:
    """Same weights, labels and, as nothing is shuffled, batches: to 1e-5 after one epoch, to 1% after 24."""
    epochs = (0, 1, 24)
    config = ibjax.Config(seeds=2, epochs=24, logged_epochs=epochs, shuffle=False, backend="plain")
    run, task, trainer = ibjax.run(config), ibjax.spherical_dataset(), assemble(config).trainer
    x, recorders = np.asarray(task.inputs, np.float32), []
    for seed in (0, 1):
        sample, state = trainer.start(jnp.uint32(seed), jnp.asarray(x), jnp.asarray(task.conditional))
        model = papers_network(trainer.model.unravel(state.params))
        recorders.append(ibjax.Recorder(p_y_given_x=task.p_y_given_x, inputs=x, bounded=True, seed=seed))
        callback = InformationPlane(recorders[-1], x, epochs=epochs)
        chosen, labels = np.asarray(sample.patterns), np.asarray(sample.labels)
        model.fit(x[chosen], labels[chosen], batch_size=256, epochs=24, shuffle=False, verbose=0, callbacks=[callback])
    traj = ibjax.concatenate([recorder.trajectory() for recorder in recorders])
    assert traj.layer_names == run.layer_names
    for key in ("i_xt", "i_ty", "weight_norm"):
        ours, theirs = getattr(traj, key), getattr(run, key)
        np.testing.assert_allclose(ours[:, :2], theirs[:, :2], rtol=0, atol=1e-5, err_msg=key)
        np.testing.assert_allclose(ours, theirs, rtol=0.01, atol=0.005, err_msg=key)
    assert np.ptp(run.i_xt[:, :, -4:], axis=1).min() > 0.1  # and the deep layers do move
