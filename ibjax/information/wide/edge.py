"""EDGE: inputs and layer put into hash buckets of several widths, and the information of the buckets.

A hash puts a vector z of D numbers into the bucket, with shifts b drawn evenly from [0, e)::

    H(z) = ( floor( (z_k + b_k) / e ) )_k

A hash of the inputs and one of the layer make a graph of their buckets i and j: N_i, N_j and N_ij patterns are in i, in
j and in both, and the edge between them has the weight w_ij = N_ij N / (N_i N_j), how often they meet against how often
they would by chance. The base estimate, and the ensemble of L of them, each with shifts and a width of its own, are::

    I_e(X;T) = sum_ij N_ij / N  log2 w_ij,        I(X;T) = 1/L sum_l I_e(l)(X;T)
    e(l) = s t_l N^(-1/2d),   t_l from `width` to 2 `width` at equal steps,   d = D_X + D_T

with s^2 the mean variance of the D numbers. For I(T;Y) the labels are their own buckets, and p(y|x) is counted in place
of draws from it. With p(x) given, probabilities take the place of N_i / N. Vectors of more than m = floor(log2 N/10)
numbers are hashed as m random projections of them, z G / sqrt(D) with a normal G, drawn anew for each l: else hardly
two patterns would meet.

Unlike the histogram it puts the inputs into buckets too: inputs that are alike count as one value of X, so I(X;T) is
not H(T), and a layer that tells all patterns apart need not be at H(X). X and T are what the hashes make of them.

Source: Noshad, Zeng & Hero 2019 (ICASSP, arXiv 1801.09125). N^(-1/2d) is the scale of their ensemble theorem; the
projections, their number, and buckets that never collide are those of the released code (github.com/mrtnoshad/EDGE),
whose bandwidths from nearest neighbours, second pass and cut at U bits are left out. The mean is that code's "average".
The weights of the theorem cancel the powers e, ... e^d of a smooth density's bias by large differences, which magnify
that of counting: of N = 4096 pairs of independent normal numbers they make 0.3 bits where the mean makes 0.06, and 5 of
pairs of vectors of two, where it makes 0.2. And a layer that is a function of X has no joint density.

Kind: estimates. As means of the information of buckets they keep within 0 <= I(X;T) <= H(X) and 0 <= I(T;Y) <= I(X;Y);
but I(T;Y) may pass I(X;T), whose X is hashed.

Bias: of counting, upwards, about (K_X - 1)(K_T - 1) / 2N nats where K buckets are full; of the widths, downwards, since
buckets tell less than what is in them; wider ones have less of the first. Of N = 4096 draws of a Gaussian channel of
one number: 0.06 bits for none, 0.52 for 0.5, 0.98 for 1, 1.79 for 2. Of a deterministic network and a continuous X the
truth is infinite, and the widths decide.

Standard errors: those of a sample, to first order: the spread of the mean over l of log2 w, over patterns, times
sqrt(sum p(x)^2). They know neither the bias nor the choice of the hashes, of which other seeds tell.

Cost: L times two or three hash tables of N patterns, at any width: 2 to 4 ms a layer of 4,096 patterns on a CPU core.

Shapes: K networks, N patterns, U units, D numbers of a vector, m those hashed, L hashes, C classes.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from ibjax import _checks
from ibjax.information import partition
from ibjax.information.apply import information
from ibjax.information.cells.table import representatives
from ibjax.information.estimator import Estimator, Information, LayerBatch, check_inputs
from ibjax.information.pairs import map_networks, safe_log
from ibjax.information.partition import tree_sum
from ibjax.probability import LN2

_MOST = 2.0**30  # a bucket's number


@dataclasses.dataclass(frozen=True)
class Edge(Estimator):
    """Information of hash buckets of the inputs and the layer, see the module. It needs the inputs.

    Attributes:
      width: the least t, of buckets in units of s N^(-1/2d), 1e-6 to 1e6; the greatest is twice that.
      hashes: L, 1 to 4096.
      seed: of their shifts and projections, the same for all networks and epochs, 0 to 2^31 - 1.
    """

    width: float = 2.0
    hashes: int = 8
    seed: int = 0

    name: ClassVar[str] = "edge"
    needs_inputs: ClassVar[bool] = True
    rows: ClassVar[tuple[str, ...]] = Information._fields

    def __post_init__(self) -> None:
        object.__setattr__(self, "width", _checks.number("width", self.width, 1e-6, 1e6))
        object.__setattr__(self, "hashes", _checks.integer("hashes", self.hashes, 1, 4096))
        object.__setattr__(self, "seed", _checks.integer("seed", self.seed, 0, 2**31 - 1))

    def __call__(self, batch: LayerBatch) -> Information:
        check_inputs(self, batch.inputs)
        assert batch.inputs is not None
        n, units = batch.activations.shape[1:]
        dtype, x = batch.activations.dtype, batch.inputs.reshape(n, -1)
        p_x = partition.joint(batch.channels).sum(axis=0)
        scale = n ** (-0.5 / (_hashed(n, x.shape[1]) + _hashed(n, units)))
        widths = jnp.asarray(np.linspace(self.width, 2 * self.width, self.hashes) * scale, dtype)
        for_x, for_t = jax.random.split(jax.random.key(self.seed), (2, self.hashes))
        of_x = lax.map(lambda one: buckets(x, p_x, *one), (widths, for_x))  # (L, N), for all networks

        def network(activations: Array, _: Array, joint: Array) -> Information:
            def add(number: Array, told: tuple[Array, Array]) -> tuple[Array, Array]:
                of_t = buckets(activations, p_x, widths[number], for_t[number])
                return told[0] + _of_inputs(of_x[number], of_t, p_x), told[1] + _of_labels(of_t, joint)

            nothing = jnp.zeros(n, dtype), jnp.zeros_like(joint)
            of_inputs, of_labels = lax.fori_loop(0, self.hashes, add, nothing)
            nats = *_mean(of_inputs, p_x, p_x), *_mean(of_labels.reshape(-1), joint.reshape(-1), p_x)
            i_xt, i_xt_error, i_ty, i_ty_error = (value / self.hashes / LN2 for value in nats)
            return Information(i_xt, i_ty, i_xt_error, i_ty_error)

        return map_networks(network, batch)


def _hashed(n: int, numbers: int) -> int:
    """m for N patterns of so many numbers."""
    return min(numbers, max(1, (n // 10).bit_length() - 1))


def buckets(values: Array, p_x: Array, width: Array, key: Array) -> Array:
    """The first pattern of each pattern's bucket, (N,) int32, of values (N, D) by one hash, e in units of s."""
    n, numbers = values.shape
    of_projection, of_shift = jax.random.split(key)
    largest = jnp.abs(values).max()
    z = values / jnp.where(largest > 0, largest, 1)  # whose squares neither overflow nor vanish
    if (m := _hashed(n, numbers)) < numbers:
        # Drawn in float32, that both precisions have the same hashes.
        drawn = jax.random.normal(of_projection, (numbers, m), jnp.float32).astype(z.dtype)
        z = jnp.dot(z, drawn / math.sqrt(numbers), precision=lax.Precision.HIGHEST)
    z -= jnp.dot(p_x, z, precision=lax.Precision.HIGHEST)
    spread = jnp.sqrt(jnp.dot(p_x, z**2, precision=lax.Precision.HIGHEST).mean())
    shift = jax.random.uniform(of_shift, (z.shape[1],), jnp.float32).astype(z.dtype)
    number = jnp.floor(z / (jnp.where(spread > 0, spread, 1) * width) + shift)
    words = lax.bitcast_convert_type(jnp.clip(number, -_MOST, _MOST).astype(jnp.int32), jnp.uint32)
    return representatives([words.T[:, None]], 2**64)[0]


def _mass(bucket: Array, p: Array) -> Array:
    """For each pattern the probability of its bucket, (..., N), where those of the patterns are p, (..., N)."""
    return jnp.zeros_like(p).at[..., bucket].add(p)[..., bucket]


def _of_inputs(of_x: Array, of_t: Array, p_x: Array) -> Array:
    """ln w of each pattern's edge, (N,)."""
    both = representatives([jnp.stack([of_x, of_t]).astype(jnp.uint32)[:, None]], 2**64)[0]
    return safe_log(_mass(both, p_x)) - safe_log(_mass(of_x, p_x)) - safe_log(_mass(of_t, p_x))


def _of_labels(of_t: Array, joint: Array) -> Array:
    """ln w of the edges between each pattern's bucket and the labels, (C, N)."""
    mass = _mass(of_t, joint)
    return safe_log(mass) - safe_log(mass.sum(axis=0)) - safe_log(tree_sum(joint))[:, None]


def _mean(values: Array, p: Array, p_x: Array) -> tuple[Array, Array]:
    """The mean of values (M,) that have the probabilities p, (M,), and its standard error, nats."""
    mean = tree_sum(p * values)
    return mean, jnp.sqrt(tree_sum(p * (values - mean) ** 2) * tree_sum(p_x**2))


def edge_information(
    activations: ArrayLike,
    p_y_given_x: ArrayLike,
    *,
    inputs: ArrayLike,
    p_x: ArrayLike | None = None,
    width: float = 2.0,
    hashes: int = 8,
    seed: int = 0,
) -> Information:
    """I(X;T) and I(T;Y), bits, with standard errors, of hash buckets of the inputs and the layer.

    See `Edge` and its module; other arguments as `ibjax.information.apply.information`.

    Args:
      inputs: (N, ...) the patterns themselves.
    """
    options: dict[str, Any] = {"width": width, "hashes": hashes, "seed": seed}
    return information("edge", activations, p_y_given_x, p_x=p_x, inputs=inputs, **options)
