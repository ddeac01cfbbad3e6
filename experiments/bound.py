"""Do converged layers sit on the information curve, and does their beta fall with depth?

    python experiments/bound.py [--quick] [--out DIR]

The curve is that of the task's joint p(x, y). A layer of one network is what its binned activations at the last epoch
make of all patterns: its point, its distance to the curve (I(T;Y) of the curve at the same I(X;T), less the layer's),
and beta* = argmin_beta E_x KL[p_layer(t|x) || p_beta(t|x)]. The bottleneck encoder p_beta is built from the layer's
p(t) and p(y|t), so agreement is partly built in, and a layer that keeps every pattern apart (T = X) is on the curve
whatever it computes. So see the KL, and the control: the layer's cells dealt at random to the patterns, with the same
p(t). 1/beta* is the slope of the curve where the layer belongs; it is 0 for a layer whose beta* has no finite value.

Verdicts
  beta* falls with depth: Kendall's tau-b between a hidden layer's depth and its beta*, one value for each network; with
    95% confidence the mean is below 0 (reproduced), above 0 (not reproduced), else undecided.
  layers sit on the curve (contested): the mean distance of a hidden layer over I(X;Y) is, with 95% confidence, below
    0.05 in every layer (reproduced), above 0.05 in every layer (not reproduced), else depends on the layer.

Shapes: S networks, L layers, N patterns, U units.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import common
import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from common import Finding, Runs, Values
from common.drawing import layer_axis
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from ibjax import Config, Curve, Trajectory, figures, information_curve, spherical_dataset
from ibjax.analysis import Estimate, mean_over_seeds
from ibjax.bottleneck import layer_beta, random_encoder_control
from ibjax.figures.bottleneck import draw_curve, draw_layers
from ibjax.figures.style import error_bars, layer_looks, legend_below, marker_area, mean_of
from ibjax.information.histogram import bin_codes

NAME = "bound"
ON_THE_CURVE = 0.05  # of I(X;Y)
CONTESTED = "Contested: Saxe et al. 2018; Goldfeld et al. 2019"


def cells_of(activations: npt.NDArray[Any], bins: int) -> npt.NDArray[np.intp]:
    """(N, U) activations in [-1, 1] -> (N,) which cell each pattern falls into."""
    with jax.enable_x64(activations.dtype == np.float64):
        codes = np.asarray(bin_codes(jnp.asarray(activations), bins, -1.0, 1.0, None))
    return np.unique(codes, axis=0, return_inverse=True)[1].reshape(-1)


class Results(NamedTuple):
    """Means over networks, (L,) each; bits unless said.

    Attributes:
      i_x, i_y, distance, kl: of the layers.
      inverse_beta: 1/beta*.
      control: the same five of random encoders, the mean of each network's.
      nearer: distance of the control less that of the layer.
      tau: Kendall's tau-b between depth and beta* of the hidden layers, ().
      curve: of the task.
    """

    i_x: Estimate
    i_y: Estimate
    distance: Estimate
    kl: Estimate
    inverse_beta: Estimate
    control: dict[str, Estimate]
    nearer: Estimate
    tau: Estimate
    curve: Curve


FIELDS = ("inverse_beta", "kl", "i_x", "i_y", "distance")


@functools.lru_cache(maxsize=2)
def analyse(trajectory: Trajectory, repeats: int = 2) -> Results:
    """Every layer of every healthy network at the last logged epoch, and `repeats` random encoders for each."""
    dataset = spherical_dataset(trajectory.config["config"]["dataset"])
    curve = information_curve(dataset.joint)
    rule, bins = dataset.p_y_given_x, trajectory.config["config"]["bins"]
    shape = trajectory.seeds.size, len(trajectory.layer_names), len(FIELDS)
    layers, control, tau = np.full(shape, np.nan), np.full(shape, np.nan), np.full(shape[0], np.nan)
    for row in np.flatnonzero(trajectory.healthy):
        activations = common.stored_activations(trajectory, dataset.inputs, row, np.array([-1]))
        for layer, values in enumerate(activations):
            cells = cells_of(values[0], bins)
            layers[row, layer] = layer_beta(cells, rule, curve=curve)
            key = jax.random.fold_in(jax.random.key(trajectory.seeds[row]), layer)
            drawn = np.array(random_encoder_control(cells, rule, key=key, repeats=repeats, curve=curve))
            drawn[:, 0] = _inverse(drawn[:, 0])
            control[row, layer] = drawn.mean(axis=0)
        hidden = layers[row, :-1, 0]
        tau[row] = rank_correlation(hidden)
    layers[..., 0] = _inverse(layers[..., 0])
    means = [mean_over_seeds(trajectory, layers[..., field]) for field in range(len(FIELDS))]
    return Results(
        **dict(zip(FIELDS, means, strict=True)),
        control={name: mean_over_seeds(trajectory, control[..., field]) for field, name in enumerate(FIELDS)},
        nearer=mean_over_seeds(trajectory, (control - layers)[..., FIELDS.index("distance")]),
        tau=mean_over_seeds(trajectory, tau),
        curve=curve,
    )


def rank_correlation(betas: Values) -> float:
    """Kendall's tau-b between depth and beta* (infinite ones tie); -1 where it always falls, 0 where all are equal."""
    ranks = np.unique(betas, return_inverse=True)[1]
    tau = stats.kendalltau(np.arange(betas.size), ranks).statistic if np.ptp(ranks) else 0.0
    return float(tau)


def _inverse(betas: Values) -> Values:
    """1/beta; NaN for beta = 0, a layer that says nothing of Y."""
    return np.where(betas > 0, 1 / np.where(betas > 0, betas, 1.0), np.nan)


def configs(quick: bool) -> dict[str, Config]:
    """The paper's run with its weights, the one of `weights`."""
    return {"paper": common.paper(quick)}


def measure(runs: Runs) -> list[Finding]:
    """The claims, by the rules at the top."""
    found, names = analyse(runs["paper"]), runs["paper"].layer_names
    hidden, i_xy = names[:-1], found.curve.i_xy
    return [
        common.judge(
            found.tau,
            0.0,
            ["network"],
            claim="The beta of a converged layer falls with its depth.",
            source=f"{common.PAPER}, layers on the information curve",
            measured="Kendall's tau-b of depth and beta*, hidden layers "
            f"(1/beta*: {common.describe(found.inverse_beta, names)}; KL, bits: {common.describe(found.kl, names)}; "
            f"KL of random encoders: {common.describe(found.control['kl'], names)})",
            below=True,
            note="The encoder compared with is built from the layer's own p(t) and p(y|t): partly built in.",
        ),
        common.judge(
            _hidden(found.distance, i_xy),
            ON_THE_CURVE,
            hidden,
            claim="Converged layers lie on the information curve.",
            source=f"{common.PAPER}, layers on the information curve",
            measured="distance to the curve over I(X;Y) (of random encoders with the same p(t): "
            f"{common.describe(_hidden(found.control['distance'], i_xy), hidden)})",
            below=True,
            note=CONTESTED,
        ),
        common.judge(
            _hidden(found.nearer, 1.0),
            0.0,
            hidden,
            claim="Converged layers lie nearer to the curve than random encoders with the same p(t).",
            source="control, not in the paper",
            measured="distance of the random encoder less that of the layer, bits",
            note="A layer that keeps all patterns apart is its own random encoder: a difference of 0.",
        ),
    ]


def _hidden(estimate: Estimate, unit: float) -> Estimate:
    """The entries of the hidden layers, in units of `unit`."""
    hidden = common.part(estimate, slice(None, -1))
    return dataclasses.replace(hidden, mean=hidden.mean / unit, low=hidden.low / unit, high=hidden.high / unit)


def figure(runs: Runs) -> Figure:
    """The layers on the plane with the curve, and their 1/beta*."""
    run = runs["paper"]
    found, names = analyse(run), run.layer_names
    whole, (left, right) = figures.side_by_side(2, height=3.1)
    x = np.linspace(0, run.h_x, 400)
    with figures.style():
        draw_curve(left, x, found.curve.relevance(x))
        draw_layers(left, found.i_x, found.i_y, names)
        draw_control(left, found.control["i_x"].mean, found.control["i_y"].mean, names)
        legend_below(left)
        left.set_title(mean_of(run, f"epoch {run.epochs[-1]}, 95% bars"))
        draw_inverse_betas(right, found.inverse_beta, names)
        right.set_title(mean_of(run, "95% bars"))
    return whole


def draw_control(ax: Axes, i_x: Values, i_y: Values, names: Sequence[str]) -> None:
    """(L,) points of the random encoders, hollow, with the colours and markers of the layers."""
    for x, y, (_, colour, marker) in zip(i_x, i_y, layer_looks(names), strict=True):
        ax.scatter(x, y, marker_area(marker), "none", marker=marker, edgecolors=colour, linewidths=0.8)
    ax.scatter([], [], 16, "none", marker="o", edgecolors="0.3", linewidths=0.8, label="random encoder")


def draw_inverse_betas(ax: Axes, inverse: Estimate, names: Sequence[str]) -> None:
    """1/beta* of every layer, (L,): the slope of the curve where the layer is most like a bottleneck."""
    bars = error_bars(inverse)
    for layer, (_, colour, marker) in enumerate(layer_looks(names)):
        ax.errorbar(
            layer,
            inverse.mean[layer],
            bars[:, layer : layer + 1],
            color=colour,
            marker=marker,
            ms=4,
            ls="",
            elinewidth=1,
        )
    ax.set_ylabel(r"$1/\beta^*$")
    ax.set_ylim(-0.03, None)
    layer_axis(ax, names)


def main(argv: Sequence[str] | None = None) -> int:
    """Train or read, measure, draw and write."""
    return common.execute(NAME, __doc__, configs, measure, figure, argv)


if __name__ == "__main__":
    sys.exit(main())
