"""Blocks of seeds on devices: one compiled program of a fixed size serves any number of networks.

That is why a network is the same to the bit whichever other seeds are trained beside it, in training and when it is
measured again.

Shapes: K seeds of a block, S seeds, P parameters, R rows, L layers.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from concurrent import futures
from typing import Any, NamedTuple

import jax
import numpy as np
import numpy.typing as npt

from ibjax.config import Config
from ibjax.ensemble.program import Program, Record
from ibjax.training.gradients import GradientMoments
from ibjax.training.trainer import Sample, State

_BLOCK = 10  # seeds; larger ones train no faster on a core, and this divides the usual 50
_BLOCK_ON_ACCELERATOR = 128  # a block of threads each: about as many as a GPU has multiprocessors
_EPOCHS_PER_CALL = 50  # how long Ctrl-C waits

Integers = npt.NDArray[np.integer[Any]]


def block_size(device: jax.Device) -> int:
    """K, whatever the number of seeds."""
    return _BLOCK if device.platform == "cpu" else _BLOCK_ON_ACCELERATOR


def split(seeds: Integers, size: int) -> tuple[list[Integers], list[Integers]]:
    """The seeds (or their numbers) of each block, and the same filled up to `size`.

    What fills the last block up are copies of its first, to be dropped in the end.
    """
    parts = [seeds[i : i + size] for i in range(0, len(seeds), size)]
    return parts, [np.append(part, np.full(size - len(part), part[0])) for part in parts]


def devices_for(n_seeds: int) -> list[jax.Device]:
    """The devices of this process that the blocks of so many seeds are spread over."""
    devices = jax.local_devices()
    return devices[: -(-n_seeds // block_size(devices[0]))]


def precision(config: Config) -> contextlib.AbstractContextManager[Any]:
    """The precision of a run, for this thread and this block of code only."""
    context: contextlib.AbstractContextManager[Any] = jax.enable_x64(config.precision == "float64")
    return context


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
      n_logged: how many logged epochs it has behind it.
      epoch: completed epochs.
      sample, state: of its networks, (K,) each.
    """

    number: int
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
    """

    def __init__(
        self, program: Program, size: int, device: jax.Device, *, train: bool = True, measure: bool = True
    ) -> None:
        self._device = device
        self._data = self._put((program.inputs, program.conditional))
        lowered = lower(program, size, device, train=train, measure=measure)
        self.record_shapes = lowered["measure"].out_info if measure else None
        compiled = _compile(list(lowered.values()), device)
        self._programs = dict(zip(lowered, compiled, strict=True))

    def _put(self, value: Any) -> Any:
        return jax.device_put(value, self._device)

    def start(self, number: int, seeds: Integers) -> Block:
        """A block of fresh networks, (K,)."""
        return Block(number, 0, 0, *self._programs["start"](self._put(seeds), *self._data))

    def resume(self, block: Block, n_logged: int, epoch: int, state: Sequence[npt.NDArray[Any]]) -> Block:
        """The same networks as they were later, from the bytes of their state.

        Raises:
          ValueError: these are not the bytes of such a state.
        """
        return block._replace(n_logged=n_logged, epoch=epoch, state=self._put(from_bytes(state, block.state)))

    def advance(
        self, block: Block, logged: Sequence[int], stop: threading.Event, store: Callable[[Block, Record], None]
    ) -> Block | None:
        """Train up to the block's next logged epoch, measure and `store` there.

        Returns:
          The block, or None where no logged epoch is left. Where `stop` comes first, the block as it is by then.
        """
        target, state = logged[block.n_logged], block.state
        # Before any update there is no epoch to take gradients of: one pass is made without updates.
        starts = range(block.epoch, target, _EPOCHS_PER_CALL)
        calls = [(first, min(first + _EPOCHS_PER_CALL, target), True) for first in starts] or [(0, 1, False)]
        for first, last, learn in calls:
            epochs = self._put((np.int32(first), np.int32(last), np.bool_(learn)))
            state, moments = self._programs["train"](block.sample, state, self._data[0], *epochs)
            if self._device.platform == "cpu":  # elsewhere the host runs ahead of the device, and should
                jax.block_until_ready(state)
            if stop.is_set() and last < target:
                return block._replace(epoch=last, state=state)
        record = self._programs["measure"](block.sample, state, moments, *self._data)
        if estimates := self.estimates(block.sample, state.params, target):
            record = record._replace(estimates=np.concatenate(estimates, axis=1))
        block = block._replace(n_logged=block.n_logged + 1, epoch=target, state=state)
        store(block, jax.tree.map(np.asarray, record))
        return block if block.n_logged < len(logged) else None

    def estimates(self, sample: Sample, params: Any, epoch: int) -> list[npt.NDArray[Any]]:
        """(K, R, L) of each further estimator, of a block with parameters (K, P)."""
        arguments = self._put(params), self._put(np.int32(epoch))
        programs = [program for name, program in self._programs.items() if name.startswith("estimate")]
        return [np.asarray(program(sample, *arguments, *self._data)) for program in programs]

    def record(self, block: Block, params: npt.NDArray[Any], moments: GradientMoments) -> Record:
        """All that a run measures of a block, had it these parameters, (K, P), and gradients of these moments."""
        state = block.state._replace(params=self._put(params.astype(block.state.params.dtype)))
        return self._programs["measure"](block.sample, state, moments, *self._data)


def lower(
    program: Program, size: int, device: jax.Device, *, train: bool = True, measure: bool = True
) -> dict[str, Any]:
    """The programs of a run by name, traced for blocks of one size and not yet compiled."""
    on_device = jax.sharding.SingleDeviceSharding(device)

    def shapes(tree: Any) -> Any:
        return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=on_device), tree)

    seeds, data = shapes(np.zeros(size, np.uint32)), shapes((program.inputs, program.conditional))
    sample, state = shapes(jax.eval_shape(program.start, seeds, *data))
    moments = shapes(jax.eval_shape(program.no_moments, state))
    number = shapes(np.int32(0))
    lowered = {"start": jax.jit(program.start).lower(seeds, *data)}
    if train:
        epochs = (number, number, shapes(np.bool_(True)))
        lowered["train"] = jax.jit(program.train, donate_argnums=1).lower(sample, state, data[0], *epochs)
    if measure:
        lowered["measure"] = jax.jit(program.measure).lower(sample, state, moments, *data)
    for index, measurement in enumerate(program.measurements):
        lowered[f"estimate {index}"] = jax.jit(measurement).lower(sample, state.params, number, *data)
    return lowered


def _compile(lowered: Sequence[Any], device: jax.Device) -> list[Any]:
    """Programs for one device, all at once: the compiler keeps one core busy a program."""
    # XLA halves the vectors of a CPU that has 512 bits, for the sake of mixed loads; these loops gain a tenth.
    options = {"xla_cpu_prefer_vector_width": 512} if device.platform == "cpu" else {}
    with futures.ThreadPoolExecutor(len(lowered)) as pool:
        return list(pool.map(lambda program: program.compile(compiler_options=options), lowered))


def to_bytes(tree: Any) -> list[npt.NDArray[Any]]:
    """Copies of the leaves of a pytree of arrays, as bytes: any dtype, keys of random numbers among them."""
    leaves = [jax.random.key_data(a) if _is_key(a) else a for a in jax.tree.leaves(tree)]
    return [np.array(leaf).reshape(-1).view(np.uint8) for leaf in leaves]


def from_bytes(leaves: Sequence[npt.NDArray[Any]], like: Any) -> Any:
    """The pytree, with the structure, shapes and dtypes of `like`.

    Raises:
      ValueError: other leaves than those of `like`.
    """
    models, structure = jax.tree.flatten(like)
    if len(models) != len(leaves):
        raise ValueError(f"{len(leaves)} arrays; allowed: {len(models)}")
    return jax.tree.unflatten(structure, [_from_bytes(a, model) for a, model in zip(leaves, models, strict=True)])


def _from_bytes(raw: npt.NDArray[Any], model: Any) -> Any:
    data = jax.random.key_data(model) if _is_key(model) else model
    if raw.dtype != np.uint8 or raw.ndim != 1 or raw.nbytes != data.nbytes:
        raise ValueError(f"{raw.dtype} of shape {raw.shape}; allowed: {data.nbytes} bytes")
    array = raw.view(data.dtype).reshape(data.shape)
    if not _is_key(model):
        return array
    return jax.random.wrap_key_data(jax.numpy.asarray(array), impl=jax.random.key_impl(model))


def _is_key(leaf: Any) -> bool:
    return bool(jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key))
