"""From numbers of networks to verdicts: intervals, tests against the protocol's criterion, correction for many claims.

A claim is about the mean over networks of one number, or of K numbers, such as one for each layer. Each entry is
tested against the criterion both ways, one-sided: that it holds, and that it fails. Numbers are tested by Student's t,
shares of networks by the exact binomial distribution (Clopper & Pearson 1934), statistics of another kind by the
standard error of their bootstrap.

A claim about every entry holds only if each entry passes at the full level (the intersection-union test, Berger 1982);
it is refuted where one fails at the level divided by K. Their intervals are simultaneous: of level 1 - 0.05/K each. The
two-sided p of the claims of one family are corrected by Holm's procedure (1979).

Shapes: S networks, K entries.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from common.protocol import Claim, claims

Values = npt.NDArray[np.float64]

REPRODUCED = "reproduced"
NOT_REPRODUCED = "not reproduced"
UNDECIDED = "undecided"
UNMEASURABLE = "not measurable"
LEVEL = 0.05


class Interval(NamedTuple):
    """A number and the ends of its interval; NaN: none."""

    estimate: float
    low: float
    high: float

    def __str__(self) -> str:
        if math.isnan(self.estimate):
            return "none"
        if math.isnan(self.low):
            return f"{self.estimate:.3g} (no interval)"
        return f"{self.estimate:.3g} [{self.low:.3g}, {self.high:.3g}]"


@dataclasses.dataclass(frozen=True)
class Entry:
    """One number over networks.

    Attributes:
      name: of the layer or whatever the entries are; "" where there is one.
      estimate: mean over networks, a share of them, or another statistic.
      error: its standard error; 0 where all networks agree, NaN for fewer than two.
      n: networks counted.
      kind: "mean", "share", "bootstrap", or "least": a mean of numbers that the true ones are not below, which can show
        that a limit is passed and never that it is not.
      low, high: the interval of a bootstrap, level 95%; NaN for the other kinds, which make theirs.
    """

    name: str
    estimate: float
    error: float
    n: int
    kind: str = "mean"
    low: float = math.nan
    high: float = math.nan

    def interval(self, level: float = 1 - LEVEL) -> Interval:
        """The interval of this coverage; a bootstrap's is stretched from its 95% as a normal distribution's would."""
        if self.n < 2 or math.isnan(self.error):
            return Interval(self.estimate, math.nan, math.nan)
        if self.kind == "share":
            ends = stats.binomtest(round(self.estimate * self.n), self.n).proportion_ci(level, "exact")
            return Interval(self.estimate, float(ends.low), float(ends.high))
        if self.kind == "bootstrap":
            wider = float(stats.norm.ppf((1 + level) / 2) / stats.norm.ppf(1 - LEVEL / 2))
            reach_low, reach_high = wider * (self.estimate - self.low), wider * (self.high - self.estimate)
            return Interval(self.estimate, self.estimate - reach_low, self.estimate + reach_high)
        reach = float(stats.t.ppf((1 + level) / 2, self.n - 1)) * self.error
        return Interval(self.estimate, self.estimate - reach, self.estimate + reach)

    def p_above(self, limit: float) -> float:
        """One-sided p of "the true value is at most the limit": small where it lies above."""
        if limit == -math.inf:
            return 0.0
        if limit == math.inf or self.n < 2 or math.isnan(self.error):
            return 1.0
        if self.kind == "share":
            return float(stats.binomtest(round(self.estimate * self.n), self.n, limit, "greater").pvalue)
        if self.error == 0:
            return 0.0 if self.estimate > limit else 1.0
        z = (self.estimate - limit) / self.error
        return float(stats.norm.sf(z) if self.kind == "bootstrap" else stats.t.sf(z, self.n - 1))

    def p_below(self, limit: float) -> float:
        """One-sided p of "the true value is at least the limit": small where it lies below."""
        if self.kind == "least":
            return 0.0 if limit == math.inf else 1.0
        whole = 1 if self.kind == "share" else 0
        return dataclasses.replace(self, estimate=whole - self.estimate).p_above(whole - limit)


class Evidence:
    """What an experiment found about one claim of the protocol.

    Attributes:
      claim: its id.
      entries: one, or one for each layer, estimator, ... that can be measured.
      detail: further numbers worth telling, in a sentence or two.
    """

    def __init__(
        self,
        claim: str,
        values: npt.ArrayLike,
        names: Sequence[str] = (),
        detail: str = "",
        at_least: Sequence[str] = (),
    ) -> None:
        """Evidence of numbers of networks.

        Args:
          claim: its id in the protocol.
          values: (S,) or (S, K), of each network; NaN where it has none.
          names: of the K entries; those without any number are left out.
          detail: see the class.
          at_least: names of those whose numbers the true ones are not below.
        """
        entries = [_mean(column, name) for column, name in _columns(values, names)]
        entries = [dataclasses.replace(e, kind="least") if e.name in at_least else e for e in entries]
        self._put(claim, entries, detail)

    @classmethod
    def share(cls, claim: str, values: npt.ArrayLike, names: Sequence[str] = (), detail: str = "") -> Evidence:
        """Evidence of shares: 0, 1 or NaN of each network, (S,) or (S, K); otherwise as `Evidence`."""
        entries = [dataclasses.replace(_mean(column, name), kind="share") for column, name in _columns(values, names)]
        return cls.of_entries(claim, entries, detail)

    @classmethod
    def of(
        cls, claim: str, estimate: float, low: float, high: float, error: float, n: int, detail: str = ""
    ) -> Evidence:
        """Evidence of a statistic with the 95% interval and the standard error of its bootstrap over n networks."""
        return cls.of_entries(claim, [Entry("", estimate, error, n, "bootstrap", low, high)], detail)

    @classmethod
    def unmeasurable(cls, claim: str, reason: str) -> Evidence:
        """No evidence, since the instrument cannot tell."""
        return cls.of_entries(claim, [], reason)

    @classmethod
    def of_entries(cls, claim: str, entries: Sequence[Entry], detail: str = "") -> Evidence:
        """Evidence of entries made elsewhere, some of them by a bootstrap."""
        made = cls.__new__(cls)
        made._put(claim, entries, detail)
        return made

    def _put(self, claim: str, entries: Sequence[Entry], detail: str) -> None:
        if claim not in claims():
            raise ValueError(f"claim = {claim!r}; allowed: those of protocol.toml, {', '.join(claims())}")
        if len(entries) > 1 and not claims()[claim].every:
            raise ValueError(f"claim {claim!r} has {len(entries)} entries; allowed: one, or `every` in protocol.toml")
        self.claim, self.entries, self.detail = claim, tuple(entries), detail

    def as_json(self) -> dict[str, Any]:
        """Without NaN, which JSON lacks: null stands for it."""
        entries = [
            {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in vars(entry).items()}
            for entry in self.entries
        ]
        return {"claim": self.claim, "entries": entries, "detail": self.detail}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Evidence:
        """What `as_json` made."""
        entries = []
        for entry in record["entries"]:
            values: dict[str, Any] = {key: math.nan if value is None else value for key, value in entry.items()}
            entries.append(Entry(**values))
        return cls.of_entries(record["claim"], entries, record["detail"])


def _columns(values: npt.ArrayLike, names: Sequence[str]) -> list[tuple[Values, str]]:
    """The known numbers of each entry, with its name."""
    array = np.asarray(values, np.float64)
    if array.ndim == 1:
        array, names = array[:, None], names or ("",)
    if array.shape[1:] != (len(names),):
        raise ValueError(f"values has shape {array.shape} for {len(names)} names; allowed: (S,), or (S, K) and K names")
    columns = [column[~np.isnan(column)] for column in array.T]
    return [(column, name) for column, name in zip(columns, names, strict=True) if column.size]


def _mean(column: Values, name: str) -> Entry:
    error = float(column.std(ddof=1) / math.sqrt(column.size)) if column.size > 1 else math.nan
    return Entry(name, float(column.mean()), error, column.size)


def mean(values: npt.ArrayLike) -> Interval:
    """Mean of (S,) numbers of networks with its 95% interval by Student's t; NaN entries do not count."""
    found = _columns(np.ravel(values), ())
    return _mean(*found[0]).interval() if found else Interval(math.nan, math.nan, math.nan)


def known_mean(values: npt.ArrayLike, axis: int) -> Values:
    """Mean of the numbers that are not NaN along an axis; NaN where there is none."""
    array = np.asarray(values, np.float64)
    count = np.sum(~np.isnan(array), axis=axis)
    return np.asarray(np.where(count > 0, np.nansum(array, axis=axis) / np.maximum(count, 1), np.nan))


def share(values: npt.ArrayLike) -> Interval:
    """Share of (S,) zeros and ones with its exact 95% interval; NaN entries do not count."""
    found = _columns(np.ravel(values), ())
    if not found:
        return Interval(math.nan, math.nan, math.nan)
    return dataclasses.replace(_mean(*found[0]), kind="share").interval()


def describe(values: npt.ArrayLike, names: Sequence[str]) -> str:
    """Mean over networks of each of the K columns of (S, K) numbers, in words; NaN entries do not count."""
    return ", ".join(f"{name} {_mean(column, name).interval()}" for column, name in _columns(values, names)) or "none"


class Sides(NamedTuple):
    """One-sided p of every entry: that the criterion holds, and that it fails, (K,) each."""

    holds: Values
    fails: Values


def sides(evidence: Evidence, claim: Claim) -> Sides:
    """Every entry against the criterion of the claim."""
    low, high = claim.limits
    above = [(entry.p_above(low), entry.p_below(high)) for entry in evidence.entries]
    beyond = [(entry.p_below(low), entry.p_above(high)) for entry in evidence.entries]
    return Sides(np.array([max(pair) for pair in above]), np.array([min(pair) for pair in beyond]))


def p_value(evidence: Evidence) -> float:
    """Two-sided p of the claim, before any correction: small where it is decided, either way; 1 without entries."""
    claim = claims()[evidence.claim]
    if not evidence.entries:
        return 1.0
    holds, fails = sides(evidence, claim)
    return min(1.0, 2 * min(float(holds.max()), float(fails.min()) * len(fails)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p, in the order given (Holm 1979): the i-th smallest of m times m - i + 1, never falling, at most 1."""
    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.maximum.accumulate(np.array(p_values)[order] * np.arange(len(p_values), 0, -1))
    return np.minimum(adjusted, 1.0).tolist() if len(p_values) else []


def verdict(evidence: Evidence, correction: float = 1.0) -> str:
    """What the evidence says of its claim, with its p multiplied by the correction for many claims."""
    claim = claims()[evidence.claim]
    if not evidence.entries:
        return UNMEASURABLE
    holds, fails = (p * 2 * correction for p in sides(evidence, claim))
    if holds.max() < LEVEL:
        return REPRODUCED
    count = len(fails)
    fails = fails * count
    if fails.max() < LEVEL:
        return NOT_REPRODUCED
    if fails.min() >= LEVEL:
        return UNDECIDED
    who: dict[str, list[str]] = {"not in": [], "holds in": [], "open in": []}
    for entry, right, wrong in zip(evidence.entries, holds * count, fails, strict=True):
        who["not in" if wrong < LEVEL else "holds in" if right < LEVEL else "open in"].append(entry.name)
    told = {side: ", ".join(names) for side, names in who.items() if names}
    most = max(told, key=lambda side: len(who[side]))
    if len(who[most]) > 3 and len(told) > 1:
        told[most] = f"the other {len(who[most])}"
        told[most] = told.pop(most)  # comes last
    return f"depends on the {claim.every}: {'; '.join(f'{side} {names}' for side, names in told.items())}"


@dataclasses.dataclass(frozen=True)
class OverSettings:
    """In how many settings of the training a claim holds, and where it turns.

    Attributes:
      claim: its id.
      holds: settings in which it does.
      of: settings looked at.
      turns: where it changes, in a few words.
    """

    claim: str
    holds: int
    of: int
    turns: str = ""


def corrected(found: Sequence[Evidence]) -> dict[str, float]:
    """Holm-adjusted p of each claim; tests within their family, calibrations and controls as they are."""
    table = claims()
    adjusted = {evidence.claim: p_value(evidence) for evidence in found}
    for group in {table[evidence.claim].group for evidence in found}:
        tests = [e.claim for e in found if table[e.claim].group == group and table[e.claim].tag == "test" and e.entries]
        adjusted |= dict(zip(tests, holm([adjusted[claim] for claim in tests]), strict=True))
    return adjusted


def shown(evidence: Evidence, claim: Claim) -> tuple[str, int]:
    """Estimate with its interval, in words, and how many networks; of several entries that nearest to failing."""
    if not evidence.entries:
        return "none", 0
    holds, fails = sides(evidence, claim)
    worst = int(np.lexsort((fails, -holds))[0])
    entry = evidence.entries[worst]
    interval = entry.interval(1 - LEVEL / len(evidence.entries))
    if claim.log10:
        interval = Interval(*(10.0**value for value in interval))
    name = f" ({entry.name})" if len(evidence.entries) > 1 else ""
    return f"{interval}{name}", entry.n
