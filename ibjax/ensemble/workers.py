"""Threads that work through queues of tasks, a queue for each device; signals; compiled programs between two runs."""

from __future__ import annotations

import collections
import contextlib
import queue
import signal
import threading
from collections.abc import Callable, Generator, Iterator
from typing import Any, Generic, TypeVar

_Task = TypeVar("_Task")
_TERMINATED = 128 + signal.SIGTERM  # as shells do


class Workers(Generic[_Task]):
    """Tasks in queues, and the threads that take them from there.

    Args:
      step: does a part of a task on the device of its number and returns the task where something is left of it, else
        None; once the event is set it should return soon.
      n_devices: one queue for each.
      threads_per_device: threads for each queue.
      context: what every thread enters, such as the precision of a run.
    """

    def __init__(
        self,
        step: Callable[[int, _Task, threading.Event], _Task | None],
        n_devices: int,
        threads_per_device: int,
        context: Callable[[], contextlib.AbstractContextManager[Any]],
    ) -> None:
        self._step, self._context = step, context
        self._queues: list[collections.deque[_Task]] = [collections.deque() for _ in range(n_devices)]
        self._threads_per_device = threads_per_device

    def add(self, device: int, task: _Task) -> None:
        """Put a task at the end of a queue."""
        self._queues[device].append(task)

    @property
    def waiting(self) -> list[_Task]:
        """What is in the queues."""
        return [task for tasks in self._queues for task in tasks]

    def run(self, n_steps: int) -> Generator[None, None, None]:
        """Work through the queues; yields after each of the steps, in the caller's thread.

        An exception, of a step or of the caller's thread, stops all threads after their present call and waits for
        them: what is left is then `waiting`. Close the iterator in the end (`contextlib.closing`).
        """
        finished: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        stop = threading.Event()

        def work(device: int) -> None:
            tasks = self._queues[device]
            try:
                with self._context():
                    while not stop.is_set():
                        try:
                            task = tasks.popleft()
                        except IndexError:
                            return
                        if (rest := self._step(device, task, stop)) is not None:
                            tasks.append(rest)
                        finished.put(None)
            except BaseException as error:  # handed to the caller's thread, whatever it is
                finished.put(error)

        threads = [
            threading.Thread(target=work, args=(device,), name="ibjax", daemon=True)
            for device in range(len(self._queues))
            for _ in range(self._threads_per_device)
        ]
        try:
            for thread in threads:
                thread.start()
            for _ in range(n_steps):
                if (error := finished.get()) is not None:
                    raise error
                yield
        finally:
            stop.set()
            for thread in filter(threading.Thread.is_alive, threads):
                thread.join()


class ProgramCache:
    """Compiled programs that no run uses at the moment, the newest few; safe to share between threads."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._entries: list[tuple[str, Any]] = []

    def acquire(self, key: str) -> Any:
        """What was released last under a key, which is then the caller's alone; None where there is nothing."""
        with self._lock:
            found = next((entry for entry in reversed(self._entries) if entry[0] == key), None)
            if found is not None:
                self._entries.remove(found)
        return found[1] if found is not None else None

    def release(self, key: str, value: Any) -> None:
        """Leave something for the next run that asks for the key."""
        with self._lock:
            self._entries = [*self._entries, (key, value)][-self._capacity :]

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._entries = []


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does, by an exception: SystemExit with the status that shells give.

    Only where nothing else handles the signal, and in the main thread, which alone may.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    def end(*_: object) -> None:
        raise SystemExit(_TERMINATED)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
