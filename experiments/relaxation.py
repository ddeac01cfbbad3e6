"""The paper's unfinished business: Monte-Carlo relaxation, and bottleneck iterations, in place of SGD.

    python experiments/relaxation.py --search [--quick] [--out DIR]     # every setting of every rule, other seeds
    python experiments/relaxation.py [--quick] [--out DIR]              # the chosen ones

Section 4 of arXiv 1703.00810: (a) "SGD seems an overkill during the diffusion phase"; Monte-Carlo relaxations may be
more efficient. (b) The bottleneck's iterations, combined with stochastic relaxation, may boost training.

Fifty networks learn by SGD for 300 epochs, when every layer holds most of the relevant information and the gradients
have long gone from drift to diffusion. Then each rule continues the same networks, at equal cost: as many passes of the
training patterns as 2,700 epochs of SGD take, a backward pass counted as two forward ones. The options of a rule, SGD
too, are those of the `GRID` that compress most on ten other networks, seeds 0 to 9, of the settings that keep what was
learned: in the mean, I(T;Y) of the last hidden layer at every logged epoch, and the test accuracy at the end, within
`LOST`. `full batch` is descent without noise: at temperature 0 Langevin dynamics are descent with momentum.

Is the end of SGD a Boltzmann state exp(-E/T)? Langevin dynamics with the gradients of all patterns sample it, from the
switch and from the end of SGD; where both starts come to the same loss and the same I(X;T), they are taken for the
state of that temperature.

Shapes: S networks, E logged epochs, H hidden layers.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import common
import numpy as np
import numpy.typing as npt
from bound import curve_of
from common import Evidence, Plan, Runs, Values
from common.drawing import draw_means, layer_axis
from common.layers import has_learned
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from ibjax import Config, Trajectory, figures
from ibjax._files import atomic_write
from ibjax.analysis import mean_over_seeds
from ibjax.figures.style import fill_band, layer_looks, legend_below
from ibjax.schedule.phases import of_words

NAME = "relaxation"
SWITCH, END = 300, 3000
"""Epochs of SGD before another rule takes over, and where SGD itself would end."""
BUDGET = 3 * (END - SWITCH)
"""Forward passes of each training pattern after the switch; a backward pass counts as two."""
LOGS = 24  # after the switch
LOST = {"i_ty": 0.02, "test_accuracy": 0.01}
"""Bits of the last hidden layer at any time, and share of the test patterns at the end, that a setting may lose. Else
large steps would be chosen, which undo what was learned and learn it anew."""
SEARCH = "relaxation_search.json"
_WALK = "moves=29"
_BOTTLENECK_RATES = (
    *(f"learning_rate={rate}" for rate in (0.1, 1.0)),
    *(f"learning_rate={rate}:loss_weight=10.0" for rate in (0.01, 0.1)),
    "learning_rate=0.001:loss_weight=100.0",
    *(f"learning_rate={rate}:loss_weight=0.0" for rate in (0.1, 0.5)),
    "batch_size=256:learning_rate=0.1",
    *(f"batch_size=256:learning_rate=0.01:loss_weight={weight}" for weight in (10.0, 100.0)),
)

GRID: Mapping[str, Sequence[str]] = {
    "SGD": ("sgd", *(f"sgd:learning_rate={rate}" for rate in (0.03, 0.2, 0.3, 1.0, 3.0))),
    "full batch": (
        *(f"sgd:batch_size=all:learning_rate={rate}" for rate in (0.1, 0.2, 0.3, 1.0, 3.0)),
        *(f"langevin:batch_size=all:learning_rate={rate}:friction=0.1:temperature=0.0" for rate in (0.03, 0.1)),
    ),
    "Adam": tuple(f"adam:learning_rate={rate}" for rate in (0.001, 0.003, 0.01)),
    "label noise": (
        *(f"sgd:label_noise={share}" for share in (0.01, 0.03, 0.1)),
        "sgd:learning_rate=1.0:label_noise=0.03",
    ),
    "weight noise": (
        *(f"sgd:weight_noise={size}" for size in (0.0003, 0.001, 0.003)),
        "sgd:learning_rate=1.0:weight_noise=0.0003",
    ),
    "Langevin": (
        *(f"langevin:temperature={t}" for t in (1e-06, 1e-05, 0.0001)),
        *(f"langevin:learning_rate=1.0:temperature={t}" for t in (1e-06, 1e-05)),
        *(f"langevin:batch_size=all:learning_rate=1.0:temperature={t}" for t in (1e-06, 1e-05)),
        "langevin:batch_size=all:learning_rate=0.1:friction=0.1:temperature=1e-06",
    ),
    "Metropolis": (
        *(f"metropolis:{_WALK}:proposal={p}:temperature={t}" for p in ("all", "unit") for t in (0.0, 3e-05, 0.0003)),
        *(f"metropolis:{_WALK}:proposal={p}:temperature=0.0" for p in ("layer", "weight")),
        *(f"metropolis:{_WALK}:proposal=unit:warmup=0:scale={s}:temperature=0.0" for s in (0.01, 0.03, 0.1)),
    ),
    "constrained": (
        *(f"constrained:{_WALK}:proposal=unit:bound={bound}" for bound in (0.05, 0.1, 0.2)),
        f"constrained:{_WALK}:proposal=all:bound=0.1",
    ),
    "information": (
        *(
            f"information:{_WALK}:proposal=unit:layer=hidden_7:strength={strength}:beta=5.0:temperature={t}"
            for strength in (0.001, 0.01)
            for t in (0.0, 3e-05)
        ),
        *(
            f"information:{_WALK}:proposal=unit:layer={layer}:strength=0.01:beta=5.0:temperature=0.0:warmup=0:scale=0.03"
            for layer in ("hidden_5", "hidden_7")
        ),
        f"information:{_WALK}:proposal=unit:layer=hidden_5:strength=0.01:beta=5.0:temperature=3e-05",
    ),
    "bottleneck": tuple(
        f"bottleneck:layer={layer}:beta={beta}:{rate}"
        for layer in ("hidden_5", "hidden_7")
        for beta in (3.0, 10.0)
        for rate in _BOTTLENECK_RATES
    ),
}
"""Rules by name, and the settings that the search compares; a walk's 29 moves and its first energy are 30 passes."""

CHOSEN: Mapping[str, str] = {
    "SGD": "sgd",
    "full batch": "langevin:batch_size=all:learning_rate=0.1:friction=0.1:temperature=0.0",
    "Adam": "adam:learning_rate=0.01",
    "label noise": "sgd:label_noise=0.1",
    "weight noise": "sgd:weight_noise=0.0003",
    "Langevin": "langevin:batch_size=all:learning_rate=0.1:friction=0.1:temperature=1e-06",
    "Metropolis": "metropolis:moves=29:proposal=weight:temperature=0.0",
    "constrained": "constrained:moves=29:proposal=unit:bound=0.05",
    "information": "information:moves=29:proposal=unit:layer=hidden_5:strength=0.01:beta=5.0:temperature=3e-05",
    "bottleneck": "bottleneck:layer=hidden_5:beta=3.0:batch_size=256:learning_rate=0.01:loss_weight=10.0",
}
"""What the search chose: `best` of `figures/relaxation_search.json`."""

BESIDE = {
    "bottleneck alone, hidden_5": "bottleneck:layer=hidden_5:beta=10.0:learning_rate=0.1:loss_weight=0.0",
    "bottleneck alone, hidden_7": "bottleneck:layer=hidden_7:beta=10.0:learning_rate=0.1:loss_weight=0.0",
}
"""Not chosen: without the gradient of the training loss."""

RULES = {**CHOSEN, **BESIDE}

TEMPERATURES = (1e-06, 1e-05, 0.0001)
STARTS = {"the switch": SWITCH, "the end of SGD": END}
BATH = "langevin:batch_size=all:learning_rate=0.1:friction=0.1:temperature="
BATH_BUDGET = 5 * BUDGET
MET = 0.5
"""Bits of I(X;T) by which the ends of two starts may differ to count as one state."""

SHOWN = ("SGD", "full batch", "Langevin", "Metropolis", "constrained", "information", "bottleneck")
LOOKS = dict(
    zip(
        SHOWN,
        (
            ("black", "-"),
            ("0.55", "--"),
            ("#AA3377", "-"),
            ("#4477AA", "-"),
            ("#66CCEE", "-"),
            ("#228833", "-"),
            ("#EE6677", "--"),
        ),
        strict=True,
    )
)


def config(plan: Plan, words: str, networks: int = 50, *, switch: int = SWITCH, budget: int = BUDGET) -> Config:
    """SGD until the switch, and then a rule in words for a budget of forward passes of each training pattern."""
    if plan.quick:
        switch, budget = switch // 10, budget // 10
        words = words.replace("hidden_5", "hidden_1").replace("hidden_7", "hidden_2")
    each = cost_of_epoch(words)
    later = switch + np.round(np.geomspace(each, budget, LOGS) / each)
    logged = np.unique(np.concatenate([[0], np.geomspace(1, switch, 12).round(), later])).astype(int)
    phases = (f"sgd:until={switch}", words)
    return plan.paper(networks, epochs=int(logged[-1]), logged_epochs=tuple(logged.tolist()), phases=phases)


def cost_of_epoch(words: str) -> float:
    """Forward passes of each training pattern in an epoch, a backward pass counted as two."""
    forward, backward = passes(of_words(words), Perceptron.of(ibjax.PRESETS["paper"]))
    return forward + 2 * backward


def costs(run: Trajectory) -> Values:
    """(E,) the cost since the switch, below 0 before it, in forward passes of each training pattern."""
    spent = run.extras["cost_forward"] + 2 * run.extras["cost_backward"]
    passes = (spent / run.train_mask.sum(axis=1, keepdims=True))[0]  # the same for all networks: no condition ends SGD
    return np.asarray(passes - passes[switched(run)])


def switched(run: Trajectory) -> int:
    """Entry of the last logged epoch of the first phase."""
    return int((run.extras["phase"][0] == 0).sum()) - 1


def falls(run: Trajectory) -> Values:
    """(S, H) bits of I(X;T) that each hidden layer has lost since the switch; NaN for a network that knows less now.

    That is one below `LEARNED` of its training patterns: forgetting is no compression.
    """
    hidden = run.i_xt[:, :, :-1].astype(np.float64)
    return np.where(has_learned(run)[:, None], hidden[:, switched(run)] - hidden[:, -1], np.nan)


def kept(run: Trajectory) -> Values:
    """(S, 2) what each network gained since the switch: I(T;Y) of the last hidden layer, bits, and test accuracy."""
    at = switched(run)
    accuracy = run.require("test_accuracy").astype(np.float64)
    gained = [run.i_ty[:, -1, -2] - run.i_ty[:, at, -2], accuracy[:, -1] - accuracy[:, at]]
    return np.where(run.healthy[:, None], np.stack(gained, axis=1), np.nan)


def lowest(run: Trajectory) -> float:
    """The least I(T;Y) of the last hidden layer after the switch less that at the switch, bits, of the mean curve.

    Far below 0 where a rule first undoes what was learned.
    """
    mean = common.known_mean(np.where(run.healthy[:, None], run.i_ty[:, :, -2].astype(np.float64), np.nan), 0)
    return float(mean[switched(run) + 1 :].min() - mean[switched(run)])


def entropies(run: Trajectory) -> Values:
    """(S,) entropy of a weight, bits, if it is normal with the mean squared distance gone since the switch."""
    at, squares, count = switched(run), np.zeros(run.seeds.size), 0
    for name in run.layer_names:
        weights = common.stored_array(run, f"weights_{name}").astype(np.float64)
        gone = (weights[:, -1] - weights[:, at]).reshape(len(weights), -1)
        squares, count = squares + (gone**2).sum(axis=1), count + gone.shape[1]
    with np.errstate(divide="ignore"):
        return np.where(has_learned(run), 0.5 * np.log2(2 * np.pi * np.e * squares / count), np.nan)


def excess(run: Trajectory) -> Values:
    """(S,) distance from the information curve at the end: I(X;T) less the least at this I(T;Y), mean of the layers."""
    curve = curve_of()
    least = curve.rate(np.minimum(run.i_ty[:, -1, :-1].astype(np.float64), curve.i_xy - 1e-6))
    return np.where(has_learned(run), (run.i_xt[:, -1, :-1] - least).mean(axis=1), np.nan)


def search(plan: Plan, out: Path) -> None:
    """Train every setting of every rule on ten networks of seeds that decide nothing, and write what came out."""
    plan = Plan(plan.quick, 0, plan.count or 10)
    found: dict[str, dict[str, Any]] = {}
    for name, settings in GRID.items():
        for words in settings:
            wanted = config(plan, words, 10)
            run = common.run_or_load(wanted, common.run_file(wanted, out))
            fall = float(common.known_mean(common.known_mean(falls(run), 1), 0))
            least, gained = lowest(run), common.known_mean(kept(run), 0)[1]
            row = {"fall": fall, "i_ty": least, "test_accuracy": gained, "learned": int(has_learned(run).sum())}
            found.setdefault(name, {})[words] = {
                key: round(float(value), 4) if np.isfinite(value) else None for key, value in row.items()
            }
            print(f"{fall:6.2f} bits, I(T;Y) {least:+.3f}, accuracy {gained:+.4f}: {words}", flush=True)
    out.mkdir(parents=True, exist_ok=True)
    with atomic_write(out / SEARCH) as temporary:
        temporary.write_text(json.dumps({"best": best(found), "settings": found}, indent=1, allow_nan=False) + "\n")


def best(found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, str]:
    """Of each rule the setting with the largest fall of those that lose no more than `LOST`, or of all if all do.

    A setting whose networks all forgot has no fall.
    """
    chosen = {}
    for name, settings in found.items():
        sound = [words for words, row in settings.items() if all(row[key] >= -most for key, most in LOST.items())]
        bits = {words: -np.inf if (fall := settings[words]["fall"]) is None else fall for words in sound or settings}
        chosen[name] = max(bits, key=bits.__getitem__)
    return chosen


def configs(plan: Plan) -> dict[str, Config | common.Job]:
    """Every rule as the search chose it, and the heat baths, from the switch and from SGD's end.

    Of a toy only the rules that are drawn.
    """
    rules = {name: words for name, words in RULES.items() if name in (*SHOWN, *BESIDE) or not plan.quick}
    wanted: dict[str, Config | common.Job] = {name: config(plan, words) for name, words in rules.items()}
    for temperature in TEMPERATURES[:1] if plan.quick else TEMPERATURES:
        for start, switch in STARTS.items():
            words = f"{BATH}{temperature}"
            wanted[bath(temperature, start)] = config(plan, words, switch=switch, budget=BATH_BUDGET)
    return wanted


def bath(temperature: float, start: str) -> str:
    """The label of the run at a temperature from a start of `STARTS`."""
    return f"T = {temperature:g} from {start}"


def measure(runs: Runs) -> list[Evidence]:
    """What each rule does at equal cost, and whether SGD ends in a Boltzmann state."""
    rules = [name for name in RULES if name in runs]
    fall = {name: falls(runs[name]) for name in rules}
    whole = {name: common.known_mean(each, 1) for name, each in fall.items()}
    reached = {name: halving(runs[name]) for name in rules}
    hidden = runs["SGD"].layer_names[:-1]
    told = "; ".join(f"{name} {common.mean(each)}" for name, each in whole.items())
    print(table(runs))
    faster = {name: np.log2(reached["SGD"] / each) for name, each in reached.items()}
    times = "; ".join(f"{name} {common.mean(each)}" for name, each in faster.items() if name != "SGD")
    alone = {name: common.mean(kept(runs[name])[:, 0]) for name in BESIDE if "alone" in name}
    return [
        Evidence(
            "relax_monte_carlo",
            whole["Metropolis"] - whole["SGD"],
            detail=f"`{CHOSEN['Metropolis']}`. Falls at equal cost, bits, mean of the hidden layers: {told}.",
        ),
        Evidence(
            "relax_information",
            whole["information"] - whole["SGD"],
            detail=f"`{CHOSEN['information']}`. Its fall less that of Metropolis, which has the same walk on the loss "
            f"alone: {common.mean(whole['information'] - whole['Metropolis'])} bits.",
        ),
        Evidence(
            "relax_diffusion",
            fall["constrained"],
            hidden,
            f"`{CHOSEN['constrained']}`. Falls: {common.describe(fall['constrained'], hidden)}; I(T;Y) of the last "
            f"hidden layer gained: {common.mean(kept(runs['constrained'])[:, 0])} bits.",
        ),
        Evidence(
            "relax_noise",
            whole["full batch"] / whole["SGD"],
            detail=f"`{CHOSEN['full batch']}`. By layer: {common.describe(fall['full batch'], hidden)}; by SGD: "
            f"{common.describe(fall['SGD'], hidden)}.",
        ),
        Evidence(
            "relax_bottleneck",
            faster["bottleneck"],
            detail=f"`{CHOSEN['bottleneck']}`. The measure of every rule: {times}. Gain of I(T;Y) of the last hidden "
            f"layer without the loss's gradient: {'; '.join(f'{name} {gain}' for name, gain in alone.items())} bits.",
        ),
        Evidence(
            "relax_bottleneck_falls",
            whole["bottleneck"] - whole["SGD"],
            detail=f"By layer: {common.describe(fall['bottleneck'] - fall['SGD'], hidden)}. Test accuracy less SGD's, "
            f"points: {common.mean(100 * (kept(runs['bottleneck'])[:, 1] - kept(runs['SGD'])[:, 1]))}.",
        ),
        boltzmann(runs),
    ]


def halving(run: Trajectory) -> Values:
    """(S,) cost since the switch until the training loss is half of that there; of all where it never is.

    The loss is interpolated between logged epochs.
    """
    at, cost = switched(run), costs(run)
    found = np.full(run.seeds.size, np.nan)
    for row in np.flatnonzero(run.healthy):
        loss = run.train_loss[row, at:].astype(np.float64) / run.train_loss[row, at]
        below = np.flatnonzero(loss <= 0.5)
        if not below.size:
            found[row] = cost[-1]
            continue
        last = int(below[0])
        found[row] = np.interp(-0.5, -loss[last - 1 : last + 1], cost[at:][last - 1 : last + 1])
    return found


def boltzmann(runs: Runs) -> Evidence:
    """I(X;T) of the temperature that has SGD's training loss, less that of SGD, where both starts have met."""
    ends = {label: run for label, run in runs.items() if label.startswith("T = ")}
    sgd = runs["SGD"].of_seeds(next(iter(ends.values())).seeds)
    hidden, names = sgd.layer_names[:-1], list(STARTS)
    means = {label: _log_loss(run) for label, run in ends.items()}
    goal = _log_loss(sgd)
    known = [t for t in TEMPERATURES if bath(t, names[0]) in runs]
    nearest = min(known, key=lambda t: abs(means[bath(t, names[0])] - goal))
    early, late = (ends[bath(nearest, start)] for start in names)
    apart = np.abs(common.known_mean(_end(early) - _end(late), 0))
    difference = np.where(apart < MET, _end(early) - _end(sgd), np.nan)
    losses = ", ".join(f"{label} {10**value:.2g}" for label, value in means.items())
    each = "; ".join(f"{label}: {common.describe(_end(run), hidden)}" for label, run in ends.items())
    shapes = [stats.ks_2samp(a, b).statistic for a, b in zip(_known(early).T, _known(sgd).T, strict=True)]
    detail = (
        f"T = {nearest:g}; the two starts are {', '.join(f'{a:.2f}' for a in apart)} bits apart in the hidden layers, "
        f"and a layer counts below {MET}. Training losses, nats (geometric means): SGD {10**goal:.2g}, {losses}. "
        f"Largest difference of the distributions over networks from SGD's (Kolmogorov & Smirnov), layer by layer: "
        f"{', '.join(f'{shape:.2f}' for shape in shapes)}. "
        f"I(X;T), bits, SGD: {common.describe(_end(sgd), hidden)}; {each}."
    )
    if np.isnan(difference).all():
        return Evidence.unmeasurable("relax_boltzmann", f"The two starts do not meet in any layer. {detail}")
    return Evidence("relax_boltzmann", difference, hidden, detail)


def _end(run: Trajectory) -> Values:
    """(S, H) I(X;T) of the hidden layers at the end, bits; NaN for diverged networks."""
    return np.where(run.healthy[:, None], run.i_xt[:, -1, :-1].astype(np.float64), np.nan)


def _known(run: Trajectory) -> Values:
    """Those of `_end` of networks that did not diverge."""
    return _end(run)[run.healthy]


def _log_loss(run: Trajectory) -> float:
    """Mean over networks of log10 of the training loss at the end."""
    loss = run.train_loss[run.healthy, -1].astype(np.float64)
    return float(np.log10(np.maximum(loss, 1e-12)).mean())


def table(runs: Runs) -> str:
    """What each rule did at equal cost, as Markdown: means over networks."""
    heads = ("rule", "setting", "forgot", "fall", "I(T;Y)", "test accuracy", "above the curve", "entropy", "half loss")
    lines = [" | ".join(heads), " | ".join(["---"] * len(heads))]
    for name in (name for name in RULES if name in runs):
        run, words = runs[name], RULES[name]
        fall, gained = common.mean(common.known_mean(falls(run), 1)), kept(run)
        row = [
            name,
            f"`{words}`",
            f"{int((~has_learned(run)).sum())} of {run.seeds.size}",
            str(fall),
            f"{common.mean(gained[:, 0]).estimate:+.3f}",
            f"{100 * common.mean(gained[:, 1]).estimate:+.2f}%",
            f"{common.mean(excess(run)).estimate:.2f}",
            f"{common.mean(entropies(run)).estimate:.2f}",
            f"{common.mean(halving(run)).estimate:,.0f}",
        ]
        lines.append(" | ".join(row))
    return "\n".join(f"| {line} |" for line in lines)


def figure(runs: Runs) -> Figure:
    """Compression and relevance over the cost, by layer, and the heat baths."""
    whole, panels = figures.side_by_side(4, height=3.1, columns=2)
    with figures.style():
        for ax, name, values in (
            (panels[0], "$I(X;T)$, mean of the hidden layers [bits]", lambda run: run.i_xt[:, :, :-1].mean(axis=2)),
            (panels[1], "$I(T;Y)$ of the last hidden layer [bits]", lambda run: run.i_ty[:, :, -2]),
        ):
            for label in SHOWN:
                draw_over_cost(ax, runs[label], values(runs[label]), label)
            ax.set_ylabel(name)
            legend_below(ax, columns=3)
        names = runs["SGD"].layer_names[:-1]
        for number, label in enumerate(SHOWN):
            middle = np.array([common.mean(column) for column in falls(runs[label]).T])
            colour, line = LOOKS[label]
            at = np.arange(len(names)) + 0.06 * (number - len(SHOWN) / 2)
            draw_means(panels[2], at, middle, color=colour, ls=line, lw=0.8, marker="o", ms=3, label=label)
        panels[2].axhline(0, color="0.5", lw=0.7, zorder=0)
        panels[2].set_ylabel("fall of $I(X;T)$ [bits]")
        layer_axis(panels[2], names)
        panels[2].set_xlabel("hidden layer")
        legend_below(panels[2], columns=3)
        draw_baths(panels[3], runs)
    return whole


def draw_over_cost(ax: Axes, run: Trajectory, values: npt.NDArray[Any], label: str) -> None:
    """(S, E) over the cost since the switch, mean and 95% band."""
    cost, at = costs(run), switched(run) + 1
    mean, (colour, line) = mean_over_seeds(run, values), LOOKS[label]
    ax.plot(cost[at:], mean.mean[at:], color=colour, ls=line, label=label)
    fill_band(ax, cost[at:], mean.low[at:], mean.high[at:], colour)
    ax.set_xscale("log")
    ax.set_xlabel(f"cost since epoch {run.epochs[at - 1]} [passes forward]")


def draw_baths(ax: Axes, runs: Runs) -> None:
    """I(X;T) of three hidden layers over the training loss: the way of SGD, and where heat baths end."""
    sgd = runs["SGD"]
    marked = [(t, marker) for t, marker in zip(TEMPERATURES, "os^", strict=True) if bath(t, "the switch") in runs]
    hidden = len(sgd.layer_names) - 1
    for place in range(hidden)[::-2][:3]:
        _, colour, _ = layer_looks(sgd.layer_names)[place]
        at = switched(sgd)
        loss = 10 ** np.log10(np.maximum(sgd.train_loss[sgd.healthy, at:], 1e-12)).mean(axis=0)
        name = sgd.layer_names[place].replace("_", " ")
        ax.plot(loss, sgd.i_xt[sgd.healthy, at:, place].mean(axis=0), color=colour, label=f"SGD, {name}")
        for temperature, marker in marked:
            ends = [runs[bath(temperature, start)] for start in STARTS]
            x = [10 ** _log_loss(run) for run in ends]
            y = [run.i_xt[run.healthy, -1, place].mean() for run in ends]
            ax.plot(x, y, color=colour, lw=0.6, ls=":")
            for value, bits, face in zip(x, y, (colour, "white"), strict=True):
                ax.plot(value, bits, marker, color=colour, mfc=face, ms=4.5)
    for temperature, marker in marked:
        ax.plot([], [], marker, color="0.4", ms=4.5, label=f"T = {temperature:g}")
    ax.plot([], [], "o", color="0.4", mfc="white", ms=4.5, label="from the end of SGD")
    ax.set_xscale("log")
    ax.invert_xaxis()
    ax.set_xlabel("training loss [nats]")
    ax.set_ylabel("$I(X;T)$ [bits]")
    legend_below(ax, columns=2)


def main(argv: Sequence[str] | None = None) -> int:
    """Search, or train or read the chosen, measure, draw and write."""
    options = common.parser(__doc__)
    options.add_argument("--search", action="store_true", help="train every setting of every rule on ten other seeds")
    chosen = options.parse_args(argv)
    plan = common.plan_of(chosen)
    if chosen.search:
        search(plan, chosen.out)
        return 0
    runs = common.train(configs(plan), chosen.out)
    common.write(NAME, measure(runs), {NAME: figure(runs)}, chosen.out, plan)
    return 0


if __name__ == "__main__":
    sys.exit(main())
