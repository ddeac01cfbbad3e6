"""The estimators beside the run's histogram, against closed forms, dense float64 NumPy, and each other.

Shapes: K networks, N patterns, U units, S samples, M = N S.
"""

import dataclasses
import math
import subprocess
import sys
from fractions import Fraction
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree
from scipy.special import digamma

from ibjax.information import binned, histogram, knn, pairs, partition
from ibjax.information.apply import (
    adaptive_information,
    information,
    kde_information,
    knn_information,
    noisy_information,
    quantile_information,
    quantized_information,
)
from ibjax.information.cells.bins import activation_range
from ibjax.information.estimator import ESTIMATORS, Estimator, Information, LayerBatch, estimator_class, make
from ibjax.information.histogram import layer_information
from ibjax.information.knn import Knn
from ibjax.information.noisy import noisy_network_information
from ibjax.networks.perceptron import Perceptron

Floats = npt.NDArray[np.floating[Any]]
Integers = npt.NDArray[np.integer[Any]]

N = 96
KEY = jax.random.key(2017)
EXACT_BITS = 1e-5  # of counts in float32
KERNEL_BITS = 4e-6  # of sums of kernels in float32: ln of sums of N terms, each with an error of a few 2^-24


def layer(width: int, *, networks: int = 2, seed: int = 0, scale: float = 1.0) -> Floats:
    """(K, N, U) tanh activations of which a third of the patterns repeat others."""
    rng = np.random.default_rng([seed, width])
    a = np.tanh(scale * rng.normal(size=(networks, N, width))).astype(np.float32)
    a[:, N // 3 : 2 * N // 3] = a[:, : N // 3]
    return a


def soft_labels(seed: int = 0) -> Floats:
    return np.random.default_rng(seed).random(N)


def weights(seed: int = 0) -> Floats:
    p = np.random.default_rng(seed).dirichlet(np.full(N, 0.7))
    p[::7] = 0
    return p / p.sum()


def entropy(p: Floats) -> float:
    p = p[p > 0]
    return float(-(p * np.log2(p)).sum())


def by_counting(codes: Integers, p_y: Floats, p_x: Floats | None = None) -> tuple[float, float]:
    """H(T) and I(T;Y) in bits of the partition of the rows (N, ...), in float64."""
    p_x = np.full(len(codes), 1 / len(codes)) if p_x is None else p_x
    _, cell = np.unique(codes.reshape(len(codes), -1), axis=0, return_inverse=True)
    joint = np.zeros((cell.max() + 1, 2))
    np.add.at(joint, cell.reshape(-1), np.stack([1 - p_y, p_y], axis=1) * p_x[:, None])
    h_t = entropy(joint.sum(axis=1))
    return h_t, entropy(joint.sum(axis=0)) + h_t - entropy(joint.reshape(-1))


def dense_kde(a: Floats, p_y: Floats, v: float, sharpness: float, p_x: Floats | None = None) -> tuple[float, float]:
    """The bound as H(T) - H(T|X) and H(T) - sum p(y) H(T|y), from all the pairs at once, in float64."""
    a = a.astype(np.float64)
    p_x = np.full(len(a), 1 / len(a)) if p_x is None else p_x
    kernel = np.exp(-sharpness * ((a[:, None] - a[None]) ** 2).sum(axis=-1) / (2 * v))

    def bound(p: Floats) -> float:
        return float(-(p * np.log2(kernel @ p, where=p > 0, out=np.zeros(len(p)))).sum())

    given_y = [(1 - p_y) * p_x, p_y * p_x]
    return bound(p_x), bound(p_x) - sum(p.sum() * bound(p / p.sum()) for p in given_y if p.sum() > 0)


def fine_gaussian(std: float, spacing: float) -> tuple[Floats, Floats]:
    """A grid (N, 1) with normal weights (N,): to 1e-9 a Gaussian for kernels wider than the spacing."""
    x = np.arange(-8 * std, 8 * std + spacing, spacing)
    p = np.exp(-(x**2) / (2 * std**2))
    return x[:, None].astype(np.float32), p / p.sum()


def values(bits: Any) -> Floats:
    return np.array([np.asarray(part) for part in bits if part is not None])


class TestProtocol:
    @pytest.mark.parametrize("name", ESTIMATORS)
    def test_is_a_frozen_hashable_choice_of_options(self, name: str) -> None:
        one = make(name)
        assert one == make(name, **dataclasses.asdict(one))  # type: ignore[call-overload]
        assert hash(one) == hash(make(name))
        assert one.name == name
        assert {one.i_xt_is, one.i_ty_is} <= {"exact", "upper bound", "lower bound", "estimate"}
        assert one.for_layer(3, N, False) == one
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(one, dataclasses.fields(estimator_class(name))[0].name, 1)

    def test_unknown_names_and_options(self) -> None:
        with pytest.raises(ValueError, match=r"estimator = 'kd'; allowed: .*did you mean 'kde'"):
            make("kd")
        with pytest.raises(ValueError, match=r"option of 'kde' = 'noise_varience'; .*did you mean 'noise_variance'"):
            make("kde", noise_varience=1)

    def test_names_without_jax(self) -> None:
        code = "import sys, ibjax.information.estimator as e; e.ESTIMATORS; sys.exit('jax' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

    def test_by_name_or_made(self) -> None:
        a = layer(2)
        by_name = values(information("quantized", a, soft_labels(), bits=3))
        assert np.array_equal(by_name, values(information(make("quantized", bits=3), a, soft_labels())))
        assert not np.array_equal(by_name, values(information("quantized", a, soft_labels())))

    @pytest.mark.parametrize("name", ["adaptive_layer", "quantile", "kde", "noisy", "knn"])
    def test_networks_do_not_see_each_other(self, name: str) -> None:
        """Three networks, one of them with a NaN, and the first alone: the same to the bit."""
        a = layer(3, networks=3)
        a[1, 5, 2] = np.nan
        together, alone = (values(information(make(name), x, soft_labels(), key=KEY)) for x in (a, a[:1]))
        assert np.isnan(together[:, 1]).all()
        assert np.isfinite(together[:, [0, 2]]).all()
        assert np.array_equal(together[:, :1], alone)

    def test_inside_jit_and_vmap(self) -> None:
        a = layer(3, networks=3)
        direct = values(kde_information(a, soft_labels()))
        for mapped in (jax.jit, jax.vmap):
            inside = values(mapped(lambda x: kde_information(x, soft_labels()))(a))
            np.testing.assert_allclose(inside, direct, rtol=0, atol=KERNEL_BITS)

    @pytest.mark.parametrize("bad", [np.inf, -np.inf])
    @pytest.mark.parametrize("name", ["kde", "noisy"])
    def test_infinite_is_nan(self, name: str, bad: float) -> None:
        a = layer(2, networks=1)[0]
        a[3, 1] = bad
        assert np.isnan(values(information(make(name), a, soft_labels(), key=KEY))).all()

    @pytest.mark.parametrize("name", ["quantile", "quantized", "noisy"])
    def test_in_float64(self, name: str) -> None:
        """The same patterns, kept well apart from edges of cells by the seed: only rounding differs."""
        a = layer(2)
        single = values(information(make(name), a, soft_labels(), key=KEY))
        with jax.enable_x64(True):
            result = information(make(name), a.astype(np.float64), soft_labels(), key=jax.random.key(2017))
            assert all(part.dtype == np.float64 for part in result if part is not None)
            double = values(result)
        if not make(name).random:  # other random numbers
            np.testing.assert_allclose(double, single, rtol=0, atol=EXACT_BITS)
        else:
            np.testing.assert_allclose(double[:2], single[:2], rtol=0, atol=0.15)

    @pytest.mark.parametrize("name", ["kde", "noisy"])
    def test_fifty_networks_fit_the_memory(self, name: str) -> None:
        """The whole population of the paper: all pairs of one network alone are 64 MB, of fifty 3.2 GB."""
        estimator = make(name)

        def measure(a: Any, p_y: Any, keys: Any) -> Information:
            return estimator(LayerBatch(a, partition.channels(p_y, None, a.dtype), keys))

        keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 50))
        shapes = (jax.ShapeDtypeStruct((50, 4096, 12), np.float32), jax.ShapeDtypeStruct((4096,), np.float32), keys)
        analysis: Any = jax.jit(measure).lower(*shapes).compile().memory_analysis()
        assert analysis.temp_size_in_bytes < 100e6


class TestHistogram:
    def test_the_numbers_of_the_run(self) -> None:
        """To the bit those of the kernel as a run calls it, units first, over [-1, 1] and over the layer's range."""
        a = layer(5, networks=3) * 1.5

        @jax.jit
        def of_run(a: Any, own: Any) -> Any:
            first = jnp.moveaxis(a, 2, 0)
            low, high = activation_range(first)
            low, high = jnp.where(own, low, -1), jnp.where(own, high, 1)
            y = partition.channels(jnp.asarray(soft_labels(), jnp.float32), None, a.dtype)
            return histogram.histogram_information(first, y, bins=30, low=low, high=high, compat="idnns")

        for bounded in (True, False):
            estimator: Estimator = make("histogram", compat="idnns").for_layer(5, N, bounded)
            y = partition.channels(jnp.asarray(soft_labels(), jnp.float32), None, jnp.dtype("float32"))
            got = jax.jit(estimator.__call__)(LayerBatch(jnp.asarray(a), y, jax.random.split(KEY, 3)))
            assert np.array_equal(values(got), values(of_run(a, not bounded)))

    @pytest.mark.filterwarnings("ignore:.* of the activations lie outside:RuntimeWarning")
    def test_given_range_is_kept_for_every_layer(self) -> None:
        estimator = make("histogram", low=0, high=2, bins=7)
        assert estimator.for_layer(3, N, True) is estimator
        got = values(information(estimator, layer(3), soft_labels(), p_x=weights()))
        expected = values(layer_information(layer(3), soft_labels(), p_x=weights(), bins=7, low=0, high=2))
        assert np.array_equal(got, expected)


def quantile_codes(a: Floats, bins: int, distinct: bool) -> Integers:
    """floor(bins r / R) by definition, in integers."""
    everything = np.unique(a) if distinct else np.sort(a.reshape(-1))
    return np.searchsorted(everything, a, side="left") * bins // len(everything)


@partial(jax.jit, static_argnums=1)
def quantile_cells(a: Any, rule: binned.Quantile) -> jax.Array:
    return rule.codes(a)


class TestAdaptive:
    @pytest.mark.parametrize("width", [4, 70])
    def test_ranges(self, width: int) -> None:
        a = layer(width, scale=0.3) * np.linspace(0.1, 2, width).astype(np.float32) + np.float32(0.4)
        for range_of, axis in (("layer", (1, 2)), ("unit", (1,))):
            low, high = (f(a.astype(np.float64), axis=axis, keepdims=True) for f in (np.min, np.max))
            codes = np.clip(np.floor((a - low) / (high - low) * 7), 0, 6).astype(int)
            got = values(adaptive_information(a, soft_labels(), p_x=weights(), bins=7, range_of=range_of))
            expected = np.transpose([by_counting(c, soft_labels(), weights()) for c in codes])
            np.testing.assert_allclose(got, expected, rtol=0, atol=EXACT_BITS)

    def test_scale_of_a_unit(self) -> None:
        """Shrinking a unit a thousandfold changes nothing for the range of each unit, all for that of the layer."""
        a = layer(2, networks=1)[0]
        small = a * np.array([1, 2.0**-10], np.float32)
        for range_of, same in (("unit", True), ("layer", False)):
            one, other = (values(adaptive_information(x, soft_labels(), range_of=range_of, bins=5)) for x in (a, small))
            assert np.array_equal(one, other) == same

    @pytest.mark.parametrize(("bins", "distinct"), [(7, False), (7, True), (300, True)])
    def test_quantile_codes(self, bins: int, distinct: bool) -> None:
        """From hardly any ties to nothing else, and more cells than activations."""

        @settings(max_examples=15, deadline=None, derandomize=True, database=None)
        @given(seed=st.integers(0, 2**32 - 1), levels=st.sampled_from([2, 5, 40, 10**6]))
        def check(seed: int, levels: int) -> None:
            rng = np.random.default_rng(seed)
            a = (rng.integers(0, levels, (3, 31, 4)) - levels // 2).astype(np.float32) / 8
            a[0, :9] = -0.0
            codes = np.asarray(quantile_cells(a, binned.Quantile(bins, distinct)))
            assert np.array_equal(codes, [quantile_codes(x, bins, distinct) for x in a])

        check()

    def test_quantile_cells_are_equally_full(self) -> None:
        a = np.random.default_rng(3).permutation(120).reshape(1, 40, 3).astype(np.float32)
        codes = np.asarray(binned.Quantile(8).codes(jnp.asarray(a)))
        assert np.bincount(codes.reshape(-1)).tolist() == [15] * 8

    def test_quantile_information(self) -> None:
        """By counting, and the same of any increasing function of the activations."""
        a = layer(3)
        for distinct in (False, True):
            expected = [by_counting(quantile_codes(x, 6, distinct), soft_labels(), weights()) for x in a]
            for b in (a, np.exp(3 * a)):
                got = values(quantile_information(b, soft_labels(), p_x=weights(), bins=6, distinct=distinct))
                np.testing.assert_allclose(got, np.transpose(expected), rtol=0, atol=EXACT_BITS)


class TestQuantized:
    @pytest.mark.parametrize("bits", [1, 3, 8, 11])
    def test_nearest_level_exactly(self, bits: int) -> None:
        """Beside every half-way point (a thousand of them at most) in rational arithmetic."""
        low, high, steps = Fraction(-3, 8), Fraction(5, 4), 2**bits - 1
        halves = [low + (high - low) * (2 * k + 1) / (2 * steps) for k in range(min(steps, 1000))]
        near = np.array([float(h) for h in halves], np.float32)
        a = np.concatenate([near, np.nextafter(near, np.float32(2)), np.nextafter(near, np.float32(-2))])
        a = np.concatenate([a, np.array([low, high], np.float32)])
        codes = np.asarray(jax.jit(binned.Quantized(bits).codes)(a[None, :, None]))[0, :, 0]
        exact = [math.floor((Fraction(float(x)) - low) / (high - low) * steps + Fraction(1, 2)) for x in a]
        assert codes.tolist() == exact

    @pytest.mark.parametrize(("width", "bits"), [(1, 3), (4, 8)])
    def test_against_unique(self, width: int, bits: int) -> None:
        a = layer(width)
        low, high = (f(a.astype(np.float64), axis=(1, 2), keepdims=True) for f in (np.min, np.max))
        codes = np.floor((a - low) / (high - low) * (2**bits - 1) + 0.5).astype(int)
        for p_x in (None, weights()):
            got = values(quantized_information(a, soft_labels(), p_x=p_x, bits=bits))
            expected = np.transpose([by_counting(c, soft_labels(), p_x) for c in codes])
            np.testing.assert_allclose(got, expected, rtol=0, atol=EXACT_BITS)

    @pytest.mark.parametrize("width", [3, 200])
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_every_float_as_it_is(self, width: int, dtype: type[np.floating[Any]]) -> None:
        """Neighbouring floats are apart, 0 and -0 are not."""
        with jax.enable_x64(dtype is np.float64):
            a = layer(width).astype(dtype)
            a[:, 50:60] = np.nextafter(a[:, 20:30], dtype(2))
            a[:, 70:75] = 0.0
            a[:, 75:80] = -0.0
            got = values(quantized_information(a, soft_labels(), bits=32))
            expected = np.transpose([by_counting(x + 0.0, soft_labels()) for x in a])
        np.testing.assert_allclose(got, expected, rtol=0, atol=EXACT_BITS)


class TestKernel:
    @pytest.mark.parametrize("width", [3, 40])
    @pytest.mark.parametrize(("v", "lower"), [(1e-6, False), (1e-3, True), (0.1, False)])
    def test_against_all_pairs_in_float64(self, width: int, v: float, lower: bool) -> None:
        """Soft labels, hard labels, p(x) with zeros; down to variances where the product form is all error."""
        a = layer(width) * np.float32(0.5)
        for p_y in (soft_labels(), np.rint(soft_labels())):
            got = values(kde_information(a, p_y, p_x=weights(), noise_variance=v, lower=lower))
            expected = [dense_kde(x, p_y, v, 0.25 if lower else 1.0, weights()) for x in a]
            np.testing.assert_allclose(got, np.transpose(expected), rtol=0, atol=KERNEL_BITS)

    def test_nearly_equal_rows(self) -> None:
        """A few units in the last place apart, with a standard deviation of as much: distances keep their digits."""
        a = (np.float32(0.75) + np.arange(N, dtype=np.float32)[:, None] * np.float32(2.0**-24) * 2).astype(np.float32)
        v = (4 * 2.0**-23) ** 2
        got = values(kde_information(a, soft_labels(), noise_variance=v))
        np.testing.assert_allclose(got, dense_kde(a, soft_labels(), v, 1.0), rtol=0, atol=KERNEL_BITS)
        assert 1 < got[0] < math.log2(N) - 1

    def test_in_float64(self) -> None:
        with jax.enable_x64(True):
            a = layer(20).astype(np.float64) * 0.3
            got = values(kde_information(a, soft_labels(), p_x=weights()))
        expected = np.transpose([dense_kde(x, soft_labels(), 1e-3, 1.0, weights()) for x in a])
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-10)

    @pytest.mark.parametrize("name", ["kde", "noisy"])
    def test_blocks_change_nothing(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """40 rows of 96 at a time: the last block is short."""
        a, y = (
            jnp.asarray(layer(2)),
            partition.channels(jnp.asarray(soft_labels(), jnp.float32), None, jnp.dtype("float32")),
        )
        results = []
        for rows in (40, N):
            monkeypatch.setattr(pairs, "_PAIRS", {"cpu": rows * N, "gpu": rows * N})
            estimator = make(name)
            results.append(values(jax.jit(lambda a, e=estimator: e(LayerBatch(a, y, jax.random.split(KEY, 2))))(a)))
        np.testing.assert_allclose(results[0], results[1], rtol=0, atol=KERNEL_BITS)

    @pytest.mark.parametrize("snr", [4.0, 100.0])
    def test_gaussian_layer(self, snr: float) -> None:
        """X ~ N(0, snr v): E exp(-(x - x')^2 / 2v) is a Gaussian integral, so both bounds have a closed form,
        ln(1 + r)/2 + r / 2(1 + r) nats with r = snr for the upper bound, snr/4 for the lower."""
        v = 0.01
        x, p = fine_gaussian(math.sqrt(snr * v), 0.05)
        truth = 0.5 * math.log2(1 + snr)
        bounds = []
        for lower, r in ((False, snr), (True, snr / 4)):
            closed = (0.5 * math.log1p(r) + r / (2 * (1 + r))) / math.log(2)
            got = kde_information(x, np.full(len(x), 0.5), p_x=p, noise_variance=v, lower=lower)
            np.testing.assert_allclose(values(got), (closed, 0), rtol=0, atol=1e-5)
            bounds.append(float(got[0]))
        assert bounds[1] <= truth <= bounds[0]

    @pytest.mark.parametrize("lower", [False, True])
    def test_limits_of_the_noise(self, lower: bool) -> None:
        """v -> 0: the information of the distinct activations; v -> infinity: none."""
        a = layer(3)
        sharp = values(kde_information(a, soft_labels(), noise_variance=1e-20, lower=lower))
        distinct = values(quantized_information(a, soft_labels(), bits=32))
        np.testing.assert_allclose(sharp, distinct, rtol=0, atol=EXACT_BITS)
        blurred = values(kde_information(a, soft_labels(), noise_variance=1e20, lower=lower))
        np.testing.assert_allclose(blurred, 0, rtol=0, atol=KERNEL_BITS)


# Layers on which Monte Carlo and both bounds must be in order: patterns together, and half apart.
ORDERED = [(1, 0.3), (5, 0.3)]


class TestNoisy:
    @pytest.mark.parametrize("snr", [0.25, 100.0])
    def test_gaussian_channel(self, snr: float) -> None:
        """I(X; X + noise) = log2(1 + snr) / 2, for one unit, and the same for two units of half the snr each."""
        std = 0.1
        x, p = fine_gaussian(math.sqrt(snr) * std, 0.05)
        truth = 0.5 * math.log2(1 + snr)
        none = np.full(len(x), 0.5)
        for a in (x, np.repeat(x / math.sqrt(2), 2, axis=1).astype(np.float32)):
            got = noisy_information(a, none, key=KEY, p_x=p, noise_std=std, samples=64)
            assert got.i_xt_error is not None
            assert 0 < float(got.i_xt_error) < 0.05
            assert float(got.i_xt) == pytest.approx(truth, abs=4 * float(got.i_xt_error))
            assert float(got.i_ty) == pytest.approx(0, abs=KERNEL_BITS)  # labels that are independent

    @pytest.mark.parametrize("distance", [0.5, 2.0, 4.0])
    def test_two_points(self, distance: float) -> None:
        """Binary input, Gaussian noise, Y = X: the integral by quadrature, for I(X;T) and I(T;Y) alike."""
        t = np.linspace(-15, 15, 200_001)
        phi = [np.exp(-((t - side * distance / 2) ** 2) / 2) / math.sqrt(2 * math.pi) for side in (-1, 1)]
        mixture = (phi[0] + phi[1]) / 2
        h = -(mixture * np.log2(mixture)).sum() * (t[1] - t[0])
        truth = h - 0.5 * math.log2(2 * math.pi * math.e)
        a = np.array([[-distance / 2], [distance / 2]], np.float32)
        got = noisy_information(a, np.array([0, 1]), key=KEY, noise_std=1.0, samples=4096)
        for value, error in ((got.i_xt, got.i_xt_error), (got.i_ty, got.i_ty_error)):
            assert error is not None
            assert float(value) == pytest.approx(truth, abs=4 * float(error))
            assert 0 < float(error) < 0.02

    def test_far_apart_is_one_bit(self) -> None:
        """Also beside a pattern that does not occur."""
        a = np.array([[-1.0], [1.0], [3.0]], np.float32)
        for n in (2, 3):
            p_x, p_y = np.array([0.5, 0.5, 0])[:n], np.array([0, 1, 1])[:n]
            got = values(noisy_information(a[:n], p_y, key=KEY, noise_std=0.01, samples=2, p_x=p_x))
            np.testing.assert_allclose(got, [1, 1, 0, 0], rtol=0, atol=1e-6)

    @pytest.mark.parametrize(("width", "std"), ORDERED)
    def test_between_the_bounds(self, width: int, std: float) -> None:
        a, p_y = layer(width), soft_labels()
        mc = noisy_information(a, p_y, key=KEY, noise_std=std, p_x=weights())
        assert mc.i_xt_error is not None
        slack = 4 * np.asarray(mc.i_xt_error) + KERNEL_BITS
        low, high = (
            np.asarray(kde_information(a, p_y, noise_variance=std**2, p_x=weights(), lower=lower)[0])
            for lower in (True, False)
        )
        assert (low <= mc.i_xt + slack).all()
        assert (mc.i_xt <= high + slack).all()
        assert (np.asarray(mc.i_ty) <= np.asarray(mc.i_xt) + slack).all()

    def test_standard_error_is_the_spread(self) -> None:
        """Of 200 estimates with noise of their own; a spread of 200 is known to 5%, the mean to 7% of one error."""
        a = np.broadcast_to(layer(2, networks=1)[0], (200, N, 2))
        options: dict[str, Any] = {"p_x": weights(), "noise_std": 0.2}
        got = values(noisy_information(a, soft_labels(), key=KEY, samples=2, **options)).astype(np.float64)
        truth = values(noisy_information(a[0], soft_labels(), key=jax.random.key(1), samples=4096, **options))
        for value, error, exact in zip(got[:2], got[2:], truth, strict=False):
            claimed = math.sqrt(np.mean(error**2))
            assert claimed == pytest.approx(float(value.std()), rel=0.2)
            assert float(value.mean()) == pytest.approx(float(exact), abs=0.3 * claimed)

    def test_limits_of_the_noise(self) -> None:
        a = layer(3)
        sharp = values(noisy_information(a, soft_labels(), key=KEY, noise_std=1e-12))
        distinct = values(quantized_information(a, soft_labels(), bits=32))
        np.testing.assert_allclose(sharp[:2], distinct, rtol=0, atol=EXACT_BITS)
        np.testing.assert_allclose(sharp[2:], 0, rtol=0, atol=EXACT_BITS)
        blurred = values(noisy_information(a, soft_labels(), key=KEY, noise_std=1e12))
        np.testing.assert_allclose(blurred, 0, rtol=0, atol=KERNEL_BITS)

    def test_wide_layer_does_not_underflow(self) -> None:
        """|z|^2 / 2 is about 150: exp(-150) is 0 in float32."""
        a = layer(300, networks=1)
        got = values(noisy_information(a, soft_labels(), key=KEY, noise_std=1e-3, samples=2))
        expected = values(quantized_information(a, soft_labels(), bits=32))
        np.testing.assert_allclose(got[:2], expected, rtol=0, atol=1e-4)


def passes_of(a: Floats, factor: float, std: float, passes: int, seed: int = 0) -> Floats:
    """(R, N, U) centres of the second layer of a noisy linear chain: T1 = a + Z1, T2 = factor T1 + Z2."""
    noise = np.random.default_rng(seed).normal(size=(passes, *a.shape))
    return (factor * (a + std * noise)).astype(np.float32)


class TestNoisyNetwork:
    def test_one_pass_without_noise_before_is_noisy(self) -> None:
        """To the bit, for several networks, and without a second estimate."""
        a = layer(3)
        options: dict[str, Any] = {"key": KEY, "p_x": weights(), "noise_std": 0.2, "samples": 5}
        ours = noisy_network_information(a[:, None], soft_labels(), **options)
        theirs = noisy_information(a, soft_labels(), **options)
        for one, other in zip(ours[:4], theirs, strict=True):
            assert np.array_equal(one, other)  # type: ignore[arg-type]
        assert np.isnan(ours.i_xt_low).all()

    def test_equal_passes_are_no_noise_before(self) -> None:
        a = np.broadcast_to(layer(3)[:, None], (2, 6, N, 3))
        options: dict[str, Any] = {"p_x": weights(), "noise_std": 0.2}
        ours = noisy_network_information(a, soft_labels(), key=KEY, samples=6, **options)
        truth = noisy_information(a[:, 0], soft_labels(), key=jax.random.key(1), samples=4096, **options)
        np.testing.assert_allclose(ours.i_xt_low, ours.i_xt, rtol=0, atol=KERNEL_BITS)
        assert (np.abs(ours.i_xt - truth.i_xt) < 4 * np.asarray(ours.i_xt_error)).all()
        assert (np.abs(ours.i_ty - truth.i_ty) < 4 * np.asarray(ours.i_ty_error)).all()

    @pytest.mark.parametrize("factor", [0.5, 1.0])
    def test_the_chain_lies_between_both_estimates(self, factor: float) -> None:
        """T2 given x is a Gaussian of variance s^2 (1 + factor^2), whose information `noisy` knows without bias."""
        a, std = layer(2, networks=1)[0], 0.2
        truth = noisy_information(
            factor * a, soft_labels(), key=KEY, noise_std=std * math.sqrt(1 + factor**2), samples=1024
        )
        found = [
            noisy_network_information(
                passes_of(a, factor, std, passes), soft_labels(), key=KEY, noise_std=std, samples=passes
            )
            for passes in (2, 8, 64)
        ]
        for bits in found:
            assert float(bits.i_xt_low - truth.i_xt) < 4 * float(bits.i_xt_error)
            assert float(truth.i_xt - bits.i_xt) < 4 * float(bits.i_xt_error)
            assert float(truth.i_ty - bits.i_ty) < 4 * float(bits.i_ty_error)
        gaps = [float(bits.i_xt - bits.i_xt_low) for bits in found]
        assert gaps[0] > 3 * gaps[1] > 9 * gaps[2]
        assert gaps[2] < 0.06
        # Two passes are visibly too few: the bias is there, and on the side that is said.
        assert float(found[0].i_xt - truth.i_xt) > 0.05

    def test_gaussian_cascade(self) -> None:
        """I(X;T2) = log2(1 + factor^2 var / (s^2 (1 + factor^2))) / 2 of a Gaussian input."""
        std, factor = 0.5, 1.5
        x, p = fine_gaussian(1.0, 0.05)
        truth = 0.5 * math.log2(1 + factor**2 / (std**2 * (1 + factor**2)))
        bits = noisy_network_information(
            passes_of(x, factor, std, 32), np.full(len(x), 0.5), key=KEY, p_x=p, noise_std=std, samples=32
        )
        slack = 4 * float(bits.i_xt_error)
        assert float(bits.i_xt_low) - slack < truth < float(bits.i_xt) + slack
        assert float(bits.i_xt - bits.i_xt_low) < 0.1
        assert 0 < slack < 0.1

    def test_standard_error_is_the_spread(self) -> None:
        """Of 200 estimates, each with passes and noise of its own, of few passes that scatter as far as the noise."""
        a = layer(2, networks=1)[0]
        centers = passes_of(np.broadcast_to(a, (200, N, 2)), 1.0, 0.2, 4)
        bits = noisy_network_information(np.swapaxes(centers, 0, 1), soft_labels(), key=KEY, noise_std=0.2, samples=4)
        for value, error in ((bits.i_xt, bits.i_xt_error), (bits.i_ty, bits.i_ty_error)):
            claimed = math.sqrt(np.mean(np.asarray(error) ** 2))
            assert claimed == pytest.approx(float(np.std(value)), rel=0.2)

    def test_passes_of_the_built_in_network(self) -> None:
        """Of a linear network: no noise in the first layer, that of the first in the second, none where it is off."""
        net = Perceptron((3, 4, 2, 1), activation="linear")
        params, x = net.init(jax.random.key(9)), np.random.default_rng(1).random((50, 3)).astype(np.float32)
        clean = net.apply(params, jnp.asarray(x))[1]
        passes = net.propagate(params, x, key=KEY, noise_std=0.3, passes=400)
        assert [layer.shape for layer in passes] == [(400, 50, 4), (400, 50, 2), (400, 50, 1)]
        np.testing.assert_allclose(passes[0], np.broadcast_to(clean[0], passes[0].shape), rtol=0, atol=1e-6)
        spread = np.asarray(passes[1] - clean[1])
        expected = 0.3 * np.linalg.norm(params[1]["kernel"], axis=0)
        np.testing.assert_allclose(spread.std(axis=(0, 1)), expected, rtol=0.03)  # of 20,000 draws: 0.5%
        assert abs(np.corrcoef(spread[0, :, 0], spread[1, :, 0])[0, 1]) < 0.5  # independent: 0.14 is one error
        still = net.propagate(params, x, key=KEY, noise_std=0.0, passes=2)
        np.testing.assert_allclose(still[2], np.broadcast_to(clean[2], still[2].shape), rtol=0, atol=1e-6)

    def test_what_is_refused(self) -> None:
        a = np.zeros((3, N, 2), np.float32)
        with pytest.raises(ValueError, match=r"samples = 4; allowed: an integer from 2 to 3"):
            noisy_network_information(a, soft_labels(), key=KEY, samples=4)
        with pytest.raises(ValueError, match=r"centers have shape \(96, 2\); allowed: \(..., passes, N, width\)"):
            noisy_network_information(a[0], soft_labels(), key=KEY)
        with pytest.raises(ValueError, match="noise_std = 0; allowed"):
            noisy_network_information(a, soft_labels(), key=KEY, noise_std=0.0)

    def test_a_network_that_is_not_finite_is_nan_alone(self) -> None:
        a = np.stack([layer(2), layer(2, seed=1)], axis=1)
        a[0, 1, 3, 0] = np.nan
        bits = noisy_network_information(a, soft_labels(), key=KEY)
        assert np.isnan(values(bits)[:, 0]).all()
        assert np.isfinite(values(bits)[:, 1]).all()


def ross(t: Floats, label: Integers, k: int) -> float:
    """Ross's formula in bits with SciPy's trees."""
    radius, alike = np.zeros(len(t)), np.zeros(len(t))
    for value in np.unique(label):
        mine = np.flatnonzero(label == value)
        radius[mine] = cKDTree(t[mine]).query(t[mine], k + 1)[0][:, k]
        alike[mine] = len(mine)
    m = cKDTree(t).query_ball_point(t, radius * (1 + 1e-6), return_length=True) - 1
    nats = digamma(len(t)) + digamma(k) - np.mean(digamma(alike)) - np.mean(digamma(m))
    return float(nats / math.log(2))


def cloud(units: int, samples: int, kind: str, dtype: Any) -> pairs.Cloud:
    """The samples of 450 patterns with 4 labels, of which one is rare."""
    rng = np.random.default_rng([units, samples])
    centers = rng.uniform(-1, 1, (450, units)) * {"apart": 1, "together": 0.05, "few places": 1, "tiny noise": 1}[kind]
    if kind in ("few places", "tiny noise"):
        centers = np.sign(centers[rng.integers(0, 20, 450)])
    points = 450 * samples
    noise = rng.normal(size=(points, units))
    labels = rng.integers(0, 3, points)
    labels[: samples // 2] = 3
    scale = 1e12 if kind == "tiny noise" else 20.0
    arrays = jnp.asarray(np.repeat(centers, samples, axis=0), dtype), jnp.asarray(noise, dtype)
    return pairs.Cloud(*arrays, jnp.asarray(labels, jnp.int32), scale)


class TestKnn:
    @pytest.mark.parametrize("kind", ["apart", "together", "few places", "tiny noise"])
    @pytest.mark.parametrize(
        ("units", "samples", "k", "dtype"),
        [(1, 5, 1, np.float32), (2, 7, 1, np.float32), (5, 6, 3, np.float64), (12, 7, 1, np.float32)],
    )
    def test_blocks_of_neighbours_against_all_pairs(
        self, units: int, samples: int, k: int, dtype: Any, kind: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Every count, but for a few of neighbours that are equally far to rounding; blocks of 70 of 2700 samples."""
        monkeypatch.setattr(knn, "_BLOCK", 70)
        with jax.enable_x64(dtype == np.float64):
            some = cloud(units, samples, kind, dtype)
            slow = [np.asarray(m) for m in jax.jit(pairs.counts_of_all_pairs, static_argnums=(1, 2))(some, samples, k)]
            fast = [np.asarray(m) for m in jax.jit(knn.counts_by_blocks, static_argnums=(1, 2))(some, samples, k)]
        common = np.asarray(some.labels) < 3
        for exact, got, where in zip(slow, fast, (common | True, common), strict=True):
            apart = np.abs(exact - got)[where]
            assert apart.max() <= 1
            assert (apart > 0).mean() <= (0 if dtype == np.float64 else 2e-3)

    @pytest.mark.parametrize("block", [32, 512])
    @pytest.mark.parametrize(("width", "k"), [(3, 2)])
    def test_against_trees(self, width: int, k: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """On the very samples that the estimator draws."""
        monkeypatch.setattr(knn, "_BLOCK", block)
        jax.clear_caches()
        a, std, samples = layer(width, networks=1), 0.2, 6
        estimator = Knn(std, samples, k)
        got = values(information(estimator, a, soft_labels(), key=KEY))[:, 0]
        own = jax.random.fold_in(KEY, 0)
        noise = np.asarray(jax.random.normal(jax.random.fold_in(own, 0), (N * samples, width)), np.float64)
        y = partition.channels(jnp.asarray(soft_labels(), jnp.float32), None, jnp.dtype("float32"))
        label = np.asarray(estimator._draw(jax.random.fold_in(own, 1), partition.joint(y)))
        pattern = np.repeat(np.arange(N), samples)
        t = a[0, pattern].astype(np.float64) + std * noise
        # A distance that float32 takes for equal to another changes one m by one.
        np.testing.assert_allclose(got, (ross(t, pattern, k), ross(t, label, k)), rtol=0, atol=2e-3)

    def test_drawn_labels(self) -> None:
        """Hard labels are themselves, soft ones come as often as they are probable."""
        p = np.repeat([0, 1, 0.25], N // 3)
        y = partition.channels(jnp.asarray(p, jnp.float32), None, jnp.dtype("float32"))
        label = np.asarray(Knn(samples=256)._draw(KEY, partition.joint(y))).reshape(3, -1)
        assert label[0].max() == 0
        assert label[1].min() == 1
        assert label[2].mean() == pytest.approx(0.25, abs=4 * math.sqrt(0.25 * 0.75 / label[2].size))

    def test_near_the_monte_carlo_estimate(self) -> None:
        """Three units, half overlapping: the documented bias, 0.1 bits, and the spread of 1536 samples."""
        a, p_y = layer(3, networks=1)[0], np.rint(soft_labels())
        got = values(knn_information(a, p_y, key=KEY, noise_std=0.2, samples=16))
        expected = values(noisy_information(a, p_y, key=KEY, noise_std=0.2, samples=64))[:2]
        np.testing.assert_allclose(got, expected, rtol=0, atol=0.2)

    def test_far_apart(self) -> None:
        """Each sample's nearest is of its own pattern: exactly psi(M) - psi(S)."""
        a = np.arange(N, dtype=np.float32)[:, None]
        got = knn_information(a, np.rint(soft_labels()), key=KEY, noise_std=1e-3, samples=6)
        assert float(got[0]) == pytest.approx((digamma(6 * N) - digamma(6)) / math.log(2), abs=1e-5)

    def test_equal_patterns_and_a_label_nobody_has(self) -> None:
        """All patterns at one place tell nothing; a class without samples is no one's neighbour."""
        a = np.zeros((N, 2), np.float32)
        got = values(knn_information(a, np.zeros(N), key=KEY, samples=6))
        assert got[1] == pytest.approx(0, abs=1e-5)
        assert got[0] == pytest.approx(0, abs=0.15)


class TestRefusals:
    @pytest.mark.parametrize(
        ("name", "options", "message"),
        [
            ("histogram", {"bins": 1}, "bins = 1; allowed: an integer from 2 to 4096"),
            ("histogram", {"low": 0.0}, "low = 0.0, high = None; allowed: two numbers"),
            ("histogram", {"low": 1.0, "high": 1.0}, "allowed: low < high"),
            ("histogram", {"compat": "idnn"}, "did you mean 'idnns'"),
            ("adaptive_layer", {"bins": 5000}, "bins = 5000; allowed"),
            ("adaptive_unit", {"bins": 2.5}, "bins = 2.5; allowed"),
            ("quantile", {"bins": True}, "bins = True; allowed"),
            ("quantile", {"distinct": 1}, "distinct = 1; allowed: True or False"),
            ("quantized", {"bits": 12}, "bits = 12; allowed: an integer from 1 to 11, or 32"),
            ("quantized", {"bits": "8"}, "bits = '8'; allowed"),
            ("kde", {"noise_variance": 0}, "noise_variance = 0; allowed: a number from 1e-30 to 1e\\+30"),
            ("kde", {"noise_variance": "0.1"}, "noise_variance = '0.1'; allowed"),
            ("kde_lower", {"noise_variance": math.nan}, "noise_variance = nan; allowed"),
            ("noisy", {"noise_std": -1.0}, "noise_std = -1; allowed"),
            ("noisy", {"samples": 1}, "samples = 1; allowed: an integer from 2 to 4096"),
            ("knn", {"samples": 1}, "samples = 1; allowed: an integer from 2 to 256"),
            ("knn", {"neighbors": 8}, "neighbors = 8; allowed: an integer from 1 to 7"),
            ("knn", {"noise_std": math.inf}, "noise_std = inf; allowed"),
        ],
    )
    def test_options(self, name: str, options: dict[str, Any], message: str) -> None:
        with pytest.raises((ValueError, TypeError), match=message):
            make(name, **options)

    def test_layers_out_of_reach(self) -> None:
        """The limit and what to take instead, before anything is compiled."""
        with pytest.raises(ValueError, match=r"a layer of 17 units; allowed: at most 16 .*'noisy'"):
            make("knn").for_layer(17, N, True)
        with pytest.raises(ValueError, match="10000 patterns with samples = 8, 80000 points; allowed: at most 65536"):
            make("knn").for_layer(3, 10_000, True)
        with pytest.raises(ValueError, match="p_x given; allowed: p_x = None"):
            information(Knn(), layer(2), soft_labels(), p_x=weights(), key=KEY)

    def test_arguments(self) -> None:
        a, p_y = layer(2), soft_labels()
        with pytest.raises(ValueError, match=r"range_of = 'layers'; .*did you mean 'layer'"):
            adaptive_information(a, p_y, range_of="layers")
        with pytest.raises(TypeError, match="key = None; allowed for 'noisy': a PRNG key"):
            information(make("noisy"), a, p_y)
        with pytest.raises(TypeError, match=r"options = {'bits': 3} beside Quantized\(bits=8\); allowed: none"):
            information(make("quantized"), a, p_y, bits=3)
        with pytest.raises(TypeError, match="key has dtype uint32"):
            noisy_information(a, p_y, key=jax.random.PRNGKey(0))
        with pytest.raises(ValueError, match=r"activations have shape \(3,\)"):
            kde_information(np.zeros(3), p_y)
        with pytest.raises(TypeError, match="dtype complex64; allowed: real numbers"):
            kde_information(a.astype(np.complex64), p_y)
        with pytest.raises(ValueError, match="p_y_given_x has shape"):
            kde_information(a, p_y[:-1])
        with pytest.raises(ValueError, match="p_x sums to 96; allowed: probabilities that sum to 1"):
            kde_information(a, p_y, p_x=np.full(N, 1.0))


def test_joint_of_the_channels() -> None:
    for p_x in (None, weights()):
        p_y = np.random.default_rng(1).dirichlet(np.ones(3), N)
        given = None if p_x is None else jnp.asarray(p_x, jnp.float32)
        joint = partition.joint(partition.channels(jnp.asarray(p_y, jnp.float32), given, jnp.dtype("float32")))
        expected = p_y.T * (1 / N if p_x is None else p_x)
        np.testing.assert_allclose(joint, expected, rtol=0, atol=1e-8)
