"""The results of a run: the buffer they fill, what a progress bar tells of it, and the trajectory made of it.

Shapes: S seeds, E logged epochs, L layers, K seeds of a block, P parameters, Q statistics, n training patterns, N
patterns.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from ibjax.analysis.bounds import check_bounds
from ibjax.analysis.stages import astray
from ibjax.config import Config
from ibjax.ensemble.blocks import precision
from ibjax.ensemble.program import Program
from ibjax.information.estimator import describe
from ibjax.networks.protocol import Model
from ibjax.progress import Progress
from ibjax.training.schedule import costs, phases_at
from ibjax.trajectory.provenance import origin
from ibjax.trajectory.trajectory import Trajectory

Leaves = list[npt.NDArray[Any]]


class ResultBuffer:
    """Measured arrays (S, E, ...), and how far each block of seeds has come.

    Args:
      sizes: seeds of each block.
      count: E.
      record: a NamedTuple of the shapes and dtypes of a block's record; axis 0 holds at least as many seeds as the
        block.
    """

    def __init__(self, sizes: Sequence[int], count: int, record: Any) -> None:
        ends = np.cumsum(sizes).tolist()
        self.rows = [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]
        self.n_logged = [0] * len(sizes)
        self._record = type(record)
        self._leaves: Leaves = [np.empty((ends[-1], count, *leaf.shape[1:]), leaf.dtype) for leaf in record]

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays when full."""
        return sum(leaf.nbytes for leaf in self._leaves)

    @property
    def arrays(self) -> Any:
        """The record with (S, E, ...) in place of (K, ...)."""
        return self._record(*self._leaves)

    def add(self, number: int, record: Any) -> None:
        """The next logged epoch of a block."""
        rows, epoch = self.rows[number], self.n_logged[number]
        for leaf, value in zip(self._leaves, record, strict=True):
            leaf[rows, epoch] = np.asarray(value)[: rows.stop - rows.start]
        self.n_logged[number] = epoch + 1

    def part(self, number: int, first: int, last: int) -> Leaves:
        """Views (K, last - first, ...) of what a block measured at some of its logged epochs."""
        return [leaf[self.rows[number], first:last] for leaf in self._leaves]

    def restore(self, number: int, pieces: Sequence[Sequence[npt.NDArray[Any]]]) -> None:
        """What a block measured before, in pieces along the epochs.

        Raises:
          ValueError: other arrays than a block of this run measures.
        """
        for piece in pieces:
            first = self.n_logged[number]
            last = first + (piece[0].shape[1] if piece and piece[0].ndim > 1 else 0)
            places = self.part(number, first, last)
            if last == first or [(a.shape, a.dtype) for a in piece] != [(a.shape, a.dtype) for a in places]:
                raise ValueError(f"its records from logged epoch {first} on have other shapes or types")
            for place, array in zip(places, piece, strict=True):
                place[:] = array
            self.n_logged[number] = last


def collect(config: Config, program: Program, buffer: ResultBuffer, patterns: npt.NDArray[np.int32]) -> Trajectory:
    """The trajectory of a finished run.

    Args:
      config: of the run.
      program: of the run, or of one that differs in its seeds only.
      buffer: full.
      patterns: (S, n), on which each network trained.
    """
    dataset, model = program.dataset, program.model
    values = buffer.arrays._asdict()
    stages, scales = values.pop("stages"), values.pop("scales")
    finite = np.logical_and.accumulate(values.pop("finite"), axis=1)  # once diverged, diverged
    for array in values.values():
        array[~finite] = np.nan  # in place: of a big ensemble there is no room for a second one
    mask = np.zeros((len(patterns), dataset.n_patterns), bool)
    np.put_along_axis(mask, patterns, True, axis=1)
    extras = _extras(config, program, values, mask)  # takes its arrays out of the values
    if config.phases:
        extras |= _phase_extras(config, model, stages, scales, mask)
    if program.targets is not None:  # numbers are not right or wrong
        del values["train_accuracy"], values["test_accuracy"]
    return Trajectory(
        config={
            "config": dataclasses.asdict(config),
            "custom": list(program.custom),
            **({"dataset_sha256": dataset.sha256} if "dataset" in program.custom else {}),
            **({} if dataset.target_edges is None else {"target_edges": [list(e) for e in dataset.target_edges]}),
            "estimators": {estimator.name: describe(estimator) for estimator in program.estimators},
            **origin(jax.local_devices()[0].device_kind),
        },
        seeds=np.array(config.seed_list, np.int64),
        epochs=np.array(config.logged, np.int64),
        layer_names=model.layer_names,
        layer_widths=model.layer_widths,
        train_mask=mask,
        diverged=~finite[:, -1],
        i_xy=dataset.information,
        h_x=dataset.h_x,
        h_y=dataset.h_y,
        extras=extras,
        **values,
    )


class Doubts:
    """What is wrong with the networks of a run, gathered from all parts of it."""

    def __init__(self) -> None:
        self._lost = self._total = 0
        self._bounds = ""
        self._phases: dict[tuple[int, str], list[int]] = {}  # two phases may have the same words

    def add(self, trajectory: Trajectory) -> None:
        """Look at a part of the run, or at all of it."""
        self._lost += int(trajectory.diverged.sum())
        self._total += trajectory.seeds.size
        if not self._bounds and not (bounds := check_bounds(trajectory)).ok:
            self._bounds = str(bounds)
        for what, seeds in astray(trajectory).items():
            self._phases.setdefault(what, []).extend(seeds)

    def warn(self, stacklevel: int) -> None:
        """Say so, to the function so many calls above.

        Warns:
          RuntimeWarning: some networks diverged; information values break their bounds; phases that networks never
            left, or came to after their end; walks that hardly move, or move too freely.
        """
        if self._lost:
            text = f"{self._lost} of {self._total} networks diverged: their entries are NaN from there on"
            warnings.warn(text, RuntimeWarning, stacklevel=stacklevel)
        if self._bounds:
            text = f"information values break their bounds; do not trust them\n{self._bounds}"
            warnings.warn(text, RuntimeWarning, stacklevel=stacklevel)
        for (_, text), seeds in sorted(self._phases.items()):
            some = ", ".join(map(str, seeds[:10])) + ", ..." * (len(seeds) > 10)
            warnings.warn(
                f"{text}: {len(seeds)} of {self._total} networks (seeds {some})", RuntimeWarning, stacklevel=stacklevel
            )


def _extras(
    config: Config, program: Program, values: dict[str, Any], mask: npt.NDArray[np.bool_]
) -> dict[str, npt.NDArray[Any]]:
    """The optional arrays of the file; takes theirs out of `values`."""
    ranges = {name: values.pop(name) for name in ("range_low", "range_high")}
    extras = {} if all(program.model.bounded) else ranges
    weights, estimates = values.pop("weights"), values.pop("estimates")
    extras |= {key: estimates[:, :, row] for row, key in enumerate(program.estimate_keys)}
    if config.store_weights:
        with precision(config):
            extras |= _layer_weights(program, weights)
    if config.measure_on != "all":
        h_x, i_xy = program.dataset.restricted(mask == (config.measure_on == "train"))
        extras |= {"h_x_measured": h_x, "i_xy_measured": i_xy}
    return extras


def _phase_extras(
    config: Config, model: Model, stages: npt.NDArray[Any], scales: npt.NDArray[Any], mask: npt.NDArray[np.bool_]
) -> dict[str, npt.NDArray[Any]]:
    """What the file tells of the phases of a run, from `Record.stages` and `Record.scales` of all seeds and epochs."""
    schedule, epochs = config.schedule, np.array(config.logged)
    began, moves = stages[:, -1, : len(schedule)], stages[:, :, len(schedule) :].astype(np.int64)
    forward, backward = costs(schedule, began, epochs, mask.sum(axis=1), model)
    found: dict[str, npt.NDArray[Any]] = {"phase": phases_at(began, epochs), "phase_began": began}
    found |= {"cost_forward": forward, "cost_backward": backward}
    if any(phase.settings.walks for phase in schedule):
        proposed, accepted, refused = np.moveaxis(np.diff(moves, axis=1, prepend=0), 2, 0)
        share = accepted / np.where(proposed > 0, proposed, np.nan)
        found |= {"acceptance": share, "not_finite": refused, "move_scale": scales[:, :, 0]}
    return found


def _layer_weights(program: Program, weights: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
    """Vectors (S, E, P + Q) as `weights_<layer>` (S, E, U', U) and `biases_<layer>` (S, E, U).

    Those of a user's network, whose layers are not known to have these, go by the name `params`, as they are.
    """
    if program.model.hidden is None:
        return {"params": weights}
    layers = jax.vmap(jax.vmap(program.model.unravel))(jnp.asarray(weights))
    named = list(zip(program.model.layer_names, layers, strict=True))
    return {
        f"{kind}_{name}": np.asarray(layer[part])
        for kind, part in (("weights", "kernel"), ("biases", "bias"))
        for name, layer in named
    }


def progress_of(logged: Sequence[int], buffer: ResultBuffer, resumed: int, seconds: float) -> Progress:
    """How far a run is; the other arguments are those of `Progress`."""
    counts = list(buffer.n_logged)  # the others go on
    done = sum(logged[count - 1] if count else 0 for count in counts)
    latest = max(min(counts) - 1, 0)
    rows = [row for row, count in zip(buffer.rows, counts, strict=True) if count > latest]
    values = buffer.arrays

    def at(name: str) -> npt.NDArray[Any]:
        array = getattr(values, name)
        if len(rows) == len(counts):
            return array[:, latest]
        return np.concatenate([array[:0, latest], *(array[row, latest] for row in rows)])

    accuracy = at("test_accuracy")
    if np.isnan(accuracy).all():
        accuracy = at("train_accuracy")
    i_xt = at("i_xt")
    last_hidden = i_xt[:, max(i_xt.shape[1] - 2, 0)]
    return Progress(
        done=done,
        total=logged[-1] * len(counts),
        last_epoch=logged[-1],
        epoch=logged[latest],
        accuracy=_finite_mean(accuracy),
        i_xt=_finite_mean(last_hidden),
        resumed=resumed,
        seconds=seconds,
    )


def _finite_mean(values: npt.NDArray[Any]) -> float:
    values = values[np.isfinite(values)]
    return float(values.mean()) if values.size else float("nan")
