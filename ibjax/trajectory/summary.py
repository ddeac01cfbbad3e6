"""What a notebook shows of a trajectory: a table of its layers and the information plane, as HTML without scripts.

The picture is SVG written here: matplotlib would take a second to import, and figures lie above this room. Its colours
stand out from white and from black (contrast 3, WCAG 2.2, 1.4.11), for a page does not know a notebook's theme.

Shapes: S seeds, E logged epochs, L layers.
"""

import html
import warnings
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

NEAR_H_X = 0.9
"""Share of H(X), which is log2 N of N equally likely patterns, from which on a layer tells nearly all of them apart."""

_MOST = 2**22
"""Values S E L up to which the means are taken: the arrays of a folder of files are read for them."""
_POINTS = 60
"""Epochs drawn, at most: evenly among the logged ones, which users space as they want to see them."""
_STOPS = np.array([[0xE0, 0x6C, 0x1F], [0xD1, 0x3A, 0x4F], [0xA8, 0x3A, 0x9A], [0x7A, 0x52, 0xC7]])
_WIDTH, _HEIGHT = 340, 250
_LEFT, _TOP, _RIGHT, _BOTTOM = 48, 10, 12, 40


class Summarised(Protocol):
    """What of a trajectory is summarised; see `Trajectory`, which is made of this module."""

    @property
    def config(self) -> dict[str, Any]: ...
    @property
    def seeds(self) -> npt.NDArray[np.int64]: ...
    @property
    def epochs(self) -> npt.NDArray[np.int64]: ...
    @property
    def layer_names(self) -> tuple[str, ...]: ...
    @property
    def layer_widths(self) -> tuple[int, ...]: ...
    @property
    def i_xt(self) -> npt.NDArray[np.floating[Any]]: ...
    @property
    def i_ty(self) -> npt.NDArray[np.floating[Any]]: ...
    @property
    def healthy(self) -> npt.NDArray[np.bool_]: ...
    @property
    def i_xy(self) -> float: ...
    @property
    def h_x(self) -> float: ...
    @property
    def h_y(self) -> float: ...


def data_set(run: Summarised) -> str:
    """The data set's information in a line."""
    return f"I(X;Y) {run.i_xy:.4f}, H(X) {run.h_x:.4f}, H(Y) {run.h_y:.4f} bits"


def as_html(run: Summarised) -> str:
    """The summary; of more than `_MOST` values the layers alone, and how to read more."""
    notes: list[str] = []
    means: list[Any] | None = None
    healthy = run.healthy
    if lost := int((~healthy).sum()):
        notes.append(f"{lost} of {healthy.size} networks diverged and are left out of every mean")
    if run.seeds.size * run.epochs.size * len(run.layer_names) > _MOST:
        notes.append("too large to be averaged at a glance: see ibjax.analysis.streamed_mean")
    elif healthy.any():
        with warnings.catch_warnings():  # a layer that is NaN in every network is shown as that
            warnings.simplefilter("ignore", RuntimeWarning)
            means = [np.nanmean(each[healthy], axis=0, dtype=np.float64) for each in (run.i_xt, run.i_ty)]
        means = [np.where(np.isfinite(mean), mean, np.nan) for mean in means]
        near = means[0][-1] >= NEAR_H_X * run.h_x
        if run.h_x > 0 and near.any():
            names = ", ".join(name for name, one in zip(run.layer_names, near, strict=True) if one)
            notes.append(
                f"I(X;T) is within {1 - NEAR_H_X:.0%} of H(X) at the end: {names}; if cells hold one pattern each, it "
                "counts patterns"
            )
    told = "".join(f"<div>⚠ {html.escape(note)}</div>" for note in notes)
    table = "".join(_table(run, means))
    picture = "" if means is None else "".join(_plane(run, *means))
    return (
        f"<div><div>{html.escape(repr(run))}</div><div>{data_set(run)}</div>{told}"
        f'<div style="display:flex;flex-wrap:wrap;gap:1em;align-items:center"><div>{table}</div>{picture}</div></div>'
    )


def _table(run: Summarised, means: list[Any] | None) -> Iterator[str]:
    """A row for each layer: name, width, and where its mean ends, bits."""
    ends = "" if means is None else "<th>I(X;T)</th><th>I(T;Y)</th>"
    count = int(run.healthy.sum())
    whose = "one network" if count == 1 else f"{count:,} networks, mean"
    measured = run.config.get("measured", {}).get("estimator")
    by = "" if measured is None else f", {html.escape(str(measured))}"
    caption = "" if means is None else f"{whose} at epoch {run.epochs[-1]:,} [bits]{by}"
    yield f'<table><caption style="white-space:nowrap">{caption}</caption>'
    yield f"<thead><tr><th>layer</th><th>units</th>{ends}</tr></thead><tbody>"
    for layer, (name, colour) in enumerate(zip(run.layer_names, _colours(len(run.layer_names)), strict=True)):
        sign = "" if means is None else f'<span style="color:{colour}">&#9679;</span> '
        values = "" if means is None else "".join(f"<td>{mean[-1, layer]:.3f}</td>" for mean in means)
        yield f"<tr><td>{sign}{html.escape(name)}</td><td>{run.layer_widths[layer]:,}</td>{values}</tr>"
    yield "</tbody></table>"


def _plane(run: Summarised, i_xt: npt.NDArray[Any], i_ty: npt.NDArray[Any]) -> Iterator[str]:
    """The mean of each layer through the plane; a ring where it begins, a disc where it ends."""
    drawn = np.unique(np.linspace(0, run.epochs.size - 1, _POINTS).round().astype(int))
    tops = [float(np.nanmax(each, initial=bound)) for each, bound in ((i_xt, run.h_x), (i_ty, run.i_xy))]
    # Estimates may fall below 0, and a task may have no information at all.
    lows = [float(np.nanmin(each, initial=0.0)) for each in (i_xt, i_ty)]
    spans = [max(1.05 * top - low, 1e-9) for top, low in zip(tops, lows, strict=True)]
    wide, high = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    xs = _LEFT + wide * (i_xt[drawn] - lows[0]) / spans[0]
    ys = _TOP + high * (1 - (i_ty[drawn] - lows[1]) / spans[1])
    yield (
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" font-size="11" '
        'fill="none" stroke-width="1.5"><title>information plane, mean over networks</title>'
    )
    yield f'<path d="M{_LEFT} {_TOP}v{high}h{wide}" stroke="currentColor" stroke-width="1"/>'
    yield '<g fill="currentColor">'
    for tick in _ticks(lows[0], tops[0]):
        x = _LEFT + wide * (tick - lows[0]) / spans[0]
        yield f'<text x="{x:.1f}" y="{_TOP + high + 15}" text-anchor="middle">{tick:g}</text>'
    for tick in _ticks(lows[1], tops[1]):
        y = _TOP + high * (1 - (tick - lows[1]) / spans[1])
        yield f'<text x="{_LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>'
    middle = _TOP + high / 2
    yield f'<text x="{_LEFT + wide / 2}" y="{_HEIGHT - 8}" text-anchor="middle">I(X;T) [bits]</text>'
    yield f'<text transform="rotate(-90 12 {middle})" x="12" y="{middle}" text-anchor="middle">I(T;Y) [bits]</text></g>'
    # The first layers last: those that stay where they are would lie below deeper ones that begin there.
    for layer, colour in reversed(list(enumerate(_colours(len(run.layer_names))))):
        points = [(x, y) for x, y in zip(xs[:, layer], ys[:, layer], strict=True) if np.isfinite(x + y)]
        if not points:
            continue
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        (x0, y0), (x1, y1) = points[0], points[-1]
        yield f'<g stroke="{colour}"><polyline points="{line}"/><circle cx="{x0:.1f}" cy="{y0:.1f}" r="3"/>'
        yield f'<circle cx="{x1:.1f}" cy="{y1:.1f}" r="3" fill="{colour}"/></g>'
    yield "</svg>"


def _ticks(low: float, high: float) -> Iterator[float]:
    """Three to six round numbers from `low` to `high`."""
    span = max(high - low, 1e-9)
    power = 10.0 ** np.floor(np.log10(span))
    step = next(size * power for size in (0.2, 0.5, 1.0, 2.0) if span / (size * power) <= 6)
    for index in range(int(np.ceil(low / step)), int(np.floor(high / step + 1e-9)) + 1):
        yield float(f"{index * step:.12g}")


def _colours(L: int) -> list[str]:
    """Orange to violet from the input's side on; the output has the colour of the text."""
    places = np.linspace(0, len(_STOPS) - 1, max(L - 1, 1))
    rgb = [np.interp(places, np.arange(len(_STOPS)), channel).round().astype(int) for channel in _STOPS.T]
    hidden = [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in zip(*rgb, strict=True)]
    return [*hidden[: L - 1], "currentColor"]
