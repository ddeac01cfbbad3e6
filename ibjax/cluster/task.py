"""What a worker does for a run: a piece of it, some of its seeds, as a pure function of what is sent.

All that a piece needs is in its arguments, and what it returns is the same to the bit as in a run of all seeds in one
process. Of all pieces of a run a worker trains one at a time with one thread, on its first device: so as many workers
as there are cores or accelerators keep all of them busy.

Shapes: S seeds.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import optax

from ibjax._workers import interruptible
from ibjax.cluster.engine import ExecutorError
from ibjax.config import PER_SEED, Config
from ibjax.data.dataset import Dataset
from ibjax.ensemble.assemble import assemble
from ibjax.ensemble.blocks import block_size, precision
from ibjax.ensemble.compiled import CACHE, CompiledRun, compile_run, expected_seconds
from ibjax.ensemble.results import collect
from ibjax.ensemble.run import check_process, train
from ibjax.trajectory.provenance import differing_entries, versions
from ibjax.trajectory.trajectory import Trajectory


@dataclasses.dataclass(frozen=True)
class Task:
    """What all pieces of a run have in common.

    Attributes:
      token: names the run.
      config: of the run; where no hyper-parameter differs between its seeds, with any seeds.
      dataset, network, optimizer: as of `ibjax.run`.
      versions: of the packages that decide about the numbers.
    """

    token: str
    config: Config
    dataset: Dataset | None
    network: Any
    optimizer: optax.GradientTransformation | None
    versions: dict[str, str]


class Facts(NamedTuple):
    """What a worker says of itself.

    Attributes:
      device_kind: where it trains.
      block: K, seeds that are trained together there.
      seconds: that a block takes, about.
    """

    device_kind: str
    block: int
    seconds: float


def part_of(config: Config, seeds: tuple[int, ...]) -> Config:
    """The configuration of some of the seeds, with the settings of these."""
    swept = {field: value for field in PER_SEED if isinstance(value := getattr(config, field), tuple)}
    if not swept:
        return dataclasses.replace(config, seeds=seeds)
    place = {seed: index for index, seed in enumerate(config.seed_list)}
    values: dict[str, Any] = {field: tuple(value[place[seed]] for seed in seeds) for field, value in swept.items()}
    return dataclasses.replace(config, seeds=seeds, **values)


def common_part(config: Config) -> Config:
    """What every worker must know of a configuration: of millions of seeds only those with settings of their own."""
    swept = any(isinstance(getattr(config, field), tuple) for field in PER_SEED)
    return config if swept else dataclasses.replace(config, seeds=config.seed_list[:1])


def describe(task: Task, seeds: tuple[int, ...]) -> Facts:
    """What the worker is, after training some of the seeds for a moment; errors are those of `train_piece`."""
    device = jax.local_devices()[0]
    size = block_size(device)
    with _compiled(task) as compiled, precision(task.config):
        seconds = expected_seconds(part_of(task.config, seeds[:size]), compiled)
    return Facts(device.device_kind, size, seconds)


def train_piece(task: Task, seeds: tuple[int, ...]) -> Trajectory:
    """Some of the networks of a run, of these seeds in this order.

    Raises:
      ExecutorError: the worker has other versions, or may not train.
      Exception: of `ibjax.run`.
    """
    config = part_of(task.config, seeds)
    with _compiled(task) as compiled:
        return collect(config, compiled.program, *train(config, compiled, threads=1))


@contextlib.contextmanager
def _compiled(task: Task) -> Iterator[CompiledRun]:
    """The program of the run, compiled for this worker's first device by the first of its pieces."""
    if differing := [
        f"{name} {there} (allowed: {wanted}, as where the run was started)"
        for name, wanted, there in differing_entries(task.versions, versions())
    ]:
        raise ExecutorError(f"a worker of the executor has {', '.join(differing)}")
    try:
        check_process()
    except RuntimeError as error:  # which no other try would help against
        raise ExecutorError(str(error)) from error
    with interruptible():
        compiled = CACHE.acquire(task.token)
        if compiled is None:
            parts = {"dataset": task.dataset, "network": task.network, "optimizer": task.optimizer}
            with precision(task.config):
                program = assemble(task.config, **parts)
            compiled = compile_run(program, jax.local_devices()[:1])
        try:
            yield compiled
        finally:
            CACHE.release(task.token, compiled)
