"""The loss that is trained on and the accuracy that is told, pattern by pattern; patterns are on the last axis.

Shapes: B patterns of a batch, C classes.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax


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


def correct(logits: Array, labels: Array) -> Array:
    """Whether the likeliest label is the drawn one, (B,) bool; arguments as for `cross_entropy`."""
    if len(logits) == 1:
        return (lax.squeeze(logits, (0,)) > 0) == (labels > 0)
    return jnp.argmax(logits, axis=0) == labels
