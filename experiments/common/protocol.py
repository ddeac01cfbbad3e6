"""The protocol: every claim, how it is measured and judged, written down before the confirming run.

It is `protocol.toml` beside the scripts, one `[[claim]]` for each row of the final table. The scripts give evidence
under a claim's name; whether the claim holds is decided here and in `evidence`, by the criterion of the protocol alone.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

FILE = Path(__file__).parents[1] / "protocol.toml"

GROUPS: Mapping[str, str] = {
    "plane": "The information plane",
    "gradients": "Drift, diffusion and noise",
    "architecture": "Depth and width",
    "diffusion": "Diffusion of the weights",
    "bottleneck": "The information bottleneck",
    "estimators": "Estimators",
    "critics": "What the critics claim",
    "images": "Images",
    "relaxation": "Monte-Carlo relaxation and bottleneck iterations",
}
"""The families of claims by name, in the order of the table; Holm's correction is within each."""

TAGS = ("test", "calibration", "control")
"""A test could have come out otherwise; a calibration was chosen to fit, by the learning rate; a control shows what the
measure of another row does where its claim is empty. Only tests count in Holm's correction."""

_NUMBER = r"-?\d+(?:\.\d+)?"


@dataclasses.dataclass(frozen=True)
class Criterion:
    """Between which limits the mean of the quantity must lie for the claim to hold; infinite where there is none."""

    low: float
    high: float
    text: str

    @classmethod
    def of(cls, text: str) -> Criterion:
        """That of the words "above A", "below B" or "between A and B".

        Raises:
          ValueError: other words.
        """
        pattern = rf"(above|below) ({_NUMBER})|between ({_NUMBER}) and ({_NUMBER})"
        found = re.fullmatch(pattern, text)
        if not found:
            raise ValueError(f"criterion = {text!r}; allowed: 'above A', 'below B', 'between A and B'")
        side, limit, low, high = found.groups()
        if side is None:
            return cls(float(low), float(high), text)
        return cls(float(limit), math.inf, text) if side == "above" else cls(-math.inf, float(limit), text)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim:
    """One row of the table.

    Attributes:
      id: the name under which a script gives its evidence.
      experiment: the script.
      group: the family, of `GROUPS`.
      tag: of `TAGS`.
      says: the claim, in one sentence.
      source: who makes it, and where.
      quantity: what is measured of one network.
      unit: of the quantity.
      criterion: where its mean over networks must lie.
      n: networks the evidence is planned to come from.
      against: what it is compared with, or which control shows that the criterion can fail.
      every: what the entries are ("layer", "estimator") where the claim is about every one of them.
      contested: who disputes the claim.
      log10: the quantity is log10 of a number in `unit`, which is what criterion and table speak of.
    """

    id: str
    experiment: str
    group: str
    tag: str
    says: str
    source: str
    quantity: str
    unit: str
    criterion: Criterion
    n: int
    against: str
    every: str = ""
    contested: str = ""
    log10: bool = False

    def __post_init__(self) -> None:
        for field, allowed in (("group", tuple(GROUPS)), ("tag", TAGS)):
            if (value := getattr(self, field)) not in allowed:
                raise ValueError(f"{field} of claim {self.id!r} = {value!r}; allowed: {', '.join(allowed)}")

    @property
    def limits(self) -> tuple[float, float]:
        """Those of the criterion for the numbers as the evidence holds them: logarithms where `log10`."""
        low, high = self.criterion.low, self.criterion.high
        if not self.log10:
            return low, high
        return math.log10(low) if low > 0 else -math.inf, math.log10(high) if high < math.inf else math.inf


@functools.cache
def claims() -> Mapping[str, Claim]:
    """Every claim of the protocol by its id, in the order of the groups."""
    rows = tomllib.loads(FILE.read_text(encoding="utf-8"))["claim"]
    listed = [Claim(**{**row, "criterion": Criterion.of(row["criterion"])}) for row in rows]
    listed.sort(key=lambda claim: tuple(GROUPS).index(claim.group))
    found = {claim.id: claim for claim in listed}
    if len(found) < len(listed):
        raise ValueError("protocol.toml names a claim twice")
    return found
