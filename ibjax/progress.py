"""Bars on the terminal: of `ibjax.run(progress=True)`, and of what is counted. Nothing where there is no terminal."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import sys
from collections.abc import Callable, Iterator

from rich import progress
from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
      done, total: epochs times blocks of seeds.
      last_epoch: at which the run ends.
      epoch: the logged epoch all blocks have reached.
      accuracy: mean test accuracy there (training accuracy where there is no test pattern); NaN before the first, and
        where numbers are learnt in place of labels.
      i_xt: mean I(X;T) of the last hidden layer there, bits; NaN before the first.
      resumed: epochs times blocks of seeds that came from a checkpoint.
      seconds: that a whole run of this configuration takes, about, as its first block took them for a moment.
    """

    done: int
    total: int
    last_epoch: int
    epoch: int
    accuracy: float
    i_xt: float
    resumed: int
    seconds: float


def duration(seconds: float) -> str:
    """A time in words of about two digits."""
    for unit, length in (("s", 60), ("min", 60), ("h", 48), ("days", 365)):
        if seconds < length:
            return f"{seconds:.2g} {unit}"
        seconds /= {"s": 60, "min": 60, "h": 24}.get(unit, 365)
    return f"{seconds:.2g} years"


def check_progress(value: object) -> None:
    """Refuses, as the argument `progress`, anything but a truth value or a function."""
    if not callable(value) and not isinstance(value, bool):
        raise TypeError(f"progress = {value!r}; allowed: True, False or a function")


class _Rate(ProgressColumn):
    """Epochs a second, of the whole ensemble."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if not speed else f"{speed:,.0f} epochs/s" if speed >= 10 else f"{speed:.2g} epochs/s")


class _Left(TimeRemainingColumn):
    """Time left, once there is something to reckon it from."""

    def render(self, task: Task) -> Text:
        return Text("") if task.total is None else Text.assemble(super().render(task), " left")


def _display(*columns: ProgressColumn) -> progress.Progress:
    """Draws on a terminal only: rich alone would also draw into a file if FORCE_COLOR is set."""
    console = Console(stderr=True)
    draws = sys.stderr.isatty() and console.is_terminal
    return progress.Progress(*columns, console=console, transient=True, disable=not draws)


@contextlib.contextmanager
def bar() -> Iterator[Callable[[Progress], None]]:
    """A bar on standard error of a run; yields what to call with each `ibjax.Progress`."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[reached]}"),
        _Rate(),
        _Left(),
        TextColumn("{task.fields[now]}"),
    )
    with _display(*columns) as display:
        task = display.add_task("compiling", total=None, reached="", now="")

        def report(state: Progress) -> None:
            # Blocks of seeds take turns; shown is the mean epoch of the ensemble.
            epochs = state.last_epoch
            share = state.done / state.total if state.total else 1.0
            accuracy = "" if math.isnan(state.accuracy) else f"acc {state.accuracy:.3f}  "
            display.update(
                task,
                description="",
                total=epochs,
                completed=epochs * share,
                reached=f"{epochs * share:,.0f}/{epochs:,}",
                now="" if math.isnan(state.i_xt) else f"{accuracy}I(X;T) {state.i_xt:.2f} bits",
            )

        yield report


@contextlib.contextmanager
def count_bar(doing: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error of what is counted; yields what to call with (things done, things in all)."""
    count = TextColumn("{task.completed}/{task.total}")
    with _display(TextColumn(doing), BarColumn(bar_width=None), count, _Left()) as display:
        task = display.add_task(doing, total=None)
        yield lambda done, total: display.update(task, completed=done, total=total)
