r"""Metropolis' walk: no gradient at all. Moves are proposed blindly, and accepted by what they do to the energy.

A move adds N(0, s^2) to some of the weights: to all of them, to those of a layer, to those into one unit, or to one.
Proposals are symmetric, so with the acceptance min(1, exp(-(E' - E) / T)) detailed balance holds with respect to
exp(-E / T), E the mean loss of the batch; at T = 0 only moves that do not raise E are accepted. In a warm-up the scale
s is adapted until a given share of the moves is accepted, by the recurrence of Robbins & Monro 1951 on ln s, whose
steps fall with one over the square root of their number; then s is fixed, as the walk samples exp(-E / T) only if it
is. Moves to an energy that is not finite are refused, and counted.

Source: Metropolis et al. 1953; Andrieu & Thoms 2008, Statistics and Computing 18, 343, on the adaptation. With
minibatches E changes from step to step and no distribution is kept: the full batch is meant.

Shapes: P parameters.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import Array, lax

from ibjax.networks.protocol import Params
from ibjax.training.rules.base import Batch, StepInfo

Energy = Callable[[Array, Batch], Array]
"""Parameters (P,) and a batch -> (), what the walk keeps low."""


class Walk(NamedTuple):
    """Where a walk stands.

    Attributes:
      log_scale: () ln s.
      moves: () int32, proposed so far.
      accepted: () int32, of them.
      not_finite: () int32, refused as their energy was not finite.
    """

    log_scale: Array
    moves: Array
    accepted: Array
    not_finite: Array


@dataclasses.dataclass(frozen=True, eq=False)
class Metropolis:
    """See the module.

    Attributes:
      energy: E.
      temperature: T, in the unit of the energy.
      scale: s at first.
      moves: proposed for each batch.
      acceptance: share of accepted moves to which the warm-up adapts s.
      warmup: moves in which it does.
      groups: (P,) which group each parameter is in, a move changes those of one group, drawn evenly; None for all.
    """

    energy: Energy
    temperature: float
    scale: float
    moves: int
    acceptance: float
    warmup: int
    groups: npt.NDArray[np.int32] | None

    def init(self, params: Array) -> Walk:
        zero = jnp.zeros((), jnp.int32)
        return Walk(jnp.log(jnp.asarray(self.scale, params.dtype)), zero, zero, zero)

    def step(self, key: Array, params: Array, state: Walk, batch: Batch) -> tuple[Array, Walk, StepInfo]:
        def move(number: Array, carry: tuple[Array, Array, Walk]) -> tuple[Array, Array, Walk]:
            params, energy, walk = carry
            change_key, chance_key = jax.random.split(jax.random.fold_in(key, number))
            proposed = params + jnp.exp(walk.log_scale) * self.change(change_key, params)
            new = self.energy(proposed, batch)
            finite = jnp.isfinite(new)
            accept = finite & self.accepts(chance_key, energy, new)
            params, energy = jnp.where(accept, proposed, params), jnp.where(accept, new, energy)
            return params, energy, self.count(walk, accept, finite)

        params, _, state = lax.fori_loop(0, self.moves, move, (params, self.energy(params, batch), state))
        return params, state, StepInfo(None)

    def change(self, key: Array, params: Array) -> Array:
        """A move of scale 1, (P,)."""
        which, what = jax.random.split(key)
        drawn = jax.random.normal(what, params.shape, params.dtype)
        if self.groups is None:
            return drawn
        group = jax.random.randint(which, (), 0, int(self.groups.max()) + 1)
        return jnp.where(self.groups == group, drawn, 0)

    def accepts(self, key: Array, energy: Array, new: Array) -> Array:
        """Whether a move from one energy to another, finite one is accepted, () bool."""
        if self.temperature == 0:
            return new <= energy
        ratio = jnp.exp(-(new - energy) / self.temperature)
        chance = jax.random.uniform(key, (), energy.dtype) < ratio
        # A move that does not rise is always taken: said here too, as a temperature that the precision rounds to 0
        # makes the ratio of a level one 0/0. From an energy that is not finite every finite one is a way out.
        return (new <= energy) | chance | ~jnp.isfinite(energy)

    def count(self, walk: Walk, accept: Array, finite: Array) -> Walk:
        """The walk after one more move."""
        gain = jax.lax.rsqrt(1 + walk.moves.astype(walk.log_scale.dtype))
        adapted = walk.log_scale + gain * (accept - self.acceptance)
        return Walk(
            jnp.where(walk.moves < self.warmup, adapted, walk.log_scale),
            walk.moves + 1,
            walk.accepted + accept,
            walk.not_finite + ~finite,
        )


def mean_loss(unravel: Callable[[Array], Params]) -> Energy:
    """The batch's mean loss, nats a pattern."""

    def energy(params: Array, batch: Batch) -> Array:
        return batch(unravel(params))[0]

    return energy


def groups_of(proposal: str, n_params: int, places: Any) -> npt.NDArray[np.int32] | None:
    """Which group each parameter is in, (P,), by the name of the proposal; None where a move changes all.

    Args:
      proposal: "all", "layer", "unit" or "weight".
      n_params: P.
      places: of a parameter in the vector, as the network's tree, `Model.places`; a list of {"kernel", "bias"} for
        layers and units.

    Raises:
      ValueError: the network's layers or units are not known.
    """
    if proposal == "all":
        return None
    if proposal == "weight":
        return np.arange(n_params, dtype=np.int32)
    if not isinstance(places, list) or not all(map(_is_dense, places)):
        raise ValueError(
            f"proposal = {proposal!r} with network=...; allowed: 'all' or 'weight', or the built-in network, whose "
            "layers ibjax knows"
        )
    groups, first = np.full(n_params, -1, np.int32), 0
    for layer in places:
        units = np.arange(len(layer["bias"])) if proposal == "unit" else np.zeros(len(layer["bias"]), int)
        groups[layer["bias"]] = first + units
        groups[layer["kernel"]] = first + units  # the last axis of a kernel is that of the units
        first += int(units.max()) + 1
    return groups


def _is_dense(layer: Any) -> bool:
    """Whether these are the places of a kernel, whose last axis is that of the units, and of their biases alone."""
    if not isinstance(layer, dict) or layer.keys() != {"kernel", "bias"}:
        return False
    shapes = [np.shape(layer[part]) for part in ("kernel", "bias")]
    return len(shapes[0]) > 0 and shapes[0][-1:] == shapes[1]
