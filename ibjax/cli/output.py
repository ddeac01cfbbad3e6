"""What the commands share: reading files, refusing outputs, printing results."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import textwrap
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import ibjax
from ibjax._checks import platforms
from ibjax._files import check_target
from ibjax.analysis.bounds import check_bounds
from ibjax.analysis.phases import summary
from ibjax.analysis.statistics import streamed_mean
from ibjax.cli.options import RunError, UsageError, refuse
from ibjax.trajectory.provenance import in_words


def prepare_compiler() -> None:
    """Refuse a platform that is not there, and store compiled programs for the next call.

    They go where the user has said, or not at all if so asked; else below the home folder, if there is one to write in.
    """
    import jax  # here, so that commands that compile nothing do not wait for it

    try:
        platforms(jax)
    except RuntimeError as error:
        raise UsageError(str(error)) from error
    if {"JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE"} & os.environ.keys():
        return
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.environ.get("HOME", "~"), ".cache")
    folder = Path(os.path.expanduser(caches), "ibjax", "programs")
    try:
        if not folder.is_absolute():  # no home, or none that can be meant: not below wherever this is called
            return
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
    except OSError:
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    # A cache that cannot be written or read any more, on a full disk say, costs time and nothing else.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache", UserWarning)


def load_trajectory(path: str, estimator: str | None = None) -> ibjax.Trajectory:
    """The trajectory of a file, with the values of the estimator that `--estimator` names, or a `UsageError`."""
    try:
        with refuse():
            trajectory = ibjax.load(path)
        with refuse(f"{path!r}: --"):
            return trajectory if estimator is None else trajectory.of_estimator(estimator)
    except OSError as error:
        raise UsageError(f"cannot read {path!r}: {error.strerror or error}") from error


def fail(arguments: argparse.Namespace, message: str, *, status: int = 1) -> int:
    """Say what went wrong, in the log too; the exit status."""
    print(f"ibjax {arguments.command}: {escape(message)}", file=sys.stderr)
    arguments.log.write("error", message=message, status=status)
    return status


def complaint(error: Exception) -> str:
    """What an error says, with the file that it is about."""
    if not isinstance(error, OSError):
        return str(error)
    return (f"{str(error.filename)!r}: " if error.filename is not None else "") + (error.strerror or str(error))


def hint_checkpoint(arguments: argparse.Namespace) -> str:
    """How a grid, or a run with a checkpoint or in pieces, goes on; empty where it does not."""
    if getattr(arguments, "grid", None):
        return f"the same command{' without --force' * arguments.force} goes on with what {arguments.out!r} lacks"
    if (folder := getattr(arguments, "pieces", None)) is not None:
        return f"the same command goes on with the pieces in {folder!r}"
    folder = getattr(arguments, "checkpoint", None)
    return "" if folder is None else f"the same command goes on from the checkpoint in {folder!r}"


def print_results(trajectory: ibjax.Trajectory) -> None:
    """Information of each layer, accuracies, what was left out, and whether the bounds hold."""
    print(f"{'mean over networks, bits':26}I(X;T) start   peak    end  I(T;Y) start   peak    end")
    for row in summary(trajectory):
        width = f" ({row.width})"
        name = row.layer if len(row.layer + width) <= 24 else f"{row.layer[: 23 - len(width)]}…"
        print(f"  {name + width:24}{row.i_xt_start:12.2f}{row.i_xt_peak:7.2f}{row.i_xt_end:7.2f}", end="")
        print(f"{row.i_ty_start:14.3f}{row.i_ty_peak:7.3f}{row.i_ty_end:7.3f}")
    healthy = trajectory.healthy
    parts = []
    for part in ("train", "test"):
        if (key := f"{part}_accuracy") in trajectory.absent:
            continue
        mean = _mean_at_end(trajectory, key)
        parts.append(f"no {part} patterns" if np.isnan(mean) else f"{part} accuracy {mean:.3f}")
    if healthy.any():
        parts.append(f"means of {healthy.sum()} networks")
        print(f"  epoch {trajectory.epochs[-1]:,}: {', '.join(parts)}")
    if lost := int(trajectory.diverged.sum()):
        print(f"  {lost} of {len(trajectory.seeds)} networks diverged and are left out of every mean")
    if inexact := _inexact(trajectory):
        print(f"  measured by {inexact}: not held to the bounds of exact values")
    elif healthy.any() and check_bounds(trajectory).ok:
        print("  bounds: all values lie between 0 and what H(X) and I(X;Y) allow")


def final_numbers(trajectory: ibjax.Trajectory) -> dict[str, Any]:
    """The end of a run: means over the networks that did not diverge, NaN where there is none; information in bits."""
    keys = (f"{part}_{what}" for what in ("loss", "accuracy") for part in ("train", "test"))
    return {
        "networks": trajectory.seeds.size,
        "diverged": int(trajectory.diverged.sum()),
        "epoch": int(trajectory.epochs[-1]),
        **{key: _mean_at_end(trajectory, key) for key in keys},
        "layers": [
            {"layer": row.layer, "width": row.width, "i_xt": row.i_xt_end, "i_ty": row.i_ty_end}
            for row in summary(trajectory)
        ],
    }


def _mean_at_end(trajectory: ibjax.Trajectory, key: str) -> float:
    """Of one array, over the networks that did not diverge."""
    return float(streamed_mean(trajectory, partial(_last, key)).mean)


def _last(key: str, piece: ibjax.Trajectory) -> Any:
    """One array at the end of the run, (s,)."""
    return piece.require(key)[:, -1]


def report_broken_bounds(trajectory: ibjax.Trajectory) -> bool:
    """Whether all exact values can be; those that cannot are an error of the program or the file, said also if quiet.

    Of values that are estimated or bounds, those beyond what can be are said, and no error.
    """
    sound = True
    names = trajectory.config.get("estimators", {})
    further = [name for name in names if {f"i_xt_{name}", f"i_ty_{name}"} <= trajectory.extras.keys()]
    for estimator in (None, *further):
        report = check_bounds(trajectory, estimator=estimator)
        measured = "" if report.exact else str(trajectory.config.get("measured", {}).get("estimator"))
        if text := report.complaint(escape(estimator or measured)):
            print(f"ERROR: {text}" if report.exact else text, file=sys.stderr)
            sound = sound and not report.exact
    return sound


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


def save(trajectory: ibjax.Trajectory, path: Path, arguments: argparse.Namespace) -> None:
    """Write what hours were spent on, if not where it was meant to go then elsewhere, which is a `RunError`."""
    try:
        arguments.written.append(trajectory.save(path, overwrite=arguments.force))
        return
    except OSError as error:
        failure = f"cannot write {str(path)!r}: {error.strerror or error}"
    if arguments.checkpoint is not None:
        raise RunError(f"{failure}; when that is mended, {hint_checkpoint(arguments)}")
    refuge: Path | None = None
    try:
        refuge = Path(tempfile.mkdtemp(prefix="ibjax_"), path.name)
        trajectory.save(refuge)
    except OSError as error:
        if refuge is not None:
            refuge.parent.rmdir()
        lost = f"nor in the folder of temporary files: {error.strerror or error}; the results are lost"
        raise RunError(f"{failure}; {lost}") from error
    raise RunError(f"{failure}; the results are in {str(refuge)!r} instead")


def escape(text: str) -> str:
    """A file is not trusted: what it says must not steer the terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def print_wrapped(text: str, indent: int) -> None:
    """A line as several of at most 80 columns, all but the first indented; words longer than that stay whole."""
    print(textwrap.fill(text, 80, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False))


def shorten(value: Any) -> str:
    """A value of the configuration in a line."""
    return escape(in_words(value))
