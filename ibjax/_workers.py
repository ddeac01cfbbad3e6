"""Threads that work through queues of tasks, a queue for each device, and signals that wait for a safe moment.

A signal handler of Python's may run anywhere, also inside a callback whose exceptions are dropped (jax has one in the
garbage collector), and then Ctrl-C does nothing. So here a handler takes note, and `check_signals` raises at moments
when nothing is lost by it. All long work is done in other threads, for which the main one waits with one eye on the
signals.
"""

from __future__ import annotations

import atexit
import collections
import contextlib
import queue
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, Generic, TypeVar

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")
_TERMINATED = 128 + signal.SIGTERM  # as shells do
_POLL = 0.1  # seconds between two looks at the signals
_NAME = "ibjax"  # of all threads
_PATIENCE = 0.7  # seconds that an interrupted thread has to come to its next safe moment

_received: list[int] = []  # signals that nothing has been raised for yet, or [0] once it has


@contextlib.contextmanager
def interruptible(*, terminate: bool = False, second_kills: bool = False) -> Iterator[None]:
    """Within the block Ctrl-C, and with `terminate` SIGTERM too, is raised by `check_signals` or at the block's end.

    Only in the main thread, which alone may handle signals, and only what nobody else handles. A second signal ends at
    once: by what was there before, or, with `second_kills`, the process.

    Raises:
      KeyboardInterrupt: Ctrl-C.
      SystemExit: SIGTERM, with the status that shells give.
    """
    before = {signal.SIGINT: signal.default_int_handler} | ({signal.SIGTERM: signal.SIG_DFL} if terminate else {})
    main = threading.current_thread() is threading.main_thread()
    ours = {number: handler for number, handler in before.items() if main and signal.getsignal(number) == handler}

    def note(number: int, _: object) -> None:
        if _received:
            signal.signal(number, signal.SIG_DFL if second_kills else before[signal.Signals(number)])
            signal.raise_signal(number)
        _received.append(number)

    for number in ours:
        signal.signal(number, note)
    try:
        yield
        check_signals()
    finally:
        for number, handler in ours.items():
            if signal.getsignal(number) is note:
                signal.signal(number, handler)
        if ours:
            _received.clear()


@contextlib.contextmanager
def terminable(active: bool) -> Iterator[None]:
    """Within the block, if `active`, SIGTERM raises as Ctrl-C does: for what must clean up and has no safe moments."""
    main = threading.current_thread() is threading.main_thread()
    ours = active and main and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL

    def end(*_: object) -> None:
        raise SystemExit(_TERMINATED)

    if ours:
        signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def check_signals() -> None:
    """Raise, once and in the main thread, what `interruptible` has taken note of."""
    if _received and _received[0] and threading.current_thread() is threading.main_thread():
        number, _received[0] = _received[0], 0
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(_TERMINATED)


def interrupted_threads() -> list[threading.Thread]:
    """Threads of runs that were interrupted, which are still in a long call."""
    return [thread for thread in threading.enumerate() if thread.name == _NAME]


def run_all(functions: Sequence[Callable[[], _Result]]) -> list[_Result]:
    """Call each in a thread; their results. The first exception is raised as soon as it comes."""
    results: dict[int, _Result] = {}

    def call(number: int, _: None, __: threading.Event) -> None:
        results[number] = functions[number]()

    tasks = Workers(call, len(functions), 1)
    for number in range(len(functions)):
        tasks.add(number, None)
    with contextlib.closing(tasks.run(len(functions))) as steps:
        collections.deque(steps, maxlen=0)
    return [results[number] for number in range(len(functions))]


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
        context: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext,
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
        """Work through the queues; yields after each of the steps, in the caller's thread, which looks at the signals.

        An exception, of a step or of the caller's thread, stops all threads after their present call and waits for
        them: what is left is then `waiting`. Where a signal ends the run, threads in long calls are left behind, with
        what they are at: the process waits for them at its end only. Close the iterator in the end
        (`contextlib.closing`).
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
            threading.Thread(target=work, args=(device,), name=_NAME, daemon=True)
            for device in range(len(self._queues))
            for _ in range(self._threads_per_device)
        ]
        patience: float | None = None
        try:
            for thread in threads:
                thread.start()
            for _ in range(n_steps):
                if (error := await_item(finished)) is not None:
                    raise error
                yield
        except (KeyboardInterrupt, SystemExit):
            patience = _PATIENCE
            raise
        finally:
            stop.set()
            end = None if patience is None else time.monotonic() + patience
            for thread in filter(threading.Thread.is_alive, threads):
                thread.join(None if end is None else max(0.0, end - time.monotonic()))
            for thread in filter(threading.Thread.is_alive, threads):
                atexit.register(thread.join)  # a thread in the middle of compiled code must not outlive Python


def await_item(items: queue.SimpleQueue[_Result], look: Callable[[], None] = lambda: None) -> _Result:
    """The next item; raises for signals that come meanwhile, and calls `look` every now and then."""
    while True:
        check_signals()
        with contextlib.suppress(queue.Empty):
            return items.get(timeout=_POLL)
        look()
