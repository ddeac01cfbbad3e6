"""`measure`: any estimator on the stored weights of a run, without training again.

Shapes: S seeds, E logged epochs, L layers, K seeds of a block, P parameters, R rows of a result.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Callable
from concurrent import futures
from typing import Any

import jax
import numpy as np
import numpy.typing as npt

from ibjax.config import Config
from ibjax.data.dataset import Dataset
from ibjax.data.spherical import spherical_dataset
from ibjax.ensemble.blocks import Integers, block_size, compile_all, cores, precision, split
from ibjax.ensemble.driver import arguments
from ibjax.ensemble.measurement import Estimate, described
from ibjax.ensemble.program import Program, Record
from ibjax.information.estimator import make
from ibjax.progress import count_bar
from ibjax.training.trainer import Sample, State
from ibjax.trajectory.provenance import origin, recorded_config
from ibjax.trajectory.trajectory import Trajectory

FloatArray = npt.NDArray[np.floating[Any]]
_OF_RUN = ("i_xt", "i_ty", "range_low", "range_high")
_OF_THE_OLD = ("i_xt_error", "i_ty_error", "range_low", "range_high", "singleton_share")
"""Optional arrays that speak of the `i_xt` and `i_ty` beside them."""


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
      dataset: what the run was given as `dataset`, if it was given one.
      network: what the run was given as `network`, if it was given one.
      progress: True for a bar on the terminal, or a function called with (done, total) after each block and epoch.
      options: of the estimator, such as `noise_variance=1e-3`.

    Returns:
      The trajectory with the new `i_xt` and `i_ty`; with `i_xt_error` and `i_ty_error` where the estimator knows its
      standard errors, `range_low` and `range_high` where the run's histogram chose its range. All else is kept.
      `config["measured"]` tells the estimator, what its values are ("exact", "upper bound" ...) and its options.

    Raises:
      ValueError: no weights are stored; `dataset` or `network` is needed, or not the one of the run; an unknown
        estimator or option; a layer beyond the estimator's reach.
      TypeError: an argument of the wrong type. All before anything is compiled but for a network that is not the run's.
    """
    if not isinstance(trajectory, Trajectory):
        raise TypeError(f"trajectory = {trajectory!r}; allowed: an ibjax.Trajectory")
    if not isinstance(estimator, str):
        raise TypeError(f"estimator = {estimator!r}; allowed: the name of one")
    if not callable(progress) and not isinstance(progress, bool):
        raise TypeError(f"progress = {progress!r}; allowed: True, False or a function")
    # Weights do not tell how they were found: the plain path knows every network.
    config = dataclasses.replace(recorded_config(trajectory), estimators=(), backend="plain")
    if estimator == "histogram":
        options = {"bins": config.bins, "compat": config.compat, **options}
    chosen = make(estimator, **options)
    given = {"dataset": dataset, "network": network}
    for name, value in given.items():
        if value is None and name in (trajectory.config.get("custom") or ()):
            raise ValueError(
                f"{name} = None, but the run was given one of its own: measure(..., {name}=...) needs it too"
            )
    if dataset is not None and not isinstance(dataset, Dataset):
        raise TypeError(f"dataset = {dataset!r}; allowed: an ibjax.Dataset")
    params = _parameters(trajectory)
    data = spherical_dataset(config.dataset) if dataset is None else dataset
    of_run = (trajectory.require("train_mask").shape[1], trajectory.i_xy, trajectory.h_x, trajectory.h_y)
    if not np.allclose(of_run, (data.n_patterns, data.information, data.h_x, data.h_y), rtol=0, atol=1e-6):
        raise ValueError(
            f"dataset has {data.n_patterns} patterns and I(X;Y) = {data.information:.6f} bits; the run was trained on "
            f"{of_run[0]} patterns with I(X;Y) = {of_run[1]:.6f}"
        )
    with precision(config):
        program = Program(config, data, network, None)
        if program.layer_widths != trajectory.layer_widths or program.n_params != params.shape[2]:
            raise ValueError(
                f"network has layers of {program.layer_widths} units and {program.n_params} parameters; the run's has "
                f"{trajectory.layer_widths} and {params.shape[2]}"
            )
        estimate = None if chosen == program.histogram else program.estimate(chosen)
        with contextlib.ExitStack() as stack:
            report = progress if callable(progress) else None
            if progress is True:
                report = stack.enter_context(count_bar("measuring"))
            own = any(value is not None for value in given.values())
            rows = _measured(program, trajectory, params, estimate, own, report)
    kept = {key: value for key, value in trajectory.extras.items() if key not in _OF_THE_OLD}
    found = {key: value for key, value in rows.items() if key not in ("i_xt", "i_ty")}
    measured = {"estimator": chosen.name, **described(chosen), **origin(jax.devices()[0].device_kind)}
    return dataclasses.replace(
        trajectory,
        config={**trajectory.config, "measured": measured},
        i_xt=rows["i_xt"],
        i_ty=rows["i_ty"],
        extras=kept | found,
    )


def weight_bytes(config: Config, *, dataset: Dataset | None = None, network: Any = None) -> int:
    """Bytes that the weights of a run take with `store_weights=True`, in memory and, less a tenth, in its file.

    S x E x P numbers; arguments and errors are those of `ibjax.run`.
    """
    with precision(config):
        data = spherical_dataset(config.dataset) if dataset is None else dataset
        program = Program(config, data, network, None)
        return len(config.seed_list) * len(config.logged) * program.n_params * program.dtype.itemsize


def _parameters(trajectory: Trajectory) -> FloatArray:
    """(S, E, P), in the order of the run's own vectors.

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


class _Measurer:
    """The programs of a run that measure, compiled for one device.

    Args:
      estimate: what to apply, or None for the run's own histogram.
      check: whether `record` will be called beside an estimate.
    """

    def __init__(self, program: Program, size: int, device: jax.Device, estimate: Estimate | None, check: bool) -> None:
        self._device = device
        self._data = self._put(program.inputs), self._put(program.conditional)
        seeds, data, sample, state, (epoch, *_) = arguments(program, size, device)
        lowered = {"start": jax.jit(program.start).lower(seeds, *data)}
        if estimate is not None:
            lowered["estimate"] = jax.jit(estimate).lower(sample, state.params, epoch, *data)
        if estimate is None or check:
            lowered["measure"] = jax.jit(program.measure).lower(sample, state, *data)
        self._programs = dict(zip(lowered, compile_all(list(lowered.values()), device), strict=True))

    def _put(self, value: Any) -> Any:
        return jax.device_put(value, self._device)

    def start(self, seeds: Integers) -> tuple[Sample, State]:
        """A block of networks as they began, (K,)."""
        return self._programs["start"](self._put(seeds), *self._data)

    def record(self, sample: Sample, state: State, params: FloatArray) -> Record:
        """All that the run measured of a block with these parameters, (K, P)."""
        vectors = self._put(params.astype(state.params.dtype))
        return self._programs["measure"](sample, state._replace(params=vectors), *self._data)

    def rows(self, sample: Sample, state: State, params: FloatArray, epoch: int) -> FloatArray:
        """The estimate, or the rows `_OF_RUN`, of a block with these parameters, (K, R, L)."""
        if "estimate" in self._programs:
            arguments = self._put(params.astype(state.params.dtype)), self._put(np.int32(epoch))
            return np.asarray(self._programs["estimate"](sample, *arguments, *self._data))
        record = self.record(sample, state, params)
        return np.stack([np.asarray(getattr(record, row)) for row in _OF_RUN], axis=1)


def _measured(
    program: Program,
    trajectory: Trajectory,
    params: FloatArray,
    estimate: Estimate | None,
    check: bool,
    report: Callable[[int, int], None] | None,
) -> dict[str, FloatArray]:
    """Every block at every epoch, (S, E, L) by row; NaN where a network had diverged."""
    devices = jax.devices()
    size, epochs = block_size(devices[0]), trajectory.epochs.tolist()
    parts, blocks = split(np.arange(len(params)), size)  # which networks, by their places in the trajectory
    seeds = trajectory.seeds.astype(np.uint32)
    measurers = [_Measurer(program, size, device, estimate, check) for device in devices[: len(blocks)]]
    where = [measurers[number % len(measurers)] for number in range(len(blocks))]
    fresh = [measurer.start(seeds[block]) for measurer, block in zip(where, blocks, strict=True)]
    if check:
        losses = np.asarray(where[0].record(*fresh[0], params[blocks[0], -1]).train_loss)[: len(parts[0])]
        stored = trajectory.require("train_loss")[parts[0], -1]
        apart = np.isfinite(stored) & ~np.isclose(losses, stored, rtol=1e-3, atol=1e-5)
        if apart.any():
            raise ValueError(
                "dataset or network is not the one of the run: with the stored weights it gives other losses "
                f"({losses[apart][0]:.6g} where the run had {stored[apart][0]:.6g} nats)"
            )
    rows = _OF_RUN if estimate is None else estimate.rows
    values = np.full((len(params), len(epochs), len(rows), len(program.layer_names)), np.nan, trajectory.i_xt.dtype)

    def one(number: int, epoch: int) -> FloatArray:
        with precision(program.config):
            return where[number].rows(*fresh[number], params[blocks[number], epoch], epochs[epoch])

    # One thread keeps an accelerator busy; on a CPU each runs the program on its own core.
    alone = devices[0].platform == "cpu" and len(measurers) == 1
    tasks = list(itertools.product(range(len(blocks)), range(len(epochs))))
    with futures.ThreadPoolExecutor(cores() if alone else len(measurers)) as pool:
        waiting = {pool.submit(one, *task): task for task in tasks}
        try:
            for done, future in enumerate(futures.as_completed(waiting), 1):
                number, epoch = waiting[future]
                values[parts[number], epoch] = future.result()[: len(parts[number])]
                if report is not None:
                    report(done, len(tasks))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    values[~np.isfinite(trajectory.train_loss)] = np.nan
    keep = rows[:2] if estimate is None and all(program.fixed_range) else rows
    return {row: values[:, :, rows.index(row)] for row in keep}
