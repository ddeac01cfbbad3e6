"""Soft entropy: the information that a layer's direction holds, by a soft choice among random anchors.

An activation vector a(x) is put on the unit sphere, `z = a / |a|`, and compared with n anchors w_1 ... w_n, drawn once,
evenly over the sphere. T is the number of one anchor, drawn with the probabilities::

    p(t|x) = softmax_t( z(x) . w_t / e ),   e = 1 / sqrt(2 U ln n)
    I(X;T) = H(T) - sum_x p(x) H(T|X=x),    I(T;Y) = H(T) - sum_y p(y) H(T|Y=y)

Source: the soft entropy of Conklin 2025 (arXiv 2505.23960), as Conklin et al. 2026 (ICLR 2026, arXiv 2604.07569) take
it for language models; e is the temperature of the authors' released package soft-entropy 0.1, where the logits have
the variance 2 ln n. Here in bits, not divided by log2 n, and with X the single pattern.

Kind: exact for this T, up to rounding: p(t|x) is computed for every pattern, so that 0 <= I(X;T) <= min(H(X), log2 n)
and I(T;Y) <= I(X;Y) hold, as for any noisy channel. As an account of the layer it is a choice of scale, as bins are:
anchors that are few, or warm, tell little. Lengths do not count: a layer that only grows keeps its information. A
vector of zeros (dead units) has no direction and chooses all anchors alike. The anchors depend on `seed`, n and the
width alone, so networks and epochs are compared by the same ones; other seeds tell how much their choice matters.

Cost: N n U operations a layer and network, in memory n (C + block of patterns): no embedding is kept.
`soft_information_of_batches` takes the layer batch by batch.

Shapes: K networks, N patterns, B patterns of a batch, U units, C classes, n anchors.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from ibjax import _checks
from ibjax.information import partition
from ibjax.information.apply import apply, information
from ibjax.information.estimator import EXACT, Estimator, Information, LayerBatch
from ibjax.information.pairs import label_entropy, map_networks, xlogx
from ibjax.information.partition import tree_sum
from ibjax.probability import LN2, within_unit

MOST_ANCHORS = 65_536
_AT_A_TIME = 2**20  # choices p(t|x)


class Sums(NamedTuple):
    """What is kept of the patterns seen, any of whose weights may be left out of the sum to 1.

    Attributes:
      joint: (C, n) p(y, t).
      negative_entropy: () sum_x p(x) sum_t p(t|x) ln p(t|x).
    """

    joint: Array
    negative_entropy: Array


@dataclasses.dataclass(frozen=True)
class Soft(Estimator):
    """Information of a soft choice among anchors, see the module.

    Attributes:
      anchors: n, 2 to 65536.
      temperature: e, or None for the calibrated one.
      seed: of the anchors, 0 to 2^31 - 1.
    """

    anchors: int = 100
    temperature: float | None = None
    seed: int = 0

    name: ClassVar[str] = "soft"
    i_xt_is: ClassVar[str] = EXACT
    i_ty_is: ClassVar[str] = EXACT

    def __post_init__(self) -> None:
        object.__setattr__(self, "anchors", _checks.integer("anchors", self.anchors, 2, MOST_ANCHORS))
        object.__setattr__(self, "seed", _checks.integer("seed", self.seed, 0, 2**31 - 1))
        if self.temperature is not None:
            object.__setattr__(self, "temperature", _checks.number("temperature", self.temperature, 1e-6, 1e6))

    def __call__(self, batch: LayerBatch) -> Information:
        return map_networks(self._network, batch)

    def _network(self, activations: Array, _: Array, joint: Array) -> Information:
        """One network, (N, U) with p(x, y) (C, N), some patterns at a time."""
        n, units = activations.shape
        size = min(n, max(1, _AT_A_TIME // self.anchors))
        zeros = jnp.zeros((), activations.dtype)
        empty = Sums(jnp.zeros((len(joint), self.anchors), activations.dtype), zeros)
        anchors = self.directions(units).astype(activations.dtype)

        def add(number: Array, sums: Sums) -> Sums:
            first = jnp.minimum(number * size, n - size)  # the last part reaches back, and counts those once
            fresh = first + jnp.arange(size) >= number * size
            a = lax.dynamic_slice_in_dim(activations, first, size)
            p_xy = jnp.where(fresh, lax.dynamic_slice_in_dim(joint, first, size, axis=1), 0)
            return jax.tree.map(jnp.add, sums, self.sums(a, p_xy, anchors))

        return finish(lax.fori_loop(0, -(-n // size), add, empty))

    def directions(self, units: int) -> Array:
        """The anchors, (n, U) float32, of length 1."""
        drawn = jax.random.normal(jax.random.key(self.seed), (self.anchors, units), jnp.float32)
        return drawn / jnp.linalg.norm(drawn, axis=1, keepdims=True)

    def sums(self, activations: Array, p_xy: Array, anchors: Array) -> Sums:
        """Those of some patterns, (B, U) with p(x, y) (C, B) and the `directions` (n, U)."""
        units = activations.shape[1]
        largest = jnp.abs(activations).max(axis=1, keepdims=True)
        z = activations / jnp.where(largest > 0, largest, 1)  # whose squares neither overflow nor vanish
        length = jnp.linalg.norm(z, axis=1, keepdims=True)
        z /= jnp.where(length > 0, length, 1)
        calibrated = 1 / math.sqrt(2 * units * math.log(self.anchors))
        temperature = calibrated if self.temperature is None else self.temperature
        logits = jnp.dot(z, anchors.T, precision=lax.Precision.HIGHEST) / temperature
        log_p = jax.nn.log_softmax(logits, axis=1)
        p = jnp.exp(log_p)
        joint = jnp.dot(p_xy, p, precision=lax.Precision.HIGHEST)
        # 0 ln 0 = 0: log_p is finite, or its p is 0.
        return Sums(joint, p_xy.sum(axis=0) @ jnp.where(p > 0, p * log_p, 0).sum(axis=1))


def finish(sums: Sums) -> Information:
    """I(X;T) and I(T;Y), bits, of sums over patterns whose weights sum to 1."""
    h_t = label_entropy(sums.joint.T)
    i_ty = h_t + label_entropy(sums.joint) + tree_sum(xlogx(sums.joint.reshape(-1)))
    return Information((h_t + sums.negative_entropy) / LN2, i_ty / LN2)


def soft_information(
    activations: ArrayLike,
    p_y_given_x: ArrayLike,
    *,
    p_x: ArrayLike | None = None,
    anchors: int = 100,
    temperature: float | None = None,
    seed: int = 0,
) -> tuple[Array, Array]:
    """I(X;T) and I(T;Y), bits, of a soft choice among `anchors` directions, for layers of any width.

    See `Soft` and its module; other arguments as `ibjax.information.apply.information`.
    """
    options: dict[str, Any] = {"anchors": anchors, "temperature": temperature, "seed": seed}
    return information("soft", activations, p_y_given_x, p_x=p_x, **options)[:2]


def soft_information_of_batches(
    batches: Iterable[tuple[ArrayLike, ArrayLike]],
    *,
    anchors: int = 100,
    temperature: float | None = None,
    seed: int = 0,
) -> tuple[float, float]:
    """`soft_information` of one layer that comes batch by batch, of which none is kept.

    Args:
      batches: (activations, p_y_given_x) of some patterns each: (B, U) and (B,) or (B, C), as
        `ibjax.information.apply.information` takes them; the names of classes only as (B, C). All patterns of all
        batches are equally likely. Batches of few different sizes are compiled few times.
      anchors, temperature, seed: as for `Soft`.

    Returns:
      I(X;T) and I(T;Y), bits; NaN where an activation is not finite.

    Raises:
      ValueError: no batch; a batch of another width or number of classes than the first, or with numbers that name
        classes; or as `soft_information`.
    """
    estimator = Soft(anchors, temperature, seed)
    joint, negative_entropy, n = np.zeros((0, 0)), 0.0, 0
    shape: tuple[int, int] | None = None
    for number, (activations, p_y_given_x) in enumerate(batches):
        labels = np.asarray(p_y_given_x)
        if labels.ndim == 1 and not within_unit(labels):
            raise ValueError(
                f"batches[{number}] names classes by numbers up to {labels.max():g}, which another batch may lack; "
                "allowed: (B,) = p(y=1|x), or (B, C), one-hot for names"
            )
        sums = apply(functools.partial(_sums, estimator), activations, p_y_given_x, None)
        found = math.prod(np.shape(activations)[1:]), len(sums.joint)
        if shape is None:
            shape, joint = found, np.zeros(np.shape(sums.joint))
        if found != shape:
            raise ValueError(
                f"batches[{number}] has {found[0]} units and {found[1]} classes; allowed: those of the first, {shape}"
            )
        # In float64, however many there are.
        joint = joint + np.asarray(sums.joint, np.float64)
        negative_entropy += float(sums.negative_entropy)
        n += np.shape(p_y_given_x)[0]
    if shape is None:
        raise ValueError("batches is empty; allowed: at least one (activations, p_y_given_x)")
    bits = _finish(Sums(jnp.asarray(joint / n), jnp.asarray(negative_entropy / n)))
    return float(bits.i_xt), float(bits.i_ty)


@functools.partial(jax.jit, static_argnums=0)
def _sums(estimator: Soft, activations: Array, p_y_given_x: Array, _: None) -> Sums:
    """Of one batch, (B, U), whose patterns have the weight 1 each; NaN where one is not finite."""
    p_xy = partition.joint(partition.channels(p_y_given_x, None, activations.dtype)) * len(activations)
    sums = estimator.sums(activations, p_xy, estimator.directions(activations.shape[1]).astype(activations.dtype))
    return jax.tree.map(lambda value: jnp.where(jnp.isfinite(activations).all(), value, jnp.nan), sums)


_finish = jax.jit(finish)
