"""Trained lower bounds on the information of a layer with Gaussian noise: InfoNCE and MINE.

T = a(X) + s Z, Z ~ N(0, I), as in `noisy`. A small network f, the critic, is trained by Adam to tell pairs (x, t) that
belong together from pairs that do not. Of a batch of B independent draws, with f_ij = f(x_j, t_i)::

    infonce   I(X;T) >= E mean_i [ f_ii - ln( 1/B sum_j e^f_ij ) ]            van den Oord et al. 2018, arXiv 1807.03748
    mine      I(X;T) >= E mean_i f_ii - ln E mean_{i != j} e^f_ij             Belghazi et al. 2018, arXiv 1801.04062

and for I(T;Y) alike, with labels y_j ~ p(y|x_j). Poole et al. 2019 (arXiv 1905.06922) derive both from one inequality.
f(x, t) = g(a(x)) . h(t) + c(x) + d(t), of two layers each, and a row of h' for each label.

Kind: lower bounds for any critic, since they are evaluated on draws of X and Z that it was not trained on (the
distribution is known, so there are as many as wanted): 64 batches, over which the standard errors are taken. The
logarithm of a mean makes `mine` too high by about half its relative variance, little here while I is a few bits. How
far below the truth they lie, nothing tells but `noisy`; few steps, and noise that is small beside the activations, make
it more. `infonce` is at most log2 B bits, `mine` of more than a few bits has errors that grow as e^I. Trained alike,
`mine` is the looser: of a Gaussian channel of 2 bits it finds 1.56 at the defaults, `infonce` more than 1.85. Its
gradients are those of the batch's bound, over B (B - 1) pairs. The moving average by which Belghazi et al. lessen their
bias was tried and makes the bound looser: over six keys 1.68 without, 1.59, 1.33, 1.22 at the rates 0.5, 0.1, 0.01.

Cost: `steps` + 64 batches of B (U + 64) 128 + B^2 64 multiplications, three times in training: no sum over pairs of
patterns, so it takes as long for 60,000 patterns as for 60.

Shapes: N patterns, U units, C classes, B pairs of a batch, H hidden units of the critic.
"""

from __future__ import annotations

import abc
import dataclasses
import math
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax
from jax.scipy.special import logsumexp
from jax.typing import ArrayLike

from ibjax import _checks
from ibjax.information.apply import information
from ibjax.information.estimator import LOWER, Estimator, Information, LayerBatch
from ibjax.information.noisy import GREATEST_STD, LEAST_STD
from ibjax.information.pairs import map_networks
from ibjax.information.wide.corrected import draw_labels
from ibjax.probability import LN2

_HIDDEN = 64
_HELD_OUT = 64  # batches


class Pairs(NamedTuple):
    """A batch of draws that belong together.

    Attributes:
      x: (B, U) activations without noise.
      t: (B, U) with noise.
      y: (B,) labels, int32.
    """

    x: Array
    t: Array
    y: Array


@dataclasses.dataclass(frozen=True)
class Variational(Estimator):
    """What both bounds share: draws, critic and training; see the module.

    Attributes:
      noise_std: s, in units of the activations, 1e-15 to 1e15.
      steps: of Adam, 1 to 1e6.
      batch: B, 2 to 4096.
      learning_rate: of Adam, above 0 to 1.
    """

    noise_std: float = 0.05
    steps: int = 1000
    batch: int = 128
    learning_rate: float = 2e-3

    i_xt_is: ClassVar[str] = LOWER
    i_ty_is: ClassVar[str] = LOWER
    random: ClassVar[bool] = True
    rows: ClassVar[tuple[str, ...]] = Information._fields

    def __post_init__(self) -> None:
        object.__setattr__(self, "noise_std", _checks.number("noise_std", self.noise_std, LEAST_STD, GREATEST_STD))
        object.__setattr__(self, "steps", _checks.integer("steps", self.steps, 1, 10**6))
        object.__setattr__(self, "batch", _checks.integer("batch", self.batch, 2, 4096))
        rate = _checks.number("learning_rate", self.learning_rate, 0, 1, above=True)
        object.__setattr__(self, "learning_rate", rate)

    @abc.abstractmethod
    def parts(self, scores: Array) -> Array:
        """What one batch tells, (2,) nats, of f_ij (B, B): its bound is the first less the second."""

    @abc.abstractmethod
    def pooled(self, parts: Array) -> tuple[Array, Array]:
        """The bound and its standard error, nats, from the parts of the batches, (batches, 2)."""

    def __call__(self, batch: LayerBatch) -> Information:
        return map_networks(self._network, batch)

    def _network(self, activations: Array, key: Array, joint: Array) -> Information:
        """One network, (N, U) with p(x, y) (C, N)."""
        of_start, of_training, of_test = jax.random.split(key, 3)
        rule = optax.adam(self.learning_rate)
        params = _critic(of_start, activations.shape[1], len(joint), activations.dtype)

        def told(params: Any, key: Array) -> Array:
            """The parts of one batch for X and Y, (2, 2)."""
            pairs = self._draw(key, activations, joint)
            return jnp.stack([self.parts(scores) for scores in _scores(params, pairs)])

        def loss(params: Any, key: Array) -> Array:
            parts = told(params, key)
            return (parts[:, 1] - parts[:, 0]).sum()

        def step(state: tuple[Any, Any], number: Array) -> tuple[tuple[Any, Any], None]:
            params, memory = state
            gradients = jax.grad(loss)(params, jax.random.fold_in(of_training, number))
            updates, memory = rule.update(gradients, memory, params)
            return (optax.apply_updates(params, updates), memory), None

        (params, _), _ = lax.scan(step, (params, rule.init(params)), jnp.arange(self.steps))
        parts = lax.map(lambda n: told(params, jax.random.fold_in(of_test, n)), jnp.arange(_HELD_OUT))
        (i_xt, i_xt_error), (i_ty, i_ty_error) = self.pooled(parts[:, 0]), self.pooled(parts[:, 1])
        return Information(i_xt / LN2, i_ty / LN2, i_xt_error / LN2, i_ty_error / LN2)

    def _draw(self, key: Array, activations: Array, joint: Array) -> Pairs:
        """A batch, in units of the layer's spread about its mean."""
        of_x, of_z, of_y = jax.random.split(key, 3)
        dtype, p_x = activations.dtype, joint.sum(axis=0)
        below = jnp.cumsum(p_x)
        which = jnp.searchsorted(below, jax.random.uniform(of_x, (self.batch,), dtype) * below[-1], side="right")
        which = jnp.minimum(which, len(below) - 1)
        x = activations[which]
        t = x + self.noise_std * jax.random.normal(of_z, x.shape, dtype)
        y = draw_labels(of_y, joint[:, which])
        center = p_x @ activations
        spread = jnp.sqrt(p_x @ ((activations - center) ** 2).mean(axis=1) + self.noise_std**2)
        return Pairs((x - center) / spread, (t - center) / spread, y)


@dataclasses.dataclass(frozen=True)
class InfoNce(Variational):
    """The bound of at most log2 B bits, see the module; options are those of `Variational`."""

    name: ClassVar[str] = "infonce"

    def parts(self, scores: Array) -> Array:
        together = jnp.diagonal(scores)
        return jnp.stack([together.mean(), logsumexp(scores, axis=1).mean() - math.log(self.batch)])

    def pooled(self, parts: Array) -> tuple[Array, Array]:
        bounds = parts[:, 0] - parts[:, 1]
        return bounds.mean(), bounds.std(ddof=1) / math.sqrt(len(bounds))


@dataclasses.dataclass(frozen=True)
class Mine(Variational):
    """The bound of Donsker and Varadhan, see the module; options are those of `Variational`."""

    name: ClassVar[str] = "mine"

    def parts(self, scores: Array) -> Array:
        apart = jnp.where(jnp.eye(self.batch, dtype=bool), -jnp.inf, scores)
        return jnp.stack([jnp.diagonal(scores).mean(), logsumexp(apart) - math.log(self.batch * (self.batch - 1))])

    def pooled(self, parts: Array) -> tuple[Array, Array]:
        """The logarithm is that of the mean over all batches; to first order its error is the relative one."""
        together, apart = parts[:, 0], parts[:, 1]
        mean = logsumexp(apart) - math.log(len(apart))
        first_order = together - jnp.exp(apart - mean)
        return together.mean() - mean, first_order.std(ddof=1) / math.sqrt(len(apart))


def _critic(key: Array, units: int, classes: int, dtype: jnp.dtype) -> dict[str, list[tuple[Array, Array]]]:
    """Weights and biases of g, h and h', two layers each."""
    params = {}
    for number, (name, out) in enumerate((("x", _HIDDEN + 1), ("t", _HIDDEN + 1), ("y", classes))):
        first, second = jax.random.split(jax.random.fold_in(key, number))
        params[name] = [
            (jax.random.normal(k, shape, dtype) * math.sqrt(gain / shape[0]), jnp.zeros(shape[1], dtype))
            for k, shape, gain in ((first, (units, _HIDDEN), 2), (second, (_HIDDEN, out), 1))
        ]
    return params


def _scores(params: dict[str, list[tuple[Array, Array]]], pairs: Pairs) -> tuple[Array, Array]:
    """f_ij of x_j and t_i, and of y_j and t_i, (B, B) each."""

    def network(name: str, values: Array) -> Array:
        (w1, b1), (w2, b2) = params[name]
        return jax.nn.relu(values @ w1 + b1) @ w2 + b2

    of_t, of_x = network("t", pairs.t), network("x", pairs.x)
    products = of_t[:, :-1] @ of_x[:, :-1].T / math.sqrt(_HIDDEN)
    return products + of_t[:, -1:] + of_x[:, -1], network("y", pairs.t)[:, pairs.y]


def variational_information(
    activations: ArrayLike,
    p_y_given_x: ArrayLike,
    *,
    key: Array,
    p_x: ArrayLike | None = None,
    bound: str = "infonce",
    noise_std: float = 0.05,
    steps: int = 1000,
    batch: int = 128,
    learning_rate: float = 2e-3,
) -> Information:
    """Trained lower bounds on I(X;T) and I(T;Y), bits, of a layer with Gaussian noise, each with its standard error.

    See `InfoNce`, `Mine` and their module; other arguments as `ibjax.information.apply.information`.

    Args:
      bound: "infonce" or "mine".
    """
    _checks.choice("bound", bound, ("infonce", "mine"))
    options = {"noise_std": noise_std, "steps": steps, "batch": batch, "learning_rate": learning_rate}
    return information(bound, activations, p_y_given_x, p_x=p_x, key=key, **options)
