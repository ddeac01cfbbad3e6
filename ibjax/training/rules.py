"""Update rules: what one step of training does to the parameters of one network.

A rule is a pair of pure functions, `init` and `step`. A step tells what it did in a `StepInfo` beside the new state, so
that a rule without gradients fits as well.

Shapes: P parameters, Q statistics of the network.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import optax
from jax import Array
from jax.flatten_util import ravel_pytree

from ibjax.networks.protocol import Params


class StepInfo(NamedTuple):
    """What a step tells beside its new state; fields may be added.

    Attributes:
      gradient: (P,) of the loss at the parameters before the step; None for a rule that takes none.
      statistics: what the loss gave beside its value, where the network keeps statistics.
    """

    gradient: Array | None
    statistics: Array | None = None


BatchLoss = Callable[[Params], tuple[Array, Array | None]]
"""The network's tree of parameters -> the mean loss of a batch in nats, (), and the network's statistics after it,
(Q,), None where it keeps none."""


class UpdateRule(Protocol):
    """How one network is trained, step by step; pure functions for use inside `jit` and `vmap`."""

    def init(self, params: Array) -> Any:
        """The rule's state for fresh parameters (P,): a pytree of arrays."""

    def step(self, key: Array, params: Array, state: Any, loss: BatchLoss) -> tuple[Array, Any, StepInfo]:
        """One step.

        Args:
          key: of this step of this network, for rules that draw.
          params: (P,).
          state: of the rule.
          loss: of the step's batch.

        Returns:
          The new parameters (P,), the new state of the rule, and what the step tells.
        """


@dataclasses.dataclass(frozen=True, eq=False)
class GradientDescent:
    """Stochastic gradient descent with any optimizer of optax: x <- x + update(gradient).

    Attributes:
      optimizer: any gradient transformation.
      unravel: the vector of all parameters as the network's tree.
      elementwise: the optimizer treats every parameter alike, so that it may see them as one vector: a handful of
        loops, not a handful for every layer. Others see the network's tree (layer-wise rates, masks, norms of a layer).
    """

    optimizer: optax.GradientTransformation
    unravel: Callable[[Array], Params]
    elementwise: bool

    def init(self, params: Array) -> Any:
        return self.optimizer.init(params if self.elementwise else self.unravel(params))

    def step(self, key: Array, params: Array, state: Any, loss: BatchLoss) -> tuple[Array, Any, StepInfo]:
        del key  # nothing is drawn
        tree = self.unravel(params)
        gradients, statistics = jax.grad(loss, has_aux=True)(tree)
        gradient, _ = ravel_pytree(gradients)
        if self.elementwise:
            updates, state = self.optimizer.update(gradient, state, params)
        else:
            tree_updates, state = self.optimizer.update(self.unravel(gradient), state, tree)
            updates, _ = ravel_pytree(tree_updates)
        return params + updates, state, StepInfo(gradient, statistics)
