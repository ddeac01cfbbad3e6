"""A Dask cluster of true processes: workers that are killed, schedulers that do not answer."""

from __future__ import annotations

import functools
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import ibjax
from ibjax import Config, Trajectory
from ibjax.cli.main import main
from ibjax.cluster.engine import connect

pytest.importorskip("distributed")

CONFIG = Config(seeds=60, epochs=150, logged_epochs=(0, 150), hidden_widths=(3,))  # six blocks of some seconds
PATIENCE = 500  # seconds that a process may take to start on a machine that is busy
COMMAND = "run --seeds 60 --epochs 150 --logged-epochs 0,150 --hidden-widths 3,"


@pytest.fixture(scope="module")
def truth() -> Trajectory:
    return ibjax.run(CONFIG)


class Cluster:
    """A scheduler and its workers, each a process that may be killed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "scheduler.json"
        self.workers: list[subprocess.Popen[bytes]] = []
        self.scheduler = self._start("scheduler", "--port", "0")

    def address(self) -> str:
        """Where the scheduler is, once it is."""
        deadline = time.monotonic() + PATIENCE
        while not self.file.exists():
            assert time.monotonic() < deadline, (self.folder / "scheduler.log").read_text()
            time.sleep(0.05)
        return str(json.loads(self.file.read_text())["address"])

    def _start(self, kind: str, *options: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", "--scheduler-file", str(self.file), *options]
        with open(self.folder / f"{kind}.log", "ab") as log:
            return subprocess.Popen([*command, "--no-dashboard"], stdout=log, stderr=log, cwd=self.folder)

    def add_worker(self) -> None:
        self.workers.append(self._start("worker", "--nthreads", "1", "--no-nanny"))

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()

    def close(self) -> None:
        for process in (*self.workers, self.scheduler):
            self.kill(process)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    try:
        yield made
    finally:
        made.close()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_killed_worker_and_then_all_of_them(
    cluster: Cluster, truth: Trajectory, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """One killed in the middle: its blocks are done elsewhere. Both killed: a message, and the same command goes on."""
    monkeypatch.chdir(cluster.folder)
    monkeypatch.setattr("ibjax.cluster.engine._PATIENCE", 3.0)
    monkeypatch.setattr("ibjax.cli.train.connect", functools.partial(connect, seconds=PATIENCE))
    cluster.add_worker()
    cluster.add_worker()

    def kill_one(state: ibjax.Progress) -> None:
        if 0 < state.done < state.total and all(worker.poll() is None for worker in cluster.workers):
            cluster.kill(cluster.workers[0])

    with connect(cluster.address(), None, PATIENCE) as client:
        client.wait_for_workers(2, timeout=PATIENCE)
        spread = ibjax.run(CONFIG, executor=client, progress=kill_one)
    assert cluster.workers[0].returncode == -signal.SIGKILL
    assert spread.differences(truth) == {}

    def kill_the_other() -> None:
        while not list(Path("pieces").glob("piece_*.npz")):
            time.sleep(0.01)
        cluster.kill(cluster.workers[1])

    watcher = threading.Thread(target=kill_the_other)
    watcher.start()
    command = [*COMMAND.split(), "--scheduler-file", "scheduler.json", "--out", "pieces"]
    assert main(command) == 1
    watcher.join()
    printed = capfd.readouterr()
    assert "ibjax run: the cluster has had no worker for 3 s; allowed: at least one; the pieces" in printed.err
    assert "'pieces', from where the same call or command goes on" in printed.err
    assert 0 < ibjax.load("pieces").seeds.size < 60
    cluster.add_worker()
    with connect(cluster.address(), None, PATIENCE) as client:
        client.wait_for_workers(1, timeout=PATIENCE)
    assert main(command) == 0
    told = capfd.readouterr().out
    assert "60 networks: about" in told
    assert "goes on from" in told
    assert ibjax.load("pieces").differences(truth) == {}
