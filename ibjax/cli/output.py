"""What the commands share: reading files, refusing outputs, printing results."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import ibjax
from ibjax._files import check_target
from ibjax.analysis.bounds import check_bounds
from ibjax.analysis.phases import summary
from ibjax.cli.options import UsageError, refuse


def cache_compiled_programs() -> None:
    """Store compiled programs for the next call, unless the user has said where or that they are not."""
    import jax  # here, so that commands that compile nothing do not wait for it

    if not {"JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE"} & os.environ.keys():
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(home / "ibjax" / "programs"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def load_trajectory(path: str) -> ibjax.Trajectory:
    """The trajectory of a file, or a `UsageError`."""
    try:
        with refuse():
            return ibjax.load(path)
    except OSError as error:
        raise UsageError(f"cannot read {path!r}: {error.strerror or error}") from error


def fail(command: str, message: str, *, status: int = 1) -> int:
    """Say what went wrong; the exit status."""
    print(f"ibjax {command}: {message}", file=sys.stderr)
    return status


def hint_checkpoint(arguments: argparse.Namespace) -> str:
    """How a run with a checkpoint goes on; empty without one."""
    folder = getattr(arguments, "checkpoint", None)
    return "" if folder is None else f"the same command goes on from the checkpoint in {folder!r}"


def print_results(trajectory: ibjax.Trajectory) -> None:
    """Information of each layer, accuracies, what was left out, and whether the bounds hold."""
    print("mean over networks, bits    I(X;T) start   peak    end    I(T;Y) start   peak    end")
    for row in summary(trajectory):
        name = f"{row.layer} ({row.width})"
        xt = f"{row.i_xt_start:6.2f} {row.i_xt_peak:6.2f} {row.i_xt_end:6.2f}"
        ty = f"{row.i_ty_start:6.3f} {row.i_ty_peak:6.3f} {row.i_ty_end:6.3f}"
        print(f"  {name:31} {xt}           {ty}")
    healthy = trajectory.healthy
    parts = []
    for part in ("train", "test"):
        if (key := f"{part}_accuracy") in trajectory.absent:
            continue
        last = trajectory.require(key)[healthy, -1]
        parts.append(f"{part} accuracy {last.mean():.3f}" if np.isfinite(last).any() else f"no {part} patterns")
    if healthy.any():
        parts.append(f"means of {healthy.sum()} networks")
        print(f"  epoch {trajectory.epochs[-1]:,}: {', '.join(parts)}")
    if lost := int(trajectory.diverged.sum()):
        print(f"  {lost} of {len(trajectory.seeds)} networks diverged and are left out of every mean")
    if inexact := _inexact(trajectory):
        print(f"  measured by {inexact}: not held to the bounds of exact values")
    elif check_bounds(trajectory).ok:
        print("  bounds: all values lie between 0 and what H(X) and I(X;Y) allow")


def report_broken_bounds(trajectory: ibjax.Trajectory) -> bool:
    """Whether all values can be; those that cannot are an error of the program or the file, said with --quiet too."""
    if not (report := check_bounds(trajectory)).ok and not _inexact(trajectory):
        print(f"ERROR: information values break their bounds; do not trust them\n{report}", file=sys.stderr)
    return report.ok or bool(_inexact(trajectory))


def _inexact(trajectory: ibjax.Trajectory) -> str:
    """By what the information was measured if not exactly, and what it then is; empty if exactly."""
    measured = trajectory.config.get("measured")
    if not isinstance(measured, dict) or all(measured.get(key) == "exact" for key in ("i_xt", "i_ty")):
        return ""
    what = f"I(X;T) {measured.get('i_xt')}, I(T;Y) {measured.get('i_ty')}"
    return escape(f"{measured.get('estimator')} ({what})")


def check_output(path: Path, *, force: bool, option: str = "--out") -> None:
    """Refuse, before any work, a path that cannot be written."""
    name = f"{option} = {str(path)!r}"
    target = Path(os.path.realpath(path))  # a link stays, what it points to is written
    try:
        check_target(target, force)
        # Tried, not asked: permissions, read-only mounts and quotas all answer the same way.
        with tempfile.NamedTemporaryFile(dir=target.parent):
            pass
    except FileExistsError:
        raise UsageError(f"{name} exists; --force overwrites it") from None
    except IsADirectoryError:
        raise UsageError(f"{name} is a folder; allowed: the name of a file") from None
    except FileNotFoundError:
        raise UsageError(f"{name}: there is no folder {str(target.parent)!r}") from None
    except OSError as error:  # a name too long, a file where a folder should be, a device ...
        raise UsageError(f"{name} cannot be written: {error.strerror or error}") from error


def escape(text: str) -> str:
    """A file is not trusted: what it says must not steer the terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def shorten(value: Any) -> str:
    """A value of the configuration in a line."""
    if isinstance(value, dict):
        text = ", ".join(f"{key} {item}" for key, item in value.items())
    elif isinstance(value, list) and len(value) > 16:
        text = f"{', '.join(map(str, value[:6]))} ... {value[-1]} ({len(value)} of them)"
    elif isinstance(value, list):
        text = " ".join(map(str, value))
    else:
        text = value if isinstance(value, str) else json.dumps(value)
    return escape(text)
