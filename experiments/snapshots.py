"""The information plane of 50 networks at the start, at about 400 and at about 9000 epochs.

Figure 2 of arXiv 1703.00810.
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
from ibjax.analysis import check_bounds, mean_over_seeds

NAME = "snapshots"
EPOCHS = (0, 400, 9000)
MOST = 0.9  # of I(X;Y), what "most of the relevant information" is taken to mean


def configs(quick: bool) -> dict[str, ibjax.Config]:
    """The paper's run."""
    return {"paper": common.paper(quick)}


def measure(runs: Runs) -> list[Finding]:
    """What is lost along the untrained layers, what is there after fitting, whether networks come together."""
    run = runs["paper"]
    hidden = run.layer_names[:-1]
    untrained, fitted, late = (run.epoch_index(epoch) for epoch in EPOCHS)
    at_start = mean_over_seeds(run, run.i_ty[:, untrained, :-1])
    lost = common.mean(np.where(run.diverged, np.nan, run.i_ty[:, untrained, 0] - run.i_ty[:, untrained, -2]))
    order = "; ".join(str(violations) for violations in check_bounds(run).order)
    share = mean_over_seeds(run, run.i_ty[:, fitted, :-1] / run.i_xy)
    least = int(np.argmin(share.mean))
    spread = [_contraction(run, untrained, late, layer) for layer in range(len(hidden))]
    told = [(name, ratio) for name, ratio in zip(hidden, spread, strict=True) if ratio.n_seeds]
    narrow = min((ratio for _, ratio in told), default=common.NOTHING)
    return [
        Finding.of(
            lost,
            claim="Untrained networks lose relevant information from layer to layer.",
            source=f"{common.PAPER}, figure 2 left",
            measured=f"bits of I(T;Y) between first and last hidden layer before training; I(T;Y) per layer: "
            f"{common.describe(at_start, hidden)}; order along the layers at all epochs: {order}",
            verdict=common.verdict_above(lost),
        ),
        Finding.of(
            common.at(share, least),
            claim="After about 400 epochs the layers hold most of the relevant information.",
            source=f"{common.PAPER}, figure 2 middle",
            measured=f"I(T;Y)/I(X;Y) at epoch {run.epochs[fitted]} in the hidden layer that has least of it; all: "
            f"{common.describe(share, hidden)}; reproduced if more than {MOST}",
            verdict=common.verdict_above(common.at(share, least), MOST),
            note="The learning rate of the paper is not published; ours was chosen for this time scale.",
        ),
        Finding.of(
            narrow,
            claim="Differently initialised networks come together in the plane.",
            source=f"{common.PAPER}, figure 2 right",
            measured=f"log2 of the standard deviation over networks of I(T;Y) at epoch {run.epochs[untrained]} over "
            f"that at {run.epochs[late]}, in the hidden layer where it shrinks least, of those that vary by more than "
            f"0.01 bits at the start: {', '.join(f'{name} {ratio}' for name, ratio in told) or 'none'}",
            verdict=common.verdict_above(narrow),
        ),
    ]


def _contraction(run: ibjax.Trajectory, first: int, last: int, layer: int) -> common.Interval:
    """log2 of the ratio of the standard deviations over seeds; NaN for a layer that hardly varies at the start."""
    pair = run.i_ty[run.healthy][:, [first, last], layer].astype(np.float64)
    if len(pair) < 2 or pair[:, 0].std() < 0.01:
        return common.NOTHING

    def ratio(rows: common.Values) -> common.Values:
        before, after = pair[rows.astype(int)].std(axis=-2).clip(1e-6).T
        return np.asarray(np.log2(before / after))

    return common.interval(ratio, np.arange(len(pair), dtype=np.float64))


def figure(runs: Runs) -> Figure:
    """Three planes side by side."""
    return figures.plane_snapshots(runs["paper"], EPOCHS)


def main(argv: Sequence[str] | None = None) -> int:
    """Train or read, measure, draw, write."""
    return common.execute(NAME, __doc__, configs, measure, figure, argv)


if __name__ == "__main__":
    sys.exit(main())
