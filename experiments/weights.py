"""Do the weights diffuse, and do neurons and networks grow alike?

Diffusion is seen in replicas: networks with one initialisation, one set of training patterns and one draw of their
labels, which differ in the order of the batches only. Free diffusion makes the variance over replicas proportional to
time. So it makes the entropy of a weight, 1/2 log2(2 pi e variance) of independent Gaussians (an upper bound), grow
by half a bit for each doubling of the epoch. The exponent is twice the slope of that entropy, the mean over a layer's
weights, against log2 of the epoch. Replicas of descent with all patterns in one batch have no variance: the spread over
networks of different initialisations, which does grow there, is no diffusion.

In-weights of two neurons of a layer are compared by the absolute value of their cosine, which is not 0 for random
weights of few inputs (1/2 for three); the untrained network shows how large. Networks are compared in disjoint pairs
(which are independent) after their units are matched (`common/matching.py`): the matching finds likeness in random
weights too, so again the untrained ones show how much. Without matching, networks are unlike by symmetry.

Shapes: R replicas, A initialisations, S networks, E logged epochs, L layers, U units.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Sequence
from typing import Any

import common
import jax
import numpy as np
import numpy.typing as npt
from common import Evidence, Job, Plan, Runs, Values
from common.drawing import layer_axis
from common.layers import has_learned
from common.matching import align, cosine
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ibjax import Config, Dataset, Trajectory, figures, spherical_dataset
from ibjax.figures.style import fill_band, label, layer_looks, legend_below
from ibjax.networks.perceptron import Perceptron
from ibjax.networks.protocol import Params

NAME = "weights"
WINDOWS = ((0, 14, 350), (0, 350, 1000), (0, 1000, 10_000), (350, 700, 10_000))
"""From which epoch on the weights' way is measured, and between which epochs its exponent. The last one is judged: what
the weights have spread by before the diffusion phase would make the exponent of a free diffusion after it too small."""
INITIALISATIONS, REPLICAS = 5, 12
TRAINED_ON = 0.85  # of the patterns
ODD = frozenset({"tanh", "linear", "softsign", "arcsinh"})


@dataclasses.dataclass(frozen=True)
class Replica(Perceptron):
    """The built-in network with the weights of one seed, whichever key it is asked for.

    Attributes:
      start: the seed.
    """

    start: int = 0

    def init(self, key: jax.Array, inputs: jax.Array | None = None) -> Params:
        """Those of `start`."""
        del key
        return super().init(jax.random.key(self.start), inputs)


def training_set(seed: int, fraction: float) -> Dataset:
    """One share of the task's patterns, drawn once, with one draw of their labels."""
    task, rng = spherical_dataset(), np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(task.n_patterns)[: int(fraction * task.n_patterns)])
    return Dataset(task.inputs[chosen], (rng.random(chosen.size) < task.p_y_given_x[chosen]).astype(np.float64))


def replicas(plan: Plan, start: int, **changes: Any) -> Job:
    """Networks that start alike and see the same patterns in other orders."""
    config = plan.paper(**{"seeds": REPLICAS, "logged_epochs": 120, **changes})
    if plan.quick:
        config = dataclasses.replace(config, logged_epochs=40)
    data = training_set(start, TRAINED_ON)
    widths = (data.n_features, *config.hidden_widths, 1)
    network = Replica(widths, config.activation, config.output, config.initializer, config.precision, start)
    config = dataclasses.replace(config, train_fraction=1.0)
    return Job(config=config, name=f"replicas-{start}", parts={"dataset": data, "network": network})


def configs(plan: Plan) -> dict[str, Config | Job]:
    """The paper's run; replicas of five initialisations, and of one of them without noise of the batches."""
    starts = plan.seeds(2 if plan.quick else INITIALISATIONS)
    made: dict[str, Config | Job] = {f"replicas {start}": replicas(plan, start) for start in starts}
    return {"paper": plan.paper(), **made, "full batch": replicas(plan, starts[0], seeds=4, batch_size=None)}


def replica_runs(runs: Runs) -> list[Trajectory]:
    """Those of one initialisation each."""
    return [run for name, run in runs.items() if name.startswith("replicas")]


@functools.lru_cache(maxsize=32)
def log_variance(trajectory: Trajectory, origin: int = 0) -> Values:
    """(E, L) mean over a layer's weights of log2 of the variance over networks of their way; -inf where one has none.

    The way is that since the logged epoch at `origin`, or the last one.
    """
    columns, start = [], trajectory.epoch_index(min(origin, int(trajectory.epochs[-1])))
    for name in trajectory.layer_names:
        weights = common.stored_array(trajectory, f"weights_{name}")[trajectory.healthy]
        flat = weights.astype(np.float64).reshape(*weights.shape[:2], -1)
        with np.errstate(divide="ignore"):
            columns.append(np.log2((flat - flat[:, [start]]).var(axis=0, ddof=1)).mean(axis=1))
    return np.stack(columns, axis=1)


def exponents(epochs: npt.NDArray[np.int64], bits: Values, low: int, high: int, origin: int = 0) -> Values:
    """(L,) least-squares slope of log2 variance, (E, L), against log2 of the epochs since `origin`; NaN for too few.

    Of the epochs from `low` to `high`.
    """
    inside = (epochs >= low) & (epochs <= high) & np.isfinite(bits).all(axis=1)
    if inside.sum() < 3:
        return np.full(bits.shape[1], np.nan)
    x = np.log2(epochs[inside] - origin)
    x = x - x.mean()
    return np.asarray(x @ bits[inside] / (x @ x))


def in_window(runs: Sequence[Trajectory], origin: int, low: int, high: int) -> Values:
    """(R, L) exponents of the replicas of each initialisation, see `WINDOWS`."""
    return np.stack([exponents(run.epochs, log_variance(run, origin), low, high, origin) for run in runs])


def neuron_likeness(kernels: Values) -> Values:
    """Mean |cos| between the in-weights (..., U', U) of every two neurons of a layer; NaN for one neuron."""
    units = np.moveaxis(kernels, -1, -2)
    first, second = np.triu_indices(units.shape[-2], 1)
    if not first.size:
        return np.full(kernels.shape[:-2], np.nan)
    return np.asarray(np.abs(cosine(units[..., first, :], units[..., second, :])).mean(axis=-1))


@functools.lru_cache(maxsize=4)
def likeness(trajectory: Trajectory) -> tuple[Values, Values]:
    """Before training and after it: of the neurons of a layer, (S, 2, L), and of pairs of networks, (S // 2, 2, L).

    NaN for networks that did not learn, for layers of one neuron, and for pairs with such a network.
    """
    names, learned = trajectory.layer_names, has_learned(trajectory)
    kernels = [common.stored_array(trajectory, f"weights_{name}")[:, [0, -1]].astype(np.float64) for name in names]
    neurons = np.stack([neuron_likeness(kernel) for kernel in kernels], axis=2)
    neurons[~learned] = np.nan
    odd = trajectory.config["config"]["activation"] in ODD
    pairs = np.full((trajectory.seeds.size // 2, 2, len(names)), np.nan)
    for pair, entry in np.ndindex(pairs.shape[:2]):
        if learned[2 * pair : 2 * pair + 2].all():
            mine, theirs = ([kernel[2 * pair + one, entry] for kernel in kernels] for one in (0, 1))
            matched = align(mine, theirs, odd=odd).kernels
            pairs[pair, entry] = [cosine(a.ravel(), b.ravel()) for a, b in zip(mine, matched, strict=True)]
    return neurons, pairs


def measure(runs: Runs) -> list[Evidence]:
    """Exponents of the diffusion; likeness of neurons and of networks, at the end less at the start."""
    paper, alike = runs["paper"], replica_runs(runs)
    names = paper.layer_names
    windows = [in_window(alike, *window) for window in WINDOWS]
    still = runs["full batch"]
    noise_free = float(2.0 ** log_variance(still)[-1].max())
    told = "; ".join(
        f"{low}-{high}: {common.describe(found, names)}"
        for (_, low, high), found in zip(WINDOWS[:-1], windows[:-1], strict=True)
    )
    neurons, pairs = likeness(paper)
    left_out = int(np.sum(~has_learned(paper)))
    counted = f" {left_out} networks that did not learn do not count." * bool(left_out)
    return [
        Evidence(
            "entropy_log_time",
            windows[-1],
            names,
            f"Exponents: {common.describe(windows[-1], names)}. Of the way since the start between epochs {told}. "
            f"Full-batch replicas: largest variance of a layer {noise_free:.2g}.",
        ),
        Evidence(
            "neurons_uncorrelated",
            neurons[:, 1] - neurons[:, 0],
            names,
            f"Before training (chance): {common.describe(neurons[:, 0], names)}; after: "
            f"{common.describe(neurons[:, 1], names)}. Weights of two networks, units matched (as they are, they are "
            f"uncorrelated by symmetry), before: {common.describe(pairs[:, 0], names)}; after: "
            f"{common.describe(pairs[:, 1], names)}.{counted}",
        ),
    ]


def figure(runs: Runs) -> Figure:
    """Variance over replicas and its exponents; likeness of neurons and of networks before and after training."""
    paper, alike = runs["paper"], replica_runs(runs)
    whole, panels = figures.side_by_side(4, height=2.9, columns=2)
    neurons, pairs = likeness(paper)
    with figures.style():
        draw_variance(panels[0], alike)
        draw_exponents(panels[1], alike)
        draw_likeness(panels[2], neurons, paper.layer_names, "mean $|\\cos|$ of two neurons")
        draw_likeness(panels[3], pairs, paper.layer_names, "cosine of matched networks")
    return whole


def draw_variance(ax: Axes, runs: Sequence[Trajectory]) -> None:
    """Variance over replicas, geometric means over weights and initialisations with their 95% bands."""
    epochs, names = runs[0].epochs, runs[0].layer_names
    bits, shown = np.stack([log_variance(run) for run in runs]), epochs > 0
    for layer, (name, colour, _) in enumerate(layer_looks(names)):
        middle, low, high = np.array([common.mean(column) for column in bits[:, shown, layer].T]).T
        ax.plot(epochs[shown], 2**middle, color=colour, label=label(name))
        fill_band(ax, epochs[shown], 2**low, 2**high, colour)
    after = epochs >= min(WINDOWS[-1][1], epochs[-1] / 10)
    top = 2.0 ** bits[:, after].max()
    ax.plot(epochs[after], top * epochs[after] / epochs[-1], color="0.3", ls="--", lw=0.9, label="free diffusion")
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel("epoch")
    ax.set_ylabel("variance over replicas")
    ax.set_title(f"{len(runs)} initialisations, 95% bands")
    legend_below(ax, columns=3)


def draw_exponents(ax: Axes, runs: Sequence[Trajectory]) -> None:
    """Exponent of every layer between successive epochs, mean over initialisations with 95% bars."""
    names, looks = runs[0].layer_names, layer_looks(runs[0].layer_names)
    for place, window in enumerate(WINDOWS):
        found = in_window(runs, *window)
        for layer, (_, colour, marker) in enumerate(looks):
            middle, low, high = common.mean(found[:, layer])
            bar = np.nan_to_num([[middle - low], [high - middle]])
            at = place + 0.09 * (layer - (len(names) - 1) / 2)
            ax.errorbar(at, middle, bar, color=colour, marker=marker, ms=3.5, ls="", elinewidth=0.9)
    for height, line in ((1.0, "--"), (0.0, ":")):
        ax.axhline(height, color="0.5", lw=0.8, ls=line, zorder=0)
    ax.set_xticks(
        range(len(WINDOWS)), [f"{low}-{high}" + f"\nfrom {origin}" * bool(origin) for origin, low, high in WINDOWS]
    )
    ax.set_xlim(-0.5, len(WINDOWS) - 0.5)
    ax.set_xlabel("epochs")
    ax.set_ylabel("exponent of the variance")
    ax.set_title("1: free diffusion, 0: no growth")


def draw_likeness(ax: Axes, values: Values, names: Sequence[str], what: str) -> None:
    """(S, 2, L) before and after training: every network small, means with 95% bars."""
    for entry, (shift, colour, when) in enumerate(((-0.15, "0.55", "untrained"), (0.15, "#0072B2", "trained"))):
        for layer, column in enumerate(values[:, entry].T):
            if np.isnan(column).all():
                continue
            spread = np.random.default_rng(layer).uniform(-0.08, 0.08, column.size)
            ax.plot(layer + shift + spread, column, ".", ms=2, color=colour, alpha=0.4, mew=0)
            middle, low, high = common.mean(column)
            bar = np.nan_to_num([[middle - low], [high - middle]])
            ax.errorbar(layer + shift, middle, bar, fmt="D", ms=3.5, color=colour, mec="white", mew=0.4)
        ax.plot([], [], "D", ms=3.5, color=colour, label=when)
    ax.set_ylabel(what)
    layer_axis(ax, names)
    legend_below(ax)


def main(argv: Sequence[str] | None = None) -> int:
    """Train or read, measure, draw and write."""
    return common.execute(NAME, __doc__, configs, measure, figure, argv)


if __name__ == "__main__":
    sys.exit(main())
