"""Blocks of seeds on devices: one compiled program of a fixed size serves any number of networks.

That is why a network is the same to the bit whichever other seeds are trained beside it, in training and when it is
measured again.

Shapes: K seeds of a block, S seeds, P parameters, Q statistics, R rows, L layers.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import numpy.typing as npt

from ibjax._workers import check_signals, run_all
from ibjax.config import Config
from ibjax.ensemble.checkpoint import from_bytes, to_bytes
from ibjax.ensemble.program import Program, Record
from ibjax.training.gradients import GradientMoments
from ibjax.training.schedule import slowdown
from ibjax.training.trainer import Sample, State

_BLOCK = 10  # seeds; larger ones train no faster on a core, and this divides the usual 50
_BLOCK_ON_ACCELERATOR = 128  # a block of threads each: about as many as a GPU has multiprocessors
_EPOCHS_PER_CALL = 50  # at most, and no more than take the following time
_SECONDS_PER_CALL = 0.25  # how long an interrupt waits, on an accelerator twice

Integers = npt.NDArray[np.integer[Any]]


def block_size(device: jax.Device) -> int:
    """K, whatever the number of seeds."""
    return _BLOCK if device.platform == "cpu" else _BLOCK_ON_ACCELERATOR


def split(seeds: Integers, size: int, n_devices: int = 1) -> tuple[list[Integers], list[Integers]]:
    """The seeds (or their numbers) of each block, and the same filled up to `size`.

    What fills a block up are copies of its first, to be dropped in the end. Where there are more devices than full
    blocks, each device has a block, of fewer seeds.
    """
    n_blocks = count_blocks(len(seeds), size, n_devices)
    full = n_blocks == -(-len(seeds) // size)
    parts = [seeds[i : i + size] for i in range(0, len(seeds), size)] if full else np.array_split(seeds, n_blocks)
    return parts, [np.append(part, np.full(size - len(part), part[0])) for part in parts]


def count_blocks(n_seeds: int, size: int, n_devices: int) -> int:
    """Blocks of so many seeds on so many devices."""
    return max(-(-n_seeds // size), min(n_devices, n_seeds))


def devices_for(n_seeds: int) -> list[jax.Device]:
    """The devices of this process, of several processes its own, that the blocks of so many seeds are spread over."""
    return jax.local_devices()[:n_seeds]


def precision(config: Config) -> contextlib.AbstractContextManager[None]:
    """The precision of a run, for this thread and this block of code only."""
    return jax.enable_x64(config.precision == "float64")


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads_per_device(devices: Sequence[jax.Device], n_tasks: int) -> int:
    """One thread keeps an accelerator busy; on a CPU each thread runs the program on a core of its own."""
    return min(cores(), n_tasks) if len(devices) == 1 and devices[0].platform == "cpu" else 1


class Block(NamedTuple):
    """Where one block of seeds stands.

    Attributes:
      number: which block.
      n_seeds: how many networks there are before those that fill it up.
      n_logged: how many logged epochs it has behind it.
      epoch: completed epochs.
      sample, state: of its networks, (K,) each.
    """

    number: int
    n_seeds: int
    n_logged: int
    epoch: int
    sample: Sample
    state: State


class DeviceProgram:
    """The programs of a run compiled for blocks of one size on one device.

    Args:
      program: of the run.
      size: K.
      device: where.
      train: whether blocks will be trained.
      measure: whether `record` will be called.

    Attributes:
      record_shapes: a `Record` of shapes and dtypes.
      n_estimates: estimators beside the histogram.
      networks_per_estimate: how many networks they measure in a call.
    """

    def __init__(
        self, program: Program, size: int, device: jax.Device, *, train: bool = True, measure: bool = True
    ) -> None:
        self._device = device
        self._data = self.put((program.inputs, program.conditional))
        self._targets = self.put(program.targets)
        lowered = lower(program, size, device, train=train, measure=measure)
        self.record_shapes = lowered["measure"].out_info if measure else None
        compiled = _compile(list(lowered.values()), device)
        self._programs = dict(zip(lowered, compiled, strict=True))
        self._in_phases = program.schedule is not None
        schedule = program.config.schedule
        self._passes_at_first = np.int32(not schedule or schedule[0].settings.gradient)
        self._slowdown = 1.0 if program.schedule is None else slowdown(program.schedule.phases)
        self.n_estimates = len(program.measurements)
        self.networks_per_estimate = networks_per_estimate(device, size)
        self._ahead = 0 if device.platform == "cpu" else 1  # calls that an accelerator has at hand while it is at one
        self._epochs_per_call = 1

    def put(self, value: Any) -> Any:
        """A pytree of arrays, on the device."""
        return jax.device_put(value, self._device)

    def start(self, number: int, seeds: Integers) -> Block:
        """A block of fresh networks, (K,)."""
        return Block(number, len(np.unique(seeds)), 0, 0, *self._programs["start"](self.put(seeds), *self._data))

    def advance(
        self, block: Block, logged: Sequence[int], stop: threading.Event, store: Callable[[Block, Record], None]
    ) -> Block | None:
        """Train up to the block's next logged epoch, measure and `store` there.

        Returns:
          The block, or None where no logged epoch is left. Where `stop` comes first, the block as it is by then, or,
          while estimators are at work, as it was an epoch before: its gradients are measured too and not in its state.
        """
        target, before, moments = logged[block.n_logged], block, None
        calls: list[tuple[GradientMoments, int]] = []  # that may not be done, with their epochs
        while moments is None or block.epoch < target:
            began, first = time.perf_counter(), block.epoch
            if self.n_estimates and block.epoch >= target - 1:
                state = from_bytes(to_bytes(block.state), block.state)  # training takes the memory of what it is given
                before = block._replace(state=self.put(state))
            block, moments = self.train(block, target)
            calls.append((moments, block.epoch - first))
            if len(calls) > self._ahead:
                self._wait(*calls.pop(0), began)
            if stop.is_set() and block.epoch < target:
                return block
        record = measured = self._measure(block.sample, block.state, moments)
        parts = []
        for first in range(0, block.n_seeds if self.n_estimates else 0, self.networks_per_estimate):
            if stop.is_set():
                return before
            parts.append(np.concatenate(self.estimate(block.sample, block.state.weights, first, target), axis=1))
        if parts:
            record = record._replace(estimates=np.concatenate(parts))
        if "watch" in self._programs:
            # By what was measured of all K: further estimates are of the networks without those that fill the block.
            watched = self._programs["watch"](block.sample, block.state, measured, self.put(np.int32(target)))
            block = block._replace(state=watched)
            # Phases that begin here are told at this log, which may be the last.
            at, stages = np.asarray(watched.stage.began), np.asarray(record.stages)
            record = record._replace(stages=np.concatenate([at, stages[:, at.shape[1] :]], axis=1))
        block = block._replace(n_logged=block.n_logged + 1)
        store(block, jax.tree.map(np.asarray, record))
        return block if block.n_logged < len(logged) else None

    def fused_error(self, block: Block) -> float:
        """See `FusedTrainer.error`."""
        return float(self._programs["check"](block.sample, block.state))

    def train(self, block: Block, target: int, *, learn: bool = True) -> tuple[Block, GradientMoments]:
        """The block some epochs later, at most at `target`, and the moments of the last one's gradients.

        Without learning its networks stay as they are, and in their phase.
        """
        first, last = block.epoch, min(block.epoch + self._epochs_per_call, target)
        if self.n_estimates and first < target - 1:
            last = min(last, target - 1)
        # Before any update there is no epoch to take gradients of: one pass is made without updates, if there are any.
        epochs = (np.int32(first), np.int32(last), np.bool_(learn))
        if not last:
            epochs = (np.int32(0), self._passes_at_first, np.False_)
        arguments = self._data[0], *self.put(epochs), self._targets
        state, moments = self._programs["train"](block.sample, block.state, *arguments)
        return block._replace(epoch=last, state=state), moments

    def _measure(self, *block: Any) -> Record:
        return self._programs["measure"](*block, *self._data, self._targets)

    def _wait(self, moments: GradientMoments, n_epochs: int, began: float) -> None:
        """Until a call that gives these moments is done; the next ones take as long as an interrupt may wait.

        A phase that is slower may begin at any epoch.
        """
        jax.block_until_ready(moments)
        pace = self._slowdown * (time.perf_counter() - began) / max(n_epochs, 1)
        self._epochs_per_call = max(1, min(_EPOCHS_PER_CALL, int(_SECONDS_PER_CALL / pace)))

    def estimate(self, sample: Sample, weights: Any, first: int, epoch: int) -> list[npt.NDArray[Any]]:
        """(k, R, L) of each further estimator, of the k = `networks_per_estimate` networks from the first one on.

        Args:
          sample: of a block.
          weights: its parameters and statistics, (K, P + Q).
          first: place in the block.
          epoch: at which they had these weights.
        """
        arguments = sample, self.put(weights), *self.put((np.int32(first), np.int32(epoch))), *self._data
        return [np.asarray(self._programs[f"estimate {number}"](*arguments)) for number in range(self.n_estimates)]

    def seconds(self, seeds: Integers) -> tuple[float, float]:
        """Seconds that an epoch of a block of seeds takes, (K,), and measuring it; trains a little to find out.

        Of a run in phases the epoch is one of the first phase.
        """
        block, moments = self.train(self.start(0, seeds), 0)
        paces, measures = [], []
        for _ in range(3):  # the first calls of a program take longer
            first, began = block.epoch, time.perf_counter()
            block, moments = self.train(block, first + _EPOCHS_PER_CALL, learn=not self._in_phases)
            self._wait(moments, block.epoch - first, began)
            trained = time.perf_counter()
            jax.block_until_ready(self._measure(block.sample, block.state, moments))
            paces.append((trained - began) / (block.epoch - first))
            measures.append(time.perf_counter() - trained)
        began = time.perf_counter()
        self.estimate(block.sample, block.state.weights, 0, 0)
        estimate = (time.perf_counter() - began) * block.n_seeds / self.networks_per_estimate
        return min(paces), min(measures) + estimate

    def record(self, block: Block, weights: npt.NDArray[Any], moments: GradientMoments) -> Record:
        """All that a run measures of a block, had it these weights, (K, P + Q), and gradients of these moments."""
        state = block.state.with_weights(self.put(weights.astype(block.state.weights.dtype)))
        return self._measure(block.sample, state, moments)


def lower(
    program: Program, size: int, device: jax.Device, *, train: bool = True, measure: bool = True
) -> dict[str, Any]:
    """The programs of a run by name, traced for blocks of one size and not yet compiled."""
    on_device = jax.sharding.SingleDeviceSharding(device)

    def shapes(tree: Any) -> Any:
        return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=on_device), tree)

    seeds, data = shapes(np.zeros(size, np.uint32)), shapes((program.inputs, program.conditional))
    program = program.on(device.platform)
    sample, state = shapes(jax.eval_shape(program.start, seeds, *data))
    moments, weights = shapes(jax.eval_shape(lambda state: (program.no_moments(state), state.weights), state))
    number, learn, targets = shapes((np.int32(0), np.bool_(True), program.targets))
    lowered = {"start": jax.jit(program.start).lower(seeds, *data)}
    check_signals()
    if train:
        arguments = data[0], number, number, learn, targets
        lowered["train"] = jax.jit(program.train, donate_argnums=1).lower(sample, state, *arguments)
        check_signals()
        if program.fused is not None:
            lowered["check"] = jax.jit(program.fused.error).lower(sample, state)
            check_signals()
    if measure:
        lowered["measure"] = jax.jit(program.measure).lower(sample, state, moments, *data, targets)
        check_signals()
        if program.schedule is not None and program.schedule.watches:
            record = shapes(lowered["measure"].out_info)
            lowered["watch"] = jax.jit(program.after_log).lower(sample, state, record, number)
            check_signals()
    for index, measurement in enumerate(program.measurements):
        part = functools.partial(measurement.of_some, networks_per_estimate(device, size))
        lowered[f"estimate {index}"] = jax.jit(part).lower(sample, weights, number, number, *data)
        check_signals()
    return lowered


def networks_per_estimate(device: jax.Device, size: int) -> int:
    """Networks that an estimator measures in one call: on a CPU one, as an interrupt would wait for a second each."""
    return 1 if device.platform == "cpu" else size


def _compile(lowered: Sequence[Any], device: jax.Device) -> list[Any]:
    """Programs for one device, all at once: the compiler keeps one core busy a program."""
    # XLA halves the vectors of a CPU that has 512 bits, for the sake of mixed loads; these loops gain a tenth.
    options = {"xla_cpu_prefer_vector_width": 512} if device.platform == "cpu" else {}
    return run_all([functools.partial(program.compile, compiler_options=options) for program in lowered])
