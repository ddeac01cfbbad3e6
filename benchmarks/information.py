"""The information kernel against NumPy's `unique(axis=0)`: 350 layers of 4096 patterns, 30 bins.

    python benchmarks/information.py [--quick] [--json FILE]

One call of `ibjax.layer_information` on activations (350, 4096, width), already compiled, as seen from Python; the
NumPy reference counts the same cells layer by layer in float64. The activations are tanh of normal numbers, half of the
layers rounded to few cells, as in networks that have compressed; labels are soft.

`--quick` times NumPy on a tenth of the layers and scales it: its time is proportional to their number. Checked in every
row: the largest difference of I(X;T) and I(T;Y) over those layers, against what the kernel promises in float32.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from baselines import numpy_information
from harness import parser, report, take_turns, time_once

import ibjax

LAYERS, PATTERNS = 350, 4096
TOLERANCE = 1e-5  # bits
WIDTHS, QUICK_WIDTHS = (1, 3, 5, 7, 10, 12), (3, 7, 12)


def activations(width: int) -> npt.NDArray[np.float32]:
    """(LAYERS, PATTERNS, width) in (-1, 1); many cells in the odd layers, few in the even ones."""
    values = np.tanh(np.random.default_rng(width).normal(size=(LAYERS, PATTERNS, width))).astype(np.float32)
    values[::2] = np.round(values[::2] * 2) / 2 + 0.01
    return values


def compare(width: int, reference_layers: int, repeats: int) -> dict[str, Any]:
    """One row: time both on layers of this width, NumPy on the first `reference_layers` of them."""
    p = np.random.default_rng(0).random(PATTERNS)
    every = activations(width)
    few, on_device = every[:reference_layers], jnp.asarray(every)
    kernel = partial(ibjax.layer_information, on_device, p)
    _, first = time_once(lambda: jax.block_until_ready(kernel()))
    timings = take_turns({"ibjax": kernel, "numpy": partial(numpy_information, few, p)}, repeats)
    seconds = timings["ibjax"].seconds
    numpy_seconds = timings["numpy"].seconds * LAYERS / reference_layers
    pairs = zip(timings["ibjax"].result, timings["numpy"].result, strict=True)
    worst = max(float(np.abs(np.asarray(mine)[:reference_layers] - reference).max()) for mine, reference in pairs)
    return {
        "width": width,
        "ibjax, ms": seconds * 1e3,
        "numpy, ms": numpy_seconds * 1e3,
        "ratio": numpy_seconds / seconds,
        "ns/pattern": seconds / LAYERS / PATTERNS * 1e9,
        "compile, s": first - seconds,
        "worst difference, bits": worst,
        "agrees": worst < TOLERANCE,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; status 1 where a result is wrong, whatever its time."""
    options = parser(__doc__).parse_args(argv)
    reference_layers, repeats = (LAYERS // 10, 3) if options.quick else (LAYERS, 5)
    widths = QUICK_WIDTHS if options.quick else WIDTHS
    rows = [compare(width, reference_layers, repeats) for width in widths]
    summary = {
        "least ratio at widths 3, 7, 12": min(row["ratio"] for row in rows if row["width"] in QUICK_WIDTHS),
        "layers": LAYERS,
        "patterns": PATTERNS,
        "numpy layers": reference_layers,
        "repeats": repeats,
    }
    report(rows, summary, options.json)
    return 0 if all(row["agrees"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
