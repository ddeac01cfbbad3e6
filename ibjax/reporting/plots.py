"""The plots of a report as Bokeh models, which the page's script fills and colours.

What the script touches has a name (sources, the line of the epoch shown) or a tag that says its colour: "layer:3",
"ink", "muted", "accent". Names of layers and runs are in columns of sources only, which Bokeh shows as text.

Shapes: E logged epochs, L layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bokeh.models import (
    BoxAnnotation,
    ColumnDataSource,
    FixedTicker,
    HoverTool,
    LogTickFormatter,
    Range1d,
    Span,
)
from bokeh.plotting import figure

I_XT, I_TY = "I(X;T) [bits]", "I(T;Y) [bits]"
_MARKERS = {
    "o": ("circle", 0.0),
    "s": ("square", 0.0),
    "^": ("triangle", 0.0),
    "D": ("diamond", 0.0),
    "v": ("inverted_triangle", 0.0),
    "P": ("plus", 0.0),
    "X": ("plus", 0.7853981633974483),
    "*": ("star", 0.0),
}
"""Bokeh's marker, and by how much it is turned, of each of matplotlib's that the figures use."""
_SIZES = {"square": 0.9, "diamond": 1.25, "star": 1.6, "plus": 1.25}
_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def plots(content: dict[str, Any]) -> dict[str, Any]:
    """The plots of a run, by the panel of the page and their place in it; those it has no numbers for are left out."""
    found = {"plane": _plane(content)}
    for key, label in (("i_xt", I_XT), ("i_ty", I_TY)):
        found[key] = _over_epochs(content, key, label, height=250)
    if content["gradients"]:
        label = "gradient norm / weight norm" if content["weight_norm"] else "gradient norm"
        found["gradients"] = _over_epochs(content, "gradients", label, logarithmic=True)
    for key, label in (("loss", content["loss_label"]), ("accuracy", "accuracy")):
        if content[key]["parts"]:
            found[key] = _over_epochs(content, key, label, height=220)
    return found


def _canvas(x_label: str, y_label: str, height: int, **options: Any) -> Any:
    """An empty plot as wide as its place, which a finger scrolls past: nothing drags before its tool is chosen."""
    plot = figure(
        height=height,
        min_width=200,
        sizing_mode="stretch_width",
        tools="pan,box_zoom,wheel_zoom,reset,save",
        active_drag=None,
        active_scroll=None,
        toolbar_location="above",
        x_axis_label=x_label,
        y_axis_label=y_label,
        output_backend="canvas",
        **options,
    )
    plot.toolbar.logo = None
    plot.toolbar.autohide = False
    for axis in plot.axis:
        axis.axis_label_text_font_style = "normal"
        axis.axis_label_text_font_size = "13px"
        axis.major_label_text_font_size = "12px"
        axis.minor_tick_line_color = None
    plot.grid.grid_line_alpha = 0.5
    return plot


def _hover(plot: Any, renderers: Sequence[Any], tooltips: Sequence[tuple[str, str]]) -> None:
    # Of networks in one place, one is told.
    look: dict[str, Any] = {"limit": 1, "line_policy": "nearest", "attachment": "horizontal"}
    plot.add_tools(HoverTool(renderers=list(renderers), tooltips=list(tooltips), **look))


def _plane(content: dict[str, Any]) -> Any:
    """Networks, means and paths of the epoch shown, I(X;Y) and the information curve."""
    first = content["estimators"][0]
    ranges = {"x_range": Range1d(*first["range_x"]), "y_range": Range1d(*first["range_y"])}
    plot = _canvas(I_XT, I_TY, 400, **ranges)
    limit = Span(location=content["i_xy"], dimension="width", line_dash=[6, 4], tags=["muted"], level="underlay")
    plot.add_layout(limit)
    if content["curve"]:
        source = ColumnDataSource(content["curve"])
        plot.line("x", "y", source=source, line_width=2, tags=["ink"], name="curve")
    hovered, L = [], len(content["layers"])
    markers = [_MARKERS[layer["marker"]] for layer in content["layers"]]
    columns = ("x", "y", "seed", "layer", "epoch")
    for k in range(L):
        source = ColumnDataSource({"x": [], "y": []}, name=f"path:{k}")
        plot.line("x", "y", source=source, line_width=1.5, line_alpha=0.8, tags=[f"layer:{k}"], name="path")
    for kind, size, alpha in (("seeds", 7.0, 0.7), ("mean", 13.0, 1.0)):
        for k, (marker, angle) in enumerate(markers):
            source = ColumnDataSource({name: [] for name in columns}, name=f"{kind}:{k}")
            # Larger towards the input, as in the figures: of layers in one place each is seen.
            look = {"size": size * _SIZES.get(marker, 1.0) * (1 + 0.9 * 0.6**k), "angle": angle, "fill_alpha": alpha}
            tags = [f"layer:{k}", "outlined"]
            hovered.append(plot.scatter("x", "y", source=source, marker=marker, tags=tags, name=kind, **look))
    numbers = [("I(X;T)", "@x{0.0000} bits"), ("I(T;Y)", "@y{0.0000} bits")]
    _hover(plot, hovered, [("network", "@seed"), ("layer", "@layer"), ("epoch", "@epoch"), *numbers])
    return plot


def _over_epochs(content: dict[str, Any], key: str, label: str, *, height: int = 320, logarithmic: bool = False) -> Any:
    """Lines against the epoch, whose sources the script fills: one a layer, or one a part of the patterns."""
    places = content["places"]
    ends = places[0], max(places[-1], places[0] + 0.1)
    x_range = Range1d(ends[0] - 0.03 * (ends[1] - ends[0]), ends[1] + 0.03 * (ends[1] - ends[0]))
    plot = _canvas("epoch", label, height, x_range=x_range, y_axis_type="log" if logarithmic else "linear")
    _epoch_ticks(plot, content["epochs"][-1])
    if logarithmic:
        plot.yaxis.formatter = LogTickFormatter(min_exponent=3)
    elif key in ("i_xt", "i_ty"):
        plot.y_range = Range1d(0.0, 1.0)  # the script's, as that of the plane
    else:
        plot.y_range.default_span = 0.2  # of a constant
    if key == "gradients" and content["phase"]:
        _mark_phase(plot, content["phase"])
    plot.add_layout(Span(dimension="height", name="now", location=places[-1], tags=["accent"], line_width=1.5))
    lines = []
    for name, tag, dash, layer in _lines(content, key):
        source = ColumnDataSource({each: [] for each in ("x", "y", "low", "high", "epoch", "what")}, name=name)
        plot.varea("x", "low", "high", source=source, fill_alpha=0.1 if logarithmic else 0.2, tags=[tag])
        lines.append(plot.line("x", "y", source=source, line_width=2, line_dash=dash, tags=[tag]))
        if layer is not None:  # colour is not the only sign
            marks = ColumnDataSource({"x": [], "y": []}, name=f"marks {name}")
            marker, angle = _MARKERS[content["layers"][layer]["marker"]]
            look: dict[str, Any] = {"size": 8 * _SIZES.get(marker, 1.0), "angle": angle, "tags": [tag, "outlined"]}
            plot.scatter("x", "y", source=marks, marker=marker, **look)
    value = "@y{0.000e+0}" if logarithmic else "@y{0.0000}"
    band = "@low{0.000e+0} to @high{0.000e+0}" if logarithmic else "@low{0.0000} to @high{0.0000}"
    _hover(plot, lines, [("", "@what"), ("epoch", "@epoch"), ("mean", value), ("95%", band)])
    return plot


def _lines(content: dict[str, Any], key: str) -> list[tuple[str, str, Any, int | None]]:
    """Name of the source, colour's tag, dashes and layer, if it is of one, of each line of a panel."""
    layers = range(len(content["layers"]))
    dashes: Any = [6, 3]
    if key in ("i_xt", "i_ty"):
        return [(f"{key}:{k}", f"layer:{k}", "solid", k) for k in layers]
    if key == "gradients":
        kinds = (("mean", "solid"), ("std", dashes))
        return [(f"{kind}:{k}", f"layer:{k}", dash, k) for kind, dash in kinds for k in layers]
    kinds = (("train", "solid"), ("test", dashes))
    return [(f"{key}:{part}", "ink", dash, None) for part, dash in kinds if part in content[key]["parts"]]


def _mark_phase(plot: Any, phase: dict[str, Any]) -> None:
    """A grey line at the change from drift to diffusion, and its interval."""
    if phase["band"]:
        left, right = phase["band"]
        plot.add_layout(BoxAnnotation(left=left, right=right, fill_alpha=0.18, line_color=None, tags=["muted"]))
    plot.add_layout(Span(location=phase["place"], dimension="height", line_width=3, tags=["muted"], name="phase"))


def _epoch_ticks(plot: Any, last: int) -> None:
    """0 and the powers of ten, at the places of `contents.epoch_places`."""
    powers = range(len(str(max(last, 1))))
    labels = {0.0: "0"} | {0.5 + p: str(10**p) if p < 2 else "10" + str(p).translate(_SUPERSCRIPTS) for p in powers}
    plot.xaxis.ticker = FixedTicker(ticks=list(labels))
    plot.xaxis.major_label_overrides = labels
