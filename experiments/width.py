"""Wide layers: do they compress, and does their width help.

The paper's network against one four times as wide and one whose first layer has 256 units. The wide ones are dear, so
they are trained with fewer seeds.
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
from ibjax.analysis import compression, epochs_to_relevance, mean_over_seeds

NAME = "width"
WIDE_SEEDS = 20
WIDE = 12  # units; the paper's widest layer
COMPRESSES = 0.1  # bits
HELPS = 0.005  # of test accuracy; a smaller gain counts as none


def configs(quick: bool) -> dict[str, ibjax.Config]:
    """The paper's run, and wider ones with fewer seeds."""
    narrow = common.paper(quick)
    if quick:
        return {"paper": narrow, "256 first": common.paper(quick, hidden_widths=(32, *narrow.hidden_widths[1:]))}
    wider = tuple(4 * width for width in narrow.hidden_widths)
    return {
        "paper": narrow,
        "4 times": common.paper(quick, seeds=WIDE_SEEDS, hidden_widths=wider),
        "256 first": common.paper(quick, seeds=WIDE_SEEDS, hidden_widths=(256, *narrow.hidden_widths[1:])),
    }


def measure(runs: Runs) -> list[Finding]:
    """The fall of I(X;T) in wide layers; accuracy and speed against the paper's network."""
    falls = {label: mean_over_seeds(run, compression(run).drop) for label, run in runs.items()}
    told = "; ".join(
        f"{label} ({_widths(run)}): {common.describe(falls[label], run.layer_names)}" for label, run in runs.items()
    )
    wide = [
        (common.at(falls[label], index), f"{name} of {run.layer_widths[index]} units ({label})")
        for label, run in runs.items()
        for index, name in enumerate(run.layer_names[:-1])
        if run.layer_widths[index] >= min(WIDE, max(run.layer_widths))
    ]
    least, where = min(wide)
    compress = [name for fall, name in wide if fall.low > COMPRESSES]
    verdict = common.verdict_above(least, COMPRESSES)
    if verdict == common.NOT_REPRODUCED and compress:
        verdict = common.depends_on(f"the layer: {', '.join(compress)} do, the other wide ones do not")
    findings = [
        Finding.of(
            least,
            claim="Even wide layers compress in the end.",
            source=f"{common.PAPER}, text and figure 3",
            measured=f"bits by which I(X;T) falls from its peak in {where}, which falls least of the layers of {WIDE} "
            f"units or more; all: {told}; reproduced if more than {COMPRESSES}",
            verdict=verdict,
            note="A layer of many units has every pattern in a cell of its own (12 bits), where a plug-in estimate "
            f"cannot see a compression. {_seeds(runs)}",
        )
    ]
    paper, *others = runs
    for label in others:
        better = common.difference(*(_accuracy(runs[key]) for key in (label, paper)))
        sooner = common.difference(
            *(common.log_epochs(runs[key], epochs_to_relevance(runs[key])[:, -1]) for key in (label, paper))
        )
        verdict = common.verdict_below(better, HELPS)
        if verdict == common.REPRODUCED and sooner.high < 0:
            verdict = common.depends_on("what help means: not more accurate, but fewer epochs to learn")
        findings.append(
            Finding.of(
                better,
                claim=f"Extra width does not help ({_widths(runs[label])}).",
                source=f"digests of {common.PAPER}",
                measured="test accuracy at the end, less that of the paper's widths "
                f"({common.mean(_accuracy(runs[paper]))}); log10 of the epochs until the output has 95% of I(X;Y), "
                f"less that of the paper's widths: {sooner}; reproduced if it gains less than {HELPS}",
                verdict=verdict,
                note=_seeds(runs),
            )
        )
    return findings


def _accuracy(run: ibjax.Trajectory) -> common.Values:
    return np.where(run.diverged, np.nan, run.test_accuracy[:, -1].astype(np.float64))


def _widths(run: ibjax.Trajectory) -> str:
    return "-".join(map(str, run.layer_widths[:-1]))


def _seeds(runs: Runs) -> str:
    return f"Networks trained: {', '.join(f'{label} {run.seeds.size}' for label, run in runs.items())}."


def figure(runs: Runs) -> Figure:
    """A plane per network."""
    return figures.planes({_widths(run): run for run in runs.values()}, columns=len(runs))


def main(argv: Sequence[str] | None = None) -> int:
    """Train or read, measure, draw, write."""
    return common.execute(NAME, __doc__, configs, measure, figure, argv)


if __name__ == "__main__":
    sys.exit(main())
