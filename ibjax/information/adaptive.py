"""Histograms whose cells follow the activations: the range of a layer, of each unit, or cells of equal population.

The cells change from network to network and from epoch to epoch, so that growing activations alone no longer change
the information; nor does a layer that saturates necessarily lose any. All are exact for the T of their cells.

Shapes: ... batch axes, M batch elements, N patterns, U units (width of the layer), C classes.
"""

from __future__ import annotations

import abc
import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from ibjax import _checks
from ibjax._checks import unknown
from ibjax.information import partition
from ibjax.information.apply import apply
from ibjax.information.estimator import EXACT, Estimator, Information
from ibjax.information.histogram import bin_codes, check_bins, own_range, pack_rows, rows_information

RANGES = ("layer", "unit")


class _Cells(Estimator):
    """What the classes below share; `codes` is the rule."""

    bins: int
    i_xt_is: ClassVar[str] = EXACT
    i_ty_is: ClassVar[str] = EXACT

    def __post_init__(self) -> None:
        check_bins(self.bins)

    def __call__(self, activations: Array, y: partition.Labels, keys: Array) -> Information:
        words_of = lambda a: pack_rows(self.codes(a), self.bins)  # noqa: E731
        return Information(*rows_information(activations, words_of, self.bins ** activations.shape[-1], y))

    @abc.abstractmethod
    def codes(self, activations: Array) -> Array:
        """(M, N, U) activations to codes in [0, bins)."""


@dataclasses.dataclass(frozen=True)
class AdaptiveLayer(_Cells):
    """`bins` equal intervals between the least and the greatest activation of the layer, one grid for all its units.

    What a run does for activations without a bound, here for any. Source: "layer" bounds of Lorenzen, Igel & Nielsen
    2022 (arXiv 2106.12912). Exact for its T; cost as the histogram's.

    Attributes:
      bins: cells of each unit, 2 to 4096.
    """

    bins: int = 30
    name: ClassVar[str] = "adaptive_layer"

    def codes(self, activations: Array) -> Array:
        return bin_codes(activations, self.bins, *own_range(activations, (1, 2)), None)


@dataclasses.dataclass(frozen=True)
class AdaptiveUnit(_Cells):
    """`bins` equal intervals between the least and the greatest activation of each unit.

    A unit that varies by 1e-3 counts as much as one that varies by 1: the information depends on no scale of any unit.
    Source: "neuron" bounds of Lorenzen, Igel & Nielsen 2022 (arXiv 2106.12912). Exact for its T; cost as the
    histogram's.

    Attributes:
      bins: cells of each unit, 2 to 4096.
    """

    bins: int = 30
    name: ClassVar[str] = "adaptive_unit"

    def codes(self, activations: Array) -> Array:
        return bin_codes(activations, self.bins, *own_range(activations, 1), None)


@dataclasses.dataclass(frozen=True)
class Quantile(_Cells):
    """`bins` cells of equal population, one grid for all the units of the layer.

    Activation a goes to cell floor(bins r / R), with R the number of the layer's activations (N U) and r the number of
    those less than a; with `distinct` both count different values only, so that a saturated unit's many equal values
    take the room of one. Equal activations always share a cell; without ties every cell holds R / bins, but for one
    more or less. The grid depends on the order of the activations alone: any increasing function of them gives the same
    information. A pattern counts once in the grid, whatever its p(x).

    Source: Chelombiev, Houghton & O'Donnell 2019 (arXiv 1902.09037), whose entropy-based cells hold equally many
    distinct values (`distinct=True`), where the released code adds a cell of its own for values at the lower bound;
    equal numbers of activations as in Lorenzen, Igel & Nielsen 2022. Exact for its T; costs a sort of the layer,
    about 28 ns an activation on a CPU.

    Attributes:
      bins: cells of each unit, 2 to 4096.
      distinct: whether equal activations count once.
    """

    bins: int = 30
    distinct: bool = False
    name: ClassVar[str] = "quantile"

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.boolean("distinct", self.distinct)

    def codes(self, activations: Array) -> Array:
        return jax.vmap(self._codes)(activations)

    def _codes(self, activations: Array) -> Array:
        """One layer (N, U). Cell k starts above the value before which c = ceil(k R / bins) values lie, itself among
        them: r >= c is r bins >= k R. Integers only."""
        values = jnp.sort(activations.reshape(-1))
        fresh = jnp.concatenate([jnp.ones(1, bool), values[1:] > values[:-1]])
        rank = jnp.cumsum(fresh if self.distinct else jnp.ones_like(fresh), dtype=jnp.int32)
        count = rank[-1]
        k = jnp.arange(1, self.bins, dtype=jnp.int32)
        # k R / bins would not fit 32 bits; its two parts do.
        before = k * (count // self.bins) - -(k * (count % self.bins)) // self.bins
        edges = values[jnp.searchsorted(rank, before)]
        return jnp.searchsorted(edges, activations, side="left").astype(jnp.int32)


def adaptive_information(
    activations: ArrayLike,
    p_y_given_x: ArrayLike,
    *,
    p_x: ArrayLike | None = None,
    bins: int = 30,
    range_of: str = "layer",
) -> tuple[Array, Array]:
    """I(X;T) and I(T;Y) of a layer binned over its own range, see `AdaptiveLayer` and `AdaptiveUnit`.

    Args:
      activations: (..., N, U) float32 or float64; leading axes are batch axes.
      p_y_given_x: (N,) = p(y=1|x), or (N, C).
      p_x: (N,), or None for uniform.
      bins: cells of each unit, 2 to 4096.
      range_of: "layer" or "unit".

    Returns:
      i_xt, i_ty: (...) bits; NaN where a batch element holds a non-finite activation.

    Raises:
      ValueError, TypeError: an argument that is not allowed.
    """
    if range_of not in RANGES:
        raise ValueError(unknown("range_of", range_of, RANGES))
    estimator = AdaptiveLayer(bins) if range_of == "layer" else AdaptiveUnit(bins)
    return apply(estimator, activations, p_y_given_x, p_x)[:2]


def quantile_information(
    activations: ArrayLike,
    p_y_given_x: ArrayLike,
    *,
    p_x: ArrayLike | None = None,
    bins: int = 30,
    distinct: bool = False,
) -> tuple[Array, Array]:
    """I(X;T) and I(T;Y) of a layer in cells of equal population, see `Quantile`; arguments as `adaptive_information`.

    Args:
      distinct: whether equal activations count once.
    """
    return apply(Quantile(bins, distinct), activations, p_y_given_x, p_x)[:2]
