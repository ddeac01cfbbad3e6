"""A claim, what was measured about it, and the verdict that follows from a 95% interval over seeds.

Shapes: K entries of an estimate, such as the layers.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from common.intervals import NOTHING, Interval, describe, entries
from ibjax.analysis import Estimate

REPRODUCED = "reproduced"
NOT_REPRODUCED = "not reproduced"

PAPER = "arXiv 1703.00810"


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
            raise ValueError(
                f"verdict = {self.verdict!r}; allowed: {REPRODUCED!r}, {NOT_REPRODUCED!r}, 'depends on ...'"
            )

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


def judge(
    estimate: Estimate,
    threshold: float,
    names: Sequence[str],
    *,
    claim: str,
    source: str,
    measured: str,
    below: bool = False,
    on: str = "the layer",
    note: str = "",
) -> Finding:
    """The finding on "every entry lies above `threshold`" (or below).

    An entry is settled where its interval lies on one side of the threshold. Reproduced: all on the right side. Not
    reproduced: all on the wrong one. Otherwise it depends, on the seeds where none is settled, else on the entry; they
    are named. The finding's number is the entry that fares worst. NaN entries (nothing to measure) do not count.

    Args:
      estimate: (K,) or () with intervals.
      threshold: between right and wrong.
      names: of the K entries.
      claim, source, measured, note: see `Finding`.
      below: whether below is right.
      on: what the entries are.
    """
    known = entries(estimate, names)
    if not known:
        return Finding.of(
            NOTHING,
            claim=claim,
            source=source,
            measured=f"{measured}: nothing to measure",
            verdict=depends_on("the run: nothing to measure"),
            note=note,
        )
    sides: dict[str, list[str]] = {"holds in": [], "not in": [], "open in": []}
    for name, (_, low, high, _) in known:
        above, under = low > threshold, high < threshold
        right, wrong = (under, above) if below else (above, under)
        sides["holds in" if right else "not in" if wrong else "open in"].append(name)
    worst, interval = (max if below else min)(known, key=lambda pair: pair[1].estimate)
    if len(known) > 1:
        measured = f"{measured}: {describe(estimate, names)}. The interval is that of {worst}"
    if len(sides["holds in"]) == len(known):
        verdict = REPRODUCED
    elif len(sides["not in"]) == len(known):
        verdict = NOT_REPRODUCED
    elif len(sides["open in"]) == len(known):
        verdict = depends_on("the seeds: no interval, or one that holds both answers")
    else:
        verdict = depends_on(f"{on}: " + "; ".join(f"{side} {', '.join(who)}" for side, who in sides.items() if who))
    return Finding.of(interval, claim=claim, source=source, measured=measured, verdict=verdict, note=note)
