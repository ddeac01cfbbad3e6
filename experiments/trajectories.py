"""The mean way of every layer through the plane, trained on 5%, 45% and 85% of the patterns.

Figure 3 of arXiv 1703.00810. A batch is the same share of the training patterns in all three, so that an epoch has
14 updates in each.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import common
from common import Finding, Runs
from matplotlib.figure import Figure

import ibjax
from ibjax import figures
from ibjax.analysis import mean_over_seeds

NAME = "trajectories"
FRACTIONS = (0.05, 0.45, 0.85)
NONE = 0.02  # bits; a smaller fall of I(T;Y) counts as none


def config_of(fraction: float, quick: bool) -> ibjax.Config:
    """The paper's run on another share of the patterns, with as many updates an epoch."""
    base = common.paper(quick)
    assert base.batch_size is not None
    assert isinstance(base.train_fraction, float)
    batch = round(base.batch_size * fraction / base.train_fraction)
    return common.paper(quick, train_fraction=fraction, batch_size=batch)


def configs(quick: bool) -> dict[str, ibjax.Config]:
    """One run per share of the patterns."""
    return {f"{fraction:.0%}": config_of(fraction, quick) for fraction in FRACTIONS}


def measure(runs: Runs) -> list[Finding]:
    """Whether I(T;Y) falls again, with few patterns and with many."""
    few, *_, many = runs.values()
    falls = {label: mean_over_seeds(run, common.drop_after_peak(run, run.i_ty)) for label, run in runs.items()}
    layers = "; ".join(f"{label}: {common.describe(fall, few.layer_names)}" for label, fall in falls.items())
    small, *_, large = (common.at(fall, -2) for fall in falls.values())
    small_xt, large_xt = (common.mean(common.drop_after_peak(run, run.i_xt)[:, -2]) for run in (few, many))
    how = "bits of I(T;Y) the last hidden layer loses between the peak of its mean over networks and the last epoch"
    contrast = common.difference(*(common.drop_after_peak(run, run.i_ty)[:, -2] for run in (few, many)))
    first, *_, last = runs
    return [
        Finding.of(
            small,
            claim=f"Trained on {first} of the patterns, layers lose relevant information again while they compress.",
            source=f"{common.PAPER}, figure 3 left",
            measured=f"{how}, {first}; meanwhile I(X;T) falls by {small_xt} bits; per layer: {layers}; "
            f"reproduced if more than {NONE}",
            verdict=common.verdict_above(small, NONE),
            note=f"{_accuracies(runs)}. Batches are an equal share of the training patterns (14 updates an epoch), so "
            "small sets have small batches; the paper does not tell its own.",
        ),
        Finding.of(
            large,
            claim=f"Trained on {last} of the patterns, layers compress without losing relevant information.",
            source=f"{common.PAPER}, figure 3 right",
            measured=f"{how}, {last}; meanwhile I(X;T) falls by {large_xt} bits; reproduced if less than {NONE}",
            verdict=common.verdict_below(large, NONE),
            note=f"The fall is larger by {contrast} bits at {first} than at {last}.",
        ),
    ]


def _accuracies(runs: Runs) -> str:
    parts = (f"{label} {common.mean(run.test_accuracy[run.healthy, -1])}" for label, run in runs.items())
    return f"Test accuracy at the end: {', '.join(parts)}"


def figure(runs: Runs) -> Figure:
    """A plane per share of the patterns."""
    return figures.planes({f"{label} of the patterns": run for label, run in runs.items()}, columns=len(runs))


def main(argv: Sequence[str] | None = None) -> int:
    """Train or read, measure, draw, write."""
    return common.execute(NAME, __doc__, configs, measure, figure, argv)


if __name__ == "__main__":
    sys.exit(main())
