"""Training and measuring the `paper` preset: ibjax against textbook JAX, in one process, taking turns.

    python benchmarks/throughput.py [--quick] [--json FILE]

The paper's run takes minutes, the textbook's half an hour, so a shorter one is timed: the same 50 networks and batches,
120 epochs, 3 logged ones (250 in 10,000). All programs are compiled before they are timed, and the compile time stands
in another column. Every row starts from seeds: drawing weights, splits and labels is inside the time, and so is handing
the results to Python.

Rows:
  ibjax                   end to end: training, shuffling, gradient statistics, and the information, losses and
                          accuracies at the logged epochs
  ibjax, logged often     the same, logged every fifth epoch (`--quick`: every epoch)
  ibjax, training         without any log: the straight line through the two rows above at 0 logs. Its slope is the
                          time of one log; the few logs of a single run would drown in noise
  textbook                `vmap` over a flax module and an optax step with `jax.random.permutation`. It only trains: no
                          gradient statistics, no information. It leaves out the incomplete last batch of an epoch (13
                          updates, ibjax makes 14). The ratios to this row are therefore lower bounds
  textbook, information   the same programs with the information at the logged epochs, by the kernel of ibjax
  one at a time           the textbook step without `vmap`, in a Python loop over two of the seeds, time scaled

ibjax drives all cores by itself; the textbook has what the compiler makes of it. `ns/sample/net` is by training
pattern, epoch and network. `paper run, s` scales training to 50 networks x 10,000 epochs and adds 250 logs where the
row has any: quick runs log far more often than the paper, so that their plain ratios say less than this column's.

Checked in every row: the mean training loss, and where it is measured the information of every layer at the end, are
those of the textbook within four standard errors of the difference; `errors apart` is the largest found. `% of sgemm`
counts six flops a kernel weight and sample (multiply and add, forward, backward to the inputs and to the weights) and
compares them with the faster of NumPy's and XLA's 1024 x 1024 float32 product on all cores.
"""

from __future__ import annotations

import dataclasses
import itertools
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from baselines import Ensemble, Textbook
from harness import Timing, compile_ahead, parser, report, take_turns, time_once

import ibjax
from ibjax import Config, Trajectory

STANDARD_ERRORS = 4
PAPER = ibjax.PRESETS["paper"]
PAPER_SEEDS, PAPER_EPOCHS, PAPER_LOGS = len(PAPER.seed_list), PAPER.epochs, 250
ALONE = 2  # seeds of the row that takes them one at a time

Values = npt.NDArray[np.floating[Any]]


class Outcome(NamedTuple):
    """Where an ensemble stands at the end: train_loss (S,) nats, information (S, 2L) bits or (S, 0)."""

    train_loss: Values
    information: Values


class Contender(NamedTuple):
    """A row before it is timed.

    Attributes:
      seeds: how many it trains.
      logs: how often it measures.
      compile: seconds; None where another row has compiled its programs.
      run: one turn.
      outcome: reads the result of a turn.
    """

    seeds: int
    logs: int
    compile: float | None
    run: Callable[[], Any]
    outcome: Callable[[Any], Outcome]


def ibjax_contender(config: Config, logged: Sequence[int]) -> Contender:
    """`ibjax.run` without its compiling."""
    config = dataclasses.replace(config, logged_epochs=tuple(logged))
    run, seconds = time_once(lambda: compile_ahead(config))

    def outcome(traj: Trajectory) -> Outcome:
        return Outcome(traj.train_loss[:, -1], np.concatenate([traj.i_xt[:, -1], traj.i_ty[:, -1]], axis=1))

    return Contender(len(config.seed_list), len(logged), seconds, run, outcome)


def textbook_contenders(textbook: Textbook, seeds: int, epochs: int, logs: int) -> dict[str, Contender]:
    """The textbook with and without information, and one seed at a time."""
    together = jnp.arange(seeds, dtype=jnp.uint32)
    some = [jnp.uint32(seed) for seed in range(ALONE)]
    ensemble, compile_ensemble = time_once(lambda: Ensemble(textbook, together, epochs // logs))
    single, compile_single = time_once(lambda: Ensemble(textbook, some[0], epochs))

    def outcome(result: Any) -> Outcome:
        loss, information = result
        return Outcome(np.asarray(loss), np.empty((seeds, 0)) if information is None else np.hstack(information))

    def outcome_alone(results: Any) -> Outcome:
        return Outcome(np.array([loss for loss, _ in results]), np.empty((ALONE, 0)))

    return {
        "textbook": Contender(seeds, 0, compile_ensemble, lambda: ensemble.run(together, logs), outcome),
        "textbook, information": Contender(
            seeds, logs, None, lambda: ensemble.run(together, logs, measure=True), outcome
        ),
        "one at a time": Contender(
            ALONE, 0, compile_single, lambda: [single.run(seed, 1) for seed in some], outcome_alone
        ),
    }


def errors_apart(a: Outcome, b: Outcome) -> float:
    """How many standard errors of the difference lie between the means of two ensembles; the largest of all quantities.

    The losses always, the information where both have measured it. Infinite where a value is not finite.
    """
    pairs = [(a.train_loss[:, None], b.train_loss[:, None])]
    if a.information.size and b.information.size:
        pairs.append((a.information, b.information))
    return max(_errors_apart(x.astype(np.float64), y.astype(np.float64)) for x, y in pairs)


def _errors_apart(a: Values, b: Values) -> float:
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return float("inf")
    error = np.sqrt(a.var(axis=0, ddof=1) / len(a) + b.var(axis=0, ddof=1) / len(b))
    # A wide layer may tell all patterns apart in every network, and nothing varies: one pattern that moves in one of
    # 50 networks is 2 log2(4096)/4096/50 ~ 1e-4 bits, and no difference.
    return float(np.max(np.abs(a.mean(axis=0) - b.mean(axis=0)) / np.maximum(error, 1e-4)))


def checks(contender: Contender | None, timing: Timing | None, outcome: Outcome, reference: Outcome) -> dict[str, Any]:
    """The columns of a row that say how far it is to be trusted."""
    distance = errors_apart(outcome, reference)
    return {
        "compile, s": contender and contender.compile,
        "slowest/fastest": timing and max(timing.turns) / min(timing.turns),
        "errors apart": distance,
        "agrees": distance < STANDARD_ERRORS,
    }


def sgemm_flops() -> float:
    """Float32 flops a second of a large matrix product on all cores, by the better library of two."""
    size = 1024
    a = np.random.default_rng(0).normal(size=(size, size)).astype(np.float32)
    on_device = jnp.asarray(a)
    product = jax.jit(jnp.matmul)
    timings = take_turns({"numpy": lambda: a @ a, "xla": lambda: product(on_device, on_device)}, 15)
    if np.abs(timings["xla"].result - timings["numpy"].result).max() > 1:  # entries are about 30; a GPU may use tf32
        raise ArithmeticError("the two libraries' matrix products differ")
    return 2 * size**3 / min(timing.seconds for timing in timings.values())


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; status 1 where an ensemble did not reach what the textbook reaches, whatever its time."""
    options = parser(__doc__).parse_args(argv)
    # Quick runs log more often than in the paper: a run of 10 epochs has no fortieth part.
    seeds, epochs, logs, often, repeats = (20, 10, 1, 1, 2) if options.quick else (PAPER_SEEDS, 120, 3, 5, 5)
    config = dataclasses.replace(PAPER, seeds=seeds, epochs=epochs)
    textbook = Textbook(config, ibjax.spherical_dataset(config.dataset))
    apart = epochs // logs
    contenders = {
        "ibjax": ibjax_contender(config, range(apart, epochs + 1, apart)),
        "ibjax, logged often": ibjax_contender(config, range(often, epochs + 1, often)),
        **textbook_contenders(textbook, seeds, epochs, logs),
    }
    timings = take_turns({name: contender.run for name, contender in contenders.items()}, repeats)
    seconds = {name: timings[name].seconds * seeds / contender.seeds for name, contender in contenders.items()}
    few, many = contenders["ibjax"].logs, contenders["ibjax, logged often"].logs
    a_log = max(seconds["ibjax, logged often"] - seconds["ibjax"], 0.0) / (many - few)  # of these seeds
    seconds["ibjax, training"] = seconds["ibjax"] - few * a_log

    training = {"ibjax": seconds["ibjax, training"], "textbook": seconds["textbook"]}  # of all epochs, without a log
    outcomes = {name: contender.outcome(timings[name].result) for name, contender in contenders.items()}
    samples = seeds * epochs * textbook.n
    papers: dict[str, float] = {}
    rows = []
    for name, taken in seconds.items():
        contender = contenders.get(name)  # none for the straight line
        logged = 0 if contender is None else contender.logs
        base = training["ibjax" if name.startswith("ibjax") else "textbook"] if logged else taken
        paper = base * PAPER_EPOCHS / epochs + (PAPER_LOGS * a_log if logged else 0.0)
        papers[name] = paper * PAPER_SEEDS / seeds
        numbers = {
            "row": name,
            "seconds": taken,
            "ns/sample/net": taken / samples * 1e9,
            "ratio": seconds["textbook"] / taken,
            "logs": logged,
            "paper run, s": papers[name],
        }
        outcome = outcomes["ibjax" if contender is None else name]  # the same networks, less often looked at
        rows.append(numbers | checks(contender, timings.get(name), outcome, outcomes["textbook, information"]))
    weights = sum(a * b for a, b in itertools.pairwise((textbook.inputs.shape[1], *config.hidden_widths, 1)))
    sgemm = sgemm_flops()
    arithmetic = 6 * weights * samples / training["ibjax"]
    measuring, learning = PAPER_LOGS * a_log, training["ibjax"] * PAPER_EPOCHS / epochs
    summary = {
        "ratio to textbook, end to end": seconds["textbook"] / seconds["ibjax"],
        "ratio to textbook, paper run": papers["textbook"] / papers["ibjax"],
        "ratio to textbook with information": seconds["textbook, information"] / seconds["ibjax"],
        "sgemm, GFLOP/s": sgemm / 1e9,
        "training, GFLOP/s": arithmetic / 1e9,
        "training, % of sgemm": 100 * arithmetic / sgemm,
        f"one log of {PAPER_SEEDS} networks, ms": a_log * PAPER_SEEDS / seeds * 1e3,
        "information and records, % of the run": 100 * measuring / (measuring + learning),
        "seeds": seeds,
        "epochs": epochs,
        "repeats": repeats,
    }
    report(rows, summary, options.json)
    return 0 if all(row["agrees"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
