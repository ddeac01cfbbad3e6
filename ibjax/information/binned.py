"""Histograms whose cells follow the activations, all exact for the T of their cells.

Equal intervals over the range of a layer or of each unit, cells of equal population, or activations of few bits. The
cells change from network to network and from epoch to epoch, so that growing activations alone no longer change the
information; nor does a layer that saturates necessarily lose any.

Shapes: M batch elements, N patterns, U units (width of the layer), W words of 32 bits.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array, lax

from ibjax import _checks
from ibjax.information.estimator import EXACT, Estimator, Information, LayerBatch
from ibjax.information.histogram import Binned, range_codes
from ibjax.information.partition import codes_information, rows_information

MOST_BITS = 11  # 2 (2^11 - 1) half steps are the most that `bin_codes` places exactly
ALL_BITS = 32


@dataclasses.dataclass(frozen=True)
class AdaptiveLayer(Binned):
    """`bins` equal intervals between the least and the greatest activation of the layer, one grid for all its units.

    What a run does for activations without a bound, here for any. Source: "layer" bounds of Lorenzen, Igel & Nielsen
    2022 (arXiv 2106.12912). Exact for its T; cost as the histogram's.

    Attributes:
      bins: cells of each unit, 2 to 4096.
    """

    bins: int = 30
    name: ClassVar[str] = "adaptive_layer"
    axis: ClassVar[int | tuple[int, ...]] = (1, 2)

    def codes(self, activations: Array) -> Array:
        return range_codes(activations, self.bins, self.axis)


@dataclasses.dataclass(frozen=True)
class AdaptiveUnit(AdaptiveLayer):
    """`bins` equal intervals between the least and the greatest activation of each unit, otherwise `AdaptiveLayer`.

    A unit that varies by 1e-3 counts as much as one that varies by 1: the information depends on no scale of any unit.
    Source: the "neuron" bounds of the same paper.
    """

    name: ClassVar[str] = "adaptive_unit"
    axis: ClassVar[int | tuple[int, ...]] = 1


@dataclasses.dataclass(frozen=True)
class Quantile(Binned):
    """`bins` cells of equal population, one grid for all the units of the layer.

    Activation a goes to cell floor(bins r / R), with R the number of the layer's activations (N U) and r the number of
    those less than a; with `distinct` both count different values only, so that a saturated unit's many equal values
    take the room of one. Equal activations always share a cell; without ties every cell holds R / bins, but for one
    more or less. The grid depends on the order of the activations alone: any increasing function of them gives the same
    information. A pattern counts once in the grid, whatever its p(x).

    Source: Chelombiev, Houghton & O'Donnell 2019 (arXiv 1902.09037), whose entropy-based cells hold equally many
    distinct values (`distinct=True`), where the released code adds a separate cell for values at the lower bound;
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


@dataclasses.dataclass(frozen=True)
class Quantized(Estimator):
    """I(X;T) = H(T) and I(T;Y) where T is the layer's activations rounded to `bits` bits, by exact counts.

    The 2^bits levels stand at equal steps from the layer's least to its greatest activation, both among them; an
    activation takes the nearest level, half-way the upper one. With bits=32 nothing is rounded: two patterns
    share a cell where all their activations are equal (of 64 bits in float64; 0 and -0 are equal).

    Lorenzen, Igel & Nielsen 2022 (arXiv 2106.12912) train the network with its activations so rounded; then this is
    the information of the network itself, without any choice of an estimator. Applied to a network that computes in
    float32 it is that of its rounded copy, layer by layer. No bias, cost as the histogram's.

    Attributes:
      bits: 1 to 11, or 32 for every float as it is.
    """

    bits: int = 8
    name: ClassVar[str] = "quantized"
    i_xt_is: ClassVar[str] = EXACT
    i_ty_is: ClassVar[str] = EXACT

    def __post_init__(self) -> None:
        _checks.integer("bits", self.bits, 1, MOST_BITS, besides={ALL_BITS: "every float as it is"})

    def __call__(self, batch: LayerBatch) -> Information:
        if self.bits == ALL_BITS:
            return Information(*rows_information(batch.activations, _float_words, 2**64, batch.channels))
        return Information(*codes_information(batch.activations, self.codes, 2**self.bits, batch.channels))

    def codes(self, activations: Array) -> Array:
        """The nearest level of (M, N, U) activations; floor(s + 1/2) = floor((floor(2 s) + 1) / 2), see `bin_codes`."""
        half_steps = 2 * (2**self.bits - 1)
        return (range_codes(activations, half_steps, (1, 2)) + 1) // 2


def _float_words(activations: Array) -> list[Array]:
    """The bits of each activation, (M, N, U) to (W, M, N) with one word or two a unit."""
    # 0 for -0; a compiler would drop the addition of 0.
    bits = lax.bitcast_convert_type(jnp.where(activations == 0, 0, activations), jnp.uint32)
    return [jnp.moveaxis(bits.reshape(*activations.shape[:2], -1), -1, 0)]
