"""Are the final weights of different networks correlated, and how does the spread of the weights grow?

    python experiments/weights.py [--quick] [--out DIR]

Networks are compared as they are and with their units matched (`common/matching.py`). The matching itself finds some
correlation in independent weights: initial weights, matched in the same way, show how much. The symmetries of the task
(rotations of the icosahedron, which permute the inputs) are not divided out: two networks equal up to one of them count
as different. The means are over pairs of networks; intervals resample networks, not pairs.

Entropy of a weight: 1/2 log2(2 pi e variance) with the variance over networks, the mean over a layer's weights: that of
independent Gaussians, an upper bound. Free diffusion makes the variance grow in proportion to time: 1/2 bit for each
doubling of the epoch.

Verdicts
  nearly uncorrelated: the final weights' correlation as they are and, in a further claim, their matched correlation
    less that of the initial weights is, with 95% confidence, below 0.1 in every layer (reproduced), above 0.1 in every
    layer (not reproduced), else depends on the layer.
  entropy grows like log t: the slope of entropy against log2(epoch) after the phase change has a 95% interval above 0
    in every layer (reproduced), reaches 0 or less in every layer (not reproduced), else depends on the layer.

Shapes: S networks, E logged epochs, L layers, U units, R resamples.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import common
import numpy as np
import numpy.typing as npt
from common import Finding, Runs, Values
from common.drawing import layer_axis
from common.matching import correlations, pair_mean
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ibjax import Config, Trajectory, figures
from ibjax.analysis import Estimate, phase_change
from ibjax.analysis.statistics import percentiles, resampling_weights
from ibjax.figures.style import DASHED, error_bars, fill_band, layer_colours, legend_below, mean_of

NAME = "weights"
NEARLY = 0.1
MOST_EPOCHS = 40
ODD = frozenset({"tanh", "linear", "softsign", "arcsinh"})


def entropy(weights: Sequence[npt.NDArray[Any]], resamples: Values) -> Values:
    """Mean Gaussian entropy of a layer's weights for each resample of the networks.

    Args:
      weights: L arrays (S, E, ...).
      resamples: (R, S) how often each network counts; rows of ones are the networks as they are.

    Returns:
      (R, E, L) bits; NaN where only one network counts.
    """
    share = resamples / resamples.sum(axis=1, keepdims=True)
    columns = []
    for layer in weights:
        flat = np.asarray(layer, np.float64).reshape(*layer.shape[:2], -1)
        flat = flat - flat.mean(axis=0)  # the variance is small beside the square of the mean otherwise
        moments = [np.tensordot(share, flat**power, 1) for power in (1, 2)]
        variance = moments[1] - moments[0] ** 2
        with np.errstate(divide="ignore", invalid="ignore"):
            bits = np.where(variance > 0, 0.5 * np.log2(2 * np.pi * np.e * variance), np.nan)
        columns.append(bits.mean(axis=2))
    return np.stack(columns, axis=2)


def slope(x: Values, y: Values) -> Values:
    """Least-squares slope of y (R, E, ...) against x (E,), (R, ...)."""
    centred = x - x.mean()
    return np.asarray(np.tensordot(centred / (centred**2).sum(), y, (0, 1)))


class Results(NamedTuple):
    """Correlations are means over pairs, (L,); `growth` holds bits, (E, L) each of it and of its interval.

    Attributes:
      correlation: initial and final weights, as they are and matched.
      excess: matched correlation of final less that of initial weights.
      epochs: (E,) about 40 of the logged ones.
      growth: entropy less that at the first logged epoch, its low end, its high end.
      slope: bits for each doubling of the epoch from `start` on.
      start: epoch of the phase change; the first logged one above 0 where there is none.
    """

    correlation: dict[str, Estimate]
    excess: Estimate
    epochs: npt.NDArray[np.int64]
    growth: tuple[Values, Values, Values]
    slope: Estimate
    start: int


@functools.lru_cache(maxsize=2)
def analyse(trajectory: Trajectory) -> Results:
    """All of it, of the healthy networks of a run with stored weights."""
    rows, names = np.flatnonzero(trajectory.healthy), trajectory.layer_names
    few = common.spread_indices(trajectory.epochs, MOST_EPOCHS)
    weights = [common.stored_array(trajectory, f"weights_{name}")[rows][:, few] for name in names]
    odd = trajectory.config["config"]["activation"] in ODD
    found = {entry: correlations([w[:, entry] for w in weights], odd=odd) for entry in (0, -1)}
    labelled = {
        "initial, as they are": found[0][0],
        "initial, matched": found[0][1],
        "final, as they are": found[-1][0],
        "final, matched": found[-1][1],
    }
    change = phase_change(trajectory).network_epoch
    epochs = trajectory.epochs[few]
    start = math.ceil(change) if np.isfinite(change) else int(epochs[epochs > 0][0])
    after = epochs >= start
    if after.sum() < 3:
        raise ValueError(f"only {after.sum()} logged epochs from epoch {start} on; 3 are needed for a slope")
    one = entropy(weights, np.ones((1, len(rows))))
    drawn = entropy(weights, resampling_weights(len(rows), 1000, 0)) if len(rows) > 1 else one * np.nan
    slopes = [slope(np.log2(epochs[after]), values[:, after]) for values in (one, drawn)]
    ends = percentiles(drawn - drawn[:, :1], 0.95)
    return Results(
        correlation={label: pair_mean(values) for label, values in labelled.items()},
        excess=pair_mean(found[-1][1] - found[0][1]),
        epochs=epochs,
        growth=((one - one[:, :1])[0], *ends),
        slope=Estimate(
            mean=slopes[0][0],
            low=percentiles(slopes[1], 0.95)[0],
            high=percentiles(slopes[1], 0.95)[1],
            count=np.full(len(names), len(rows)),
            left_out=int(trajectory.diverged.sum()),
            level=0.95,
        ),
        start=start,
    )


def configs(quick: bool) -> dict[str, Config]:
    """The paper's run; `bound` and `bins` read its weights too."""
    return {"paper": common.paper(quick)}


def measure(runs: Runs) -> list[Finding]:
    """The claims, by the rules at the top."""
    found, names = analyse(runs["paper"]), runs["paper"].layer_names
    initial, final = (
        common.describe(found.correlation[key], names) for key in ("initial, as they are", "final, matched")
    )
    return [
        common.judge(
            found.correlation["final, as they are"],
            NEARLY,
            names,
            claim="Final weights of different networks are nearly uncorrelated.",
            source=f"{common.PAPER}, weights of different runs",
            measured=f"correlation of final weights as they are (of initial weights: {initial})",
            below=True,
        ),
        common.judge(
            found.excess,
            NEARLY,
            names,
            claim="They are no more correlated than initial weights when units are matched.",
            source="control, not in the paper",
            measured=f"correlation of final weights, units matched (mean {final}), less that of initial weights",
            below=True,
            note="Up to permutations and signs of hidden units; those of the task are not divided out.",
        ),
        common.judge(
            found.slope,
            0.0,
            names,
            claim="In the diffusion phase the entropy of the weights grows like the logarithm of time.",
            source=f"{common.PAPER}, theory of the diffusion phase",
            measured=f"bits for each doubling of the epoch from epoch {found.start} on (free diffusion: 0.5)",
            note="Entropy of independent Gaussians.",
        ),
    ]


def figure(runs: Runs) -> Figure:
    """Correlations and growth side by side."""
    run = runs["paper"]
    found = analyse(run)
    whole, (left, right) = figures.side_by_side(2, height=3.1)
    with figures.style():
        draw_correlations(left, found.correlation, run.layer_names)
        left.set_title(mean_of(run, "all pairs, 95% bars"))
        draw_entropy(right, found, run.layer_names)
        right.set_title(mean_of(run, "95% band"))
    return whole


def draw_correlations(ax: Axes, series: dict[str, Estimate], names: Sequence[str]) -> None:
    """Correlation of the weights of different networks: what is compared -> (L,) means over pairs with bars."""
    styles = (("0.65", "o"), ("0.4", "s"), ("#66CCEE", "^"), ("#AA3377", "D"))
    for index, ((label, estimate), (colour, marker)) in enumerate(zip(series.items(), styles, strict=True)):
        x = np.arange(len(names)) + 0.16 * (index - (len(series) - 1) / 2)
        bars = error_bars(estimate)
        ax.errorbar(x, estimate.mean, bars, color=colour, marker=marker, ms=3.5, ls="", elinewidth=1, label=label)
    ax.axhline(0.0, color="0.2", linewidth=0.6, linestyle=":")
    ax.set_ylabel("correlation of weights")
    ax.set_ylim(None, 1.03)
    layer_axis(ax, names)
    legend_below(ax, columns=2)


def draw_entropy(ax: Axes, found: Results, names: Sequence[str]) -> None:
    """Growth of the entropy of every layer's weights with its band; grey is what free diffusion does."""
    shown = found.epochs > 0
    epochs = found.epochs[shown]
    entropies, low, high = found.growth
    for layer, (name, colour) in enumerate(zip(names, layer_colours(len(names)), strict=True)):
        ax.plot(epochs, entropies[shown, layer], color=colour, label=name)
        fill_band(ax, epochs, low[shown, layer], high[shown, layer], colour)
    ax.set_xscale("log")
    ax.set_xlabel("epoch")
    ax.set_ylabel("entropy of a weight, less\nthat of the initial one [bits]")
    top = float(np.nanmax(high if np.isfinite(high).any() else entropies))
    ax.set_ylim(None, 1.15 * max(top, 0.1))
    if found.start < epochs[-1]:
        ax.axvline(found.start, color="0.7", linewidth=2.0, zorder=0)
        free = epochs[epochs >= found.start]
        rise = 0.5 * np.log2(free / free[0])
        ax.plot(free, rise, color="0.4", linestyle=DASHED, linewidth=0.9, label=r"variance $\propto$ epoch")
    legend_below(ax, columns=3)


def main(argv: Sequence[str] | None = None) -> int:
    """Train or read, measure, draw and write."""
    return common.execute(NAME, __doc__, configs, measure, figure, argv)


if __name__ == "__main__":
    sys.exit(main())
