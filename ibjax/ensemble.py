"""`run`: many networks at once, and the information of their layers at every logged epoch.

Seeds are trained in blocks of a fixed size, so that one compiled program serves any number of them, memory is bounded,
and a network is the same to the bit in any company. On a CPU each core drives blocks of its own.

Shapes: S seeds, K seeds of a block, n training patterns, N patterns.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import queue
import sys
import threading
import warnings
from collections.abc import Callable
from importlib import metadata
from typing import Any, NamedTuple

import jax
import numpy as np
import numpy.typing as npt
import optax

from ibjax.blocks import block_size, compile_all, cores, precision, split
from ibjax.config import Config
from ibjax.data import Dataset, spherical_dataset
from ibjax.estimates import described
from ibjax.program import Program, Record
from ibjax.trajectory import Trajectory

IntArray = npt.NDArray[np.integer[Any]]

_PIECE = 50  # epochs in a call: how long Ctrl-C waits


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
      done, total: epochs times blocks of seeds.
      last_epoch: at which the run ends.
      epoch: the logged epoch all blocks have reached.
      accuracy: mean test accuracy there (training accuracy where there is no test pattern).
      i_xt: mean I(X;T) of the last hidden layer there, bits.
    """

    done: int
    total: int
    last_epoch: int
    epoch: int
    accuracy: float
    i_xt: float


class _Block(NamedTuple):
    """Where one block of seeds stands."""

    number: int
    logged: int
    epoch: int
    sample: Any
    state: Any


def run(
    config: Config | None = None,
    *,
    dataset: Dataset | None = None,
    network: Any = None,
    optimizer: optax.GradientTransformation | None = None,
    progress: bool | Callable[[Progress], None] = False,
) -> Trajectory:
    """Train an ensemble and measure the information plane of every layer at each logged epoch.

    Args:
      config: what to train; the paper's by default.
      dataset: instead of the task that `config.dataset` names.
      network: instead of the perceptron of `config.hidden_widths`: a flax linen module whose `__call__(x)` returns
        `(logits, activations)` with one activation array (batch, width) a layer; a callable `rngs -> nnx.Module` of
        the same contract; or any object with `init(key, inputs) -> params` and `apply(params, inputs)`. Its layers are
        binned between their own least and greatest activation, stored as `range_low`, `range_high`.
      optimizer: instead of `config.optimizer`.
      progress: True for a bar on the terminal, or a function called with a `Progress` at each logged epoch.

    Returns:
      The trajectory, of `config.seed_list` in that order.

    Raises:
      ValueError, TypeError: an argument that is not allowed, before anything is compiled.

    Warns:
      RuntimeWarning: some networks diverged; says how many.
    """
    if not callable(progress) and not isinstance(progress, bool):
        raise TypeError(f"progress = {progress!r}; allowed: True, False or a function")
    with contextlib.ExitStack() as stack:
        report = progress if callable(progress) else None
        if progress is True:
            from ibjax.progress import bar

            report = stack.enter_context(bar())
        return Prepared(config, dataset=dataset, network=network, optimizer=optimizer).run(report)


class Prepared:
    """A run whose programs are compiled, to be repeated at will; arguments and errors are those of `ibjax.run`."""

    def __init__(
        self,
        config: Config | None = None,
        *,
        dataset: Dataset | None = None,
        network: Any = None,
        optimizer: optax.GradientTransformation | None = None,
    ) -> None:
        config = Config() if config is None else config
        if not isinstance(config, Config):
            raise TypeError(f"config = {config!r}; allowed: an ibjax.Config")
        if dataset is not None and not isinstance(dataset, Dataset):
            raise TypeError(f"dataset = {dataset!r}; allowed: an ibjax.Dataset")
        custom = {"dataset": dataset, "network": network, "optimizer": optimizer}
        self._custom = sorted(name for name, value in custom.items() if value is not None)
        devices = jax.devices()
        size = block_size(devices[0])
        self._parts, self._blocks = split(np.array(config.seed_list, np.uint32), size)
        with precision(config):
            self._program = Program(
                config, spherical_dataset(config.dataset) if dataset is None else dataset, network, optimizer
            )
            self._drivers = [_compiled(self._program, size, device) for device in devices[: len(self._blocks)]]
        # One thread keeps an accelerator busy; on a CPU each runs its own block's program on its own core.
        alone = devices[0].platform == "cpu" and len(self._drivers) == 1
        self._threads_each = min(cores(), len(self._blocks)) if alone else 1

    def run(self, report: Callable[[Progress], None] | None = None) -> Trajectory:
        """Train every block through every logged epoch; `report` is called at each of them."""
        config, logged = self._program.config, self._program.config.logged
        with precision(config):
            for number, block_seeds in enumerate(self._blocks):
                self._drivers[number % len(self._drivers)].add(number, block_seeds)
        finished: queue.SimpleQueue[tuple[_Block, Record] | BaseException] = queue.SimpleQueue()
        stop = threading.Event()

        def work(driver: _Driver) -> None:
            try:
                with precision(config):
                    while not stop.is_set() and (block := driver.take()) is not None:
                        finished.put(driver.advance(block, logged, stop))
            except BaseException as error:  # handed to the caller's thread, whatever it is
                finished.put(error)

        threads = [
            threading.Thread(target=work, args=(driver,), name="ibjax", daemon=True)
            for driver in self._drivers
            for _ in range(self._threads_each)
        ]
        records: list[list[Record]] = [[] for _ in self._blocks]
        patterns: list[IntArray] = [np.empty(0, np.int32)] * len(self._blocks)
        try:
            for thread in threads:
                thread.start()
            for _ in range(len(self._blocks) * len(logged)):
                done = finished.get()
                if isinstance(done, BaseException):
                    raise done
                block, record = done
                kept = len(self._parts[block.number])
                records[block.number].append(Record(*(a[:kept] for a in record)))
                if block.logged == len(logged):
                    patterns[block.number] = np.asarray(block.sample.patterns)[:kept]
                if report is not None:
                    report(_progress(self._program, records))
        finally:
            stop.set()
            for thread in threads:
                thread.join()
            for driver in self._drivers:
                driver.clear()
        return _trajectory(self._program, records, patterns, self._custom)


def _compiled(program: Program, size: int, device: jax.Device) -> _Driver:
    try:
        return _Driver(program, size, device)
    except Exception as error:
        if program.fused is None or program.config.backend != "auto":
            raise
        # The kernel is compiled by another compiler, which may not know the GPU at hand; the plain path runs anywhere.
        warnings.warn(f"trains on the plain path: the fused kernel does not compile here ({error})", stacklevel=4)
        program.fused = None
        return _Driver(program, size, device)


def _progress(program: Program, records: list[list[Record]]) -> Progress:
    logged = program.config.logged
    reached = min(len(rs) for rs in records)
    done = sum(logged[len(rs) - 1] if rs else 0 for rs in records)
    latest = [rs[max(reached - 1, 0)] for rs in records if len(rs) > max(reached - 1, 0)]
    accuracy = np.concatenate([r.test_accuracy for r in latest])
    if np.isnan(accuracy).all():
        accuracy = np.concatenate([r.train_accuracy for r in latest])
    layer = max(len(program.layer_widths) - 2, 0)
    i_xt = np.concatenate([r.i_xt[:, layer] for r in latest])
    epoch = logged[max(reached - 1, 0)]
    return Progress(done, logged[-1] * len(records), logged[-1], epoch, _mean(accuracy), _mean(i_xt))


def _mean(values: npt.NDArray[Any]) -> float:
    values = values[np.isfinite(values)]
    return float(values.mean()) if values.size else float("nan")


class _Driver:
    """A program compiled for blocks of one size on one device, and the blocks that wait there for their next epochs."""

    def __init__(self, program: Program, size: int, device: jax.Device) -> None:
        self._device = device
        self._waiting: collections.deque[_Block] = collections.deque()
        self._inputs, self._conditional = self._put(program.inputs), self._put(program.conditional)
        data = (self._inputs, self._conditional)
        seeds, numbers = self._put(np.zeros(size, np.uint32)), self._numbers(0, 0, True)
        here = jax.sharding.SingleDeviceSharding(device)
        sample, state = jax.tree.map(
            lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=here),
            jax.eval_shape(program.start, seeds, *data),
        )
        lowered = (
            jax.jit(program.start).lower(seeds, *data),
            jax.jit(program.train, donate_argnums=1).lower(sample, state, self._inputs, *numbers),
            jax.jit(program.measure).lower(sample, state, *data),
            *(jax.jit(estimate).lower(sample, state.params, numbers[0], *data) for estimate in program.estimates),
        )
        self._start, self._train, self._measure, *self._estimates = compile_all(lowered, device)

    def _put(self, value: Any) -> Any:
        return jax.device_put(value, self._device)

    def _numbers(self, first: int, last: int, learn: bool) -> Any:
        return self._put((np.int32(first), np.int32(last), np.bool_(learn)))

    def add(self, number: int, seeds: IntArray) -> None:
        """A block of fresh networks."""
        sample, state = self._start(self._put(seeds), self._inputs, self._conditional)
        self._waiting.append(_Block(number, 0, 0, sample, state))

    def clear(self) -> None:
        """Forget blocks left over by an interrupted run."""
        self._waiting.clear()

    def take(self) -> _Block | None:
        """The block that has waited longest, or None where all are finished or in other hands."""
        try:
            return self._waiting.popleft()
        except IndexError:
            return None

    def advance(self, block: _Block, logged: tuple[int, ...], stop: threading.Event) -> tuple[_Block, Record]:
        """Train up to the block's next logged epoch, measure there, and queue the block again if more are to come."""
        epoch, state = logged[block.logged], block.state
        # Before any update there is no epoch to take gradients of: one pass is made without updates.
        pieces = (
            [(0, 1, False)]
            if epoch == 0
            else [(first, min(first + _PIECE, epoch), True) for first in range(block.epoch, epoch, _PIECE)]
        )
        for piece in pieces:
            state = self._train(block.sample, state, self._inputs, *self._numbers(*piece))
            if self._device.platform == "cpu":  # elsewhere the host runs ahead of the device, and should
                jax.block_until_ready(state)
            if stop.is_set():
                break
        record = self._measure(block.sample, state, self._inputs, self._conditional)
        if self._estimates:
            number = self._put(np.int32(epoch))
            rows = [e(block.sample, state.params, number, self._inputs, self._conditional) for e in self._estimates]
            record = record._replace(estimates=np.concatenate([np.asarray(part) for part in rows], axis=1))
        block = _Block(block.number, block.logged + 1, epoch, block.sample, state)
        record = Record(*map(np.asarray, record))
        if block.logged < len(logged):
            self._waiting.append(block)
        return block, record


def origin() -> dict[str, Any]:
    """Of what was computed here and now: versions, device, command."""
    return {
        "versions": {name: metadata.version(name) for name in ("ibjax", "jax", "jaxlib", "numpy", "optax")},
        "device_kind": jax.devices()[0].device_kind,
        "command": list(sys.argv),
    }


def _trajectory(
    program: Program, records: list[list[Record]], patterns: list[IntArray], custom: list[str]
) -> Trajectory:
    config, dataset = program.config, program.dataset
    stacked = Record(
        *(
            np.concatenate([np.stack([getattr(record, name) for record in block], axis=1) for block in records])
            for name in Record._fields
        )
    )
    healthy = np.logical_and.accumulate(stacked.finite, axis=1)  # once diverged, diverged
    values = {
        name: np.where(healthy.reshape(healthy.shape + (1,) * (array.ndim - 2)), array, np.nan).astype(array.dtype)
        for name, array in stacked._asdict().items()
        if name != "finite"
    }
    if lost := int((~healthy[:, -1]).sum()):
        warnings.warn(
            f"{lost} of {len(healthy)} networks diverged: their entries are NaN from there on",
            RuntimeWarning,
            stacklevel=3,
        )
    ranges = {name: values.pop(name) for name in ("range_low", "range_high")}
    extras = {} if all(program.fixed_range) else ranges
    params, estimates = values.pop("params"), values.pop("estimates")
    extras |= {key: estimates[:, :, row] for row, key in enumerate(program.estimate_keys)}
    if config.store_weights:
        with precision(config):
            extras |= program.layer_weights(params)
    chosen = np.concatenate(patterns)
    mask = np.zeros((len(chosen), dataset.n_patterns), bool)
    np.put_along_axis(mask, chosen, True, axis=1)
    if config.measure_on != "all":
        h_x, i_xy = dataset.restricted(mask == (config.measure_on == "train"))
        extras = extras | {"h_x_measured": h_x, "i_xy_measured": i_xy}
    return Trajectory(
        config={
            "config": dataclasses.asdict(config),
            "custom": custom,
            "estimators": {e.name: described(e) for e in program.estimators},
            **origin(),
        },
        seeds=np.array(config.seed_list, np.int64),
        epochs=np.array(config.logged, np.int64),
        layer_names=program.layer_names,
        layer_widths=program.layer_widths,
        train_mask=mask,
        diverged=~healthy[:, -1],
        i_xy=dataset.information,
        h_x=dataset.h_x,
        h_y=dataset.h_y,
        extras=extras,
        **values,
    )
