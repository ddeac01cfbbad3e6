"""Checkpoints: runs that are killed at any moment, folders that are not theirs, disks that are full."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import ibjax
from ibjax import Config, Trajectory
from ibjax.ensemble.blocks import DeviceProgram
from ibjax.ensemble.checkpoint import Checkpoint, CheckpointError, from_bytes, to_bytes

CONFIG = Config(seeds=12, epochs=900, logged_epochs=tuple(range(0, 901, 6)), hidden_widths=(2,), optimizer="adam")
_OPTIONS = (
    "--seeds 12 --epochs 900 --hidden-widths 2 --optimizer adam --quiet --force --checkpoint state "
    "--checkpoint-every 0 --out out.npz --logged-epochs"
)
COMMAND = ["run", *_OPTIONS.split(), ",".join(map(str, CONFIG.logged))]


@pytest.fixture(scope="module", autouse=True)
def programs() -> Iterator[None]:
    """Also what compiles fast is read from the session's compiled programs, by all processes of this file."""
    before = jax.config.values["jax_persistent_cache_min_compile_time_secs"]
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    yield
    jax.config.update("jax_persistent_cache_min_compile_time_secs", before)


@pytest.fixture(scope="module")
def truth(programs: None) -> Trajectory:
    """The run, never interrupted and without a checkpoint."""
    return ibjax.run(CONFIG)


class StopError(Exception):
    """Raised from a report of progress."""


def stop_after(count: int) -> Callable[[ibjax.Progress], None]:
    left = [count]

    def report(_: ibjax.Progress) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise StopError

    return report


def begun(folder: Path, config: Config = CONFIG, count: int = 40, **options: Any) -> Path:
    """A checkpoint of a run that ended early."""
    with pytest.raises(StopError):
        ibjax.run(config, checkpoint=folder, progress=stop_after(count), **options)
    return folder


class Lives:
    """The test's side of the `nursery`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._input: IO[str] = process.stdin
        self._output: IO[str] = process.stdout

    def live(
        self, place: Path, index: int = 0, *, block: bool = False, end: int = signal.SIGKILL, after: float = 0.0
    ) -> int:
        """One process in a folder, ended by a signal `after` seconds from its `index`-th fsync; its exit code."""
        self._input.write(f"{index} {int(block)} {place}\n")
        self._input.flush()
        pid = 0
        while True:
            word, *number = self._output.readline().split()
            if word == "pid":
                pid = int(number[0])
            elif word == "sync":
                time.sleep(after)
                with contextlib.suppress(ProcessLookupError):  # it may have ended well meanwhile, with status 0
                    os.kill(pid, end)
            else:
                return int(number[0])


@pytest.fixture(scope="module")
def lives() -> Iterator[Lives]:
    here = Path(__file__).parent
    environment = {
        **os.environ,
        "PYTHONPATH": str(here.parent),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    with subprocess.Popen(
        [sys.executable, str(here / "nursery.py"), *COMMAND],
        env=environment,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        yield Lives(process)


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_with_the_same_arrays(lives: Lives, truth: Trajectory, tmp_path: Path) -> None:
    """Twenty-one kills: half of them inside a write, half a random while after one; what gets through is compared."""
    rng, kills = random.Random(20261123), 0

    def compare() -> None:
        assert truth.differences(ibjax.load(tmp_path / "out.npz")) == {}
        assert not list((tmp_path / "state").glob(".*.tmp"))
        (tmp_path / "out.npz").unlink()
        shutil.rmtree(tmp_path / "state")

    while kills < 21:
        block = kills % 2 == 0
        status = lives.live(tmp_path, rng.randrange(1, 12), block=block, after=0.0 if block else rng.uniform(0, 0.1))
        assert status in (0, -signal.SIGKILL)
        kills += status != 0
        if status == 0 or (tmp_path / "out.npz").exists():  # it may be killed after it has written its output
            compare()
    assert lives.live(tmp_path) == 0
    compare()


@pytest.mark.slow
def test_signals_are_followed_by_a_checkpoint_and_the_usual_status(
    lives: Lives, truth: Trajectory, tmp_path: Path
) -> None:
    for end in (signal.SIGTERM, signal.SIGINT):
        assert lives.live(tmp_path, 6, end=end) == 128 + end
        assert len(list((tmp_path / "state").glob("state_*.npz"))) == 2  # each block's, also if it was not due
        assert not (tmp_path / "out.npz").exists()
    assert lives.live(tmp_path) == 0
    assert truth.differences(ibjax.load(tmp_path / "out.npz")) == {}


@pytest.mark.parametrize("call", [2, 31])
def test_a_signal_while_an_estimator_measures_loses_at_most_an_epoch(call: int, tmp_path: Path) -> None:
    """What is measured of gradients is not in the state: the block goes on from the epoch before."""
    config = replace(CONFIG, epochs=30, logged_epochs=(0, 10, 30), estimators=("kde",))
    calls, estimate = [0], DeviceProgram.estimate

    def counted(self: DeviceProgram, *arguments: Any) -> Any:
        calls[0] += 1
        if calls[0] == call:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.3)  # the main thread looks at the signals meanwhile
        return estimate(self, *arguments)

    truth = ibjax.run(config)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(DeviceProgram, "estimate", counted)
        with pytest.raises(KeyboardInterrupt):
            ibjax.run(config, checkpoint=tmp_path / "a")
    with Checkpoint(tmp_path / "a") as written:
        positions = [written.restore(number, config.logged) for number in range(2)]
    # The block that was being measured; the other one may stop after any call of its training.
    epochs = [position.epoch for position in positions if position is not None]
    assert len(epochs) == 2
    assert {0, 9, 10, 29, 30} & set(epochs), epochs
    assert truth.differences(ibjax.run(config, checkpoint=tmp_path / "a")) == {}


def test_a_signal_between_any_two_lines_loses_nothing(
    truth: Trajectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the main thread has just taken note of a logged epoch, a signal must not lose what was measured there."""
    watch, calls = Checkpoint.watch, [0]

    def interrupted(self: Checkpoint) -> None:
        calls[0] += 1
        if calls[0] == 30:
            raise KeyboardInterrupt
        watch(self)

    with monkeypatch.context() as patched:
        patched.setattr(Checkpoint, "watch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            ibjax.run(CONFIG, checkpoint=tmp_path / "a")
    with Checkpoint(tmp_path / "a") as kept:
        for number in range(2):
            position = kept.restore(number, CONFIG.logged)
            assert position is not None
            assert position.n_logged == sum(np.shape(piece[0])[1] for piece in position.records)
    assert truth.differences(ibjax.run(CONFIG, checkpoint=tmp_path / "a")) == {}


def test_exceptions_lose_nothing(truth: Trajectory, tmp_path: Path) -> None:
    """Stopped again and again before anything is due, it still gets through, and no epoch is logged twice."""
    steps = 0
    for _ in range(20):
        try:
            again = ibjax.run(CONFIG, checkpoint=tmp_path / "a", checkpoint_every=1e9, progress=stop_after(31))
            break
        except StopError:
            steps += 31
    else:
        pytest.fail("it does not get on")
    assert steps <= 2 * len(CONFIG.logged)
    assert truth.differences(again) == {}


def test_a_stop_between_two_logged_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped after every call of the compiled program, of which an interval takes several."""
    monkeypatch.setattr("ibjax.ensemble.blocks._SECONDS_PER_CALL", 1e9)  # fifty epochs a call, however slow they are
    config = replace(CONFIG, seeds=3, epochs=200, logged_epochs=(0, 120, 200))
    whole, advance, positions = ibjax.run(config), DeviceProgram.advance, []

    def stopped(self: DeviceProgram, block: Any, logged: Any, stop: threading.Event, store: Any) -> Any:
        positions.append((block.n_logged, block.epoch))
        stop.set()
        return advance(self, block, logged, stop, store)

    with monkeypatch.context() as patched:
        patched.setattr(DeviceProgram, "advance", stopped)
        for _ in range(6):
            begun(tmp_path / "a", config, 2)
    assert positions == [(0, 0), (1, 0), (1, 50), (1, 100), (2, 120), (2, 170)]
    assert whole.differences(ibjax.run(config, checkpoint=tmp_path / "a")) == {}


class Late:
    """An event that is set when it is asked for the n-th time, and sets another."""

    def __init__(self, event: threading.Event, n: int) -> None:
        self._event, self._left = event, n

    def is_set(self) -> bool:
        self._left -= 1
        if not self._left:
            self._event.set()
        return self._event.is_set()


def test_a_stop_while_an_estimator_is_at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on an epoch before, to measure the gradients of that epoch again."""
    monkeypatch.setattr("ibjax.ensemble.blocks._SECONDS_PER_CALL", 1e9)
    config = replace(CONFIG, seeds=3, epochs=60, logged_epochs=(0, 40, 60), estimators=("quantized",))
    whole, advance = ibjax.run(config), DeviceProgram.advance

    def stopped(self: DeviceProgram, block: Any, logged: Any, stop: threading.Event, store: Any) -> Any:
        late: Any = Late(stop, 3 if block.n_logged == 1 else 1000)  # after 39 epochs, after one, before the estimator
        return advance(self, block, logged, late, store)

    with monkeypatch.context() as patched:
        patched.setattr(DeviceProgram, "advance", stopped)
        begun(tmp_path / "a", config, 3)
    with Checkpoint(tmp_path / "a") as checkpoint:
        position = checkpoint.restore(0, config.logged)
    assert position is not None
    assert (position.n_logged, position.epoch) == (1, 39)
    assert whole.differences(ibjax.run(config, checkpoint=tmp_path / "a")) == {}


def test_a_finished_run_is_read_and_not_trained(
    truth: Trajectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ibjax.run(CONFIG, checkpoint=tmp_path / "a")
    monkeypatch.setattr("ibjax.ensemble.blocks.DeviceProgram.advance", lambda *_: pytest.fail("trained again"))
    assert truth.differences(ibjax.run(CONFIG, checkpoint=tmp_path / "a")) == {}
    assert not list((tmp_path / "a").glob("state_*"))


def test_float64_stored_weights_ranges_and_estimates_come_back(tmp_path: Path) -> None:
    config = Config(
        seeds=3,
        epochs=40,
        logged_epochs=9,
        hidden_widths=(3,),
        activation="relu",
        precision="float64",
        store_weights=True,
        estimators=("quantile",),
    )
    whole = ibjax.run(config)
    assert {"i_xt_quantile", "weights_output", "range_low"} < set(whole.extras)
    begun(tmp_path / "a", config, 4)
    assert whole.differences(ibjax.run(config, checkpoint=tmp_path / "a")) == {}


class Network:
    """One layer, scaled."""

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def init(self, key: jax.Array, inputs: jax.Array) -> Any:
        return {"in": jax.random.normal(key, (inputs.shape[1], 2)), "out": jnp.ones((2, 1))}

    def apply(self, params: Any, inputs: jax.Array) -> Any:
        a = jnp.tanh(inputs @ params["in"] * self.scale)
        logits = a @ params["out"]
        return logits, [a, jax.nn.sigmoid(logits)]


def noisy(rate: float) -> optax.GradientTransformation:
    """With a key of random numbers in its state."""
    return optax.chain(optax.add_noise(0.01, 0.5, jax.random.key(7)), optax.sgd(rate, momentum=0.9))


def patterns(n: int = 64, shift: float = 0.0) -> ibjax.Dataset:
    inputs = np.array([[i >> k & 1 for k in range(6)] for i in range(n)], float)
    return ibjax.Dataset(inputs, np.clip(inputs.mean(axis=1) + shift, 0, 1))


def test_parts_of_ones_own_are_told_apart(tmp_path: Path) -> None:
    config = Config(seeds=3, epochs=30, logged_epochs=tuple(range(31)), batch_size=16)
    parts: dict[str, Any] = {"dataset": patterns(), "network": Network(1.0), "optimizer": noisy(0.1)}
    whole = ibjax.run(config, **parts)
    begun(tmp_path / "a", config, 9, **parts)
    others: list[tuple[dict[str, Any], str]] = [
        ({"dataset": patterns(shift=0.01)}, "dataset"),
        ({"network": Network(1.5)}, "network or optimizer"),
        ({"optimizer": noisy(0.2)}, "network or optimizer"),
    ]
    for other, word in others:
        with pytest.raises(CheckpointError, match=f"belongs to another run, which differs in .*{word}"):
            ibjax.run(config, **{**parts, **other}, checkpoint=tmp_path / "a")
    fresh: dict[str, Any] = {"dataset": patterns(), "network": Network(1.0), "optimizer": noisy(0.1)}
    assert whole.differences(ibjax.run(config, **fresh, checkpoint=tmp_path / "a")) == {}


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory, truth: Trajectory) -> Path:
    """A checkpoint in the middle of the run, several files of records a block; not to be changed."""
    folder = begun(tmp_path_factory.mktemp("half") / "state")
    return begun(folder, count=50)


@pytest.fixture
def folder(half: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(half, tmp_path / "state"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epochs": 901}, "config epochs \\(900 there, 901 asked for\\)"),
        ({"seeds": 13, "learning_rate": 0.2}, "config learning_rate .*; config seeds"),
        ({"hidden_widths": (3, 3)}, "config hidden_widths"),
    ],
)
def test_another_configuration_is_refused(changes: dict[str, Any], words: str, folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(CheckpointError, match=f"belongs to another run, which differs in {words}.*a new folder"):
        ibjax.run(replace(CONFIG, **changes), checkpoint=folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_other_versions_and_devices_are_refused(folder: Path) -> None:
    facts = json.loads((folder / "run.json").read_text())
    facts["versions"]["jaxlib"], facts["device"] = "0.0.1", "TPU v9"
    (folder / "run.json").write_text(json.dumps(facts))
    with pytest.raises(CheckpointError, match=r'versions jaxlib \("0.0.1" there.*device \("TPU v9" there'):
        ibjax.run(CONFIG, checkpoint=folder)


def test_another_trainer_is_refused(folder: Path) -> None:
    """Known only when the program is compiled: "auto" takes the plain one where the GPU's does not compile."""
    facts = json.loads((folder / "run.json").read_text())
    assert facts["trainer"] == "plain"
    (folder / "run.json").write_text(json.dumps({**facts, "trainer": "fused"}))
    with pytest.raises(CheckpointError, match=r'trainer \("fused" there, "plain" asked for\)'):
        ibjax.run(CONFIG, checkpoint=folder)


def restored(folder: Path) -> list[Any]:
    with Checkpoint(folder) as kept:
        return [kept.restore(number, CONFIG.logged) for number in range(2)]


def flat(positions: Any) -> list[bytes]:
    return [np.asarray(a).tobytes() + str(np.shape(a)).encode() for a in jax.tree.leaves(positions)]


def test_damage_is_found_or_harmless(half: Path, tmp_path: Path) -> None:
    """Four hundred damaged folders: the same position comes back, or an earlier one, or an error that names a file."""
    rng, truth = random.Random(3), flat(restored(half))
    names = sorted(path.name for path in half.glob("*.npz"))
    refused = 0
    for case in range(400):
        folder = tmp_path / str(case)
        shutil.copytree(half, folder)
        path = folder / rng.choice(names)
        data = bytearray(path.read_bytes())
        match case % 4:
            case 0:
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            case 1:
                del data[rng.randrange(len(data)) :]
            case 2:
                start = rng.randrange(len(data))
                data[start : start + 64] = rng.randbytes(64)
            case _:
                data = bytearray((folder / rng.choice(names)).read_bytes())
        path.write_bytes(data)
        try:
            assert flat(restored(folder)) == truth or case % 4 == 3
        except CheckpointError:
            refused += 1
        shutil.rmtree(folder)
    assert refused > 300


def test_files_of_other_blocks_and_shapes_are_refused_by_the_run(folder: Path) -> None:
    """Whole files in the wrong place: what is in them does not fit the run."""
    states = sorted(folder.glob("state_*.npz"))
    with np.load(states[0]) as state:
        arrays = dict(state)
    np.savez(states[0], **{**arrays, "leaf_001": arrays["leaf_001"][:-4]})
    with pytest.raises(CheckpointError, match="damaged: block 0"):
        ibjax.run(CONFIG, checkpoint=folder)


@pytest.mark.parametrize("moved", [-6, 6])
def test_a_state_of_another_interval_is_refused(moved: int, folder: Path) -> None:
    """The epoch a state has reached lies between its last logged epoch and the next; here these are 6 apart."""
    path = folder / "state_00001.npz"
    with np.load(path) as state:
        arrays = dict(state)
    np.savez(path, **{**arrays, "leaf_000": arrays["leaf_000"] + [0, moved]})
    with pytest.raises(CheckpointError, match=r"damaged: state_00001\.npz: epoch \d+ after \d+ logged epochs"):
        restored(folder)


def test_records_that_overlap_are_refused(folder: Path) -> None:
    first, second = sorted(folder.glob("records_00001_*"))[:2]
    _, _, _, last = second.stem.split("_")
    second.rename(folder / f"{first.stem[:-7]}{last}.npz")
    shutil.copy(first, folder / f"records_00001_{1:07}_{last}.npz")
    with pytest.raises(CheckpointError, match="is damaged: records_00001"):
        restored(folder)


@pytest.mark.parametrize("missing", ["run.json", "records_00001_*_*.npz"])
def test_missing_files_are_found(missing: str, folder: Path) -> None:
    sorted(folder.glob(missing))[0].unlink()
    with pytest.raises(CheckpointError, match="is damaged"):
        ibjax.run(CONFIG, checkpoint=folder)


@pytest.mark.parametrize("text", ["", "[]", "{", "{}", "\udcff"])
def test_a_damaged_owner_is_found(text: str, folder: Path) -> None:
    (folder / "run.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(CheckpointError, match=r"is damaged: run\.json"):
        ibjax.run(CONFIG, checkpoint=folder)


def test_measures_without_their_state_are_made_again(folder: Path, truth: Trajectory) -> None:
    """What a death between the two writes leaves, in one block at the end and in the other at the beginning."""
    (folder / "state_00000.npz").unlink()
    last = max(path.stem for path in folder.glob("records_00001_*"))
    first = int(last.split("_")[3])
    shutil.copy(folder / f"{last}.npz", folder / f"records_00001_{first:07}_{first + 1:07}.npz")
    assert truth.differences(ibjax.run(CONFIG, checkpoint=folder)) == {}


def test_one_run_at_a_time(folder: Path, truth: Trajectory) -> None:
    with (
        Checkpoint(folder),
        pytest.raises(CheckpointError, match=f"is in use by process {os.getpid()} on .*one run at a time"),
    ):
        ibjax.run(CONFIG, checkpoint=folder)
    (folder / "lock").write_text("process 1 on a machine that crashed")  # nobody holds it
    assert truth.differences(ibjax.run(CONFIG, checkpoint=folder)) == {}


def test_two_processes_of_which_the_second_is_refused(lives: Lives, tmp_path: Path, truth: Trajectory) -> None:
    with Checkpoint(tmp_path / "state"):
        assert lives.live(tmp_path) == 2
    assert lives.live(tmp_path) == 0
    assert truth.differences(ibjax.load(tmp_path / "out.npz")) == {}


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"checkpoint": 3}, TypeError, "checkpoint = 3"),
        ({"checkpoint": "file"}, CheckpointError, "no folder"),
        ({"checkpoint": "full"}, CheckpointError, "'photo.jpg', which is no part"),
        ({"checkpoint": "new", "checkpoint_every": -1}, ValueError, "checkpoint_every = -1"),
        ({"checkpoint": "new", "checkpoint_every": "1"}, TypeError, "checkpoint_every = '1'"),
        ({"checkpoint": "new", "checkpoint_every": float("nan")}, ValueError, "checkpoint_every = nan"),
    ],
)
def test_what_cannot_be_a_checkpoint(
    options: dict[str, Any], error: type[Exception], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    Path("full").mkdir()
    Path("full/photo.jpg").write_text("")
    with pytest.raises(error, match=words):
        ibjax.run(CONFIG, **options)
    assert not Path("new").exists()


def test_a_disk_that_fills_up(folder: Path, truth: Trajectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything after the second write fails: the run goes on and ends, and the checkpoint is as good as it was."""
    sync, calls = os.fsync, [0]

    def full(file: int) -> None:
        calls[0] += 1
        if calls[0] > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(file)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.warns(RuntimeWarning, match="No space left on device.*free some space") as caught:
            assert truth.differences(ibjax.run(CONFIG, checkpoint=folder, checkpoint_every=0)) == {}
    assert len(caught) == 1
    assert not list(folder.glob(".*.tmp"))
    assert truth.differences(ibjax.run(CONFIG, checkpoint=folder)) == {}


def test_a_device_that_disappears(folder: Path, truth: Trajectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither trains any more nor gives its blocks' states back: what was stored stays, and the same call goes on."""
    config, advance, calls = replace(CONFIG, seeds=12), DeviceProgram.advance, [0]

    def lost(*arguments: Any) -> Any:
        raise jax.errors.JaxRuntimeError("INTERNAL: CUDA_ERROR_UNKNOWN:\n the device fell off the bus")

    def some_time(*arguments: Any) -> Any:
        calls[0] += 1
        return advance(*arguments) if calls[0] < 20 else lost()

    with monkeypatch.context() as patched:
        patched.setattr(DeviceProgram, "advance", some_time)
        patched.setattr("ibjax.ensemble.run.to_bytes", lost)
        words = r"a device failed \(cpu: INTERNAL: .*the device fell.*the same call goes on from checkpoint = "
        with pytest.raises(ibjax.DeviceError, match=words):
            ibjax.run(config, checkpoint=folder)
        with pytest.raises(ibjax.DeviceError, match=r"fell off the bus\); nothing is kept"):
            ibjax.run(config)
    assert truth.differences(ibjax.run(config, checkpoint=folder)) == {}


def test_a_limit_of_the_kernel(folder: Path, truth: Trajectory) -> None:
    """No file may grow beyond a kilobyte: a true error of a true write."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    try:
        with pytest.warns(RuntimeWarning, match="could not be written.*File too large"):
            again = ibjax.run(CONFIG, checkpoint=folder, checkpoint_every=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert truth.differences(again) == {}
    assert truth.differences(ibjax.run(CONFIG, checkpoint=folder)) == {}


def test_a_disk_without_room_is_found_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr("ibjax.ensemble.blocks.DeviceProgram.advance", lambda *_: pytest.fail("trained"))
    with pytest.raises(OSError, match="kB wanted, 1 kB free"):
        ibjax.run(CONFIG, checkpoint=tmp_path / "a")


def test_a_slow_disk_is_written_to_more_seldom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most every ten seconds, and a twentieth of the time: the clock and the disk are made up."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(Checkpoint, "_write_arrays", lambda *_: now.__setitem__(0, now[0] + 2.0))
    asked = []
    with Checkpoint(tmp_path / "a", 10.0) as kept:
        while now[0] < 1200:
            now[0] += 1
            if kept.due(0):
                asked.append(now[0] - 1000)
                kept.save(0, 0, 0, [], lambda *_: [])
                kept.finish()
    assert asked == [10, 40, 80, 120, 160, 200]


def test_every_dtype_survives_as_bytes() -> None:
    tree = {
        "half": jnp.arange(6, dtype=jnp.bfloat16).reshape(2, 3) / 7,
        "key": jax.random.split(jax.random.key(1), 2),
        "flag": jnp.array([True, False]),
        "none": jnp.zeros((2, 0)),
        "nan": jnp.array([np.nan, -0.0], jnp.float32),
    }
    back = from_bytes(to_bytes(tree), tree)
    assert list(back) == sorted(tree)
    assert flat(to_bytes(back)) == flat(to_bytes(tree))
    assert [a.dtype for a in jax.tree.leaves(back)] == [a.dtype for a in jax.tree.leaves(tree)]
    with pytest.raises(ValueError, match="allowed: 5"):
        from_bytes(to_bytes(tree)[1:], tree)
    with pytest.raises(ValueError, match="allowed: 2 bytes"):
        from_bytes([a[1:] for a in to_bytes(tree)], tree)
