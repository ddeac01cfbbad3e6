"""Estimators for wide layers and for samples, against closed forms, expectations, and dense float64 NumPy.

Shapes: K networks, N patterns, U units.
"""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pytest
from conftest import synthetic_trajectory
from scipy.integrate import quad
from scipy.stats import binom
from test_estimators import N, entropy, layer, soft_labels, values, weights

import ibjax
from ibjax.cli.main import main
from ibjax.information.apply import information
from ibjax.information.estimator import make
from ibjax.information.wide.compressed import principal
from ibjax.information.wide.edge import buckets
from ibjax.information.wide.soft import Soft

Floats = npt.NDArray[np.floating[Any]]

KEY = jax.random.key(2017)
WIDE = ("corrected", "edge", "renyi", "sliced", "soft")
INPUTS = np.random.default_rng(6).normal(size=(N, 7))


def hard_labels(classes: int = 3) -> Floats:
    return np.eye(classes)[np.random.default_rng(1).integers(0, classes, N)]


class TestProtocol:
    """What holds for all of them."""

    @pytest.mark.parametrize("name", WIDE)
    def test_networks_do_not_see_each_other(self, name: str) -> None:
        """Three networks, one of them with a NaN, and the first alone: the same to the bit."""
        a = layer(3, networks=3)
        a[1, 5, 2] = np.nan
        together, alone = (values(information(name, x, hard_labels(), key=KEY, inputs=INPUTS)) for x in (a, a[:1]))
        assert np.isnan(together[:, 1]).all()
        assert np.isfinite(together[:, [0, 2]]).all()
        assert np.array_equal(together[:, :1], alone)

    @pytest.mark.parametrize("name", WIDE)
    def test_in_float64(self, name: str) -> None:
        """Hard labels: nothing but directions or noise is drawn, and of those both precisions see others."""
        a = layer(20)
        single = information(name, a, hard_labels(), key=KEY, inputs=INPUTS)
        with jax.enable_x64(True):
            double = information(name, a.astype(np.float64), hard_labels(), key=jax.random.key(2017), inputs=INPUTS)
        assert all(part.dtype == np.float64 for part in double if part is not None)
        errors = [np.asarray(part) for part in single[2:] if part is not None]
        slack = 6 * max(error.max() for error in errors) if errors and make(name).random else 1e-4
        np.testing.assert_allclose(values(double)[:2], values(single)[:2], rtol=0, atol=slack)

    @pytest.mark.parametrize("name", WIDE)
    def test_rows_are_those_that_are_filled(self, name: str) -> None:
        bits = information(name, layer(4, networks=1), hard_labels(), key=KEY, inputs=INPUTS)
        assert tuple(row for row, value in bits._asdict().items() if value is not None) == make(name).rows


def draws(p: Floats, n: int, times: int, seed: int = 0) -> Floats:
    """(R, n, 1) activations in [0, 1]: R samples of n draws from p, each value at the middle of one of 2 x 16 cells."""
    rng = np.random.default_rng(seed)
    which = rng.choice(len(p), size=(times, n), p=p)
    return ((which + 0.5) / 16).astype(np.float32)[..., None]


def expectation(p: Floats, n: int, term: Any) -> float:
    """E sum_c term(n_c) of the counts of n draws from p: a sum over the binomial distribution of each count."""
    counts = np.arange(n + 1)
    return float(sum((binom.pmf(counts, n, each) * term(counts)).sum() for each in p))


class TestCorrected:
    """Samples of 60 from 12 cells of unequal probability."""

    P = np.arange(1, 13) / np.arange(1, 13).sum()
    TRUTH = float(-(P * np.log2(P)).sum())
    DRAWS = 60
    TIMES = 400

    def estimates(self, correction: str, n: int = DRAWS) -> Floats:
        a = draws(self.P, n, self.TIMES)
        bits = ibjax.corrected_information(a, np.zeros(n), correction=correction, bins=32)
        return np.asarray(bits.i_xt, np.float64)

    def plug_in(self, n: int = DRAWS) -> float:
        """Its expectation, bits."""
        xlogx = lambda c: np.where(c > 0, c * np.log2(np.maximum(c, 1)), 0)  # noqa: E731
        return math.log2(n) - expectation(self.P, n, xlogx) / n

    def test_expectations(self) -> None:
        """Of both that are sums over cells, to 4 standard errors of the mean over 400 samples."""
        n = self.DRAWS
        of_g = [-np.euler_gamma - math.log(2)]  # G(1), and the recursion of Grassberger's eq. 28
        of_g.append(2 + of_g[0])
        for m in range(3, n + 1):
            of_g.append(of_g[-1] if m % 2 else of_g[-1] + 2 / (m - 1))
        g = np.array([0.0, *of_g])
        expected = {
            "miller_madow": self.plug_in(n) + (expectation(self.P, n, lambda c: c > 0) - 1) / (2 * n * math.log(2)),
            "grassberger": (math.log(n) - expectation(self.P, n, lambda c: c * g[c]) / n) / math.log(2),
        }
        for correction, mean in expected.items():
            found = self.estimates(correction)
            assert abs(found.mean() - mean) < 4 * found.std() / math.sqrt(len(found)), correction

    @pytest.mark.parametrize("correction", ["miller_madow", "grassberger"])
    def test_bias_is_of_the_next_order(self, correction: str) -> None:
        """Less than a quarter of the plug-in's, and falling faster than 1/N."""
        found = self.estimates(correction)
        noise = 4 * found.std() / math.sqrt(len(found))
        bias = abs(found.mean() - self.TRUTH)
        assert self.plug_in() - self.TRUTH < -0.1
        assert bias < 0.25 * (self.TRUTH - self.plug_in()) + noise
        more = self.estimates(correction, 4 * self.DRAWS)
        assert abs(more.mean() - self.TRUTH) < max(bias / 4, 4 * more.std() / math.sqrt(len(more)))

    def test_chao_shen_counts_what_was_not_seen(self) -> None:
        """Of 20 draws, which miss a third of the cells, the plug-in lacks 0.44 bits."""
        found = self.estimates("chao_shen", 20)
        assert self.plug_in(20) - self.TRUTH < -0.4
        assert abs(found.mean() - self.TRUTH) < 0.05 + 4 * found.std() / math.sqrt(len(found))

    def test_chao_shen_against_its_formula(self) -> None:
        """In float64, and where every pattern has a separate cell."""
        a = draws(self.P, 30, 5, seed=4)
        a[0, :, 0] = np.linspace(-0.99, 0.99, 30)
        got = ibjax.corrected_information(a, np.zeros(30), correction="chao_shen", bins=32)
        for one, bits in zip(a, got.i_xt, strict=True):
            counts = np.unique(np.floor((one.astype(np.float64) + 1) * 16), return_counts=True)[1]
            single = min((counts == 1).sum(), 29)
            q = (1 - single / 30) * counts / 30
            assert float(bits) == pytest.approx(-(q * np.log2(q) / (1 - (1 - q) ** 30)).sum(), abs=1e-4)

    @pytest.mark.parametrize("soft", [False, True])
    def test_information_of_the_label(self, soft: bool) -> None:
        """Independent of T: on average 0 where the plug-in says 0.25 bits; some estimates are negative, as they are."""
        n = 60
        a = draws(np.full(12, 1 / 12), n, self.TIMES, seed=2)
        p_y = np.full(n, 0.5) if soft else np.arange(n) % 2
        bits = ibjax.corrected_information(a, p_y, bins=32, correction="grassberger", key=KEY)
        found = np.asarray(bits.i_ty)
        assert abs(found.mean()) < 0.04
        assert found.min() < -0.05

    def test_standard_errors_are_the_spread(self) -> None:
        """Of 400 samples of 400 draws, with a label that T tells to nine tenths; the spread is known to 4%."""
        rng = np.random.default_rng(3)
        n = 400
        a = draws(self.P, n, self.TIMES, seed=3)
        told = np.floor(a[..., 0] * 16).astype(int) % 2
        label = np.where(rng.random(told.shape) < 0.9, told, 1 - told)
        estimator: Any = jax.vmap(lambda x, y: information("corrected", x, y, key=KEY, bins=32))
        bits = estimator(a, label.astype(np.float32))
        for value, error in ((bits.i_xt, bits.i_xt_error), (bits.i_ty, bits.i_ty_error)):
            assert float(np.sqrt(np.mean(np.square(error)))) == pytest.approx(float(np.std(value)), rel=0.15)

    def test_many_patterns_make_all_alike(self) -> None:
        """And the histogram's, where cells are full."""
        p = np.array([0.2, 0.3, 0.5])
        a = draws(p, 5000, 1)
        label = (a[0, :, 0] > 0.1).astype(np.float32)
        plain = ibjax.layer_information(a, label)
        for correction in ("miller_madow", "grassberger", "chao_shen"):
            got = ibjax.corrected_information(a, label, correction=correction, bins=32)
            np.testing.assert_allclose(values(got)[:2], values(plain), rtol=0, atol=1e-3)

    def test_refusals(self) -> None:
        with pytest.raises(ValueError, match=r"correction = 'miller'; allowed: .*did you mean 'miller_madow'"):
            make("corrected", correction="miller")
        with pytest.raises(ValueError, match="bins = 1; allowed"):
            make("corrected", bins=1)
        with pytest.raises(ValueError, match=r"low = 0, high = None; allowed: two numbers"):
            make("corrected", low=0)
        with pytest.raises(ValueError, match=r"p_x given; allowed: p_x = None, .* 'histogram'"):
            information("corrected", layer(2), soft_labels(), p_x=np.full(N, 1 / N), key=KEY)


def gram_information(a: Floats, p_y: Floats, order: float, sigma: float, p_x: Floats | None = None) -> Floats:
    """S(A_T) and S(A_T) + S(A_Y) - S(A_TY), bits, of whole matrices in float64."""
    a = a.astype(np.float64)
    p_x = np.full(len(a), 1 / len(a)) if p_x is None else p_x
    of_t = np.exp(-((a[:, None] - a[None]) ** 2).sum(axis=-1) / (2 * sigma**2))
    of_y = (p_y / np.linalg.norm(p_y, axis=1, keepdims=True)) @ (p_y / np.linalg.norm(p_y, axis=1, keepdims=True)).T

    def entropy(kernel: Floats) -> float:
        found = np.linalg.eigvalsh(np.sqrt(np.outer(p_x, p_x)) * kernel)
        found = found[found > 1e-14]
        if order == 1:
            return float(-(found * np.log2(found)).sum())
        return float(np.log2((found**order).sum()) / (1 - order))

    return np.array([entropy(of_t), entropy(of_t) + entropy(of_y) - entropy(of_t * of_y)])


class TestRenyi:
    @pytest.mark.parametrize("order", [1.0, 1.01, 2.0, 5.0])
    def test_against_whole_matrices(self, order: float) -> None:
        """Hard labels and soft ones, some patterns that do not occur; order 2 takes no eigenvalues here."""
        a = layer(5, networks=1)[0]
        soft = np.stack([1 - soft_labels(), soft_labels()], axis=1)
        for p_y in (hard_labels(), soft):
            got = values(ibjax.renyi_information(a, p_y, p_x=weights(), order=order, sigma=0.7))
            np.testing.assert_allclose(got, gram_information(a, p_y, order, 0.7, weights()), rtol=0, atol=2e-4)

    @pytest.mark.parametrize("order", [1.01, 2.0])
    def test_patterns_together_and_apart(self, order: float) -> None:
        """All at one place: 0. All far apart: log2 N, and of Y its Renyi entropy. Three places: theirs."""
        y = hard_labels()
        of_y = math.log2((y.mean(axis=0) ** order).sum()) / (1 - order)
        together = values(ibjax.renyi_information(np.full((N, 4), 0.3, np.float32), y, order=order))
        np.testing.assert_allclose(together, 0, rtol=0, atol=1e-4)
        far = np.eye(N, dtype=np.float32)
        apart = values(ibjax.renyi_information(far, y, order=order, sigma=0.05))
        np.testing.assert_allclose(apart, (math.log2(N), of_y), rtol=0, atol=1e-3)
        places = values(ibjax.renyi_information(100 * y.astype(np.float32), y, order=order, sigma=1.0))
        np.testing.assert_allclose(places, of_y, rtol=0, atol=1e-3)

    @pytest.mark.parametrize("width", ["silverman", "alignment"])
    def test_neither_scale_nor_rotation_matters(self, width: str) -> None:
        a = layer(6, networks=1)[0]
        turn = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0]
        one, other = (
            values(ibjax.renyi_information(x.astype(np.float32), hard_labels(), width=width))
            for x in (a, 300 * a @ turn + 5)
        )
        np.testing.assert_allclose(one, other, rtol=0, atol=2e-3)
        assert 0.1 < one[0] < math.log2(N) - 0.5

    def test_silverman_is_its_formula(self) -> None:
        a = layer(3, networks=1)[0]
        sigma = math.sqrt(a.var(axis=0).mean()) * (4 / 5) ** (1 / 7) * N ** (-1 / 7)
        got = values(ibjax.renyi_information(a, hard_labels(), width="silverman"))
        np.testing.assert_allclose(got, gram_information(a, hard_labels(), 1.01, sigma), rtol=0, atol=2e-4)

    def test_alignment_finds_the_scale_of_the_labels(self) -> None:
        """In 200 units, where Silverman's width leaves every pattern alone, the three clouds that the labels name."""
        rng = np.random.default_rng(5)
        y = hard_labels()
        a = (y @ rng.normal(size=(3, 200)) * 3 + rng.normal(size=(N, 200))).astype(np.float32)
        aligned, narrow = (values(ibjax.renyi_information(a, y, width=w)) for w in ("alignment", "silverman"))
        assert narrow[0] == pytest.approx(math.log2(N), abs=1e-3)
        assert aligned[0] < math.log2(N) - 1

    def test_refusals(self) -> None:
        with pytest.raises(ValueError, match=r"order = 0\.5; allowed: a number from 1 to 16"):
            make("renyi", order=0.5)
        with pytest.raises(ValueError, match="did you mean 'silverman'"):
            make("renyi", width="silvermann")
        with pytest.raises(ValueError, match="sigma = 0; allowed"):
            make("renyi", sigma=0)
        with pytest.raises(ValueError, match=r"5000 patterns with order = 1\.01; allowed: at most 4096 .* order = 2"):
            make("renyi").for_layer(3, 5000, True)
        assert make("renyi", order=2).for_layer(3, 5000, True) == make("renyi", order=2)


class TestSliced:
    def test_gaussian_channel(self) -> None:
        """A normal X in two units, (x, 2 x): the mean over directions of log2(1 + (f . w)^2 var / s^2) / 2, by
        quadrature; the labels say nothing."""
        x = np.arange(-5, 5.05, 0.1)
        p = np.exp(-(x**2) / 2) / np.exp(-(x**2) / 2).sum()
        a = np.outer(x, [1, 2]).astype(np.float32)
        std = 0.5
        of_angle = lambda angle: 0.5 * math.log2(1 + 5 * math.cos(angle) ** 2 / std**2)  # noqa: E731
        truth = quad(of_angle, 0, math.pi / 2)[0] / (math.pi / 2)
        got = ibjax.sliced_information(a, np.full(len(x), 0.5), key=KEY, p_x=p, noise_std=std, projections=400)
        assert got.i_xt_error is not None
        assert 0 < float(got.i_xt_error) < 0.05
        assert float(got.i_xt) == pytest.approx(truth, abs=4 * float(got.i_xt_error))
        assert float(got.i_ty) == pytest.approx(0, abs=1e-5)

    def test_never_more_than_the_whole_layer(self) -> None:
        """Data processing: of one unit nothing is lost, of more some is."""
        for width, lost in ((1, 0.0), (5, 0.3)):
            a, p_y = layer(width, networks=1)[0], soft_labels()
            sliced = ibjax.sliced_information(a, p_y, key=KEY, noise_std=0.3, projections=64)
            whole = ibjax.noisy_information(a, p_y, key=KEY, noise_std=0.3, samples=64)
            slack = 4 * float(np.hypot(values(sliced)[2], values(whole)[2]))
            if lost:
                assert float(whole.i_xt - sliced.i_xt) > lost
                assert float(whole.i_ty - sliced.i_ty) > 0
            else:
                assert float(sliced.i_xt) == pytest.approx(float(whole.i_xt), abs=slack)

    def test_wide_layers_move(self) -> None:
        """1000 independent units of variance v: about log2(1 + v / s^2) / 2 each, at bits where bins say log2 N."""
        a = np.random.default_rng(0).normal(size=(N, 1000)).astype(np.float32)
        for v in (0.01, 1.0):
            got = ibjax.sliced_information(math.sqrt(v) * a, soft_labels(), key=KEY, noise_std=0.3)
            assert float(got.i_xt) == pytest.approx(0.5 * math.log2(1 + v / 0.09), abs=0.15)

    def test_refusals(self) -> None:
        with pytest.raises(ValueError, match="projections = 1; allowed: an integer from 2 to 65536"):
            make("sliced", projections=1)
        with pytest.raises(ValueError, match="noise_std = 0; allowed"):
            make("sliced", noise_std=0)
        with pytest.raises(TypeError, match="key = None; allowed for 'sliced'"):
            information("sliced", layer(2), soft_labels())


def soft_by_numpy(a: Floats, joint: Floats, anchors: Floats, temperature: float) -> Floats:
    """From p(y, x), (C, N), in float64: every p(t|x), p(t), p(t|y) and their entropies."""
    a = a.astype(np.float64)
    length = np.linalg.norm(a, axis=1, keepdims=True)
    z = np.divide(a, length, out=np.zeros_like(a), where=length > 0)
    p = np.exp(z @ anchors.T / temperature - 1 / temperature)
    p /= p.sum(axis=1, keepdims=True)

    def entropy(q: Floats) -> float:
        q = q[q > 0]
        return float(-(q * np.log2(q)).sum())

    p_t = joint.sum(axis=0) @ p
    given_x = sum(w * entropy(q) for w, q in zip(joint.sum(axis=0), p, strict=True))
    given_y = sum(w.sum() * entropy(w @ p / w.sum()) for w in joint if w.sum() > 0)
    return np.array([entropy(p_t) - given_x, entropy(p_t) - given_y])


class TestSoft:
    @pytest.mark.parametrize(("width", "temperature"), [(3, None), (300, None), (3, 0.02)])
    def test_against_numpy(self, width: int, temperature: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
        """Soft labels, p(x) with zeros, a pattern of dead units; 40 of 96 patterns at a time, the last time fewer."""
        monkeypatch.setattr("ibjax.information.wide.soft._AT_A_TIME", 40 * 50)
        a = layer(width, networks=1)[0] * np.float32(1e-3)
        a[5] = 0
        anchors = np.asarray(Soft(50).directions(width), np.float64)
        np.testing.assert_allclose(np.linalg.norm(anchors, axis=1), 1, rtol=1e-6)
        e = 1 / math.sqrt(2 * width * math.log(50)) if temperature is None else temperature
        joint = np.stack([1 - soft_labels(), soft_labels()]) * weights()
        got = values(ibjax.soft_information(a, soft_labels(), p_x=weights(), anchors=50, temperature=temperature))
        np.testing.assert_allclose(got, soft_by_numpy(a, joint, anchors, e), rtol=0, atol=2e-5)

    def test_limits(self) -> None:
        """Equal directions tell nothing, whatever the lengths; two opposite ones one bit, or nothing if hot."""
        a = np.outer(np.arange(1, N + 1), [0.3, -0.2]).astype(np.float32)
        np.testing.assert_allclose(values(ibjax.soft_information(a, soft_labels())), 0, rtol=0, atol=1e-5)
        side = np.sign(np.arange(N) - N / 2 + 0.5)
        opposite = side[:, None] * a
        label = (side > 0).astype(float)
        np.testing.assert_allclose(
            values(ibjax.soft_information(opposite, label, temperature=1e-3)), 1, rtol=0, atol=1e-5
        )
        np.testing.assert_allclose(values(ibjax.soft_information(opposite, label, temperature=1e5)), 0, atol=1e-5)

    def test_keeps_the_bounds(self) -> None:
        """Those of every channel, at any width and temperature."""
        for width in (2, 200):
            for temperature in (None, 1e-4):
                i_xt, i_ty = values(ibjax.soft_information(layer(width), hard_labels(), temperature=temperature))
                assert (i_xt > 0.1).all()
                assert (i_xt < math.log2(N) + 1e-5).all()
                assert (i_ty <= i_xt + 1e-5).all()
                assert (i_ty >= -1e-5).all()

    def test_batches_that_name_classes_are_refused(self) -> None:
        """Each may lack some of the others' classes."""
        with pytest.raises(ValueError, match=r"batches\[0\] names classes by numbers up to 5, .*; allowed: \(B,\) = p"):
            ibjax.soft_information_of_batches([(np.zeros((6, 2)), np.arange(6))])

    def test_batch_by_batch(self) -> None:
        """Batches of two sizes, soft labels in two columns: the numbers of the whole."""
        a = layer(70, networks=1)[0]
        p_y = np.stack([soft_labels(), 1 - soft_labels()], axis=1)
        whole = values(ibjax.soft_information(a, p_y))
        parts = [(a[:40], p_y[:40]), (a[40:80], p_y[40:80]), (a[80:], p_y[80:])]
        np.testing.assert_allclose(ibjax.soft_information_of_batches(iter(parts)), whole, rtol=0, atol=1e-5)
        bad = a[80:].copy()
        bad[3, 4] = np.inf
        assert np.isnan(ibjax.soft_information_of_batches([*parts[:2], (bad, p_y[80:])])).all()
        with pytest.raises(ValueError, match=r"batches\[1\] has 69 units and 2 classes; allowed: those of the first"):
            ibjax.soft_information_of_batches([parts[0], (a[40:80, :69], p_y[40:80])])
        with pytest.raises(ValueError, match="batches is empty"):
            ibjax.soft_information_of_batches([])

    def test_refusals(self) -> None:
        with pytest.raises(ValueError, match="anchors = 1; allowed: an integer from 2 to 65536"):
            make("soft", anchors=1)
        with pytest.raises(ValueError, match="temperature = 0; allowed"):
            make("soft", temperature=0)
        with pytest.raises(ValueError, match="seed = -1; allowed"):
            make("soft", seed=-1)


def draws_of(kind: str, n: int, times: int = 20) -> tuple[Floats, Floats, float]:
    """(R, n) draws of X and of T, and I(X;T) in bits; see `test_truths`."""
    rng = np.random.default_rng(n)
    if kind == "mixture":
        x = rng.integers(0, 4, (times, n)).astype(np.float64)
        return x, x + 2 * rng.random(x.shape), 1.25
    if kind == "poissonised":
        x = rng.exponential(size=(times, n))
        return x, rng.poisson(x).astype(float), 0.30124 / math.log(2)
    x, noise = rng.normal(size=(2, times, n))
    return (x, noise, 0.0) if kind == "independent" else (x, math.sqrt(3) * x + noise, 1.0)


def of_draws(x: Floats, t: Floats, **options: Any) -> Floats:
    """(4, R) of draws (R, n), in one program; the labels are 0."""
    n = x.shape[1]
    one: Any = lambda x, t: ibjax.edge_information(t, jnp.zeros(n), inputs=x, **options)  # noqa: E731
    return values(
        jax.jit(jax.vmap(one))(jnp.asarray(x, jnp.float32)[..., None], jnp.asarray(t, jnp.float32)[..., None])
    )


class TestEdge:
    @pytest.mark.parametrize("units", [2, 40])
    @pytest.mark.parametrize("p_x", [None, weights()], ids=["uniform", "weighted"])
    def test_against_counting(self, units: int, p_x: Floats | None) -> None:
        """The entropies of the buckets in float64; the mean of three hashes is that of each width alone."""
        a, p = layer(units, networks=1)[0], np.full(N, 1 / N) if p_x is None else p_x
        soft = np.stack([1 - soft_labels(), soft_labels()], axis=1)
        scale = 2 * N ** (-0.5 / (3 + min(units, 3)))  # at most three numbers of 96 patterns are hashed
        keys = jax.random.split(jax.random.key(4), (2, 3))
        expected = np.zeros(2)
        for width, *ours in zip((1, 1.5, 2), *keys, strict=True):
            of_x, of_t = (
                np.asarray(
                    buckets(jnp.asarray(z, jnp.float32), jnp.asarray(p, jnp.float32), jnp.float32(width * scale), k)
                )
                for z, k in zip((INPUTS, a), ours, strict=True)
            )
            p_xt, p_ty = np.zeros((N, N)), np.zeros((N, 2))
            np.add.at(p_xt, (of_x, of_t), p)
            np.add.at(p_ty, of_t, soft * p[:, None])
            for place, joint in enumerate((p_xt, p_ty)):
                parts = entropy(joint.sum(axis=0)), entropy(joint.sum(axis=1)), -entropy(joint.reshape(-1))
                expected[place] += sum(parts) / 3
        got = ibjax.edge_information(a, soft, inputs=INPUTS, p_x=p_x, hashes=3, seed=4)
        assert (expected > 0.005).all()
        np.testing.assert_allclose(values(got)[:2], expected, rtol=0, atol=1e-5)

    def test_a_hash_parts_what_is_far_apart(self) -> None:
        """Numbers at a distance d share a bucket of width e with the probability 1 - d/e, and none where d > e."""
        z, p = jnp.asarray([[0.0], [0.3], [0.9], [10.0]]), jnp.asarray([0.25] * 4)
        spread = float(np.std([0, 0.3, 0.9, 10]))
        found = jax.vmap(lambda key: buckets(z, p, jnp.float32(1 / spread), key))(jax.random.split(KEY, 4000))
        shared = np.asarray(found[:, 1:] == found[:, :1]).mean(axis=0)
        np.testing.assert_allclose(shared, [0.7, 0.1, 0], rtol=0, atol=0.03)

    def test_in_many_units_patterns_meet(self) -> None:
        """Of 500 units, where the histogram has a cell for each pattern; and of inputs that repeat, half as many."""
        a = np.random.default_rng(0).normal(size=(640, 500)).astype(np.float32)
        label = (a[:, :250].sum(axis=1) > 0).astype(float)
        assert float(ibjax.layer_information(a / 6, label)[0]) == pytest.approx(math.log2(640), abs=1e-4)
        x = np.arange(640)
        wide, narrow = (float(ibjax.edge_information(a, label, inputs=x, width=w).i_xt) for w in (2, 1e-3))
        assert 0.1 < wide < math.log2(640) - 1
        assert narrow == pytest.approx(math.log2(640), abs=1e-4)
        twice = ibjax.edge_information(a, label, inputs=x // 2, width=1e-3)
        assert float(twice.i_xt) == pytest.approx(math.log2(320), abs=1e-4)

    def test_discrete(self) -> None:
        """T = X mod 4 in narrow buckets: 2 bits to rounding, and whatever the patterns and classes are called."""
        x = np.arange(64)
        label = x % 4 // 2 + 2 * (x % 8 == 0)
        bits = values(ibjax.edge_information(x[:, None] % 4, np.eye(4)[label], inputs=x, width=0.01))
        p = np.bincount(label) / 64
        given_t = 0.25 * entropy(np.array([0.5, 0.5]))  # of T = 0 half are of the class 2
        np.testing.assert_allclose(bits[:2], (2, entropy(p) - given_t), rtol=0, atol=1e-5)
        order = np.random.default_rng(1).permutation(64)
        named = np.eye(4)[np.array([2, 0, 3, 1])[label]][order]
        again = values(ibjax.edge_information(x[order, None] % 4, named, inputs=x[order], width=0.01))
        np.testing.assert_allclose(again, bits, rtol=0, atol=1e-5)

    def test_independent(self) -> None:
        """0 of a grid, where every pair occurs once, at any width."""
        x, t = (z.reshape(-1, 1).astype(np.float32) for z in np.meshgrid(np.arange(30), np.arange(40)))
        for width in (0.1, 2.0):
            bits = ibjax.edge_information(t, (x[:, 0] > 7).astype(float), inputs=x, width=width)
            np.testing.assert_allclose(values(bits), 0, rtol=0, atol=1e-5)

    @pytest.mark.parametrize("kind", ["independent", "gaussian", "mixture", "poissonised"])
    def test_draws(self, kind: str) -> None:
        """The mean of 20 samples, to the documented bias: 0.06 bits upwards, a tenth downwards."""
        x, t, truth = draws_of(kind, 4096)
        assert -0.1 * truth < of_draws(x, t)[0].mean() - truth < 0.06

    def test_standard_errors_are_the_spread(self) -> None:
        """Of 400 samples of 1000 draws."""
        i_xt, _, error, _ = of_draws(*draws_of("gaussian", 1000, 400)[:2])
        assert float(np.sqrt(np.mean(error**2))) == pytest.approx(i_xt.std(), rel=0.15)

    def test_refusals(self) -> None:
        a, y = layer(2), soft_labels()
        with pytest.raises(
            TypeError, match=r"inputs = None; allowed for 'edge': the patterns themselves, \(N, \.\.\.\)"
        ):
            information("edge", a, y)
        with pytest.raises(ValueError, match=r"inputs have shape \(5, 1\); allowed: \(96, \.\.\.\)"):
            ibjax.edge_information(a, y, inputs=np.zeros((5, 1)))
        with pytest.raises(ValueError, match="inputs hold NaN or infinite values"):
            ibjax.edge_information(a, y, inputs=np.full(N, np.nan))
        with pytest.raises(TypeError, match="inputs are no array of numbers"):
            ibjax.edge_information(a, y, inputs=["a"] * N)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="width = 0; allowed"):
            make("edge", width=0)
        with pytest.raises(ValueError, match="hashes = 0; allowed"):
            make("edge", hashes=0)
        with pytest.raises(ValueError, match="seed = -1; allowed"):
            make("edge", seed=-1)


class TestVariational:
    """A normal X in one unit, of 2 bits in T: log2(1 + 15) / 2; Y tells its sign to nine tenths."""

    X = np.arange(-4, 4.05, 0.1)
    P = np.exp(-(X**2) / 2) / np.exp(-(X**2) / 2).sum()
    STD = 1 / math.sqrt(15)

    def layer(self) -> tuple[Floats, Floats]:
        return self.X[:, None].astype(np.float32), np.where(self.X > 0, 0.9, 0.1)

    @pytest.mark.parametrize(("bound", "gap"), [("infonce", 0.15), ("mine", 0.6)])
    def test_gaussian_channel(self, bound: str, gap: float) -> None:
        """Not above the truth, and near it; that of I(T;Y) by Monte Carlo."""
        a, p_y = self.layer()
        common: dict[str, Any] = {"key": KEY, "p_x": self.P, "noise_std": self.STD}
        got = ibjax.variational_information(a, p_y, bound=bound, **common)
        of_y = float(ibjax.noisy_information(a, p_y, samples=256, **common).i_ty)
        for value, error, truth in ((got.i_xt, got.i_xt_error, 2.0), (got.i_ty, got.i_ty_error, of_y)):
            assert error is not None
            assert 0 < float(error) < 0.05
            assert truth - gap < float(value) < truth + 4 * float(error)

    def test_infonce_is_at_most_the_logarithm_of_its_batch(self) -> None:
        """Of eight pairs, 3 bits, where 100 patterns far apart hold 6.6; of labels that are independent, nothing."""
        a = np.random.default_rng(0).normal(size=(100, 20)).astype(np.float32)
        got = ibjax.variational_information(a, np.full(100, 0.5), key=KEY, noise_std=0.1, batch=8, steps=500)
        assert 2.5 < float(got.i_xt) < 3
        assert got.i_ty_error is not None
        assert -0.2 < float(got.i_ty) < 4 * float(got.i_ty_error)

    def test_refusals(self) -> None:
        with pytest.raises(ValueError, match=r"bound = 'nce'; .*did you mean 'infonce'"):
            ibjax.variational_information(layer(2), soft_labels(), key=KEY, bound="nce")
        with pytest.raises(ValueError, match="batch = 1; allowed: an integer from 2 to 4096"):
            make("mine", batch=1)
        with pytest.raises(ValueError, match="steps = 0; allowed"):
            make("infonce", steps=0)
        with pytest.raises(ValueError, match="learning_rate = 0; allowed"):
            make("infonce", learning_rate=0)


class TestCompressed:
    def test_a_layer_of_few_directions_in_many_units(self) -> None:
        """Three units turned into 60: those three, to the documented bias of `knn` and the spread of 1536 samples."""
        a = layer(3, networks=1)[0]
        turn = np.linalg.qr(np.random.default_rng(2).normal(size=(60, 60)))[0][:3]
        wide, p_y = (a @ turn + 3).astype(np.float32), np.rint(soft_labels())
        flat = np.asarray(principal(jnp.asarray(wide), 3), np.float64)
        centered = (a - a.mean(axis=0)).astype(np.float64)
        np.testing.assert_allclose(flat @ flat.T, centered @ centered.T, rtol=0, atol=1e-4)
        got = values(ibjax.compressed_information(wide, p_y, key=KEY, components=3, noise_std=0.2, samples=16))
        expected = values(ibjax.noisy_information(wide, p_y, key=KEY, noise_std=0.2, samples=32))[:2]
        np.testing.assert_allclose(got, expected, rtol=0, atol=0.2)

    def test_narrow_layers_are_as_they_are(self) -> None:
        a = jnp.asarray(layer(3, networks=1)[0])
        assert principal(a, 3) is a

    def test_refusals(self) -> None:
        with pytest.raises(ValueError, match="components = 17; allowed: an integer from 1 to 16"):
            make("compressed", components=17)
        with pytest.raises(ValueError, match="80000 points; allowed: at most 65536"):
            make("compressed").for_layer(1000, 10_000, True)
        assert make("compressed").for_layer(1000, 1000, True) == make("compressed")


@pytest.mark.usefixtures("unoptimized")
def test_in_a_run_and_on_its_weights() -> None:
    """With options, in the run and by `measure`: the same numbers, kinds and errors."""
    inputs = np.array([[i >> k & 1 for k in range(6)] for i in range(64)], float)
    data = ibjax.Dataset(inputs, (inputs.sum(axis=1) > 3).astype(float))
    options: dict[str, dict[str, Any]] = {
        "corrected": {"correction": "miller_madow", "bins": 4},
        "edge": {"hashes": 3},
        "renyi": {"order": 2.0},
        "sliced": {"projections": 4},
        "soft": {"anchors": 10},
    }
    config = ibjax.Config(
        seeds=2, epochs=1, logged_epochs=(1,), hidden_widths=(2,), batch_size=32, store_weights=True, estimators=options
    )
    run = ibjax.run(config, dataset=data)
    for name, chosen in options.items():
        told = run.config["estimators"][name]
        assert told["options"] == {**make(name).options, **chosen}
        assert told["i_xt"] == ("exact" if name == "soft" else "estimate")
        assert np.isfinite(run.extras[f"i_xt_{name}"]).all()
        assert (f"i_xt_error_{name}" in run.extras) == (name in ("corrected", "edge", "sliced"))
    for name in ("edge", "sliced", "soft"):
        again = ibjax.measure(run, name, dataset=data, **options[name])
        assert np.array_equal(again.i_xt, run.extras[f"i_xt_{name}"])


class TestWhatCannotBe:
    """Values of estimates that break a bound are told, and stay as they are."""

    def run(self) -> ibjax.Trajectory:
        run = synthetic_trajectory(seeds=2)
        bits = np.full_like(run.i_xt, run.h_x + 0.5)
        kinds = {"i_xt": "estimate", "i_ty": "estimate"}
        extras = {"i_xt_renyi": bits, "i_ty_renyi": np.zeros_like(bits)}
        return replace(run, extras=extras, config={**run.config, "estimators": {"renyi": kinds}})

    def test_the_command_line_says_so(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Of an estimate, without an error; of exact values as an error."""
        run = self.run()
        path = run.save(tmp_path / "a.npz")
        assert main(["info", str(path)]) == 0
        printed = capsys.readouterr()
        assert "renyi is an estimate, and here some of its values cannot be:" in printed.err
        assert "I(X;T) <= H(X): 320 of 320 broken, worst by 0.5 bits" in printed.err
        assert np.array_equal(ibjax.load(path).extras["i_xt_renyi"], run.extras["i_xt_renyi"])
        exact = {"renyi": {"i_xt": "exact", "i_ty": "exact"}}
        replace(run, config={**run.config, "estimators": exact}).save(path)
        assert main(["info", str(path)]) == 1
        assert "ERROR: information values of renyi break their bounds" in capsys.readouterr().err
        measured = {"measured": {"estimator": "renyi", "i_xt": "estimate", "i_ty": "estimate"}}
        replace(run, i_xt=run.extras["i_xt_renyi"], extras={}, config={**run.config, **measured}).save(path)
        assert main(["info", str(path)]) == 0
        assert "renyi is an estimate" in capsys.readouterr().err

    def test_what_follows_from_both(self) -> None:
        """I(X;T|Y) and shares, of the patterns measured on; nothing clipped, no number where there is no whole."""
        run = self.run()
        np.testing.assert_array_equal(run.i_xt_given_y, run.i_xt - run.i_ty)
        np.testing.assert_allclose(run.i_xt_share * run.h_x, run.i_xt, rtol=1e-6)
        np.testing.assert_allclose(run.i_ty_share * run.i_xy, run.i_ty, rtol=1e-6)
        assert run.i_xt_share.dtype == run.i_xt.dtype
        above = replace(run, i_xt=run.extras["i_xt_renyi"])
        assert (above.i_xt_share > 1).all()
        part = replace(run, extras={"h_x_measured": np.array([2.0, 4.0]), "i_xy_measured": np.array([0.0, 0.5])})
        np.testing.assert_allclose(part.i_xt_share, run.i_xt / np.array([2, 4])[:, None, None], rtol=1e-6)
        assert np.isnan(part.i_ty_share[0]).all()
        np.testing.assert_allclose(part.i_ty_share[1], 2 * run.i_ty[1], rtol=1e-6)
