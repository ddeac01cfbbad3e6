"""Where the layers end in the plane when trained on 3% to 85% of the patterns.

Batches as in `trajectories`: an epoch has 14 updates whatever the number of patterns.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import common
import numpy as np
from common import Finding, Runs
from matplotlib.figure import Figure
from trajectories import config_of

import ibjax
from ibjax import figures
from ibjax.analysis import mean_over_seeds
from ibjax.figures.claims import side_by_side

NAME = "samples"
FRACTIONS = (0.03, 0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.7, 0.85)


def configs(quick: bool) -> dict[str, ibjax.Config]:
    """One run per share of the patterns."""
    return {f"{fraction:.0%}": config_of(fraction, quick) for fraction in ((0.05, 0.45, 0.85) if quick else FRACTIONS)}


def measure(runs: Runs) -> list[Finding]:
    """How the last hidden layer's end moves with the number of patterns, along both axes."""
    logs = [float(np.log10(np.mean(run.train_mask))) for run in runs.values()]
    names = next(iter(runs.values())).layer_names

    def slopes(field: str) -> list[common.Interval]:
        ends = [
            np.where(r.diverged[:, None], np.nan, getattr(r, field)[:, -1].astype(np.float64)) for r in runs.values()
        ]
        return [common.slope(logs, [end[:, layer] for end in ends]) for layer in range(len(names))]

    relevance, rate = slopes("i_ty"), slopes("i_xt")
    each = ", ".join(f"{name} {slope}" for name, slope in zip(names, relevance, strict=True))
    rates = ", ".join(f"{name} {slope}" for name, slope in zip(names, rate, strict=True))
    ends = ", ".join(f"{label} {common.at(mean_over_seeds(run, run.i_ty[:, -1]), -2)}" for label, run in runs.items())
    gain = relevance[-2]
    return [
        Finding.of(
            gain,
            claim="More training patterns leave more relevant information in the deep layers.",
            source=f"{common.PAPER}, figure of the final layers for 3% to 85%",
            measured="slope of I(T;Y) of the last hidden layer at the end against log10 of the share of patterns, bits "
            f"for ten times the patterns; all layers: {each}; I(T;Y) per share: {ends}; slopes of I(X;T): {rates}",
            verdict=common.verdict_above(gain),
            note="Batches are an equal share of the training patterns: 14 updates an epoch.",
        )
    ]


def figure(runs: Runs) -> Figure:
    """The ends of all layers, a colour per share of the patterns."""
    whole, (ax,) = side_by_side(1, height=3.4)
    with figures.style():
        figures.final_layers(runs, label="training patterns", ax=ax)
    return whole


def main(argv: Sequence[str] | None = None) -> int:
    """Train or read, measure, draw, write."""
    return common.execute(NAME, __doc__, configs, measure, figure, argv)


if __name__ == "__main__":
    sys.exit(main())
