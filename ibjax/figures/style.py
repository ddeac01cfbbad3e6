"""What all figures share: size and type, a colour and a marker per layer, the epoch axis, the seed count.

Shapes: S seeds, E logged epochs, L layers.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, SymLogNorm, to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter
from matplotlib.transforms import ScaledTranslation

from ibjax.trajectory.trajectory import Trajectory

COLUMN = 3.4
"""Width of a journal column, inches."""

I_XT = "$I(X;T)$ [bits]"
I_TY = "$I(T;Y)$ [bits]"

# Paul Tol's "bright" scheme (personal.sron.nl/~pault) and black, neighbours far apart: told apart by all
# common kinds of colour vision.
_COLOURS = ("#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE", "#AA3377", "#999999", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_AREAS = {"o": 16, "s": 14, "D": 13, "*": 34}


def style() -> AbstractContextManager[None]:
    """Context with settings for a column's width; used for every new figure, and of use around one's own."""
    settings: AbstractContextManager[None] = matplotlib.rc_context(
        {
            "font.size": 8,
            "axes.titlesize": 8,
            "axes.labelsize": 8,
            "xtick.labelsize": 7,
            "ytick.labelsize": 7,
            "legend.fontsize": 6.5,
            "legend.frameon": False,
            "legend.handlelength": 1.4,
            "legend.columnspacing": 1.0,
            "legend.borderaxespad": 0.3,
            "axes.linewidth": 0.6,
            "xtick.major.width": 0.6,
            "ytick.major.width": 0.6,
            "xtick.minor.width": 0.4,
            "ytick.minor.width": 0.4,
            "lines.linewidth": 1.1,
            "savefig.dpi": 300,
        }
    )
    return settings


@contextmanager
def canvas(ax: Axes | None, *, width: float = COLUMN, height: float = 2.7) -> Iterator[Axes]:
    """The axes given, in the caller's style, or the only ones of a new figure, in ours; inches."""
    if ax is not None:
        yield ax
        return
    with style():
        yield Figure(figsize=(width, height), layout="constrained").add_subplot()


def layer_colours(L: int) -> list[str]:
    """A colour per layer; beyond eight layers neighbouring shades of one scale."""
    if len(_COLOURS) >= L:
        return list(_COLOURS[:L])
    return [to_hex(colour) for colour in matplotlib.colormaps["viridis"](np.linspace(0.0, 0.92, L))]


def layer_markers(L: int) -> list[str]:
    """A marker per layer, so that colour is not the only sign."""
    return [_MARKERS[layer % len(_MARKERS)] for layer in range(L)]


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


def epoch_ticks(last: int) -> list[int]:
    """0 and the powers of ten up to `last`; all at least one."""
    return [0, *(10**power for power in range(len(str(max(last, 1)))))]


def tick_text(epoch: float) -> str:
    """0, 1, 10, then powers of ten."""
    return f"{epoch:.0f}" if epoch < 100 else f"$10^{{{np.log10(epoch):.0f}}}$"


def epoch_axis(ax: Axes, trajectory: Trajectory) -> None:
    """Logarithmic epochs with room for epoch 0: linear from 0 to 1, half a decade wide."""
    first, last = int(trajectory.epochs[0]), max(int(trajectory.epochs[-1]), 1)
    ax.set_xscale("symlog", linthresh=1.0, linscale=0.5)
    ax.set_xlim(-0.08 if first == 0 else first * 0.95, last * 1.15)
    ax.xaxis.set_major_locator(FixedLocator([tick for tick in epoch_ticks(last) if tick >= first]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tick_text(value)))
    minor = [digit * tick for tick in epoch_ticks(last)[1:] for digit in range(2, 10) if digit * tick <= last]
    ax.xaxis.set_minor_locator(FixedLocator(minor))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel("epoch")


def epoch_norm(trajectory: Trajectory) -> SymLogNorm:
    """Epoch to colour on the scale of `epoch_axis`."""
    last = max(float(trajectory.epochs[-1]), 1.0)
    return SymLogNorm(linthresh=1.0, linscale=0.5, vmin=0.0, vmax=last, base=10)


def epoch_colours() -> ListedColormap:
    """Viridis without its yellow, which marks the last epoch."""
    return ListedColormap(matplotlib.colormaps["viridis"](np.linspace(0.0, 0.87, 256)))


def legend_below(ax: Axes, handles: Sequence[Any] | None = None, *, columns: int = 4) -> None:
    """A legend under the label of the horizontal axis, where it covers nothing; of `handles`, or all that is named."""
    below = ax.transAxes + ScaledTranslation(0.0, -27.0 / 72.0, ax.figure.dpi_scale_trans)
    if handles is None:
        handles = ax.get_legend_handles_labels()[0]
    ax.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.0), bbox_transform=below, ncols=columns)
