"""How phases fit the run they are of: settings that none of them takes, batches, and how many moves they may make.

Shapes: R phases.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ibjax.schedule.phases import SNR, Condition, Phase
from ibjax.schedule.settings import Walk

MOST_MOVES = 2**31 - 1
"""As far as the moves of a network are counted."""


def check_all_used(
    phases: tuple[Phase, ...],
    *,
    optimizer: str,
    momentum: float,
    weight_decay: float | tuple[float, ...],
    learning_rate: float | tuple[float, ...],
) -> None:
    """Refuse settings of a run that none of its phases takes; one of no phases takes all.

    A single learning rate is not refused: there always is one.

    Args:
      phases: R.
      optimizer, momentum, weight_decay, learning_rate: as of the configuration.

    Raises:
      ValueError: names the setting.
    """
    if not phases:
        return
    rules, given = {phase.rule for phase in phases}, f"phases = {tuple(phase.words for phase in phases)}"
    if optimizer != "sgd" and optimizer not in rules:
        raise ValueError(
            f"optimizer = {optimizer!r} with {given}, which train in its place; allowed: one of them {optimizer!r}, or "
            "optimizer = 'sgd', the default, which phases of any rule replace (presets may have another)"
        )
    if momentum and "sgd" not in rules:
        raise ValueError(f"momentum = {momentum:g} with {given}; allowed: 0, or a phase of 'sgd'")
    if np.any(weight_decay) and not rules & {"sgd", "adam"}:
        raise ValueError(f"weight_decay = {weight_decay} with {given}; allowed: 0, or a phase of 'sgd' or 'adam'")
    own: list[Any] = [getattr(phase.settings, "learning_rate", 0.0) for phase in phases]
    if isinstance(learning_rate, tuple) and None not in own:
        raise ValueError(
            f"learning_rate holds one number a seed, with {given}, none of which takes it; allowed: one number, or a "
            "phase that takes steps and has no learning_rate of its own"
        )


def check_batches(phase: Phase, size: int | None, fewest: int) -> None:
    """Refuse a phase whose batches cannot be, or of which its condition never holds.

    Args:
      phase: which.
      size: patterns of its batches, None for all.
      fewest: training patterns of the network that has fewest.

    Raises:
      ValueError: names the phase.
    """
    if size is not None and size > fewest:
        raise ValueError(f"phase {phase.words!r}: batch_size = {size}; allowed: at most the {fewest} training patterns")
    if isinstance(phase.until, Condition) and phase.until.quantity == SNR and (size is None or size == fewest):
        raise ValueError(
            f"phase {phase.words!r}: batch_size = {'all' if size is None else size}, one batch an epoch, whose "
            f"gradient has no spread to be below; allowed: fewer than the {fewest} training patterns, or another until"
        )


def check_moves(phases: tuple[Phase, ...], epochs: int, of_run: int | None, n_train: int) -> None:
    """Refuse more moves than are counted.

    Args:
      phases: R.
      epochs: of the run.
      of_run: patterns of the run's batches, None for all.
      n_train: training patterns of the network that has most.

    Raises:
      ValueError: names the phase that makes most of them.
    """
    begin, found = 0, []
    for phase in phases:
        end = phase.until if isinstance(phase.until, int) else epochs  # a condition may hold at any time, or never
        if isinstance(phase.settings, Walk):
            steps = -(-n_train // (phase.batch_of(of_run) or n_train))
            each = f"moves = {phase.settings.moves} for each of {steps} batches an epoch, in up to {end - begin} epochs"
            found.append((phase.settings.moves * steps * (end - begin), f"phase {phase.words!r}: {each}"))
        begin = phase.until if isinstance(phase.until, int) else begin
    if sum(moves for moves, _ in found) > MOST_MOVES:
        raise ValueError(
            f"{max(found)[1]}; allowed: at most {MOST_MOVES} in all walks of a run: fewer moves, batches or epochs"
        )
