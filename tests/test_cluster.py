"""Ensembles in pieces: by the workers of executors, in folders; workers that are lost, bare, of other versions."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import optax
import pytest

import ibjax
from ibjax import Config, ExecutorError, Trajectory
from ibjax._workers import interruptible
from ibjax.cluster.engine import Engine
from ibjax.ensemble.compiled import CompiledRun, compile_run
from ibjax.trajectory.provenance import versions

CONFIG = Config(seeds=25, epochs=4, logged_epochs=3, hidden_widths=(3,))  # three blocks of a CPU


@pytest.fixture(scope="module")
def truth() -> Trajectory:
    return ibjax.run(CONFIG)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


class Scripted(Executor):
    """Does each call at once, after what a script says of it: an exception to fail with, or None."""

    def __init__(self, *script: BaseException | None) -> None:
        self.script, self.calls = list(script), 0

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:
        future: Future[Any] = Future()
        planned = self.script.pop(0) if self.script else None
        self.calls += 1
        try:
            if planned is not None:
                raise planned
            future.set_result(function(*arguments, **options))
        except Exception as error:
            future.set_exception(error)
        return future


VERSIONS = [None] * 5  # the calls that ask for versions
BEGIN = [*VERSIONS, None]  # and the one that describes a worker


def test_processes_give_the_same_arrays_and_take_what_pickle_can_send(truth: Trajectory) -> None:
    rates = tuple(0.1 + 0.01 * index for index in range(25))
    sweep = replace(CONFIG, learning_rate=rates, seeds=tuple(range(40, 15, -1)))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as executor:
        spread = ibjax.run(CONFIG, executor=executor)
        swept = ibjax.run(sweep, executor=executor)
        with pytest.raises(ExecutorError, match=r"cannot be sent to the workers.*allowed: .*pickle knows by name"):
            ibjax.run(CONFIG, executor=executor, optimizer=optax.sgd(0.1))
    assert spread.differences(truth) == {}
    assert spread.config == truth.config
    here = ibjax.run(sweep)
    assert swept.differences(here) == {}
    assert swept.config["config"] == here.config["config"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning", "ignore:.*use of fork:DeprecationWarning")
def test_forked_workers_are_told_to_be_spawned() -> None:
    with (
        ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as executor,
        pytest.raises(ExecutorError, match=r"forked.*allowed: .*spawn.*nothing is kept"),
    ):
        ibjax.run(CONFIG, executor=executor)


def test_threads_and_code_of_ones_own(threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has no name is compiled once a worker, not once a piece."""
    compiled: list[Any] = []

    def recorded(*arguments: Any) -> CompiledRun:
        compiled.append(arguments)
        return compile_run(*arguments)

    monkeypatch.setattr("ibjax.cluster.task.compile_run", recorded)
    optimizer = optax.adam(1e-3)
    spread = ibjax.run(CONFIG, executor=threads, optimizer=optimizer)
    assert spread.differences(ibjax.run(CONFIG, optimizer=optimizer)) == {}
    assert len(compiled) <= 2


def test_progress_over_all_pieces(threads: ThreadPoolExecutor, truth: Trajectory, tmp_path: Path) -> None:
    seen: list[ibjax.Progress] = []
    ibjax.run(CONFIG, executor=threads, progress=seen.append)
    assert [state.done for state in seen] == [0, 4, 8, 12]
    assert {state.total for state in seen} == {12}
    assert np.isnan([seen[0].accuracy, seen[0].i_xt]).all()
    assert all(0 < state.seconds == seen[0].seconds for state in seen)
    assert seen[-1].epoch == seen[-1].last_epoch == 4
    np.testing.assert_allclose(seen[-1].accuracy, truth.test_accuracy[:, -1].mean(), rtol=1e-6)
    np.testing.assert_allclose(seen[-1].i_xt, truth.i_xt[:, -1, 0].mean(), rtol=1e-6)


@pytest.mark.parametrize("how", ["here", "executor"])
def test_a_folder_goes_on_where_it_ended(
    how: str, truth: Trajectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: ThreadPoolExecutor
) -> None:
    monkeypatch.setattr("ibjax.ensemble.blocks.cores", lambda: 1)
    options: dict[str, Any] = {"out": tmp_path / "a"} | ({"executor": threads} if how == "executor" else {})

    def stop(state: ibjax.Progress) -> None:
        if state.done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ibjax.run(CONFIG, progress=stop, **options)
    assert len(list((tmp_path / "a").glob("piece_*.npz"))) == 1
    part = ibjax.load(tmp_path / "a")
    assert part.differences(truth.of_seeds(part.seeds)) == {}
    seen: list[ibjax.Progress] = []
    again = ibjax.run(CONFIG, progress=seen.append, **options)
    assert (seen[0].resumed, seen[0].done, seen[-1].done) == (4, 4, 12)
    assert again.differences(truth) == {}
    monkeypatch.setattr("ibjax.ensemble.blocks.DeviceProgram.advance", lambda *_: pytest.fail("trained"))
    assert ibjax.run(CONFIG, **options).differences(truth) == {}
    with pytest.raises(ibjax.CheckpointError, match=r"config learning_rate \(0.1 there, 0.2 asked for\)"):
        ibjax.run(replace(CONFIG, learning_rate=0.2), **options)


def test_a_folder_refuses_what_is_not_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photo.jpg").write_text("")
    with pytest.raises(ibjax.CheckpointError, match=r"out = .* holds 'photo.jpg'"):
        ibjax.run(CONFIG, out=tmp_path)
    with pytest.raises(ibjax.CheckpointError, match=r"no folder"):
        ibjax.run(CONFIG, out=tmp_path / "photo.jpg")
    with pytest.raises(TypeError, match=r"out = 3; allowed: the path"):
        ibjax.run(CONFIG, out=3)  # type: ignore[arg-type]


def test_what_cannot_be_is_refused_before_any_work(tmp_path: Path, threads: ThreadPoolExecutor) -> None:
    executor = Scripted()
    with pytest.raises(TypeError, match=r"executor = 4; allowed: a concurrent.futures.Executor"):
        ibjax.run(CONFIG, executor=4)
    with pytest.raises(ValueError, match=r"checkpoint = 'a' with executor.*allowed: out=FOLDER"):
        ibjax.run(CONFIG, executor=executor, checkpoint="a")
    with pytest.raises(TypeError, match=r"config = 3; allowed"):
        ibjax.run(3, executor=executor)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"batch_size = 4000"):
        ibjax.run(replace(CONFIG, batch_size=4000), executor=executor)
    assert executor.calls == 0


def test_results_that_fit_once_but_not_twice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An executor's pieces are joined; in a folder they never are."""
    monkeypatch.setattr("ibjax.cluster.run.available_memory", lambda: 100_000)
    with pytest.raises(MemoryError, match=r"25 seeds: about .*allowed: the 100 kB available, or out=FOLDER"):
        ibjax.run(CONFIG, executor=Scripted())
    assert ibjax.run(CONFIG, executor=Scripted(), out=tmp_path).seeds.size == 25


def test_a_worker_without_ibjax_or_with_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = metadata.PackageNotFoundError("ibjax")
    with pytest.raises(ExecutorError, match=r"a worker of the executor lacks ibjax .*allowed: ibjax"):
        ibjax.run(CONFIG, executor=Scripted(missing))
    with pytest.raises(
        ExecutorError, match=r"lacks a package: No module named 'optax'; allowed: those of this process"
    ):
        ibjax.run(CONFIG, executor=Scripted(*VERSIONS, ModuleNotFoundError("No module named 'optax'")))
    there = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "0.1" if name == "jax" else there(name))
    with pytest.raises(ExecutorError, match=r"a worker of the executor has jax 0\.1; allowed: jax .*, as here"):
        ibjax.run(CONFIG, executor=Scripted())


def test_every_worker_looks_at_its_versions_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only one is asked beforehand; another may differ."""
    wrong = {**versions(), "ibjax": "9"}
    monkeypatch.setattr("ibjax.cluster.task.versions", lambda: wrong)
    with pytest.raises(ExecutorError, match=r"a worker of the executor has ibjax 9 \(allowed: "):
        ibjax.run(CONFIG, executor=Scripted())


def test_what_fails_is_done_again_and_not_for_ever(truth: Trajectory) -> None:
    lost = RuntimeError("CUDA_ERROR_DEVICE_UNAVAILABLE")
    executor = Scripted(*BEGIN, lost, None, lost)
    assert ibjax.run(CONFIG, executor=executor).differences(truth) == {}
    assert executor.calls == len(BEGIN) + 3 + 2
    with pytest.raises(
        ExecutorError, match=r"failed 3 times, the last time by RuntimeError: CUDA_ERROR.*nothing is kept"
    ):
        ibjax.run(CONFIG, executor=Scripted(*BEGIN, *[lost] * 9))


def test_a_broken_executor_leaves_what_is_finished(truth: Trajectory, tmp_path: Path) -> None:
    broken = BrokenExecutor("a child process terminated abruptly")
    with pytest.raises(
        ExecutorError, match=r"workers are gone \(BrokenExecutor: .*finished are in .*same call"
    ) as caught:
        ibjax.run(CONFIG, executor=Scripted(*BEGIN, None, broken, broken), out=tmp_path)
    assert isinstance(caught.value.__cause__, BrokenExecutor)
    assert ibjax.load(tmp_path).seeds.tolist() == list(range(10))
    assert ibjax.run(CONFIG, executor=Scripted(), out=tmp_path).differences(truth) == {}
    done = ThreadPoolExecutor(1)
    done.shutdown()
    with pytest.raises(ExecutorError, match=r"cannot schedule new futures after shutdown"):
        ibjax.run(CONFIG, executor=done)


def test_a_killed_worker_of_a_pool_is_a_message_and_the_call_goes_on(truth: Trajectory, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    config = replace(CONFIG, seeds=40, epochs=300, logged_epochs=(0, 300))
    with ProcessPoolExecutor(1, mp_context=context) as executor:

        def kill(state: ibjax.Progress) -> None:
            if state.done:
                os.kill(next(iter(executor._processes)), signal.SIGKILL)

        with pytest.raises(ExecutorError, match=r"workers are gone.*finished are in"):
            ibjax.run(config, executor=executor, out=tmp_path, progress=kill)
    assert 0 < ibjax.load(tmp_path).seeds.size < 40
    with ProcessPoolExecutor(1, mp_context=context) as executor:
        assert ibjax.run(config, executor=executor, out=tmp_path).differences(ibjax.run(config)) == {}


def test_an_interrupt_cancels_what_has_not_begun() -> None:
    begun, go_on = threading.Event(), threading.Event()
    calls: list[int] = []

    def work(number: int) -> None:
        calls.append(number)
        begun.set()
        go_on.wait(60)

    def interrupt() -> None:
        begun.wait(60)
        signal.raise_signal(signal.SIGINT)

    with ThreadPoolExecutor(1) as executor:
        results = Engine(executor).results(work, [(number,) for number in range(5)])
        threading.Thread(target=interrupt).start()
        with pytest.raises(KeyboardInterrupt), interruptible():
            next(results)
        go_on.set()
    assert calls == [0]
