"""What several experiments draw, beside the figures of `ibjax.figures`.

Shapes: L layers, K entries of the horizontal axis.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from ibjax.analysis import Estimate
from ibjax.figures.style import error_bars, layer_colours, layer_markers, legend_below


def draw_event_epochs(ax: Axes, series: Mapping[str, Estimate], names: Sequence[str]) -> None:
    """Epochs of several events with their intervals, on a logarithmic axis.

    Args:
      ax: where to draw.
      series: event -> mean of log10 of its epoch, (K,); NaN entries are not drawn.
      names: of the K entries, such as the layers.
    """
    for number, (label, logarithm) in enumerate(series.items()):
        at = np.arange(len(names)) + 0.14 * (number - (len(series) - 1) / 2)
        powers = {end: 10.0 ** getattr(logarithm, end) for end in ("mean", "low", "high")}
        epoch = dataclasses.replace(logarithm, **powers)
        colour, marker = layer_colours(8)[number % 8], layer_markers(8)[number % 8]
        bars = error_bars(epoch)
        ax.errorbar(at, epoch.mean, bars, color=colour, marker=marker, ms=4, ls="", elinewidth=1, label=label)
    ax.set_yscale("log")
    ax.set_ylabel("epochs")
    layer_axis(ax, names)
    legend_below(ax, columns=2)


def layer_axis(ax: Axes, names: Sequence[str]) -> None:
    """The L layers in order on the horizontal axis."""
    ax.set_xticks(range(len(names)), [name.replace("hidden_", "") for name in names])
    ax.set_xlim(-0.5, len(names) - 0.5)
    ax.set_xlabel("hidden layer, output")


def shades(count: int) -> list[str]:
    """Colours of an ordered row of ensembles."""
    return [to_hex(colour) for colour in matplotlib.colormaps["plasma"](np.linspace(0.0, 0.85, max(count, 2)))[:count]]
