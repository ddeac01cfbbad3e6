"""How time and memory grow with the number of seeds, the width and the number of logged epochs.

    python benchmarks/scaling.py [--quick] [--json FILE] [--plot FILE.png]

Each row is a run of the `paper` preset, a few epochs long, with one thing changed, in a new process, so that the peak
memory (`getrusage`, the imports and the compiler included) is that of the run. `seconds` are those of one run whose
programs are compiled already, after one to warm up; the compile time stands apart. Straight lines through the rows of
seeds and of logged epochs are printed, with how far from its line the worst row lies: blocks of seeds are of one size,
so only the rows that keep all cores busy are expected on it. `--quick` has fewer rows, no lines, and a shorter network,
which compiles faster.

Checked in every row: no network diverged, and the information of every layer of the last network at the last logged
epoch is that which NumPy finds by computing the network from its stored weights in float64 (`numpy.unique(axis=0)`).
The two forward passes differ by float32 rounding, which may move a pattern at the very edge of a bin to the next: one
that moves changes an entropy by at most about log2(4096)/4096 = 0.003 bits, and a handful may.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from baselines import numpy_information
from harness import Row, compile_ahead, parser, report, time_once

import ibjax
from ibjax import Trajectory
from ibjax.ensemble.blocks import cores

EPOCHS = 5
BLOCK = 10  # seeds; the rows of other things have two blocks, one for each of two cores
MOVED_PATTERNS = 5
LABELS = {"seeds": "seeds", "width": "width of the first layer", "logged": "logged epochs (= epochs)"}


def cases(quick: bool) -> list[tuple[str, int, dict[str, Any]]]:
    """(what varies, its value, changes to the configuration)."""
    seeds = (2 * BLOCK, 100) if quick else (1, 10, 20, 50, 100, 200, 500, 1000, 2000)
    widths = (48,) if quick else (6, 12, 24, 48, 96, 192)
    logged = (20,) if quick else (5, 20, 50, 100)
    others = [4, 2] if quick else [10, 7, 5, 4, 3, 2]
    base = {"seeds": 2 * BLOCK, "epochs": EPOCHS, "logged_epochs": [EPOCHS], "hidden_widths": [12, *others]}
    return [
        *(("seeds", n, {**base, "seeds": n}) for n in seeds),
        *(("width", w, {**base, "hidden_widths": [w, *others]}) for w in widths),
        *(("logged", n, {**base, "epochs": n, "logged_epochs": list(range(1, n + 1))}) for n in logged),
    ]


def measure(changes: Row) -> dict[str, Any]:
    """Run one configuration here: seconds, peak memory of this process in MiB, and whether the result is right."""
    lists: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in changes.items()}
    config = dataclasses.replace(ibjax.PRESETS["paper"], store_weights=True, **lists)
    run, compile_seconds = time_once(lambda: compile_ahead(config))
    run()  # to warm up
    traj, seconds = time_once(run)
    unit = 2**20 if sys.platform == "darwin" else 2**10  # macOS counts in bytes, Linux in KiB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    worst = worst_difference(traj)
    allowed = MOVED_PATTERNS * np.log2(4096) / 4096
    return {
        "seconds": seconds,
        "compile, s": compile_seconds,
        "peak memory, MiB": peak,
        "worst difference, bits": worst,
        "agrees": bool(worst < allowed and not traj.diverged.any()),
    }


def worst_difference(traj: Trajectory) -> float:
    """Largest difference of the last network's information, at its last logged epoch, from NumPy's; bits."""
    dataset = ibjax.spherical_dataset(traj.config["config"]["dataset"])
    a = np.asarray(dataset.inputs, np.float64)
    worst = 0.0
    for layer, name in enumerate(traj.layer_names):
        z = a @ traj.extras[f"weights_{name}"][-1, -1].astype(np.float64) + traj.extras[f"biases_{name}"][-1, -1]
        a = np.tanh(z) if layer < len(traj.layer_names) - 1 else 1 / (1 + np.exp(-z))
        i_xt, i_ty = numpy_information(a[None], dataset.conditional[:, 1])
        differences = (traj.i_xt[-1, -1, layer] - i_xt[0], traj.i_ty[-1, -1, layer] - i_ty[0])
        worst = max(worst, *(abs(float(difference)) for difference in differences))
    return worst


def in_new_process(changes: Row) -> dict[str, Any]:
    """`measure` in a fresh interpreter.

    Raises:
      RuntimeError: it failed; holds what it wrote to its standard error.
    """
    command = [sys.executable, str(Path(__file__)), "--case", json.dumps(changes)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the run of {changes} failed:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def line(rows: Sequence[Row], what: str, least: int, key: str) -> tuple[float, float, float] | None:
    """Intercept and slope of `key` against the values of `what` from `least` on, and the worst relative distance.

    Squares of relative distances are least, so that the small runs count as much as the large. None for fewer than
    three rows, on whose line nothing can fail to lie.
    """
    some = [row for row in rows if row["varies"] == what and row["value"] >= least]
    if len(some) < 3:
        return None
    x, y = (np.array([row[name] for row in some], np.float64) for name in ("value", key))
    slope, intercept = np.polyfit(x, y, 1, w=1 / y)
    return float(intercept), float(slope), float(np.max(np.abs((intercept + slope * x) / y - 1)))


def summarise(rows: Sequence[Row]) -> dict[str, Any]:
    """The straight lines, and the memory of the most seeds."""
    busy = BLOCK * cores()
    summary: dict[str, Any] = {}
    for what, least in (("seeds", busy), ("logged", 0)):
        for key, factor, unit in (("seconds", 1e3, "ms"), ("peak memory, MiB", 1.0, "MiB")):
            fit = line(rows, what, least, key)
            if fit is not None:
                summary |= {
                    f"{key.split(',')[0]} against {what}: start, {unit}": fit[0] * factor,
                    f"{key.split(',')[0]} against {what}: each, {unit}": fit[1] * factor,
                    f"{key.split(',')[0]} against {what}: worst distance from the line, %": 100 * fit[2],
                }
    most = max((row for row in rows if row["varies"] == "seeds"), key=lambda row: row["value"])
    return summary | {"most seeds": most["value"], "their peak memory, MiB": most["peak memory, MiB"]}


def plot(rows: Sequence[Row], path: str) -> None:
    """Seconds and peak memory against what varies, with the straight lines."""
    from matplotlib.figure import Figure  # not in the processes whose memory is measured

    figure = Figure(figsize=(7.2, 4.0), layout="constrained")
    axes = figure.subplots(2, 3, sharey="row", sharex="col")
    for column, (what, label) in enumerate(LABELS.items()):
        some = [row for row in rows if row["varies"] == what]
        for axis, key in zip(axes[:, column], ("seconds", "peak memory, MiB"), strict=True):
            axis.plot([row["value"] for row in some], [row[key] for row in some], "o", color="#0072b2", ms=4)
            least = BLOCK * cores() if what == "seeds" else 0
            fit = None if what == "width" else line(rows, what, least, key)
            if fit is not None:
                x = np.geomspace(max(least, min(row["value"] for row in some)), max(row["value"] for row in some))
                axis.plot(x, fit[0] + fit[1] * x, color="#999999", lw=1, zorder=0)
            axis.set_xscale("log")
            if key == "seconds":
                axis.set_yscale("log")
        axes[1, column].set_xlabel(label)
    axes[0, 0].set_ylabel("time [s]")
    axes[1, 0].set_ylabel("peak memory [MiB]")
    axes[1, 0].set_ylim(0, 1.1 * max(row["peak memory, MiB"] for row in rows))
    figure.savefig(path, dpi=200)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; status 1 where a result is wrong, whatever its time."""
    options = parser(__doc__)
    options.add_argument("--plot", metavar="FILE.png", help="draw the rows")
    options.add_argument("--case", help=argparse.SUPPRESS)
    chosen = options.parse_args(argv)
    if chosen.case is not None:
        print(json.dumps(measure(json.loads(chosen.case))))
        return 0
    rows = [{"varies": what, "value": value, **in_new_process(changes)} for what, value, changes in cases(chosen.quick)]
    report(rows, summarise(rows), chosen.json)
    if chosen.plot:
        plot(rows, chosen.plot)
    return 0 if all(row["agrees"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
