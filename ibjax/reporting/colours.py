"""Colours of the layers on a dark page: the hues of the figures, lighter, in the same order."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.colors import to_hex, to_rgb

DARK = "#16181d"
"""The dark page behind the plots."""

_FIRST, _LAST = 8.0, 3.6
"""Contrast of the first and of the last hidden layer with it; 3 is what a graphical object needs (WCAG 2.2, 1.4.11)."""


def on_dark(colour: str, layer: int, L: int) -> str:
    """The colour of a layer on a dark page: mixed with white until it stands out as far as its place asks.

    The lightness still falls from the input's side to the last hidden layer; the output, black on paper, is white.

    Args:
      colour: on white, `ibjax.figures.style.layer_colours`.
      layer: its place among the
      L: layers.
    """
    if layer == L - 1:
        return "#ffffff"
    wanted = _FIRST + (_LAST - _FIRST) * layer / max(7 - 1, L - 2)
    rgb = np.array(to_rgb(colour))
    shares = np.linspace(0.0, 1.0, 101)
    mixed = [rgb + share * (1.0 - rgb) for share in shares]
    enough = [contrast(each, np.array(to_rgb(DARK))) >= wanted for each in mixed]
    return to_hex(mixed[enough.index(True)])


def contrast(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    """Contrast ratio of two colours, sRGB from 0 to 1: 1 to 21 (WCAG 2.2)."""
    light, dark = sorted((_luminance(a), _luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(rgb: npt.NDArray[np.float64]) -> float:
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])
