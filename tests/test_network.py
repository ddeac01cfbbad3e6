"""Networks against plain NumPy, and every kind of network a user may bring.

Shapes: B patterns, F features, U units, C classes.
"""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pytest
from flax import linen, nnx

from ibjax.data import Dataset
from ibjax.networks.adapter import as_model
from ibjax.networks.capture import capture
from ibjax.networks.dense import LARGEST_UNROLLED, dense, product_gradients, summed_gradients, tanh
from ibjax.networks.perceptron import Perceptron
from ibjax.networks.protocol import Model
from ibjax.training.gradients import kernels

Floats = npt.NDArray[np.float64]
Layers = list[tuple[Floats, Floats]]  # kernel (U', U) and bias (U,) of each layer

ACTIVATIONS: dict[str, tuple[Callable[[Floats], Floats], Callable[[Floats], Floats]]] = {
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0).astype(np.float64)),
    "linear": (lambda z: z, np.ones_like),
    "softsign": (lambda z: z / (1 + np.abs(z)), lambda z: (1 + np.abs(z)) ** -2.0),
    "softplus": (lambda z: np.logaddexp(0, z), lambda z: 1 / (1 + np.exp(-z))),
    "arcsinh": (np.arcsinh, lambda z: 1 / np.sqrt(1 + z**2)),
}
"""Each function and its derivative."""


def layers_of(params: Any) -> Layers:
    """The parameters of a `Perceptron` in float64."""
    return [(np.asarray(p["kernel"], np.float64), np.asarray(p["bias"], np.float64)) for p in params]


def probabilities(logits: Floats) -> Floats:
    """Sigmoid of one column, softmax of several; (B, C) -> (B, C)."""
    if logits.shape[1] == 1:
        return np.asarray(1 / (1 + np.exp(-logits)))
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def forward(layers: Layers, x: Floats, activation: str = "tanh") -> tuple[list[Floats], list[Floats]]:
    """Pre-activations and activations of each layer, (B, U); the last are logits and probabilities."""
    act, _ = ACTIVATIONS[activation]
    before, after = [], []
    a = x
    for index, (kernel, bias) in enumerate(layers):
        z = a @ kernel + bias
        a = act(z) if index < len(layers) - 1 else probabilities(z)
        before.append(z)
        after.append(a)
    return before, after


def gradient(layers: Layers, x: Floats, y: npt.NDArray[np.integer[Any]], activation: str = "tanh") -> Layers:
    """Of the mean cross-entropy, by backpropagation: (kernel, bias) of each layer."""
    before, after = forward(layers, x, activation)
    classes = after[-1].shape[1]
    target = y[:, None] if classes == 1 else np.eye(classes)[y]
    delta = (after[-1] - target) / len(x)
    found: Layers = []
    for index in reversed(range(len(layers))):
        found.insert(0, ((after[index - 1] if index else x).T @ delta, delta.sum(axis=0)))
        if index:
            delta = delta @ layers[index][0].T * ACTIVATIONS[activation][1](before[index - 1])
    return found


def inputs(b: int, f: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(size=(b, f))


def model_of(network: Any, features: int = 5, classes: int = 2) -> Model:
    """The network as training sees it, on inputs of so many features."""
    dataset = Dataset(inputs(4, features), np.eye(classes)[np.arange(4) % classes])
    return as_model(network, dataset, jnp.dtype("float32"))


class TestPerceptron:
    @pytest.mark.parametrize("activation", list(ACTIVATIONS))
    @pytest.mark.parametrize(("output", "last"), [("sigmoid", 1), ("softmax", 3)])
    def test_apply_is_the_plain_formula(self, activation: str, output: str, last: int) -> None:
        net = Perceptron((5, 7, 4, last), activation, output)
        params = jax.jit(net.init)(jax.random.key(1))
        params = jax.tree.map(lambda leaf: leaf + 0.1, params)  # biases too
        x = inputs(9, 5)
        logits, activations = jax.jit(net.apply)(params, jnp.asarray(x, jnp.float32))
        before, after = forward(layers_of(params), x, activation)
        assert [a.shape for a in activations] == [(9, 7), (9, 4), (9, last)]
        np.testing.assert_allclose(logits, before[-1], rtol=2e-5, atol=2e-6)  # three products of ten terms in float32
        for ours, theirs in zip(activations, after, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-6)

    @pytest.mark.parametrize("activation", list(ACTIVATIONS))
    def test_gradient_is_backpropagation(self, activation: str) -> None:
        net = Perceptron((5, 6, 4, 3), activation, "softmax")
        params = jax.jit(net.init)(jax.random.key(2))
        x, y = inputs(8, 5), np.arange(8) % 3

        def loss(params: Any) -> jax.Array:
            logits, _ = net.forward(params, jnp.asarray(x.T, jnp.float32))
            return -jnp.mean(jax.nn.log_softmax(logits, axis=0)[y, jnp.arange(8)])

        for ours, theirs in zip(
            layers_of(jax.jit(jax.grad(loss))(params)), gradient(layers_of(params), x, y, activation), strict=True
        ):
            np.testing.assert_allclose(ours[0], theirs[0], rtol=0, atol=1e-6)
            np.testing.assert_allclose(ours[1], theirs[1], rtol=0, atol=1e-6)

    def test_reference_gradient_is_a_difference_quotient(self) -> None:
        """The reference itself, against central differences (error h^2 ~ 1e-10)."""
        rng = np.random.default_rng(3)
        layers: Layers = [(rng.normal(size=(3, 4)), rng.normal(size=4)), (rng.normal(size=(4, 2)), rng.normal(size=2))]
        x, y = inputs(6, 3), np.array([0, 1, 1, 0, 1, 0])

        def loss() -> float:
            return float(-np.log(forward(layers, x)[1][-1][np.arange(6), y]).mean())

        expected = gradient(layers, x, y)
        for (kernel, bias), (d_kernel, d_bias) in zip(layers, expected, strict=True):
            for array, d in ((kernel, d_kernel), (bias, d_bias)):
                for index in np.ndindex(array.shape):
                    start = array[index]
                    array[index] = start + 1e-5
                    up = loss()
                    array[index] = start - 1e-5
                    down = loss()
                    array[index] = start
                    assert (up - down) / 2e-5 == pytest.approx(d[index], abs=1e-8)

    def test_names(self) -> None:
        model = Perceptron((12, 10, 7, 1)).model
        assert model.layer_names == ("hidden_1", "hidden_2", "output")
        assert model.layer_widths == (10, 7, 1)

    @pytest.mark.parametrize(("initializer", "fan"), [("fan_in", 200), ("fan_out", 300)])
    def test_initial_kernels(self, initializer: str, fan: int) -> None:
        """A normal distribution cut at two standard deviations: std .8796, P(|z| < 1) = .6827/.9545.

        60,000 numbers: four standard errors are 4 * .88 / sqrt(2 * 60,000) = .010 of the std (less, as the tails are
        cut), .0144 of the mean, .0074 of the share.
        """
        net = Perceptron((200, 300, 1), initializer=initializer)
        params = jax.jit(net.init)(jax.random.key(4))
        z = np.asarray(params[0]["kernel"], np.float64) * fan**0.5
        assert z.shape == (200, 300)
        assert 1.99 < np.abs(z).max() <= 2 + 1e-5
        assert z.std() == pytest.approx(0.8796, abs=0.01)
        assert z.mean() == pytest.approx(0, abs=0.0144)
        assert (np.abs(z) < 1).mean() == pytest.approx(0.7152, abs=0.0074)
        assert not params[0]["bias"].any()
        assert params[0]["bias"].shape == (300,)
        scale = np.abs(np.asarray(params[1]["kernel"])).max()
        assert scale <= 2 * (300 if initializer == "fan_in" else 1) ** -0.5 + 1e-5
        assert scale > 1.8 * (300 if initializer == "fan_in" else 1) ** -0.5

    def test_layers_and_keys_are_independent(self) -> None:
        """No layer repeats another's numbers, nor one key another's: correlations within 4/sqrt(400)."""
        net = Perceptron((20, 20, 20, 20))
        kernels = [np.asarray(layer["kernel"]).ravel() for key in (0, 1) for layer in net.init(jax.random.key(key))]
        for one, other in itertools.combinations(kernels, 2):
            assert abs(np.corrcoef(one, other)[0, 1]) < 0.2
        again = [np.asarray(layer["kernel"]).ravel() for layer in net.init(jax.random.key(0))]
        assert all(map(np.array_equal, again, kernels[:3]))

    def test_float64(self) -> None:
        with jax.enable_x64(True):
            net = Perceptron((5, 4, 1), dtype="float64")
            params = jax.jit(net.init)(jax.random.key(5))
            x = inputs(6, 5)
            logits, _ = net.apply(params, jnp.asarray(x))
            assert logits.dtype == np.float64
            np.testing.assert_allclose(logits, forward(layers_of(params), x)[0][-1], rtol=0, atol=1e-14)

    @pytest.mark.parametrize("output", ["sigmoid", "softmax"])
    def test_both_layouts_are_one_network(self, output: str) -> None:
        """Activations and gradients with the patterns last and first, with and without noise; float32 sums of 12."""
        net = Perceptron((12, 10, 7, 1 if output == "sigmoid" else 3), output=output)
        params = net.init(jax.random.key(8))
        x = jnp.asarray(inputs(33, 12), jnp.float32)
        noise = [jnp.asarray(inputs(33, width, width), jnp.float32) for width in (10, 7)]
        for added in (None, noise):
            flipped = None if added is None else [a.T for a in added]

            def last(params: Any, flipped: Any = flipped) -> Any:
                return net.columns(params, x.T, flipped)

            def first(params: Any, added: Any = added) -> Any:
                return net.rows(params, x, added)

            for ours, theirs in zip(jax.tree.leaves(last(params)), jax.tree.leaves(first(params)), strict=True):
                np.testing.assert_allclose(ours.T, theirs, rtol=0, atol=2e-6)
            one = jax.grad(lambda params, last=last: jnp.sum(jnp.sin(last(params)[0])))(params)
            other = jax.grad(lambda params, first=first: jnp.sum(jnp.sin(first(params)[0])))(params)
            for ours, theirs in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
                np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-5)

    def test_inputs_of_several_axes_are_flattened(self) -> None:
        net, images = Perceptron((12, 3, 1)), jnp.asarray(inputs(5, 12), jnp.float32).reshape(5, 2, 3, 2)
        params = net.init(jax.random.key(10))
        for ours, theirs in zip(
            jax.tree.leaves(net.apply(params, images)),
            jax.tree.leaves(net.apply(params, images.reshape(5, 12))),
            strict=True,
        ):
            assert np.array_equal(ours, theirs)

    def test_noise_enters_the_next_layer_and_no_activation_told(self) -> None:
        net = Perceptron((3, 2, 1))
        params = net.init(jax.random.key(9))
        x, z = jnp.asarray(inputs(4, 3), jnp.float32), jnp.asarray(inputs(4, 2, 1), jnp.float32)
        plain, noisy = net.rows(params, x), net.rows(params, x, [z])
        assert np.array_equal(plain[1][0], noisy[1][0])
        np.testing.assert_allclose(noisy[0] - plain[0], z @ params[1]["kernel"], rtol=0, atol=1e-6)

    def test_the_layout_follows_the_widths(self) -> None:
        """Products of wide layers are taken with the patterns first, sums of narrow ones with the patterns last."""
        narrow, middle, wide = (12, 10, 7, 5, 4, 3, 2, 1), (12, 32, 32, 2), (784, 1024, 20, 10)
        for widths, products in ((narrow, False), (middle, False), (wide, True)):
            net = Perceptron(widths)
            params = jax.eval_shape(net.init, jax.eval_shape(lambda: jax.random.key(0)))
            text = str(jax.make_jaxpr(net.forward)(params, jax.ShapeDtypeStruct((widths[0], 3), jnp.float32)))
            assert ("dot_general" in text) is products


class TestDense:
    @pytest.mark.parametrize("patterns", [17, 96, 100, 256, 600])
    @pytest.mark.parametrize(("units_in", "units_out"), [(3, 2), (1, 1), (12, 10), (40, 30)])
    def test_value_and_gradient_are_those_of_the_matrix_formula(
        self, units_in: int, units_out: int, patterns: int
    ) -> None:
        """The unrolled sums of a small kernel and the library products of a wide one; batches of a few vectors, of
        many, and of no whole number of them; up to 600 terms in float32."""
        assert (units_in * units_out > LARGEST_UNROLLED) == (units_in == 40)
        rng = np.random.default_rng(6)
        kernel, bias, a, weight = (
            jnp.asarray(rng.normal(size=size), jnp.float32)
            for size in ((units_in, units_out), (units_out,), (units_in, patterns), (units_out, patterns))
        )

        def ours(*arguments: jax.Array) -> jax.Array:
            return jnp.sum(weight * jnp.sin(dense(*arguments)))

        def plain(kernel: jax.Array, bias: jax.Array, a: jax.Array) -> jax.Array:
            return jnp.sum(weight * jnp.sin(jnp.matmul(kernel.T, a, precision="highest") + bias[:, None]))

        np.testing.assert_allclose(
            jax.jit(dense)(kernel, bias, a),
            np.asarray(kernel).T @ np.asarray(a) + np.asarray(bias)[:, None],
            rtol=0,
            atol=2e-5,
        )
        found = jax.jit(jax.grad(ours, (0, 1, 2)))(kernel, bias, a)
        expected = jax.jit(jax.grad(plain, (0, 1, 2)))(kernel, bias, a)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-4)

    def test_weight_gradients_of_both_ways_agree(self) -> None:
        rng = np.random.default_rng(7)
        a, d = (jnp.asarray(rng.normal(size=size), jnp.float32) for size in ((12, 100), (10, 100)))
        exact = np.asarray(a, np.float64) @ np.asarray(d, np.float64).T, np.asarray(d, np.float64).sum(axis=1)
        for gradients in (product_gradients(a, d), summed_gradients(a, d)):
            for found, truth in zip(gradients, exact, strict=True):
                np.testing.assert_allclose(found, truth, rtol=0, atol=2e-5)


class TestTanh:
    def test_is_within_five_units_in_the_last_place(self) -> None:
        x = np.concatenate([np.linspace(0, 9.2, 400_001), np.geomspace(1e-37, 1, 40_001)]).astype(np.float32)
        truth = np.tanh(x.astype(np.float64))
        for sign in (1, -1):
            found = np.asarray(jax.jit(tanh)(sign * x)) * sign
            assert np.max(np.abs(found - truth) / np.spacing(truth.astype(np.float32))) < 5
            assert np.array_equal(found >= 1, x > np.float32(8)), "saturated from 8 on and only there"
            assert found.max() == 1

    def test_has_the_ends_of_the_compiler_s_own(self) -> None:
        x = jnp.asarray([np.nan, np.inf, -np.inf, 1e30, -1e30, 0.0], jnp.float32)
        assert np.array_equal(tanh(x), jnp.tanh(x), equal_nan=True)

    def test_slope_is_that_of_its_value(self) -> None:
        x = jnp.linspace(-10, 10, 101)
        a = np.asarray(tanh(x), np.float64)
        np.testing.assert_allclose(jax.vmap(jax.grad(tanh))(x), 1 - a * a, rtol=0, atol=1e-7)

    def test_is_the_compiler_s_own_in_float64(self) -> None:
        with jax.enable_x64(True):
            x = jnp.linspace(-3, 3, 7)
            assert x.dtype == jnp.float64
            assert np.array_equal(tanh(x), jnp.tanh(x))


class LinenNetwork(linen.Module):  # type: ignore[misc]  # flax is not typed here
    @linen.compact  # type: ignore[untyped-decorator]
    def __call__(self, x: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
        hidden = linen.tanh(linen.Dense(6)(x))
        logits = linen.Dense(2)(hidden)
        return logits, [hidden, linen.softmax(logits)]


class NnxNetwork(nnx.Module):  # type: ignore[misc]  # flax is not typed here
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first = nnx.Linear(5, 6, rngs=rngs)
        self.last = nnx.Linear(6, 2, rngs=rngs)

    def __call__(self, x: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
        hidden = jnp.tanh(self.first(x))
        logits = self.last(hidden)
        return logits, [hidden, jax.nn.softmax(logits)]


class LinenLogits(linen.Module):  # type: ignore[misc]  # flax is not typed here
    """As `LinenNetwork`, but it returns its logits only, and sows the layer."""

    @linen.compact  # type: ignore[untyped-decorator]
    def __call__(self, x: jax.Array) -> jax.Array:
        hidden = linen.tanh(linen.Dense(6)(x))
        self.sow("intermediates", "hidden", hidden)
        return linen.Dense(2)(hidden)


class NnxLogits(NnxNetwork):
    def __call__(self, x: jax.Array) -> jax.Array:  # type: ignore[override] # that is the point
        hidden = jnp.tanh(self.first(x))
        self.sow(nnx.Intermediate, "hidden", hidden)
        return self.last(hidden)


class PlainNetwork:
    def init(self, key: jax.Array, inputs: jax.Array) -> Any:
        draws = jax.random.split(key)
        return {
            "first": {"kernel": jax.random.normal(draws[0], (inputs.shape[1], 6)), "bias": jnp.zeros(6)},
            "last": {"kernel": jax.random.normal(draws[1], (6, 2)), "bias": jnp.zeros(2)},
        }

    def apply(self, params: Any, inputs: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
        hidden = jnp.tanh(inputs @ params["first"]["kernel"] + params["first"]["bias"])
        logits = hidden @ params["last"]["kernel"] + params["last"]["bias"]
        return logits, [hidden, jax.nn.softmax(logits)]


class TestCapture:
    @pytest.mark.parametrize(
        ("logits_only", "whole"), [(LinenLogits(), LinenNetwork()), (NnxLogits, NnxNetwork)], ids=["linen", "nnx"]
    )
    def test_is_the_network_that_returns_its_layers(self, logits_only: Any, whole: Any) -> None:
        captured, expected = model_of(capture(logits_only, ["hidden"]), 5), model_of(whole, 5)
        assert captured.layer_names == ("hidden", "output")
        assert captured.layer_widths == expected.layer_widths == (6, 2)
        x = jnp.asarray(inputs(9, 5).T, jnp.float32)
        params = captured.init(jax.random.key(3))
        found, truth = captured.forward(params, x), expected.forward(expected.init(jax.random.key(3)), x)
        for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(truth), strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)

    def test_takes_parts_by_name_and_by_function(self) -> None:
        model = model_of(capture(LinenLogits(), ["Dense_0", "hidden"]), 5)
        assert model.layer_names == ("Dense_0", "hidden", "output")
        x = jnp.asarray(inputs(9, 5).T, jnp.float32)
        before, after, _ = model.forward(model.init(jax.random.key(0)), x)[1]
        np.testing.assert_allclose(jnp.tanh(before), after, rtol=0, atol=1e-6)
        chosen = model_of(capture(LinenLogits(), lambda name: name != "hidden"), 5)
        assert chosen.layer_names == ("Dense_0", "Dense_1", "output")

    @pytest.mark.parametrize(
        ("layers", "message"),
        [
            (["hiden"], r"layers = 'hiden'; allowed: 'Dense_0', 'hidden', 'Dense_1' \(did you mean 'hidden'\?\)"),
            (lambda name: False, r"layers takes none; allowed: some of Dense_0, hidden, Dense_1"),
        ],
    )
    def test_layers_that_are_not_there_are_refused(self, layers: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            model_of(capture(LinenLogits(), layers), 5)

    def test_a_part_called_twice_is_told_as_such(self) -> None:
        """That what it returns is an array, as it should be, is not."""

        class Tied(linen.Module):  # type: ignore[misc]  # flax is not typed here
            @linen.compact  # type: ignore[untyped-decorator]
            def __call__(self, x: jax.Array) -> Any:
                tied = linen.Dense(5, name="tied")
                return tied(jnp.tanh(tied(x)))

        with pytest.raises(ValueError, match=r"layers = 'tied', which is called 2 times; allowed: parts called once"):
            model_of(capture(Tied(), ["tied"]), 5)

    @pytest.mark.parametrize(
        ("layers", "error"), [("hidden", TypeError), (3, TypeError), ((), ValueError), (("a", "a"), ValueError)]
    )
    def test_wrong_layers_are_refused(self, layers: Any, error: type[Exception]) -> None:
        with pytest.raises(error, match="layers"):
            capture(LinenLogits(), layers)

    def test_a_network_that_returns_its_layers_is_refused(self) -> None:
        with pytest.raises(ValueError, match="it returns a tuple; allowed with capture: an array of logits alone"):
            model_of(capture(LinenNetwork(), ["Dense_0"]), 5)


class TestAsModel:
    @pytest.mark.parametrize(
        "given", [LinenNetwork(), NnxNetwork, PlainNetwork(), lambda rngs: NnxNetwork(rngs)], ids=lambda g: str(type(g))
    )
    def test_every_kind_of_network(self, given: Any) -> None:
        x = inputs(9, 5)
        model = model_of(given)
        assert isinstance(model, Model)
        assert model.layer_widths == (6, 2)
        params = jax.jit(model.init)(jax.random.key(7))
        logits, (hidden, output) = jax.jit(model.forward)(params, jnp.asarray(x.T, jnp.float32))
        kernels = sorted((a for a in map(np.asarray, jax.tree.leaves(params)) if a.ndim == 2), key=len)
        layers: Layers = [(kernel.astype(np.float64), np.zeros(kernel.shape[1])) for kernel in kernels]
        before, after = forward(layers, x)
        np.testing.assert_allclose(logits.T, before[-1], rtol=0, atol=1e-5)
        np.testing.assert_allclose(hidden.T, after[0], rtol=0, atol=1e-5)
        np.testing.assert_allclose(output.T, after[1], rtol=0, atol=1e-5)

    @pytest.mark.parametrize("given", [LinenNetwork(), NnxNetwork, PlainNetwork()], ids=lambda g: str(type(g)))
    def test_parameters_come_from_the_key(self, given: Any) -> None:
        model = model_of(given)
        draw = jax.jit(lambda seed: jax.tree.leaves(model.init(jax.random.key(seed))))
        first, again, other = draw(0), draw(0), draw(1)
        assert all(map(np.array_equal, first, again))
        assert any(not np.array_equal(a, b) for a, b in zip(first, other, strict=True))

    def test_layers_go_by_their_own_names_in_their_own_order(self) -> None:
        """Also where the alphabet has another one, as nnx and jax have."""

        class Reversed(nnx.Module):  # type: ignore[misc]  # flax is not typed here
            def __init__(self, rngs: nnx.Rngs) -> None:
                self.zeroth = nnx.Linear(5, 6, rngs=rngs)
                self.afterwards = nnx.Linear(6, 2, rngs=rngs)

            def __call__(self, x: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
                hidden = jnp.tanh(self.zeroth(x))
                logits = self.afterwards(hidden)
                return logits, [hidden, jax.nn.softmax(logits)]

        for given, names in (
            (Reversed, ("zeroth", "afterwards")),
            (LinenNetwork(), ("Dense_0", "Dense_1")),
            (PlainNetwork(), ("first", "last")),
        ):
            model = model_of(given)
            assert model.layer_names == names
            params = model.init(jax.random.key(0))
            assert [k.shape for k in kernels(params)] == [(5, 6), (6, 2)]

    def test_perceptron_keeps_patterns_last(self) -> None:
        model = model_of(Perceptron((5, 4, 1)))
        logits, activations = model.forward(model.init(jax.random.key(0)), jnp.zeros((5, 9)))
        assert [a.shape for a in (logits, *activations)] == [(1, 9), (4, 9), (1, 9)]

    def test_an_instance_or_a_class_in_the_place_of_the_other(self) -> None:
        """The message says what to pass instead."""

        class Nnx(nnx.Module):  # type: ignore[misc]
            def __init__(self, rngs: nnx.Rngs) -> None:
                self.last = nnx.Linear(5, 1, rngs=rngs)

            def __call__(self, x: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
                return self.last(x), [self.last(x)]

        with pytest.raises(TypeError, match=r"network = Nnx\(.*, one nnx.Module; .*lambda rngs: Nnx\(.*rngs=rngs\)"):
            model_of(Nnx(nnx.Rngs(0)))
        with pytest.raises(TypeError, match=r"network = LinenNetwork, a class; allowed: an instance of it, LinenN"):
            model_of(LinenNetwork)

    @pytest.mark.parametrize("wrong", [None, 3, "perceptron", (12, 10), {"init": 1}, object()])
    def test_anything_else_is_refused(self, wrong: Any) -> None:
        with pytest.raises(TypeError, match=r"network = .*allowed: a flax linen module"):
            model_of(wrong)
