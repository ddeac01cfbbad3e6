"""Whether measured information obeys information theory.

Shapes: S seeds, E logged epochs, L layers. Everything in bits. The bounds hold for every joint distribution, so
for an exact estimator a violation beyond rounding means a wrong program, file or data set. Estimates, and bounds,
can err by more than that: there it shows how far the estimator errs at the least. Nothing is ever clipped. The order
along the layers is the data-processing inequality of the layers themselves; binning each layer apart can break it,
so breaks are reported and no error.
"""

import functools
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ibjax.trajectory.estimators import further_estimators, informations
from ibjax.trajectory.trajectory import Trajectory

_NOTABLE = 1e-3
"""Bits by which an estimate must break a bound to be told."""


@dataclass(frozen=True, kw_only=True)
class Violations:
    """How often and how badly `left <= right` failed.

    Attributes:
      statement: the inequality.
      count: entries that break it by more than the tolerance.
      checked: entries compared: finite ones of healthy seeds.
      worst: largest left - right over the entries compared, bits (negative: room is left); NaN if none.
      where: (seed, epoch, layer) of the worst entry; None if none.
    """

    statement: str
    count: int
    checked: int
    worst: float
    where: tuple[int, int, str] | None

    def __str__(self) -> str:
        text = f"{self.statement}: {self.count} of {self.checked} broken"
        if not self.count or self.where is None:
            return text
        seed, epoch, layer = self.where
        return f"{text}, worst by {self.worst:.3g} bits (seed {seed}, epoch {epoch}, layer {layer})"


@dataclass(frozen=True, kw_only=True)
class BoundsReport:
    """What `check_bounds` found.

    Attributes:
      bounds: the inequalities that must hold.
      order: those along the layers, which binned values may break.
      not_finite: NaN or infinite entries in networks that did not diverge; there should be none.
      left_out: diverged seeds, which are not looked at.
      tolerance: bits.
      estimator: whose values they are; None for the trajectory's `i_xt` and `i_ty`.
      i_xt_is, i_ty_is: "exact", "upper bound", "lower bound" or "estimate".
    """

    bounds: tuple[Violations, ...]
    order: tuple[Violations, ...]
    not_finite: int
    left_out: int
    tolerance: float
    estimator: str | None = None
    i_xt_is: str = "exact"
    i_ty_is: str = "exact"

    @property
    def exact(self) -> bool:
        """Whether a broken bound means a wrong program; otherwise it is the estimator's error."""
        return self.i_xt_is == self.i_ty_is == "exact"

    @property
    def ok(self) -> bool:
        """Whether every bound holds and every value is finite; the order along the layers does not matter."""
        return self.not_finite == 0 and not any(entry.count for entry in self.bounds)

    def complaint(self, name: str = "") -> str:
        """What a user must be told, with the estimator's name; empty where there is nothing to say.

        Exact values that break a bound or are not finite come from a wrong program, file or data set. Of estimates only
        values beyond a bound by more than a thousandth of a bit are told, as what the estimator's error makes of them.
        """
        if self.exact:
            of = f" of {name}" if name else ""
            return "" if self.ok else f"information values{of} break their bounds; do not trust them\n{self}"
        broken = [str(entry) for entry in self.bounds if entry.count and entry.worst > _NOTABLE]
        lines = "\n  ".join(broken)
        return f"{name} is an estimate, and here some of its values cannot be:\n  {lines}" if broken else ""

    def __str__(self) -> str:
        lines = [str(entry) for entry in (*self.bounds, *self.order)]
        if not self.exact:
            lines.append(f"I(X;T) is {_an(self.i_xt_is)}, I(T;Y) {_an(self.i_ty_is)}: what is broken is its error")
        lines.append(f"not finite: {self.not_finite}; diverged seeds left out: {self.left_out}")
        return "\n".join(lines)


def _an(kind: str) -> str:
    return {"exact": "exact", "lower bound": "a lower bound"}.get(kind, f"an {kind}")


def check_bounds(
    trajectory: Trajectory, *, tolerance: float | None = None, estimator: str | None = None
) -> BoundsReport:
    """Check 0 <= I(X;T) <= H(X), 0 <= I(T;Y) <= min(I(X;Y), I(X;T)), and the order along the layers.

    H(X) and I(X;Y) are those of the patterns measured on (`Config.measure_on`).

    Args:
      trajectory: the ensemble.
      tolerance: bits; by default 1e-5 for float32 and 1e-10 for float64, the accuracy promised of the
        information kernel.
      estimator: one of `Config(estimators=...)` whose `i_xt_<estimator>` and `i_ty_<estimator>` to check; None for
        `i_xt` and `i_ty`.

    Raises:
      ValueError: the tolerance is negative or not a number, or the trajectory has no values of the estimator.
    """
    if estimator is not None and f"i_xt_{estimator}" not in trajectory.extras:
        known = "".join(f", {name!r}" for name in further_estimators(trajectory))
        raise ValueError(f"estimator = {estimator!r}; allowed: None{known}")
    if tolerance is None:
        first = next(trajectory.pieces())
        tolerance = 1e-5 if np.float32 in [bits.dtype for bits in informations(first, estimator)] else 1e-10
    if not tolerance >= 0.0:
        raise ValueError(f"tolerance = {tolerance!r}; allowed: bits, at least 0")
    return functools.reduce(_joint, (_check(piece, tolerance, estimator) for piece in trajectory.pieces()))


def _joint(a: BoundsReport, b: BoundsReport) -> BoundsReport:
    """The report on all seeds of two."""

    def both(one: Violations, other: Violations) -> Violations:
        worst = other if np.isnan(one.worst) or other.worst > one.worst else one
        return replace(worst, count=one.count + other.count, checked=one.checked + other.checked)

    return replace(
        a,
        bounds=tuple(map(both, a.bounds, b.bounds)),
        order=tuple(map(both, a.order, b.order)),
        not_finite=a.not_finite + b.not_finite,
        left_out=a.left_out + b.left_out,
    )


def _kinds(trajectory: Trajectory, estimator: str | None) -> dict[str, str]:
    """What the values are, as the configuration tells; "exact" where it tells nothing, which is the stricter word."""
    config = trajectory.config
    told = config.get("measured", {}) if estimator is None else config.get("estimators", {}).get(estimator, {})
    return {f"{key}_is": str(told.get(key, "exact")) for key in ("i_xt", "i_ty")}


def _check(trajectory: Trajectory, tolerance: float, estimator: str | None) -> BoundsReport:
    """The report on a piece that is in memory."""
    rows = np.flatnonzero(trajectory.healthy)
    i_xt, i_ty = (bits[rows].astype(np.float64) for bits in informations(trajectory, estimator))
    zero = np.zeros_like(i_xt)
    # One for each network where it is measured on some of the patterns only.
    h_x, i_xy = (
        np.asarray(trajectory.extras[f"{key}_measured"])[rows, None, None]
        if f"{key}_measured" in trajectory.extras
        else getattr(trajectory, key)
        for key in ("h_x", "i_xy")
    )

    def compare(statement: str, left: npt.NDArray[np.float64], right: npt.NDArray[np.float64]) -> Violations:
        known = np.isfinite(left) & np.isfinite(right)
        excess = np.where(known, np.subtract(left, right, where=known, out=np.zeros_like(left)), -np.inf)
        where, worst = None, np.nan
        if known.any():
            s, e, layer = np.unravel_index(int(excess.argmax()), excess.shape)
            worst = float(excess[s, e, layer])
            last = layer + len(trajectory.layer_names) - excess.shape[2]  # of two layers compared, the later
            seed, epoch = trajectory.seeds[rows[s]], trajectory.epochs[e]
            where = (int(seed), int(epoch), trajectory.layer_names[last])
        count = int((excess > tolerance).sum())
        return Violations(statement=statement, count=count, checked=int(known.sum()), worst=worst, where=where)

    return BoundsReport(
        bounds=(
            compare("0 <= I(X;T)", zero, i_xt),
            compare("I(X;T) <= H(X)", i_xt, zero + h_x),
            compare("0 <= I(T;Y)", zero, i_ty),
            compare("I(T;Y) <= I(X;Y)", i_ty, zero + i_xy),
            compare("I(T;Y) <= I(X;T)", i_ty, i_xt),
        ),
        order=(
            compare("I(X;T) falls along the layers", i_xt[..., 1:], i_xt[..., :-1]),
            compare("I(T;Y) falls along the layers", i_ty[..., 1:], i_ty[..., :-1]),
        ),
        not_finite=int((~np.isfinite(i_xt)).sum() + (~np.isfinite(i_ty)).sum()),
        left_out=int(trajectory.diverged.sum()),
        tolerance=tolerance,
        estimator=estimator,
        **_kinds(trajectory, estimator),
    )
