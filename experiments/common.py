"""What the experiments share: runs that are trained once, findings with a verdict, and the options of every script.

The scripts import this file by its plain name: Python puts a script's own folder on the path.

Shapes: S seeds. Intervals are 95% bootstrap intervals over seeds; NaN ends mean there is none (one seed).
"""

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
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

import ibjax
from ibjax.analysis.statistics import Estimate, percentiles, resampling_weights

REPRODUCED = "reproduced"
NOT_REPRODUCED = "not reproduced"

PAPER = "arXiv 1703.00810"

Runs = Mapping[str, ibjax.Trajectory]
Values = npt.NDArray[np.float64]

_RESAMPLES = 2000


class Interval(NamedTuple):
    """A number, the ends of its 95% interval (NaN: none), and how many seeds it comes from."""

    estimate: float
    low: float
    high: float
    n_seeds: int

    def __str__(self) -> str:
        if math.isnan(self.low):
            return f"{self.estimate:.3g} (no interval)"
        return f"{self.estimate:.3g} [{self.low:.3g}, {self.high:.3g}]"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """One claim, what was measured about it, and the verdict.

    Attributes:
      claim: what is said, in one sentence.
      source: who says it, and where.
      measured: what was measured, with its unit and conditions, and the further numbers worth telling.
      estimate: the number the verdict rests on.
      low, high: its 95% interval over seeds; NaN for none.
      n_seeds: networks the number comes from, diverged ones not counted (for a comparison, those of the smaller
        ensemble).
      verdict: `REPRODUCED`, `NOT_REPRODUCED` or `depends_on(...)`.
      note: who contests the claim, and what limits the measurement.
    """

    claim: str
    source: str
    measured: str
    estimate: float
    low: float
    high: float
    n_seeds: int
    verdict: str
    note: str = ""

    def __post_init__(self) -> None:
        if self.verdict not in (REPRODUCED, NOT_REPRODUCED) and not self.verdict.startswith("depends on "):
            raise ValueError(f"verdict is {self.verdict!r}; expected reproduced, not reproduced or depends on ...")

    @classmethod
    def of(cls, interval: Interval, *, claim: str, source: str, measured: str, verdict: str, note: str = "") -> Finding:
        """A finding whose number is `interval`."""
        return cls(claim=claim, source=source, measured=measured, verdict=verdict, note=note, **interval._asdict())


def depends_on(what: str) -> str:
    """The verdict that neither holds in general nor fails in general."""
    return f"depends on {what}"


def verdict_above(interval: Interval, threshold: float = 0.0) -> str:
    """Reproduced where the whole interval lies above the threshold, not where none of it does."""
    if math.isnan(interval.estimate) or math.isnan(interval.low):
        return depends_on("the seeds: too few for an interval")
    if interval.low > threshold:
        return REPRODUCED
    return NOT_REPRODUCED if interval.high <= threshold else depends_on("the seeds: the interval holds both answers")


def verdict_below(interval: Interval, threshold: float = 0.0) -> str:
    """Reproduced where the whole interval lies below the threshold, not where none of it does."""
    estimate, low, high, n_seeds = interval
    return verdict_above(Interval(-estimate, -high, -low, n_seeds), -threshold)


def listed(estimate: Estimate, names: Sequence[str]) -> str:
    """The means of an (L,) or () estimate that are known, with their intervals, in words."""
    entries = [at(flat(estimate), index) for index in range(len(names))]
    known = [f"{name} {entry}" for name, entry in zip(names, entries, strict=True) if not math.isnan(entry.estimate)]
    return ", ".join(known) or "none"


def flat(estimate: Estimate) -> Estimate:
    """The same with an axis at least."""
    parts: dict[str, Any] = {name: np.atleast_1d(getattr(estimate, name)) for name in ("mean", "low", "high", "count")}
    return dataclasses.replace(estimate, **parts)


def log_epochs(trajectory: ibjax.Trajectory, epochs: npt.ArrayLike) -> Values:
    """log10 of (S, ...) epochs; a network that never got there (NaN) counts with the last epoch, a lower bound.

    Epochs below 1 count as 1, diverged networks are NaN.
    """
    values = np.asarray(epochs, np.float64)
    values = np.log10(np.maximum(np.where(np.isnan(values), trajectory.epochs[-1], values), 1.0))
    values[trajectory.diverged] = np.nan
    return values


def power_of_ten(interval: Interval) -> Interval:
    """The same interval on the scale of epochs: a mean of logarithms becomes a geometric mean."""
    estimate, low, high = (float(10.0**value) for value in interval[:3])
    return Interval(estimate, low, high, interval.n_seeds)


def drop_after_peak(trajectory: ibjax.Trajectory, values: npt.NDArray[np.floating[Any]]) -> Values:
    """(S, L) fall of (S, E, L) values from the epoch at which the mean over seeds peaks to the last; diverged: NaN.

    The epoch is the ensemble's: each network's own peak would add its noise to the fall.
    """
    known = np.where(trajectory.diverged[:, None, None], np.nan, values.astype(np.float64))
    if trajectory.diverged.all():
        return np.asarray(known[:, -1])
    peak = np.nanmean(known, axis=0).argmax(axis=0)
    return np.asarray(np.take_along_axis(known, peak[None, None, :], axis=1)[:, 0] - known[:, -1])


def at(estimate: Estimate, *index: int) -> Interval:
    """One entry of an `Estimate` over seeds."""
    mean, low, high = (float(values[index]) for values in (estimate.mean, estimate.low, estimate.high))
    return Interval(mean, low, high, int(estimate.count[index]))


def mean(values: npt.ArrayLike) -> Interval:
    """Mean over seeds of (S,) values and its interval; NaN entries do not count."""
    return interval(lambda group: group.mean(axis=-1), _known(values))


def difference(first: npt.ArrayLike, second: npt.ArrayLike) -> Interval:
    """Mean of (S,) values less the mean of other (S',) values, resampled apart; NaN entries do not count."""
    return interval(lambda a, b: a.mean(axis=-1) - b.mean(axis=-1), _known(first), _known(second))


def slope(positions: Sequence[float], groups: Sequence[npt.ArrayLike]) -> Interval:
    """Least-squares slope of the groups' means over their positions, each group of seeds resampled apart.

    Groups without a known value are left out; NaN if fewer than two are left.
    """
    pairs = [(x, _known(group)) for x, group in zip(positions, groups, strict=True)]
    pairs = [(x, group) for x, group in pairs if group.size]
    if len(pairs) < 2:
        return Interval(math.nan, math.nan, math.nan, 0)
    x = np.array([x for x, _ in pairs])
    weights = (x - x.mean()) / np.sum((x - x.mean()) ** 2)

    def fitted(*drawn: Values) -> Values:
        return np.tensordot(weights, np.stack([group.mean(axis=-1) for group in drawn]), 1)

    return interval(fitted, *(group for _, group in pairs))


def _known(values: npt.ArrayLike) -> Values:
    array = np.asarray(values, np.float64)
    return array[~np.isnan(array)]


def interval(statistic: Callable[..., Any], *groups: Values) -> Interval:
    """`statistic` of the groups (the last axis is resampled), and its percentile interval."""
    fewest = min(group.size for group in groups)
    if fewest == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    estimate = float(statistic(*groups))
    if fewest == 1:
        return Interval(estimate, math.nan, math.nan, 1)
    drawn = []
    for number, group in enumerate(groups):
        counts = resampling_weights(group.size, _RESAMPLES, number).astype(int)
        drawn.append(np.stack([np.repeat(group, row) for row in counts]))
    low, high = percentiles(np.asarray(statistic(*drawn), np.float64), 0.95)
    return Interval(estimate, float(low), float(high), fewest)


def paper(quick: bool, **changes: Any) -> ibjax.Config:
    """The paper's run with `changes`, or a toy of it where quick. Experiments that ask for the same share its file.

    Weights are kept, so that a measure thought of later needs no training.
    """
    config = dataclasses.replace(ibjax.PRESETS["paper"], store_weights=True)
    if quick:
        config = dataclasses.replace(config, seeds=4, epochs=300, logged_epochs=25, hidden_widths=(5, 3))
    return dataclasses.replace(config, **changes)


def run_file(config: ibjax.Config, out: Path, *, dataset: ibjax.Dataset | None = None) -> Path:
    """Where the run of this configuration belongs: its name holds a hash, so that no two collide.

    The hash is of what differs from the defaults: a field that a later version adds makes no run a stranger.
    """
    defaults = _plain(ibjax.Config())
    changes = {key: value for key, value in _plain(config).items() if value != defaults[key]}
    digest = hashlib.sha256(json.dumps(changes, sort_keys=True).encode())
    if dataset is not None:
        for array in (dataset.inputs, dataset.p_y_given_x, dataset.p_x):
            if array is not None:
                digest.update(np.ascontiguousarray(array).tobytes())
    return out / f"run-{digest.hexdigest()[:12]}.npz"


def run_or_load(
    config: ibjax.Config, path: str | os.PathLike[str], *, dataset: ibjax.Dataset | None = None
) -> ibjax.Trajectory:
    """The run in the file, which is trained first where there is none and then written whole or not at all.

    Args:
      config: what to train.
      path: of the npz file, see `run_file`.
      dataset: instead of the task that `config.dataset` names.

    Raises:
      ValueError: the file holds another configuration; names the fields that differ.
    """
    path = Path(path)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        count = len(config.seed_list)
        print(f"training {count} networks for {config.epochs} epochs into {path}", file=sys.stderr, flush=True)
        trajectory = ibjax.run(config, dataset=dataset, progress=sys.stderr.isatty())
        trajectory.save(path)
        return trajectory
    trajectory = ibjax.load(path)
    asked = _plain(config)
    stored = _plain(ibjax.Config()) | trajectory.config.get("config", {})
    custom = ["dataset"] if dataset is not None else []
    differing = [
        f"{key} (stored {stored.get(key)!r}, asked {asked.get(key)!r})"
        for key in sorted({*stored, *asked})
        if stored.get(key) != asked.get(key)
    ]
    if trajectory.config.get("custom", []) != custom:
        differing.append(f"custom parts (stored {trajectory.config.get('custom', [])!r}, asked {custom!r})")
    if dataset is not None and not math.isclose(trajectory.i_xy, dataset.information, rel_tol=1e-6):
        differing.append(f"I(X;Y) (stored {trajectory.i_xy:.6g}, asked {dataset.information:.6g} bits)")
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
    temporary = out / f".{name}.{os.getpid()}"
    try:
        figure.savefig(temporary, dpi=200, format="png")
        os.replace(temporary, out / f"{name}.png")
        record = {"name": name, "quick": quick, "findings": [_json(finding) for finding in findings]}
        temporary.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n")
        os.replace(temporary, out / f"{name}.json")
    finally:
        temporary.unlink(missing_ok=True)
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
