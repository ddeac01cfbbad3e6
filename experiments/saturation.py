"""Saxe et al. 2018 (On the information bottleneck theory of deep learning): their claims, each by an intervention.

    python experiments/saturation.py [--quick] [--out DIR]

Saturation: the paper's networks with the same seeds and other units: tanh, softsign (bounded, saturates slowly),
arcsinh (as tanh near 0, no bound), ReLU, linear. The fall of I(X;T) of the last hidden layer by three instruments,
since the network began to learn (see `estimators`):

  range   histogram of 30 bins over the layer's range at each epoch
  spread  Monte Carlo, noise of a tenth of the layer's spread at each epoch
  fixed   Monte Carlo, noise of variance 0.001, which Saxe et al. take: activations that grow stand out more and more

A unit counts as saturated where its slope is below a tenth of the largest.

Linear students: y = w2 W1 x learns, by exact gradient descent on all its samples, what a linear teacher says with
noise; Gaussian inputs. T = W1 x + noise of fixed variance is Gaussian too, and every information exact:

  I(X;T) = 1/2 log2 det(1 + W W^T / v)
  I(X_irrelevant;T) = 1/2 log2 det(v + W W^T) - 1/2 log2 det(v + W_relevant W_relevant^T)

Where inputs are irrelevant, the teacher's weights on half of them are 0, and there are ten hidden units. "Generalises"
has 1,000 samples and little noise, "overfits" 48 samples for 40 inputs and much noise. That a fall can be seen at all,
"decays" shows: as the first, with weight decay.

Shapes: S networks or students, E logged epochs, N patterns, U units, F inputs, H hidden units, P samples.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import common
import jax
import numpy as np
import numpy.typing as npt
from common import Evidence, Plan, Runs, Values
from common.layers import begun
from estimators import MOST_EPOCHS, NETWORKS, NOISE, PAPER_BINS, Range, learned, relative
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import ibjax
from ibjax import Config, Trajectory, figures
from ibjax.figures.style import epoch_ticks, fill_band, legend_below
from ibjax.information.apply import information

NAME = "saturation"
INSTRUMENTS = ("range", "spread", "fixed")
FIXED_VARIANCE = 1e-3
SAMPLES = 4
# |a| from which the slope is below a tenth of that at 0.
SATURATED = {"tanh": 0.9**0.5, "softsign": 1 - 0.1**0.5}
COLOURS = {"tanh": "#4477AA", "softsign": "#66CCEE", "arcsinh": "#EE6677", "relu": "#228833", "linear": "#CCBB44"}
NAMES = {"relu": "ReLU"}

INPUTS, HIDDEN, STEPS, RATE = 40, 40, 4000, 0.02
NOISE_VARIANCE = 0.01  # of T in the linear students


class Measured(NamedTuple):
    """The last hidden layer of the networks of one activation; NaN for those that did not learn.

    Attributes:
      epochs: (E,).
      i_xt: (S, E, 3) by each of the instruments, bits.
      falls: (S, 3) bits.
      saturated: (S, E) share of units and patterns.
      second: (S, E) share of the layer's variance beyond its first principal direction.
    """

    epochs: npt.NDArray[np.int64]
    i_xt: Values
    falls: Values
    saturated: Values
    second: Values


def by_instrument(layer: npt.NDArray[Any], rule: npt.NDArray[Any], seed: int) -> dict[str, Range]:
    """I(X;T) of activations (E, N, U); `seed` of the Monte Carlo."""
    binned = Range.exact(information("adaptive_layer", layer, rule, bins=PAPER_BINS).i_xt)
    keys = jax.random.split(jax.random.key(seed), (2, 2))
    found = {"range": binned}
    for name, activations, std, pair in (
        ("spread", relative(layer), NOISE, keys[0]),
        ("fixed", layer, FIXED_VARIANCE**0.5, keys[1]),
    ):
        first, second = (
            np.asarray(
                ibjax.noisy_information(activations, rule, key=key, noise_std=std, samples=SAMPLES // 2).i_xt,
                np.float64,
            )
            for key in pair
        )
        found[name] = Range(second, second, first)
    return found


@functools.lru_cache(maxsize=8)
def measured(run: Trajectory, networks: int = NETWORKS) -> Measured:
    """The first networks of a run, of those that learned as far as their units can (a linear network cannot)."""
    data = ibjax.spherical_dataset(run.config["config"]["dataset"])
    activation = run.config["config"]["activation"]
    few = common.spread_indices(run.epochs, MOST_EPOCHS)
    shape = (run.seeds.size, few.size)
    i_xt = np.full((*shape, len(INSTRUMENTS)), np.nan)
    saturated, second = (np.full(shape, np.nan) for _ in range(2))
    falls = np.full((run.seeds.size, len(INSTRUMENTS)), np.nan)
    for row in trained(run)[:networks]:
        layer = common.stored_activations(run, data.inputs, row, few)[-2]
        found = by_instrument(layer, data.p_y_given_x, int(run.seeds[row]))
        since = int(begun(run.require("train_accuracy")[row, few]))
        i_xt[row] = np.stack([found[name].low for name in INSTRUMENTS], axis=1)
        falls[row] = [found[name].fall(since) for name in INSTRUMENTS]
        saturated[row] = (np.abs(layer) > SATURATED.get(activation, np.inf)).mean(axis=(1, 2))
        second[row] = beyond_first(layer)
    return Measured(run.epochs[few], i_xt, falls, saturated, second)


def beyond_first(layer: npt.NDArray[Any]) -> Values:
    """(E,) share of the variance of activations (E, N, U) that is not along the first principal direction."""
    centered = layer.astype(np.float64) - layer.mean(axis=1, keepdims=True, dtype=np.float64)
    of_directions = np.linalg.eigvalsh(np.swapaxes(centered, 1, 2) @ centered)
    total = of_directions.sum(axis=1)
    return np.asarray(of_directions[:, :-1].sum(axis=1) / np.where(total > 0, total, 1))


def trained(run: Trajectory) -> npt.NDArray[np.intp]:
    """Rows of the networks that learned; of linear ones and of a toy, all healthy ones."""
    rows = learned(run)
    return rows if rows.size and run.config["config"]["activation"] != "linear" else np.flatnonzero(run.healthy)


class Student(NamedTuple):
    """Linear students over training; bits, and errors in units of the variance of the teacher's clean answer.

    Attributes:
      steps: (E,) of gradient descent.
      total, relevant, irrelevant: (S, E) I(X;T), I(X_relevant;T), I(X_irrelevant;T).
      train_error, test_error: (S, E) mean squared error on the samples and, without the noise, on all inputs.
    """

    steps: npt.NDArray[np.int64]
    total: Values
    relevant: Values
    irrelevant: Values
    train_error: Values
    test_error: Values


def gaussian_information(weights: npt.NDArray[Any], variance: float) -> Values:
    """I(X;T), bits, of T = W x + noise with standard normal inputs: (..., H, F) to (...)."""
    seen = np.eye(weights.shape[-2]) + weights @ np.swapaxes(weights, -1, -2) / variance
    return np.asarray(np.linalg.slogdet(seen)[1] / 2 / np.log(2))


def student(
    seeds: Sequence[int],
    *,
    samples: int,
    noise: float,
    relevant: int = INPUTS,
    hidden: int = HIDDEN,
    scale: float = 0.1,
    decay: float = 0.0,
    steps: int = STEPS,
) -> Student:
    """Students of teachers that look at the first `relevant` inputs.

    Args:
      seeds: one a student.
      samples: P, that each of them learns from.
      noise: standard deviation of that in the teacher's answers, whose clean ones have the variance 1.
      relevant: inputs with a weight.
      hidden: H.
      scale: standard deviation of a hidden unit's activation at the start.
      decay: of both layers' weights.
      steps: of gradient descent.
    """
    drawn = [_draw(seed, samples, noise, relevant, hidden, scale) for seed in seeds]
    first, second, teacher, of_inputs, of_both, of_answers = (np.stack(part) for part in zip(*drawn, strict=True))
    logged = np.unique([0, *np.geomspace(1, steps, 60).round().astype(int)])
    rows = []
    for step in range(steps + 1):
        product = np.einsum("sh,shf->sf", second, first)
        error = np.einsum("sf,sfg->sg", product, of_inputs) - of_both
        if step in logged:
            train = of_answers + ((error - of_both) * product).sum(axis=1)
            test = ((product - teacher) ** 2).sum(axis=1)
            total = gaussian_information(first, NOISE_VARIANCE)
            # Beside the relevant inputs the irrelevant ones are noise, and the other way round.
            without = [gaussian_information(part, NOISE_VARIANCE) for part in np.split(first, [relevant], axis=2)]
            rows.append((total, total - without[1], total - without[0], train, test))
        of_first = second[:, :, None] * error[:, None] + decay * first
        of_second = np.einsum("shf,sf->sh", first, error) + decay * second
        first, second = first - RATE * of_first, second - RATE * of_second
    return Student(logged, *np.stack(rows, axis=2))


def _draw(seed: int, samples: int, noise: float, relevant: int, hidden: int, scale: float) -> tuple[Values, ...]:
    """Initial weights, the teacher, and the moments E x x^T, E y x, E y^2 of the samples."""
    rng = np.random.default_rng(seed)
    first = rng.normal(size=(hidden, INPUTS)) * scale / INPUTS**0.5
    second = rng.normal(size=hidden) * scale / hidden**0.5
    teacher = rng.normal(size=INPUTS)
    teacher[relevant:] = 0
    teacher /= np.linalg.norm(teacher)
    x = rng.normal(size=(samples, INPUTS))
    y = x @ teacher + noise * rng.normal(size=samples)
    return first, second, teacher, x.T @ x / samples, x.T @ y / samples, np.asarray((y**2).mean())


STUDENTS: Mapping[str, Mapping[str, Any]] = {
    "generalises": {"samples": 1000, "noise": 0.2},
    "overfits": {"samples": 48, "noise": 1.0},
    "decays": {"samples": 1000, "noise": 0.2, "decay": 0.02},
    "large": {"samples": 1000, "noise": 0.2, "scale": 3.0},
    "irrelevant": {"samples": 1000, "noise": 0.2, "relevant": INPUTS // 2, "hidden": 10, "scale": 0.3},
}


@functools.cache
def students(seeds: tuple[int, ...]) -> Mapping[str, Student]:
    """All kinds."""
    return {name: student(seeds, **options) for name, options in STUDENTS.items()}


def fall(values: Values) -> Values:
    """Largest of (S, E) over the epochs less the last, (S,); what is below the rounding of determinants is 0."""
    fallen = values.max(axis=1) - values[:, -1]
    return np.asarray(np.where(fallen < 1e-9, 0.0, fallen))


def configs(plan: Plan) -> dict[str, Config]:
    """The paper's run and others of the same seeds; those of `estimators` are shared."""
    others = ("softsign", "arcsinh", "linear")
    return {
        "tanh": plan.paper(),
        "relu": plan.paper(activation="relu"),
        **{name: plan.paper(20, activation=name) for name in others},
    }


def measure(runs: Runs) -> list[Evidence]:
    """The five claims."""
    tanh, smooth, soft = (measured(runs[name]) for name in ("tanh", "arcsinh", "softsign"))
    count = smooth.falls.shape[0]
    ratio, soft_ratio = (other.falls / tanh.falls[:count] for other in (smooth, soft))
    both = {name: measured(runs[name]) for name in ("relu", "linear")}
    labels = [f"{NAMES.get(name, name)} ({how})" for name in both for how in ("spread", "fixed")]
    columns = [_padded(found.falls[:, index], runs["tanh"].seeds.size) for found in both.values() for index in (1, 2)]
    of_range = {NAMES.get(name, name): common.mean(found.falls[:, 0]) for name, found in both.items()}
    linear = students(tuple(int(seed) for seed in runs["linear"].seeds))
    good, bad, apart = linear["generalises"], linear["overfits"], linear["irrelevant"]
    return [
        Evidence(
            "saxe_saturation",
            ratio,
            INSTRUMENTS,
            f"arcsinh units. tanh falls by {common.describe(tanh.falls[:count], INSTRUMENTS)} bits, arcsinh by "
            f"{common.describe(smooth.falls, INSTRUMENTS)}; softsign over tanh: "
            f"{common.describe(soft_ratio, INSTRUMENTS)}. Saturated at the end: tanh "
            f"{common.mean(tanh.saturated[:count, -1])}, softsign {common.mean(soft.saturated[:, -1])} of the units.",
        ),
        Evidence(
            "saxe_relu_linear",
            np.stack(columns, axis=1),
            labels,
            f"Falls: {common.describe(np.stack(columns, axis=1), labels)} bits; by the histogram over the range: "
            f"{', '.join(f'{name} {mean}' for name, mean in of_range.items())}. Linear networks learn the best linear "
            f"rule ({runs['linear'].require('train_accuracy')[:, -1].mean():.0%} of the patterns); of the variance of "
            f"their two units {common.mean(both['linear'].second[:, 0])} lies beyond one direction before training and "
            f"{common.mean(both['linear'].second[:, -1])} at the end.",
        ),
        Evidence(
            "saxe_linear",
            np.stack([fall(good.total), fall(bad.total)], axis=1),
            ["generalise", "overfit"],
            f"Where students generalise I(X;T) grows by {common.mean(good.total[:, -1] - good.total[:, 0])} bits, "
            f"the test error falls to {common.mean(good.test_error[:, -1])} of the variance; of those that overfit it "
            f"is {common.mean(bad.test_error[:, -1])} at the end (least {common.mean(bad.test_error.min(axis=1))}). "
            f"Control: with weight decay I(X;T) falls by {common.mean(fall(linear['decays'].total))} bits, and the "
            f"test error is {common.mean(linear['decays'].test_error[:, -1])}; from initial weights 30 times as large "
            f"it falls by {common.mean(fall(linear['large'].total))} bits.",
        ),
        Evidence(
            "saxe_irrelevant",
            fall(apart.irrelevant) - fall(apart.total),
            detail=f"Of {common.mean(apart.irrelevant[:, 0])} bits at the start: the answer takes one direction of ten "
            f"hidden units. I(X;T) falls by {common.mean(fall(apart.total))} bits; that of the relevant inputs ends "
            f"{common.mean(apart.relevant[:, -1] - apart.relevant[:, 0])} bits above its start.",
        ),
    ]


def _padded(values: Values, count: int) -> Values:
    """(S,) numbers of the first networks, and NaN for the others."""
    return np.pad(values, (0, count - values.size), constant_values=np.nan)


def figure(runs: Runs) -> Figure:
    """Saturation, information over epochs and falls; below, the linear students."""
    whole, axes = figures.side_by_side(6, columns=2, height=2.6)
    found = {name: measured(run) for name, run in runs.items()}
    linear = students(tuple(int(seed) for seed in runs["linear"].seeds))
    with figures.style():
        for name in SATURATED:
            draw_mean(axes[0], found[name].epochs, found[name].saturated, name, COLOURS[name])
        axes[0].set_ylabel("saturated share of the\nlast hidden layer")
        for name, each in found.items():
            draw_mean(axes[1], each.epochs, each.i_xt[..., 0], NAMES.get(name, name), COLOURS[name])
        axes[1].set_ylabel("$I(X;T)$ of the last hidden layer,\n30 bins of its range [bits]")
        _draw_falls(axes[2], {name: each.falls for name, each in found.items()})
        for name, colour in (("generalises", "#4477AA"), ("overfits", "#EE6677"), ("decays", "#999999")):
            draw_mean(axes[3], linear[name].steps, linear[name].total, name, colour)
            draw_mean(axes[4], linear[name].steps, linear[name].test_error, name, colour)
        axes[3].set_ylabel("$I(X;T)$, linear students [bits]")
        axes[4].set_ylabel("test error\n[variance of the answer]")
        axes[4].set_yscale("log")
        apart = linear["irrelevant"]
        for label, values, colour in (
            ("all inputs", apart.total, "0.2"),
            ("relevant", apart.relevant, "#228833"),
            ("irrelevant", apart.irrelevant, "#AA3377"),
        ):
            draw_mean(axes[5], apart.steps, values, label, colour)
        axes[5].set_ylabel("information of $T$\nabout the inputs [bits]")
        for ax in axes[:2]:
            step_axis(ax, int(found["tanh"].epochs[-1]), "epoch")
        for ax in axes[3:]:
            step_axis(ax, STEPS, "step of gradient descent")
        for ax in (*axes[:2], *axes[3:]):
            legend_below(ax, columns=3)
    return whole


def step_axis(ax: Axes, last: int, label: str) -> None:
    """Logarithmic steps with room for step 0."""
    ax.set_xscale("symlog", linthresh=1.0, linscale=0.5)
    ax.set_xlim(-0.08, last * 1.15)
    epoch_ticks(ax.xaxis, last)
    ax.set_xlabel(label)


def draw_mean(ax: Axes, at: npt.ArrayLike, values: npt.NDArray[np.floating[Any]], label: str, colour: str) -> None:
    """Mean over networks of (S, E) and its 95% band."""
    ends = [common.mean(column) for column in values.T]
    ax.plot(at, [end.estimate for end in ends], color=colour, label=label)
    fill_band(ax, at, np.array([end.low for end in ends]), np.array([end.high for end in ends]), colour)


def _draw_falls(ax: Axes, falls: Mapping[str, Values]) -> None:
    """Mean fall by each instrument with its interval, a group for each activation."""
    for index, how in enumerate(INSTRUMENTS):
        ends = [common.mean(each[:, index]) for each in falls.values()]
        error = np.nan_to_num([[e.estimate - e.low for e in ends], [e.high - e.estimate for e in ends]])
        at = np.arange(len(ends)) + 0.2 * (index - 1)
        ax.errorbar(
            at, [e.estimate for e in ends], error, fmt="osD"[index], ms=4, color=f"{0.1 + 0.3 * index}", label=how
        )
    ax.axhline(0, color="0.2", linewidth=0.6, linestyle=":")
    ax.set_xticks(range(len(falls)), [NAMES.get(name, name) for name in falls], rotation=30)
    ax.set_ylabel("fall of $I(X;T)$ [bits]")
    legend_below(ax, columns=3)


def main(argv: Sequence[str] | None = None) -> int:
    """Train or read, measure, draw and write."""
    return common.execute(NAME, __doc__, configs, measure, figure, argv)


if __name__ == "__main__":
    sys.exit(main())
