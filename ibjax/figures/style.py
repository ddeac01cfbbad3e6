"""The house style: size and type, panels and letters, a colour and a marker per layer, axes, bands, the seed count.

A figure is a journal column wide (86 mm), its type no smaller than 6 points. Three ordered quantities have three scales
that no reader takes for one another, each light to dark: layers orange to black, epochs blue, ensembles green.

Shapes: S seeds, E logged epochs, L layers.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from string import ascii_lowercase
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, SymLogNorm, to_hex
from matplotlib.figure import Figure, SubFigure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, NullLocator
from matplotlib.transforms import ScaledTranslation

from ibjax.analysis.statistics import Estimate, Values
from ibjax.trajectory.trajectory import Trajectory

COLUMN = 3.4
"""Width of a journal column, inches."""

I_XT = "$I(X;T)$ [bits]"
I_TY = "$I(T;Y)$ [bits]"

DASHED = (0, (3, 1.2))
"""Line style of the second of two quantities."""

# Matplotlib's inferno, from its orange, the lightest that stands out from white, to a dark violet; the output is black.
# Lightness falls evenly: any two of eight layers differ for every colour vision, and in grey.
_LAYERS = matplotlib.colormaps["inferno"]
_FIRST, _LAST = 0.8, 0.25
_HIDDEN = 7
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_OUTPUT = "*"
_LETTER = "panel letter"
_AREAS = {"o": 16, "s": 14, "D": 13, "*": 34}


def style() -> AbstractContextManager[None]:
    """Context with settings for a column's width: used for every new figure, and for figures that users make."""
    ticks = {"labelsize": 7, "major.width": 0.6, "minor.width": 0.4}
    return matplotlib.rc_context(
        {
            "font.size": 8,
            "axes.titlesize": 8,
            "axes.labelsize": 8,
            "axes.linewidth": 0.6,
            "legend.fontsize": 6.5,
            "legend.frameon": False,
            "legend.handlelength": 1.4,
            "legend.columnspacing": 1.0,
            "legend.borderaxespad": 0.3,
            "lines.linewidth": 1.1,
            "savefig.dpi": 300,
            "pdf.fonttype": 42,  # TrueType, as journals ask
            **{f"{axis}tick.{key}": value for axis in "xy" for key, value in ticks.items()},
        }
    )


@contextmanager
def canvas(ax: Axes | None, *, height: float = 2.7) -> Iterator[Axes]:
    """The axes given, in the caller's style, or the only ones of a new figure in `style()`; inches."""
    if ax is not None:
        yield ax
        return
    with style():
        yield Figure(figsize=(COLUMN, height), layout="constrained").add_subplot()


def side_by_side(
    count: int, *, width: float = COLUMN, height: float = 2.9, columns: int = 1, part: SubFigure | None = None
) -> tuple[Figure, list[Axes]]:
    """A figure of several panels with their letters, row by row; draw on them within `style()`.

    One under the other by default, so that the figure fits a journal's column.

    Args:
      count: of the panels.
      width, height: of a panel, inches.
      columns: panels in a row, at most.
      part: of a figure, where the panels go; a new figure by default.

    Returns:
      The whole figure and its `count` panels.

    Raises:
      ValueError: `count` or `columns` is below 1.
    """
    if count < 1 or columns < 1:
        raise ValueError(f"count = {count!r}, columns = {columns!r}; allowed: at least 1")
    columns = min(columns, count)
    rows = -(-count // columns)
    with style():
        whole = part or Figure(figsize=(width * columns, height * rows), layout="constrained")
        panels = list(np.ravel(whole.subplots(rows, columns)))
        for panel in panels[count:]:
            panel.remove()
        letter(panels[:count])
        return whole.figure, panels[:count]


def letter(panels: Iterable[Axes]) -> None:
    """Mark panels **(a)**, (b), ... at their top left corners, outside; one alone gets none.

    Called again, it replaces the letters: so the panels of several parts of a figure run on.
    """
    several = list(panels)
    for index, panel in enumerate(several):
        for old in [text for text in panel.texts if text.get_gid() == _LETTER]:
            old.remove()
        if len(several) > 1:
            sign = ascii_lowercase[index % 26] * (1 + index // 26)
            look: dict[str, Any] = {"fontweight": "bold", "ha": "right", "va": "bottom", "gid": _LETTER}
            panel.annotate(f"({sign})", (0.0, 1.0), (-2, 3), "axes fraction", "offset points", **look)


def layer_colours(L: int) -> list[str]:
    """A colour per layer, from the input's side to the output, deeper is darker.

    Hidden layer k has one colour in every network of up to seven hidden layers, as in the paper's, and the output is
    always the darkest: so one legend serves networks of several depths. Deeper networks share the scale out evenly.
    """
    places = np.linspace(_FIRST, _LAST, max(_HIDDEN, L - 1))[: L - 1]
    return [to_hex(colour) for colour in _LAYERS(np.append(places, 0.0))]


def layer_markers(L: int) -> list[str]:
    """A marker per layer, so that colour is not the only sign: hidden layer k has one everywhere, the output a star."""
    return [*(_MARKERS[layer % len(_MARKERS)] for layer in range(L - 1)), _OUTPUT]


def label(name: str) -> str:
    """A layer's name as a label: its dollars begin no formula, a leading underscore does not hide it from legends."""
    text = name.replace("$", r"\$")
    return rf"$\_${text[1:]}" if text.startswith("_") else text


def layer_looks(names: Sequence[str]) -> list[tuple[str, str, str]]:
    """Label, colour and marker of every layer; `names` are all of a network's, the output last."""
    return list(zip(map(label, names), layer_colours(len(names)), layer_markers(len(names)), strict=True))


def marker_area(marker: str) -> float:
    """Square points that make the markers look equally large."""
    return _AREAS.get(marker, 20)


def network_count(trajectory: Trajectory, note: str = "", before: str = "") -> str:
    """How many networks a figure shows, a note, and how many it leaves out; on two lines if long."""
    lost = int(trajectory.diverged.sum())
    shown = trajectory.seeds.size - lost
    text = f"{before}{shown} network{'s' * (shown != 1)}{', ' * bool(note)}{note}"
    gap = " " if len(text) < 25 else "\n"
    return f"{text},{gap}{lost} diverged left out" if lost else text


def mean_of(trajectory: Trajectory, note: str = "") -> str:
    """`network_count` for a figure of means."""
    return network_count(trajectory, note, before="mean of " if trajectory.healthy.sum() > 1 else "")


def bit_ticks(axis: Axis) -> None:
    """Whole bits."""
    axis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 3, 5, 10]))


def epoch_ticks(axis: Axis, last: int, first: int = 0) -> None:
    """Ticks at 0 (as "0") and at the powers of ten from `first` to `last` (at least 1), none between."""
    decades = [0, *(10**power for power in range(len(str(max(last, 1)))))]
    axis.set_major_locator(FixedLocator([tick for tick in decades if tick >= first]))
    axis.set_major_formatter(
        FuncFormatter(lambda epoch, _: f"{epoch:.0f}" if epoch < 100 else f"$10^{{{np.log10(epoch):.0f}}}$")
    )
    axis.set_minor_locator(NullLocator())


def epoch_axis(ax: Axes, trajectory: Trajectory) -> None:
    """Logarithmic epochs with room for epoch 0: linear from 0 to 1, half a decade wide."""
    first, last = int(trajectory.epochs[0]), max(int(trajectory.epochs[-1]), 1)
    ax.set_xscale("symlog", linthresh=1.0, linscale=0.5)
    ax.set_xlim(-0.08 if first == 0 else first * 0.95, last * 1.15)
    epoch_ticks(ax.xaxis, last, first)
    minor = [digit * 10**power for power in range(len(str(last))) for digit in range(2, 10)]
    ax.xaxis.set_minor_locator(FixedLocator([tick for tick in minor if tick <= last]))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel("epoch")


def epoch_colours(last: float) -> ScalarMappable:
    """Epoch, up to `last`, to colour on the scale of `epoch_axis`: blue, later is darker."""
    norm = SymLogNorm(linthresh=1.0, linscale=0.5, vmin=0.0, vmax=max(last, 1.0), base=10)
    return ScalarMappable(norm, ListedColormap(matplotlib.colormaps["Blues"](np.linspace(0.3, 1.0, 256))))


def ensemble_colours(count: int) -> list[str]:
    """Colours of an ordered row of ensembles, such as rising shares of the patterns: green, later is darker."""
    return [to_hex(colour) for colour in matplotlib.colormaps["YlGn"](np.linspace(0.4, 1.0, max(count, 2)))[:count]]


def fill_band(ax: Axes, x: npt.ArrayLike, low: Values, high: Values, colour: str) -> None:
    """Shade from `low` to `high` over `x`, all of one shape; nothing where the band is NaN throughout."""
    if np.isfinite(low).any():
        ax.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)


def error_bars(estimate: Estimate) -> Values:
    """(2, ...) lengths below and above the mean; 0 where there is no interval."""
    return np.nan_to_num(np.maximum([estimate.mean - estimate.low, estimate.high - estimate.mean], 0.0))


def solid_and_dashed(solid: str, dashed: str) -> list[Line2D]:
    """Legend entries that name the two line styles, in no layer's colour."""
    return [Line2D([], [], color="0.3", label=solid), Line2D([], [], color="0.3", linestyle=DASHED, label=dashed)]


def legend_inside(ax: Axes) -> None:
    """Names of layers in the lower right, where the information plane is empty."""
    ax.legend(loc="lower right", ncols=2, handletextpad=0.1)


def legend_below(ax: Axes, handles: Sequence[Any] | None = None, *, columns: int = 4) -> Legend:
    """A legend under the label of the horizontal axis, where it covers nothing; of `handles`, or all that is named."""
    below = ax.transAxes + ScaledTranslation(0.0, -27.0 / 72.0, ax.figure.dpi_scale_trans)
    if handles is None:
        handles = ax.get_legend_handles_labels()[0]
    return ax.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.0), bbox_transform=below, ncols=columns
    )
