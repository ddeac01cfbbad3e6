"""Wide layers: do they compress, and does their width help.

The paper's network against one four times as wide and one whose first layer has 64 units, on the same seeds. The wide
ones are dear, so there are fewer of them.

Shapes: S networks, L layers.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import common
import numpy as np
from common import Evidence, Plan, Runs, Values
from common.layers import ROOM, log_epochs, measurable
from matplotlib.figure import Figure

import ibjax
from ibjax import figures
from ibjax.analysis import compression, epochs_to_relevance

NAME = "width"
WIDE_SEEDS = 10
WIDE = 12  # units; the paper's widest layer


def configs(plan: Plan) -> dict[str, ibjax.Config]:
    """The paper's run, and wider ones with fewer seeds."""
    narrow = plan.paper()
    first, *rest = narrow.hidden_widths
    wider = {"4 times": [4 * width for width in (first, *rest)], "64 first": [16 if plan.quick else 64, *rest]}
    return {"paper": narrow} | {
        label: plan.paper(seeds=WIDE_SEEDS, hidden_widths=tuple(widths)) for label, widths in wider.items()
    }


def measure(runs: Runs) -> list[Evidence]:
    """The fall of I(X;T) in wide layers that can be judged, and what the width does to accuracy and speed."""
    found = falls(runs)
    found.detail = f"{found.detail} {gains(runs)}".lstrip()
    return [found]


def falls(runs: Runs) -> Evidence:
    """The fall of I(X;T) of every layer of `WIDE` units or more whose largest value leaves room below H(X)."""
    judged: dict[str, Values] = {}
    full = []
    for label, run in runs.items():
        fall, room = compression(run).drop, measurable(run)
        least = min(WIDE, max(run.layer_widths[:-1]))
        for layer, (name, width) in enumerate(zip(run.layer_names[:-1], run.layer_widths[:-1], strict=True)):
            title = f"{name} of {width} units ({label})"
            if width >= least and room[layer]:
                judged[title] = fall[:, layer]
            elif width >= least:
                full.append(f"{title} {common.mean(fall[:, layer])}")
    none = f"Within {ROOM:g} bits of H(X) at the peak, so that a compression would not be seen: {', '.join(full)}."
    if not judged:
        return Evidence.unmeasurable("wide_compress", none)
    rows = max(len(column) for column in judged.values())
    columns = np.stack([np.pad(column, (0, rows - len(column)), constant_values=np.nan) for column in judged.values()])
    return Evidence("wide_compress", columns.T, list(judged), none if full else "")


def gains(runs: Runs) -> str:
    """What the width does to test accuracy and speed, against the paper's network of the same seed, in words."""
    paper, *others = runs
    better, sooner = [], []
    seeds = sorted(set.intersection(*(set(run.seeds.tolist()) for run in runs.values())))
    shared = {label: run.of_seeds(seeds) for label, run in runs.items()}
    for label in others:
        better.append(accuracy(shared[label]) - accuracy(shared[paper]))
        sooner.append(learned(shared[label]) - learned(shared[paper]))
    return (
        f"Test accuracy {common.mean(accuracy(shared[paper]))} with the paper's widths; the others differ by "
        f"{common.describe(np.stack(better, axis=1), others)}. log10 of the epochs until the output has 95% of I(X;Y), "
        f"less that of the paper's widths: {common.describe(np.stack(sooner, axis=1), others)}."
    )


def accuracy(run: ibjax.Trajectory) -> Values:
    """(S,) test accuracy at the end; NaN for diverged networks."""
    return np.where(run.diverged, np.nan, run.test_accuracy[:, -1].astype(np.float64))


def learned(run: ibjax.Trajectory) -> Values:
    """(S,) log10 of the epochs until the output has 95% of I(X;Y); NaN where it never has."""
    return log_epochs(epochs_to_relevance(run)[:, -1])


def figure(runs: Runs) -> Figure:
    """A plane per network."""
    return figures.planes({"-".join(map(str, run.layer_widths[:-1])): run for run in runs.values()}, columns=1)


def main(argv: Sequence[str] | None = None) -> int:
    """Train or read, measure, draw, write."""
    return common.execute(NAME, __doc__, configs, measure, figure, argv)


if __name__ == "__main__":
    sys.exit(main())
