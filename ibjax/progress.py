"""Bars of `ibjax.run(progress=True)`, and of what is counted: on the terminal, or as an output of a notebook's cell.

Nothing where there is neither.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import math
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from rich import progress
from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

_CELL = 90
"""Columns of a bar in a notebook, which does not tell its own."""


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


class _Cell(progress.Progress):
    """One output of a notebook's cell, replaced while the bar moves; its last state stays.

    What rich does by itself needs ipywidgets. An output that is replaced is one also in a notebook that is executed
    without anyone looking. As text it takes the theme of its page.
    """

    def start(self) -> None:
        """Shows the bar; what IPython calls a handle replaces it."""
        display = sys.modules["IPython.display"].display  # a kernel has loaded it; others need not have it
        self._handle = display({"text/plain": ""}, raw=True, display_id=True)
        self._shown = -math.inf

    def update(self, task_id: progress.TaskID, **fields: Any) -> None:
        """Moves the bar; the page is told a few times a second."""
        super().update(task_id, **fields)
        if time.monotonic() - self._shown >= 0.2:
            self._show()

    def stop(self) -> None:
        """Shows the last state."""
        self._show()

    def _show(self) -> None:
        page = Console(file=io.StringIO(), width=_CELL, color_system=None, force_terminal=False, force_jupyter=False)
        with page.capture() as text:
            page.print(self.get_renderable())
        self._handle.update({"text/plain": text.get().strip()}, raw=True)
        self._shown = time.monotonic()


def _in_kernel() -> bool:
    """Whether this process is the kernel of a notebook, and no IPython on a terminal."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and getattr(ipython.get_ipython(), "kernel", None) is not None


def _display(*columns: ProgressColumn) -> progress.Progress:
    """Draws on a terminal or in a notebook: rich alone would also draw into a file if FORCE_COLOR is set."""
    if _in_kernel():
        return _Cell(*columns, disable=True)  # rich's own drawing
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
