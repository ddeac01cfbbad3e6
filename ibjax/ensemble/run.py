"""`run`: many networks at once, here, and the information of their layers at every logged epoch.

Seeds are trained in blocks of a fixed size (`blocks`), so that one compiled program serves any number of them and
memory is bounded. On a CPU each core trains other blocks.

Shapes: S seeds, K seeds of a block, n training patterns.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import numpy.typing as npt

from ibjax._checks import platforms
from ibjax._workers import Workers, check_signals, interruptible
from ibjax.config import Config
from ibjax.ensemble.assemble import assemble
from ibjax.ensemble.blocks import (
    Block,
    DeviceProgram,
    block_size,
    count_blocks,
    devices_for,
    lower,
    precision,
    split,
    threads_per_device,
)
from ibjax.ensemble.checkpoint import Checkpoint, from_bytes, to_bytes
from ibjax.ensemble.compiled import CompiledRun, acquire_compiled, check_footprint, expected_seconds
from ibjax.ensemble.program import Program, Record
from ibjax.ensemble.results import Doubts, ResultBuffer, collect, progress_of
from ibjax.progress import Progress, bar
from ibjax.trajectory.provenance import versions
from ibjax.trajectory.trajectory import Trajectory

_PROCESS = os.getpid()


class DeviceError(RuntimeError):
    """A device disappeared or gave up while a run was on it; the message says which and what is left."""


def run(
    config: Config,
    parts: dict[str, Any],
    progress: bool | Callable[[Progress], None],
    checkpoint: str | os.PathLike[str] | None,
    checkpoint_every: float,
) -> Trajectory:
    """Train an ensemble in this process: `ibjax.run`, which has checked `config` and `progress`.

    Args:
      config, progress, checkpoint, checkpoint_every: as there.
      parts: the user's data set, network and optimizer.
    """
    check_process()
    with contextlib.ExitStack() as stack:
        report = stack.enter_context(bar()) if progress is True else progress or None
        stack.enter_context(interruptible(terminate=checkpoint is not None))
        store = None if checkpoint is None else stack.enter_context(Checkpoint(checkpoint, checkpoint_every))
        with precision(config):
            program = assemble(config, **parts)
            compiled = stack.enter_context(_claim_and_compile(program, store))
        with _devices_named(None if store is None else store.name):
            buffer, patterns = train(config, compiled, report, store)
        trajectory = collect(config, compiled.program, buffer, patterns)
        doubts = Doubts()
        doubts.add(trajectory)
        doubts.warn(stacklevel=4)
        return trajectory


@contextlib.contextmanager
def _claim_and_compile(program: Program, checkpoint: Checkpoint | None) -> Iterator[CompiledRun]:
    """The compiled program of a run, after all that may be refused has been."""
    check_footprint(program)
    if checkpoint is not None:
        checkpoint.claim(identity(program))
    check_signals()
    with acquire_compiled(program) as compiled:
        if checkpoint is not None:
            checkpoint.claim({"trainer": "plain" if compiled.program.fused is None else "fused"})
        yield compiled


def train(
    config: Config,
    compiled: CompiledRun,
    report: Callable[[Progress], None] | None = None,
    checkpoint: Checkpoint | None = None,
    threads: int | None = None,
) -> tuple[ResultBuffer, npt.NDArray[np.int32]]:
    """Train every block through every logged epoch and measure there.

    Args:
      config: that of the compiled program, but for the seeds.
      compiled: what to train with; no other run may use it meanwhile.
      report: called before training and at each logged epoch of each block.
      checkpoint: where the state is stored and, if it has one of this run, resumed from.
      threads: for each device; by default as many as keep it busy.

    Returns:
      The results, and the patterns that each network trained on, (S, n).
    """
    logged, devices = config.logged, compiled.devices
    parts, blocks = split(np.array(config.seed_list, np.uint32), compiled.size, len(devices))
    buffer = ResultBuffer([len(part) for part in parts], len(logged), devices[0].record_shapes)
    guard, closed = threading.Lock(), threading.Event()

    def step(device: int, block: Block, stop: threading.Event) -> Block | None:
        return devices[device].advance(block, logged, stop, store)

    def store(block: Block, record: Record) -> None:
        """In the thread that trains, where no signal comes between what was measured and the state that follows."""
        with guard:
            if closed.is_set():  # the run was ended while this thread was measuring for too long
                return
            buffer.add(block.number, record)
            if checkpoint is not None and (block.n_logged == len(logged) or checkpoint.due(block.number)):
                _save(checkpoint, block, buffer, finished=block.n_logged == len(logged))

    threads = threads or threads_per_device(devices_for(len(config.seed_list)), len(blocks))
    workers = Workers(step, len(devices), threads, lambda: precision(config))
    with precision(config):
        seconds = 0.0 if report is None else expected_seconds(config, compiled)
        if report is not None and checkpoint is None:  # now: of a million blocks the beginning alone takes long
            report(progress_of(logged, buffer, 0, seconds))
        begun = [_begin(devices, number, seeds, logged, buffer, checkpoint) for number, seeds in enumerate(blocks)]
    for block in begun:
        if block.n_logged < len(logged):
            workers.add(block.number % len(devices), block)
    resumed = sum(block.epoch for block in begun)
    if checkpoint is not None:  # every block's state beside the one that is to replace it
        nbytes = sum(leaf.nbytes for leaf in jax.tree.leaves(begun[0].state))
        checkpoint.reserve(buffer.nbytes + 2 * len(blocks) * nbytes)
    n_steps = len(blocks) * len(logged) - sum(buffer.n_logged)
    with _left_resumable(checkpoint, workers, buffer, guard, closed), contextlib.closing(workers.run(n_steps)) as steps:
        for _ in itertools.chain([] if checkpoint is None else [None], steps):
            if checkpoint is not None:
                checkpoint.watch()
            if report is not None:
                report(progress_of(logged, buffer, resumed, seconds))
    patterns = [np.asarray(block.sample.patterns)[: len(part)] for block, part in zip(begun, parts, strict=True)]
    return buffer, np.concatenate(patterns)


@contextlib.contextmanager
def _left_resumable(
    checkpoint: Checkpoint | None,
    workers: Workers[Block],
    buffer: ResultBuffer,
    guard: threading.Lock,
    closed: threading.Event,
) -> Iterator[None]:
    """Whatever ends the block of code, nothing that was trained is lost; threads that go on find the run closed."""
    try:
        yield
    except BaseException:
        with guard:
            closed.set()
        if checkpoint is not None:
            for block in workers.waiting:
                _save(checkpoint, block, buffer, finished=False)
        raise
    finally:
        if checkpoint is not None:
            checkpoint.finish()


def _begin(
    devices: list[DeviceProgram],
    number: int,
    seeds: npt.NDArray[Any],
    logged: tuple[int, ...],
    buffer: ResultBuffer,
    checkpoint: Checkpoint | None,
) -> Block:
    """A block, from where the checkpoint has it or afresh; of a finished one the state is not needed."""
    check_signals()
    device = devices[number % len(devices)]
    block = device.start(number, seeds)
    position = None if checkpoint is None else checkpoint.restore(number, logged)
    if checkpoint is None or position is None:
        return block
    try:
        buffer.restore(number, position.records)
        state = block.state if position.state is None else from_bytes(position.state, block.state)
    except ValueError as error:
        raise checkpoint.damage_error(f"block {number}", error) from error
    return block._replace(n_logged=position.n_logged, epoch=position.epoch, state=device.put(state))


def _save(checkpoint: Checkpoint, block: Block, buffer: ResultBuffer, *, finished: bool) -> None:
    try:
        state = None if finished else to_bytes(block.state)
    except jax.errors.JaxRuntimeError:  # its device is lost, and with it what has come since its last checkpoint
        return
    checkpoint.save(block.number, block.n_logged, block.epoch, state, buffer.part)


@contextlib.contextmanager
def _devices_named(checkpoint: str | None) -> Iterator[None]:
    """What the runtime says of a device that disappears, or whose memory is full, as an error of the run."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        kinds = ", ".join(sorted({device.device_kind for device in jax.local_devices()}))
        reason = " ".join(str(error).split())[:300]
        rest = "nothing is kept" if checkpoint is None else f"the same call goes on from {checkpoint}"
        raise DeviceError(f"a device failed ({kinds}: {reason}); {rest}; allowed: devices that stay") from error


def check_process() -> None:
    """Refuse a forked process, and a platform that is not there.

    Raises:
      RuntimeError: says why, and what is allowed.

    Warns:
      RuntimeWarning: the process is one of several of a `jax.distributed` job, and trains on its own devices.
    """
    if os.getpid() != _PROCESS:
        raise RuntimeError(
            "ibjax.run in a process forked from one that had loaded JAX, whose threads a fork does not copy: it could "
            "wait for ever; allowed: workers of multiprocessing.get_context('spawn')"
        )
    platforms(jax)
    if jax.process_count() > 1:
        warnings.warn(
            f"process {jax.process_index()} of {jax.process_count()} of a jax.distributed job: trains all seeds it is "
            f"asked for, on its own {jax.local_device_count()} of {jax.device_count()} devices; other processes need "
            "other seeds",
            RuntimeWarning,
            stacklevel=4,
        )


def identity(program: Program) -> dict[str, Any]:
    """What decides about every bit of a run, for its folder; what has no name, by its hash."""
    hashes, device = {"dataset": program.dataset.sha256}, jax.local_devices()[0]
    size, n_seeds = block_size(device), len(program.config.seed_list)
    n_blocks = count_blocks(n_seeds, size, len(devices_for(n_seeds)))
    if {"network", "optimizer"} & set(program.custom):  # code has no other name than what it compiles to
        texts = [part.as_text() for part in lower(program, size, device).values()]
        hashes["network or optimizer"] = hashlib.sha256("".join(texts).encode()).hexdigest()
    return {
        "config": dataclasses.asdict(program.config),
        "custom": list(program.custom),
        "hash of": hashes,
        "versions": versions(),
        "device": device.device_kind,
        "block": size if n_blocks == -(-n_seeds // size) else f"{size} in {n_blocks}",
    }
