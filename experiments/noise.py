"""Does compression need the noise of stochastic gradients: minibatches against the gradient of all patterns.

Contested by Saxe et al. 2018. What goes as far as minibatches without their noise is full-batch descent with the same
learning rate for as many updates, 14 times the epochs (matched flow); with steps 14 times as long and the same number
of epochs it goes as far too, where the steps are not too long for the loss. Same seeds: same initial weights, training
patterns and labels. The common axis is the distance that gradient flow would go, learning rate times updates.

Shapes: S networks, E logged epochs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import common
import numpy as np
from common import Evidence, Plan, Runs, Values
from common.layers import LEARNED, has_learned
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import ibjax
from ibjax import figures
from ibjax.analysis import compression, mean_over_seeds
from ibjax.figures.style import fill_band

NAME = "noise"
STEPS = 14  # updates of an epoch of the paper's run
MINIBATCH, SAME_STEP, LONG_STEP = "minibatches", "full batch, same rate", f"full batch, rate x {STEPS}"


def configs(plan: Plan) -> dict[str, ibjax.Config]:
    """Minibatches, and full batches that go as far: by as many steps, and by steps 14 times as long."""
    paper = plan.paper(batch_size=None)
    return {
        MINIBATCH: plan.paper(),
        SAME_STEP: plan.paper(seeds=10, batch_size=None, epochs=STEPS * paper.epochs, store_weights=False),
        LONG_STEP: plan.paper(seeds=10, batch_size=None, learning_rate=STEPS * 0.1, store_weights=False),
    }


def measure(runs: Runs) -> list[Evidence]:
    """The fall of I(X;T) of the last hidden layer without noise over that with it, same seeds."""
    falls = {name: last_falls(run.of_seeds(runs[SAME_STEP].seeds)) for name, run in runs.items()}
    told = "; ".join(
        f"{name}: {common.mean(fall)} bits, {np.isnan(fall).sum()} of {fall.size} not counted"
        for name, fall in falls.items()
    )
    hidden = runs[MINIBATCH].layer_names[:-1]
    ratio, longer = (ratios(falls[name], falls[MINIBATCH]) for name in (SAME_STEP, LONG_STEP))
    drops = {name: compression(runs[name]).drop[:, :-1] for name in (MINIBATCH, SAME_STEP)}
    layers = "; ".join(f"{name}: {common.describe(drop, hidden)}" for name, drop in drops.items())
    detail = (
        f"Fall of the last hidden layer, networks that learned (training accuracy of {LEARNED} at least): {told}. "
        f"With steps {STEPS} times as long in place of more of them: {common.mean(longer)} "
        f"of the fall with minibatches. All hidden layers, bits: {layers}."
    )
    return [Evidence("noise_needed", ratio, detail=detail)]


def last_falls(run: ibjax.Trajectory) -> Values:
    """(S,) fall of I(X;T) of the last hidden layer, bits; NaN for a network that did not learn."""
    learned = has_learned(run)
    return np.where(learned, compression(run).drop[:, -2], np.nan)


def ratios(without: Values, with_noise: Values) -> Values:
    """(S,) one fall over the other; NaN where there is none with noise."""
    return np.divide(without, with_noise, out=np.full(without.shape, np.nan), where=with_noise > 0.1)


def figure(runs: Runs) -> Figure:
    """I(X;T) of the deep layers and the training loss over learning rate x updates; falls of every network."""
    whole, (left, middle, right) = figures.side_by_side(3, height=2.7, columns=1)
    looks = dict(zip(runs, (("#AA3377", "-"), ("0.15", "-"), ("#00708A", "--")), strict=True))
    with figures.style():
        for name, run in runs.items():
            colour, line = looks[name]
            flow = flows(run)
            later = flow > 0
            for ax, values in ((left, run.i_xt[:, :, -2]), (middle, run.train_loss)):
                mean = mean_over_seeds(run, values)
                ax.plot(flow[later], mean.mean[later], color=colour, ls=line, label=name)
                fill_band(ax, flow[later], mean.low[later], mean.high[later], colour)
        for ax, text in ((left, "$I(X;T)$ of the last hidden layer [bits]"), (middle, "training loss [nats]")):
            ax.set_xscale("log")
            ax.set_xlabel("learning rate x updates")
            ax.set_ylabel(text)
        left.set_ylim(bottom=0)
        middle.set_yscale("log")
        left.set_title("mean, 95% band")
        left.legend(loc="lower left")
        _draw_pairs(right, {name: last_falls(run.of_seeds(runs[SAME_STEP].seeds)) for name, run in runs.items()}, looks)
    return whole


def flows(run: ibjax.Trajectory) -> Values:
    """(E,) learning rate times updates until each logged epoch."""
    config = run.config["config"]
    patterns = int(run.train_mask[0].sum())
    updates = -(-patterns // (config["batch_size"] or patterns))
    return np.asarray(run.epochs * updates * float(config["learning_rate"]), np.float64)


def _draw_pairs(ax: Axes, falls: dict[str, Values], looks: dict[str, tuple[str, str]]) -> None:
    """The fall of every network without noise against that with it."""
    most = 1.05 * np.nanmax([*(np.nanmax(fall, initial=0.1) for fall in falls.values())])
    markers = iter("os")
    for name, fall in falls.items():
        if name != MINIBATCH:
            ax.plot(falls[MINIBATCH], fall, next(markers), ms=3.5, alpha=0.8, mew=0, color=looks[name][0], label=name)
    ax.plot([0, most], [0, most], color="0.5", lw=0.7, label="as much as with noise")
    ax.plot([0, most], [0, most / 2], color="0.5", lw=0.7, ls=":", label="half as much")
    ax.set(
        xlim=(0, most), ylim=(0, most), xlabel="fall with minibatches [bits]", ylabel="fall with full batches [bits]"
    )
    ax.set_title("last hidden layer, same seeds")
    ax.legend(loc="lower right")


def main(argv: Sequence[str] | None = None) -> int:
    """Train or read, measure, draw, write."""
    return common.execute(NAME, __doc__, configs, measure, figure, argv)


if __name__ == "__main__":
    sys.exit(main())
