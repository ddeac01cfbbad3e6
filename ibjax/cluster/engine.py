"""An executor that others made (of `concurrent.futures`, or a Dask client) as something that does tasks.

Of what the tasks are, nothing is known here. Workers may be lost, lack packages or have others: what can be done again
is, everything else is told in one `ExecutorError`.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import queue
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from ibjax._workers import await_item

_Result = TypeVar("_Result")
_AHEAD = 1000  # tasks handed over at a time: more than workers, fewer than would fill the memory
_TRIES = 3  # of one task, in all
_PATIENCE = 60.0  # seconds that a Dask cluster may be without workers: a new one takes that long to start
_LOOK = 1.0  # seconds between two looks at them
_REFUSALS = (ValueError, TypeError, MemoryError)  # of the task itself: another worker would say the same


class ExecutorError(RuntimeError):
    """The executor's workers cannot do what is asked; the message says why and what can be done."""


class Engine:
    """An executor, and what is known of its workers.

    Args:
      executor: of `concurrent.futures`, or a Dask client.

    Raises:
      TypeError: it is neither.
    """

    def __init__(self, executor: Any) -> None:
        self._client = executor if hasattr(executor, "get_executor") else None
        # Not pure: of two equal tasks each is done.
        self._executor = executor if self._client is None else executor.get_executor(pure=False)
        if not isinstance(self._executor, Executor):
            raise TypeError(
                f"executor = {executor!r}; allowed: a concurrent.futures.Executor (processes, threads, loky, "
                "mpi4py.futures, submitit ...) or a dask.distributed.Client"
            )
        self._seen = self._looked = time.monotonic()

    @property
    def n_workers(self) -> int:
        """How many tasks are done at once, as far as that can be known; at least 1."""
        if self._client is not None:
            return max(1, sum(self._threads().values()))
        return max(1, int(getattr(self._executor, "_max_workers", 1)))  # of the standard library and loky

    def check_versions(self, wanted: Mapping[str, str]) -> None:
        """Compare the packages of all workers of a Dask cluster, else of the one that answers, with those wanted.

        Workers are asked by a function of the standard library, which the barest of them has.

        Raises:
          ExecutorError: a package is missing or of another version; says which and what is wanted.
        """
        for name, version in wanted.items():
            for worker, found in self._ask(metadata.version, name).items():
                if found != version:
                    has = f"has {name} {found}" if isinstance(found, str) else f"lacks {name} ({brief(found)})"
                    raise ExecutorError(f"{worker} {has}; allowed: {name} {version}, as here")

    def _ask(self, function: Callable[[str], str], argument: str) -> dict[str, str | BaseException]:
        """What workers return or raise, by their names."""
        if self._client is not None:
            answers = self._client.run(function, argument, on_error="return")
            return {f"the worker {address}": answer for address, answer in answers.items()}
        try:
            return {"a worker of the executor": self.call(function, argument)}
        except ExecutorError as error:
            if isinstance(error.__cause__, ImportError):
                return {"a worker of the executor": error.__cause__}
            raise

    def call(self, function: Callable[..., _Result], *arguments: Any) -> _Result:
        """What one worker returns; errors are those of `results`."""
        ((_, result),) = self.results(function, [arguments])
        return result

    def results(
        self, function: Callable[..., _Result], tasks: Iterable[tuple[Any, ...]]
    ) -> Generator[tuple[int, _Result], None, None]:
        """What the workers return, as it comes, each with its task's number.

        A task that fails for a reason of the worker's is done again, three times in all. Signals are looked at
        meanwhile. Whatever ends this cancels what has not begun.

        Args:
          function: to be found by its name on the workers.
          tasks: the arguments of each call.

        Raises:
          ValueError, TypeError, MemoryError: as the task raises them.
          ExecutorError: the workers are gone or cannot import the task, it cannot be sent, or failed too often.
        """
        done: queue.SimpleQueue[Future[_Result]] = queue.SimpleQueue()
        waiting: dict[Future[_Result], tuple[int, tuple[Any, ...], int]] = {}
        source = enumerate(tasks)

        def hand_over(number: int, arguments: tuple[Any, ...], tried: int) -> None:
            try:
                future = self._executor.submit(function, *arguments)
            except RuntimeError as error:  # broken, or shut down
                raise _gone(error) from error
            waiting[future] = number, arguments, tried
            future.add_done_callback(done.put)

        self._seen = time.monotonic()
        try:
            for number, arguments in itertools.islice(source, _AHEAD):
                hand_over(number, arguments, 1)
            while waiting:
                future = await_item(done, self._look)
                number, arguments, tried = waiting.pop(future)
                try:
                    result = future.result()
                except (BrokenExecutor, CancelledError) as error:
                    raise _gone(error) from error
                except Exception as error:
                    _raise_final(error, tried)
                    hand_over(number, arguments, tried + 1)
                    continue
                for following, arguments in itertools.islice(source, 1):
                    hand_over(following, arguments, 1)
                yield number, result
        finally:
            for future in waiting:
                future.cancel()

    def _look(self) -> None:
        """Raise an ExecutorError where a Dask cluster has been without workers for too long: it would wait for ever."""
        now = time.monotonic()
        if self._client is None or now - self._looked < _LOOK:
            return
        if self._threads():
            self._seen = time.monotonic()
        elif now - self._seen > _PATIENCE:
            raise ExecutorError(f"the cluster has had no worker for {_PATIENCE:g} s; allowed: at least one")
        self._looked = time.monotonic()

    def _threads(self) -> dict[str, int]:
        """Threads of each worker of a Dask cluster; none where its scheduler does not answer."""
        assert self._client is not None
        try:
            return dict(self._client.nthreads())
        except Exception:  # whatever comes of a connection that is closing
            return {}


@contextlib.contextmanager
def connect(address: str | None, file: str | None, seconds: float = 10.0) -> Iterator[Any]:
    """A client of a Dask scheduler, by its address or by the file that it has written.

    Raises:
      ExecutorError: Dask is not installed, the file is none of a scheduler, or nobody answers in time.
    """
    try:
        import distributed  # here, as it is optional and slow to import
    except ModuleNotFoundError as error:
        raise ExecutorError("a scheduler needs the package distributed: pip install 'ibjax[dask]'") from error
    try:
        if address is None:
            assert file is not None
            address = str(json.loads(Path(file).read_bytes())["address"])
        client = distributed.Client(address, timeout=seconds, set_as_default=False)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ExecutorError(
            f"no scheduler answers ({brief(error)}); allowed: the address of a running one, such as tcp://HOST:8786, "
            "or the file that `dask scheduler --scheduler-file` writes"
        ) from error
    with client:
        yield client


def _gone(error: BaseException) -> ExecutorError:
    return ExecutorError(f"the executor's workers are gone ({brief(error)}); allowed: one with workers")


def _raise_final(error: Exception, tried: int) -> None:
    """Raise what another try, elsewhere, would not help against."""
    if isinstance(error, ImportError):
        raise ExecutorError(
            f"a worker of the executor lacks a package: {error}; allowed: those of this process"
        ) from error
    if "pickle" in f"{brief(error)}".lower():
        raise ExecutorError(
            f"a task cannot be sent to the workers ({brief(error)}); allowed: data, networks and optimizers that "
            "pickle knows by name, or an executor that sends any (a Dask client, loky)"
        ) from error
    if isinstance(error, (*_REFUSALS, ExecutorError)):
        raise error
    if tried == _TRIES or type(error).__name__ == "KilledWorker":  # Dask has tried it on several by then
        raise ExecutorError(f"a task failed {tried} times, the last time by {brief(error)}") from error


def brief(error: BaseException) -> str:
    """An exception in a line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
