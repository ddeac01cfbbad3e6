"""The information curve of the bottleneck, and the layers of networks beside it.

Shapes: S seeds, E logged epochs, L layers, K points of the curve. Both axes in bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes

from ibjax.analysis.statistics import Estimate, Values, mean_over_seeds
from ibjax.figures.style import (
    I_TY,
    I_XT,
    canvas,
    error_bars,
    layer_looks,
    legend_below,
    marker_area,
    mean_of,
)
from ibjax.trajectory.trajectory import Trajectory

if TYPE_CHECKING:  # the bottleneck loads the compiler, which a figure need not wait for
    from ibjax.bottleneck.curve import Curve


def information_curve(curve: Curve, trajectory: Trajectory | None = None, *, ax: Axes | None = None) -> Axes:
    """The information curve of a task and, where a run on it is given, the ends of its layers.

    Args:
      curve: of `ibjax.information_curve`; points that did not converge are left out.
      trajectory: whose layers' last points are drawn, means over networks with 95% bars.
    """
    done = curve.converged
    width, title = curve.h_sufficient, "converged points of the bottleneck"
    if trajectory is not None:
        width, title = max(width, trajectory.h_x), mean_of(trajectory, f"epoch {trajectory.epochs[-1]}, 95% bars")
    x = np.union1d(np.linspace(0.0, width, 400), curve.i_x[done])
    with canvas(ax, height=3.1) as ax:
        draw_curve(ax, x, curve.relevance(x))
        if trajectory is not None:
            i_xt, i_ty = (mean_over_seeds(trajectory, v[:, -1]) for v in (trajectory.i_xt, trajectory.i_ty))
            draw_layers(ax, i_xt, i_ty, trajectory.layer_names)
        legend_below(ax)
        ax.plot(curve.i_x[done], curve.i_y[done], ".", color="0.15", ms=2.5, zorder=1)
        ax.set_title(title)
        return ax


def draw_curve(ax: Axes, i_x: Values, i_y: Values) -> None:
    """The curve through (K,) points, with labelled axes."""
    ax.plot(i_x, i_y, color="0.15", linewidth=1.2, label="information curve", zorder=1)
    ax.set_xlabel(I_XT)
    ax.set_ylabel(I_TY)
    ax.set_ylim(-0.03, None)


def draw_layers(ax: Axes, i_xt: Estimate, i_ty: Estimate, names: Sequence[str]) -> None:
    """(L,) points with their bars, a colour and a marker per layer."""
    across, along = error_bars(i_xt), error_bars(i_ty)
    for layer, (name, colour, marker) in enumerate(layer_looks(names)):
        x, y, one = i_xt.mean[layer], i_ty.mean[layer], slice(layer, layer + 1)
        ax.errorbar(x, y, along[:, one], across[:, one], color=colour, elinewidth=0.9, ls="", zorder=2)
        ax.scatter(x, y, marker_area(marker) * 1.4, colour, marker=marker, label=name, zorder=3)
