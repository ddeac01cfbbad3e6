"""Where the pieces of a run are trained: in this process, or by the workers of an executor.

Shapes: S seeds.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import secrets
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

from ibjax.cluster.engine import Engine
from ibjax.cluster.task import Task, common_part, describe, part_of, train_piece
from ibjax.ensemble.blocks import precision
from ibjax.ensemble.compiled import (
    CompiledRun,
    acquire_compiled,
    check_footprint,
    expected_seconds,
    seeds_at_once,
)
from ibjax.ensemble.program import Program
from ibjax.ensemble.results import collect
from ibjax.ensemble.run import identity, train
from ibjax.trajectory.provenance import versions
from ibjax.trajectory.trajectory import Trajectory

Pieces = Generator[tuple[int, Trajectory], None, None]
_ASKED = 1000  # seeds that a worker chooses its first block from, more than one holds


@dataclasses.dataclass(frozen=True)
class Place:
    """Where the pieces of a run are trained.

    Attributes:
      facts: what decides about their bits there, computed when called.
      together: seeds that are trained together.
      seconds: that the whole run takes, about, found out when called.
      train: pieces of these seeds, as they come, each with its number in the sequence.
    """

    facts: Callable[[], dict[str, Any]]
    together: int
    seconds: Callable[[], float]
    train: Callable[[Sequence[tuple[int, ...]]], Pieces]


@contextlib.contextmanager
def here(program: Program) -> Iterator[Place]:
    """This process, with all its devices or cores.

    Raises:
      MemoryError: not even a piece of the run fits.
    """
    config = program.config
    check_footprint(program, in_pieces=True)
    with contextlib.ExitStack() as stack:

        @functools.cache
        def compiled() -> CompiledRun:
            return stack.enter_context(acquire_compiled(program))

        def pieces(parts: Sequence[tuple[int, ...]]) -> Pieces:
            for number, seeds in enumerate(parts):
                part = part_of(config, seeds)
                yield number, collect(part, compiled().program, *train(part, compiled()))

        def seconds() -> float:
            with precision(config):
                return expected_seconds(config, compiled())

        yield Place(functools.partial(identity, program), seeds_at_once(len(config.seed_list)), seconds, pieces)


@contextlib.contextmanager
def there(program: Program, engine: Engine, parts: dict[str, Any]) -> Iterator[Place]:
    """The workers of an executor, each with a block of seeds at a time.

    Args:
      program: of the run, assembled here to see that it can be.
      engine: the executor.
      parts: the data set, network and optimizer of the run that are the user's.

    Raises:
      ExecutorError: a worker lacks packages or has other versions.
    """
    config, wanted = program.config, versions()
    engine.check_versions(wanted)
    task = Task(secrets.token_hex(8), common_part(config), versions=wanted, **parts)
    found = engine.call(describe, task, config.seed_list[:_ASKED])
    n_blocks = -(-len(config.seed_list) // found.block)

    def facts() -> dict[str, Any]:
        return identity(program) | {"device": found.device_kind, "block": found.block}

    def pieces(seeds: Sequence[tuple[int, ...]]) -> Pieces:
        return engine.results(train_piece, ((task, some) for some in seeds))

    def seconds() -> float:
        return found.seconds * -(-n_blocks // engine.n_workers)

    yield Place(facts, found.block, seconds, pieces)
