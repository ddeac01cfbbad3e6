"""Figures of the paper's further claims, from plain arrays: weights, optimality, time and bins of the compression.

Shapes: S seeds, E logged epochs, L layers, K betas or numbers of bins. Bands and bars are 95% intervals of a mean
over seeds; where there is none (one seed) its ends are NaN and nothing is drawn for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from ibjax.analysis.phases import mean_over_seeds
from ibjax.analysis.statistics import Estimate
from ibjax.figures.style import (
    COLUMN,
    I_TY,
    I_XT,
    canvas,
    layer_colours,
    layer_markers,
    legend_below,
    marker_area,
    mean_of,
    style,
)
from ibjax.trajectory.trajectory import Trajectory

if TYPE_CHECKING:  # a figure does not wait for the compiler
    from ibjax.bottleneck.curve import Curve

Values = npt.NDArray[np.float64]


def weight_correlations(series: Mapping[str, Estimate], names: Sequence[str], *, ax: Axes | None = None) -> Axes:
    """Correlation between the weights of different networks, layer by layer.

    Args:
        series: what was compared -> its mean over pairs of networks, (L,).
        names: of the L layers.
        ax: axes to draw on; new ones by default.
    """
    with canvas(ax) as ax:
        styles = (("0.65", "o"), ("0.4", "s"), ("#66CCEE", "^"), ("#AA3377", "D"))
        for index, (label, estimate) in enumerate(series.items()):
            colour, marker = styles[index % len(styles)]
            at = np.arange(len(names)) + 0.16 * (index - (len(series) - 1) / 2)
            ax.errorbar(
                at,
                estimate.mean,
                _bars(estimate),
                color=colour,
                marker=marker,
                ms=3.5,
                ls="",
                elinewidth=1,
                label=label,
            )
        ax.axhline(0.0, color="0.2", linewidth=0.6, linestyle=":")
        ax.set_ylabel("correlation of weights")
        ax.set_ylim(None, 1.03)
        _layer_axis(ax, names)
        legend_below(ax, columns=2)
        return ax


def weight_entropy(
    epochs: npt.NDArray[np.int64],
    entropy: Values,
    low: Values,
    high: Values,
    names: Sequence[str],
    *,
    start: float,
    ax: Axes | None = None,
) -> Axes:
    """Gaussian entropy of a weight against the epoch, less its value before training; grey is what free diffusion does.

    Args:
        epochs: (E,), those above 0 are drawn.
        entropy, low, high: (E, L) bits.
        names: of the L layers.
        start: first epoch of the diffusion.
        ax: axes to draw on; new ones by default.
    """
    with canvas(ax) as ax:
        shown = epochs > 0
        x = epochs[shown]
        for layer, (name, colour) in enumerate(zip(names, layer_colours(len(names)), strict=True)):
            ax.plot(x, entropy[shown, layer], color=colour, label=name)
            ax.fill_between(x, low[shown, layer], high[shown, layer], color=colour, alpha=0.25, linewidth=0)
        ax.set_xscale("log")
        ax.set_xlabel("epoch")
        ax.set_ylabel("entropy of a weight, less\nthat of the initial one [bits]")
        top = float(np.nanmax(high if np.isfinite(high).any() else entropy))
        ax.set_ylim(None, 1.15 * max(top, 0.1))
        if np.isfinite(start) and start < x[-1]:
            ax.axvline(start, color="0.7", linewidth=2.0, zorder=0)
            free = x[x >= start]
            rise = 0.5 * np.log2(free / free[0]) if free.size else free
            ax.plot(free, rise, color="0.4", linestyle=(0, (3, 1.2)), linewidth=0.9, label="variance ~ epoch")
        legend_below(ax, columns=3)
        return ax


def layers_and_curve(
    curve: tuple[Values, Values],
    layers: tuple[Estimate, Estimate] | None = None,
    control: tuple[Values, Values] | None = None,
    names: Sequence[str] = (),
    *,
    ax: Axes | None = None,
) -> Axes:
    """The information curve, every layer's converged point, and random encoders of the same p(t).

    Args:
        curve: (K,) I(X;T) and I(T;Y) along the curve, bits.
        layers: I(X;T) and I(T;Y), each (L,); None for the curve alone.
        control: the same of the random encoders, means (L,); None for none.
        names: of the L layers.
        ax: axes to draw on; new ones by default.
    """
    with canvas(ax) as ax:
        ax.plot(*curve, color="0.15", linewidth=1.2, label="information curve", zorder=1)
        colours, markers = layer_colours(len(names)), layer_markers(len(names))
        for layer, (name, colour, marker) in enumerate(zip(names, colours, markers, strict=True)):
            if layers is not None:
                x, y = (estimate.mean[layer] for estimate in layers)
                bars = [_bars(estimate)[:, layer : layer + 1] for estimate in layers]
                ax.errorbar(x, y, bars[1], bars[0], color=colour, elinewidth=0.9, ls="", zorder=2)
                ax.scatter(x, y, marker_area(marker) * 1.4, colour, marker=marker, label=name, zorder=3)
            if control is not None:
                drawn, area = (control[0][layer], control[1][layer]), marker_area(marker)
                ax.scatter(*drawn, area, "none", marker=marker, edgecolors=colour, linewidths=0.8)
        if control is not None:
            ax.scatter([], [], 16, "none", marker="o", edgecolors="0.3", linewidths=0.8, label="random encoder")
        ax.set_xlabel(I_XT)
        ax.set_ylabel(I_TY)
        ax.set_ylim(-0.03, None)
        legend_below(ax, columns=4)
        return ax


def information_curve(curve: Curve, trajectory: Trajectory | None = None, *, ax: Axes | None = None) -> Axes:
    """The information curve of a task and, where a run on it is given, the ends of its layers.

    Args:
        curve: of `ibjax.information_curve`; points that did not converge are left out.
        trajectory: whose layers' last points are drawn, means over networks with 95% bars.
        ax: axes to draw on; new ones by default.
    """
    done = curve.converged
    width = curve.h_sufficient if trajectory is None else max(curve.h_sufficient, trajectory.h_x)
    x = np.union1d(np.linspace(0.0, width, 400), curve.i_x[done])
    layers = None
    names: tuple[str, ...] = ()
    if trajectory is not None:
        ends = (mean_over_seeds(trajectory, values[:, -1]) for values in (trajectory.i_xt, trajectory.i_ty))
        layers, names = (next(ends), next(ends)), trajectory.layer_names
    with canvas(ax, height=3.1) as ax:
        layers_and_curve((x, curve.relevance(x)), layers, names=names, ax=ax)
        ax.plot(curve.i_x[done], curve.i_y[done], ".", color="0.15", ms=2.5, zorder=1)
        ax.set_title(
            "converged points of the bottleneck"
            if trajectory is None
            else mean_of(trajectory, f"epoch {trajectory.epochs[-1]}, 95% bars")
        )
        return ax


def inverse_betas(inverse: Estimate, names: Sequence[str], *, ax: Axes | None = None) -> Axes:
    """1/beta* of every layer: the slope of the curve where the layer is most like a bottleneck."""
    with canvas(ax) as ax:
        colours, markers = layer_colours(len(names)), layer_markers(len(names))
        for layer, (colour, marker) in enumerate(zip(colours, markers, strict=True)):
            bar = _bars(inverse)[:, layer : layer + 1]
            ax.errorbar(layer, inverse.mean[layer], bar, color=colour, marker=marker, ms=4, ls="", elinewidth=1)
        ax.set_ylabel(r"$1/\beta^*$")
        ax.set_ylim(0.0, None)
        _layer_axis(ax, names)
        return ax


def compression_fits(
    epochs: npt.NDArray[np.int64],
    values: Values,
    logarithm: Values,
    power: Values,
    names: Sequence[str],
    *,
    ax: Axes | None = None,
) -> Axes:
    """I(X;T) of one network after its peak, per layer, with the logarithm (solid) and the power law (dashed) fitted.

    Args:
        epochs: (E,), those above 0 are drawn.
        values, logarithm, power: (E, L) bits, NaN where nothing is fitted.
        names: of the L layers.
        ax: axes to draw on; new ones by default.
    """
    with canvas(ax) as ax:
        shown = epochs > 0
        for layer, (name, colour) in enumerate(zip(names, layer_colours(len(names)), strict=True)):
            ax.plot(epochs[shown], values[shown, layer], ".", ms=2, color=colour, alpha=0.55, label=name)
            ax.plot(epochs[shown], logarithm[shown, layer], color=colour, linewidth=0.9)
            ax.plot(epochs[shown], power[shown, layer], color=colour, linewidth=0.9, linestyle=(0, (3, 1.2)))
        ax.plot([], [], color="0.3", label="a - D ln t")
        ax.plot([], [], color="0.3", linestyle=(0, (3, 1.2)), label="a + b t^(-c)")
        ax.set_xscale("log")
        ax.set_xlabel("epoch")
        ax.set_ylabel(I_XT)
        ax.set_ylim(0.0, None)
        legend_below(ax, columns=4)
        return ax


def compression_over_bins(bins: Sequence[int], drop: Estimate, names: Sequence[str], *, ax: Axes | None = None) -> Axes:
    """Peak less end of I(X;T), per layer, against the number of intervals a unit's range is cut into.

    Args:
        bins: (K,) numbers of intervals.
        drop: (K, L) bits.
        names: of the L layers.
        ax: axes to draw on; new ones by default.
    """
    with canvas(ax) as ax:
        for layer, (name, colour) in enumerate(zip(names, layer_colours(len(names)), strict=True)):
            ax.plot(bins, drop.mean[:, layer], color=colour, marker=".", ms=4, label=name)
            ax.fill_between(bins, drop.low[:, layer], drop.high[:, layer], color=colour, alpha=0.25, linewidth=0)
        ax.axhline(0.0, color="0.2", linewidth=0.6, linestyle=":")
        ax.axvline(30, color="0.8", linewidth=2.0, zorder=0, label="30 bins")
        ax.set_xscale("log", base=2)
        ax.xaxis.set_major_locator(FixedLocator([4.0**power for power in range(1, 17)]))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"$2^{{{np.log2(value):.0f}}}$"))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_xlabel("bins of a unit")
        ax.set_xlim(0.8 * min(bins), 1.25 * max(bins))
        ax.set_ylabel(r"peak $-$ end of $I(X;T)$ [bits]")
        legend_below(ax, columns=4)
        return ax


def side_by_side(count: int, *, height: float = 2.9, columns: int = 3) -> tuple[Figure, list[Axes]]:
    """A figure of `count` axes, each a column wide and `height` inches high, at most so many `columns` in a row.

    Draw within `ibjax.figures.style()`.
    """
    columns = min(columns, count)
    rows = -(-count // columns)
    with style():
        figure = Figure(figsize=(COLUMN * columns, height * rows), layout="constrained")
        panels = list(np.ravel(figure.subplots(rows, columns)))
        for panel in panels[count:]:
            panel.remove()
        return figure, panels[:count]


def _bars(estimate: Estimate) -> Values:
    """(2, ...) lengths below and above the mean; 0 where there is no interval."""
    return np.nan_to_num(np.maximum([estimate.mean - estimate.low, estimate.high - estimate.mean], 0.0))


def _layer_axis(ax: Axes, names: Sequence[str]) -> None:
    ax.set_xticks(range(len(names)), [name.replace("hidden_", "") for name in names])
    ax.set_xlim(-0.5, len(names) - 0.5)
    ax.set_xlabel("hidden layer, output")
