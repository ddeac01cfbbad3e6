"""Is the compression exponential in time? I(X;T) after its peak against log epoch, and against a power law.

    python experiments/compression_time.py [--quick] [--out DIR]

If the weights diffuse, compressing by dI bits takes about exp(dI/D) epochs: I(X;T) = a - D ln t. The alternative is a
power law I(X;T) = a + b t^(-c) with c > 0, which levels off. Both are fitted by least squares to each network and layer
at the logged epochs from the peak of I(X;T) to the end, where it falls by 0.1 bits or more. The power law has one
parameter more, for which AIC and BIC charge: with n epochs and the residual sum of squares RSS,

    AIC = n ln(RSS/n) + 2 k,   BIC = n ln(RSS/n) + k ln n,   k = 3 (logarithm), 4 (power law), the variance counted.

The power law tends to the logarithm as c -> 0, so it fits at least as well: only the charge can favour the logarithm.
Successive epochs err together, which makes n too large: the differences say which, not how surely; how surely is seen
from their interval over networks.

Verdict, per layer: the mean over networks of BIC(power) - BIC(logarithm) has a 95% interval above 0 (logarithm) or
below 0 (power law), else undecided. "Exponential in time" is reproduced if the logarithm wins
in every layer that compresses, not reproduced if the power law does, else it depends on the layer.

Shapes: S networks, E logged epochs, L layers.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import sys
from collections.abc import Sequence
from typing import NamedTuple

import common
import depth
import numpy as np
import numpy.typing as npt
from common import Finding, Runs, Values
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import optimize

from ibjax import Config, Trajectory, figures
from ibjax.analysis import Estimate, compression, mean_over_seeds
from ibjax.figures.style import DASHED, I_XT, layer_colours, legend_below, network_count

NAME = "compression_time"


class Fit(NamedTuple):
    """Both laws fitted to one curve.

    Attributes:
      slope: D, bits for each factor e of time.
      exponent: c of the power law.
      aic, bic: that of the power law less that of the logarithm; positive where the logarithm is the better one.
      explained: share of the variance the logarithm explains.
      logarithm, power: (E,) the fitted curves, bits.
    """

    slope: float
    exponent: float
    aic: float
    bic: float
    explained: float
    logarithm: Values
    power: Values


EXPONENTS = (1e-3, 8.0)
_LEAST = 6  # epochs; fewer leave no residual worth comparing


def fit_laws(epochs: npt.ArrayLike, values: npt.ArrayLike) -> Fit | None:
    """Fit a - D ln t and a + b t^(-c) to I(X;T) (E,) at epochs (E,) > 0; None for fewer than 6 epochs.

    c lies between 0.001 and 8, b is free: the best of a coarse grid of c is polished within its neighbours.
    """
    t, y = np.asarray(epochs, np.float64), np.asarray(values, np.float64)
    if t.size < _LEAST:
        return None
    time = t / t[0]

    def linear(x: Values) -> tuple[float, Values, float]:
        """Residual sum of squares, the fitted line, its slope."""
        centred = x - x.mean()
        rise = float(centred @ y / (centred @ centred))
        line = y.mean() + rise * centred
        return float(((y - line) ** 2).sum()), line, rise

    def cost(log_c: float) -> float:
        return linear(time ** -np.exp(log_c))[0]

    grid = np.log(np.geomspace(*EXPONENTS, 40))
    best = int(np.argmin([cost(c) for c in grid]))
    bounds = grid[max(best - 1, 0)], grid[min(best + 1, grid.size - 1)]
    log_c = float(optimize.minimize_scalar(cost, bounds=bounds, method="bounded", options={"xatol": 1e-6}).x)
    exponent = float(np.exp(min((log_c, grid[best]), key=cost)))
    (rss_log, logarithm, rise), (rss_power, power, _) = linear(np.log(time)), linear(time**-exponent)
    total = float(((y - y.mean()) ** 2).sum())
    floor = 1e-24 * max(total, 1e-300)  # rounding: an exact fit is no infinite evidence
    gain = t.size * np.log(max(rss_power, floor) / max(rss_log, floor))
    explained = 1 - rss_log / total if total > 0 else 1.0
    return Fit(-rise, exponent, float(gain + 2), float(gain + np.log(t.size)), explained, logarithm, power)


class Results(NamedTuple):
    """Means over the networks whose layer compresses, (L,) each; `fits` of the first healthy network.

    Attributes:
      slope: D, bits for each factor e of time.
      bic, aic: power law less logarithm.
      explained: share of the variance the logarithm explains.
      fits: (E, L) measured, logarithm, power law; NaN where nothing is fitted.
    """

    slope: Estimate
    bic: Estimate
    aic: Estimate
    explained: Estimate
    fits: tuple[Values, Values, Values]


@functools.lru_cache(maxsize=16)
def analyse(trajectory: Trajectory) -> Results:
    """Both laws for every network and layer of a run."""
    epochs, seen = trajectory.epochs, compression(trajectory)
    S, E, L = trajectory.i_xt.shape
    table = np.full((S, L, 4), np.nan)
    curves = np.full((3, E, L), np.nan)
    rows = np.flatnonzero(trajectory.healthy)
    for row, layer in itertools.product(rows, range(L)):
        values = trajectory.i_xt[row, :, layer].astype(np.float64)
        if row == rows[0]:
            curves[0, :, layer] = values
        after = epochs >= max(seen.peak_epoch[row, layer], 1)
        if seen.drop[row, layer] < seen.minimum_drop or (fit := fit_laws(epochs[after], values[after])) is None:
            continue
        table[row, layer] = fit.slope, fit.bic, fit.aic, fit.explained
        if row == rows[0]:
            curves[1, after, layer], curves[2, after, layer] = fit.logarithm, fit.power
    slope, bic, aic, explained = (mean_over_seeds(trajectory, table[..., k]) for k in range(table.shape[2]))
    return Results(slope, bic, aic, explained, (curves[0], curves[1], curves[2]))


def configs(quick: bool) -> dict[str, Config]:
    """The paper's run, and those of `depth`."""
    paper = common.paper(quick)
    return {"paper": paper} | {label: config for label, config in depth.configs(quick).items() if config != paper}


def measure(runs: Runs) -> list[Finding]:
    """The claim for each run, by the rule at the top."""
    findings = []
    for run in runs.values():
        found, names = analyse(run), run.layer_names
        findings.append(
            common.judge(
                found.bic,
                0.0,
                names,
                claim=f"Compression takes exponential time, {len(names) - 1} hidden layer{'s' * (len(names) > 2)}: "
                "I(X;T) falls like log t.",
                source=f"{common.PAPER}, theory of the diffusion phase",
                measured="BIC of a power law less that of the logarithm "
                f"(AIC: {common.describe(found.aic, names)}; "
                f"D, bits for each factor e of time: {common.describe(found.slope, names)}; "
                f"share of variance the logarithm explains: {common.describe(found.explained, names)})",
                note="Networks in which I(X;T) of the layer falls by less than 0.1 bits do not count.",
            )
        )
    return findings


def figure(runs: Runs) -> Figure:
    """One network of each run, with both fits."""
    whole, axes = figures.side_by_side(len(runs), height=3.1, columns=4)
    with figures.style():
        for ax, run in zip(axes, sorted(runs.values(), key=lambda run: len(run.layer_names)), strict=True):
            draw_fits(ax, run.epochs, analyse(run).fits, run.layer_names)
            first, hidden = int(run.seeds[np.flatnonzero(run.healthy)[0]]), len(run.layer_names) - 1
            ax.set_title(f"{hidden} hidden layer{'s' * (hidden != 1)}, seed {first} of {network_count(run)}")
    return whole


def draw_fits(
    ax: Axes, epochs: npt.NDArray[np.int64], fits: tuple[Values, Values, Values], names: Sequence[str]
) -> None:
    """I(X;T) of one network, with the logarithm (solid) and the power law (dashed) fitted from its peak on.

    Args:
      ax: where to draw.
      epochs: (E,), those above 0 are drawn.
      fits: (E, L) measured, logarithm, power law, bits; NaN where nothing is fitted.
      names: of the L layers.
    """
    shown = epochs > 0
    values, logarithm, power = (curve[shown] for curve in fits)
    for layer, (name, colour) in enumerate(zip(names, layer_colours(len(names)), strict=True)):
        ax.plot(epochs[shown], values[:, layer], ".", ms=2, color=colour, alpha=0.55, label=name)
        ax.plot(epochs[shown], logarithm[:, layer], color=colour, linewidth=0.9)
        ax.plot(epochs[shown], power[:, layer], color=colour, linewidth=0.9, linestyle=DASHED)
    ax.plot([], [], color="0.3", label=r"$a - D\,\ln t$")
    ax.plot([], [], color="0.3", linestyle=DASHED, label=r"$a + b\,t^{-c}$")
    ax.set_xscale("log")
    ax.set_xlabel("epoch")
    ax.set_ylabel(I_XT)
    ax.set_ylim(0.0, None)
    for line in legend_below(ax).get_lines():
        line.set_markersize(5.0)  # or the colours of the dots could not be told apart


def main(argv: Sequence[str] | None = None) -> int:
    """Read the runs that are there, measure, draw and write; nothing is trained."""
    options = common.parser(__doc__).parse_args(argv)
    wanted = configs(options.quick)
    if options.seeds is not None:
        wanted = {label: dataclasses.replace(config, seeds=options.seeds) for label, config in wanted.items()}
    there = {label: config for label, config in wanted.items() if common.run_file(config, options.out).exists()}
    if not there:
        print(f"no run to read in {options.out}: run experiments/weights.py or experiments/depth.py first")
        return 1
    runs = common.train(there, options.out)
    common.write(NAME, measure(runs), figure(runs), options.out, options.quick)
    return 0


if __name__ == "__main__":
    sys.exit(main())
