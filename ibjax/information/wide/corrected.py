"""The plug-in estimate with its bias on samples corrected.

The N patterns are taken as a sample of independent draws (x, y) from a larger population, and T as the histogram's
cells. Counting gives the entropies of the sample, on average too small, since cells that were missed count as
impossible (Paninski 2003, Neural Computation 15, 1191). Where n_c patterns share cell c, K cells are occupied, and f of
them hold one pattern, the entropy of the population is estimated by (nats)::

    miller_madow   -sum_c n_c/N ln n_c/N + (K - 1) / 2N          Miller 1955, in Quastler (ed.)
    grassberger    ln N - 1/N sum_c n_c G(n_c)                   Grassberger 2003, arXiv physics/0307138
                   G(n) = psi(n) + (-1)^n/2 [psi((n+1)/2) - psi(n/2)], psi the digamma function
    chao_shen      -sum_c q_c ln q_c / (1 - (1 - q_c)^N)         Chao & Shen 2003, Environ. Ecol. Stat. 10, 429
                   q_c = (1 - f/N) n_c/N; where all are single, f = N - 1

and I(X;T) = H(T), I(T;Y) = H(T) + H(Y) - H(T,Y), with one label y ~ p(y|x) drawn for each pattern, so that (t, y) are
counts too: hard labels are themselves.

Bias: that of the plug-in entropy is -(K-1)/2N to first order, which `miller_madow` and `grassberger` remove where all
cells are occupied. `chao_shen` counts what was never seen, and is the one for few patterns a cell; with many it keeps
most of the plug-in's bias. None helps where nearly every cell holds one pattern: then the sample says little of the
population. A difference of corrected entropies may be negative, and H(T) may pass log2 N (the bound of the sample, not
of the population): neither is clipped.

Standard errors: those of the plug-in to first order, the spread of -ln p(t) (Basharin 1959) and of ln p(t,y)/p(t)p(y)
over patterns, over sqrt(N). They know nothing of the bias, and are too small where most cells hold one pattern.

Where the patterns are the whole population, as in the paper's task, no correction is due: take `histogram`.

Cost: twice the histogram's.

Shapes: M batch elements, N patterns, U units, C classes, W words of 32 bits.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.special import digamma
from jax.typing import ArrayLike

from ibjax import _checks
from ibjax.information import partition
from ibjax.information.apply import information
from ibjax.information.cells.table import representatives
from ibjax.information.cells.words import pack_rows
from ibjax.information.estimator import Estimator, Information, LayerBatch
from ibjax.information.histogram import Histogram, check_bins, check_range
from ibjax.information.pairs import safe_log, xlogx
from ibjax.information.partition import tree_sum
from ibjax.probability import LN2

CORRECTIONS = ("miller_madow", "grassberger", "chao_shen")


@dataclasses.dataclass(frozen=True)
class Corrected(Estimator):
    """Entropies of the population of which the patterns are a sample, see the module. For uniform p(x) only.

    Attributes:
      correction: "miller_madow", "grassberger" or "chao_shen".
      bins, low, high: the cells, as in `ibjax.information.histogram.Histogram`.
    """

    correction: str = dataclasses.field(default="grassberger", metadata={"choices": CORRECTIONS})
    bins: int = 30
    low: float | None = None
    high: float | None = None

    name: ClassVar[str] = "corrected"
    random: ClassVar[bool] = True
    uniform: ClassVar[bool] = True
    rows: ClassVar[tuple[str, ...]] = Information._fields

    def __post_init__(self) -> None:
        _checks.choice("correction", self.correction, CORRECTIONS)
        check_bins(self.bins)
        check_range(self.low, self.high, jnp.dtype("float32"))

    def for_layer(self, width: int, n_patterns: int, bounded: bool) -> Self:
        return dataclasses.replace(self, low=-1.0, high=1.0) if bounded and self.low is None else self

    def __call__(self, batch: LayerBatch) -> Information:
        if batch.channels.whole == 0:
            raise ValueError(
                "corrected with p_x given; allowed: p_x = None, patterns that are a sample; for a population of known "
                "p(x) take estimator 'histogram'"
            )
        joint, cells = partition.joint(batch.channels), Histogram(self.bins, self.low, self.high)

        def network(layer: tuple[Array, Array]) -> Information:
            a, key = layer
            words = pack_rows(cells.codes(a[None]), self.bins)
            cell = representatives(words, self.bins ** a.shape[-1])[0]
            bits = self._of_cells(cell, draw_labels(key, joint), len(joint), a.dtype)
            return jax.tree.map(lambda value: jnp.where(jnp.isfinite(a).all(), value, jnp.nan), bits)

        return lax.map(network, (batch.activations, batch.keys))

    def _of_cells(self, cell: Array, label: Array, classes: int, dtype: jnp.dtype) -> Information:
        """From the cells and labels of the patterns, (N,) integers below N and C."""
        n = len(cell)
        both = representatives([jnp.stack([cell, label]).astype(jnp.uint32)[:, None]], 2**64)[0]
        # How many patterns have each value: whole numbers, exact up to 2^24 of them.
        t, y, ty = (jnp.zeros(size, dtype).at[which].add(1) for which, size in ((cell, n), (label, classes), (both, n)))
        entropy = _ENTROPIES[self.correction]
        h_t, h_y, h_ty = (entropy(counts, n) for counts in (t, y, ty))
        surprise = -jnp.log(t[cell])  # up to ln N
        pointwise = jnp.log(ty[both] / y[label]) + surprise  # ln p(t,y) / p(t) p(y), up to ln N
        nats = Information(h_t, h_t + h_y - h_ty, _standard_error(surprise), _standard_error(pointwise))
        return jax.tree.map(lambda value: value / LN2, nats)


def draw_labels(key: Array, joint: Array) -> Array:
    """One y ~ p(y|x) for each pattern, (N,) int32, from p(x, y) (C, N)."""
    below = jnp.cumsum(joint, axis=0)[:-1] / joint.sum(axis=0)
    level = jax.random.uniform(key, joint.shape[1:], joint.dtype)
    return (level >= below).sum(axis=0, dtype=jnp.int32)


def _standard_error(values: Array) -> Array:
    """Of the mean of (N,)."""
    n = len(values)
    center = tree_sum(values) / n
    return jnp.sqrt(tree_sum((values - center) ** 2)) / n


def _plug_in(counts: Array, n: int) -> Array:
    return math.log(n) - tree_sum(xlogx(counts)) / n


def _miller_madow(counts: Array, n: int) -> Array:
    return _plug_in(counts, n) + ((counts > 0).sum() - 1) / (2 * n)


def _grassberger(counts: Array, n: int) -> Array:
    some = jnp.maximum(counts, 1)
    sign = 1 - 2 * (some % 2)
    g = digamma(some) + sign / 2 * (digamma((some + 1) / 2) - digamma(some / 2))
    return math.log(n) - tree_sum(counts * g) / n


def _chao_shen(counts: Array, n: int) -> Array:
    single = (counts == 1).sum()
    coverage = 1 - jnp.where(single == n, n - 1, single) / n
    q = coverage * counts / n
    seen = -jnp.expm1(n * jnp.log1p(-jnp.minimum(q, 1)))  # 1 - (1 - q)^N; 1 where q = 1
    return -tree_sum(q * safe_log(q) / jnp.where(counts > 0, seen, 1))


_ENTROPIES: dict[str, Callable[[Array, int], Array]] = {
    "miller_madow": _miller_madow,
    "grassberger": _grassberger,
    "chao_shen": _chao_shen,
}
"""From the counts of cells, zeros among them, and N, to nats."""


def corrected_information(
    activations: ArrayLike,
    p_y_given_x: ArrayLike,
    *,
    key: Array | None = None,
    correction: str = "grassberger",
    bins: int = 30,
    low: float | None = None,
    high: float | None = None,
) -> Information:
    """I(X;T) and I(T;Y), bits, with standard errors, of the population of which the patterns are a sample.

    See `Corrected` and its module; other arguments as `ibjax.information.apply.information`.

    Args:
      key: for the labels that are drawn from a soft p(y|x); hard labels need none.
      bins, low, high: the cells; low and high of None are -1 and 1.
    """
    key = jax.random.key(0) if key is None else key
    options: dict[str, Any] = {"correction": correction, "bins": bins, "low": low, "high": high}
    return information("corrected", activations, p_y_given_x, key=key, **options)
