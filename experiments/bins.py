"""Does the compression depend on the number of cells? Sign and size of it, from 8 to 65536 bins a unit, tanh and ReLU.

    python experiments/bins.py [--quick] [--out DIR]

Nothing is trained anew for a number of bins: activations are recomputed from the weights stored at each logged epoch.
The compression of a network's layer is the largest I(X;T) over the logged epochs less that of the last: never negative,
so a noisy curve shows a little where there is none; below 0.1 bits it counts as none. tanh units and the output are
binned on [-1, 1]; ReLU units from the layer's least to its greatest activation at that epoch. With ever finer bins
I(X;T) tends to H(X) at every epoch, whatever the network does: what vanishes is the measure's power to see.

Cells are exact up to 65536 bins: float32 activations are binned in float64.

Verdicts
  tanh compresses at the paper's 30 bins: the mean compression of the last hidden layer has its 95% interval above 0.1
    bits (reproduced), below (not reproduced), else undecided.
  it does so for any number of bins: that interval is above 0.1 bits for each number of bins (reproduced), for none of
    them (not reproduced), else depends on the bins: those where it is.
  finer bins weaken it: mean over hidden layers of the compression at the largest number of bins less that at 30; below
    0 (reproduced), above 0 (not reproduced), else undecided.
  ReLU compresses (contested): as for tanh, at 30 bins of its range.

Shapes: S networks, E logged epochs, L layers, K numbers of bins, N patterns, U units.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import common
import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from common import Finding, Runs, Values
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from weights import MOST_EPOCHS

from ibjax import Config, Trajectory, figures, spherical_dataset
from ibjax.analysis import Estimate, mean_over_seeds
from ibjax.figures.style import fill_band, layer_colours, legend_below, mean_of
from ibjax.information.histogram import histogram_information
from ibjax.information.partition import channels

NAME = "bins"
BINS = (8, 16, 30, 64, 256, 1024, 4096, 16384, 65536)
PAPER_BINS = 30
MINIMUM = 0.1  # bits
WIDTH = 12


@functools.partial(jax.jit, static_argnames="bins")
def _information(activations: Any, low: Any, high: Any, p_y_given_x: Any, *, bins: int) -> Any:
    of_patterns = channels(p_y_given_x, None, activations.dtype)

    def of_epoch(epoch: Any) -> Any:
        layer, low, high = epoch
        units = jnp.moveaxis(layer, -1, 0)[:, None]  # (U, 1, N)
        return histogram_information(units, of_patterns, bins=bins, low=low, high=high)[0][0]

    return jax.lax.map(of_epoch, (activations, low, high))


def information(activations: npt.ArrayLike, p_y_given_x: npt.ArrayLike, bins: int, *, bounded: bool = True) -> Values:
    """I(X;T), bits, of float32 activations (E, N, U) with 2 to 65536 bins a unit, (E,).

    Args:
      activations: of one layer.
      p_y_given_x: (N,).
      bins: of each unit.
      bounded: bins on [-1, 1]; otherwise between the least and the greatest activation of each epoch.
    """
    if not 2 <= bins <= 65536:
        raise ValueError(f"bins = {bins!r}; allowed: 2 to 65536")
    layer = np.asarray(activations, np.float64)
    # A unit that is repeated changes no cell and no range: layers of one width share a compiled program.
    layer = layer[..., np.arange(max(WIDTH, layer.shape[-1])) % layer.shape[-1]]
    low, high = np.full((2, len(layer)), [[-1.0], [1.0]])
    if not bounded:
        low, high = layer.min(axis=(1, 2)), layer.max(axis=(1, 2))
        high = np.where(high > low, high, low + 1)  # any range will do for a layer that is constant
    with jax.enable_x64(True):
        return np.asarray(_information(layer, low, high, np.asarray(p_y_given_x, np.float64), bins=bins))


class Results(NamedTuple):
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
def analyse(trajectory: Trajectory) -> Results:
    """Compression of every layer for every number of `BINS`, from the weights stored at about 40 epochs."""
    dataset = spherical_dataset(trajectory.config["config"]["dataset"])
    rule = dataset.p_y_given_x
    bounded = "range_low" not in trajectory.extras  # stored only where a layer has no fixed range
    layers = len(trajectory.layer_names)
    few = common.spread_indices(trajectory.epochs, MOST_EPOCHS)
    drop = np.full((trajectory.seeds.size, len(BINS), layers), np.nan)
    for row in np.flatnonzero(trajectory.healthy):
        for layer, activations in enumerate(common.stored_activations(trajectory, dataset.inputs, row, few)):
            for index, count in enumerate(BINS):
                i_xt = information(activations, rule, count, bounded=bounded or layer == layers - 1)
                drop[row, index, layer] = i_xt.max() - i_xt[-1]
    hidden = drop[..., :-1].mean(axis=2)
    return Results(
        mean_over_seeds(trajectory, drop),
        mean_over_seeds(trajectory, drop[..., -2]),
        mean_over_seeds(trajectory, hidden[:, -1] - hidden[:, BINS.index(PAPER_BINS)]),
    )


def configs(quick: bool) -> dict[str, Config]:
    """The paper's run with its weights, the one of `weights`, and the same with ReLU units."""
    tanh = common.paper(quick)
    return {"paper": tanh, "relu": dataclasses.replace(tanh, activation="relu")}


def measure(runs: Runs) -> list[Finding]:
    """The claims, by the rules at the top."""
    tanh, relu = analyse(runs["paper"]), analyse(runs["relu"])
    names = [str(count) for count in BINS]
    paper_bins = BINS.index(PAPER_BINS)
    last = "peak less end of I(X;T) of the last hidden layer, bits"
    return [
        common.judge(
            common.part(tanh.last, paper_bins),
            MINIMUM,
            ["last hidden layer"],
            claim="A tanh network compresses.",
            source=f"{common.PAPER}, snapshots and trajectories",
            measured=f"{last}, 30 bins a unit",
        ),
        common.judge(
            tanh.last,
            MINIMUM,
            names,
            claim="The compression of a tanh network does not depend on the number of bins.",
            source="follow-up work",
            measured=f"{last}, at so many bins a unit",
            on="the number of bins",
            note="Contested: Saxe et al. 2018; Goldfeld et al. 2019.",
        ),
        common.judge(
            tanh.finer,
            0.0,
            ["hidden layers"],
            claim="Finer bins weaken the compression.",
            source="follow-up work: Saxe et al. 2018; Goldfeld et al. 2019",
            measured=f"mean over hidden layers of peak less end of I(X;T), at {BINS[-1]} bins less at 30, bits",
            below=True,
        ),
        common.judge(
            common.part(relu.last, paper_bins),
            MINIMUM,
            ["last hidden layer"],
            claim="A ReLU network compresses.",
            source="the authors' reply to Saxe et al. 2018",
            measured=f"{last}, 30 bins of the layer's own range (at all numbers of bins: "
            f"{common.describe(relu.last, names)})",
            note="Contested: Saxe et al. 2018 and Goldfeld et al. 2019 (no); Noshad et al. 2019 (yes).",
        ),
    ]


def figure(runs: Runs) -> Figure:
    """tanh and ReLU side by side, on one scale."""
    whole, axes = figures.side_by_side(len(runs))
    with figures.style():
        for ax, run in zip(axes, runs.values(), strict=True):
            draw_drops(ax, analyse(run).drop, run.layer_names)
            ax.set_title(mean_of(run, f"{run.config['config']['activation']}, 95% band"))
        top = max(ax.get_ylim()[1] for ax in axes)
        for ax in axes:
            ax.set_ylim(-0.04 * top, top)
    return whole


def draw_drops(ax: Axes, drop: Estimate, names: Sequence[str]) -> None:
    """Peak less end of I(X;T), bits, (K, L), against the number of `BINS`, a line and a band per layer."""
    for layer, (name, colour) in enumerate(zip(names, layer_colours(len(names)), strict=True)):
        ax.plot(BINS, drop.mean[:, layer], color=colour, marker=".", ms=4, label=name)
        fill_band(ax, BINS, drop.low[:, layer], drop.high[:, layer], colour)
    ax.axhline(0.0, color="0.2", linewidth=0.6, linestyle=":")
    ax.axvline(PAPER_BINS, color="0.8", linewidth=2.0, zorder=0, label=f"{PAPER_BINS} bins")
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_locator(FixedLocator([4.0**power for power in range(1, 17)]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"$2^{{{np.log2(value):.0f}}}$"))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("bins of a unit")
    ax.set_xlim(0.8 * min(BINS), 1.25 * max(BINS))
    ax.set_ylabel(r"peak $-$ end of $I(X;T)$ [bits]")
    legend_below(ax)


def main(argv: Sequence[str] | None = None) -> int:
    """Train or read, measure, draw and write."""
    return common.execute(NAME, __doc__, configs, measure, figure, argv)


if __name__ == "__main__":
    sys.exit(main())
