"""Stochastic gradients against the gradient of all patterns: does compression need the noise.

Contested by Saxe et al. 2018, whose network this is (tanh, 10-7-5-4-3). Full-batch descent makes one step an epoch
where minibatches make 14, so it is trained with the same learning rate, and with 14 times that, so that it goes as far.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import common
import numpy as np
from common import Finding, Runs
from matplotlib.figure import Figure

import ibjax
from ibjax import figures
from ibjax.analysis import compression, mean_over_seeds

NAME = "noise"
WIDTHS = (10, 7, 5, 4, 3)
STEPS = 14  # of minibatches in an epoch of the paper's run
COMPRESSES = 1.0  # bits
NONE = 0.1  # bits; a smaller fall counts as none


def configs(quick: bool) -> dict[str, ibjax.Config]:
    """Minibatches, full batch, and full batch with steps as long as an epoch's."""
    stochastic = common.paper(quick) if quick else common.paper(quick, hidden_widths=WIDTHS)
    rate, widths = stochastic.learning_rate, stochastic.hidden_widths
    return {
        "minibatches": stochastic,
        "full batch": common.paper(quick, hidden_widths=widths, batch_size=None),
        f"full batch, rate x {STEPS}": common.paper(
            quick, hidden_widths=widths, batch_size=None, learning_rate=STEPS * rate
        ),
    }


def measure(runs: Runs) -> list[Finding]:
    """The fall of I(X;T) without noise, beside that with noise."""
    falls = {label: mean_over_seeds(run, compression(run).drop) for label, run in runs.items()}
    *_, noiseless = runs
    fall = common.at(falls[noiseless], -2)
    told = "; ".join(
        f"{label}: {common.describe(falls[label], run.layer_names)}, training accuracy "
        f"{common.mean(np.where(run.diverged, np.nan, run.train_accuracy[:, -1]))}, "
        f"{int(run.diverged.sum())} diverged"
        for label, run in runs.items()
    )
    if np.isnan(fall.low):
        verdict = common.verdict_above(fall)
    elif fall.low > COMPRESSES:
        verdict = common.NOT_REPRODUCED
    elif fall.high < NONE:
        verdict = common.REPRODUCED
    else:
        verdict = common.depends_on("the length of the training: without noise some compression is left")
    return [
        Finding.of(
            fall,
            claim="Compression needs the noise of stochastic gradients.",
            source=f"{common.PAPER}, text",
            measured=f"bits by which I(X;T) of the last hidden layer falls from its peak, {noiseless}; all: {told}; "
            f"reproduced if less than {NONE} without noise, not if more than {COMPRESSES}",
            verdict=verdict,
            note="Contested by Saxe et al. 2018: full-batch descent compresses too.",
        )
    ]


def figure(runs: Runs) -> Figure:
    """I(X;T) of every layer against the epoch, a panel per way of training."""
    whole, axes = figures.side_by_side(len(runs), height=3.0)
    with figures.style():
        for ax, (label, run) in zip(axes, runs.items(), strict=True):
            figures.information_over_epochs(run, ax=ax)
            ax.set_title(f"{label}\n{ax.get_title()}")
    return whole


def main(argv: Sequence[str] | None = None) -> int:
    """Train or read, measure, draw, write."""
    return common.execute(NAME, __doc__, configs, measure, figure, argv)


if __name__ == "__main__":
    sys.exit(main())
