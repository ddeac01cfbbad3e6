"""The information plane of 50 networks at the start, at about 400 and at about 9000 epochs, and when layers compress.

Figure 2 of arXiv 1703.00810, and what its text says of the beginning and the order of the compression.

Shapes: S networks, E logged epochs, L layers.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import common
import numpy as np
import numpy.typing as npt
from common import Entry, Evidence, Plan, Runs, Values
from common.layers import compressing, log_epochs, row_taus
from matplotlib.figure import Figure

import ibjax
from ibjax import figures
from ibjax.analysis import check_bounds, compression
from ibjax.analysis.statistics import percentiles

NAME = "snapshots"
EPOCHS = (0, 400, 9000)
VARIES = 0.01  # bits; a layer that varies less before training cannot come together


def configs(plan: Plan) -> dict[str, ibjax.Config]:
    """The paper's run."""
    return {"paper": plan.paper()}


def measure(runs: Runs) -> list[Evidence]:
    """What untrained layers lose, what is there after fitting, whether networks come together, when layers compress."""
    run = runs["paper"]
    hidden = run.layer_names[:-1]
    untrained, fitted, late = (run.epoch_index(epoch) for epoch in EPOCHS)
    relevance = np.where(run.healthy[:, None, None], run.i_ty, np.nan)
    steps = -np.diff(relevance[:, untrained, :-1], axis=1)
    order = "; ".join(str(violations) for violations in check_bounds(run).order)
    share = relevance[:, fitted] / run.i_xy
    never = int(np.sum(run.train_accuracy[run.healthy, -1] < 0.95))
    return [
        Evidence(
            "fitted_by_400",
            share[:, :-1],
            hidden,
            f"All layers at epoch {run.epochs[fitted]}: {common.describe(share, run.layer_names)}. Untrained networks "
            f"lose from each layer to the next, in bits: {common.describe(steps, hidden[1:])}. At all epochs: {order}.",
        ),
        Evidence.of_entries(
            "come_together",
            [
                entry
                for name in ("i_ty", "i_xt")
                for layer in range(len(hidden))
                if (entry := narrowing(run, name, untrained, late, layer))
            ],
            f"Standard deviations at epochs {run.epochs[untrained]} and {run.epochs[late]}; {never} networks never "
            "learned (training accuracy below 0.95) and count.",
        ),
        *when(run),
    ]


def narrowing(
    run: ibjax.Trajectory, name: str, first: int, last: int, layer: int, resamples: int = 2000
) -> Entry | None:
    """log2 of the ratio of the standard deviations over networks of `i_ty` or `i_xt`; None where it hardly varies."""
    pair = getattr(run, name)[run.healthy][:, [first, last], layer].astype(np.float64)
    if len(pair) < 2 or pair.std(axis=0).max() < VARIES:
        return None
    rows = np.random.default_rng(0).integers(len(pair), size=(resamples, len(pair)))

    def ratio(values: Values) -> Values:
        before, after = np.maximum(values.std(axis=-2), 1e-6).T
        return np.asarray(np.log2(before / after))

    drawn = ratio(pair[rows])
    low, high = percentiles(drawn, 0.95)
    estimate = float(ratio(pair))
    title = f"{'I(T;Y)' if name == 'i_ty' else 'I(X;T)'} of {run.layer_names[layer]}"
    return Entry(title, estimate, float(drawn.std()), len(pair), "bootstrap", float(low), float(high))


def when(run: ibjax.Trajectory) -> list[Evidence]:
    """When I(X;T) of the layers that compress begins to fall, how long it does, and in which order."""
    chosen, claims = compressing(run), ("small_training_loss", "mostly_compression", "top_first")
    if not chosen.any():
        return [Evidence.unmeasurable(claim, "No layer compresses.") for claim in claims]
    names = [name for name, counts in zip(run.layer_names, chosen, strict=True) if counts]
    fall = compression(run)
    peak, half, most = (values[:, chosen] for values in (fall.peak_epoch, fall.half_epoch, fall.most_epoch))
    done, accuracy = fitting_done(run)[:, chosen], at_peak(run, run.train_accuracy)[:, chosen]
    spent = (most - peak) / np.maximum(most, 1.0)
    idle = 1.0 - most / max(float(run.epochs[-1]), 1.0)
    quartiles = ", ".join(
        f"{name} {low:.0f}-{high:.0f}" for name, (low, high) in zip(names, _middle_halves(peak), strict=True)
    )
    by_peak, early, inside = row_taus(peak), row_taus(rise(run)[:, chosen]), row_taus(half[:, : len(names) - 1])
    return [
        Evidence(
            "small_training_loss",
            common.known_mean(done, 1),
            detail=f"Per layer: {common.describe(done, names)}. Training accuracy at the peak: "
            f"{common.mean(common.known_mean(accuracy, 1))}; middle half of the networks' peaks: epochs {quartiles}.",
        ),
        Evidence(
            "mostly_compression",
            common.known_mean(spent, 1),
            detail=f"Per layer: {common.describe(spent, names)}. Another {common.mean(common.known_mean(idle, 1))} of "
            f"the {run.epochs[-1]} epochs come when 90% of the fall is done: they are neither.",
        ),
        Evidence(
            "top_first",
            row_taus(half),
            detail=f"By the epoch of the peak {common.mean(by_peak)}; without {names[-1]} {common.mean(inside)}; by "
            f"half of the rise of I(T;Y) {common.mean(early)}. Half of the fall, log10 of the epoch: "
            f"{common.describe(log_epochs(half), names)}.",
        ),
    ]


def at_peak(run: ibjax.Trajectory, values: npt.NDArray[Any]) -> Values:
    """(S, E) -> (S, L) what `values` is at the logged epoch where I(X;T) of the layer is largest."""
    picked = np.take_along_axis(values[:, :, None], run.i_xt.argmax(axis=1)[:, None, :], axis=1)[:, 0]
    return np.where(run.healthy[:, None], picked, np.nan).astype(np.float64)


def fitting_done(run: ibjax.Trajectory) -> Values:
    """(S, L) share of the fall of the training loss, from the first logged epoch to the last, done at the peak."""
    loss = run.train_loss.astype(np.float64)
    whole = (loss[:, 0] - loss[:, -1])[:, None]
    return np.where(whole > 0, (loss[:, :1] - at_peak(run, loss)) / np.where(whole > 0, whole, 1.0), np.nan)


def rise(run: ibjax.Trajectory) -> Values:
    """(S, L) first logged epoch at which half of the rise of I(T;Y) is done; NaN for a rise of less than 0.1 bits."""
    values = run.i_ty.astype(np.float64)
    first, top = values[:, 0], values.max(axis=1)
    there = values >= ((first + top) / 2)[:, None, :]
    rises = (top - first >= 0.1) & run.healthy[:, None]
    return np.where(rises, run.epochs[there.argmax(axis=1)], np.nan)


def _middle_halves(values: Values) -> list[Values]:
    """Quartiles of each column."""
    return [np.nanpercentile(column, [25, 75]) for column in values.T]


def figure(runs: Runs) -> Figure:
    """Three planes side by side."""
    return figures.plane_snapshots(runs["paper"], EPOCHS)


def main(argv: Sequence[str] | None = None) -> int:
    """Train or read, measure, draw, write."""
    return common.execute(NAME, __doc__, configs, measure, figure, argv)


if __name__ == "__main__":
    sys.exit(main())
