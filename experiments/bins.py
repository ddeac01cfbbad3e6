"""Does the compression depend on the number of cells? Sign and size of it, from 8 to 65536 bins a unit, tanh and ReLU.

    python experiments/bins.py [--quick] [--out DIR]

Nothing is trained anew for a number of bins: activations are recomputed from the weights stored at each logged epoch.
The compression of a network's layer is the largest I(X;T) over the logged epochs less that of the last: never negative,
so a noisy curve shows a little where there is none; below 0.1 bits it counts as none. tanh units and the output are
binned on [-1, 1]; ReLU units over the layer's own least to greatest activation at that epoch. With ever finer bins
I(X;T) tends to H(X) at every epoch, whatever the network does: what vanishes is the measure's power to see.

Cells are exact up to 65536 bins: float32 activations are binned in float64.

Verdicts
  tanh compresses at the paper's 30 bins: the mean compression of the last hidden layer has its 95% interval above 0.1
    bits (reproduced), below (not reproduced), else undecided.
  it does so for any number of bins: that interval is above 0.1 bits for each number of bins (reproduced), for none of
    them (not reproduced), else depends on the bins: those where it is.
  finer bins weaken it: mean over hidden layers of the compression at the largest number of bins less that at 30; below
    0 (reproduced), above 0 (not reproduced), else undecided.
  ReLU compresses (contested): as for tanh, at 30 bins of its own range.

Shapes: S networks, E logged epochs, L layers, K numbers of bins, N patterns, U units.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from bound import stored_activations
from common import PAPER, Finding, Runs, execute, listed
from matplotlib.figure import Figure
from weights import MOST_EPOCHS, judged, thinned
from weights import configs as stored_configs

from ibjax import Config, Trajectory, spherical_dataset
from ibjax.analysis import Estimate, mean_over_seeds
from ibjax.figures import style
from ibjax.figures.claims import compression_over_bins, side_by_side
from ibjax.figures.style import mean_of
from ibjax.information.histogram import activation_range, histogram_information
from ibjax.information.partition import channels
from ibjax.networks.perceptron import BOUNDED

Values = npt.NDArray[np.float64]

NAME = "bins"
BINS = (8, 16, 30, 64, 256, 1024, 4096, 16384, 65536)
PAPER_BINS = 30
MINIMUM = 0.1  # bits
WIDTH = 12


@functools.partial(jax.jit, static_argnames="bins")
def _information(activations: Any, p_y_given_x: Any, own: Any, *, bins: int) -> Any:
    of = channels(p_y_given_x, None, activations.dtype)

    def one(layer: Any) -> Any:
        units = jnp.moveaxis(layer, -1, 0)[:, None]  # (U, 1, N)
        low, high = (
            jnp.where(own, end, fixed) for end, fixed in zip(activation_range(units), (-1.0, 1.0), strict=True)
        )
        return histogram_information(units, of, bins=bins, low=low, high=high)[0][0]

    return jax.lax.map(one, activations)


def information(activations: npt.ArrayLike, p_y_given_x: npt.ArrayLike, bins: int, *, own: bool = False) -> Values:
    """I(X;T), bits, of float32 activations (E, N, U) with 2 to 65536 bins a unit, (E,).

    Args:
      activations: of one layer.
      p_y_given_x: (N,).
      bins: of each unit.
      own: bins between the least and the greatest activation of each epoch, instead of [-1, 1].
    """
    if not 2 <= bins <= 65536:
        raise ValueError(f"bins = {bins!r}; allowed: 2 to 65536")
    layer = np.asarray(activations, np.float64)
    # A unit that is repeated changes no cell and no range: layers of one width share a compiled program.
    layer = layer[..., np.arange(max(WIDTH, layer.shape[-1])) % layer.shape[-1]]
    with jax.enable_x64(True):
        y = jnp.asarray(np.asarray(p_y_given_x, np.float64))
        return np.asarray(_information(jnp.asarray(layer), y, jnp.asarray(own), bins=bins))


class Measured(NamedTuple):
    """One activation; bits.

    Attributes:
      drop: (K, L) peak less end of I(X;T).
      last: (K,) the same of the last hidden layer.
      finer: (), hidden layers' mean drop at the largest number of bins less that at 30.
    """

    drop: Estimate
    last: Estimate
    finer: Estimate


@functools.lru_cache(maxsize=4)
def analysed(trajectory: Trajectory) -> Measured:
    """Compression of every layer for every number of `BINS`, from the weights stored at about 40 epochs."""
    dataset = spherical_dataset(trajectory.config["config"]["dataset"])
    bounded = trajectory.config["config"]["activation"] in BOUNDED
    layers = len(trajectory.layer_names)
    few = thinned(trajectory.epochs, MOST_EPOCHS)
    drop = np.full((trajectory.seeds.size, len(BINS), layers), np.nan)
    for row in np.flatnonzero(trajectory.healthy):
        for layer, activations in enumerate(stored_activations(trajectory, dataset.inputs, row, few)):
            own = not bounded and layer < layers - 1
            for index, count in enumerate(BINS):
                i_xt = information(activations, dataset.p_y_given_x, count, own=own)
                drop[row, index, layer] = i_xt.max() - i_xt[-1]
    hidden = drop[..., :-1].mean(axis=2)
    return Measured(
        mean_over_seeds(trajectory, drop),
        mean_over_seeds(trajectory, drop[..., -2]),
        mean_over_seeds(trajectory, hidden[:, -1] - hidden[:, BINS.index(PAPER_BINS)]),
    )


def configs(quick: bool) -> dict[str, Config]:
    """The paper's run with its weights, the one of `weights`, and the same with ReLU units."""
    tanh = stored_configs(quick)["paper"]
    return {"paper": tanh, "relu": dataclasses.replace(tanh, activation="relu")}


def measure(runs: Runs) -> list[Finding]:
    """The claims, by the rules at the top."""
    tanh, relu = analysed(runs["paper"]), analysed(runs["relu"])
    names = [str(count) for count in BINS]
    paper_bins = BINS.index(PAPER_BINS)
    last = "peak less end of I(X;T) of the last hidden layer, bits"
    return [
        judged(
            _entry(tanh.last, paper_bins),
            MINIMUM,
            ["last hidden layer"],
            claim="A tanh network compresses.",
            source=f"{PAPER}, snapshots and trajectories",
            measured=f"{last}, 30 bins a unit",
        ),
        judged(
            tanh.last,
            MINIMUM,
            names,
            claim="The compression of a tanh network does not depend on the number of bins.",
            source="follow-up work",
            measured=f"{last}, at so many bins a unit",
            on="the number of bins",
            note="Contested: Saxe et al. 2018; Goldfeld et al. 2019.",
        ),
        judged(
            tanh.finer,
            0.0,
            ["hidden layers"],
            claim="Finer bins weaken the compression.",
            source="follow-up work: Saxe et al. 2018; Goldfeld et al. 2019",
            measured=f"mean over hidden layers of peak less end of I(X;T), at {BINS[-1]} bins less at 30, bits",
            below=True,
        ),
        judged(
            _entry(relu.last, paper_bins),
            MINIMUM,
            ["last hidden layer"],
            claim="A ReLU network compresses.",
            source="the authors' reply to Saxe et al. 2018",
            measured=f"{last}, 30 bins of the layer's own range (at all numbers of bins: {listed(relu.last, names)})",
            note="Contested: Saxe et al. 2018 and Goldfeld et al. 2019 (no); Noshad et al. 2019 (yes).",
        ),
    ]


def _entry(estimate: Estimate, index: int) -> Estimate:
    parts = {name: getattr(estimate, name)[index] for name in ("mean", "low", "high", "count")}
    return dataclasses.replace(estimate, **parts)


def figure(runs: Runs) -> Figure:
    """tanh and ReLU side by side, on one scale."""
    whole, axes = side_by_side(len(runs))
    with style():
        for ax, run in zip(axes, runs.values(), strict=True):
            compression_over_bins(BINS, analysed(run).drop, run.layer_names, ax=ax)
            ax.set_title(mean_of(run, f"{run.config['config']['activation']}, 95% band"))
        top = max(ax.get_ylim()[1] for ax in axes)
        for ax in axes:
            ax.set_ylim(-0.04 * top, top)
    return whole


def main(argv: Sequence[str] | None = None) -> int:
    """Train or read, measure, draw and write."""
    return execute(NAME, __doc__, configs, measure, figure, argv)


if __name__ == "__main__":
    sys.exit(main())
