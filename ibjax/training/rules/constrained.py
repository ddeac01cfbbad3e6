"""Diffusion under a bound on the training loss: the picture that the paper draws of the late phase of SGD.

Weights move blindly, as in `metropolis`, and a move is refused if the training loss would be above the bound: every
weight vector with a lower loss is as likely as any other. With the demon D = bound - E >= 0 that pays for each rise of
the loss, and takes each fall, this is Creutz's microcanonical algorithm. A walk that begins above the bound accepts no
rise until it is below.

Source: Shwartz-Ziv & Tishby 2017, section 3.3: "diffusion ... under the training error constraint"; Creutz 1983, Phys.
Rev. Lett. 50, 1411.
"""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
from jax import Array

from ibjax.training.rules.metropolis import Metropolis


@dataclasses.dataclass(frozen=True, eq=False)
class Constrained(Metropolis):
    """See the module; `temperature` has no meaning here.

    Attributes:
      bound: the largest energy.
    """

    bound: float = 0.0

    def accepts(self, key: Array, energy: Array, new: Array) -> Array:
        del key  # nothing is left to chance
        return (new <= jnp.maximum(energy, self.bound)) | ~jnp.isfinite(energy)
