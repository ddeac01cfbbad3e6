"""Monte-Carlo estimates of the information of a layer with Gaussian noise, each with its standard error.

T = a(X) + s Z, Z ~ N(0, I), has the density p(t) = sum_j p(x_j) N(t; a_j, s^2 I), a sum that is computed and not
estimated. With h(T|X) = h(s Z) = U/2 ln(2 pi e s^2), `Noisy` is::

    I(X;T) = h(T) - h(s Z) = E ln p(t|x) / p(t)
    I(T;Y) = h(T) - sum_y p(y) h(T|Y=y) = H(Y) - E H(Y|T=t),   p(y|t) = sum_j p(x_j, y) N(t; a_j, s^2 I) / p(t)

The expectations are means over `samples` values of Z for each pattern, weighted by p(x). The first is the estimate
of Goldfeld et al. 2019 (arXiv 1810.05728) with the same samples in h(s Z) as in h(T), so that the noise
of well separated patterns cancels. The sample is of Z only: the patterns are the whole population, so the mean has no
bias, and its standard error is that of the spread within each pattern.

Only the layer that is measured is noisy here: a(X) is what the network computes from noiseless layers before it. In
the noisy network of Goldfeld et al. the noise goes on: T_l = f_l(T_{l-1}) + Z, so that p(t|x) is no Gaussian from the
second layer on. `noisy_network_information` is their estimate of that T, from R passes of each pattern through the
noisy layers before (`ibjax.networks.perceptron.Perceptron.propagate`), whose activations c_xr = f_l(T_{l-1}) become
the centres of p(t|x) = 1/R sum_r N(t; c_xr, s^2 I). `Noisy` is its case R = 1 without noise before.

R passes stand for infinitely many, which biases the result. X is independent of the centres C, so what is computed
without bias, I(X;T|C) = I(X;T,C), is never less than I(X;T): **the estimate is too high on average**, by less the
larger R (p(t|x) of R + 1 passes is a mean of those of R, and I(X;T) is convex in p(t|x)), and by much where the noise
of the layers before scatters the centres of a pattern over many s. The same holds for I(T;Y). A second estimate errs on
the other side: with t drawn around one centre, and p(t|x) from the R - 1 others, the mean of -ln p(t|x) is a cross
entropy, never less than h(T|X), while that of -ln p(t) from all centres is never more than h(T). The truth lies between
the means of `i_xt_low` and `i_xt`; their distance tells whether R is large enough.

Cost: samples N^2 (U + 15) operations a layer of a network, 17 to 55 ms a sample for 4096 patterns of 3 to 12 units on
one CPU core; R times that for R passes. The standard error of 8 samples of 4096 patterns is below 0.01 bits and falls
with the root of both.

Shapes: K networks, N patterns, U units (width of the layer), C classes, S samples, R passes; ... batch axes.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from ibjax import _checks
from ibjax.information import partition
from ibjax.information.apply import apply
from ibjax.information.estimator import Estimator, Information, LayerBatch
from ibjax.information.pairs import label_entropy, map_networks, over_rows, safe_log, scaled_distances, weigh, xlogx
from ibjax.information.partition import tree_sum
from ibjax.probability import LN2

LEAST_STD, GREATEST_STD = 1e-15, 1e15
MOST_SAMPLES = 4096


@dataclasses.dataclass(frozen=True)
class Noisy(Estimator):
    """Information of the layer with independent noise added to each of its units, see the module.

    The layers before it are without noise, so beyond the first layer this is not the T of a network with noise in
    every layer: that is `noisy_network_information`.

    Attributes:
      noise_std: s, in units of the activations, 1e-15 to 1e15.
      samples: of the noise for each pattern, 2 to 4096.
    """

    noise_std: float = 0.05
    samples: int = 8

    name: ClassVar[str] = "noisy"
    random: ClassVar[bool] = True
    rows: ClassVar[tuple[str, ...]] = Information._fields

    def __post_init__(self) -> None:
        object.__setattr__(self, "noise_std", _checks.number("noise_std", self.noise_std, LEAST_STD, GREATEST_STD))
        object.__setattr__(self, "samples", _checks.integer("samples", self.samples, 2, MOST_SAMPLES))

    def __call__(self, batch: LayerBatch) -> Information:
        def network(activations: Array, key: Array, joint: Array) -> Information:
            found = mixture_information(activations[None], key, joint, self.noise_std, self.samples)
            return Information(*found[:4])

        return map_networks(network, batch)


class NetworkInformation(NamedTuple):
    """One layer of a noisy network in the information plane, bits.

    Attributes:
      i_xt, i_ty: (...) I(X;T) and I(T;Y), too high on average, see the module.
      i_xt_error, i_ty_error: (...) their standard errors, without that bias.
      i_xt_low: (...) I(X;T), too low on average; NaN for one pass.
    """

    i_xt: Array
    i_ty: Array
    i_xt_error: Array
    i_ty_error: Array
    i_xt_low: Array


def noisy_network_information(
    centers: ArrayLike,
    p_y_given_x: ArrayLike,
    *,
    key: Array,
    p_x: ArrayLike | None = None,
    noise_std: float = 0.05,
    samples: int = 2,
) -> NetworkInformation:
    """I(X;T) and I(T;Y) of a layer of a network whose layers are all noisy, T_l = f_l(T_{l-1}) + Z, bits.

    The sample-propagation estimate of Goldfeld et al. 2019 (arXiv 1810.05728); the module tells its bias.

    Args:
      centers: (..., R, N, U) f_l(T_{l-1}) of R passes of each pattern with independent noise, as
        `ibjax.networks.perceptron.Perceptron.propagate` draws them.
      p_y_given_x, p_x: as for `ibjax.information.apply.information`.
      key: a typed PRNG key, `jax.random.key(seed)`, of the noise of this layer; not that of the passes.
      noise_std: standard deviation of the noise of this layer.
      samples: draws of T for each pattern, each around another centre: 2 to R (R = 1: to 4096, all around the one).

    Raises:
      ValueError, TypeError: a shape, value or type that is not allowed, named in the message.
    """
    std = _checks.number("noise_std", noise_std, LEAST_STD, GREATEST_STD)

    def of_layer(a: Array, conditional: Array, marginal: Array | None) -> NetworkInformation:
        if a.ndim < 3 or a.shape[-3] == 0:
            raise ValueError(f"centers have shape {a.shape}; allowed: (..., passes, N, width), at least one of each")
        passes = a.shape[-3]
        number = _checks.integer("samples", samples, 2, passes if passes > 1 else MOST_SAMPLES)
        return _network_information(a, conditional, marginal, key, std, number)

    return apply(of_layer, centers, p_y_given_x, p_x)


@functools.partial(jax.jit, static_argnames=("noise_std", "samples"))
def _network_information(
    centers: Array, p_y_given_x: Array, p_x: Array | None, key: Array, noise_std: float, samples: int
) -> NetworkInformation:
    joint = partition.joint(partition.channels(p_y_given_x, p_x, centers.dtype))
    batch = centers.shape[:-3]
    flat = centers.reshape(-1, *centers.shape[-3:])
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.arange(len(flat)))
    one = lambda network: mixture_information(network[0], network[1], joint, noise_std, samples)  # noqa: E731
    found = lax.map(one, (flat, keys))
    finite = jnp.isfinite(flat).all(axis=(1, 2, 3))
    return jax.tree.map(lambda bits: jnp.where(finite, bits, jnp.nan).reshape(batch), found)


def mixture_information(centers: Array, key: Array, joint: Array, noise_std: float, samples: int) -> NetworkInformation:
    """One network, bits: centers (R, N, U), p(x, y) (C, N); sample s of a pattern lies around its centre s mod R."""
    passes, patterns, units = centers.shape
    conditional = (joint / jnp.where(joint.sum(axis=0) > 0, joint.sum(axis=0), 1)).T  # p(y|x), (N, C)
    columns, p_x = centers.reshape(-1, units).T, joint.sum(axis=0)
    unlikely = jnp.where(p_x > 0, 0, -jnp.inf).astype(centers.dtype)
    unlikely = jnp.tile(unlikely, passes)
    scale = 1 / noise_std

    def surprise(row: tuple[Array, Array, Array, Array, Array]) -> tuple[Array, Array, Array]:
        """At t = centre + s noise: ln p(t|x) / p(t), the same with p(t|x) of the other passes, and H(Y|T=t)."""
        center, of_pattern, p_y, noise, number = row
        exponents = unlikely - scaled_distances(center, columns, scale, noise) / 2
        of_itself = -scaled_distances(center, of_pattern.T, scale, noise) / 2  # (R,)
        others = jnp.where(jnp.arange(passes) == number, -jnp.inf, of_itself)
        top = exponents.max()
        kernel = jnp.exp(exponents - top).reshape(passes, patterns).sum(axis=0)
        densities = weigh(kernel, joint) / passes  # (C,) up to exp(top)
        density = densities.sum()
        given_x, without = _log_mean(of_itself, passes), _log_mean(others, passes - 1)
        p_t = jnp.log(density)  # up to exp(top)
        posterior = densities / density
        # With sampled centres the standard error is that of the mean of -ln p(y|t), whose first order in the centres
        # vanishes, not that of H(Y|T=t), which has the same mean.
        h_y = -xlogx(posterior).sum() if passes == 1 else -(p_y * safe_log(posterior)).sum()
        return given_x - top - p_t, without - top - p_t, h_y

    def sample(number: Array) -> tuple[Array, Array, Array]:
        around = number % passes
        noise = jax.random.normal(jax.random.fold_in(key, number), centers.shape[1:], centers.dtype)
        rows = (centers[around], jnp.swapaxes(centers, 0, 1), conditional, noise, jnp.full(patterns, around))
        return over_rows(surprise, rows, passes * patterns)

    ratio, low, h_y_given_t = lax.map(sample, jnp.arange(samples))  # (S, N)
    i_xt, i_xt_error = _mean(ratio, p_x)
    remaining, i_ty_error = _mean(h_y_given_t, p_x)
    i_xt_low = _mean(low, p_x)[0] if passes > 1 else jnp.full_like(i_xt, jnp.nan)
    nats = NetworkInformation(i_xt, label_entropy(joint) - remaining, i_xt_error, i_ty_error, i_xt_low)
    return jax.tree.map(lambda value: value / LN2, nats)


def _log_mean(exponents: Array, count: int) -> Array:
    """ln of the sum of exp of (R,), over `count`; NaN for a count of 0."""
    if count == 0:
        return jnp.full((), jnp.nan, exponents.dtype)
    top = exponents.max()
    return top + jnp.log(jnp.exp(exponents - top).sum() / count)


def _mean(values: Array, p_x: Array) -> tuple[Array, Array]:
    """sum_i p_i mean_s v_si of (S, N), and its standard error, by the variance within each pattern."""
    samples = len(values)
    center = values.mean(axis=0)
    variance = ((values - center) ** 2).sum(axis=0) / (samples - 1)
    return tree_sum(p_x * center), jnp.sqrt(tree_sum(p_x**2 * variance) / samples)
