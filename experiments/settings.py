"""Whether the claims belong to one setting of the training: learning rate x batch size x optimizer x initial scale.

The specification curve (Simonsohn, Simmons & Nelson 2020) of the compression, maps of the times at which things happen,
and of other claims in how many settings they hold. Learning rates and initial scales vary within a run, so that there
is one run for each optimizer and batch size; what a setting is asked is what the script of the claim asks of the
paper's run. A setting counts where at least half of its networks learn the training patterns, and of these networks
alone; a claim holds there if its estimate (of a claim about every layer: each estimate) meets the criterion.

Shapes: S networks, E logged epochs, L layers, P settings.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import sys
from collections.abc import Iterator, Mapping, Sequence

import common
import gradients
import numpy as np
import snapshots
from common import Evidence, OverSettings, Plan, Runs, Values
from common.layers import COMPRESSES, begun, has_learned, log_epochs
from common.protocol import claims
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure

import ibjax
from ibjax import figures
from ibjax.analysis import compression, epochs_to_relevance, phase_change
from ibjax.figures.style import letter

NAME = "settings"
RATES: Mapping[str, tuple[float, ...]] = {
    "sgd": (0.004, 0.02, 0.1, 0.5),
    "adam": (1e-4, 4e-4, 1.6e-3),
}
BATCHES = (64, 256, 1024, None)
SCALES = (0.5, 1.0, 2.0)
NETWORKS = 10
ESTIMATORS = ("adaptive_unit",)  # exact, as the histogram is; its cells follow the range of each unit


def configs(plan: Plan) -> dict[str, ibjax.Config]:
    """A run for each optimizer and batch size, its networks spread over rates and scales."""
    made = {}
    for optimizer, batch in itertools.product(RATES, (256, None) if plan.quick else BATCHES):
        rates, scales = (RATES[optimizer][-2:], SCALES[:2]) if plan.quick else (RATES[optimizer], SCALES)
        each = len(plan.seeds(NETWORKS))
        pairs = [pair for pair in itertools.product(rates, scales) for _ in range(each)]
        made[label(optimizer, batch)] = dataclasses.replace(
            plan.paper(),
            seeds=tuple(range(plan.first_seed, plan.first_seed + len(pairs))),
            optimizer=optimizer,
            batch_size=batch,
            learning_rate=tuple(rate for rate, _ in pairs),
            initial_scale=tuple(scale for _, scale in pairs),
            logged_epochs=25 if plan.quick else 100,
            estimators=("histogram", *ESTIMATORS),
            store_weights=False,
        )
    return made


def label(optimizer: str, batch: int | None) -> str:
    """The name of a run."""
    return f"{optimizer}, {'full batch' if batch is None else f'batch {batch}'}"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Setting:
    """One setting of the training.

    Attributes:
      optimizer, batch, rate, scale: the choices; batch None is the full batch.
      run: its networks that learned, or all where none did.
      learned: whether at least half of them did.
    """

    optimizer: str
    batch: int | None
    rate: float
    scale: float
    run: ibjax.Trajectory
    learned: bool

    def choices(self) -> dict[str, str]:
        """What a reader sees of it, by factor."""
        batch = "all" if self.batch is None else str(self.batch)
        rate = f"{self.optimizer} rate"
        return {"optimizer": self.optimizer, rate: f"{self.rate:g}", "batch": batch, "initial scale": f"{self.scale:g}"}

    def __str__(self) -> str:
        return ", ".join(f"{factor} {choice}" for factor, choice in list(self.choices().items())[1:])


def settings_of(runs: Runs) -> list[Setting]:
    """Every setting, with its networks that learned."""
    found = []
    for run in runs.values():
        config = run.config["config"]
        rates, scales = run.setting("learning_rate"), run.setting("initial_scale")
        learned = has_learned(run)
        for rate, scale in sorted(set(zip(rates.tolist(), scales.tolist(), strict=True))):
            there = (rates == rate) & (scales == scale)
            found.append(
                Setting(
                    optimizer=config["optimizer"],
                    batch=config["batch_size"],
                    rate=rate,
                    scale=scale,
                    run=run.of_seeds(run.seeds[there & learned if (there & learned).any() else there]),
                    learned=bool(2 * (there & learned).sum() >= there.sum()),
                )
            )
    return found


def measure(runs: Runs) -> list[Evidence | OverSettings]:
    """The share of the settings in which the last hidden layer compresses, and in which other claims hold."""
    every = settings_of(runs)
    trained = [setting for setting in every if setting.learned]
    if not trained:
        return [Evidence.unmeasurable("all_settings", "In no setting do the networks learn.")]
    drops = np.array([[drop.mean() for drop in falls(setting.run).values()] for setting in trained])
    names = list(falls(trained[0].run))
    told = "; ".join(
        f"{name}: from {low:.2g} to {high:.2g} bits, median {middle:.2g}"
        for name, low, middle, high in zip(names, *np.quantile(drops, (0, 0.5, 1), axis=0), strict=True)
    )
    detail = (
        f"Networks learn in {len(trained)} of {len(every)} settings; mean fall there, {told}. {marks_in_words(trained)}"
    )
    return [
        Evidence.share("all_settings", drops > COMPRESSES, names, detail),
        *over_settings(trained),
    ]


def falls(run: ibjax.Trajectory) -> dict[str, Values]:
    """(S,) fall of I(X;T) of the last hidden layer in bits, by estimator; and from the peak of the networks' mean.

    Since a network has learned `BEGUN` of its training patterns, as some estimators are largest before training.
    """
    last, epochs = last_layer(run), np.arange(run.epochs.size)
    since = epochs >= begun(run.train_accuracy)[:, None]
    found = {name: np.where(since, curve, -np.inf).max(axis=1) - curve[:, -1] for name, curve in last.items()}
    curve, together = last["histogram"], epochs >= begun(run.train_accuracy.mean(axis=0))
    peak = np.where(together, curve.mean(axis=0), -np.inf).argmax()
    return found | {"histogram, peak of the mean": curve[:, peak] - curve[:, -1]}


def last_layer(run: ibjax.Trajectory) -> dict[str, Values]:
    """(S, E) I(X;T) of the last hidden layer in bits, by estimator."""
    curves = {name: run.of_estimator(name).i_xt for name in ("histogram", *ESTIMATORS)}
    return {name: curve[:, :, -2].astype(np.float64) for name, curve in curves.items()}


def evidence_of(run: ibjax.Trajectory) -> Iterator[Evidence]:
    """What the claims' scripts say of the networks of one setting."""
    yield from gradients.of_run(run)
    yield from snapshots.when(run)
    exact = {name: fall for name, fall in falls(run).items() if "mean" not in name}
    yield Evidence("tanh_estimators", np.stack(list(exact.values()), axis=1), list(exact))


def meets(evidence: Evidence) -> bool | None:
    """Whether the estimate of every entry meets the criterion of the claim; None without entries."""
    low, high = claims()[evidence.claim].limits
    if not evidence.entries:
        return None
    return all(low < entry.estimate < high or (entry.estimate == high < math.inf) for entry in evidence.entries)


def over_settings(trained: Sequence[Setting]) -> list[OverSettings]:
    """In how many settings each claim holds, of those where it can be asked."""
    answers: dict[str, list[tuple[Setting, bool]]] = {}
    for setting in trained:
        for evidence in evidence_of(setting.run):
            if (answer := meets(evidence)) is not None:
                answers.setdefault(evidence.claim, []).append((setting, answer))
    return [
        OverSettings(claim, sum(answer for _, answer in pairs), len(pairs), turns(pairs))
        for claim, pairs in answers.items()
    ]


def turns(answers: Sequence[tuple[Setting, bool]]) -> str:
    """The factor whose choices differ most in the share of the settings in which a claim holds, and these shares."""
    if len({answer for _, answer in answers}) < 2:
        return ""
    by_factor: dict[str, dict[str, list[bool]]] = {}
    for setting, answer in answers:
        for factor, choice in setting.choices().items():
            by_factor.setdefault(factor, {}).setdefault(choice, []).append(answer)
    spreads = {
        factor: max(shares) - min(shares)
        for factor, choices in by_factor.items()
        if len(shares := [sum(group) / len(group) for group in choices.values()]) > 1
    }
    if not spreads:
        return ""
    factor = max(spreads, key=lambda name: spreads[name])
    told = ", ".join(f"{choice}: {sum(group)}/{len(group)}" for choice, group in by_factor[factor].items())
    return f"by {factor} {told}"


MARKS = (
    "crossing at 175 to 700",
    "relevance at 200 to 800",
    "peak at the crossing",
    "falls above 1 bit",
    "test accuracy",
)


def marks(run: ibjax.Trajectory) -> dict[str, bool]:
    """Which marks of the paper the networks of one setting show: epochs by geometric mean, the others by mean.

    The whole network's gradients cross at about 350 epochs, the output has 90% of I(X;Y) at about 400 (a factor of two
    either way), I(X;T) peaks at the layers' crossings (likewise), the last two hidden layers lose more than one bit,
    and 95% of the test patterns are right.
    """
    crossing, relevance = (10.0 ** np.nanmean(t) if not np.isnan(t).all() else math.nan for t in times(run)[:2])
    drop = compression(run).drop[:, -3:-1].mean(axis=0)
    there: tuple[bool, ...] = (
        bool(175 <= crossing <= 700),
        bool(200 <= relevance <= 800),
        bool(meets(gradients.peak_at_crossing(run))),
        bool((drop > 1).all()),
        bool(run.test_accuracy[:, -1].mean() >= 0.95),
    )
    return dict(zip(MARKS, there, strict=True))


def times(run: ibjax.Trajectory) -> tuple[Values, Values, Values]:
    """(S,) log10 of the epochs of the network's crossing, of 90% of I(X;Y) in the output, of the peak of I(X;T)."""
    crossing = phase_change(run, resamples=1).network_per_seed
    relevance, peak = epochs_to_relevance(run, 0.9)[:, -1], compression(run).peak_epoch[:, -2]
    first, second, third = (log_epochs(epochs) for epochs in (crossing, relevance, peak))
    return first, second, third


def marks_in_words(trained: Sequence[Setting]) -> str:
    """In which settings most of the paper's marks come together, and which never do."""
    shown = {setting: marks(setting.run) for setting in trained}
    most = max(sum(found.values()) for found in shown.values())
    best = [
        f"{setting} (lacks {', '.join(mark for mark in MARKS if not found[mark]) or 'none'})"
        for setting, found in shown.items()
        if sum(found.values()) == most
    ]
    counts = ", ".join(f"{mark} in {sum(found[mark] for found in shown.values())}" for mark in MARKS)
    never = [
        f"{a} with {b}"
        for a, b in itertools.combinations(MARKS, 2)
        if not any(found[a] and found[b] for found in shown.values())
    ]
    return (
        f"Marks of the paper: {counts}; at most {most} of {len(MARKS)} together, at {'; '.join(best[:3])}. "
        f"Never together: {'; '.join(never) or 'no pair'}."
    )


COLOURS = ("0.15", "#AA3377", "#00708A")


def figure(runs: Runs) -> dict[str, Figure]:
    """The specification curve of the fall, and maps of the times over learning rate and batch size."""
    every = settings_of(runs)
    return {NAME: _curve([setting for setting in every if setting.learned]), f"{NAME}_maps": _maps(every)}


def _curve(trained: Sequence[Setting]) -> Figure:
    """The fall in every setting by every measure, sorted, and below it what was chosen."""
    with figures.style():
        whole = Figure(figsize=(7.0, 5.4), layout="constrained")
        top, bottom = whole.subplots(2, 1, sharex=True, height_ratios=(2, 3))
    if not trained:
        top.set_title("no setting in which the networks learn")
        return whole
    points = [(common.mean(fall), name, setting) for setting in trained for name, fall in falls(setting.run).items()]
    points.sort(key=lambda point: point[0].estimate)
    colours = dict(zip(falls(trained[0].run), COLOURS, strict=True))
    rows = _rows(trained, list(colours))
    with figures.style():
        for name, colour in colours.items():
            at = [place for place, point in enumerate(points) if point[1] == name]
            found = np.array([points[place][0] for place in at])
            ends = np.nan_to_num([found[:, 0] - found[:, 1], found[:, 2] - found[:, 0]])
            top.errorbar(at, found[:, 0], ends, fmt=".", ms=2.5, lw=0.4, color=colour, label=name)
        top.axhline(0, color="0.4", lw=0.6)
        top.axhline(COMPRESSES, color="0.4", lw=0.6, ls=":")
        top.set_ylabel("fall of $I(X;T)$ of the\nlast hidden layer [bits]")
        top.legend(loc="upper left", ncols=2)
        for place, (_, name, setting) in enumerate(points):
            chosen = [f"{factor} {choice}" for factor, choice in setting.choices().items()]
            for text in (*chosen, name):
                if text in rows:
                    bottom.plot(place, rows[text], "|", ms=3, mew=0.5, color=colours[name])
        bottom.set_yticks(list(rows.values()), list(rows), fontsize=6)
        bottom.set_ylim(max(rows.values()) + 0.7, -0.7)
        bottom.set_xlabel(f"{len(trained)} settings x {len(colours)} measures, in the order of the fall; 95% intervals")
    return whole


def _rows(trained: Sequence[Setting], measures: Sequence[str]) -> dict[str, float]:
    """The place of each choice below the curve, with gaps between the factors."""
    by_factor: dict[str, dict[str, float]] = {}
    for setting in trained:
        for factor, choice in setting.choices().items():
            number = {"sgd": 0.0, "adam": 1.0, "all": math.inf}.get(choice)
            by_factor.setdefault(factor, {})[choice] = float(choice) if number is None else number
    places, at = {}, 0.0
    for factor in ("sgd rate", "adam rate", "batch", "initial scale"):
        for choice in sorted(by_factor.get(factor, {}), key=lambda name: by_factor[factor][name]):
            places[f"{factor} {choice}"] = at
            at += 1.0
        at += 0.5
    return places | {name: at + index for index, name in enumerate(measures)}


def _maps(every: Sequence[Setting]) -> Figure:
    """Geometric mean of each time, and mean fall and accuracy, over rate and batch size at initial scale 1."""
    columns = (
        "gradients cross\n[epoch]",
        "90% of $I(X;Y)$\nin output [epoch]",
        "peak of $I(X;T)$\n[epoch]",
        "fall of $I(X;T)$\n[bits]",
        "test accuracy\n",
    )
    with figures.style():
        whole = Figure(figsize=(7.0, 4.2), layout="constrained")
        panels = whole.subplots(2, len(columns), squeeze=False)
        for place, (row, optimizer) in enumerate(zip(panels, RATES, strict=True)):
            chosen = [s for s in every if s.optimizer == optimizer and s.scale == 1.0]
            rates = sorted({setting.rate for setting in chosen})
            sizes = sorted({setting.batch or math.inf for setting in chosen})
            for number, (ax, title) in enumerate(zip(row, columns, strict=True)):
                grid = np.full((len(sizes), len(rates)), np.nan)
                for setting in chosen:
                    if setting.learned:
                        at = sizes.index(setting.batch or math.inf), rates.index(setting.rate)
                        grid[at] = _summary(setting.run)[number]
                _draw_map(ax, grid, number)
                ax.set_xticks(range(len(rates)), [f"{rate:g}" for rate in rates], rotation=90)
                names = ["all" if size == math.inf else f"{size:g}" for size in sizes]
                ax.set_yticks(range(len(sizes)), names if number == 0 else [])
                if place == 0:
                    ax.set_title(title, fontsize=6.5)
                ax.set_xlabel(f"rate, {optimizer}")
            row[0].set_ylabel("batch size")
        letter(panels.ravel())
    return whole


def _summary(run: ibjax.Trajectory) -> tuple[float, ...]:
    """What a cell of each map shows."""
    epochs = (10.0 ** float(np.nanmean(t)) if np.any(~np.isnan(t)) else math.inf for t in times(run))
    return *epochs, float(falls(run)["histogram"].mean()), float(run.test_accuracy[:, -1].mean())


def _draw_map(ax: Axes, grid: Values, number: int) -> None:
    """One map with its numbers; hatched where networks do not learn, "-" where what is timed does not happen."""
    norm = LogNorm(5, 10_000) if number < 3 else Normalize(0, 6) if number == 3 else Normalize(0.85, 1)
    ax.set_facecolor("0.85")
    ax.imshow(np.where(np.isinf(grid), np.nan, grid), norm=norm, cmap="YlGnBu", aspect="auto")
    for (y, x), value in np.ndenumerate(grid):
        if not np.isnan(value):
            text = (
                "-"
                if np.isinf(value)
                else f"{value:.0f}"
                if number < 3
                else f"{value:.1f}"
                if number == 3
                else f"{value:.2f}"[1:]
            )
            dark = np.isfinite(value) and norm(value) > 0.6
            ax.text(x, y, text, ha="center", va="center", fontsize=5, color="white" if dark else "black")


def main(argv: Sequence[str] | None = None) -> int:
    """Train or read, measure, draw, write."""
    return common.execute(NAME, __doc__, configs, measure, figure, argv)


if __name__ == "__main__":
    sys.exit(main())
