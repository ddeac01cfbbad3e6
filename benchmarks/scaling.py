"""How time and memory grow with the number of seeds, the width and the number of logged epochs.

    python benchmarks/scaling.py [--quick] [--json FILE] [--plot FILE.png]

Each row is a run of the `paper` preset with one thing changed, in a process of its own, so that its peak memory is its
own. The seconds are those of `Prepared.run`, without compiling. Checked in every row: no network diverged, and the
information keeps its bounds.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import parser, report

import ibjax

EPOCHS = 5


def cases(quick: bool) -> list[tuple[str, int, dict[str, Any]]]:
    """(what varies, its value, changes to the configuration)."""
    seeds = (1, 20, 100) if quick else (1, 10, 50, 200, 500, 1000, 2000)
    widths = (12, 48) if quick else (12, 24, 48, 96, 192)
    logged = (2, 6) if quick else (2, 11, 51, 101)
    small = {"seeds": 10, "epochs": EPOCHS, "logged_epochs": 2}
    return [
        *(("seeds", n, {**small, "seeds": n}) for n in seeds),
        *(("width", w, {**small, "hidden_widths": (w, 10, 7, 5, 4, 3, 2)}) for w in widths),
        *(("logged", n, {**small, "epochs": n - 1, "logged_epochs": tuple(range(n))}) for n in logged),
    ]


def measure(changes: dict[str, Any]) -> dict[str, Any]:
    """Run one configuration here; seconds, peak memory of this process in MiB, and whether the result is sound."""
    from ibjax.analysis import check_bounds
    from ibjax.ensemble import Prepared

    changes = {key: tuple(value) if isinstance(value, list) else value for key, value in changes.items()}
    config = dataclasses.replace(ibjax.PRESETS["paper"], **changes)
    began = time.perf_counter()
    prepared = Prepared(config)
    compiled = time.perf_counter()
    traj = prepared.run()
    done = time.perf_counter()
    # Linux counts in KiB, macOS in bytes.
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return {
        "seconds": done - compiled,
        "compile, s": compiled - began,
        "peak memory, MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit,
        "agrees": not traj.diverged.any() and check_bounds(traj).ok,
    }


def plot(rows: list[dict[str, Any]], path: str) -> None:
    """Seconds and peak memory against what varies."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.8, 3.8), layout="constrained")
    axes = figure.subplots(2, 3, sharey="row")
    labels = {"seeds": "seeds", "width": "width of the first layer", "logged": "logged epochs (and epochs trained)"}
    for column, (what, label) in enumerate(labels.items()):
        some = [row for row in rows if row["varies"] == what]
        for axis, key in zip(axes[:, column], ("seconds", "peak memory, MiB"), strict=True):
            axis.plot([row["value"] for row in some], [row[key] for row in some], "o-", color="#0072b2", ms=4)
            axis.set_xscale("log")
            axis.set_yscale("log")
        axes[1, column].set_xlabel(label)
    axes[0, 0].set_ylabel("time [s]")
    axes[1, 0].set_ylabel("peak memory [MiB]")
    figure.savefig(path, dpi=200)


def main(argv: Sequence[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--plot", metavar="FILE.png", help="draw the rows")
    options.add_argument("--case", help=argparse.SUPPRESS)
    chosen = options.parse_args(argv)
    if chosen.case is not None:
        print(json.dumps(measure(json.loads(chosen.case))))
        return 0
    rows = []
    for what, value, changes in cases(chosen.quick):
        command = [sys.executable, str(Path(__file__)), "--case", json.dumps(changes)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rows.append({"varies": what, "value": value, **json.loads(done.stdout)})
    first, last = (row for row in rows if row["varies"] == "seeds" and row["value"] in _ends(rows))
    growth = (last["seconds"] / first["seconds"]) / (last["value"] / first["value"])
    memory = {"peak memory of the most seeds, MiB": last["peak memory, MiB"]}
    report(rows, {"time per seed, most seeds against a full block": growth, **memory}, chosen.json)
    if chosen.plot:
        plot(rows, chosen.plot)
    return 0 if all(row["agrees"] for row in rows) else 1


def _ends(rows: list[dict[str, Any]]) -> tuple[int, int]:
    """The least number of seeds that fills a block on each core, and the most."""
    values = [row["value"] for row in rows if row["varies"] == "seeds"]
    return min(v for v in values if v >= 20), max(values)


if __name__ == "__main__":
    sys.exit(main())
