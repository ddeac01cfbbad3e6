"""What a reader of a run must know before its numbers: warnings, and notes of what they leave out.

Shapes: S seeds, E logged epochs, L layers. Information in bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from ibjax.analysis.bounds import BoundsReport, check_bounds
from ibjax.trajectory.summary import NEAR_H_X
from ibjax.trajectory.trajectory import FloatArray, Trajectory

SINGLETONS = 0.5
"""Share of the occupied cells with a single pattern from which on a layer counts as undersampled."""
DEAD = 0.01
"""Bits of I(X;T) below which a layer tells nothing of its input."""


class Finding(NamedTuple):
    """A sentence for the reader of a report.

    Attributes:
      kind: "warning", of what makes numbers mean something else, or "note".
      text: the sentence.
    """

    kind: str
    text: str


def findings(trajectory: Trajectory, estimators: Mapping[str, tuple[FloatArray, FloatArray]]) -> list[Finding]:
    """All that is found, warnings first.

    Args:
      trajectory: the run.
      estimators: I(X;T) and I(T;Y), (S, E, L), by name; the first are those of the trajectory.
    """
    # Without its weights: those of a folder would be read.
    extras = {key: trajectory.extras[key] for key in ("h_x_measured", "i_xy_measured") if key in trajectory.extras}
    reports = {
        name: check_bounds(replace(trajectory, i_xt=i_xt, i_ty=i_ty, extras=extras))
        for name, (i_xt, i_ty) in estimators.items()
    }
    exact = next(iter(reports.values())).exact  # what else is no count of cells, and may be 0 of a layer that is not
    found = [*_diverged(trajectory), *_undersampled(trajectory, exact), *(_dead(trajectory) if exact else ())]
    for name, report in reports.items():
        found += _bounds(report, name)
    if trajectory.absent:
        found.append(Finding("note", f"The training loop did not give {', '.join(trajectory.absent)}."))
    return sorted(found, key=lambda finding: finding.kind != "warning")


def _diverged(trajectory: Trajectory) -> Iterator[Finding]:
    if lost := trajectory.seeds[trajectory.diverged].tolist():
        text = f"{len(lost)} of {trajectory.seeds.size} networks diverged and are left out of every mean: "
        yield Finding("warning", f"{text}{_listed('seed', lost)}.")


def _undersampled(trajectory: Trajectory, exact: bool) -> Iterator[Finding]:
    """Layers whose cells hold hardly more than a pattern each at the end."""
    healthy, counted = trajectory.healthy, "singleton_share" in trajectory.extras
    if not healthy.any() or not (counted or exact):
        return
    if counted:
        share, limit = trajectory.extras["singleton_share"][healthy, -1].mean(axis=0), SINGLETONS
        what = "of the histogram's occupied cells hold one pattern"
    else:
        share, limit = trajectory.i_xt[healthy, -1].mean(axis=0) / max(trajectory.h_x, 1e-9), NEAR_H_X
        what = "of H(X), so nearly every pattern has a cell of its own"
    layers = [
        f"{name} ({value:.0%})"
        for name, value in zip(trajectory.layer_names, share.tolist(), strict=True)
        if value >= limit
    ]
    if layers:
        yield Finding(
            "warning",
            f"Undersampled at the end: {', '.join(layers)} {what}. There I(X;T) counts the patterns rather than what "
            "the layer keeps of its input; take wider bins, more patterns or another estimator.",
        )


def _dead(trajectory: Trajectory) -> Iterator[Finding]:
    """Networks with a layer that takes one value whatever the input."""
    healthy = trajectory.healthy
    constant = trajectory.i_xt[healthy, -1] < DEAD
    if (dead := constant.any(axis=1)).any():
        layers = [name for name, one in zip(trajectory.layer_names, constant.any(axis=0), strict=True) if one]
        yield Finding(
            "warning",
            f"{int(dead.sum())} of {int(healthy.sum())} networks are dead at the end, with a layer below {DEAD} bits "
            f"of I(X;T) ({', '.join(layers)}): {_listed('seed', trajectory.seeds[healthy][dead].tolist())}.",
        )


def _bounds(report: BoundsReport, name: str) -> Iterator[Finding]:
    """Values that no layer can have, and layers that seem to know more than those before them."""
    if report.not_finite:
        yield Finding("warning", f"{name}: {report.not_finite} values of healthy networks are not finite.")
    for entry in report.bounds:
        if entry.count:
            yield Finding("warning", f"{name}: values beyond what is possible. {entry}.")
    for entry in report.order:
        if entry.count:
            yield Finding(
                "note", f"{name}: the order of the layers is broken. {entry}. Binned values and estimates do that."
            )


def _listed(what: str, items: list[int]) -> str:
    shown = ", ".join(map(str, items[:12]))
    return f"{what}{'s' * (len(items) != 1)} {shown}{f' and {len(items) - 12} more' if len(items) > 12 else ''}"
