"""`run`: many networks at once, and the information of their layers at every logged epoch.

Seeds are trained in blocks of a fixed size (`blocks`), so that one compiled program serves any number of them and
memory is bounded. On a CPU each core trains other blocks.

Shapes: S seeds, K seeds of a block, n training patterns.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import threading
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import numpy.typing as npt
import optax

from ibjax._checks import platforms
from ibjax.config import PER_SEED, Config
from ibjax.data.dataset import Dataset
from ibjax.ensemble.assemble import assemble
from ibjax.ensemble.blocks import (
    Block,
    DeviceProgram,
    block_size,
    devices_for,
    lower,
    precision,
    split,
    threads_per_device,
    to_bytes,
)
from ibjax.ensemble.checkpoint import EVERY, Checkpoint
from ibjax.ensemble.program import Program, Record
from ibjax.ensemble.results import ResultBuffer, collect, hash_of, progress_of
from ibjax.ensemble.workers import ProgramCache, Workers, terminable
from ibjax.progress import Progress, bar, check_progress
from ibjax.trajectory.provenance import versions
from ibjax.trajectory.trajectory import Trajectory

_CACHE = ProgramCache(8)
_CACHED_BYTES = 2**24  # of inputs; programs hold their data set, and large ones train for longer than they compile
_PROCESS = os.getpid()


def run(
    config: Config | None = None,
    *,
    dataset: Dataset | None = None,
    network: Any = None,
    optimizer: optax.GradientTransformation | None = None,
    progress: bool | Callable[[Progress], None] = False,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: float = EVERY,
) -> Trajectory:
    """Train an ensemble and measure the information plane of every layer at each logged epoch.

    Args:
      config: what to train, the paper's by default; one seed takes as long as its block of ten (accelerators: 128).
      dataset: instead of the task that `config.dataset` names.
      network: instead of the perceptron of `config.hidden_widths`: a flax linen module whose `__call__(x)` returns
        `(logits, activations)` with one activation array (batch, width) or (batch, ...) a layer; a callable
        `rngs -> nnx.Module` of the same contract; or any object with `init(key, inputs) -> params` and
        `apply(params, inputs)`. Its layers are binned between their own least and greatest activation, stored as
        `range_low`, `range_high`.
      optimizer: instead of `config.optimizer`.
      progress: True for a bar on the terminal, or a function called with a `Progress` at each logged epoch.
      checkpoint: a folder in which the run's state is stored: the same call after a crash, at whatever moment, goes on
        from it and returns the same arrays to the bit. SIGTERM, Ctrl-C and exceptions leave it as of that moment.
      checkpoint_every: seconds between two checkpoints of a network, at least; writing takes a twentieth of the time
        at most.

    The compiled programs of the last eight configurations (on data of at most 16 MB) stay in the process, so that the
    same one with other seeds does not wait for the compiler. Runs may go on in several threads at once. The memory of a
    run is that of its results, which is the size of the file, and of the networks' states.

    Returns:
      The trajectory, of `config.seed_list` in that order.

    Raises:
      ValueError, TypeError: an argument that is not allowed, before anything is compiled; a `CheckpointError`: the
        folder belongs to another run, is in use or damaged.
      OSError: the folder cannot be written, or its disk has no room for the run.
      RuntimeError: the process was forked from one that had loaded JAX; JAX_PLATFORMS names none that is here.

    Warns:
      RuntimeWarning: some networks diverged (says how many); information values break their bounds (says which); a
        checkpoint could not be written.
    """
    config = Config() if config is None else config
    if not isinstance(config, Config):
        raise TypeError(f"config = {config!r}; allowed: an ibjax.Config")
    check_progress(progress)
    _check_process()
    with contextlib.ExitStack() as stack:
        report = stack.enter_context(bar()) if progress is True else progress or None
        store = None
        if checkpoint is not None:
            stack.enter_context(terminable())
            store = stack.enter_context(Checkpoint(checkpoint, checkpoint_every))
        with precision(config):
            program = assemble(config, dataset=dataset, network=network, optimizer=optimizer)
            compiled = stack.enter_context(_acquire_compiled(program, store))
        buffer, patterns = train(config, compiled, report, store)
        return collect(config, compiled.program, buffer, patterns)


class CompiledRun(NamedTuple):
    """A program compiled for the devices of a run.

    Attributes:
      program: what was compiled; another run's, with other seeds, where it comes from the cache.
      devices: the compiled programs of each device.
      size: K.
    """

    program: Program
    devices: list[DeviceProgram]
    size: int


def compile_run(program: Program) -> CompiledRun:
    """Compile for the devices that the seeds of the configuration are spread over."""
    size, used = block_size(jax.local_devices()[0]), devices_for(len(program.config.seed_list))
    with precision(program.config):
        try:
            return CompiledRun(program, [DeviceProgram(program, size, device) for device in used], size)
        except Exception as error:
            if program.fused is None or program.config.backend != "auto":
                raise
            # The kernel is compiled by another compiler, which may not know the GPU at hand; the plain path runs
            # anywhere.
            warnings.warn(f"trains on the plain path: the fused kernel does not compile here ({error})", stacklevel=4)
            return compile_run(dataclasses.replace(program, fused=None))


@contextlib.contextmanager
def _acquire_compiled(program: Program, checkpoint: Checkpoint | None) -> Any:
    """The compiled program, from the cache where it is there, and back to the cache after the run."""
    if checkpoint is not None:
        checkpoint.claim(_identity(program))
    key = _cache_key(program)
    cached = None if key is None else _CACHE.acquire(key)
    compiled = compile_run(program) if cached is None else cached
    if checkpoint is not None:
        checkpoint.claim({"trainer": "plain" if compiled.program.fused is None else "fused"})
    try:
        yield compiled
    finally:
        if key is not None:
            _CACHE.release(key, compiled)


def train(
    config: Config,
    compiled: CompiledRun,
    report: Callable[[Progress], None] | None = None,
    checkpoint: Checkpoint | None = None,
) -> tuple[ResultBuffer, npt.NDArray[np.int32]]:
    """Train every block through every logged epoch and measure there.

    Args:
      config: that of the compiled program, but for the seeds.
      compiled: what to train with; no other run may use it meanwhile.
      report: called at each logged epoch of each block.
      checkpoint: where the state is stored and, if it has one of this run, resumed from.

    Returns:
      The results, and the patterns that each network trained on, (S, n).
    """
    logged, devices = config.logged, compiled.devices
    parts, blocks = split(np.array(config.seed_list, np.uint32), compiled.size)
    buffer = ResultBuffer([len(part) for part in parts], len(logged), devices[0].record_shapes)
    patterns = []

    def step(device: int, block: Block, stop: threading.Event) -> Block | None:
        return devices[device].advance(block, logged, stop, store)

    def store(block: Block, record: Record) -> None:
        """In the thread that trains, where no signal comes between what was measured and the state that follows."""
        buffer.add(block.number, record)
        if checkpoint is not None and (block.n_logged == len(logged) or checkpoint.due(block.number)):
            _save(checkpoint, block, buffer, finished=block.n_logged == len(logged))

    threads = threads_per_device(devices_for(len(config.seed_list)), len(blocks))
    workers = Workers(step, len(devices), threads, lambda: precision(config))
    with precision(config):
        for number, (part, seeds) in enumerate(zip(parts, blocks, strict=True)):
            block, finished = _begin(devices[number % len(devices)], number, seeds, logged, buffer, checkpoint)
            patterns.append(np.asarray(block.sample.patterns)[: len(part)])
            if not finished:
                workers.add(number % len(devices), block)
    if checkpoint is not None:  # every block's state beside the one that is to replace it
        nbytes = sum(leaf.nbytes for leaf in jax.tree.leaves(block.state))
        checkpoint.reserve(buffer.nbytes + 2 * len(blocks) * nbytes)
    try:
        with contextlib.closing(workers.run(len(blocks) * len(logged) - sum(buffer.n_logged))) as steps:
            for _ in steps:
                if checkpoint is not None:
                    checkpoint.watch()
                if report is not None:
                    report(progress_of(logged, buffer))
    except BaseException:  # whatever ends the run, nothing that was trained is lost
        if checkpoint is not None:
            for block in workers.waiting:
                _save(checkpoint, block, buffer, finished=False)
        raise
    finally:
        if checkpoint is not None:
            checkpoint.finish()
    return buffer, np.concatenate(patterns)


def _begin(
    device: DeviceProgram,
    number: int,
    seeds: npt.NDArray[Any],
    logged: tuple[int, ...],
    buffer: ResultBuffer,
    checkpoint: Checkpoint | None,
) -> tuple[Block, bool]:
    """A block, from where the checkpoint has it or afresh; whether it is finished."""
    block = device.start(number, seeds)
    position = None if checkpoint is None else checkpoint.restore(number, logged)
    if checkpoint is None or position is None:
        return block, False
    try:
        buffer.restore(number, position.records)
        if position.state is None:
            return block, True
        return device.resume(block, position.n_logged, position.epoch, position.state), False
    except ValueError as error:
        raise checkpoint.damage_error(f"block {number}", error) from error


def _save(checkpoint: Checkpoint, block: Block, buffer: ResultBuffer, *, finished: bool) -> None:
    state = None if finished else to_bytes(block.state)
    checkpoint.save(block.number, block.n_logged, block.epoch, state, buffer.part)


def _check_process() -> None:
    if os.getpid() != _PROCESS:
        raise RuntimeError(
            "ibjax.run in a process forked from one that had loaded JAX, whose threads a fork does not copy: it could "
            "wait for ever; allowed: workers of multiprocessing.get_context('spawn')"
        )
    platforms(jax)


def _cache_key(program: Program) -> str | None:
    """All that compiling depends on; None where that has no name (a user's code) or the data are large.

    Seeds are arguments, unless some have hyper-parameters that are part of the program.
    """
    config = program.config
    if {"network", "optimizer"} & set(program.custom) or program.inputs.nbytes > _CACHED_BYTES:
        return None
    swept = any(isinstance(getattr(config, field), tuple) for field in PER_SEED)
    common = config if swept else dataclasses.replace(config, seeds=1)
    settings = sorted(jax.config.values.items())
    return f"{common!r} {hash_of(program.dataset)} {devices_for(len(config.seed_list))} {settings}"


def _identity(program: Program) -> dict[str, Any]:
    """What decides about every bit of a run, for its checkpoint; what has no name, by its hash."""
    hashes, device = {"dataset": hash_of(program.dataset)}, jax.local_devices()[0]
    size = block_size(device)
    if {"network", "optimizer"} & set(program.custom):  # code has no other name than what it compiles to
        texts = [part.as_text() for part in lower(program, size, device).values()]
        hashes["network or optimizer"] = hashlib.sha256("".join(texts).encode()).hexdigest()
    return {
        "config": dataclasses.asdict(program.config),
        "custom": list(program.custom),
        "hash of": hashes,
        "versions": versions(),
        "device": device.device_kind,
        "block": size,
    }
