"""Moments of the minibatch gradients against plain loops in float64, and the layers they are taken of.

Shapes: L layers, N patterns, B patterns of a batch.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen
from test_network import LinenNetwork, NnxNetwork, gradient, layers_of, model_of

from ibjax.networks.perceptron import Perceptron
from ibjax.training import gradients
from ibjax.training.rules.descent import GradientDescent
from ibjax.training.trainer import Trainer, epoch_positions


class TestMoments:
    @pytest.mark.parametrize(("batch_size", "learn"), [(8, True), (20, False)])
    def test_of_an_epoch_against_a_plain_loop(self, batch_size: int, learn: bool) -> None:
        """Twenty patterns in batches of 8, 8 and 4, or in one; SGD between them where `learn`. Float32: 1e-6."""
        rng = np.random.default_rng(1)
        x = rng.integers(0, 2, (20, 5)).astype(np.float64)
        p_y = np.eye(3)[rng.integers(0, 3, 20)]
        net = Perceptron((5, 4, 3, 3), output="softmax")
        trainer = Trainer(
            model=net.model,
            make_rule=lambda _: GradientDescent(optax.sgd(0.5), net.model.unravel, elementwise=True),
            n_train=20,
            batch_size=batch_size,
            shuffle=True,
            ordered_split=True,
        )
        x_single = jnp.asarray(x, jnp.float32)
        sample, state = jax.jit(trainer.start)(jnp.uint32(3), x_single, jnp.asarray(p_y, jnp.float32))
        layers = layers_of(trainer.model.unravel(state.params))
        _, moments = jax.jit(trainer.epoch)(sample, state, x_single, jnp.int32(2), jnp.asarray(learn))
        labels = np.asarray(sample.labels)

        positions, present = epoch_positions(sample, jnp.int32(2), 20, batch_size, True)
        seen = []
        for where, here in zip(np.asarray(positions), np.asarray(present), strict=True):
            batch = where[here]
            step = gradient(layers, x[batch], labels[batch])
            seen.append(step)
            if learn:
                layers = [(k - 0.5 * dk, b - 0.5 * db) for (k, b), (dk, db) in zip(layers, step, strict=True)]
        assert int(moments.seen) == len(seen) == -(-20 // batch_size)
        by_layer = [np.stack([step[layer][0] for step in seen]) for layer in range(3)]
        means = [float(np.linalg.norm(g.mean(axis=0))) for g in by_layer]
        spreads = [float(np.linalg.norm(g.std(axis=0))) for g in by_layer]
        np.testing.assert_allclose(gradients.norms(trainer.model.unravel(moments.mean)), means, rtol=0, atol=1e-6)
        np.testing.assert_allclose(
            gradients.norms(trainer.model.unravel(gradients.spread(moments))), spreads, rtol=0, atol=1e-6
        )
        assert min(means) > 1e-3
        assert (min(spreads) > 1e-3) == (len(seen) > 1)

    def test_large_mean_and_small_spread(self) -> None:
        """Mean 1000, spread 0.1: the difference of float32 squares would be 10^6 (1 +- 6e-8), nothing left of 0.01.

        The running mean is rounded at 3e-5, 3e-4 of the spread.
        """
        values = (1000 + 0.1 * np.random.default_rng(2).normal(size=(200, 6))).astype(np.float32)
        begun = gradients.begin(jnp.zeros(6))
        moments, _ = jax.lax.scan(lambda m, g: (gradients.add(m, g), None), begun, jnp.asarray(values))
        exact = values.astype(np.float64)
        np.testing.assert_allclose(moments.mean, exact.mean(axis=0), rtol=5e-7)
        np.testing.assert_allclose(gradients.spread(moments), exact.std(axis=0), rtol=3e-3)

    def test_of_a_tree_one_by_one(self) -> None:
        """Values 1, 2, 6: mean 3, population variance (4 + 1 + 9) / 3."""
        moments = gradients.begin({"a": jnp.zeros(()), "b": jnp.zeros((2, 2))})
        for value in (1.0, 2.0, 6.0):
            moments = gradients.add(moments, {"a": jnp.float32(value), "b": jnp.full((2, 2), -value)})
        assert float(moments.mean["a"]) == pytest.approx(3, abs=1e-6)
        spread = gradients.spread(moments)
        assert float(spread["a"]) == pytest.approx((14 / 3) ** 0.5, abs=1e-6)
        np.testing.assert_allclose(spread["b"], np.full((2, 2), (14 / 3) ** 0.5), rtol=1e-6)
        np.testing.assert_allclose(moments.mean["b"], np.full((2, 2), -3.0), rtol=1e-6)

    def test_equal_gradients_have_no_spread(self) -> None:
        moments = gradients.begin(jnp.zeros(3))
        for _ in range(7):
            moments = gradients.add(moments, jnp.array([0.1, -3.0, 1e-8]))
        np.testing.assert_allclose(moments.mean, [0.1, -3.0, 1e-8], rtol=1e-6)
        assert np.asarray(gradients.spread(moments)).max() == 0


def shapes(params: Any) -> list[tuple[int, ...]]:
    return [kernel.shape for kernel in gradients.kernels(params)]


class ElevenLayers(linen.Module):  # type: ignore[misc]  # flax is not typed here
    """Widths 1, 2, ... 11: more layers than one digit counts."""

    @linen.compact  # type: ignore[untyped-decorator]
    def __call__(self, x: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
        activations = []
        for width in range(1, 12):
            x = linen.tanh(linen.Dense(width)(x))
            activations.append(x)
        return x, activations


class Named(linen.Module):  # type: ignore[misc]  # flax is not typed here
    @linen.compact  # type: ignore[untyped-decorator]
    def __call__(self, x: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
        hidden = linen.Dense(3, name="first")(x)
        logits = linen.Dense(2, name="after")(hidden)
        return logits, [hidden, logits]


class Block(linen.Module):  # type: ignore[misc]  # flax is not typed here
    width: int

    @linen.compact  # type: ignore[untyped-decorator]
    def __call__(self, x: jax.Array) -> jax.Array:
        return linen.Dense(self.width)(linen.LayerNorm()(linen.Dense(2 * self.width)(x)))


class Nested(linen.Module):  # type: ignore[misc]  # flax is not typed here
    @linen.compact  # type: ignore[untyped-decorator]
    def __call__(self, x: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
        hidden = Block(3)(x)
        normal = linen.LayerNorm()(hidden)
        return linen.Dense(2)(normal), [hidden, normal]


class TestKernels:
    def test_of_the_built_in_network(self) -> None:
        assert shapes(Perceptron((12, 10, 7, 1)).init(jax.random.key(0))) == [(12, 10), (10, 7), (7, 1)]

    def test_norms_by_hand(self) -> None:
        params = [
            {"kernel": jnp.full((2, 2), 1.5), "bias": jnp.full(2, 9.0)},
            {"kernel": jnp.array([[3.0], [-4.0]]), "bias": jnp.full(1, 9.0)},
        ]
        np.testing.assert_allclose(gradients.norms(params), [3, 5], rtol=1e-6)

    def test_of_linen_variables(self) -> None:
        params = LinenNetwork().init(jax.random.key(0), jnp.zeros((2, 5)))
        assert shapes(params) == shapes(params["params"]) == [(5, 6), (6, 2)]

    def test_of_nested_modules_the_largest_of_each_group(self) -> None:
        """A block's wider matrix stands for it; norms without a matrix are left out."""
        params = Nested().init(jax.random.key(0), jnp.zeros((2, 5)))
        assert sorted(shapes(params)) == [(3, 2), (5, 6)]

    def test_of_an_nnx_network(self) -> None:
        params = model_of(NnxNetwork).init(jax.random.key(0))
        assert shapes(params) == [(5, 6), (6, 2)]

    def test_of_a_single_array(self) -> None:
        assert shapes(jnp.zeros((3, 4))) == [(3, 4)]

    @pytest.mark.parametrize(
        ("module", "expected"),
        [(ElevenLayers(), [(4, 1), *((width, width + 1) for width in range(1, 11))]), (Named(), [(4, 3), (3, 2)])],
        ids=["counted", "named"],
    )
    def test_layers_keep_their_order(self, module: linen.Module, expected: list[tuple[int, int]]) -> None:
        """JAX sorts the keys of a dictionary, which puts Dense_10 before Dense_2 and "first" after "after"."""
        model = model_of(module, features=4, classes=len(expected) if len(expected) > 2 else 2)
        size = sum(fan_in * fan_out + fan_out for fan_in, fan_out in expected)
        assert shapes(model.unravel(jnp.zeros(size))) == expected
