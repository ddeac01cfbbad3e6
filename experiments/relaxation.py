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
`LOST`. Whether the bottleneck's iterations make training faster is asked of those that halve the training loss first,
of SGD's settings and of the rule's. `full batch` has descent without noise among its settings: at temperature 0
Langevin dynamics are descent with momentum.

Is the end of SGD a Boltzmann state exp(-E/T)? Langevin dynamics with the gradients of all patterns sample it, from the
switch and from the end of SGD; where both starts come to the same loss and the same I(X;T), within `MET`, they are
taken for the state of that temperature.

Shapes: S networks, E logged epochs, H hidden layers.
"""

from __future__ import annotations

import dataclasses
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

from ibjax import PRESETS, Config, Trajectory, figures
from ibjax._files import atomic_write
from ibjax.analysis import mean_over_seeds
from ibjax.figures.style import fill_band, layer_looks, legend_below
from ibjax.networks.perceptron import Perceptron
from ibjax.schedule.phases import of_words
from ibjax.schedule.settings import Constrained
from ibjax.training.schedule import passes

NAME = "relaxation"
SWITCH, END = 300, 3000
"""Epochs of SGD before another rule takes over, and where SGD itself would end."""
BUDGET = 3 * (END - SWITCH)
"""Forward passes of each training pattern after the switch; a backward pass counts as two."""
LOGS = 24  # after the switch
RACE = ("SGD", "SGD, momentum", "bottleneck")
"""Whose settings are compared by speed as well."""
NOISY = "SGD, momentum"
"""The descent along minibatches that compresses most in the search."""
DESCENT = "full batch"
"""The descent that does, of `NOISY` and that without noise."""
UNSEEN = 3000
"""Added to the seeds of the confirming run: networks of seeds from 1000 and from 2000 on were looked at while the grid,
the costs and the criteria of this experiment were still being changed."""
LOST = {"i_ty": 0.02, "test_accuracy": 0.01}
"""Bits of the last hidden layer at any time, and share of the test patterns at the end, that a setting may lose. Else
large steps would be chosen, which undo what was learned and learn it anew."""
SEARCH = "relaxation_search.json"
_WALK = "moves=29"
_WHOLE = "langevin:batch_size=all:learning_rate=0.1:friction=0.1"
_BOTTLENECK_RATES = (
    *(f"learning_rate={rate}" for rate in (0.1, 1.0)),
    *(f"learning_rate={rate}:loss_weight=10.0" for rate in (0.01, 0.1)),
    "learning_rate=0.001:loss_weight=100.0",
    *(f"learning_rate={rate}:loss_weight=0.0" for rate in (0.1, 0.5)),
    "batch_size=256:learning_rate=0.1",
    *(f"batch_size=256:learning_rate={rate}:loss_weight=10.0" for rate in (0.01, 0.03, 0.1)),
    "batch_size=256:learning_rate=0.01:loss_weight=100.0",
)

GRID: Mapping[str, Sequence[str]] = {
    "SGD": ("sgd", *(f"sgd:learning_rate={rate}" for rate in (0.03, 0.2, 0.3, 1.0, 3.0))),
    "full batch": (
        *(f"sgd:batch_size=all:learning_rate={rate}" for rate in (0.1, 0.2, 0.3, 1.0, 3.0)),
        *(f"langevin:batch_size=all:learning_rate={rate}:friction=0.1:temperature=0.0" for rate in (0.03, 0.1)),
        "langevin:batch_size=all:learning_rate=0.1:friction=0.03:temperature=0.0",
    ),
    "SGD, momentum": tuple(f"langevin:learning_rate={r}:friction=0.1:temperature=0.0" for r in (0.01, 0.03, 0.1)),
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
        *(f"{_WHOLE}:temperature={t}" for t in (1e-06, 1e-05, 3e-05, 0.0001, 0.0003)),
    ),
    "Metropolis": (
        *(f"metropolis:{_WALK}:proposal={p}:temperature={t}" for p in ("all", "unit") for t in (0.0, 3e-05, 0.0003)),
        *(f"metropolis:{_WALK}:proposal={p}:temperature=0.0" for p in ("layer", "weight")),
        f"metropolis:{_WALK}:proposal=weight:temperature=3e-05",
        *(f"metropolis:{_WALK}:proposal=unit:warmup=0:scale={s}:temperature=0.0" for s in (0.01, 0.03, 0.1)),
    ),
    "constrained": (
        *(f"constrained:{_WALK}:proposal=unit:bound={bound}" for bound in (0.05, 0.1, 0.2)),
        *(f"constrained:{_WALK}:proposal={p}:bound=0.1" for p in ("all", "weight")),
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
    "full batch": "langevin:batch_size=all:learning_rate=0.1:friction=0.03:temperature=0.0",
    "SGD, momentum": "langevin:learning_rate=0.03:friction=0.1:temperature=0.0",
    "Adam": "adam:learning_rate=0.01",
    "label noise": "sgd:label_noise=0.1",
    "weight noise": "sgd:weight_noise=0.0003",
    "Langevin": "langevin:batch_size=all:learning_rate=0.1:friction=0.1:temperature=1e-05",
    "Metropolis": "metropolis:moves=29:proposal=weight:temperature=0.0",
    "constrained": "constrained:moves=29:proposal=unit:bound=0.05",
    "information": "information:moves=29:proposal=unit:layer=hidden_5:strength=0.01:beta=5.0:temperature=3e-05",
    "bottleneck": "bottleneck:layer=hidden_5:beta=3.0:batch_size=256:learning_rate=0.01:loss_weight=10.0",
}
"""What the search chose: `best` of `figures/relaxation_search.json`."""

FASTEST: Mapping[str, str] = {
    "SGD": "langevin:learning_rate=0.01:friction=0.1:temperature=0.0",
    "bottleneck": "bottleneck:layer=hidden_7:beta=3.0:batch_size=256:learning_rate=0.1",
}
"""What the search found to halve the training loss first: `fastest` there."""

RULES: Mapping[str, str] = {
    **CHOSEN,
    **{f"{name}, fastest": words for name, words in FASTEST.items()},
    # The walk of `information` without the information, and the pull of `bottleneck` without the bottleneck: at a beta
    # near 0 it sends all patterns to one place, whatever their label.
    "information, strength 0": CHOSEN["information"].replace("strength=0.01", "strength=0.0"),
    "bottleneck, beta 0": CHOSEN["bottleneck"].replace("beta=3.0", "beta=1e-06"),
    "bottleneck alone, hidden_5": "bottleneck:layer=hidden_5:beta=10.0:learning_rate=0.1:loss_weight=0.0",
    "bottleneck alone, hidden_7": "bottleneck:layer=hidden_7:beta=10.0:learning_rate=0.1:loss_weight=0.0",
}
"""All that continue the networks at the switch; those that the search has not chosen are controls."""

AT_THE_END = "constrained, from the end of SGD"
"""A free walk at a loss that is low from its beginning on: it has not to come down to its bound first."""
BOUND_AT_THE_END = "constrained:moves=29:proposal=unit:bound=0.001"

TEMPERATURES = (1e-06, 3e-06, 1e-05)
STARTS = {"the switch": SWITCH, "the end of SGD": END}
BATH_BUDGET = 5 * BUDGET
MET = {"bits": 0.5, "factor": 2.0}
"""By how much the ends of two starts may differ, in the mean, to count as one state: I(X;T), and the training loss."""

LOOKS = {
    "SGD": ("black", "-"),
    "full batch": ("0.55", "--"),
    "Adam": ("#CCBB44", "-"),
    "Langevin": ("#AA3377", "-"),
    "Metropolis": ("#4477AA", "-"),
    "constrained": ("#66CCEE", "-"),
    "information": ("#228833", "-"),
    "bottleneck": ("#EE6677", "--"),
}
"""Colour and line of the rules that are drawn."""


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
    """Forward passes of each training pattern in an epoch, a backward pass counted as two, of the paper's network."""
    network = Perceptron((12, *PRESETS["paper"].hidden_widths, 1))
    forward, backward = passes(of_words(words), network.model)
    return forward + 2 * backward


def costs(run: Trajectory) -> Values:
    """(E,) the cost since the switch, below 0 before it, in forward passes of each training pattern."""
    spent = run.extras["cost_forward"] + 2 * run.extras["cost_backward"]
    each = (spent / run.train_mask.sum(axis=1, keepdims=True))[0]  # the same for all networks: no condition ends SGD
    return np.asarray(each - each[switched(run)])


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
            if name in RACE:
                row["half"] = float(common.known_mean(halving(run), 0))
            found.setdefault(name, {})[words] = {
                key: round(float(value), 4) if np.isfinite(value) else None for key, value in row.items()
            }
            print(f"{fall:6.2f} bits, I(T;Y) {least:+.3f}, accuracy {gained:+.4f}: {words}", flush=True)
    out.mkdir(parents=True, exist_ok=True)
    with atomic_write(out / SEARCH) as temporary:
        content = {"best": best(found), "fastest": fastest(found), "settings": found}
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")


Found = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Rule -> setting -> what came of it."""


def sound(settings: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Those of a rule that lose no more than `LOST`, or all if all do."""
    few = [words for words, row in settings.items() if all(row[key] >= -most for key, most in LOST.items())]
    return few or list(settings)


def best(found: Found) -> dict[str, str]:
    """Of each rule the sound setting with the largest fall; one whose networks all forgot has none."""
    chosen = {}
    for name, settings in found.items():
        falls = {words: settings[words]["fall"] for words in sound(settings)}
        chosen[name] = max(falls, key=lambda words: -np.inf if falls[words] is None else falls[words])
    return chosen


def fastest(found: Found) -> dict[str, str]:
    """Of SGD, with momentum or without, and of the bottleneck rule the sound setting that halves the loss first."""
    chosen = {}
    for name, runners in {"SGD": RACE[:2], "bottleneck": RACE[2:]}.items():
        settings = {words: row for runner in runners for words, row in found[runner].items()}
        chosen[name] = min(sound(settings), key=lambda words: settings[words]["half"])
    return chosen


def configs(plan: Plan) -> dict[str, Config | common.Job]:
    """Every rule, as the search chose it or as a control, and the heat baths, from the switch and from SGD's end.

    A toy has what is drawn or judged.
    """
    plan = dataclasses.replace(plan, first_seed=plan.first_seed + UNSEEN)
    told = ("SGD, momentum", "label noise", "weight noise", "bottleneck alone, hidden_5", "bottleneck alone, hidden_7")
    rules = {name: words for name, words in RULES.items() if name not in told or not plan.quick}
    wanted: dict[str, Config | common.Job] = {name: config(plan, words) for name, words in rules.items()}
    wanted[AT_THE_END] = config(plan, BOUND_AT_THE_END, switch=END)
    for temperature in TEMPERATURES[:1] if plan.quick else TEMPERATURES:
        for start, switch in STARTS.items():
            words = f"{_WHOLE}:temperature={temperature}"
            wanted[bath(temperature, start)] = config(plan, words, switch=switch, budget=BATH_BUDGET)
    return wanted


def bath(temperature: float, start: str) -> str:
    """The label of the run at a temperature from a start of `STARTS`."""
    return f"T = {temperature:g} from {start}"


def measure(runs: Runs) -> list[Evidence]:
    """What each rule does at equal cost, and whether SGD ends in a Boltzmann state."""
    print(table(runs))
    fall = {name: falls(run) for name, run in runs.items() if not name.startswith("T = ")}
    whole = {name: common.known_mean(each, 1) for name, each in fall.items()}
    hidden = runs["SGD"].layer_names[:-1]
    told = "; ".join(f"{name} {common.mean(each)}" for name, each in whole.items())
    noisy = NOISY if NOISY in runs else "SGD"

    def of(name: str) -> str:
        return f"`{RULES[name]}`"

    def more(name: str, than: str) -> Values:
        return np.asarray(whole[name] - whole[than])

    return [
        Evidence(
            "relax_monte_carlo",
            more("Metropolis", "SGD"),
            detail=f"{of('Metropolis')}. Falls at equal cost, bits, mean of the hidden layers: {told}.",
        ),
        Evidence(
            "relax_information",
            more("information", "SGD"),
            detail=f"{of('information')}. Its fall less that of the same walk with a strength of 0, so on the loss "
            f"alone: {common.mean(more('information', 'information, strength 0'))} bits.",
        ),
        diffusion(runs, fall, hidden),
        Evidence(
            "relax_noise",
            whole["full batch"] / whole[noisy],
            detail=f"{of('full batch')} over {of(noisy)}. By layer: {common.describe(fall['full batch'], hidden)}; "
            f"with minibatches: {common.describe(fall[noisy], hidden)}.",
        ),
        *bottleneck(runs, fall, hidden),
        boltzmann(runs),
    ]


def diffusion(runs: Runs, fall: Mapping[str, Values], hidden: Sequence[str]) -> Evidence:
    """The falls of free diffusion, in the layers that SGD compresses by 0.1 bits or more."""
    falling = [row for row, bits in enumerate(common.known_mean(fall["SGD"], 0)) if bits >= 0.1] or [len(hidden) - 1]
    run = runs["constrained"]
    at, settings = switched(run), of_words(CHOSEN["constrained"]).settings
    assert isinstance(settings, Constrained)
    within = np.mean(run.train_loss[run.healthy, at:] <= settings.bound, axis=0)
    half = costs(run)[at:][np.argmax(within >= 0.5)] if (within >= 0.5).any() else np.inf
    return Evidence(
        "relax_diffusion",
        fall["constrained"][:, falling],
        [hidden[row] for row in falling],
        f"`{CHOSEN['constrained']}`. Half of the networks are within the bound from a cost of {half:,.0f} on. Falls of "
        f"all layers: {common.describe(fall['constrained'], hidden)}; I(T;Y) of the last hidden layer gained: "
        f"{common.mean(kept(run)[:, 0])} bits. From the end of SGD (`{BOUND_AT_THE_END}`): "
        f"{common.describe(fall[AT_THE_END], hidden)}; I(T;Y) {common.mean(kept(runs[AT_THE_END])[:, 0])} bits.",
    )


def bottleneck(runs: Runs, fall: Mapping[str, Values], hidden: Sequence[str]) -> list[Evidence]:
    """Whether bottleneck iterations make training faster, and compress, and whether that is the bottleneck's doing."""
    reached = {name: halving(runs[name]) for name in RULES if name in runs}
    speeds = {name: np.log2(reached["SGD, fastest"] / each) for name, each in reached.items()}
    told = "; ".join(f"{name} {common.mean(each)}" for name, each in speeds.items() if name != "SGD, fastest")
    quick, control = "bottleneck, fastest", "bottleneck, beta 0"
    alone = {name: common.mean(kept(runs[name])[:, 0]) for name in runs if "alone" in name}
    gains = "; ".join(f"{name} {gain}" for name, gain in alone.items())
    more, than_sgd = fall["bottleneck"] - fall[DESCENT], fall["bottleneck"] - fall["SGD"]
    points = 100 * (kept(runs["bottleneck"])[:, 1] - kept(runs[DESCENT])[:, 1])
    pulled = fall["bottleneck"] - fall[control]
    return [
        Evidence(
            "relax_bottleneck",
            speeds[quick],
            detail=f"`{RULES[quick]}` and `{RULES['SGD, fastest']}`. Every rule by this measure: {told}.",
        ),
        Evidence(
            "relax_bottleneck_falls",
            common.known_mean(more, 1),
            detail=f"`{CHOSEN['bottleneck']}` less `{CHOSEN[DESCENT]}`. By layer: {common.describe(more, hidden)}. "
            f"Less SGD: {common.mean(common.known_mean(than_sgd, 1))} bits. Test accuracy, points: "
            f"{common.mean(points)}. Gain of I(T;Y) of the last hidden layer without the loss's gradient: "
            f"{gains or 'not trained'}, bits.",
        ),
        Evidence(
            "relax_pull",
            common.known_mean(pulled, 1),
            detail=f"`{RULES[control]}`. By layer: {common.describe(pulled, hidden)}. Networks that forgot under the "
            f"control: {int((~has_learned(runs[control])).sum())} of {runs[control].seeds.size}; its gain of I(T;Y) of "
            f"the last hidden layer: {common.mean(kept(runs[control])[:, 0])} bits.",
        ),
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
    sgd, names = runs["SGD"], list(STARTS)
    hidden, goal = sgd.layer_names[:-1], _log_loss(sgd)
    means = {label: _log_loss(run) for label, run in ends.items()}
    known = [t for t in TEMPERATURES if bath(t, names[0]) in runs]
    pairs = {t: [means[bath(t, start)] for start in names] for t in known}
    met = [t for t, (a, b) in pairs.items() if abs(a - b) <= np.log10(MET["factor"])]
    losses = ", ".join(f"{label} {10**value:.2g}" for label, value in means.items())
    each = "; ".join(f"{label}: {common.describe(_end(run), hidden)}" for label, run in ends.items())
    told = (
        f"Training losses, nats (geometric means): SGD {10**goal:.2g}, {losses}. "
        f"I(X;T), bits, SGD: {common.describe(_end(sgd), hidden)}; {each}."
    )
    if not met:
        return Evidence.unmeasurable("relax_boltzmann", f"The losses of the two starts meet nowhere. {told}")
    nearest = min(met, key=lambda t: abs(np.mean(pairs[t]) - goal))
    early, late = (ends[bath(nearest, start)] for start in names)
    apart = np.abs(common.known_mean(_end(early) - _end(late), 0))
    difference = np.where(apart < MET["bits"], (_end(early) + _end(late)) / 2 - _end(sgd), np.nan)
    shapes = [stats.ks_2samp(a, b).statistic for a, b in zip(_known(late).T, _known(sgd).T, strict=True)]
    loss = stats.ks_2samp(late.train_loss[late.healthy, -1], sgd.train_loss[sgd.healthy, -1]).statistic
    detail = (
        f"T = {nearest:g}, of {', '.join(f'{t:g}' for t in met)}, where the losses of both starts have met; these are "
        f"{', '.join(f'{a:.2f}' for a in apart)} bits apart in the hidden layers, and a layer counts below "
        f"{MET['bits']}. Largest difference of the distributions over networks, from the end of SGD and after the "
        f"bath that began there (Kolmogorov & Smirnov): I(X;T), layer by layer, "
        f"{', '.join(f'{shape:.2f}' for shape in shapes)}; training loss {loss:.2f}. {told}"
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
    for name, words in {**RULES, AT_THE_END: BOUND_AT_THE_END}.items():
        if (run := runs.get(name)) is None:
            continue
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
        for label in LOOKS:
            run = runs[label]
            draw_over_cost(panels[0], run, run.i_xt[:, :, :-1].mean(axis=2), label)
            draw_over_cost(panels[1], run, run.i_ty[:, :, -2], label, band=label in ("SGD", "Metropolis", "bottleneck"))
        panels[0].set_ylabel("$I(X;T)$, mean of the hidden layers [bits]")
        panels[1].set_ylabel("$I(T;Y)$ of the last hidden layer [bits]")
        names = runs["SGD"].layer_names[:-1]
        for number, (label, (colour, line)) in enumerate(LOOKS.items()):
            middle = np.array([common.mean(column) for column in falls(runs[label]).T])
            at = np.arange(len(names)) + 0.09 * (number - (len(LOOKS) - 1) / 2)
            draw_means(panels[2], at, middle, color=colour, ls=line, lw=0.6, marker="o", ms=2.5, label=label)
        panels[2].axhline(0, color="0.5", lw=0.7, zorder=0)
        panels[2].set_ylabel("fall of $I(X;T)$ [bits]")
        layer_axis(panels[2], names)
        panels[2].set_xlabel("hidden layer")
        draw_baths(panels[3], runs)
        for panel in panels[:3]:
            legend_below(panel, columns=3)
    return whole


def draw_over_cost(ax: Axes, run: Trajectory, values: npt.NDArray[Any], label: str, *, band: bool = True) -> None:
    """(S, E) over the cost since the switch, mean and 95% band."""
    cost, at = costs(run), switched(run) + 1
    mean, (colour, line) = mean_over_seeds(run, values), LOOKS[label]
    ax.plot(cost[at:], mean.mean[at:], color=colour, ls=line, label=label)
    if band:
        fill_band(ax, cost[at:], mean.low[at:], mean.high[at:], colour)
    ax.set_xscale("log")
    ax.set_xlabel(f"passes of the training set since epoch {run.epochs[at - 1]}")


def draw_baths(ax: Axes, runs: Runs) -> None:
    """I(X;T) of three hidden layers over the training loss: the way of SGD, and where heat baths end."""
    sgd = runs["SGD"]
    marked = [(t, marker) for t, marker in zip(TEMPERATURES, "oDs", strict=True) if bath(t, "the switch") in runs]
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
            y = np.array([common.mean(_end(run)[:, place]) for run in ends])
            ax.plot(x, y[:, 0], color=colour, lw=0.6, ls=":")
            for value, bits, face in zip(x, y, (colour, "white"), strict=True):
                draw_means(ax, [value], bits[None], color=colour, marker=marker, mfc=face, ms=4.5, ls="")
    for temperature, marker in marked:
        power = f"{temperature:.0e}".split("e")
        label = f"$T = {power[0]}\\cdot10^{{{int(power[1])}}}$"
        ax.plot([], [], marker, color="0.4", ms=4.5, ls="", label=label)
    for label, face in (("from epoch 300", "0.4"), ("from the end of SGD", "white")):
        ax.plot([], [], "o", color="0.4", mfc=face, ms=4.5, label=label)
    ax.set_xscale("log")
    ax.invert_xaxis()
    ax.set_xlabel("training loss, falling to the right [nats]")
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
