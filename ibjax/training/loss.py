"""The loss that is trained on and the accuracy that is told, pattern by pattern; patterns are on the last axis.

Shapes: B patterns of a batch, C classes, D numbers that a pattern is to give.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

Loss = Callable[[Array, Array], Array]


def cross_entropy(logits: Array, labels: Array) -> Array:
    """Cross-entropy of each pattern in nats, (B,).

    Args:
      logits: (C, B); C = 1 is the log odds of a binary label.
      labels: (B,) int32.
    """
    if len(logits) == 1:
        return optax.sigmoid_binary_cross_entropy(lax.squeeze(logits, (0,)), labels.astype(logits.dtype))
    one_hot = jax.nn.one_hot(labels, len(logits), dtype=logits.dtype, axis=0)
    return optax.softmax_cross_entropy(logits, one_hot, axis=0)


def squared_error(logits: Array, labels: Array) -> Array:
    """Squared error of each pattern, (B,), the mean over what the network gives.

    Args:
      logits: (C, B), or (D, B).
      labels: (B,) int32, of which the network gives the probabilities: the error is that of the probability of label 1
        where C = 1, else the mean over the classes (the Brier score over C); or (B, D) numbers, which the network gives
        as they are.
    """
    if labels.ndim == 2:
        return jnp.mean(jnp.square(logits - labels.T), axis=0)
    if len(logits) == 1:
        return jnp.square(jax.nn.sigmoid(lax.squeeze(logits, (0,))) - labels)
    one_hot = jax.nn.one_hot(labels, len(logits), dtype=logits.dtype, axis=0)
    return jnp.mean(jnp.square(jax.nn.softmax(logits, axis=0) - one_hot), axis=0)


LOSSES: Mapping[str, Loss] = MappingProxyType({"cross_entropy": cross_entropy, "mean_squared_error": squared_error})
"""By the names of `Config.loss`."""


def correct(logits: Array, labels: Array) -> Array:
    """Whether the likeliest label is the drawn one, (B,) bool; arguments as for `cross_entropy`."""
    if len(logits) == 1:
        return (lax.squeeze(logits, (0,)) > 0) == (labels > 0)
    return jnp.argmax(logits, axis=0) == labels
