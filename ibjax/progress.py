"""A bar on the terminal for `ibjax.run(progress=True)`; nothing where there is no terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

if TYPE_CHECKING:
    from ibjax.ensemble import Progress as State


class _Rate(ProgressColumn):
    """Epochs a second, of the whole ensemble."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if not speed else f"{speed:,.0f} epochs/s" if speed >= 10 else f"{speed:.2g} epochs/s")


@contextlib.contextmanager
def bar(console: Console | None = None) -> Iterator[Callable[[State], None]]:
    """What to call with each `ibjax.Progress`; draws on standard error."""
    console = Console(stderr=True) if console is None else console
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[reached]}"),
        _Rate(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[now]}"),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as drawn:
        task = drawn.add_task("compiling", total=None, reached="", now="")

        def report(state: State) -> None:
            # Blocks of seeds take turns; shown is the mean epoch of the ensemble.
            epochs = state.last_epoch
            share = state.done / state.total if state.total else 1.0
            drawn.update(
                task,
                description="training",
                total=epochs,
                completed=epochs * share,
                reached=f"epoch {epochs * share:,.0f}/{epochs:,}",
                now=f"accuracy {state.accuracy:.3f}, I(X;T) {state.i_xt:.2f} bits",
            )

        yield report
