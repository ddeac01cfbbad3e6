"""Descent along the gradient, with any optimizer of optax; noise may be added to the labels or to the weights.

Noise on labels is that of Blanc et al. 2020 (arXiv 1904.09080): a share of the labels of each batch is drawn anew at
every step. Noise on weights is left behind by each step, whatever the loss.

Shapes: P parameters, B patterns of a batch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.flatten_util import ravel_pytree

from ibjax.networks.protocol import Params
from ibjax.training.rules.base import Batch, StepInfo


@dataclasses.dataclass(frozen=True, eq=False)
class GradientDescent:
    """Stochastic gradient descent with any optimizer of optax: x <- x + update(gradient).

    Attributes:
      optimizer: any gradient transformation.
      unravel: the vector of all parameters as the network's tree.
      elementwise: the optimizer treats every parameter alike, so that it may see them as one vector: a handful of
        loops, not a handful for every layer. Others see the network's tree (layer-wise rates, masks, norms of a layer).
      label_noise: share of the labels drawn anew at each step.
      n_classes: that labels are drawn from.
      weight_noise: standard deviation of what is added to each parameter after each step.
    """

    optimizer: optax.GradientTransformation
    unravel: Callable[[Array], Params]
    elementwise: bool
    label_noise: float = 0.0
    n_classes: int = 2
    weight_noise: float = 0.0

    def init(self, params: Array) -> Any:
        return self.optimizer.init(params if self.elementwise else self.unravel(params))

    def step(self, key: Array, params: Array, state: Any, batch: Batch) -> tuple[Array, Any, StepInfo]:
        if self.label_noise:
            batch = dataclasses.replace(batch, labels=self._noisy(jax.random.fold_in(key, 0), batch.labels))
        tree = self.unravel(params)
        gradients, statistics = jax.grad(batch, has_aux=True)(tree)
        gradient, _ = ravel_pytree(gradients)
        if self.elementwise:
            updates, state = self.optimizer.update(gradient, state, params)
        else:
            tree_updates, state = self.optimizer.update(self.unravel(gradient), state, tree)
            updates, _ = ravel_pytree(tree_updates)
        params = params + updates
        if self.weight_noise:
            params = params + self.weight_noise * jax.random.normal(
                jax.random.fold_in(key, 1), params.shape, params.dtype
            )
        return params, state, StepInfo(gradient, statistics)

    def _noisy(self, key: Array, labels: Array) -> Array:
        """Labels (B,), some of them drawn anew."""
        whether, what = jax.random.split(key)
        anew = jax.random.uniform(whether, labels.shape) < self.label_noise
        return jnp.where(anew, jax.random.randint(what, labels.shape, 0, self.n_classes, labels.dtype), labels)
