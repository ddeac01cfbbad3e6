"""Timing, the machine's description, and results as a table and as JSON, shared by the benchmarks.

The scripts import this file by its plain name: Python puts a script's folder on the path.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from ibjax import Config, Trajectory
from ibjax.ensemble.assemble import assemble
from ibjax.ensemble.blocks import cores
from ibjax.ensemble.compiled import compile_run
from ibjax.ensemble.results import collect
from ibjax.ensemble.run import train

Row = Mapping[str, Any]

_WIDTH_OF_A_FILE = 180  # columns, where the output is no terminal and nothing need fit a window


class Timing(NamedTuple):
    """Seconds of each turn, and what the last turn returned."""

    turns: list[float]
    result: Any

    @property
    def seconds(self) -> float:
        """The median turn."""
        return float(np.median(self.turns))


def take_turns(work: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, Timing]:
    """Times each callable `repeats` times, after one turn to warm up.

    The callables take turns, so that a machine that slows down or speeds up meets all of them alike; each turn ends
    when its results are there (`block_until_ready`).
    """
    results = {name: jax.block_until_ready(run()) for name, run in work.items()}
    turns: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(repeats):
        for name, run in work.items():
            began = time.perf_counter()
            results[name] = jax.block_until_ready(run())
            turns[name].append(time.perf_counter() - began)
    return {name: Timing(turns[name], results[name]) for name in work}


def time_once(make: Callable[[], Any]) -> tuple[Any, float]:
    """What `make` returns, and the seconds it took: for compiling, which happens once."""
    began = time.perf_counter()
    made = make()
    return made, time.perf_counter() - began


def compile_ahead(config: Config) -> Callable[[], Trajectory]:
    """Compile the programs of a run now; the result is `ibjax.run` without that."""
    compiled = compile_run(assemble(config))
    return lambda: collect(config, compiled.program, *train(config, compiled))


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return {
        "cpu": model,
        "cores": cores(),
        "device": jax.devices()[0].device_kind,
        "devices": len(jax.devices()),
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in ("ibjax", "jax", "jaxlib", "numpy", "optax", "flax")},
    }


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options every benchmark has."""
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="under a minute: smaller, noisier")
    options.add_argument("--json", metavar="FILE", help="write the results there")
    return options


def report(rows: Sequence[Row], summary: Row, path: str | None) -> None:
    """Print the rows as a table with the machine above and the summary below, and write all as JSON where asked.

    None stands for what does not apply to a row; JSON knows no NaN, and a NaN is refused.
    """
    about = machine()
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH_OF_A_FILE)
    console.print(", ".join(f"{key} {value}" for key, value in about.items()), highlight=False)
    table = Table()
    columns = list(dict.fromkeys(key for row in rows for key in row))
    for column in columns:
        table.add_column(column, justify="left" if isinstance(rows[0].get(column), str) else "right")
    for row in rows:
        table.add_row(*(_text(row.get(column)) for column in columns))
    console.print(table)
    for key, value in summary.items():
        console.print(f"{key}: {_text(value)}", highlight=False)
    if path is not None:
        results = {"machine": about, "rows": list(rows), "summary": dict(summary)}
        Path(path).write_text(json.dumps(results, indent=1, allow_nan=False) + "\n")


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
