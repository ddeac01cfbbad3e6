"""Training and measuring the `paper` preset: ibjax against textbook JAX, in one process, taking turns.

    python benchmarks/throughput.py [--quick] [--json FILE]

Rows, seconds without compiling:
  ibjax            training, shuffling and gradient statistics of all seeds, and the information of every layer at
                   logged epochs in the proportion of the paper's run (250 in 10,000), by the program of `ibjax.run`
  ibjax, training  the same with a single logged epoch
  textbook         `vmap` over a flax module and an optax step with `jax.random.permutation`; trains only: no gradient
                   statistics, no information. Its ratio is therefore a lower bound.
  one at a time    the same step without `vmap`, seed after seed (a few seeds, scaled)

The last column says whether the mean training loss agrees with the textbook's within four standard errors. `% of sgemm`
counts six flops a weight and sample and compares them with a 1024 x 1024 float32 product on all cores.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from baselines import Textbook
from common import medians, parser, report

import ibjax
from ibjax import Config
from ibjax.ensemble import Prepared


def ibjax_program(config: Config) -> tuple[Callable[[], Any], float]:
    """A run whose programs are compiled already, and the seconds that took."""
    began = time.perf_counter()
    prepared = Prepared(config)
    return prepared.run, time.perf_counter() - began


def sgemm_flops() -> float:
    """Float32 flops a second of a large matrix product on all cores."""
    size = 1024
    a = jnp.asarray(np.random.default_rng(0).normal(size=(size, size)), jnp.float32)
    product = jax.jit(lambda a: a @ a)
    return 2 * size**3 / medians({"sgemm": lambda: product(a)}, 9)["sgemm"]


def main(argv: Sequence[str] | None = None) -> int:
    options = parser(__doc__).parse_args(argv)
    seeds, epochs, repeats = (20, 20, 3) if options.quick else (50, 200, 5)
    logged = max(2, epochs // 40)
    config = dataclasses.replace(
        ibjax.PRESETS["paper"],
        seeds=seeds,
        epochs=epochs,
        logged_epochs=tuple(np.linspace(0, epochs, logged + 1).astype(int)[1:]),
    )
    whole, compile_whole = ibjax_program(config)
    training, _ = ibjax_program(dataclasses.replace(config, logged_epochs=(epochs,)))
    textbook = Textbook(config, ibjax.spherical_dataset(config.dataset))
    names = jnp.arange(seeds, dtype=jnp.uint32)
    some = 2
    began = time.perf_counter()
    together = textbook.program(epochs, vectorised=True).lower(names).compile()
    compile_textbook = time.perf_counter() - began
    alone = textbook.program(epochs, vectorised=False).lower(names[0]).compile()
    losses: dict[str, np.ndarray[Any, Any]] = {}

    def keep(name: str, run: Callable[[], Any]) -> Callable[[], None]:
        def kept() -> None:
            result = run()
            losses[name] = (
                np.asarray(getattr(result, "train_loss", result)).reshape(len(result.seeds), -1)[:, -1]
                if (hasattr(result, "seeds"))
                else np.asarray(result)
            )

        return kept

    seconds = medians(
        {
            "ibjax": keep("ibjax", whole),
            "ibjax, training": keep("ibjax, training", training),
            "textbook": keep("textbook", lambda: together(names)),
            "one at a time": keep("one at a time", lambda: np.array([alone(names[i]) for i in range(some)])),
        },
        repeats,
    )
    seconds["one at a time"] *= seeds / some
    samples = seeds * epochs * textbook.n
    compiled = {"ibjax": compile_whole, "textbook": compile_textbook}
    rows = [
        {
            "row": name,
            "seconds": taken,
            "ns/sample/net": taken / samples * 1e9,
            "ratio": seconds["textbook"] / taken,
            "paper run, s": taken * 50 / seeds * 10_000 / epochs,
            "compile, s": compiled.get(name, float("nan")),
            "agrees": agree(losses[name], losses["textbook"]),
        }
        for name, taken in seconds.items()
    ]
    weights = sum(a * b for a, b in zip((12, *config.hidden_widths), (*config.hidden_widths, 1), strict=True))
    sgemm = sgemm_flops()
    summary = {
        "ratio to textbook, end to end": seconds["textbook"] / seconds["ibjax"],
        "sgemm, GFLOP/s": sgemm / 1e9,
        "training, % of sgemm": 100 * 6 * weights * samples / seconds["ibjax, training"] / sgemm,
        "information and records, % of the run": 100 * (1 - seconds["ibjax, training"] / seconds["ibjax"]),
        "seeds": seeds,
        "epochs": epochs,
    }
    report(rows, summary, options.json)
    return 0 if all(row["agrees"] for row in rows) else 1


def agree(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> bool:
    """Whether two ensembles' mean losses differ by less than four standard errors of the difference."""
    error = np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))
    return bool(np.isfinite(a).all() and abs(a.mean() - b.mean()) < 4 * error)


if __name__ == "__main__":
    sys.exit(main())
