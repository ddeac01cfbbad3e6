"""What several experiments draw, beside the figures of `ibjax.figures`.

Shapes: S networks, L layers, K entries of the horizontal axis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter

from common.evidence import Values, mean
from ibjax.figures.style import legend_below

EVENTS = (("black", "o"), ("#00708A", "s"), ("0.55", "^"), ("#882255", "D"))
"""Colour and marker of quantities that are neither layers nor epochs nor ensembles."""


def draw_event_epochs(ax: Axes, series: Mapping[str, Values], names: Sequence[str]) -> None:
    """Epochs of several events on a logarithmic axis: geometric means over networks with 95% intervals.

    Args:
      ax: where to draw.
      series: event -> log10 of its epoch, (S, K); NaN: it never comes.
      names: of the K entries, such as the layers.
    """
    for number, (label, logarithms) in enumerate(series.items()):
        colour, marker = EVENTS[number % len(EVENTS)]
        at = np.arange(len(names)) + 0.14 * (number - (len(series) - 1) / 2)
        powers = 10.0 ** np.array([mean(column) for column in logarithms.T])
        draw_means(ax, at, powers, color=colour, marker=marker, ms=4, ls="", label=label)
    ax.set_yscale("log")
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.yaxis.set_major_formatter(lambda epoch, _: f"{epoch:,.0f}")
    ax.set_ylabel("epochs")
    layer_axis(ax, names)
    legend_below(ax, columns=2)


def draw_means(ax: Axes, x: npt.ArrayLike, intervals: Values, **look: object) -> None:
    """Points with their error bars, none where an interval is unknown.

    Args:
      ax: where to draw.
      x: (K,) places.
      intervals: (K, 3) estimate, low, high.
      look: of `Axes.errorbar`.
    """
    estimate, low, high = intervals.T
    bars = np.nan_to_num(np.maximum([estimate - low, high - estimate], 0.0))
    ax.errorbar(x, estimate, bars, elinewidth=0.9, **look)  # type: ignore[arg-type]


def layer_axis(ax: Axes, names: Sequence[str]) -> None:
    """The L layers in order on the horizontal axis."""
    ax.set_xticks(range(len(names)), [name.replace("hidden_", "").replace("output", "out") for name in names])
    ax.set_xlim(-0.5, len(names) - 0.5)
    ax.set_xlabel("hidden layer, output")
