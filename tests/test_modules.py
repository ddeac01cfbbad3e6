"""Networks that are another function in training: batch norm, whose running means are kept, and dropout, which draws.

Shapes: B patterns, F features, U units.
"""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx
from test_training import X_SINGLE, X, hard, trainer_of

import ibjax
from ibjax import Dataset
from ibjax.networks.adapter import as_model
from ibjax.networks.protocol import Model
from ibjax.training.trainer import NETWORK_STREAM, epoch_positions, step_key

LABELS = (X.sum(axis=1) > 2).astype(int)
TASK = Dataset(X, LABELS.astype(float))
MOMENTUM = 0.75
DROPPED = 0.25


class Linen(linen.Module):  # type: ignore[misc]  # flax is not typed here
    @linen.compact  # type: ignore[untyped-decorator]
    def __call__(self, x: jax.Array, train: bool) -> Any:
        x = linen.BatchNorm(use_running_average=not train, momentum=MOMENTUM, name="norm")(x)
        hidden = linen.tanh(linen.Dense(6, name="hidden")(x))
        logits = linen.Dense(2, name="last")(linen.Dropout(DROPPED, deterministic=not train)(hidden))
        return logits, [hidden, linen.softmax(logits)]


class LinenLogits(Linen):
    @linen.compact  # type: ignore[untyped-decorator]
    def __call__(self, x: jax.Array, train: bool) -> Any:
        return Linen.__call__(self, x, train)[0]


class Nnx(nnx.Module):  # type: ignore[misc]  # flax is not typed here
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.norm = nnx.BatchNorm(5, momentum=MOMENTUM, rngs=rngs)
        self.hidden = nnx.Linear(5, 6, rngs=rngs)
        self.dropout = nnx.Dropout(DROPPED, rngs=rngs)
        self.last = nnx.Linear(6, 2, rngs=rngs)

    def __call__(self, x: jax.Array) -> Any:
        hidden = jnp.tanh(self.hidden(self.norm(x)))
        logits = self.last(self.dropout(hidden))
        return logits, [hidden, jax.nn.softmax(logits)]


class NnxLogits(Nnx):
    def __call__(self, x: jax.Array) -> Any:
        hidden = jnp.tanh(self.hidden(self.norm(x)))
        self.sow(nnx.Intermediate, "after_tanh", hidden)
        return self.last(self.dropout(hidden))


KINDS = {
    "linen": Linen(),
    "linen, captured": ibjax.capture(LinenLogits(), ["hidden"]),
    "nnx": Nnx,
    "nnx, captured": ibjax.capture(lambda rngs: NnxLogits(rngs), ["norm", "after_tanh"]),
}


class Training(linen.Module):  # type: ignore[misc]  # flax is not typed here
    @linen.compact  # type: ignore[untyped-decorator]
    def __call__(self, x: jax.Array, training: bool) -> Any:
        return Linen.__call__(self, x, training)


class IsTraining(linen.Module):  # type: ignore[misc]  # flax is not typed here
    @linen.compact  # type: ignore[untyped-decorator]
    def __call__(self, x: jax.Array, *, is_training: bool = True) -> Any:
        return Linen.__call__(self, x, is_training)


class Deterministic(linen.Module):  # type: ignore[misc]  # flax is not typed here
    @linen.compact  # type: ignore[untyped-decorator]
    def __call__(self, x: jax.Array, deterministic: bool = True, use_running_average: bool = True) -> Any:
        return Linen.__call__(self, x, not (deterministic and use_running_average))


class NnxMode(Nnx):
    def __call__(self, x: jax.Array, deterministic: bool = True) -> Any:
        hidden = jnp.tanh(self.hidden(self.norm(x, use_running_average=deterministic)))
        logits = self.last(self.dropout(hidden, deterministic=deterministic))
        return logits, [hidden, jax.nn.softmax(logits)]


class NnxModeLogits(NnxMode):
    def __call__(self, x: jax.Array, deterministic: bool = True) -> Any:
        return NnxMode.__call__(self, x, deterministic)[0]


def model_of(network: Any) -> Model:
    return as_model(network, TASK, jnp.dtype("float32"))


def an_epoch(network: Any, learn: bool = True) -> Any:
    """Model, sample, batches (patterns of each), and the states before and after."""
    trainer = trainer_of(model_of(network))
    sample, before = jax.jit(trainer.start)(jnp.uint32(3), X_SINGLE, hard(LABELS))
    after, _ = jax.jit(trainer.epoch)(sample, before, X_SINGLE, jnp.int32(7), jnp.asarray(learn))
    position, present = map(np.asarray, epoch_positions(sample, jnp.int32(7), 20, 8, True))
    batches = [np.asarray(sample.patterns)[p[h]] for p, h in zip(position, present, strict=True)]
    assert [len(batch) for batch in batches] == [8, 8, 4]
    return trainer.model, sample, batches, before, after


def test_an_epoch_is_a_loop_as_flax_writes_it() -> None:
    """Twenty patterns in batches of 8, 8 and 4, each with a key of its own; three steps of float32."""
    model, sample, batches, before, after = an_epoch(Linen())
    params, kept = model.unravel(before.params), model.unravel_statistics(before.statistics)
    for index, batch in enumerate(batches):
        streams = dict(
            zip(
                ("params", "dropout"),
                jax.random.split(step_key(sample, NETWORK_STREAM, jnp.int32(7), jnp.int32(index))),
                strict=True,
            )
        )

        def loss(params: Any, kept: Any = kept, batch: Any = batch, streams: Any = streams) -> Any:
            variables = {**params, **kept}
            (logits, _), new = Linen().apply(variables, X_SINGLE[batch], True, rngs=streams, mutable=["batch_stats"])
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, sample.labels[batch])
            return losses.mean(), jax.tree.unflatten(jax.tree.structure(kept), jax.tree.leaves(new))

        gradient, kept = jax.grad(loss, has_aux=True)(params)
        params = jax.tree.map(lambda p, g: p - 0.5 * g, params, gradient)
    for ours, theirs in (
        (model.unravel(after.params), params),
        (model.unravel_statistics(after.statistics), kept),
    ):
        for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


@pytest.mark.parametrize("network", KINDS.values(), ids=KINDS)
def test_running_means_are_those_of_the_batches(network: Any) -> None:
    """The norm sees the inputs themselves, so that NumPy can tell: what fills up the last batch is not among them."""
    model, _, batches, before, after = an_epoch(network)
    mean, variance = np.zeros(5), np.ones(5)
    for batch in batches:
        mean = MOMENTUM * mean + (1 - MOMENTUM) * X[batch].mean(axis=0)
        variance = MOMENTUM * variance + (1 - MOMENTUM) * X[batch].var(axis=0)
    found = [np.asarray(leaf) for leaf in jax.tree.leaves(model.unravel_statistics(after.statistics))]
    np.testing.assert_allclose(found, [mean, variance], rtol=0, atol=1e-6)
    assert np.array_equal(before.statistics, np.repeat([0, 1], 5))


MODES = {
    "training": (Training(), Linen()),
    "is_training": (IsTraining(), Linen()),
    "deterministic": (Deterministic(), Linen()),
    "nnx": (NnxMode, Nnx),
    "nnx, captured": (ibjax.capture(lambda rngs: NnxModeLogits(rngs), ["norm"]), Nnx),
}


@pytest.mark.parametrize(("network", "same"), MODES.values(), ids=MODES)
def test_training_by_another_name(network: Any, same: Any) -> None:
    """Whatever argument says that a module trains, it learns as the one that is told by `train` or by its modes."""
    *_, after = an_epoch(network)
    *_, expected = an_epoch(same)
    assert all(map(np.array_equal, jax.tree.leaves(after), jax.tree.leaves(expected)))


def test_other_arguments_are_refused() -> None:
    class Masked(linen.Module):  # type: ignore[misc]  # flax is not typed here
        def __call__(self, x: jax.Array, mask: Any, train: bool, scale: float = 1.0) -> Any: ...

    class NnxMasked(Nnx):
        def __call__(self, x: jax.Array, *, mask: Any) -> Any:  # type: ignore[override]
            ...

    for network, name in ((Masked(), "Masked"), (NnxMasked, "NnxMasked")):
        with pytest.raises(TypeError, match=f"network = {name}, whose __call__ needs mask; allowed: .* training, "):
            model_of(network)


@pytest.mark.parametrize("network", [LinenLogits(), NnxModeLogits], ids=["linen", "nnx"])
def test_logits_alone_point_to_capture(network: Any) -> None:
    with pytest.raises(TypeError, match=r"no pair .*; of a flax module .* ibjax.capture\(network, layers=...\) finds"):
        model_of(network)


@pytest.mark.parametrize("network", [Linen(), Nnx], ids=["linen", "nnx"])
def test_without_learning_the_statistics_stay(network: Any) -> None:
    _, _, _, before, after = an_epoch(network, learn=False)
    assert all(map(np.array_equal, jax.tree.leaves(before), jax.tree.leaves(after)))


@pytest.mark.parametrize("network", KINDS.values(), ids=KINDS)
def test_what_is_measured_has_running_means_and_no_dropout(network: Any) -> None:
    model, _, _, _, after = an_epoch(network)
    logits, activations = jax.jit(model.evaluate)(after.weights, X_SINGLE.T)
    mean, variance = map(np.asarray, jax.tree.leaves(model.unravel_statistics(after.statistics)))
    leaves = {
        jax.tree_util.keystr(path): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(model.unravel(after.params))
    }

    def of(part: str, name: str) -> Any:
        (found,) = [leaf for path, leaf in leaves.items() if f"'{part}'" in path and name in path]
        return np.asarray(found, np.float64)

    x = (X - mean) / np.sqrt(variance + 1e-5) * of("norm", "scale") + of("norm", "bias")
    hidden = x @ of("hidden", "kernel") + of("hidden", "bias")
    expected = np.tanh(hidden) @ of("last", "kernel") + of("last", "bias")
    np.testing.assert_allclose(logits.T, expected, rtol=0, atol=1e-5)
    number = model.layer_names.index("after_tanh") if "after_tanh" in model.layer_names else 0
    captured_before_tanh = isinstance(network, type(KINDS["linen, captured"])) and number == 0
    np.testing.assert_allclose(
        activations[number].T, hidden if captured_before_tanh else np.tanh(hidden), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("network", KINDS.values(), ids=KINDS)
def test_a_seed_is_the_same_to_the_bit_alone_resumed_and_measured_again(network: Any, tmp_path: Path) -> None:
    config = ibjax.Config(
        seeds=3,
        epochs=6,
        logged_epochs=(0, 2, 4, 6),
        batch_size=7,
        train_fraction=0.7,
        store_weights=True,
        estimators=("kde",),
    )

    def interrupt(progress: ibjax.Progress) -> None:
        if progress.done >= 6:
            raise KeyboardInterrupt

    given: dict[str, Any] = {"dataset": TASK, "network": network, "optimizer": optax.adam(0.05)}
    together = ibjax.run(config, **given)
    assert len(np.unique(together.train_loss[:, -1])) == 3
    alone = ibjax.run(dataclasses.replace(config, seeds=(1,)), **given)
    with pytest.raises(KeyboardInterrupt):
        ibjax.run(config, **given, checkpoint=tmp_path / "kept", checkpoint_every=0, progress=interrupt)
    resumed = ibjax.run(config, **given, checkpoint=tmp_path / "kept")
    for key in ("i_xt", "i_ty", "train_loss", "gradient_std"):
        np.testing.assert_array_equal(getattr(together, key)[1], getattr(alone, key)[0], key)
        np.testing.assert_array_equal(getattr(together, key), getattr(resumed, key), key)
    assert np.array_equal(together.extras["params"], resumed.extras["params"])
    assert np.array_equal(ibjax.measure(together, dataset=TASK, network=network).i_xt, together.i_xt)
    kde = ibjax.measure(together, "kde", dataset=TASK, network=network)
    assert np.array_equal(kde.i_xt, together.extras["i_xt_kde"])
