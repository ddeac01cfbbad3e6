"""Do layers satisfy the bottleneck equations, lie on the information curve, and what is their beta?

Figure 7 of arXiv 1703.00810. A layer of one network is what its binned activations make of all patterns. It is
compared with the bottleneck encoder built from its p(t) and p(y|t) at the best beta (`ibjax.bottleneck.layer_beta`):
the KL left is 0 where the layer satisfies the bottleneck equations, and I(X;T) at most. Its distance to the curve is
the excess, I(X;T) less the least at the same I(T;Y): the vertical distance is trivial where the curve is flat.

What the training has to do with it is seen from controls with the same seeds: untrained networks, networks at epoch
400, and networks trained with the labels of all patterns permuted, measured against the rule that they were taught.
Beta falls with depth in untrained networks too, and layers that say little of Y have a beta near the onset whatever
they are, so for beta the untrained networks are what to compare with.

Y is nearly a function of X, where beta is nearly unidentifiable (Kolchinsky et al. 2019): so the run is repeated on
tasks of less information, and the betas are told that leave a KL within 0.01 bits of the least.

Shapes: S networks, L layers, H = L - 1 hidden layers, N patterns, U units, F fields of `LayerOptimality`.
"""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Sequence
from typing import Any

import common
import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from common import Evidence, Job, Plan, Runs, Values
from common.drawing import layer_axis
from common.layers import has_learned
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from ibjax import Config, Curve, Dataset, Trajectory, figures, information_curve, spherical_dataset
from ibjax.analysis import mean_over_seeds
from ibjax.bottleneck import LayerOptimality, critical_betas, layer_beta
from ibjax.figures.bottleneck import draw_curve, draw_layers
from ibjax.figures.style import ensemble_colours, layer_looks, legend_below, mean_of
from ibjax.information.cells.bins import bin_codes

NAME = "bound"
EARLY = 400
"""Epoch of the control half way."""
INFORMATIONS = (0.5, 0.7, 0.9)
"""I(X;Y) of the further tasks, bits."""
PAIRS = 3  # of neighbouring hidden layers, from the last on
_FIELD = {field: place for place, field in enumerate(LayerOptimality._fields)}
LOOKS = {
    "untrained": ("0.55", "o"),
    f"epoch {EARLY}": ("#56B4E9", "s"),
    "trained": ("#0072B2", "D"),
    "shuffled labels": ("#D55E00", "^"),
}


def task(information: float | None = None) -> Dataset:
    """The paper's task, or that with another I(X;Y) in bits."""
    return spherical_dataset(information=information)


@functools.cache
def shuffled() -> Dataset:
    """The paper's task with p(y|x) permuted over the patterns, the same permutation for all networks."""
    given = task()
    assert given.log_odds is not None
    return Dataset.from_log_odds(given.inputs, np.random.default_rng(0).permutation(given.log_odds))


@functools.cache
def curve_of(information: float | None = None) -> Curve:
    """The information curve of a task up to beta = 10^7, as the last bits of I(T;Y) cost most of the rate."""
    joint = task(information).joint
    usual = information_curve(joint).beta
    return information_curve(joint, np.concatenate([usual, np.geomspace(usual[-1], 1e7, 9)[1:]]))


def cells_of(activations: npt.NDArray[Any], bins: int) -> npt.NDArray[np.intp]:
    """(N, U) activations in [-1, 1] -> (N,) which cell each pattern falls into."""
    with jax.enable_x64(activations.dtype == np.float64):
        codes = np.asarray(bin_codes(jnp.asarray(activations), bins, -1.0, 1.0, None))
    return np.unique(codes, axis=0, return_inverse=True)[1].reshape(-1)


def optimality(run: Trajectory, dataset: Dataset, curve: Curve, epoch: int | None = None) -> Values:
    """(S, L, F) of every layer at a logged epoch near the given one, or at the last; NaN for diverged networks."""
    entry = run.epochs.size - 1 if epoch is None else run.epoch_index(min(epoch, int(run.epochs[-1])))
    rows, bins = dataset.conditional, run.config["config"]["bins"]
    found = np.full((run.seeds.size, len(run.layer_names), len(_FIELD)), np.nan)
    for row in np.flatnonzero(run.healthy):
        for layer, values in enumerate(common.stored_activations(run, dataset.inputs, row, np.array([entry]))):
            found[row, layer] = layer_beta(cells_of(values[0], bins), rows, curve=curve)
    return found


@functools.lru_cache(maxsize=2)
def stages(paper: Trajectory, control: Trajectory) -> dict[str, Values]:
    """(S, L, F) untrained, at epoch 400, at the end, and of shuffled labels for the seeds that were trained on these.

    Networks that did not learn are NaN in all of them but the last, which cannot learn.
    """
    found = {
        label: optimality(paper, task(), curve_of(), epoch)
        for label, epoch in zip(LOOKS, (0, EARLY, None), strict=False)
    }
    for values in found.values():
        values[~has_learned(paper)] = np.nan
    other = optimality(control, shuffled(), curve_of())
    found["shuffled labels"] = np.full_like(found["trained"], np.nan)
    for row, seed in enumerate(control.seeds):
        found["shuffled labels"][paper.seeds == seed] = other[row]
    return found


@functools.lru_cache(maxsize=8)
def of_task(run: Trajectory, information: float) -> Values:
    """(S, L, F) of the networks trained on the task of this I(X;Y), at the end."""
    return optimality(run, task(information), curve_of(information))


def relative_kl(found: Values) -> Values:
    """(S, H) KL over I(X;T), which bounds it, of the hidden layers; NaN without information."""
    kl, i_x = found[:, :-1, _FIELD["kl"]], found[:, :-1, _FIELD["i_x"]]
    return np.where(i_x > 1e-9, kl / np.maximum(i_x, 1e-9), np.nan)


def rank_correlation(betas: Values) -> float:
    """Kendall's tau-b of depth and beta* (infinite ones tie); -1 where it always falls, 0 where all are equal."""
    if np.isnan(betas).any():
        return float("nan")
    ranks = np.unique(betas, return_inverse=True)[1]
    return float(stats.kendalltau(np.arange(betas.size), ranks).statistic) if np.ptp(ranks) else 0.0


def beta_drop(found: Values) -> Values:
    """(S,) log10 of beta* of the hidden layer `PAIRS` below the last over that of the last; NaN unless both are finite.

    Args:
      found: (S, L, F).
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        drop = np.log10(found[:, max(-2 - PAIRS, -found.shape[1]), _FIELD["beta"]]) - np.log10(
            found[:, -2, _FIELD["beta"]]
        )
    return np.where(np.isfinite(drop), drop, np.nan)


def slope_times_beta(found: Values) -> Values:
    """(S, PAIRS) log10 of dI(T;Y)/dI(X;T) between neighbouring hidden layers times their beta*, the geometric mean.

    NaN where a layer has no finite beta above 0, or the slope is not positive.

    Args:
      found: (S, H, F).
    """
    hidden = found[:, -PAIRS - 1 :]
    rise, run = (hidden[:, :-1, _FIELD[f]] - hidden[:, 1:, _FIELD[f]] for f in ("i_y", "i_x"))
    beta = hidden[..., _FIELD["beta"]]
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log10(rise) - np.log10(run) + 0.5 * (np.log10(beta[:, :-1]) + np.log10(beta[:, 1:]))
    return np.where(np.isfinite(logs), logs, np.nan)


def nearness(betas: Values, critical: Values, low: float, high: float) -> Values:
    """Share of betas, uniform in log beta from low to high, that lie nearer to a critical one; NaN for those outside.

    Args:
      betas: any shape.
      critical: (B,) betas within low and high.
    """
    grid = np.linspace(np.log(low), np.log(high), 20_001)

    def distance(logs: Values) -> Values:
        return np.abs(logs[..., None] - np.log(critical)).min(axis=-1)

    by_chance, inside = np.sort(distance(grid)), (betas >= low) & (betas <= high)
    share = np.searchsorted(by_chance, distance(np.log(np.where(inside, betas, low)))) / grid.size
    return np.where(inside, share, np.nan)


@functools.cache
def criticals() -> tuple[Values, float, float]:
    """The critical betas beyond the onset, where layers that know nothing are, and the range of the search."""
    found = critical_betas(task().joint)
    return np.array(found.splits), found.onset, float(information_curve(task().joint).beta[-1])


def configs(plan: Plan) -> dict[str, Config | Job]:
    """The paper's run, shuffled labels, and tasks of less information."""
    few = plan.paper(seeds=10, logged_epochs=30)
    tasks = {
        f"information {bits}": Job(config=few, name=f"information-{bits}", parts={"dataset": task(bits)})
        for bits in (INFORMATIONS[:1] if plan.quick else INFORMATIONS)
    }
    return {"paper": plan.paper(), "shuffled": Job(config=few, name="shuffled", parts={"dataset": shuffled()}), **tasks}


def measure(runs: Runs) -> list[Evidence]:
    """The equations, the curve, and the betas."""
    paper = runs["paper"]
    found, hidden = stages(paper, runs["shuffled"]), paper.layer_names[:-1]
    trained, untrained = found["trained"][:, :-1], found["untrained"][:, :-1]
    kl, excess = (trained[..., _FIELD[field]] for field in ("kl", "excess"))
    curve, left_out = curve_of(), int(np.sum(~has_learned(paper)))
    counted = f" {left_out} networks that did not learn do not count." * bool(left_out)
    return [
        Evidence(
            "equations",
            kl,
            hidden,
            f"KL: {common.describe(kl, hidden)}; "
            f"untrained: {common.describe(untrained[..., _FIELD['kl']], hidden)}.{counted}",
        ),
        learned(found),
        identifiable(runs),
        Evidence(
            "on_curve",
            excess,
            hidden,
            f"Excess: {common.describe(excess, hidden)}. All of I(X;Y) needs {curve.h_sufficient:.2f} bits, all but "
            f"0.001 bits {float(curve.rate(curve.i_xy - 1e-3)):.2f}.",
        ),
        betas_fall(found, hidden),
        slopes(trained, hidden),
        critical(trained, untrained, hidden),
    ]


def learned(found: dict[str, Values]) -> Evidence:
    """Whether training brings the layers nearer to the equations than each control is."""
    shares = {label: relative_kl(values) for label, values in found.items()}
    means = {label: common.known_mean(values, 1) for label, values in shares.items()}
    controls = [label for label in found if label != "trained"]
    values = np.stack([means["trained"] - means[label] for label in controls], axis=1)
    told = ", ".join(f"{label} {common.mean(each)}" for label, each in means.items())
    last = ", ".join(f"{label} {common.mean(each[:, -1])}" for label, each in shares.items())
    detail = f"KL over I(X;T), mean of the hidden layers: {told}; of the last: {last}."
    return Evidence("equations_learned", values, controls, detail)


def identifiable(runs: Runs) -> Evidence:
    """Whether layers come nearer to the equations where Y is less certain, the same seeds against the paper's task."""
    paper = runs["paper"]
    usual = stages(paper, runs["shuffled"])["trained"]
    columns, told = [], [(paper.i_xy, usual)]
    names = [label for label in runs if label.startswith("information")]
    for label in names:
        found = of_task(runs[label], information_in(label))
        same = usual[np.isin(paper.seeds, runs[label].seeds)]
        columns.append(common.known_mean(relative_kl(found), 1) - common.known_mean(relative_kl(same), 1))
        told.append((information_in(label), found))
    kl, excess = _FIELD["kl"], _FIELD["excess"]
    each = "; ".join(
        f"{bits:.2f}: KL {common.mean(found[:, -2, kl])}, excess {common.mean(found[:, -2, excess])}"
        for bits, found in told
    )
    detail = f"Last hidden layer, bits, at I(X;Y) of {each}."
    return Evidence("equations_identifiable", np.stack(columns, axis=1), names, detail)


def information_in(label: str) -> float:
    """The bits that the label of a run speaks of."""
    return float(label.split()[1])


def betas_fall(found: dict[str, Values], hidden: Sequence[str]) -> Evidence:
    """Whether beta falls with depth by a larger factor than in the untrained network, over the last layers."""
    falls = {label: beta_drop(each) for label, each in found.items()}
    taus = {label: np.array([rank_correlation(row) for row in each[:, :-1, 0]]) for label, each in found.items()}
    low, high = (found["trained"][:, :-1, _FIELD[field]] for field in ("beta_low", "beta_high"))
    with np.errstate(divide="ignore", invalid="ignore"):
        width = np.log10(high / low)
    last = [np.nanmedian(ends[:, -1]) if np.isfinite(ends[:, -1]).any() else np.nan for ends in (low, high)]
    curve = curve_of()
    spanned = np.interp(last, curve.beta, curve.i_x)
    told = common.describe(np.where(np.isfinite(width), width, np.nan), hidden)
    by_stage = ", ".join(f"{label} {common.mean(tau)}" for label, tau in taus.items())
    detail = (
        f"Trained {common.mean(falls['trained'])}, untrained {common.mean(falls['untrained'])}. Tau of depth and "
        f"beta*, which falls in random networks as well: {by_stage}. log10 of the highest over the "
        f"lowest beta within 0.01 bits of the least KL: {told}; the others have no highest. Those of the last "
        f"hidden layer, {last[0]:.2g} to {last[1]:.2g}, span {spanned[0]:.2g} to {spanned[1]:.2g} bits of I(X;T) on "
        "the curve."
    )
    return Evidence("beta_falls", falls["trained"] - falls["untrained"], detail=detail)


def slopes(trained: Values, hidden: Sequence[str]) -> Evidence:
    """The slope between neighbouring layers times beta, which should be 1."""
    products, last = slope_times_beta(trained), list(hidden)[-PAIRS - 1 :]
    pairs = [f"{first} to {second}" for first, second in itertools.pairwise(last)]
    missing = int(np.sum(np.isnan(products) & ~np.isnan(trained[:, -1, :1])))
    beta = trained[:, -len(last) :, 0]
    detail = f"1/beta*: {common.describe(np.where(beta > 0, 1 / np.where(beta > 0, beta, 1), np.nan), last)}."
    detail += f" {missing} pairs without a positive slope or a finite beta* do not count." * bool(missing)
    return Evidence("slope", products, pairs, detail)


def critical(trained: Values, untrained: Values, hidden: Sequence[str]) -> Evidence:
    """Nearness to critical betas, mean over hidden layers, less chance."""
    betas, low, high = criticals()
    now, before = (nearness(each[..., 0], betas, low, high) for each in (trained, untrained))
    detail = (
        f"Critical betas: {', '.join(f'{each:.4g}' for each in betas)}. Share of nearer betas, trained: "
        f"{common.describe(now, hidden)}; untrained: {common.describe(before, hidden)}. A beta* beyond "
        f"{low:.3g} to {high:.3g} does not count."
    )
    return Evidence("critical", common.known_mean(now, 1) - 0.5, detail=detail)


def figure(runs: Runs) -> Figure:
    """The layers and the curve, the KL over the stages of the training and over tasks, and 1/beta."""
    paper = runs["paper"]
    found, names = stages(paper, runs["shuffled"]), paper.layer_names
    whole, panels = figures.side_by_side(4, height=3.1, columns=2)
    with figures.style():
        draw_excess(panels[0], paper, found["trained"])
        for label, values in found.items():
            draw_points(panels[1], relative_kl(values), LOOKS[label], label)
        panels[1].set_ylabel("KL from the bottleneck encoder\n$/\\,I(X;T)$")
        panels[1].set_ylim(-0.03, 1.03)
        panels[1].set_title("0: the equations hold; networks, means, 95%")
        draw_tasks(panels[2], runs)
        draw_inverse_betas(panels[3], found["trained"], names)
        for panel in panels[1:]:
            layer_axis(panel, names[:-1])
            panel.set_xlabel("hidden layer")
            legend_below(panel, columns=2)
    return whole


def draw_excess(ax: Axes, run: Trajectory, found: Values) -> None:
    """Layers on the plane, and arrows of the excess to the point of the curve with their mean I(T;Y)."""
    curve = curve_of()
    x = np.concatenate([np.linspace(0, 2, 400), np.linspace(2, run.h_x, 100)])
    draw_curve(ax, x, curve.relevance(x))
    i_x, i_y = (mean_over_seeds(run, found[..., _FIELD[field]]) for field in ("i_x", "i_y"))
    draw_layers(ax, i_x, i_y, run.layer_names)
    for (_, colour, _), x_mean, y_mean in zip(layer_looks(run.layer_names), i_x.mean, i_y.mean, strict=True):
        if np.isfinite(x_mean + y_mean):
            goal = float(curve.rate(min(float(y_mean), curve.i_xy)))
            ax.annotate(
                "", (goal, y_mean), (x_mean, y_mean), arrowprops={"arrowstyle": "->", "color": colour, "lw": 0.8}
            )
    ax.set_ylim(min(0.9, float(np.nanmin(i_y.mean)) - 0.05) if np.isfinite(i_y.mean).any() else None, 1.0)
    ax.set_title(mean_of(run, "arrows: excess"))
    legend_below(ax)


def draw_points(ax: Axes, values: Values, look: tuple[str, str], name: str, shift: float = 0.0) -> None:
    """(S, H) of hidden layers: every network, and means with 95% bars joined by a line."""
    colour, marker = look
    middle, low, high = np.array([common.mean(column) for column in values.T]).T
    at = np.arange(values.shape[1]) + shift
    for place, column in zip(at, values.T, strict=True):
        ax.plot(np.full(column.size, place), column, ".", ms=2.2, color=colour, alpha=0.35, mew=0)
    bars = np.nan_to_num([middle - low, high - middle])
    ax.errorbar(at, middle, bars, color=colour, marker=marker, ms=3.5, lw=0.8, label=name)


def draw_tasks(ax: Axes, runs: Runs) -> None:
    """KL over I(X;T) of the trained layers of each task."""
    tasks = {
        label: of_task(run, information_in(label)) for label, run in runs.items() if label.startswith("information")
    }
    tasks["paper"] = stages(runs["paper"], runs["shuffled"])["trained"]
    for number, ((label, values), colour) in enumerate(zip(tasks.items(), ensemble_colours(len(tasks)), strict=True)):
        bits = runs["paper"].i_xy if label == "paper" else information_in(label)
        draw_points(ax, relative_kl(values), (colour, "os^D"[number % 4]), f"I(X;Y) = {bits:.2g}", 0.1 * number)
    ax.set_ylabel("KL from the bottleneck encoder\n$/\\,I(X;T)$")
    ax.set_ylim(-0.03, 1.03)
    ax.set_title("tasks of less information")


def draw_inverse_betas(ax: Axes, found: Values, names: Sequence[str]) -> None:
    """1/beta* of the hidden layers, medians with quartiles, the betas as good, and the slope between neighbours."""
    floor, hidden = 1e-4, found[~np.isnan(found[..., 0]).any(axis=1), :-1]
    if not len(hidden):
        return
    with np.errstate(divide="ignore"):
        inverse, *ends = (1 / hidden[..., _FIELD[field]] for field in ("beta", "beta_high", "beta_low"))
    for layer, (_, colour, marker) in enumerate(layer_looks(names)[:-1]):
        low, middle, high = np.maximum(np.percentile(inverse[:, layer], [25, 50, 75]), floor)
        as_good = [np.clip(np.median(end[:, layer]), floor, 10) for end in ends]
        ax.plot([layer, layer], as_good, color=colour, lw=4, alpha=0.25, solid_capstyle="butt")
        ax.errorbar(layer, middle, [[middle - low], [high - middle]], color=colour, marker=marker, ms=4, elinewidth=1)
        if middle == floor:  # 1/beta* lies below the axis
            ax.annotate("", (layer, floor / 1.8), (layer, floor), arrowprops={"arrowstyle": "->", "color": colour})
    rise, run = (hidden[:, :-1, _FIELD[field]] - hidden[:, 1:, _FIELD[field]] for field in ("i_y", "i_x"))
    slope = np.median(rise, axis=0) / np.maximum(np.median(run, axis=0), 1e-3)
    ax.plot(
        np.flatnonzero(slope > floor) + 0.5,
        slope[slope > floor],
        "_",
        color="0.2",
        ms=14,
        mew=1.4,
        label="slope between layers",
    )
    ax.plot([], [], "o", color="0.4", ms=4, label=r"$1/\beta^*$, quartiles")
    ax.plot([], [], color="0.4", lw=4, alpha=0.3, label="as good to 0.01 bits")
    ax.set_yscale("log")
    ax.set_ylim(floor / 2, 3)
    ax.set_ylabel(r"$1/\beta^*$, slope $\Delta I_Y/\Delta I_X$")
    ax.set_title("medians over networks")


def main(argv: Sequence[str] | None = None) -> int:
    """Train or read, measure, draw and write."""
    return common.execute(NAME, __doc__, configs, measure, figure, argv)


if __name__ == "__main__":
    sys.exit(main())
