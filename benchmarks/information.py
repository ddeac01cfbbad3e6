"""The information kernel against NumPy's `unique(axis=0)`: 350 layers of 4096 patterns, 30 bins.

    python benchmarks/information.py [--quick] [--json FILE]

One call of `ibjax.layer_information` on activations (350, 4096, width), compiled before, against the NumPy reference in
float64, layer by layer. `--quick` gives NumPy a tenth of the layers and scales its time. The activations are tanh of
normal numbers, cut to few cells in half of the layers, as in trained networks; labels are soft.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from baselines import numpy_information
from common import medians, parser, report

import ibjax

LAYERS, PATTERNS = 350, 4096
TOLERANCE = 1e-5  # bits: what the kernel promises in float32


def main(argv: Sequence[str] | None = None) -> int:
    options = parser(__doc__).parse_args(argv)
    widths, share, repeats = ((3, 7, 12), 10, 3) if options.quick else ((1, 3, 5, 7, 10, 12), 1, 5)
    generator = np.random.default_rng(0)
    p = generator.random(PATTERNS)
    rows = []
    for width in widths:
        activations = np.tanh(generator.normal(size=(LAYERS, PATTERNS, width))).astype(np.float32)
        activations[::2] = np.round(activations[::2] * 2) / 2 + 0.01
        on_device = jnp.asarray(activations)
        began = time.perf_counter()
        jax.block_until_ready(ibjax.layer_information(on_device, p))
        first = time.perf_counter() - began
        few = activations[: LAYERS // share]
        work: dict[str, Callable[[], Any]] = {
            "ibjax": partial(ibjax.layer_information, on_device, p),
            "numpy": partial(numpy_information, few, p),
        }
        seconds = medians(work, repeats)
        mine = ibjax.layer_information(on_device, p)
        reference = numpy_information(few, p)
        worst = max(float(np.abs(np.asarray(a[: len(few)]) - b).max()) for a, b in zip(mine, reference, strict=True))
        rows.append(
            {
                "width": width,
                "ibjax, ms": seconds["ibjax"] * 1e3,
                "numpy, ms": seconds["numpy"] * share * 1e3,
                "ratio": seconds["numpy"] * share / seconds["ibjax"],
                "ns/pattern": seconds["ibjax"] / LAYERS / PATTERNS * 1e9,
                "compile, s": first - seconds["ibjax"],
                "worst difference, bits": worst,
                "agrees": worst < TOLERANCE,
            }
        )
    report(rows, {"layers": LAYERS, "patterns": PATTERNS, "numpy layers": LAYERS // share}, options.json)
    return 0 if all(row["agrees"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
