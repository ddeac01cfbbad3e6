"""The information kernel against a reference on `numpy.unique`, exact rational arithmetic, and hand-made layers.

Shapes: ... batch axes, N patterns, U units, C classes, W words.
"""

import functools
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ibjax
from ibjax.information import histogram, partition
from ibjax.information.apply import information, kde_information
from ibjax.information.cells import bins as binning
from ibjax.information.cells import table
from ibjax.information.cells import words as words_of
from ibjax.information.histogram import layer_information

Floats = npt.NDArray[np.floating[Any]]
Integers = npt.NDArray[np.integer[Any]]

SINGLE, DOUBLE = 1e-5, 1e-10  # bits; promised in float32 and in float64
outside_on_purpose = pytest.mark.filterwarnings("ignore:.* of the activations lie outside:RuntimeWarning")


def entropy(p: Floats) -> float:
    p = p[p > 0]
    return float(-(p * np.log2(p)).sum())


def codes_of(a: Floats, bins: int, low: float, high: float) -> Integers:
    """The bin of every value."""
    return np.clip(np.floor((a.astype(np.float64) - low) * bins / (high - low)), 0, bins - 1).astype(int)


def information_of(codes: Integers, p_y_given_x: Floats, p_x: Floats | None) -> tuple[float, float]:
    """H(T) and I(T;Y) in bits from codes (N, U), everything in float64."""
    n = len(codes)
    p_y = np.asarray(p_y_given_x, np.float64)
    conditional = np.stack([1 - p_y, p_y], axis=1) if p_y.ndim == 1 else p_y
    marginal = np.full(n, 1 / n) if p_x is None else np.asarray(p_x, np.float64)
    _, cell = np.unique(codes, axis=0, return_inverse=True)
    joint = np.zeros((cell.max() + 1, conditional.shape[1]))
    np.add.at(joint, cell.reshape(-1), conditional * marginal[:, None])
    p_t = joint.sum(axis=1)
    h_y_given_t = entropy(joint.reshape(-1)) - entropy(p_t)
    return entropy(p_t), entropy(joint.sum(axis=0)) - h_y_given_t


class Shape(NamedTuple):
    """One compiled program of the kernel, and what kind of data goes in."""

    batch: tuple[int, ...]
    n: int
    width: int
    bins: int
    classes: int  # 1: p(y=1|x)
    weighted: bool  # with p(x)


SHAPES = [
    Shape((), 1, 1, 2, 1, False),
    Shape((), 2, 3, 30, 2, True),
    Shape((3,), 300, 1, 4096, 1, False),
    Shape((2, 2), 97, 2, 30, 3, False),
    Shape((2,), 512, 5, 7, 1, True),
    Shape((), 1000, 12, 30, 1, False),
    Shape((), 256, 7, 100, 5, True),
    Shape((), 200, 64, 2, 1, False),
    Shape((2,), 64, 1024, 3, 2, True),
    Shape((), 300, 40, 4096, 1, False),
]


def draw(shape: Shape, seed: int, kind: str, scale: float) -> tuple[Floats, Floats, Floats | None]:
    """Float64 activations (..., N, U), p(y|x) and p(x); `kind` says how the patterns fall together."""
    rng = np.random.default_rng(seed)
    size = (*shape.batch, shape.n, shape.width)
    a = np.tanh(scale * rng.normal(size=size))
    if kind == "few rows":  # many patterns a cell
        a = np.take(a, rng.integers(0, max(shape.n // 5, 1), shape.n), axis=-2)
    elif kind == "nearly equal":  # patterns that differ in one unit only
        a = np.broadcast_to(a[..., :1, :], size).copy()
        a[..., rng.integers(0, shape.width)] = rng.uniform(-1.2, 1.2, size[:-1])
    p_y = rng.random(shape.n) if shape.classes == 1 else rng.dirichlet(np.ones(shape.classes), shape.n)
    if rng.random() < 0.5:  # hard labels
        p_y = np.rint(p_y) if shape.classes == 1 else np.eye(shape.classes)[p_y.argmax(axis=1)]
    p_x = None
    if shape.weighted:
        p_x = rng.dirichlet(np.full(shape.n, 0.5))
        p_x[rng.random(shape.n) < 0.1 * (shape.n > 2)] = 0
        p_x /= p_x.sum()
    return a, p_y, p_x


def agree(shape: Shape, a: Floats, p_y: Floats, p_x: Floats | None, tolerance: float) -> None:
    i_xt, i_ty = (np.asarray(i) for i in layer_information(a, p_y, p_x=p_x, bins=shape.bins))
    assert i_xt.dtype == i_ty.dtype == a.dtype
    assert i_xt.shape == i_ty.shape == shape.batch
    i_xy, _ = information_of(np.arange(shape.n)[:, None], p_y, p_x)[::-1]
    for index in np.ndindex(shape.batch):
        expected = information_of(codes_of(a[index], shape.bins, -1, 1), p_y, p_x)
        np.testing.assert_allclose((i_xt[index], i_ty[index]), expected, rtol=0, atol=tolerance)
        assert i_ty[index] <= i_xt[index] + 1e-6
        assert i_ty[index] <= i_xy + 1e-6
        assert i_ty[index] >= -1e-6


kinds = st.sampled_from(["generic", "few rows", "nearly equal"])
scales = st.sampled_from([0.05, 0.5, 3.0])
seeds = st.integers(0, 2**32 - 1)


@outside_on_purpose
class TestAgainstReference:
    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    def test_float32(self, shape: Shape) -> None:
        @settings(max_examples=12, deadline=None, derandomize=True, database=None)
        @given(seed=seeds, kind=kinds, scale=scales)
        def check(seed: int, kind: str, scale: float) -> None:
            a, p_y, p_x = draw(shape, seed, kind, scale)
            agree(shape, a.astype(np.float32), p_y, p_x, SINGLE)

        check()

    @pytest.mark.parametrize("shape", [SHAPES[i] for i in (3, 4, 5, 8)], ids=str)
    def test_float64(self, shape: Shape) -> None:
        @settings(max_examples=8, deadline=None, derandomize=True, database=None)
        @given(seed=seeds, kind=kinds, scale=scales)
        def check(seed: int, kind: str, scale: float) -> None:
            with jax.enable_x64(True):
                agree(shape, *draw(shape, seed, kind, scale), DOUBLE)

        check()

    @pytest.mark.parametrize(("low", "high"), [(0.0, 3.7), (-0.3, 2.1), (1000.0, 1000.5), (-1e-6, 1e-6)])
    def test_other_ranges(self, low: float, high: float) -> None:
        low, high = float(np.float32(low)), float(np.float32(high))
        rng = np.random.default_rng(11)
        a = rng.uniform(low - 0.1 * (high - low), high + 0.1 * (high - low), (97, 2)).astype(np.float32)
        p_y = rng.random(97)
        got = layer_information(a, p_y, bins=30, low=low, high=high)
        np.testing.assert_allclose(got, information_of(codes_of(a, 30, low, high), p_y, None), rtol=0, atol=SINGLE)

    def test_task_and_a_layer_of_the_paper(self) -> None:
        """4096 patterns, soft labels: a random network's layer."""
        data = ibjax.spherical_dataset()
        rng = np.random.default_rng(5)
        a = np.tanh(data.inputs @ rng.normal(0, 0.4, (12, 4))).astype(np.float32)
        got = layer_information(a, data.p_y_given_x)
        expected = information_of(codes_of(a, 30, -1, 1), data.p_y_given_x, None)
        assert 5 < expected[0] < 12
        np.testing.assert_allclose(got, expected, rtol=0, atol=SINGLE)

    def test_widest_and_finest(self) -> None:
        """1024 units of 4096 bins; half of the patterns differ from a neighbour in one bin, half in none."""
        rng = np.random.default_rng(6)
        codes = np.repeat(rng.integers(0, 4096, (64, 1024)), 4, axis=0)
        codes[0::4, 1023] ^= 1
        codes[1::4, 0] ^= 1
        a = ((codes + 0.5) / 2048 - 1).astype(np.float32)
        p_y = rng.random(256)
        i_xt, i_ty = layer_information(a, p_y, bins=4096)
        # Of each four, two are alone and two together: H(T) = 8 - 1/2.
        assert float(i_xt) == pytest.approx(7.5, abs=SINGLE)
        assert float(i_ty) == pytest.approx(information_of(codes, p_y, None)[1], abs=SINGLE)


def released_information(a: Floats, p_y_given_x: Floats, p_x: Floats | None, edges: int = 30) -> tuple[float, float]:
    """What the authors' released code computes of a layer (N, U): each value stands for the last of the float32 edges
    that are not above it, and for the greatest edge, whose index is -1, where there is none."""
    ends = np.linspace(-1, 1, edges).astype(np.float32)
    last = (ends[None, :] <= a.reshape(-1, 1)).sum(axis=1) - 1
    return information_of(ends[last].reshape(a.shape), p_y_given_x, p_x)


@outside_on_purpose
class TestReleasedCode:
    """`compat="idnns"` on what its authors' code was never run on too: to 1e-6 bits on any finite input."""

    @settings(max_examples=10, deadline=None, derandomize=True, database=None)
    @given(seed=seeds, kind=kinds, scale=st.sampled_from([0.5, 3.0, 30.0]))
    def test_layers(self, seed: int, kind: str, scale: float) -> None:
        """Saturated values too: float32 tanh reaches 1 exactly, which is a separate cell there."""
        shape = SHAPES[4]
        a, p_y, p_x = draw(shape, seed, kind, scale)
        a = a.astype(np.float32)
        got = np.asarray(layer_information(a, p_y, p_x=p_x, bins=30, compat="idnns"))
        for index in np.ndindex(shape.batch):
            np.testing.assert_allclose(got[:, index[0]], released_information(a[index], p_y, p_x), rtol=0, atol=SINGLE)

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("edges", [2, 3, 7, 30, 31, 100, 4096])
    def test_at_the_edges_and_beside_them(self, edges: int, dtype: type[np.floating[Any]]) -> None:
        """Every edge, as float32 and as float64 has it, its neighbours, and values outside, with hard labels."""
        exact = np.linspace(-1, 1, edges)
        near = np.concatenate([exact.astype(np.float32).astype(dtype), exact.astype(dtype), [-2, -1e30, 2, 1e30]])
        a = np.concatenate([near, *(np.nextafter(near, dtype(to)) for to in (-np.inf, np.inf))]).astype(dtype)
        a = a[(np.abs(a) > 1e-30) | (a == 0)][:, None]  # compilers flush subnormal numbers to zero
        rng = np.random.default_rng(edges)
        for layer in (a, rng.permuted(np.repeat(a, 2, axis=1), axis=0)):
            labels = rng.integers(0, 2, len(layer)).astype(float)
            got = np.asarray(layer_information(layer, labels, bins=edges, compat="idnns"))
            tolerance = 1e-6 if dtype == np.float64 or len(layer) < 500 else SINGLE
            np.testing.assert_allclose(got, released_information(layer, labels, None, edges), rtol=0, atol=tolerance)

    def test_codes(self) -> None:
        a = np.array([-1, 1, -2, 2, 0, -1e-9, 1e-9, -1e-30, 0.999, -0.999], np.float32)
        codes = kernel_codes(a, 30, -1.0, 1.0, "idnns")
        assert codes.tolist() == [0, 29, 29, 29, 14, 14, 14, 14, 28, 0]

    @pytest.mark.parametrize(("low", "high"), [(0.0, 3.7), (-5.0, -1.0)])
    def test_other_ranges(self, low: float, high: float) -> None:
        """The released code has none; here its 30 edges span them, with values apart from the edges."""
        steps = np.arange(-2, 32)
        a = (low + (steps + 0.5) * (high - low) / 29).astype(np.float32)
        codes = np.asarray(kernel_codes(a, 30, np.float32(low), np.float32(high), "idnns"))
        assert codes.tolist() == [29, 29, *range(29), 29, 29, 29]


# The layers below have 16 patterns of 2 units and 4 classes, one compiled program for all of them.
GRID = np.stack([np.repeat(np.arange(4), 4), np.tile(np.arange(4), 4)], axis=1)


def layer_of(values: Integers) -> Floats:
    """Activations in the middle of the bins, of which there are 4."""
    return np.asarray((values + 0.5) / 2 - 1, np.float32)


class TestByHand:
    labels = np.eye(4)[GRID[:, 0]]  # Y is the first coordinate: H(Y) = 2

    def measure(self, values: Integers) -> tuple[float, float]:
        i_xt, i_ty = layer_information(layer_of(values), self.labels, bins=4)
        return float(i_xt), float(i_ty)

    def test_identical(self) -> None:
        assert self.measure(GRID) == pytest.approx((4, 2), abs=1e-6)

    def test_constant(self) -> None:
        assert self.measure(np.zeros_like(GRID)) == pytest.approx((0, 0), abs=1e-6)

    def test_independent_of_the_label(self) -> None:
        assert self.measure(GRID[:, [1, 1]]) == pytest.approx((2, 0), abs=1e-6)

    def test_the_label_itself(self) -> None:
        assert self.measure(GRID[:, [0, 0]]) == pytest.approx((2, 2), abs=1e-6)

    def test_half_of_the_label(self) -> None:
        assert self.measure(GRID[:, [0, 0]] // 2) == pytest.approx((1, 1), abs=1e-6)

    def test_relabelled_bins_and_swapped_units(self) -> None:
        assert self.measure(np.array([2, 0, 3, 1])[GRID[:, ::-1]]) == pytest.approx((4, 2), abs=1e-6)

    def test_patterns_in_another_order(self) -> None:
        """The cells keep their patterns, so nothing changes; with labels left behind the information is another."""
        rng = np.random.default_rng(1)
        a, p_y = rng.uniform(-1, 1, (16, 2)).astype(np.float32), rng.dirichlet(np.ones(4), 16)
        order = rng.permutation(16)
        straight = np.asarray(layer_information(a, p_y, bins=4))
        np.testing.assert_allclose(layer_information(a[order], p_y[order], bins=4), straight, rtol=0, atol=1e-6)
        assert abs(float(layer_information(a, p_y[order], bins=4)[1]) - straight[1]) > 0.01

    def test_doubling_every_pattern_changes_nothing(self) -> None:
        a, p_y = layer_of(GRID)[:8], self.labels[:8]
        twice = layer_information(np.repeat(a, 2, axis=0), np.repeat(p_y, 2, axis=0), bins=4)
        np.testing.assert_allclose(twice, (3, 1), rtol=0, atol=1e-6)

    def test_probability_instead_of_repeats(self) -> None:
        """p(x) = 2/16 for a pattern that stands for two, 0 for the one left out."""
        values = GRID.copy()
        values[1::2] = values[::2]
        p_x = np.tile([2 / 16, 0], 8)
        weighted = layer_information(layer_of(GRID), self.labels, p_x=p_x, bins=4)
        np.testing.assert_allclose(weighted, self.measure(values), rtol=0, atol=1e-6)
        np.testing.assert_allclose(weighted, (3, 2), rtol=0, atol=1e-6)

    def test_two_columns_and_one_vector(self) -> None:
        p = np.linspace(0, 1, 16)
        one = layer_information(layer_of(GRID), p, bins=4)
        two = layer_information(layer_of(GRID), np.stack([1 - p, p], axis=1), bins=4)
        np.testing.assert_allclose(one, two, rtol=0, atol=1e-6)

    def test_uniform_p_x_given_or_not(self) -> None:
        given_ = layer_information(layer_of(GRID // 2), self.labels, p_x=np.full(16, 1 / 16), bins=4)
        np.testing.assert_allclose(given_, self.measure(GRID // 2), rtol=0, atol=1e-6)


def exact_codes(values: Floats, bins: int, low: float, high: float) -> list[int]:
    """The bin of each value in rational arithmetic on the value the float holds."""
    step = (Fraction(high) - Fraction(low)) / bins
    return [int(min(max((Fraction(value) - Fraction(low)) // step, 0), bins - 1)) for value in map(float, values)]


@functools.partial(jax.jit, static_argnums=(1, 4))
def kernel_codes(values: Any, bins: int, low: Any, high: Any, compat: str | None = None) -> jax.Array:
    return binning.bin_codes(jnp.asarray(values), bins, low, high, compat)


def around_edges(bins: int, low: float, high: float, dtype: type[np.floating[Any]]) -> Floats:
    """The floats nearest to every edge (a thousand of them at most), and the next two on either side."""
    edges = range(bins + 1) if bins < 1000 else [*range(300), *range(bins // 2 - 200, bins // 2 + 200)]
    exact = [Fraction(low) + (Fraction(high) - Fraction(low)) * k / bins for k in edges]
    near = np.array([float(edge) for edge in exact], dtype)
    # Not next to 0: compilers flush subnormal numbers to zero.
    near = near[(np.abs(near) > 1e-30) | (near == 0)]
    values = [near]
    for direction in (-np.inf, np.inf):
        once = np.nextafter(near, dtype(direction))
        values += [once, np.nextafter(once, dtype(direction))]
    together = np.concatenate(values)
    return together[(np.abs(together) > 1e-30) | (together == 0)]


class TestEdges:
    def test_named_values(self) -> None:
        a = np.array([-1, 1, -2, 2, 0, -1e-9, 1e-9, -1e-30, 0.999, -0.999], np.float32)
        codes = kernel_codes(a, 30, -1.0, 1.0)
        assert codes.tolist() == [0, 29, 0, 29, 15, 14, 15, 14, 29, 0]

    @pytest.mark.parametrize("bins", [2, 30, 31, 100, 4096])
    @pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (0.0, 1.0), (0.0, 3.7), (-3.0, 5.0), (-0.3, 2.123)])
    def test_next_to_every_edge(self, bins: int, low: float, high: float) -> None:
        low, high = float(np.float32(low)), float(np.float32(high))
        values = around_edges(bins, low, high, np.float32)
        codes = kernel_codes(values, bins, low, high)
        wrong = np.asarray(codes) != exact_codes(values, bins, low, high)
        assert not wrong.any(), f"{wrong.sum()} of {wrong.size}, the first at {values[wrong][0]!r}"

    @pytest.mark.parametrize("bins", [30, 4096])
    def test_next_to_every_edge_in_float64(self, bins: int) -> None:
        with jax.enable_x64(True):
            values = around_edges(bins, -1, 1, np.float64)
            codes = np.asarray(kernel_codes(values, bins, -1.0, 1.0))
        assert codes.tolist() == exact_codes(values, bins, -1, 1)

    def test_not_compiled_is_the_same(self) -> None:
        """Compilers may contract a product and a sum: the codes must not depend on it."""
        values = around_edges(30, -1, 1, np.float32)
        codes = binning.bin_codes(jnp.asarray(values), 30, -1.0, 1.0, None)
        assert codes.tolist() == exact_codes(values, 30, -1, 1)

    def test_random_floats_of_a_one_sided_range(self) -> None:
        """Small values next to 0 keep all their digits: a range from 0, as for ReLU."""
        values = np.random.default_rng(2).random(100_000, np.float32)
        codes = np.asarray(kernel_codes(values, 4096, 0.0, 1.0))
        # 4096 is a power of two, so the reference in float64 is exact.
        assert (codes != codes_of(values, 4096, 0, 1)).sum() == 0

    def test_activation_range(self) -> None:
        a = jnp.array([[[0.5, 2.0, -1.0], [3.0, 3.0, 3.0]], [[0.0, 1.0, 7.0], [3.0, 3.0, 3.0]]])  # (U, M, N)
        low, high = jax.jit(binning.activation_range)(a)
        assert low.shape == high.shape == (1, 2, 1)
        assert low.reshape(-1).tolist() == [-1.0, 3.0]
        assert high.reshape(-1)[0] == 7
        assert high.reshape(-1)[1] > 3
        codes = kernel_codes(a, 4, low, high)
        assert codes[:, 0].tolist() == [[0, 1, 0], [0, 1, 3]]
        assert np.unique(codes[:, 1]).size == 1
        low, high = binning.activation_range(jnp.full((1, 1, 3), -3e9))  # to which float32 adds no 1
        assert high > low


class TestOutOfTheOrdinary:
    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_non_finite_is_nan_for_its_batch_element_only(self, bad: float) -> None:
        shape = SHAPES[3]
        a, p_y, _ = draw(shape, 4, "generic", 0.5)
        a = a.astype(np.float32)
        clean = np.asarray(layer_information(a, p_y, bins=shape.bins))
        a[1, 0, 50, 1] = bad
        got = np.asarray(layer_information(a, p_y, bins=shape.bins))
        assert np.isnan(got[:, 1, 0]).all()
        got[:, 1, 0] = clean[:, 1, 0]
        assert np.array_equal(got, clean)

    @pytest.mark.parametrize("dtype", [np.float16, np.int32, np.bool_])
    def test_narrow_types_become_float32(self, dtype: type[np.generic]) -> None:
        a = GRID.astype(dtype)
        i_xt, _ = layer_information(a, TestByHand.labels, bins=4, low=0, high=4)
        assert i_xt.dtype == np.float32
        expected = information_of(codes_of(a.astype(np.float32), 4, 0, 4), TestByHand.labels, None)[0]
        assert float(i_xt) == pytest.approx(expected, abs=SINGLE)

    def test_inside_jit_and_vmap(self) -> None:
        shape = SHAPES[4]
        a, p_y, p_x = draw(shape, 8, "few rows", 0.5)
        a = a.astype(np.float32)
        direct = np.asarray(layer_information(a, p_y, p_x=p_x, bins=7))
        inside: Callable[..., Any] = jax.jit(lambda a, y, w: layer_information(a, y, p_x=w, bins=7))
        np.testing.assert_allclose(inside(a, p_y, p_x), direct, rtol=0, atol=1e-6)
        mapped = jax.vmap(lambda a: layer_information(a, p_y, p_x=p_x, bins=7))(a)
        np.testing.assert_allclose(mapped, direct, rtol=0, atol=1e-6)

    @outside_on_purpose
    def test_one_trace_a_configuration(self, monkeypatch: pytest.MonkeyPatch) -> None:
        traces = []
        kernel = binning.bin_codes

        def counted(*arguments: Any, **options: Any) -> Any:
            traces.append(arguments[1])
            return kernel(*arguments, **options)

        monkeypatch.setattr(histogram, "bin_codes", counted)
        rng = np.random.default_rng(0)
        for high in (0.9, 1.0, 1.1):
            a = rng.normal(size=(2, 11, 3)).astype(np.float32)
            layer_information(a, rng.random(11), bins=5, high=high)
        assert traces == [5]
        layer_information(a, rng.random(11), bins=6)
        assert traces == [5, 6]


class TestPrecision:
    """The results have the dtype of the activations, whatever x64 is."""

    NEAR = np.array([[1 / 3 - 1e-12], [1 / 3 + 1e-12]])  # on both sides of an edge of 3 bins, one and the same float32
    HARD = np.array([0, 1])

    @pytest.mark.parametrize("x64", [False, True])
    @pytest.mark.parametrize("given_as", [np.asarray, np.ndarray.tolist], ids=["array", "list"])
    def test_numpy_float64_and_lists(self, given_as: Callable[[Any], Any], x64: bool) -> None:
        with jax.enable_x64(x64):
            got = layer_information(given_as(self.NEAR), self.HARD, bins=3)
            assert jax.config.read("jax_enable_x64") == x64
            assert [float(bits) for bits in got] == [1, 1]
            assert {bits.dtype for bits in got} == {np.dtype("float64")}
            # A float64 JAX array would be rounded here, with a warning.
            assert (got[0] + got[1]).dtype == np.float64
        assert not jax.config.read("jax_enable_x64")

    def test_to_1e_10_bits_without_x64(self) -> None:
        a, p_y, p_x = draw(SHAPES[4], 1, "generic", 0.5)
        agree(SHAPES[4], a, p_y, p_x, DOUBLE)

    def test_jax_arrays_and_float32_stay(self) -> None:
        rows: Any = [jnp.asarray(row) for row in self.NEAR]
        for a in (self.NEAR.astype(np.float32), jnp.asarray(self.NEAR), rows):
            i_xt, _ = layer_information(a, self.HARD, bins=3)
            assert i_xt.dtype == np.float32
            assert isinstance(i_xt, jax.Array)
        with jax.enable_x64(True):
            double = jnp.asarray(self.NEAR)
            assert layer_information(double, self.HARD, bins=3)[0].dtype == np.float64
            assert layer_information(self.NEAR.astype(np.float32), self.HARD, bins=3)[0].dtype == np.float32

    def test_inside_jit(self) -> None:
        """A traced array has the dtype JAX gives it; NumPy's float64 is taken as it is there too."""
        traced = jax.jit(lambda a: layer_information(a, self.HARD, bins=3)[0])
        assert traced(self.NEAR).dtype == np.float32
        assert float(jax.jit(lambda: layer_information(self.NEAR, self.HARD, bins=3)[0])()) == 1
        assert not jax.config.read("jax_enable_x64")


class TestRange:
    """Activations outside [low, high]."""

    @staticmethod
    def relu(seed: int = 0) -> Floats:
        return np.maximum(np.random.default_rng(seed).normal(size=(2, 200, 3)) * [[[1]], [[7]]], 0).astype(np.float32)

    @pytest.mark.parametrize("compat", [None, "idnns"])
    @pytest.mark.parametrize("as_array", [np.asarray, jnp.asarray])
    def test_warns_with_the_share(self, as_array: Callable[[Any], Any], compat: str | None) -> None:
        a = np.zeros((50, 4), np.float32)
        a[0], a[1, 0], a[2, 1], a[3, 2] = 1, 1.5, -1.001, 1
        message = r"^1\.00% of the activations lie outside low = -1, high = 1 .*low=None"
        for function in (layer_information, partial(information, "histogram")):
            with pytest.warns(RuntimeWarning, match=message) as caught:
                function(as_array(a), np.zeros(50), compat=compat)
            assert [warning.filename for warning in caught] == [__file__]

    def test_silent_where_all_are_inside_and_inside_jit(self) -> None:
        a = self.relu()
        jax.jit(lambda a: layer_information(a, np.zeros(200)))(a)
        layer_information(a, np.zeros(200), low=0, high=float(a.max()))
        layer_information(np.tanh(a), np.zeros(200))
        layer_information(np.where(a > 1, np.nan, a), np.zeros(200))

    @pytest.mark.parametrize("compat", [None, "idnns"])
    def test_range_of_each_layer(self, compat: str | None) -> None:
        a, p_y = self.relu(), np.random.default_rng(1).random(200)
        got = np.asarray(layer_information(a, p_y, bins=30, low=None, high=None, compat=compat))
        for index, layer in enumerate(a):
            end = float(layer.max())
            expected = layer_information(layer, p_y, bins=30, low=0.0, high=end, compat=compat)
            assert got[:, index].tolist() == np.asarray(expected).tolist()
        assert (got[0] > 4).all()
        inside = jax.jit(lambda a: layer_information(a, p_y, low=None, high=None, compat=compat))
        np.testing.assert_allclose(inside(a), got, rtol=0, atol=1e-6)

    @pytest.mark.parametrize("ends", [{"low": None}, {"high": None}, {"low": None, "high": 3.0}])
    def test_both_or_none(self, ends: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="allowed: two numbers, or None for both"):
            layer_information(self.relu(), np.zeros(200), **ends)


class TestShapesAndLabels:
    def test_axes_of_a_pattern(self) -> None:
        """(N, height, width, channels) and (N, a, b) are (N, U); a batch axis before the patterns stays one."""
        rng = np.random.default_rng(3)
        a, p_y = rng.uniform(-1, 1, (20, 3, 2, 2)).astype(np.float32), rng.random(20)
        flat = np.asarray(layer_information(a.reshape(20, -1), p_y, bins=2))
        assert np.asarray(layer_information(a, p_y, bins=2)).tolist() == flat.tolist()
        assert np.asarray(layer_information(a.reshape(20, 6, 2), p_y, bins=2)).tolist() == flat.tolist()
        assert np.asarray(jax.jit(lambda a: layer_information(a, p_y, bins=2))(a)).tolist() == flat.tolist()
        kde, expected = (kde_information(of, p_y) for of in (a, a.reshape(20, -1)))
        assert np.asarray(kde).tolist() == np.asarray(expected).tolist()
        assert layer_information(a.transpose(1, 2, 0, 3), p_y, bins=2)[0].shape == (3, 2)

    @pytest.mark.parametrize("shape", [(20, 20, 3), (20, 4, 20, 3)])
    def test_ambiguous_axes_are_refused_with_the_way_out(self, shape: tuple[int, ...]) -> None:
        a, p_y = np.random.default_rng(3).uniform(-1, 1, shape).astype(np.float32), np.random.default_rng(3).random(20)
        with pytest.raises(ValueError, match=r"20 patterns may be .*allowed: activations.reshape\(20, -1\), or activ"):
            layer_information(a, p_y)
        assert layer_information(a[None], p_y)[0].shape == (1, *shape[:-2])
        assert layer_information(a.reshape(20, -1), p_y)[0].shape == ()

    def test_class_ids(self) -> None:
        """Integers beyond 0 and 1 name classes, as in `load_dataset`; 0 and 1 are probabilities, which is the same."""
        rng = np.random.default_rng(4)
        a, ids = rng.uniform(-1, 1, (60, 1)).astype(np.float32), rng.integers(0, 3, 60)
        expected = np.asarray(layer_information(a, np.eye(3)[ids]))
        for labels in (ids, ids.tolist(), jnp.asarray(ids), ids.astype(np.uint8), 5 * ids - 7):
            assert np.asarray(layer_information(a, labels)).tolist() == expected.tolist()
        binary = layer_information(a, np.eye(2)[ids // 2])
        for two in (ids // 2, ids == 2, (ids // 2).astype(float), 2 * (ids // 2) - 1):
            np.testing.assert_allclose(layer_information(a, two), binary, rtol=0, atol=1e-6)

    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            (np.full(8, 3), "p_y_given_x names one class, 3; allowed: at least 2"),
            (np.arange(5000), "p_y_given_x names 5000 different classes; allowed: at most 4096"),
            (np.arange(8.0), r"maximum 7; allowed: probabilities in \[0, 1\], or integers that name the classes"),
        ],
    )
    def test_labels_that_name_no_classes(self, labels: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            layer_information(np.zeros((len(labels), 1), np.float32), labels)


@partial(jax.jit, static_argnums=1)
def representatives(words: Any, n_codes: int) -> Any:
    return table.representatives([words], n_codes)


@partial(jax.jit, static_argnums=1)
def pack(codes: Any, base: int) -> Any:
    return jnp.concatenate(words_of.pack(codes, base))


@partial(jax.jit, static_argnums=1)
def pack_rows(codes: Any, base: int) -> Any:
    (words,) = words_of.pack_rows(jnp.moveaxis(codes, 0, -1), base)
    return words


def first_of_cell(words: npt.NDArray[np.uint32]) -> Integers:
    """The first pattern with the same word, (M, N), by `numpy.unique`."""
    found = []
    for m in range(words.shape[1]):
        _, first, cell = np.unique(words[:, m], axis=1, return_index=True, return_inverse=True)
        found.append(first[cell.reshape(-1)])
    return np.array(found)


class TestCells:
    @pytest.mark.parametrize(
        ("base", "units"), [(2, 32), (2, 33), (30, 6), (30, 7), (30, 13), (4096, 2), (4096, 3), (65_536, 2)]
    )
    @pytest.mark.parametrize(("packed", "bits"), [(pack, 32), (pack_rows, 24)], ids=["units-first", "units-last"])
    def test_pack_loses_nothing(self, base: int, units: int, packed: Any, bits: int) -> None:
        """Equal words for equal codes only: tried on the highest digits, and on changes of one unit by one."""
        top = np.full((units, 1), base - 1)
        codes = np.concatenate([top, top - np.eye(units, dtype=int), 0 * top, np.eye(units, dtype=int), top], axis=1)
        words = np.asarray(packed(codes[:, None].astype(np.int32), base))
        digits = max(d for d in range(1, 33) if base**d <= 2**bits)
        assert words.dtype == np.uint32
        assert words.shape == (-(-units // digits), 1, codes.shape[1])
        assert np.array_equal(first_of_cell(words)[0], [*range(codes.shape[1] - 1), 0])
        if len(words) == 1:  # a table may be indexed with it
            assert words.max() < base**units

    def test_representatives_of_random_words(self) -> None:
        rng = np.random.default_rng(9)
        for spread in (3, 40, 2**32):
            words = rng.integers(0, spread, (2, 3, 128), dtype=np.uint32)
            assert np.array_equal(representatives(words, 2**64), first_of_cell(words))

    def test_words_that_always_collide(self) -> None:
        """Fifty words of two parts whose hash, a sum of odd multiples modulo 2^32, is one and the same number.

        They fall into one slot in every round, so that only comparing whole words can tell them apart.
        """
        factors = [int(f) for f in np.random.default_rng(0).integers(0, 2**31, 2, dtype=np.uint32) * 2 + 1]
        rng = np.random.default_rng(10)
        distinct = [int(w) for w in rng.integers(0, 2**32, 50)]
        solved = [(12345 - w * factors[0]) * pow(factors[1], -1, 2**32) % 2**32 for w in distinct]
        assert {(w * factors[0] + v * factors[1]) % 2**32 for w, v in zip(distinct, solved, strict=True)} == {12345}
        pick = rng.integers(0, 50, (3, 128))
        words = np.stack([np.array(distinct, np.uint32)[pick], np.array(solved, np.uint32)[pick]])
        words[:, 2] = rng.integers(0, 2**32, (2, 128), dtype=np.uint32)  # another batch element is not held up
        assert np.array_equal(representatives(words, 2**64), first_of_cell(words))

    def test_words_of_one_slot_in_the_first_round(self) -> None:
        """Fine words, a multiple of a power of two apart: the worst case of a hash that keeps low bits only."""
        words = (np.arange(128, dtype=np.uint32) * np.uint32(2**25))[None, None, :].repeat(3, axis=1)
        words[:, 1] += np.uint32(7)
        assert np.array_equal(representatives(words, 2**64), first_of_cell(words))

    def test_direct_table(self) -> None:
        words = np.random.default_rng(12).integers(0, 30, (1, 3, 128), dtype=np.uint32)
        assert np.array_equal(representatives(words, 30), first_of_cell(words))

    def test_tree_sum(self) -> None:
        terms = np.random.default_rng(13).random((3, 1001), np.float32)
        np.testing.assert_allclose(
            jax.jit(partition.tree_sum)(terms), terms.astype(np.float64).sum(axis=1), rtol=10 * 2**-24
        )

    @pytest.mark.parametrize("n", [100, 1000, 4096, 5000])
    def test_channel_parts_are_short_enough_to_sum_without_rounding(self, n: int) -> None:
        """Whatever the order of the sum, no partial sum of the first parts needs more than the 24 bits of float32."""
        rng = np.random.default_rng(n)
        y = partition.channels(jnp.asarray(rng.random(n), jnp.float32), None, jnp.dtype("float32"))
        coarse = np.asarray(y.coarse)
        for channel in coarse:
            exact = sum(map(Fraction, map(float, channel)), Fraction(0))
            assert Fraction(float(np.cumsum(channel)[-1])) == exact
            assert Fraction(float(np.cumsum(channel[::-1])[-1])) == exact
        fine = np.asarray(y.fine)
        assert np.abs(fine).max() <= n * 2.0**-22


@pytest.mark.parametrize(
    ("dtype", "scale"), [("float32", 3e38), ("float32", 1e30), ("float64", 1.7e308), ("float32", 1)]
)
def test_the_range_of_a_layer_of_any_size(dtype: str, scale: float) -> None:
    """Also of one so large that its multiples would overflow."""
    values = (np.linspace(-1, 1, 8).reshape(8, 1) * scale).astype(dtype)
    labels = np.arange(8) % 2
    for found in (
        ibjax.layer_information(values, labels, bins=3, low=None, high=None),
        ibjax.adaptive_information(values, labels, bins=3),
    ):
        np.testing.assert_allclose(np.asarray(found), (1.561278, 0.061278), atol=1e-5)


def test_names_of_classes_are_no_probabilities_inside_jit() -> None:
    a = jnp.linspace(-1, 1, 8).reshape(8, 1)
    inside = jax.jit(lambda y: ibjax.layer_information(a, y))
    assert np.isnan(inside(jnp.arange(8) % 3)[1])
    hard = jnp.arange(8) % 2
    np.testing.assert_allclose(inside(hard), ibjax.layer_information(a, hard))


def test_float64_of_jax_stays_float64_outside_its_scope() -> None:
    with jax.enable_x64(True):
        a = jnp.asarray([[1 / 3 - 1e-12], [1 / 3 + 1e-12]])
    i_xt, _ = ibjax.layer_information(a, np.array([0.0, 1.0]), bins=3, low=0, high=1)
    assert i_xt == 1
    assert i_xt.dtype == np.float64


def test_gradients_of_labels_beside_float64_activations() -> None:
    a, p = np.linspace(-1, 1, 8).reshape(8, 1), jnp.linspace(0.1, 0.9, 8)
    slope = jax.grad(lambda q: ibjax.layer_information(a, q, bins=3)[1])(p)
    expected = jax.grad(lambda q: ibjax.layer_information(a.astype(np.float32), q, bins=3)[1])(p)
    np.testing.assert_array_equal(slope, expected)
