"""What every experiment does: options, runs that are trained once, and writing the results."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

import ibjax
from common.evidence import Evidence, OverSettings, shown, verdict
from common.protocol import claims
from ibjax._files import atomic_write

Runs = Mapping[str, ibjax.Trajectory]

FIRST_SEED = 1000
"""Of the confirming runs; those that were looked at while the protocol was written began at 0."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What the command line asks of an experiment.

    Attributes:
      quick: toy size.
      first_seed: of every ensemble.
      count: networks of each kind, or None for as many as the experiment wants.
    """

    quick: bool = False
    first_seed: int = FIRST_SEED
    count: int | None = None

    def seeds(self, wanted: int) -> tuple[int, ...]:
        """That many seeds, or as many as the command line says; four of a toy."""
        number = self.count or (min(wanted, 4) if self.quick else wanted)
        return tuple(range(self.first_seed, self.first_seed + number))

    def paper(self, seeds: int = 50, **changes: Any) -> ibjax.Config:
        """The paper's run with `changes`, or a toy of it. Experiments that ask for the same share its file.

        Weights are stored, so that a measure thought of later needs no training.
        """
        config = dataclasses.replace(ibjax.PRESETS["paper"], store_weights=True)
        if self.quick:
            config = dataclasses.replace(config, epochs=300, logged_epochs=25, hidden_widths=(5, 3))
        return dataclasses.replace(config, **{"seeds": self.seeds(seeds), **changes})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """A run with parts that no configuration holds.

    Attributes:
      config: the configuration.
      name: of the parts, as the name of the file tells it from other runs of this configuration.
      parts: `dataset`, `network`, `optimizer` as of `ibjax.run`.
    """

    config: ibjax.Config
    name: str
    parts: Mapping[str, Any]


def run_file(wanted: ibjax.Config | Job, out: Path) -> Path:
    """Where the run of this configuration belongs: its name holds a hash, so that no two collide.

    The hash is of what differs from the defaults: files stay valid when a later version adds a field.
    """
    config, name = (wanted, "run") if isinstance(wanted, ibjax.Config) else (wanted.config, wanted.name)
    defaults = _plain(ibjax.Config())
    changes = {key: value for key, value in _plain(config).items() if value != defaults[key]}
    digest = hashlib.sha256(json.dumps(changes, sort_keys=True).encode()).hexdigest()
    return out / f"{name}-{digest[:12]}.npz"


def run_or_load(wanted: ibjax.Config | Job, path: str | os.PathLike[str]) -> ibjax.Trajectory:
    """The run in the file, which is trained first where there is none and then written whole or not at all.

    Args:
      wanted: what to train.
      path: of the npz file, see `run_file`.

    Raises:
      ValueError: the file holds another configuration; names the fields that differ.
    """
    path = Path(path)
    config, parts = (wanted, {}) if isinstance(wanted, ibjax.Config) else (wanted.config, dict(wanted.parts))
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        count = len(config.seed_list)
        print(f"training {count} networks for {config.epochs} epochs into {path}", file=sys.stderr, flush=True)
        trajectory = ibjax.run(config, progress=sys.stderr.isatty(), **parts)
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
    if (custom := sorted(trajectory.config.get("custom", []))) != sorted(parts):
        differing.append(f"custom parts (stored {custom!r}, asked {sorted(parts)!r})")
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
    options.add_argument(
        "--first-seed",
        metavar="N",
        type=int,
        default=FIRST_SEED,
        help=f"default: {FIRST_SEED}, the confirming run; the protocol was written after a look at the seeds from 0 on",
    )
    return options


def plan_of(options: argparse.Namespace) -> Plan:
    """The plan of parsed options."""
    return Plan(options.quick, options.first_seed, options.seeds)


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not at least 1")
    return number


def train(wanted: Mapping[str, ibjax.Config | Job], out: Path) -> dict[str, ibjax.Trajectory]:
    """Every run by its label, from its file where it has one."""
    return {label: run_or_load(each, run_file(each, out)) for label, each in wanted.items()}


def write(
    name: str, found: Sequence[Evidence | OverSettings], figures: Mapping[str, Figure], out: Path, plan: Plan
) -> None:
    """Write the evidence into `NAME.json` and every figure as PNG and PDF into the folder of the results; print it.

    Each file is written whole or not at all.
    """
    out.mkdir(parents=True, exist_ok=True)
    for label, figure in figures.items():
        for ending in ("png", "pdf"):
            with atomic_write(out / f"{label}.{ending}") as temporary:
                figure.savefig(temporary, dpi=100 if plan.quick else 300, format=ending)
    evidence = [each for each in found if isinstance(each, Evidence)]
    record = {
        "name": name,
        "quick": plan.quick,
        "first_seed": plan.first_seed,
        "figures": list(figures),
        "evidence": [each.as_json() for each in evidence],
        "over_settings": [dataclasses.asdict(each) for each in found if isinstance(each, OverSettings)],
    }
    with atomic_write(out / f"{name}.json") as temporary:
        temporary.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n")
    for each in evidence:
        claim = claims()[each.claim]
        print(f"{verdict(each)}: {claim.says}\n    {shown(each, claim)[0]} {claim.unit}. {each.detail}")


def execute(
    name: str,
    doc: str | None,
    configs: Callable[[Plan], Mapping[str, ibjax.Config | Job]],
    measure: Callable[[Runs], Sequence[Evidence | OverSettings]],
    figure: Callable[[Runs], Figure | Mapping[str, Figure]],
    argv: Sequence[str] | None,
) -> int:
    """What the `main` of a usual experiment does: train or read the runs, measure, draw, write.

    Verdicts printed here are not corrected for the other claims of the table; those of `claims.py` are.
    """
    options = parser(doc).parse_args(argv)
    plan = plan_of(options)
    runs = train(configs(plan), options.out)
    found, drawn = measure(runs), figure(runs)
    write(name, found, {name: drawn} if isinstance(drawn, Figure) else drawn, options.out, plan)
    return 0
