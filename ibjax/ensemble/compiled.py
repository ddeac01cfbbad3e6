"""Compiled programs: made for a run, stored between runs; and what a run will take in memory, on the disk and in time.

Shapes: S seeds, E logged epochs, L layers, K seeds of a block, P parameters, N patterns.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import threading
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from ibjax._checks import platforms
from ibjax._files import size
from ibjax._workers import interruptible, run_all
from ibjax.config import PER_SEED, Config
from ibjax.data.dataset import Dataset
from ibjax.ensemble.assemble import assemble
from ibjax.ensemble.blocks import (
    DeviceProgram,
    block_size,
    count_blocks,
    devices_for,
    precision,
    split,
    threads_per_device,
)
from ibjax.ensemble.program import Program
from ibjax.training.schedule import epochs_of_the_first

_WORST_ERROR = 1e-4  # of the fused trainer's gradients; sums in another order make a hundredth of it
_CACHED_BYTES = 2**24  # of inputs; programs hold their data set, and large ones train for longer than they compile


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


class ProgramCache:
    """Compiled programs that no run uses at the moment, the newest few; safe to share between threads."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._entries: list[tuple[str, CompiledRun]] = []

    def acquire(self, key: str) -> CompiledRun | None:
        """What was released last under a key, which is then the caller's alone; None where there is nothing."""
        with self._lock:
            found = next((entry for entry in reversed(self._entries) if entry[0] == key), None)
            if found is not None:
                self._entries.remove(found)
        return found[1] if found is not None else None

    def release(self, key: str, value: CompiledRun) -> None:
        """Leave something for the next run that asks for the key."""
        with self._lock:
            self._entries = [*self._entries, (key, value)][-self._capacity :]

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._entries = []


CACHE = ProgramCache(8)


def cache_key(program: Program) -> str | None:
    """All that compiling depends on; None where that has no name (a user's code) or the data are large.

    Seeds are arguments, unless some have hyper-parameters that are part of the program.
    """
    config = program.config
    if {"network", "optimizer"} & set(program.custom) or program.inputs.nbytes > _CACHED_BYTES:
        return None
    swept = any(isinstance(getattr(config, field), tuple) for field in PER_SEED)
    common = config if swept else dataclasses.replace(config, seeds=1)
    settings = sorted(jax.config.values.items())
    return f"{common!r} {program.dataset.sha256} {devices_for(len(config.seed_list))} {settings}"


@contextlib.contextmanager
def acquire_compiled(program: Program) -> Iterator[CompiledRun]:
    """The compiled program, from the cache where it is there, and back to the cache after the run."""
    key = cache_key(program)
    cached = None if key is None else CACHE.acquire(key)
    compiled = compile_run(program) if cached is None else cached
    try:
        yield compiled
    finally:
        if key is not None:
            CACHE.release(key, compiled)


def compile_run(program: Program, devices: Sequence[jax.Device] | None = None) -> CompiledRun:
    """Compile for devices, by default those that the seeds of the configuration are spread over."""
    size = block_size(jax.local_devices()[0])
    used = devices_for(len(program.config.seed_list)) if devices is None else devices
    with precision(program.config):
        try:
            programs = [DeviceProgram(program, size, device) for device in used]
            if program.fused is not None:
                _try_fused(programs[0], size)
            return CompiledRun(program, programs, size)
        except Exception as error:
            if program.fused is None or program.config.backend != "auto":
                raise
            # The driver translates the kernel, and may not take it; the plain path runs anywhere.
            warnings.warn(f"trains on the plain path: the fused kernel does not run here ({error})", stacklevel=4)
            return compile_run(dataclasses.replace(program, fused=None), used)


def _try_fused(device: DeviceProgram, size: int) -> None:
    """One epoch with the fused trainer, before a run relies on it: against JAX, and again, to the same bits.

    Raises:
      RuntimeError: it computes something else. The device's own errors are let through.
    """
    blocks = [device.start(0, np.arange(size, dtype=np.uint32)) for _ in range(2)]
    error = device.fused_error(blocks[0])
    one, other = (np.asarray(device.train(block, 1)[0].state.params) for block in blocks)
    if not error < _WORST_ERROR:
        raise RuntimeError(f"its gradients are off by {error:.1e}; allowed: {_WORST_ERROR:g}")
    if not np.array_equal(one, other):
        raise RuntimeError("it does not repeat itself")


class Forecast(NamedTuple):
    """What a run will take, about.

    Attributes:
      memory_bytes: at its end: results, states of all networks, and what the programs work with.
      file_bytes: of its file, at most; also those of the results in memory.
      seconds: on the devices of this process if they do nothing else; compiling not included. Of a run in phases the
        first one is timed, and the others by the passes that they take (`ibjax.training.schedule.epochs_of_the_first`).
        None where nothing was timed.
    """

    memory_bytes: int
    file_bytes: int
    seconds: float | None = None


def forecast(
    config: Config,
    *,
    dataset: Dataset | None = None,
    network: Any = None,
    optimizer: optax.GradientTransformation | None = None,
    timed: bool = True,
    in_pieces: bool = False,
) -> Forecast:
    """What a run will take; its arguments and errors are those of `ibjax.run`, but for two.

    Args:
      in_pieces: whether it goes into a folder, `ibjax.run(out=...)`, a piece at a time.
      timed: whether one block of networks is trained and measured for a moment. That compiles what the run needs, which
        then finds it compiled but where network or optimizer are user-supplied.
    """
    if not isinstance(config, Config):
        raise TypeError(f"config = {config!r}; allowed: an ibjax.Config")
    platforms(jax)
    with interruptible(), contextlib.ExitStack() as stack:
        stack.enter_context(precision(config))
        program = assemble(config, dataset=dataset, network=network, optimizer=optimizer)
        needs = check_footprint(program, in_pieces=in_pieces)
        if not timed:
            return needs
        compiled = stack.enter_context(acquire_compiled(program))
        return needs._replace(seconds=expected_seconds(config, compiled))


def expected_seconds(config: Config, compiled: CompiledRun) -> float:
    """What a run will take, from training and measuring its first blocks for a moment, as many at once as it will."""
    blocks = split(np.array(config.seed_list, np.uint32), compiled.size, len(compiled.devices))[1]
    used = devices_for(len(config.seed_list))[: len(compiled.devices)]
    at_once = min(len(blocks), len(used) * threads_per_device(used, len(blocks)))

    def probe(number: int) -> tuple[float, float]:
        with precision(config):
            return compiled.devices[number % len(compiled.devices)].seconds(blocks[number])

    found = run_all([functools.partial(probe, number) for number in range(at_once)])
    epoch, measure = np.max(found, axis=0).tolist()
    epochs = epochs_of_the_first(config.schedule, config.logged[-1])
    return float(len(blocks) / at_once * (epochs * epoch + len(config.logged) * measure))


def seeds_at_once(n_seeds: int) -> int:
    """How many seeds the devices and cores of this process train at once, in full blocks, of so many."""
    width, used = block_size(jax.local_devices()[0]), devices_for(n_seeds)
    return width * min(count_blocks(n_seeds, width, len(used)), len(used) * threads_per_device(used, n_seeds))


def footprint(program: Program, *, in_pieces: bool = False) -> Forecast:
    """What a run will take, from the shapes alone: nothing is compiled, and hardly anything computed."""
    config, model, n = program.config, program.model, program.dataset.n_patterns
    n_seeds, n_layers, itemsize = len(config.seed_list), len(model.layer_names), np.dtype(config.precision).itemsize
    # Two informations, the two ends of the range, three norms; four losses and accuracies.
    numbers = (7 + len(program.estimate_keys)) * n_layers + 4 + (model.n_weights if config.store_weights else 0)
    result = len(config.logged) * (numbers * itemsize + 1) + n
    held = seeds_at_once(n_seeds) if in_pieces else n_seeds
    width = block_size(jax.local_devices()[0])
    # Of a network: parameters and at most two numbers for each in the optimizer; its patterns and its labels.
    state = width * (3 * model.n_weights * itemsize + 2 * 4 * n)
    used = devices_for(n_seeds)
    n_blocks = count_blocks(held, width, len(used))
    # Activations of a block and the codes of their cells; weights, gradients and their moments.
    work = 2 * width * (n * sum(model.layer_widths) + 2 * model.n_weights) * itemsize
    work *= len(used) * threads_per_device(used, n_blocks)
    data = sum(a.nbytes for a in (program.inputs, program.conditional, program.targets) if a is not None)
    return Forecast(held * result + n_blocks * state + work + data, n_seeds * result + 10_000)


def check_footprint(program: Program, *, in_pieces: bool = False) -> Forecast:
    """What a run will take, unless that cannot fit.

    Raises:
      MemoryError: says how much memory the run takes, and how much this process may take.
    """
    needs, available = footprint(program, in_pieces=in_pieces), available_memory()
    if available is not None and needs.memory_bytes > available:
        config, model = program.config, program.model
        raise MemoryError(
            f"{len(config.seed_list)} seeds of {model.n_params} parameters in layers of {model.layer_widths}, "
            f"{len(config.logged)} logged epochs: about {size(needs.memory_bytes)} of memory; allowed: the "
            f"{size(available)} available (fewer seeds at a time, by out=FOLDER or --out FOLDER/; fewer "
            "logged epochs; narrower layers)"
        )
    return needs


def available_memory() -> int | None:
    """Bytes of memory that this process may still take, by the machine and by its control groups; None if unknown."""
    try:
        machine = {line.split()[0]: int(line.split()[1]) for line in Path("/proc/meminfo").read_text().splitlines()}
        groups = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
        bounds = [1024 * (machine["MemAvailable:"] + machine["SwapFree:"])]
    except (OSError, ValueError, LookupError):  # not Linux
        return None
    for _, controllers, path in groups:
        if not controllers:  # version 2
            root, limit, used = Path("/sys/fs/cgroup"), "memory.max", "anon"
        elif "memory" in controllers.split(","):
            root, limit, used = Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "total_rss"
        else:
            continue
        group = root / path.lstrip("/")
        for folder in (group, *group.parents):  # in a container only the root may be there, and is the container's
            with contextlib.suppress(OSError, ValueError, LookupError):  # "max", or another controller
                taken = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())[used]
                bounds.append(int((folder / limit).read_text()) - int(taken))
            if folder == root:
                break
    return max(min(bounds), 0)
