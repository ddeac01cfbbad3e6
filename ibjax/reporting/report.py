"""`ibjax.report`: runs as one page for a browser.

Shapes: S seeds, E logged epochs, L layers.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from ibjax import _checks
from ibjax._files import atomic_write
from ibjax.analysis.task import task_joint
from ibjax.bottleneck.curve import Curve, information_curve
from ibjax.reporting.contents import contents
from ibjax.trajectory.estimators import estimator_names
from ibjax.trajectory.provenance import versions
from ibjax.trajectory.trajectory import Trajectory

MOST_NUMBERS = 10_000_000
"""Informations in a page, about 53 MB: more than browsers show at ease."""


def report(
    trajectories: Trajectory | Mapping[str, Trajectory],
    path: str | os.PathLike[str],
    *,
    title: str = "The information plane",
    bound: bool = True,
    overwrite: bool = True,
) -> Path:
    """Write one self-contained page that shows runs in a browser, without the net.

    On it are the plane with a slider of the epochs, networks to switch on and off, their mean and numbers under the
    pointer; information, gradients (with the phase change), loss and accuracy over the epochs; the information curve
    of the task; every estimator the file holds; its configuration, versions, and warnings. Arrays that a file lacks
    leave their panel out, which then says why. Layers have the order, colours and markers of `ibjax.figures`; on a dark
    page the colours are lighter. A page of 50 networks, 250 logged epochs and 8 layers has 2.7 MB.

    Args:
      trajectories: a run, or several by their labels, which stand side by side under one slider.
      path: of the page; nothing is appended to the name.
      title: of the page.
      bound: whether to compute the information curve of each task (seconds; the compiler's, mostly) for the runs
        whose file names a built-in task or holds `p_y_given_x`.
      overwrite: whether an existing file may be replaced.

    Returns:
      Where the page is.

    Raises:
      ModuleNotFoundError: Bokeh is not installed; it comes with the extra `report`.
      ValueError, TypeError: no run, something else than trajectories, or more numbers than a browser shows at ease.
      FileExistsError: the file is there and `overwrite` is false.
      OSError: it cannot be written.
    """
    runs = _checked_runs(trajectories)
    bound = _checks.boolean("bound", bound)
    page = _page()
    held = []
    curves: dict[bytes, Curve] = {}
    for label, run in runs.items():
        curve, why = _curve(run, curves) if bound else (None, "it was not asked for")
        held.append(contents(label, run, curve, why))
    text = page.page_text(title, held, versions()["ibjax"])
    with atomic_write(path, overwrite=overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="replace")  # a file may hold half a surrogate
    return Path(path)


def _checked_runs(trajectories: Trajectory | Mapping[str, Trajectory]) -> dict[str, Trajectory]:
    """The runs by label."""
    if isinstance(trajectories, Trajectory):
        runs = {"": trajectories}
    elif isinstance(trajectories, Mapping):
        runs = {str(label): run for label, run in trajectories.items()}
    else:
        raise TypeError(f"trajectories = {trajectories!r}; allowed: a Trajectory, or a dict of them by label")
    if not runs:
        raise ValueError("trajectories is empty; allowed: at least one")
    for label, run in runs.items():
        if not isinstance(run, Trajectory):
            raise TypeError(f"trajectories[{label!r}] is of type {type(run).__name__}; allowed: a Trajectory")
    sizes = {
        label: 2 * run.seeds.size * run.epochs.size * len(run.layer_names) * len(estimator_names(run))
        for label, run in runs.items()
    }
    if (total := sum(sizes.values())) > MOST_NUMBERS:
        raise ValueError(
            f"the runs hold {total:,} numbers of information; allowed: {MOST_NUMBERS:,} in a page; take some of the "
            "seeds or epochs, trajectory.of_seeds(...), trajectory.of_epochs(trajectory.epochs[::4])"
        )
    return runs


def _curve(run: Trajectory, known: dict[bytes, Curve]) -> tuple[Curve | None, str]:
    """The information curve of a run's task, computed once for runs of one task, or why there is none."""
    try:
        joint = task_joint(run)
        if joint is None:
            return None, "the file names no built-in task and holds no p_y_given_x"
        key = repr(joint.shape).encode() + joint.tobytes()
        if key not in known:
            known[key] = information_curve(joint)
        return known[key], ""
    except ValueError as error:
        return None, f"that of the file's task cannot be computed: {error}"


def _page() -> ModuleType:
    try:
        from ibjax.reporting import page  # here: it needs Bokeh, an extra
    except ModuleNotFoundError as error:
        if (package := str(error.name).partition(".")[0]) not in ("bokeh", "jinja2", "markupsafe"):
            raise
        message = f"a report needs {package}, which is not installed; allowed: pip install 'ibjax[report]'"
        raise ModuleNotFoundError(message, name=package) from None
    return page
