r"""Stochastic gradient Langevin dynamics: descent in a heat bath.

With the gradient g of the batch's mean loss E, rate r, temperature T and friction a in (0, 1]::

    v <- (1 - a) v - r g + sqrt(2 a r T) xi,   xi ~ N(0, 1)
    x <- x + v

Source: Welling & Teh 2011 for a = 1, where v is no state; Chen, Fox & Guestrin 2014 (arXiv 1402.4102), equation 15 with
the estimate of the gradient's own noise set to 0, for less. For small r, and gradients of the full batch, x is a sample
of exp(-E/T). On E = k x^2 / 2 its variance is (T / k) / (1 - r k / 2) at a = 1: the error is of first order in r. The
noise of minibatches comes on top of T.

blackjax has both (sgld, sghmc). They are one line here, see a vector of all parameters, and this needs no package that
asks for a newer JAX than ibjax does.

Shapes: P parameters.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

from ibjax.networks.protocol import Params
from ibjax.training.rules.base import Batch, StepInfo


@dataclasses.dataclass(frozen=True, eq=False)
class Langevin:
    """See the module.

    Attributes:
      rate: r; may be traced.
      temperature: T, nats a pattern.
      friction: a.
      unravel: the vector of all parameters as the network's tree.
    """

    rate: Any
    temperature: float
    friction: float
    unravel: Callable[[Array], Params]

    def init(self, params: Array) -> Array:
        """(P,) the velocity."""
        return jnp.zeros_like(params)

    def step(self, key: Array, params: Array, state: Array, batch: Batch) -> tuple[Array, Array, StepInfo]:
        gradients, statistics = jax.grad(batch, has_aux=True)(self.unravel(params))
        gradient, _ = ravel_pytree(gradients)
        noise = jax.random.normal(key, params.shape, params.dtype)
        rate = jnp.asarray(self.rate, params.dtype)
        kick = jnp.sqrt(2 * self.friction * rate * self.temperature) * noise
        velocity = (1 - self.friction) * state - rate * gradient + kick
        return params + velocity, velocity, StepInfo(gradient, statistics)
