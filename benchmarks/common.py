"""Timing, the machine's description and JSON, shared by the benchmarks."""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np

import ibjax


def medians(work: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Seconds of each callable: the median of `repeats` turns, after one turn to warm up.

    The callables take turns, so that a machine that slows down or speeds up meets all of them alike.
    """
    for run in work.values():
        jax.block_until_ready(run())
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(repeats):
        for name, run in work.items():
            began = time.perf_counter()
            jax.block_until_ready(run())
            seconds[name].append(time.perf_counter() - began)
    return {name: float(np.median(times)) for name, times in seconds.items()}


def cores() -> int:
    """CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
        "ibjax": ibjax.__version__,
        "jax": jax.__version__,
        "jaxlib": metadata.version("jaxlib"),
        "numpy": np.__version__,
    }


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options every benchmark has."""
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="under a minute: smaller, noisier")
    options.add_argument("--json", metavar="FILE", help="write the results there")
    return options


def report(rows: list[dict[str, Any]], summary: Mapping[str, Any], path: str | None) -> None:
    """Print the rows as a table and the summary below it, and write both as JSON where asked."""
    about = machine()
    print("  ".join(f"{key} {value}" for key, value in about.items()))
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [columns, *([_text(row.get(column, "")) for column in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    for line in cells:
        print("  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)))
    for key, value in summary.items():
        print(f"{key}: {_text(value)}")
    if path is not None:
        Path(path).write_text(json.dumps({"machine": about, "rows": rows, "summary": dict(summary)}, indent=1) + "\n")


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
