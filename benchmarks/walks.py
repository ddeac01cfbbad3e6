"""What a Metropolis move costs beside the forward pass that it cannot do without: 50 networks of the `paper` preset.

    python benchmarks/walks.py [--quick] [--json FILE]

A sweep proposes 100 moves to every network and computes the training loss of each, on all 3,481 training patterns. It
is compared with as many forward passes, mean loss included, of the same networks at weights that change from pass to
pass, in programs of ten networks as in a run; with as many epochs of descent, of all patterns at once and of batches of
256, and of bottleneck iterations beside it, which go there and back; and with moves whose energy holds the information
of a layer, for which cells are counted at every move. A counted pass is that of `experiments/relaxation.py`: a backward
pass counts as two forward ones.

Checked: the loss at the weights after the sweep is that of the model evaluated there, and a part of the moves was
accepted.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from harness import parser, report, take_turns
from jax import Array

import ibjax
from ibjax.ensemble.assemble import assemble
from ibjax.ensemble.program import Program
from ibjax.schedule.phases import of_words
from ibjax.training.schedule import passes

NETWORKS, TOGETHER = 50, 10
RULES = {
    "forward passes": "metropolis:proposal=all:scale=0.003",
    "metropolis, all weights": "metropolis:proposal=all:scale=0.003",
    "metropolis, a unit": "metropolis:proposal=unit:scale=0.03",
    "metropolis, one weight": "metropolis:proposal=weight:scale=0.3",
    "constrained, a unit": "constrained:proposal=unit:scale=0.03",
    "information, a unit": "information:proposal=unit:scale=0.03:layer=hidden_5",
    "descent": "sgd:batch_size=all",
    "descent, batches of 256": "sgd",
    "bottleneck, batches of 256": "bottleneck:layer=hidden_5:batch_size=256:learning_rate=0.01:loss_weight=10.0",
}


def program_of(words: str, moves: int) -> Program:
    """A run of one phase in which an epoch is a sweep, or goes once there and back."""
    walk = f":moves={moves}:warmup=0" if of_words(words).settings.walks else ""
    return assemble(dataclasses.replace(ibjax.PRESETS["paper"], seeds=TOGETHER, phases=(words + walk,)))


def counted(program: Program, moves: int) -> float:
    """Forward passes of the training patterns in what is timed, a backward one counted as two."""
    phase = program.config.schedule[0]
    forward, backward = passes(phase, program.model)
    return (forward + 2 * backward) * (1 if phase.settings.walks else moves)


def sweep(program: Program, steps: int) -> Callable[[Any, Any], Any]:
    """Some epochs of ten networks, compiled."""
    inputs = jnp.asarray(program.inputs)

    @jax.jit
    def run(sample: Any, state: Any) -> Any:
        return program.train(sample, state, inputs, jnp.int32(0), jnp.int32(steps), jnp.bool_(True))[0]

    return run


def forward_passes(program: Program, passes: int) -> Callable[[Any, Any], Array]:
    """The mean training loss of ten networks so many times, compiled; weights differ from pass to pass."""
    trainer, inputs = program.trainer, jnp.asarray(program.inputs)

    @jax.jit
    def run(sample: Any, state: Any) -> Array:
        def of(patterns: Array, labels: Array, params: Array) -> Array:
            x, y = inputs[patterns].T, labels[patterns]

            def once(number: Array, total: Array) -> Array:
                logits = trainer.model.forward(trainer.model.unravel(params * (1 + 1e-6 * number)), x)[0]
                return total + jnp.mean(trainer.loss(logits, y))

            return jax.lax.fori_loop(0, passes, once, jnp.zeros((), params.dtype))

        return jax.vmap(of)(sample.patterns, sample.labels, state.params)

    return run


def blocks(run: Callable[[Any, Any], Any], sample: Any, state: Any) -> list[Any]:
    """All networks, block by block."""
    return [run(sample, state) for _ in range(NETWORKS // TOGETHER)]


def checked(program: Program, sample: Any, state: Any, moves: int) -> bool:
    """Whether some moves were accepted and not all, and the loss is finite where they led."""
    loss = jax.vmap(program.trainer.training_loss, (0, 0, None, None))(sample, state, jnp.asarray(program.inputs), None)
    share = np.asarray(state.rule.accepted).mean() / moves if hasattr(state.rule, "accepted") else 0.5
    return bool(np.isfinite(np.asarray(loss)).all() and 0 < share < 1)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; status 1 where a result is wrong, whatever its time."""
    options = parser(__doc__).parse_args(argv)
    moves, repeats = (10, 2) if options.quick else (100, 7)
    work: dict[str, Callable[[], Any]] = {}
    of: dict[str, tuple[Program, Any]] = {}
    for name, words in RULES.items():
        program = program_of(words, moves)
        seeds = jnp.arange(TOGETHER, dtype=jnp.uint32)
        sample, state = jax.jit(program.start)(seeds, jnp.asarray(program.inputs), jnp.asarray(program.conditional))
        plain = forward_passes(program, moves) if name == "forward passes" else None
        run = plain or sweep(program, 1 if of_words(words).settings.walks else moves)
        work[name] = functools.partial(blocks, run, sample, state)
        of[name] = program, sample
    timings = take_turns(work, repeats)
    base = timings["forward passes"].seconds
    rows = []
    for name, timing in timings.items():
        program, sample = of[name]
        ends = timing.result[0]
        agrees = bool(np.isfinite(ends).all()) if name == "forward passes" else checked(program, sample, ends, moves)
        rows.append(
            {
                "rule": name,
                "seconds": timing.seconds,
                "ms/move, 50 networks": timing.seconds / moves * 1e3,
                "ratio": timing.seconds / base,
                "ms/counted pass": timing.seconds
                / (moves if name == "forward passes" else counted(program, moves))
                * 1e3,
                "slowest/fastest": max(timing.turns) / min(timing.turns),
                "agrees": agrees,
            }
        )
    ratios = {row["rule"]: row["ratio"] for row in rows}
    summary = {"a sweep over as many forward passes": ratios["metropolis, all weights"], "moves": moves}
    report(rows, summary, options.json)
    return 0 if all(row["agrees"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
