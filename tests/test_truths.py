"""Estimators against the closed forms of the benchmark of mutual information of Czyz et al. 2023 (NeurIPS, arXiv
2306.11078).

Each case is a layer T of one unit and a label Y. Its patterns lie at the quantiles of T with p(y|t), and so are the
population, but for the width of a quantile.

Shapes: N patterns, C classes.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import numpy.typing as npt
import pytest
from scipy.integrate import quad
from scipy.stats import norm, poisson

import ibjax
from ibjax.information.apply import information

Floats = npt.NDArray[np.floating[Any]]
Case = tuple[Floats, Floats, float]

N = 1024
MIDDLES = (np.arange(N) + 0.5) / N
COUNTS = np.arange(40)


def gaussian() -> Case:
    """Y a normal number in cells of 0.1, T = Y + Z of 1 bit: log2(1 + v) / 2 of the variance v of Y in that of Z."""
    v = 3.0
    t = norm.ppf(MIDDLES, scale=math.sqrt(1 + v))
    edges = np.append(np.arange(-4, 4, 0.1), np.inf) * math.sqrt(v)
    below = norm.cdf(edges, loc=t[:, None] * v / (1 + v), scale=math.sqrt(v / (1 + v)))
    return t, np.diff(below, prepend=0), 0.5 * math.log2(1 + v)


def mixture(m: int = 4) -> Case:
    """Y even in 0 ... m - 1, T even in [Y, Y + 2]: ln m - (m - 1)/m ln 2 nats (Gao et al. 2017)."""
    t = np.interp(MIDDLES, [0, *(np.arange(m) + 0.5) / m, 1], np.arange(m + 2))
    inside = (t[:, None] >= np.arange(m)) & (t[:, None] < np.arange(m) + 2)
    return t, inside / inside.sum(axis=1, keepdims=True), math.log2(m) - (m - 1) / m


def poissonised(zeros: float = 0.0) -> Case:
    """T ~ Exp(1), Y ~ Poisson(T), but 0 with the probability `zeros`; the truth is that without such zeros,
    2 ln 2 - gamma - sum_k ln k 2^-k nats (Gao et al. 2017), times 1 - `zeros`."""
    t, k = -np.log1p(-MIDDLES), np.arange(1, 100)
    p = zeros * (COUNTS == 0) + (1 - zeros) * poisson.pmf(COUNTS, t[:, None])
    truth = (1 - zeros) * (2 * math.log(2) - np.euler_gamma - (np.log(k) * 2.0**-k).sum()) / math.log(2)
    return t, p / p.sum(axis=1, keepdims=True), truth


CASES: dict[str, Callable[[], Case]] = {"gaussian": gaussian, "mixture": mixture, "poissonised": poissonised}
NARROW, CELLS = 0.005, 512
ESTIMATES: dict[str, tuple[dict[str, Any], float, float]] = {  # with how far below the truth they may be, and above
    "histogram": ({"bins": CELLS}, 0.004, 1e-4),
    "adaptive_layer": ({"bins": CELLS}, 0.004, 1e-4),
    "adaptive_unit": ({"bins": CELLS}, 0.004, 1e-4),
    "quantile": ({"bins": CELLS}, 0.004, 1e-4),
    "quantized": ({"bits": 32}, 0.004, 1e-4),
    "kde": ({"noise_variance": NARROW**2}, 0.03, 1e-3),
    "kde_lower": ({"noise_variance": NARROW**2}, 0.03, 1e-3),
    "noisy": ({"noise_std": NARROW}, 0.03, 2e-3),
    "knn": ({"noise_std": NARROW}, 0.06, 0.06),
    "corrected": ({"bins": 20}, 0.08, 0.08),
    "edge": ({"width": 0.1}, 0.02, 1e-3),
    "infonce": ({"noise_std": NARROW}, 0.15, 0.04),
    "mine": ({"noise_std": NARROW}, 0.15, 0.04),
    "sliced": ({"noise_std": NARROW}, 0.03, 2e-3),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", ESTIMATES)
def test_information_of_the_label(name: str, case: str) -> None:
    """Of all but `renyi` and `soft`, which measure no information of T itself, and `compressed`, which is `knn` here.
    Bits are lost to the width of cells and noise; `corrected` and `knn` draw the labels."""
    t, p_y_given_t, truth = CASES[case]()
    layer = np.interp(t, [t.min(), t.max()], [-1, 1])[:, None].astype(np.float32)
    options, below, above = ESTIMATES[name]
    bits = information(name, layer, p_y_given_t, key=jax.random.key(0), inputs=layer, **options)
    assert -below < float(bits.i_ty) - truth < above


def test_zeros_that_cannot_be_told_apart() -> None:
    """A zero may be the Poisson distribution's or another, so that information is lost beyond the share of those: 0.332
    bits by quadrature where the benchmark's formula says 0.369."""
    zeros = 0.15
    p_y = zeros * (COUNTS == 0) + (1 - zeros) * 2.0 ** -(COUNTS + 1)

    def term(t: float) -> float:
        p = zeros * (COUNTS == 0) + (1 - zeros) * poisson.pmf(COUNTS, t)
        return math.exp(-t) * float((p[p > 0] * np.log2(p[p > 0] / p_y[p > 0])).sum())

    t, p_y_given_t, formula = poissonised(zeros)
    got = float(ibjax.quantized_information(t[:, None].astype(np.float32), p_y_given_t, bits=32)[1])
    assert got == pytest.approx(quad(term, 0, 40, limit=200)[0], abs=1e-3)
    assert got < formula - 0.03
