"""`run`: an ensemble, trained here or in pieces by the workers of an executor, kept in memory or in a folder.

Shapes: S seeds, N patterns.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import optax

from ibjax._files import size as size_in_words
from ibjax._workers import interruptible
from ibjax.cluster.engine import Engine, ExecutorError
from ibjax.cluster.pieces import PiecesInFolder, PiecesInMemory, piece_size
from ibjax.cluster.place import Place, here, there
from ibjax.config import Config
from ibjax.data.dataset import Dataset
from ibjax.ensemble.assemble import assemble
from ibjax.ensemble.blocks import precision
from ibjax.ensemble.checkpoint import EVERY
from ibjax.ensemble.compiled import available_memory, footprint
from ibjax.ensemble.program import Program
from ibjax.ensemble.results import Doubts
from ibjax.ensemble.run import check_process
from ibjax.ensemble.run import run as run_here
from ibjax.progress import Progress, bar, check_progress
from ibjax.trajectory.trajectory import Trajectory

if TYPE_CHECKING:
    from concurrent.futures import Executor

    import distributed


def run(
    config: Config | None = None,
    *,
    dataset: Dataset | None = None,
    network: Any = None,
    optimizer: optax.GradientTransformation | None = None,
    progress: bool | Callable[[Progress], None] = False,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: float = EVERY,
    executor: Executor | distributed.Client | None = None,
    out: str | os.PathLike[str] | None = None,
) -> Trajectory:
    """Train an ensemble and measure the information plane of every layer at each logged epoch.

    Args:
      config: what to train, the paper's by default; one seed takes as long as its block of ten (accelerators: 128).
      dataset: instead of the task that `config.dataset` names.
      network: instead of the perceptron of `config.hidden_widths`: a flax linen module whose `__call__(x)` returns
        `(logits, activations)` with one activation array (batch, width) or (batch, ...) a layer; a callable
        `rngs -> nnx.Module` of the same contract; what `capture` returns; or any object with `init(key, inputs) ->
        params` and `apply(params, inputs)`. In training a linen module is called with `train=True` where it takes that,
        an nnx module is in its training mode. Its layers are binned in their own ranges, `range_low` to `range_high`.
      optimizer: instead of `config.optimizer`.
      progress: True for a bar, or a function called with a `Progress` before training and at each logged epoch (piece).
      checkpoint: a folder in which the run's state is stored: the same call after a crash, at whatever moment, goes on
        from it and returns the same arrays to the bit. SIGTERM, Ctrl-C and exceptions leave it as of that moment.
      checkpoint_every: seconds between two checkpoints of a network, at least; writing takes a twentieth of the time
        at most.
      executor: whose workers train the blocks of seeds instead of this process: a `concurrent.futures.Executor` (its
        processes spawned, not forked) or a Dask client. On the same kind of hardware the arrays are the same to the
        bit. The block of a worker that is lost is trained again elsewhere where the executor lets it.
      out: a folder for the pieces of the run, each written when it is finished: for ensembles larger than the memory.
        The same call after whatever ended it goes on with the pieces that are missing.

    The compiled programs of the last eight configurations (on data of at most 16 MB) stay in the process, so that the
    same one with other seeds does not wait for the compiler. Runs may go on in several threads at once. A run takes the
    memory of its results, the size of the file (with an executor twice, with a folder never), and of its networks.

    Returns:
      The trajectory, of `config.seed_list` in that order; with `out` that of the folder, read when asked for (`load`).

    Raises:
      ValueError, TypeError: an argument that is not allowed, before anything is compiled; a `CheckpointError`: the
        folder belongs to another run, is in use or damaged.
      MemoryError: the run does not fit into memory; before anything is compiled.
      OSError: the folder cannot be written, or its disk has no room for the run.
      RuntimeError: the process was forked from one that had loaded JAX; JAX_PLATFORMS names none that is here. A
        `DeviceError`: a device was lost. An `ExecutorError`: the workers are gone, bare, of other versions, or failed.

    Warns:
      RuntimeWarning: some networks diverged (says how many); information values break their bounds (says which); a
        checkpoint could not be written; the process is one of several of a `jax.distributed` job.
    """
    config = _checked(config, progress)
    parts = {"dataset": dataset, "network": network, "optimizer": optimizer}
    if executor is None and out is None:
        return run_here(config, parts, progress, checkpoint, checkpoint_every)
    if checkpoint is not None:
        raise ValueError(f"checkpoint = {checkpoint!r} with executor=... or out=...; allowed: out=FOLDER instead")
    return _run_in_pieces(config, parts, progress, executor, out)


def _checked(config: Config | None, progress: bool | Callable[[Progress], None]) -> Config:
    """The configuration, by default the paper's; refuses what is none, and another `progress`."""
    config = Config() if config is None else config
    if not isinstance(config, Config):
        raise TypeError(f"config = {config!r}; allowed: an ibjax.Config")
    check_progress(progress)
    return config


def _run_in_pieces(
    config: Config,
    parts: dict[str, Any],
    progress: bool | Callable[[Progress], None],
    executor: Any,
    out: str | os.PathLike[str] | None,
) -> Trajectory:
    """`run` with an executor or a folder; `parts` are the user's data set, network and optimizer."""
    kept = PiecesInMemory() if out is None else PiecesInFolder(out)
    engine = None if executor is None else Engine(executor)
    check_process()
    doubts = Doubts()
    with contextlib.ExitStack() as stack:
        report = stack.enter_context(bar()) if progress is True else progress or None
        stack.enter_context(interruptible(terminate=out is not None))
        stack.enter_context(kept)
        with precision(config):
            program = assemble(config, **parts)
        try:
            place = stack.enter_context(here(program) if engine is None else there(program, engine, parts))
            _fill(program, place, kept, doubts, report)
        except ExecutorError as error:
            raise ExecutorError(f"{error}; {kept.hint}") from error.__cause__
        trajectory = kept.result(config)
    doubts.warn(stacklevel=4)
    return trajectory


def _fill(
    program: Program,
    place: Place,
    kept: PiecesInMemory | PiecesInFolder,
    doubts: Doubts,
    report: Callable[[Progress], None] | None,
) -> None:
    """Train all pieces that are not there yet."""
    seeds = program.config.seed_list
    size = kept.begin(place.facts, piece_size(len(seeds), place.together))
    parts = [seeds[first : first + size] for first in range(0, len(seeds), size)]
    results = footprint(program).file_bytes
    kept.reserve(results, len(parts))
    available = available_memory()
    if available is not None and results * kept.copies > available:
        raise MemoryError(
            f"{len(seeds)} seeds: about {size_in_words(results * kept.copies)} of memory; allowed: the "
            f"{size_in_words(available)} available, or out=FOLDER, which takes hardly any"
        )
    missing = [number for number in range(len(parts)) if not kept.has(number)]
    seconds = 0.0 if report is None or not missing else place.seconds()
    tally = _Tally(program.config, len(parts), len(parts) - len(missing), seconds)
    if report is not None:
        report(tally.progress())
    with contextlib.closing(place.train([parts[number] for number in missing])) as pieces:
        for which, piece in pieces:
            doubts.add(piece)
            kept.add(missing[which], piece)
            tally.add(piece)
            if report is not None:
                report(tally.progress())


class _Tally:
    """How far a run in pieces is.

    Args:
      config: of the run.
      total: pieces.
      resumed: pieces that were there before.
      seconds: that the whole run takes, about.
    """

    def __init__(self, config: Config, total: int, resumed: int, seconds: float) -> None:
        self._last, self._total, self._resumed, self._seconds = config.logged[-1], total, resumed, seconds
        self._done = resumed
        self._sums = np.zeros((2, 2))  # of accuracy and I(X;T), and how many networks they are of

    def add(self, piece: Trajectory) -> None:
        """One more piece is finished."""
        self._done += 1
        accuracy = np.full(piece.seeds.shape, np.nan)
        for key in ("test_accuracy", "train_accuracy"):
            if key not in piece.absent and np.isnan(accuracy).all():
                accuracy = piece.require(key)[:, -1]
        for row, values in enumerate((accuracy, piece.i_xt[:, -1, max(piece.i_xt.shape[2] - 2, 0)])):
            known = values[np.isfinite(values)]
            self._sums[row] += known.sum(dtype=np.float64), known.size

    def progress(self) -> Progress:
        """What there is to tell now; the means are those of the networks finished since the call."""
        with np.errstate(invalid="ignore"):
            accuracy, i_xt = (self._sums[:, 0] / self._sums[:, 1]).tolist()
        return Progress(
            done=self._last * self._done,
            total=self._last * self._total,
            last_epoch=self._last,
            epoch=self._last if self._done == self._total else 0,
            accuracy=accuracy,
            i_xt=i_xt,
            resumed=self._last * self._resumed,
            seconds=self._seconds,
        )
