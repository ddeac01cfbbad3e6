r"""Bottleneck iterations of a layer, followed by the weights below it and above it.

One layer's cells t (those of the histogram, of the training patterns) give p(t) and p(y|t). Then, at every step:

(i) one iteration of the bottleneck makes the encoder, from it the decoder, of the same cells::

    p'(t|x) = p(t) exp(-beta KL[p(y|x) || p(y|t)]) / Z(x),   p'(t), p'(y|t) by Bayes' rule

(ii) the weights below take a gradient step towards the encoder: each pattern to the mean of the cells' centres c_t
under p'(t|x), and (iii) those above one towards the decoder: what the network says of the centre c_t is to be
p'(y|t)::

    F = E_x |a(x) - sum_t p'(t|x) c_t|^2 / 2  +  sum_t p'(t) CE[p'(y|t), network(c_t)]

The training loss is followed too, with a weight: a step descends F + weight * loss. p(y|x) is that of the labels of
the training set, one of which each pattern has: so KL = -ln p(y_x|t), and p'(t|x) is the same for all patterns of a
label. Step (i) never raises I(X;T) - beta I(T;Y) of the soft encoder (Tishby, Pereira & Bialek 1999); for small rates
(ii) and (iii) lower F while its targets stand still. Nothing makes the cells that the network then has follow them:
that is the experiment. At weight 0 and large rates it fails: the layer forgets Y. Targets are means of centres, so no
pattern is ever sent beyond the places that patterns have by now, while the weights, which patterns of all classes
share, cannot send each one where it should go; a small rate kept what was learned (docs/relaxation.md).

Source of the proposal: Shwartz-Ziv & Tishby 2017, section 4; how the weights follow is ibjax's own.

Shapes: P parameters, B patterns of a batch, also the number of cells (empty ones among them), U units, C classes.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax
from jax.flatten_util import ravel_pytree
from jax.scipy.special import xlogy

from ibjax.information.cells.bins import activation_range, bin_codes
from ibjax.information.cells.table import representatives
from ibjax.information.cells.words import pack
from ibjax.networks.perceptron import Perceptron
from ibjax.networks.protocol import Params
from ibjax.training.loss import Loss
from ibjax.training.rules.base import Batch, StepInfo


class Cells(NamedTuple):
    """What a layer's cells say; all zeros for a cell without patterns.

    Attributes:
      p_t: (B,) p(t).
      p_ty: (B, C) p(t, y).
    """

    p_t: Array
    p_ty: Array


def iterate(cells: Cells, p_y_given_x: Array, p_x: Array, beta: float) -> tuple[Array, Cells]:
    """One iteration of the bottleneck.

    Args:
      cells: of the encoder before.
      p_y_given_x: (M, C) of M patterns, or of M kinds of them.
      p_x: (M,).
      beta: of the bottleneck, in nats as in bits.

    Returns:
      The encoder p'(t|x), (M, B), and its cells.
    """
    p_y_given_t = cells.p_ty / jnp.where(cells.p_t > 0, cells.p_t, 1)[:, None]
    # KL[p(y|x)||p(y|t)] = cross - entropy; the entropy is the same for all t and leaves with Z.
    cross = -jnp.sum(xlogy(p_y_given_x[:, None], p_y_given_t[None]), axis=2)
    logits = jnp.where(cells.p_t > 0, jnp.log(jnp.where(cells.p_t > 0, cells.p_t, 1)) - beta * cross, -jnp.inf)
    encoder = jax.nn.softmax(logits, axis=1)
    joint = p_x[:, None] * encoder
    return encoder, Cells(jnp.sum(joint, axis=0), joint.T @ p_y_given_x)


@dataclasses.dataclass(frozen=True, eq=False)
class Bottleneck:
    """See the module.

    Attributes:
      network: the built-in one, which can be cut at a layer.
      layer: number of the layer, a hidden one.
      beta: of the bottleneck.
      rate: of the gradient steps; may be traced.
      loss_weight: of the training loss.
      loss: of each pattern, the one that is trained on.
      n_classes: C.
      bins, compat: the cells, as in `ibjax.Config`.
    """

    network: Perceptron
    layer: int
    beta: float
    rate: Any
    loss_weight: float
    loss: Loss
    n_classes: int
    bins: int
    compat: str | None

    def init(self, params: Array) -> tuple[()]:
        """Nothing is kept from step to step."""
        del params
        return ()

    def step(self, key: Array, params: Array, state: tuple[()], batch: Batch) -> tuple[Array, tuple[()], StepInfo]:
        del key  # nothing is drawn
        tree = self.network.model.unravel(params)
        present = batch.present.astype(params.dtype)
        weight = present / jnp.sum(present)

        def passed(tree: Params) -> tuple[Array, Array]:  # the layer and the loss share the pass of the patterns
            logits, activations = self.network.forward(tree, batch.inputs)
            return activations[self.layer], jnp.sum(weight * self.loss(logits, batch.labels))

        (reached, loss), back = jax.vjp(passed, tree)
        cell = self.cells(reached)
        target, cells, centres = self.targets(reached, cell, weight, batch.labels)
        (below,) = back(((reached - target) * weight, jnp.full_like(loss, self.loss_weight)))
        above = jax.grad(self.decoding)(tree, cells, centres)
        gradient, _ = ravel_pytree(jax.tree.map(jnp.add, below, above))
        return params - jnp.asarray(self.rate, params.dtype) * gradient, state, StepInfo(gradient)

    def cells(self, reached: Array) -> Array:
        """(B,) which cell each pattern is in, by the first pattern there, of activations (U, B)."""
        low, high = -jnp.ones(()), jnp.ones(())
        if not self.network.model.bounded[self.layer]:
            low, high = activation_range(reached[:, None])
        codes = bin_codes(reached[:, None], self.bins, low, high, self.compat)
        return representatives(pack(codes, self.bins), self.bins ** len(reached))[0]

    def targets(self, reached: Array, cell: Array, weight: Array, labels: Array) -> tuple[Array, Cells, Array]:
        """Where activations are to go (U, B), the cells after the iteration, and their centres (U, B)."""
        joint = jnp.zeros((len(cell), self.n_classes), weight.dtype).at[cell, labels].add(weight)
        now = Cells(jnp.sum(joint, axis=1), joint)
        centres = jnp.zeros_like(reached).at[:, cell].add(reached * weight) / jnp.where(now.p_t > 0, now.p_t, 1)
        p_y = jnp.sum(joint, axis=0)
        encoder, after = iterate(now, jnp.eye(self.n_classes, dtype=weight.dtype), p_y, self.beta)
        targets = centres @ encoder.T  # (U, C): patterns of a label are to go to one place
        return targets[:, labels], after, centres

    def decoding(self, tree: Params, cells: Cells, centres: Array) -> Array:
        """The second term of F, nats; of the weights above the layer alone."""
        widths = self.network.widths[self.layer + 1 :]
        above = dataclasses.replace(self.network, widths=widths)
        logits = above.forward(tree[self.layer + 1 :], lax.stop_gradient(centres))[0]
        if len(logits) == 1:
            log_odds = logits[0]
            return jnp.sum(optax.sigmoid_binary_cross_entropy(log_odds, 1.0) * cells.p_ty[:, 1]) + jnp.sum(
                optax.sigmoid_binary_cross_entropy(log_odds, 0.0) * cells.p_ty[:, 0]
            )
        return -jnp.sum(cells.p_ty * jax.nn.log_softmax(logits, axis=0).T)
