"""`run`: many networks at once, and the information of their layers at every logged epoch.

Seeds are trained in blocks of a fixed size, so that one compiled program serves any number of them, memory is bounded,
and a network is the same to the bit in any company. On a CPU each core drives blocks of its own.

Shapes: S seeds, K seeds of a block, n training patterns, N patterns.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import queue
import threading
import warnings
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import numpy.typing as npt
import optax

from ibjax.analysis.bounds import check_bounds
from ibjax.config import PER_SEED, Config
from ibjax.data.dataset import Dataset
from ibjax.data.spherical import spherical_dataset
from ibjax.ensemble.blocks import block_size, cores, precision, split
from ibjax.ensemble.buffer import Results
from ibjax.ensemble.cache import Spares
from ibjax.ensemble.checkpoint import EVERY, Checkpoint, terminable, to_bytes
from ibjax.ensemble.driver import Block, Driver, lowered
from ibjax.ensemble.measurement import described
from ibjax.ensemble.program import Program, Record
from ibjax.progress import Progress, bar
from ibjax.trajectory.provenance import origin, versions
from ibjax.trajectory.trajectory import Trajectory

IntArray = npt.NDArray[np.integer[Any]]


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
      config: what to train; the paper's by default.
      dataset: instead of the task that `config.dataset` names.
      network: instead of the perceptron of `config.hidden_widths`: a flax linen module whose `__call__(x)` returns
        `(logits, activations)` with one activation array (batch, width) a layer; a callable `rngs -> nnx.Module` of
        the same contract; or any object with `init(key, inputs) -> params` and `apply(params, inputs)`. Its layers are
        binned between their own least and greatest activation, stored as `range_low`, `range_high`.
      optimizer: instead of `config.optimizer`.
      progress: True for a bar on the terminal, or a function called with a `Progress` at each logged epoch.
      checkpoint: a folder in which the run's state is kept: the same call after a crash, at whatever moment, goes on
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
      RuntimeError: the process was forked from one that had loaded JAX.

    Warns:
      RuntimeWarning: some networks diverged (says how many); information values break their bounds (says which); a
        checkpoint could not be written.
    """
    if not callable(progress) and not isinstance(progress, bool):
        raise TypeError(f"progress = {progress!r}; allowed: True, False or a function")
    _check_process()
    with contextlib.ExitStack() as stack:
        report = progress if callable(progress) else None
        if progress is True:
            report = stack.enter_context(bar())
        kept = None
        if checkpoint is not None:
            stack.enter_context(terminable())
            kept = stack.enter_context(Checkpoint(checkpoint, checkpoint_every))
        prepared = Prepared(
            config, dataset=dataset, network=network, optimizer=optimizer, checkpoint=kept, spares=_SPARES
        )
        try:
            return prepared.run(report)
        finally:
            prepared.give_back(_SPARES)


_SPARES = Spares(8)
_SPARE_BYTES = 2**24  # of inputs; programs hold their data set, and large ones train for longer than they compile


class Prepared:
    """A run whose programs are compiled, to be repeated at will; arguments and errors are those of `ibjax.run`.

    But for a `checkpoint`, which is an open one, and which ends with the first run; `spares` are where compiled
    programs may be found.
    """

    def __init__(
        self,
        config: Config | None = None,
        *,
        dataset: Dataset | None = None,
        network: Any = None,
        optimizer: optax.GradientTransformation | None = None,
        checkpoint: Checkpoint | None = None,
        spares: Spares | None = None,
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
        self._checkpoint, self._config, self._idle = checkpoint, config, True
        used = devices[: len(self._blocks)]
        task = spherical_dataset(config.dataset) if dataset is None else dataset
        # All that compiling depends on; code of the user's own has no name. Seeds are arguments, unless some have
        # settings of their own, which are part of the program.
        sweep = any(isinstance(getattr(config, field), tuple) for field in PER_SEED)
        settings = sorted(jax.config.values.items())
        common = config if sweep else dataclasses.replace(config, seeds=1)
        self._key = f"{common!r} {_hash_of(task)} {used} {settings}"
        self._named = network is None and optimizer is None
        spare = spares.take(self._key) if spares is not None and self._named else None
        with precision(config):
            if spare is not None:
                self._program, self._drivers = spare
            else:
                self._program = Program(config, task, network, optimizer)
            if checkpoint is not None:
                checkpoint.claim(_facts(config, self._program, size, self._custom))
            if spare is None:
                self._drivers = [_compiled(self._program, size, device) for device in used]
            if checkpoint is not None:
                checkpoint.claim({"trainer": "plain" if self._program.fused is None else "fused"})
        # One thread keeps an accelerator busy; on a CPU each runs its own block's program on its own core.
        alone = devices[0].platform == "cpu" and len(self._drivers) == 1
        self._threads_each = min(cores(), len(self._blocks)) if alone else 1

    def give_back(self, spares: Spares) -> None:
        """Leave the compiled programs for the next run of the configuration; this one must not run again."""
        if self._idle and self._named and self._program.inputs.nbytes <= _SPARE_BYTES:
            spares.put(self._key, (self._program, self._drivers))

    def run(self, report: Callable[[Progress], None] | None = None) -> Trajectory:
        """Train every block through every logged epoch; `report` is called at each of them."""
        config, logged, kept = self._config, self._config.logged, self._checkpoint
        self._idle = False
        results = Results([len(part) for part in self._parts], len(logged), self._drivers[0].record)
        patterns: list[IntArray] = [np.empty(0, np.int32)] * len(self._blocks)
        with precision(config):
            for number in range(len(self._blocks)):
                block = self._begin(number, logged, results)
                patterns[number] = np.asarray(block.sample.patterns)[: len(self._parts[number])]
        if kept is not None:  # every block's state beside the one that is to replace it
            kept.reserve(results.nbytes + 2 * len(self._blocks) * sum(a.nbytes for a in jax.tree.leaves(block.state)))
        finished: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        stop = threading.Event()

        def store(block: Block, record: Record) -> None:
            """In the thread that trains, where no signal comes between what was measured and the state that follows."""
            results.add(block.number, record)
            if kept is not None and (block.logged == len(logged) or kept.due(block.number)):
                state = None if block.logged == len(logged) else to_bytes(block.state)
                kept.keep(block.number, block.logged, block.epoch, state, results.part)

        def work(driver: Driver) -> None:
            try:
                with precision(config):
                    while not stop.is_set() and (block := driver.take()) is not None:
                        driver.advance(block, logged, stop, store)
                        finished.put(None)
            except BaseException as error:  # handed to the caller's thread, whatever it is
                finished.put(error)

        threads = [
            threading.Thread(target=work, args=(driver,), name="ibjax", daemon=True)
            for driver in self._drivers
            for _ in range(self._threads_each)
        ]
        steps = len(self._blocks) * len(logged) - sum(results.reached)
        try:
            for thread in threads:
                thread.start()
            for _ in range(steps):
                if (error := finished.get()) is not None:
                    raise error
                if kept is not None:
                    kept.watch()
                if report is not None:
                    report(_progress(self._program, logged, results))
        except BaseException:
            stop.set()
            for thread in filter(threading.Thread.is_alive, threads):
                thread.join()
            if kept is not None:  # whatever ends the run, nothing that was trained is lost
                for block in (block for driver in self._drivers for block in driver.waiting()):
                    kept.keep(block.number, block.logged, block.epoch, to_bytes(block.state), results.part)
            raise
        finally:
            stop.set()
            for thread in filter(threading.Thread.is_alive, threads):
                thread.join()
            for driver in self._drivers:
                driver.clear()
            self._idle = True
            if kept is not None:
                kept.finish()
        return _trajectory(config, self._program, results, patterns, self._custom)

    def _begin(self, number: int, logged: tuple[int, ...], results: Results) -> Block:
        """Hand a block to its driver, from where the checkpoint has it or afresh."""
        driver, kept = self._drivers[number % len(self._drivers)], self._checkpoint
        position = None if kept is None else kept.restore(number, logged)
        block = driver.start(number, self._blocks[number])
        if kept is not None and position is not None:
            try:
                results.restore(number, position.records)
                if position.state is not None:
                    block = driver.moved(block, position.logged, position.epoch, position.state)
            except ValueError as error:
                raise kept.damaged(f"block {number}", error) from error
        if position is None or position.state is not None:
            driver.add(block)
        return block


_PROCESS = os.getpid()


def _check_process() -> None:
    if os.getpid() != _PROCESS:
        raise RuntimeError(
            "ibjax.run in a process forked from one that had loaded JAX, whose threads a fork does not copy: it could "
            "wait for ever; allowed: workers of multiprocessing.get_context('spawn')"
        )


def _compiled(program: Program, size: int, device: jax.Device) -> Driver:
    try:
        return Driver(program, size, device)
    except Exception as error:
        if program.fused is None or program.config.backend != "auto":
            raise
        # The kernel is compiled by another compiler, which may not know the GPU at hand; the plain path runs anywhere.
        warnings.warn(f"trains on the plain path: the fused kernel does not compile here ({error})", stacklevel=4)
        program.fused = None
        return Driver(program, size, device)


def _facts(config: Config, program: Program, size: int, custom: list[str]) -> dict[str, Any]:
    """What decides about every bit of a run, for its checkpoint; what is not the configuration's, by its hash."""
    hashes = {"dataset": _hash_of(program.dataset)}
    if {"network", "optimizer"} & set(custom):  # code has no other name than what it compiles to
        texts = [part.as_text() for part in lowered(program, size, jax.devices()[0])]
        hashes["network or optimizer"] = hashlib.sha256("".join(texts).encode()).hexdigest()
    return {
        "config": dataclasses.asdict(config),
        "custom": custom,
        "hash of": hashes,
        "versions": versions(),
        "device": jax.devices()[0].device_kind,
        "block": size,
    }


def _hash_of(dataset: Dataset) -> str:
    arrays = (dataset.inputs, dataset.conditional, dataset.marginal)
    parts = [repr((a.shape, dataset.p_x is None)).encode() + a.tobytes() for a in arrays]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def _progress(program: Program, logged: tuple[int, ...], results: Results) -> Progress:
    epochs = list(results.reached)  # the others go on
    reached = min(epochs)
    done = sum(logged[count - 1] if count else 0 for count in epochs)
    latest = max(reached - 1, 0)
    rows = [row for row, count in zip(results.rows, epochs, strict=True) if count > latest]
    values = results.arrays

    def at(name: str) -> npt.NDArray[Any]:
        array = getattr(values, name)
        return array[:, latest] if len(rows) == len(epochs) else np.concatenate([array[row, latest] for row in rows])

    accuracy = at("test_accuracy")
    if np.isnan(accuracy).all():
        accuracy = at("train_accuracy")
    i_xt = at("i_xt")[:, max(len(program.layer_widths) - 2, 0)]
    total = logged[-1] * len(epochs)
    return Progress(done, total, logged[-1], logged[latest], _mean(accuracy), _mean(i_xt))


def _mean(values: npt.NDArray[Any]) -> float:
    values = values[np.isfinite(values)]
    return float(values.mean()) if values.size else float("nan")


def _trajectory(
    config: Config, program: Program, results: Results, patterns: list[IntArray], custom: list[str]
) -> Trajectory:
    dataset, stacked = program.dataset, results.arrays
    healthy = np.logical_and.accumulate(stacked.finite, axis=1)  # once diverged, diverged
    values = {name: array for name, array in stacked._asdict().items() if name != "finite"}
    for array in values.values():
        array[~healthy] = np.nan  # in place: of a big ensemble there is no room for a second one
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
    trajectory = Trajectory(
        config={
            "config": dataclasses.asdict(config),
            "custom": custom,
            "estimators": {e.name: described(e) for e in program.estimators},
            **origin(jax.devices()[0].device_kind),
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
    if not (bounds := check_bounds(trajectory)).ok:
        warnings.warn(
            f"information values break their bounds; do not trust them\n{bounds}", RuntimeWarning, stacklevel=4
        )
    return trajectory
