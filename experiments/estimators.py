"""tanh and ReLU networks under four estimators of I(X;T): do the layers compress, and who says so?

    python experiments/estimators.py [--quick] [--out DIR]

Nothing is trained anew: each estimator is applied to the weights that the runs of `bins` have stored
(`ibjax.measure`), in ten networks at about a dozen epochs. The estimators:

  histogram   30 cells a unit, on [-1, 1] for tanh and over each layer's range for ReLU
  quantile    30 cells a unit that hold equally many activations of the layer (Chelombiev et al. 2019)
  quantized   the activations rounded to 8 bits over the layer's range, counted exactly (Lorenzen et al. 2022)
  kde         upper bound for a layer with Gaussian noise of variance 0.1 (Kolchinsky & Tracey 2017; Saxe et al. 2018)

The fall is that of `bins`: the largest I(X;T) over the epochs less that of the last, in the last hidden layer.

Verdicts
  tanh / ReLU compresses whatever the estimator: the mean fall has its 95% interval above 0.1 bits under each
    (reproduced), below under each (not reproduced), else depends on the estimator: those where it is.

Shapes: S networks, E logged epochs, L layers.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from typing import Any

import common
import numpy as np
from bins import MINIMUM
from bins import configs as runs_of_bins
from common import Finding, Runs
from matplotlib.figure import Figure

import ibjax
from ibjax import Config, Trajectory, figures
from ibjax.analysis import Estimate, compression, mean_over_seeds

NAME = "estimators"
OPTIONS: dict[str, dict[str, Any]] = {
    "histogram": {},
    "quantile": {"bins": 30},
    "quantized": {"bits": 8},
    "kde": {"noise_variance": 0.1},
}
NETWORKS, MOST_EPOCHS = 10, 13


@functools.lru_cache(maxsize=2)
def estimates(trajectory: Trajectory) -> dict[str, Trajectory]:
    """The first networks at about a dozen epochs, under each estimator."""
    some = trajectory.of_epochs(trajectory.epochs[common.spread_indices(trajectory.epochs, MOST_EPOCHS)].tolist())
    some = some.of_seeds(trajectory.seeds[:NETWORKS].tolist())
    return {name: ibjax.measure(some, name, **options) for name, options in OPTIONS.items()}


def configs(quick: bool) -> dict[str, Config]:
    """The runs of `bins`."""
    return runs_of_bins(quick)


def measure(runs: Runs) -> list[Finding]:
    """Both claims, by the rule at the top."""
    sources = {
        "paper": ("A tanh network compresses, whatever the estimator.", common.PAPER, "Contested: Saxe et al. 2018."),
        "relu": (
            "A ReLU network compresses, whatever the estimator.",
            "the authors' reply to Saxe et al. 2018",
            "Contested: Saxe et al. 2018 and Goldfeld et al. 2019 (no); Noshad et al. 2019 (yes).",
        ),
    }
    return [
        common.judge(
            _falls(runs[label]),
            MINIMUM,
            list(OPTIONS),
            claim=claim,
            source=source,
            measured="peak less end of I(X;T) of the last hidden layer, bits",
            on="the estimator",
            note=f"{note} {min(NETWORKS, runs[label].seeds.size)} networks, at about {MOST_EPOCHS} epochs.",
        )
        for label, (claim, source, note) in sources.items()
    ]


def _falls(run: Trajectory) -> Estimate:
    """Of the last hidden layer under each estimator, (4,)."""
    each = estimates(run)
    drops = np.stack([compression(other).drop[:, -2] for other in each.values()], axis=1)
    return mean_over_seeds(next(iter(each.values())), drops)


def figure(runs: Runs) -> Figure:
    """I(X;T) of every layer against the epoch: a row for each activation, a column for each estimator."""
    whole, axes = figures.side_by_side(len(runs) * len(OPTIONS), height=2.7, columns=len(OPTIONS))
    panels = iter(axes)
    with figures.style():
        for run in runs.values():
            activation = run.config["config"]["activation"]
            for name, other in estimates(run).items():
                ax = next(panels)
                figures.information_over_epochs(other, ax=ax)
                ax.set_title(f"{activation}, {name}\n{ax.get_title()}")
    return whole


def main(argv: Sequence[str] | None = None) -> int:
    """Train or read, measure, draw and write."""
    return common.execute(NAME, __doc__, configs, measure, figure, argv)


if __name__ == "__main__":
    sys.exit(main())
