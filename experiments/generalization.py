"""Does compression help to generalise: a sample of networks, and interventions on the compression.

Many networks that differ in learning rate, weight decay, initial scale and training share, drawn independently and
uniformly in the logarithm by a generator with a fixed key. Over those that learned their patterns: the rank correlation
of the fall of I(X;T) of the last hidden layer with the test loss, given what else goes along with the test loss. And
what weight decay and initial scale do to the fall (Chelombiev et al. 2019).

A correlation is no cause. So the same seeds are trained with little compression: no hidden unit's in-weights may be
longer than a limit, so that the units saturate less; or with weight decay. A limit does more than that: it also makes
the answers less confident, which the test loss likes and the accuracy does not see.

Shapes: S networks, E logged epochs, K columns.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from typing import Any

import common
import jax
import jax.numpy as jnp
import numpy as np
import optax
from common import Evidence, Job, Plan, Runs, Values
from common.evidence import Entry
from common.layers import LEARNED, has_learned
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

import ibjax
from ibjax import figures
from ibjax.analysis import compression
from ibjax.analysis.statistics import percentiles, resampling_weights

NAME = "generalization"
NETWORKS = 500
EPOCHS = 4000
RANGES = {
    "learning_rate": (0.03, 0.6),
    "weight_decay": (1e-6, 3e-3),
    "initial_scale": (0.4, 2.5),
    "train_fraction": (0.1, 0.9),
}
"""Ends of what is drawn."""
CAPS = (1.0, 1.4, 2.0)
"""Limits of the in-weights' norm."""
CAP = 1.4
DECAYS = (3e-4, 1e-3, 3e-3)


def configs(plan: Plan) -> dict[str, ibjax.Config | Job]:
    """The sample, and the paper's run as it is, with capped weights, and with weight decay."""
    count = len(plan.seeds(NETWORKS)) if plan.count or not plan.quick else 40
    rng = np.random.default_rng(plan.first_seed)
    drawn: dict[str, Any] = {
        field: tuple(10 ** rng.uniform(np.log10(low), np.log10(high), count)) for field, (low, high) in RANGES.items()
    }
    paper = plan.paper(seeds=10)
    short = dataclasses.replace(plan.paper(), logged_epochs=25 if plan.quick else 100, store_weights=False)
    made: dict[str, ibjax.Config | Job] = {
        "sample": dataclasses.replace(
            short,
            seeds=tuple(range(plan.first_seed, plan.first_seed + count)),
            epochs=300 if plan.quick else EPOCHS,
            **drawn,
        ),
        "paper": plan.paper(),
    }
    for cap in (CAP,) if plan.quick else CAPS:
        made[f"cap {cap:g}"] = Job(
            config=dataclasses.replace(paper, store_weights=False),
            name=f"cap-{cap:g}",
            parts={"optimizer": capped(0.1, cap)},
        )
    for decay in DECAYS[-1:] if plan.quick else DECAYS:
        made[f"decay {decay:g}"] = dataclasses.replace(paper, weight_decay=decay, store_weights=False)
    return made


def capped(rate: float, cap: float) -> optax.GradientTransformation:
    """Gradient descent whose every step ends where each hidden unit's in-weights have at most the norm `cap`.

    The projection of Srebro & Shraibman 2005 (max-norm), on all kernels but the output's.
    """

    def update(gradient: Any, state: Any, params: Any) -> tuple[Any, Any]:
        updates = jax.tree.map(lambda g: -rate * g, gradient)
        for layer, change in zip(params[:-1], updates[:-1], strict=True):
            kernel = layer["kernel"] + change["kernel"]
            norms = jnp.sqrt(jnp.sum(jnp.square(kernel), axis=0, keepdims=True))
            change["kernel"] = kernel * jnp.minimum(1.0, cap / jnp.maximum(norms, 1e-12)) - layer["kernel"]
        return updates, state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def measure(runs: Runs) -> list[Evidence]:
    """Partial rank correlations over the sample, and the differences that the interventions make."""
    sample = table(runs["sample"])
    learned = sample["learned"] == 1
    count = f"{learned.sum()} of {learned.size} networks learned (training accuracy of {LEARNED} at least)"
    return [_helps(sample, learned, count), _causes(sample, learned, count), _intervention(runs)]


def table(run: ibjax.Trajectory) -> dict[str, Values]:
    """What is known of every network at the end of its training, (S,) each."""
    columns = {field: run.setting(field) for field in RANGES}
    columns |= {
        "fall": compression(run).drop[:, -2],
        "test loss": run.test_loss[:, -1],
        "test accuracy": run.test_accuracy[:, -1],
        "training loss": run.train_loss[:, -1],
        "weight norm": np.sqrt(np.sum(run.require("weight_norm")[:, -1].astype(np.float64) ** 2, axis=1)),
        "learned": has_learned(run),
    }
    return {name: np.asarray(column, np.float64) for name, column in columns.items()}


def _helps(sample: dict[str, Values], learned: Values, count: str) -> Evidence:
    given = ("training loss", "weight norm", "train_fraction")
    loss, accuracy = (partial(sample, "fall", outcome, given, learned) for outcome in ("test loss", "test accuracy"))
    alone = partial(sample, "fall", "test loss", (), learned)
    hyper = partial(sample, "fall", "test loss", (*given, "learning_rate", "weight_decay", "initial_scale"), learned)
    detail = (
        f"{count}. Given nothing: {told(alone)}; given also rate, decay and initial scale: {told(hyper)}. "
        f"With the test accuracy in place of the loss: {told(accuracy)}."
    )
    return Evidence.of("helps_generalisation", *loss, detail)


def _causes(sample: dict[str, Values], learned: Values, count: str) -> Evidence:
    """What decay and initial scale do to the fall."""
    entries, everyone = [], []
    for name, cause in (("weight decay", "weight_decay"), ("small initial weights", "initial_scale")):
        given = tuple(field for field in RANGES if field != cause)
        columns = sample | ({cause: -sample[cause]} if cause == "initial_scale" else {})
        estimate, low, high, error, n = partial(columns, cause, "fall", given, learned)
        entries.append(Entry(name, estimate, error, n, "bootstrap", low, high))
        everyone.append(f"{name} {told(partial(columns, cause, 'fall', given, np.ones_like(learned)))}")
    return Evidence.of_entries("decay_compresses", entries, f"{count}. All networks: {', '.join(everyone)}.")


def told(found: tuple[float, float, float, float, int]) -> str:
    """An estimate with its interval, in words."""
    return str(common.Interval(*found[:3]))


def partial(
    columns: dict[str, Values], x: str, y: str, given: Sequence[str], rows: Values, resamples: int = 2000
) -> tuple[float, float, float, float, int]:
    """Spearman's correlation of two columns given others: of what ordinary least squares leaves of their ranks.

    Args:
      columns: (S,) each.
      x, y: names of the two.
      given: names of the others.
      rows: (S,) which networks count.
      resamples: of the networks, for the interval.

    Returns:
      The correlation, the ends of its 95% interval, its standard error, and the networks counted.
    """
    names = (x, y, *given)
    known = np.stack([columns[name] for name in names], axis=1)[rows.astype(bool)]
    known = known[np.isfinite(known).all(axis=1)]
    n = len(known)
    if n < len(names) + 2:
        return (float("nan"),) * 4 + (n,)
    ranks = np.column_stack([stats.rankdata(column) for column in known.T]) / n
    weights = np.vstack([np.ones(n), resampling_weights(n, resamples, 0)])
    drawn = np.array([_residual_correlation(ranks, weight) for weight in weights])
    low, high = percentiles(drawn[1:], 0.95)
    return float(drawn[0]), float(low), float(high), float(np.nanstd(drawn[1:], ddof=1)), n


def _residual_correlation(ranks: Values, weight: Values) -> float:
    """Partial correlation of the first two columns given the rest, each row as often as its weight says."""
    centred = ranks - np.average(ranks, axis=0, weights=weight)
    inverse = np.linalg.pinv(centred.T @ (weight[:, None] * centred), hermitian=True)
    return float(-inverse[0, 1] / np.sqrt(inverse[0, 0] * inverse[1, 1]))


def ends(run: ibjax.Trajectory) -> dict[str, Values]:
    """Fall, test loss and test accuracy of every network; NaN of those that did not learn, (S,) each."""
    learned = has_learned(run)
    columns = {"fall": compression(run).drop[:, -2], "loss": run.test_loss[:, -1], "accuracy": run.test_accuracy[:, -1]}
    return {name: np.where(learned, column, np.nan) for name, column in columns.items()}


def _intervention(runs: Runs) -> Evidence:
    """The test loss where compression is prevented less that where it is not, same seeds."""
    changed = {label: run for label, run in runs.items() if label not in ("sample", "paper")}
    differences = {label: against_paper(runs, label) for label in changed}
    words = [
        f"{label}: fall {common.mean(values['fall'])} bits, test loss {common.mean(values['loss'])} nats, test "
        f"accuracy {common.mean(values['accuracy'])} ({np.sum(~np.isnan(values['loss']))} learned)"
        for label, values in differences.items()
    ]
    detail = f"Changes of the same seeds, of networks that learned both ways: {'; '.join(words)}."
    chosen = f"cap {CAP:g}"
    left = ends(runs[chosen])["fall"] / ends(runs["paper"].of_seeds(runs[chosen].seeds))["fall"]
    if not common.mean(left).estimate < 0.5:
        return Evidence.unmeasurable("intervention", f"The limit leaves {common.mean(left)} of the fall. {detail}")
    return Evidence("intervention", differences[chosen]["loss"], detail=f"{common.mean(left)} is left. {detail}")


def against_paper(runs: Runs, label: str) -> dict[str, Values]:
    """Each network of a run less the same seed of the paper's run, see `ends`."""
    changed, plain = ends(runs[label]), ends(runs["paper"].of_seeds(runs[label].seeds))
    return {name: changed[name] - plain[name] for name in changed}


def figure(runs: Runs) -> Figure:
    """Test loss against the fall, what is left of both given the rest, and the interventions."""
    sample = table(runs["sample"])
    learned = sample["learned"] == 1
    whole, panels = figures.side_by_side(4, height=2.5, columns=1)
    with figures.style():
        _draw_sample(whole, panels[0], sample, learned)
        _draw_residuals(panels[1], sample, learned)
        for ax, name, unit in ((panels[2], "fall", "fall of $I(X;T)$ [bits]"), (panels[3], "loss", "test loss [nats]")):
            _draw_interventions(ax, runs, name, unit)
    return whole


def _draw_sample(whole: Figure, ax: Axes, sample: dict[str, Values], learned: Values) -> None:
    points = ax.scatter(
        sample["fall"][learned], sample["test loss"][learned], s=5, c=sample["train_fraction"][learned], cmap="YlGn",
        edgecolors="0.3", linewidths=0.2,
    )  # fmt: skip
    ax.set_yscale("log")
    ax.set(xlabel="fall of $I(X;T)$, last hidden layer [bits]", ylabel="test loss [nats]")
    whole.colorbar(points, ax=ax, label="training share")
    ax.set_title(f"{learned.sum()} networks that learned")


def _draw_residuals(ax: Axes, sample: dict[str, Values], learned: Values) -> None:
    """Ranks less what training loss, weight norm and training share predict of them."""
    names = ("fall", "test loss", "training loss", "weight norm", "train_fraction")
    ranks = np.column_stack([stats.rankdata(sample[name][learned]) for name in names]) / max(learned.sum(), 1)
    design = np.column_stack([np.ones(len(ranks)), ranks[:, 2:]])
    left = ranks[:, :2] - design @ np.linalg.lstsq(design, ranks[:, :2], rcond=None)[0]
    ax.plot(*left.T, ".", ms=3, color="0.3", mew=0)
    found = partial(sample, "fall", "test loss", names[2:], learned)
    ax.set(xlabel="fall, rank less prediction", ylabel="test loss, rank less prediction")
    ax.set_title(f"partial rank correlation\n{told(found)}")


def _draw_interventions(ax: Axes, runs: Runs, name: str, unit: str) -> None:
    """Every network as it is and changed, same seeds, with the means."""
    labels = [label for label in runs if label != "sample"]
    seeds = runs[labels[-1]].seeds
    spread = np.random.default_rng(0).uniform(-0.15, 0.15, seeds.size)
    for place, label in enumerate(labels):
        values = ends(runs[label].of_seeds(seeds))[name]
        ax.plot(place + spread, values, ".", ms=3, color="0.6", mew=0)
        found = common.mean(values)
        reach = np.nan_to_num(found.high - found.estimate)
        ax.errorbar(place, found.estimate, reach, fmt="D", ms=3.5, color="#AA3377", mec="white", mew=0.4)
    ax.set_xticks(range(len(labels)), labels, rotation=30, ha="right")
    ax.set_ylabel(unit)
    ax.set_title("same seeds; mean, 95%")


def main(argv: Sequence[str] | None = None) -> int:
    """Train or read, measure, draw, write."""
    return common.execute(NAME, __doc__, configs, measure, figure, argv)


if __name__ == "__main__":
    sys.exit(main())
