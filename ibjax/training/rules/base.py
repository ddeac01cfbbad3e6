"""Update rules: what one step of training does to the parameters of one network.

A rule is a pair of pure functions, `init` and `step`. A step tells what it did in a `StepInfo` beside the new state, so
that a rule without gradients fits as well.

Shapes: P parameters, Q statistics of the network, B patterns of a batch, D numbers that a pattern is to give; ... the
axes of one pattern.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from jax import Array

from ibjax.networks.protocol import Params


class HyperParameters(NamedTuple):
    """In which the networks of one run differ, () each; None where they do not.

    Attributes:
      n_train: n, int32: training patterns of this network; the others of `Sample.patterns` repeat the first.
      learning_rate: of the optimizer.
      weight_decay: of the optimizer; None for no decay.
      noise_std: standard deviation of the noise on the hidden activations; None for no noise.
      initial_scale: factor of the initial parameters; None for 1.
    """

    n_train: Array | None = None
    learning_rate: Array | None = None
    weight_decay: Array | None = None
    noise_std: Array | None = None
    initial_scale: Array | None = None


class StepInfo(NamedTuple):
    """What a step tells beside its new state; fields may be added.

    Attributes:
      gradient: (P,) of the loss at the parameters before the step; None for a rule that takes none.
      statistics: what the loss gave beside its value, where the network keeps statistics.
    """

    gradient: Array | None
    statistics: Array | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """What a step sees of the task; called with the network's tree of parameters, the loss of the batch.

    Attributes:
      inputs: (..., B).
      labels: (B,) int32, or (B, D) numbers to be learnt in their place.
      present: (B,) bool, False for places that no pattern takes.
      mean_loss: parameters and labels -> the mean loss, nats (), and the network's statistics after it, (Q,), None
        where it keeps none.
    """

    inputs: Array
    labels: Array
    present: Array
    mean_loss: Callable[[Params, Array], tuple[Array, Array | None]]

    def __call__(self, params: Params) -> tuple[Array, Array | None]:
        return self.mean_loss(params, self.labels)


class UpdateRule(Protocol):
    """How one network is trained, step by step; pure functions for use inside `jit` and `vmap`."""

    def init(self, params: Array) -> Any:
        """The rule's state for parameters (P,) that it has not seen: a pytree of arrays."""

    def step(self, key: Array, params: Array, state: Any, batch: Batch) -> tuple[Array, Any, StepInfo]:
        """One step.

        Args:
          key: of this step of this network, for rules that draw.
          params: (P,).
          state: of the rule.
          batch: what the step may learn from.

        Returns:
          The new parameters (P,), the new state of the rule, and what the step tells.
        """
