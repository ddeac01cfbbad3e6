"""What every experiment does: options, runs that are trained once, and writing the results."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

import ibjax
from common.findings import Finding
from ibjax._files import atomic_write

Runs = Mapping[str, ibjax.Trajectory]


def paper(quick: bool, **changes: Any) -> ibjax.Config:
    """The paper's run with `changes`, or a toy of it where quick. Experiments that ask for the same share its file.

    Weights are stored, so that a measure thought of later needs no training.
    """
    config = dataclasses.replace(ibjax.PRESETS["paper"], store_weights=True)
    if quick:
        config = dataclasses.replace(config, seeds=4, epochs=300, logged_epochs=25, hidden_widths=(5, 3))
    return dataclasses.replace(config, **changes)


def run_file(config: ibjax.Config, out: Path) -> Path:
    """Where the run of this configuration belongs: its name holds a hash, so that no two collide.

    The hash is of what differs from the defaults: files stay valid when a later version adds a field.
    """
    defaults = _plain(ibjax.Config())
    changes = {key: value for key, value in _plain(config).items() if value != defaults[key]}
    digest = hashlib.sha256(json.dumps(changes, sort_keys=True).encode()).hexdigest()
    return out / f"run-{digest[:12]}.npz"


def run_or_load(config: ibjax.Config, path: str | os.PathLike[str]) -> ibjax.Trajectory:
    """The run in the file, which is trained first where there is none and then written whole or not at all.

    Args:
      config: what to train.
      path: of the npz file, see `run_file`.

    Raises:
      ValueError: the file holds another configuration; names the fields that differ.
    """
    path = Path(path)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        count = len(config.seed_list)
        print(f"training {count} networks for {config.epochs} epochs into {path}", file=sys.stderr, flush=True)
        trajectory = ibjax.run(config, progress=sys.stderr.isatty())
        trajectory.save(path)
        return trajectory
    trajectory = ibjax.load(path)
    asked = _plain(config)
    stored = _plain(ibjax.Config()) | trajectory.config.get("config", {})
    differing = [
        f"{key} (stored {stored.get(key)!r}, asked {asked.get(key)!r})"
        for key in sorted({*stored, *asked})
        if stored.get(key) != asked.get(key)
    ]
    if custom := trajectory.config.get("custom", []):
        differing.append(f"custom parts (stored {custom!r}, asked [])")
    if differing:
        raise ValueError(f"{os.fspath(path)!r} holds another run; it differs in {', '.join(differing)}")
    return trajectory


def _plain(config: ibjax.Config) -> dict[str, Any]:
    """The configuration as JSON would give it back."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain


def parser(doc: str | None) -> argparse.ArgumentParser:
    """The options every experiment has."""
    options = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="seconds: toy networks, few epochs; proves nothing")
    options.add_argument("--out", metavar="DIR", type=Path, default=Path("results"), help="default: results")
    options.add_argument("--seeds", metavar="N", type=_count, help="train N networks of each kind")
    return options


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not at least 1")
    return number


def train(configs: Mapping[str, ibjax.Config], out: Path, seeds: int | None = None) -> dict[str, ibjax.Trajectory]:
    """Every run by its label, from its file where it has one."""
    if seeds is not None:
        configs = {label: dataclasses.replace(config, seeds=seeds) for label, config in configs.items()}
    return {label: run_or_load(config, run_file(config, out)) for label, config in configs.items()}


def write(name: str, findings: Sequence[Finding], figure: Figure, out: Path, quick: bool) -> None:
    """Write `NAME.png` and `NAME.json` into the folder of the results, each whole or not at all; print the findings."""
    out.mkdir(parents=True, exist_ok=True)
    with atomic_write(out / f"{name}.png") as temporary:
        figure.savefig(temporary, dpi=200, format="png")
    record = {"name": name, "quick": quick, "findings": [_json(finding) for finding in findings]}
    with atomic_write(out / f"{name}.json") as temporary:
        temporary.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n")
    for finding in findings:
        print(f"{finding.verdict}: {finding.claim}\n    {finding.measured}")


def execute(
    name: str,
    doc: str | None,
    configs: Callable[[bool], Mapping[str, ibjax.Config]],
    measure: Callable[[Runs], list[Finding]],
    figure: Callable[[Runs], Figure],
    argv: Sequence[str] | None,
) -> int:
    """What the `main` of a usual experiment does: train or read the runs, measure, draw, write."""
    options = parser(doc).parse_args(argv)
    runs = train(configs(options.quick), options.out, options.seeds)
    write(name, measure(runs), figure(runs), options.out, options.quick)
    return 0


def _json(finding: Finding) -> dict[str, Any]:
    """JSON knows no NaN: null stands for it."""
    fields = dataclasses.asdict(finding)
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in fields.items()}
