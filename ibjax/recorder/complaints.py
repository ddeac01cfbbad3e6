"""What a recorder warns of: networks that diverge, and layers that leave the range they are said to keep within.

Shapes: S seeds, L layers, N patterns, U units of a layer.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

LOSSES = ("train_loss", "test_loss")


def lost(log: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.bool_]:
    """Which networks, (S,), have activations or a loss that are not finite at a log, by what is measured there."""
    parts = [np.isfinite(log["i_xt"]).all(axis=1), *(np.isfinite(log[key]) for key in LOSSES if key in log)]
    return ~np.logical_and.reduce(parts)


def divergence(logs: Sequence[Mapping[str, npt.NDArray[Any]]]) -> list[npt.NDArray[np.bool_]]:
    """`lost` of each log of a file, in which a loss that a log was not given is NaN too.

    Such a NaN is taken for a sign in those networks only that show no other one.
    """
    certain = [
        lost({key: np.where(np.isnan(value), 0, value) if key in LOSSES else value for key, value in log.items()})
        for log in logs
    ]
    shown = np.logical_or.reduce(certain)
    return [np.where(shown, signs, lost(log)) for signs, log in zip(certain, logs, strict=True)]


def warn_diverged(
    epoch: int, layers: Sequence[str], log: Mapping[str, npt.NDArray[Any]], before: npt.NDArray[np.bool_]
) -> None:
    """Says, to the caller of the method that calls this, which networks diverge at a log.

    Args:
      epoch: of the log.
      layers: L names.
      log: what is measured, and which networks diverge, at the epoch.
      before: (S,) those that had diverged, of which it has been said.
    """
    fresh = log["diverged"] & ~before
    if not fresh.any():
        return
    broken = ~np.isfinite(log["i_xt"][fresh]).all(axis=0)
    names = [name for name, is_broken in zip(layers, broken, strict=True) if is_broken]
    parts = [f"activations of {', '.join(names)}"] if names else []
    parts += [key for key in LOSSES if key in log and not np.isfinite(log[key][fresh]).all()]
    count = f"{int(fresh.sum())} of {len(fresh)} networks"
    warnings.warn(
        f"epoch {epoch}: not finite: {', '.join(parts)}; {count} count as diverged: "
        "what is given and measured stays, but figures and means leave these networks out (rewind forgets the log)",
        RuntimeWarning,
        stacklevel=3,
    )


def warn_outside(name: str, array: Any) -> bool:
    """Says, to the caller of the method that calls this, which share of a bounded layer lies outside [-1, 1].

    Args:
      name: of the layer.
      array: (S, N, U).

    Returns:
      Whether there was something to say.
    """
    count = int(((array > 1.0) | (array < -1.0)).sum())
    if count:
        share = f"{count / array.size:.2g} of its activations"
        warnings.warn(
            f"layer {name!r} is bounded, but {share} lie outside [-1, 1], and count in the "
            "outermost cells; allowed: bounded only for layers within [-1, 1]",
            RuntimeWarning,
            stacklevel=3,
        )
    return bool(count)
