"""The estimators whose values a trajectory holds, and how another of them becomes that of `i_xt` and `i_ty`.

`i_xt` and `i_ty` are those of the first; of each further one there are the extras `i_xt_<name>` and `i_ty_<name>`, and
perhaps `i_xt_error_<name>`, `i_ty_error_<name>`.

Shapes: S seeds, E logged epochs, L layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ibjax.trajectory.schema import TrajectoryError

Bits = npt.NDArray[np.floating[Any]]

_MOVED = ("i_xt", "i_ty", "i_xt_error", "i_ty_error")
_EXACT = {"i_xt": "exact", "i_ty": "exact"}  # what a run says of its histogram, by saying nothing


class Measured(Protocol):
    """What of a trajectory tells its estimators; see `Trajectory`, which is made of this module."""

    @property
    def config(self) -> dict[str, Any]: ...
    @property
    def i_xt(self) -> Bits: ...
    @property
    def i_ty(self) -> Bits: ...
    @property
    def extras(self) -> Mapping[str, npt.NDArray[Any]]: ...


def further_estimators(trajectory: Measured) -> list[str]:
    """Those of which it holds `i_xt_<name>` and `i_ty_<name>`."""
    names = [key.removeprefix("i_xt_") for key in trajectory.extras if key.startswith("i_xt_")]
    return [name for name in names if name.partition("_")[0] != "error" and f"i_ty_{name}" in trajectory.extras]


def estimator_names(trajectory: Measured) -> list[str]:
    """The estimators of which it holds both informations; that of `i_xt` and `i_ty` first."""
    first = str(trajectory.config.get("measured", {}).get("estimator", "histogram"))
    return list(dict.fromkeys([first, *further_estimators(trajectory)]))


def informations(trajectory: Measured, estimator: str | None) -> tuple[Bits, Bits]:
    """I(X;T) and I(T;Y), (S, E, L) each, of the trajectory or of a further estimator."""
    if estimator is None:
        return trajectory.i_xt, trajectory.i_ty
    return trajectory.extras[f"i_xt_{estimator}"], trajectory.extras[f"i_ty_{estimator}"]


def with_first(trajectory: Measured, name: str) -> dict[str, Any]:
    """The fields of a trajectory that change where another estimator becomes the first; see `Trajectory.of_estimator`.

    Raises:
      TrajectoryError: it holds no values of the estimator; lists those that it holds.
    """
    first, *further = estimator_names(trajectory)
    if name == first:
        return {}
    if name not in further:
        held = ", ".join(map(repr, (first, *further)))
        raise TrajectoryError(f"estimator = {name!r}; allowed: {held}, whose values the trajectory holds")
    i_xt, i_ty = informations(trajectory, name)
    extras = {key: array for key, array in trajectory.extras.items() if key not in _MOVED}
    before = {"i_xt": trajectory.i_xt, "i_ty": trajectory.i_ty, **trajectory.extras}
    errors: dict[str, npt.NDArray[Any]] = {}
    for key in _MOVED:
        found = extras.pop(f"{key}_{name}", None)
        if found is not None and key not in ("i_xt", "i_ty"):
            errors[key] = found
        if key in before:  # a run that was measured again may hold values of its own under that name: these stay
            extras.setdefault(f"{key}_{first}", before[key])
    config = dict(trajectory.config)
    told = config.get("estimators", {})
    was = {key: value for key, value in config.pop("measured", _EXACT).items() if key != "estimator"}
    config["estimators"] = {first: was} | told
    # The histogram of a run is what a trajectory without a word on it holds.
    if name != "histogram" or "versions" in told.get(name, {}):
        config["measured"] = {"estimator": name, **told.get(name, {})}
    return {"config": config, "i_xt": i_xt, "i_ty": i_ty, "extras": extras | errors}
