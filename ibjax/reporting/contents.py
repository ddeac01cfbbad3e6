"""What a page holds of one run: its numbers for the script of the page, its words for the template.

Shapes: S seeds, E logged epochs, L layers, K corners of the information curve. Information in bits.
"""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import numpy.typing as npt

from ibjax.analysis.phases import check_gradients, normalised_gradients, phase_change
from ibjax.analysis.statistics import Estimate, Values, geometric_mean_over_seeds, mean_over_seeds
from ibjax.bottleneck.curve import Curve
from ibjax.figures.style import layer_colours, layer_markers
from ibjax.reporting.colours import on_dark
from ibjax.reporting.findings import findings
from ibjax.trajectory.estimators import estimator_names, informations
from ibjax.trajectory.provenance import facts, in_words
from ibjax.trajectory.schema import TrajectoryError, loss_label
from ibjax.trajectory.trajectory import FloatArray, Trajectory

Series = dict[str, Any]
"""Mean, low and high over the epochs, packed, and whether there is any number."""


def contents(label: str, trajectory: Trajectory, curve: Curve | None, without_curve: str) -> dict[str, Any]:
    """All that a page holds of a run, as JSON has it.

    Args:
      label: of the run.
      trajectory: the run; its arrays become float32.
      curve: the information curve of its task, or None, and then
      without_curve: why there is none.
    """
    L = len(trajectory.layer_names)
    looks = zip(trajectory.layer_names, trajectory.layer_widths, layer_colours(L), layer_markers(L), strict=True)
    first, *further = estimator_names(trajectory)
    estimators = {first: informations(trajectory, None)} | {name: informations(trajectory, name) for name in further}
    corners = None if curve is None else _corners(curve, trajectory)
    return {
        "label": label,
        "summary": _summary(trajectory),
        "interval": "means, 95% bands" if trajectory.healthy.sum() > 1 else "means, no interval",
        "epochs": trajectory.epochs.tolist(),
        "places": epoch_places(trajectory.epochs).tolist(),
        "seeds": trajectory.seeds.tolist(),
        "diverged": trajectory.diverged.tolist(),
        "layers": [
            {"name": name, "width": width, "light": colour, "dark": on_dark(colour, k, L), "marker": marker}
            for k, (name, width, colour, marker) in enumerate(looks)
        ],
        "h_x": trajectory.h_x,
        "i_xy": trajectory.i_xy,
        "h_y": trajectory.h_y,
        "estimators": [_estimator(trajectory, name, *values) for name, values in estimators.items()],
        "curve": corners,
        "loss": _of_parts(trajectory, "loss"),
        "loss_label": loss_label(trajectory.config),
        "accuracy": _of_parts(trajectory, "accuracy"),
        **_gradients(trajectory),
        "without_curve": without_curve,
        "findings": [(f.kind, f.text) for f in findings(trajectory, estimators)],
        "facts": [(key, in_words(value)) for key, value in facts(trajectory).items()],
    }


def _summary(trajectory: Trajectory) -> str:
    S, E = trajectory.seeds.size, trajectory.epochs.size
    ends = f"{trajectory.epochs[0]:,}" + (f" to {trajectory.epochs[-1]:,}" if E > 1 else "")
    networks = f"{S} network{'s' * (S != 1)}, {E} logged epoch{'s' * (E != 1)} ({ends})"
    return f"{networks}, layers {', '.join(trajectory.layer_names)}"


def epoch_places(epochs: npt.ArrayLike) -> Values:
    """Where epochs stand on the axis of the figures: linear from 0 to 1, half a decade wide, then logarithmic."""
    epochs = np.asarray(epochs, np.float64)
    return np.where(epochs <= 1.0, 0.5 * epochs, 0.5 + np.log10(np.maximum(epochs, 1.0)))


def pack(values: npt.ArrayLike) -> str:
    """Numbers as float32, little-endian, in base64; in the order of C."""
    return base64.b64encode(np.asarray(values, "<f4").tobytes()).decode()


def _estimator(trajectory: Trajectory, name: str, i_xt: FloatArray, i_ty: FloatArray) -> dict[str, Any]:
    told = trajectory.config.get("estimators", {}).get(name, {})
    if trajectory.config.get("measured", {}).get("estimator") == name:
        told = trajectory.config["measured"]
    elif name == "histogram" and not told:
        told = {"i_xt": "exact", "i_ty": "exact"}
    shown = [values[trajectory.healthy] for values in (i_xt, i_ty)]
    low, high = (np.stack([_extreme(end, values) for values in shown]) for end in (np.min, np.max))
    return {
        "name": name,
        "what": "; ".join(f"{i} {told[key]}" for i, key in (("I(X;T)", "i_xt"), ("I(T;Y)", "i_ty")) if told.get(key)),
        "i_xt": pack(i_xt),
        "i_ty": pack(i_ty),
        "over_epochs": {
            "i_xt": _series(mean_over_seeds(trajectory, i_xt)),
            "i_ty": _series(mean_over_seeds(trajectory, i_ty)),
        },
        # So that values beyond the bounds are seen too.
        "range_x": _margin(min(0.0, low[0]), max(trajectory.h_x, high[0])),
        "range_y": _margin(min(0.0, low[1]), max(trajectory.i_xy, high[1])),
    }


def _extreme(end: Any, values: FloatArray) -> float:
    known = values[np.isfinite(values)]
    return float(end(known)) if known.size else 0.0


def _margin(low: float, high: float) -> tuple[float, float]:
    width = max(high - low, 1e-6)
    return low - 0.04 * width, high + 0.06 * width


def _series(estimate: Estimate) -> Series:
    known = bool(np.isfinite(estimate.mean).any())
    return {"mean": pack(estimate.mean), "low": pack(estimate.low), "high": pack(estimate.high), "known": known}


def _of_parts(trajectory: Trajectory, what: str) -> dict[str, Any]:
    """Loss or accuracy of the training and test patterns, as far as the file has them; "absent" says what it lacks."""
    found: dict[str, Any] = {}
    lacking = []
    for part in ("train", "test"):
        try:
            series = _series(mean_over_seeds(trajectory, f"{part}_{what}"))
        except TrajectoryError as error:
            lacking.append(str(error))
            continue
        if series["known"]:
            found[part] = series
        else:
            lacking.append(f"{part}_{what} holds no number")
    return {"parts": found, "absent": "; ".join(lacking)}


def _gradients(trajectory: Trajectory) -> dict[str, Any]:
    """Geometric means of the gradients' norms, over that of the weights if it is there, and the phase change."""
    normalised = "weight_norm" not in trajectory.absent
    try:
        check_gradients(trajectory)
        if normalised:
            mean, std = normalised_gradients(trajectory)
        else:
            mean, std = (trajectory.require(key) for key in ("gradient_mean", "gradient_std"))
    except TrajectoryError as error:
        return {"gradients": None, "without_gradients": str(error), "phase": None, "weight_norm": normalised}
    change = phase_change(trajectory)
    phase = None
    if np.isfinite(change.network_epoch):
        ends = [change.network_low, change.network_high]
        phase = {
            "epoch": change.network_epoch,
            "place": float(epoch_places(change.network_epoch)),
            "band": epoch_places(ends).tolist() if np.isfinite(ends).all() else None,
            "found": change.network_found,
        }
    series = {key: _series(geometric_mean_over_seeds(trajectory, v)) for key, v in (("mean", mean), ("std", std))}
    return {"gradients": series, "without_gradients": "", "phase": phase, "weight_norm": normalised}


def _corners(curve: Curve, trajectory: Trajectory) -> dict[str, list[float]]:
    """(K,) points of the information curve, up to the width of the plane."""
    done = curve.i_x[curve.converged]
    x = np.union1d(np.linspace(0.0, max(curve.h_sufficient, trajectory.h_x), 200), done)
    return {"x": x.tolist(), "y": curve.relevance(x).tolist()}
