"""`measure`: any estimator on the stored weights of a run, without training again.

Shapes: S seeds, E logged epochs, L layers, K seeds of a block, P parameters, Q statistics, R rows of a result.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import threading
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import numpy.typing as npt

from ibjax._checks import platforms
from ibjax._workers import Workers, interruptible
from ibjax.config import Config
from ibjax.data.dataset import Dataset
from ibjax.ensemble.assemble import assemble, measurement
from ibjax.ensemble.blocks import (
    DeviceProgram,
    block_size,
    devices_for,
    networks_per_estimate,
    precision,
    split,
    threads_per_device,
)
from ibjax.ensemble.compiled import check_footprint
from ibjax.ensemble.program import Program
from ibjax.information.estimator import describe, make
from ibjax.progress import check_progress, count_bar
from ibjax.trajectory.provenance import origin, recorded_config
from ibjax.trajectory.trajectory import Trajectory

FloatArray = npt.NDArray[np.floating[Any]]
_HISTOGRAM_ROWS = ("i_xt", "i_ty", "range_low", "range_high")
# Optional arrays that speak of the `i_xt` and `i_ty` beside them.
_REPLACED = ("i_xt_error", "i_ty_error", "range_low", "range_high", "singleton_share")


def measure(
    trajectory: Trajectory,
    estimator: str = "histogram",
    *,
    dataset: Dataset | None = None,
    network: Any = None,
    progress: bool | Callable[[int, int], None] = False,
    **options: Any,
) -> Trajectory:
    """Another estimate of the information plane, from the weights a run has stored (`Config(store_weights=True)`).

    Networks are measured in the blocks of the run, by its programs: the run's own histogram, and the estimators of
    `Config(estimators=...)`, give the run's own numbers to the bit on the same kind of hardware.

    Args:
      trajectory: with stored weights.
      estimator: "histogram" (with the run's bins where none are given) or another of
        `ibjax.information.estimator.ESTIMATORS`.
      dataset, network: what `ibjax.run` was given as these, if it was given any.
      progress: True for a bar, or a function called with (done, total) networks and epochs (blocks of networks with the
        run's histogram and on accelerators), first (0, total).
      options: of the estimator, such as `noise_variance=1e-3`.

    Returns:
      The trajectory with the new `i_xt` and `i_ty`; with `i_xt_error` and `i_ty_error` where the estimator knows its
      standard errors, `range_low` and `range_high` where the run's histogram chose its range. All else stays.
      `config["measured"]` tells the estimator, what its values are ("exact", "upper bound" ...) and its options.

    Raises:
      ValueError: no weights are stored; `dataset` or `network` is needed, or not the one of the run; an unknown
        estimator or option; a layer beyond the estimator's reach.
      TypeError: an argument of the wrong type. All before anything is compiled but for a network that is not the run's.
      RuntimeError, MemoryError: JAX_PLATFORMS names none that is here; it does not fit into memory.
    """
    if not isinstance(trajectory, Trajectory):
        raise TypeError(f"trajectory = {trajectory!r}; allowed: an ibjax.Trajectory")
    check_progress(progress)
    platforms(jax)
    # Weights do not tell how they were found: the plain path knows every network.
    config = dataclasses.replace(recorded_config(trajectory), estimators=(), backend="plain", phases=())
    if estimator == "histogram":
        options = {"bins": config.bins, "compat": config.compat, **options}
    chosen = make(estimator, **options)
    _check_supplied(trajectory, dataset=dataset, network=network)
    weights = _weights(trajectory)
    with contextlib.ExitStack() as stack:
        stack.enter_context(interruptible())
        with precision(config):
            program = assemble(config, dataset=dataset, network=network)
            _check_program(trajectory, program, weights)
            if chosen != program.histogram:
                further = measurement(config, program.dataset, program.model, chosen)
                program = dataclasses.replace(program, measurements=(further,))
        report = stack.enter_context(count_bar("measuring")) if progress is True else progress or None
        rows = _measure_all(program, trajectory, weights, report, check_losses=bool(program.custom))
    extras = {key: value for key, value in trajectory.extras.items() if key not in _REPLACED}
    extras |= {key: value for key, value in rows.items() if key not in ("i_xt", "i_ty")}
    measured = {"estimator": chosen.name, **describe(chosen), **origin(jax.local_devices()[0].device_kind)}
    measured_config = trajectory.config | {"measured": measured}
    return dataclasses.replace(trajectory, config=measured_config, i_xt=rows["i_xt"], i_ty=rows["i_ty"], extras=extras)


def weight_bytes(config: Config, *, dataset: Dataset | None = None, network: Any = None) -> int:
    """Bytes that the weights of a run take with `store_weights=True`, in memory and, less a tenth, in its file.

    S x E x (P + Q) numbers; arguments and errors are those of `ibjax.run`.
    """
    with precision(config):
        n_weights = assemble(config, dataset=dataset, network=network).model.n_weights
        return len(config.seed_list) * len(config.logged) * n_weights * np.dtype(config.precision).itemsize


def _check_supplied(trajectory: Trajectory, **supplied: Any) -> None:
    """Refuses to measure without a data set or network that the run was given."""
    for name, value in supplied.items():
        if value is None and name in (trajectory.config.get("custom", ())):
            raise ValueError(
                f"{name} = None, but the run was given a custom one; allowed: the same one, measure(..., {name}=...)"
            )


def _check_program(trajectory: Trajectory, program: Program, weights: FloatArray) -> None:
    """Refuses a data set or a network of another size than the run's, and what does not fit into memory."""
    check_footprint(program)
    data, model = program.dataset, program.model
    of_run = (trajectory.require("train_mask").shape[1], trajectory.i_xy, trajectory.h_x, trajectory.h_y)
    if not np.allclose(of_run, (data.n_patterns, data.information, data.h_x, data.h_y), rtol=0, atol=1e-6):
        raise ValueError(
            f"dataset has {data.n_patterns} patterns and I(X;Y) = {data.information:.6f} bits; the run was trained on "
            f"{of_run[0]} patterns with I(X;Y) = {of_run[1]:.6f}"
        )
    if model.layer_widths != trajectory.layer_widths or model.n_weights != weights.shape[2]:
        raise ValueError(
            f"network has layers of {model.layer_widths} units and {model.n_weights} parameters and statistics; the "
            f"run's has {trajectory.layer_widths} and {weights.shape[2]}"
        )


def _weights(trajectory: Trajectory) -> FloatArray:
    """(S, E, P + Q), in the order of the run's own vectors.

    Raises:
      ValueError: they are not stored.
    """
    extras = trajectory.extras
    if "params" in extras:
        return extras["params"]
    parts = {"kernel": "weights", "bias": "biases"}
    keys = [f"{kind}_{name}" for name in trajectory.layer_names for kind in parts.values()]
    if missing := [key for key in keys if key not in extras]:
        raise ValueError(
            f"trajectory holds no {missing[0]!r}: to measure again, the run needs Config(store_weights=True), on the "
            "command line --store-weights"
        )
    layers = [{part: extras[f"{kind}_{name}"] for part, kind in parts.items()} for name in trajectory.layer_names]
    return np.concatenate([leaf.reshape(*leaf.shape[:2], -1) for leaf in jax.tree.leaves(layers)], axis=2)


def _measure_all(
    program: Program,
    trajectory: Trajectory,
    weights: FloatArray,
    report: Callable[[int, int], None] | None,
    *,
    check_losses: bool,
) -> dict[str, FloatArray]:
    """Every block at every epoch, (S, E, L) by row; NaN where a network had diverged."""
    epochs = trajectory.epochs.tolist()
    size = block_size(jax.local_devices()[0])
    used = devices_for(len(weights))
    # Which networks, by their places in the trajectory.
    parts, blocks = split(np.arange(len(weights)), size, len(used))
    further = program.measurements[0] if program.measurements else None
    step = size if further is None else networks_per_estimate(used[0], size)
    n_steps = len(epochs) * sum(-(-len(part) // step) for part in parts)
    if report is not None:
        report(0, n_steps)
    with precision(program.config):
        programs = [
            DeviceProgram(program, size, device, train=False, measure=further is None or check_losses)
            for device in used
        ]
        seeds = trajectory.seeds.astype(np.uint32)
        fresh = [programs[n % len(used)].start(n, seeds[block]) for n, block in enumerate(blocks)]
        moments = [program.no_moments(block.state) for block in fresh]  # stored weights tell no gradients
        if check_losses:
            losses = programs[0].record(fresh[0], weights[blocks[0], -1], moments[0]).train_loss
            _check_losses(np.asarray(losses)[: len(parts[0])], trajectory.require("train_loss")[parts[0], -1])
    rows = _HISTOGRAM_ROWS if further is None else further.rows
    values = np.full((len(weights), len(epochs), len(rows), len(trajectory.layer_names)), np.nan, trajectory.i_xt.dtype)

    def measure_part(device: int, task: tuple[int, int, int], _: threading.Event) -> tuple[int, int, int] | None:
        """Some networks of a block at one epoch; what is left of them."""
        number, epoch, first = task
        vectors = weights[blocks[number], epoch]
        if further is None:
            record = programs[device].record(fresh[number], vectors, moments[number])
            found = np.stack([np.asarray(getattr(record, row)) for row in rows], axis=1)
        else:
            vectors = vectors.astype(program.config.precision)
            (found,) = programs[device].estimate(fresh[number].sample, vectors, first, epochs[epoch])
        networks = parts[number][first : first + step]
        values[networks, epoch] = found[: len(networks)]
        return (number, epoch, first + step) if first + step < len(parts[number]) else None

    tasks = list(itertools.product(range(len(blocks)), range(len(epochs)), [0]))
    threads = threads_per_device(used, len(tasks))
    workers = Workers(measure_part, len(used), threads, lambda: precision(program.config))
    for task in tasks:
        workers.add(task[0] % len(used), task)
    with contextlib.closing(workers.run(n_steps)) as steps:
        for done, _ in enumerate(steps, 1):
            if report is not None:
                report(done, n_steps)
    values[~np.isfinite(trajectory.require("train_loss"))] = np.nan
    if further is None and all(program.model.bounded):
        rows = rows[:2]
    return {row: values[:, :, index] for index, row in enumerate(rows)}


def _check_losses(losses: FloatArray, stored: FloatArray) -> None:
    """Refuses a data set or network that gives other losses than the run's."""
    apart = np.isfinite(stored) & ~np.isclose(losses, stored, rtol=1e-3, atol=1e-5)
    if apart.any():
        raise ValueError(
            "dataset or network is not the one of the run: with the stored weights it gives other losses "
            f"({losses[apart][0]:.6g} where the run had {stored[apart][0]:.6g})"
        )
