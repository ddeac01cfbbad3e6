"""What the phases of a run did not do as they were meant to.

Shapes: S seeds, R phases, E logged epochs.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ibjax.schedule.phases import Phase, of_words
from ibjax.schedule.settings import Walk
from ibjax.trajectory.trajectory import Trajectory

FEWEST_MOVES = 100
"""Moves after the warm-up below which nothing is said of a walk."""
_LOW, _HIGH = 0.01, 0.99


def astray(trajectory: Trajectory) -> dict[tuple[int, str], list[int]]:
    """Seeds of the healthy networks of which something is to be said, by the number of the phase and what it is.

    Phases that did not end or had no time, and walks that hardly move or move too freely; none of a run without phases.
    """
    config = trajectory.config["config"]
    schedule = [of_words(text) for text in config["phases"]]
    if not schedule:
        return {}
    began, last = trajectory.extras["phase_began"], int(trajectory.epochs[-1])
    found: dict[tuple[int, str], npt.NDArray[np.bool_]] = {}
    for number, phase in enumerate(schedule):
        twice = sum(other == phase for other in schedule) > 1
        name = f"phase {phase.words!r}" + f" (phases[{number}])" * twice
        here = began[:, number]
        if number < len(schedule) - 1:
            text = f"{name} never ended; allowed: a condition that comes true, or more epochs"
            found[number, text] = (here >= 0) & (began[:, number + 1] < 0)
        if isinstance(phase.until, int):
            text = f"{name} began after its end, and lasted one epoch; allowed: a later end"
            found[number, text] = (here >= phase.until) & (here < last)
        if isinstance(phase.settings, Walk):
            share = _acceptance(trajectory, schedule, number)
            change = "another scale, or a longer warm-up that adapts it"
            text = f"{name}: fewer than 1% of the moves are accepted; try a higher temperature or bound, {change}"
            found[number, text] = share < _LOW  # NaN is neither
            found[number, f"{name}: more than 99% of the moves are accepted; try {change}"] = share > _HIGH
    return {what: trajectory.seeds[where & trajectory.healthy].tolist() for what, where in found.items() if where.any()}


def _acceptance(trajectory: Trajectory, schedule: list[Phase], number: int) -> npt.NDArray[np.float64]:
    """(S,) share of the moves of a walk that were accepted after its warm-up; NaN of too few moves to tell.

    Those between two logged epochs count where all of them are of this walk and after its warm-up.
    """
    proposed = np.zeros((len(schedule), *trajectory.extras["acceptance"].shape))
    for each, phase in enumerate(schedule):
        if isinstance(phase.settings, Walk):
            proposed[each] = _moves(trajectory, phase, each)
    own, between = proposed[number], np.diff(proposed, axis=2, prepend=0)
    settings = schedule[number].settings
    warmup = settings.warmup if isinstance(settings, Walk) else 0
    before = np.concatenate([np.zeros((len(own), 1)), own[:, :-1]], axis=1)
    settled = (between[number] > 0) & (between[number] == between.sum(axis=0)) & (before >= warmup)
    moves = np.where(settled, between[number], 0)
    accepted = np.where(settled, moves * trajectory.extras["acceptance"], 0).sum(axis=1)
    total = moves.sum(axis=1)
    return np.where(total >= FEWEST_MOVES, accepted / np.maximum(total, 1), np.nan)


def _moves(trajectory: Trajectory, phase: Phase, number: int) -> npt.NDArray[np.float64]:
    """(S, E) moves that each network had proposed in a walking phase up to each logged epoch."""
    began, last = trajectory.extras["phase_began"].astype(np.int64), np.iinfo(np.int64).max
    starts = np.where(began[:, number] < 0, last, began[:, number])[:, None]
    ends = np.full_like(starts, last)
    if number + 1 < began.shape[1]:
        ends = np.where(began[:, number + 1] < 0, last, began[:, number + 1])[:, None]
    spent = np.clip(np.minimum(trajectory.epochs[None, :], ends) - starts, 0, None)
    counts = trajectory.require("train_mask").sum(axis=1)
    steps = -(-counts // (phase.batch_of(trajectory.config["config"]["batch_size"]) or counts.max()))
    assert isinstance(phase.settings, Walk)
    return (spent * steps[:, None] * phase.settings.moves).astype(np.float64)
