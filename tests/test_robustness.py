"""What must not happen: leaks, mixed-up threads, hanging forks, numbers that cannot be, results that are lost."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import re
import signal
import subprocess
import sys
import threading
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import ibjax
from ibjax import Config, Trajectory
from ibjax._files import check_space, size
from ibjax._workers import Workers, check_signals, interrupted_threads, interruptible
from ibjax.cli.main import main
from ibjax.ensemble import run as ensemble
from ibjax.ensemble.assemble import assemble
from ibjax.ensemble.blocks import lower
from ibjax.ensemble.compiled import CACHE, available_memory, cache_key
from ibjax.ensemble.results import ResultBuffer
from ibjax.trajectory.provenance import recorded_config

TINY = Config(seeds=12, epochs=4, logged_epochs=3, hidden_widths=(2,))


@pytest.fixture(scope="module")
def truth() -> Trajectory:
    return ibjax.run(TINY)


def resident() -> int:
    """Bytes this process has in memory, for good: the collector has been round."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_two_hundred_runs_leak_nothing(truth: Trajectory) -> None:
    """One configuration 200 times, then eleven others, more than the programs that are kept.

    The first runs warm up the allocator. A leak of a run's results, a tenth of a megabyte, would add 20 MB, that of
    one configuration's programs several each.
    """
    programs, arrays = jax.devices()[0].client.live_executables, jax.live_arrays
    for seed in range(20):
        ibjax.run(replace(TINY, seeds=(seed,)))
    before, compiled, held = resident(), len(programs()), len(arrays())
    for seed in range(200):
        last = ibjax.run(replace(TINY, seeds=(*range(seed, seed + 11), 1000)))
    assert resident() - before < 15 * 2**20
    assert len(programs()) == compiled
    assert len(arrays()) == held
    assert last.of_seeds([1000]).differences(ibjax.run(replace(TINY, seeds=(1000,)))) == {}
    counts = []
    for bins in range(10, 21):
        ibjax.run(replace(TINY, seeds=1, bins=bins))
        gc.collect()
        counts.append(len(programs()))
    assert counts[-1] == counts[-2] == counts[-3], counts
    assert len(CACHE._entries) == 8
    assert resident() - before < 150 * 2**20


def test_programs_of_other_settings_are_not_used_again(truth: Trajectory) -> None:
    """What JAX compiles depends on its settings; kept programs do too."""
    keys = [cache_key(assemble(TINY)) for _ in range(2)]
    with jax.default_matmul_precision("highest"):
        keys.append(cache_key(assemble(TINY)))
    assert keys[0] == keys[1] != keys[2]


def test_cached_programs_train_on_as_many_cores_as_there_are_blocks(
    truth: Trajectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the run that compiled them had one block."""
    threads: list[int] = []

    class Recorded(Workers[Any]):
        def __init__(self, step: Any, n_devices: int, threads_per_device: int, context: Any) -> None:
            threads.append(threads_per_device)
            super().__init__(step, n_devices, threads_per_device, context)

    monkeypatch.setattr(ensemble, "Workers", Recorded)
    monkeypatch.setattr("ibjax.ensemble.blocks.cores", lambda: 2)
    CACHE.clear()
    for seeds in (1, 12):
        ibjax.run(replace(TINY, seeds=seeds))
    assert threads == [1, 2]


def test_an_interrupt_in_a_callback_is_not_swallowed(truth: Trajectory) -> None:
    """What a signal handler raises inside a callback of the garbage collector is dropped; jax has one there."""
    sent: list[str] = []

    def interrupt(phase: str, _: dict[str, int]) -> None:
        if not sent and threading.current_thread() is threading.main_thread():
            sent.append(phase)
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)

    class Collecting:
        """A network whose trace calls the garbage collector, in which the signal comes."""

        def init(self, key: Any, inputs: Any) -> Any:
            return np.zeros((inputs.shape[1], 1), np.float32)

        def apply(self, params: Any, inputs: Any) -> Any:
            gc.callbacks.append(interrupt)
            gc.collect()
            gc.callbacks.remove(interrupt)
            return inputs @ params, [inputs @ params]

    with pytest.raises(KeyboardInterrupt):
        ibjax.run(TINY, network=Collecting())
    assert sent
    assert signal.getsignal(signal.SIGINT) is before
    assert truth.differences(ibjax.run(TINY)) == {}  # nothing of it is left


def test_an_interrupt_does_not_wait_for_a_long_call() -> None:
    """Here one that ends only when the test says so."""
    release, begun = threading.Event(), threading.Event()

    def step(*_: object) -> None:
        begun.set()
        release.wait(60)

    def interrupt() -> None:
        begun.wait()
        os.kill(os.getpid(), signal.SIGINT)

    workers = Workers[int](step, 1, 1)
    workers.add(0, 1)
    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt), interruptible(), contextlib.closing(workers.run(1)) as steps:
        list(steps)
    assert len(interrupted_threads()) == 1
    release.set()
    interrupted_threads()[0].join()


@pytest.mark.parametrize("kills", [False, True])
def test_a_second_signal_ends_at_once(kills: bool) -> None:
    code = (
        "import os, signal, time; from ibjax._workers import interruptible\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"with interruptible(second_kills={kills}):\n"
        "    os.kill(os.getpid(), signal.SIGINT); print('on', flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGINT); time.sleep(60); print('too far', flush=True)\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50)
    assert found.stdout == "on\n"
    assert found.returncode == -signal.SIGINT  # also how Python ends after a KeyboardInterrupt
    assert ("KeyboardInterrupt" in found.stderr) != kills


def test_a_handler_set_during_the_run_stays() -> None:
    before = signal.getsignal(signal.SIGINT)
    try:
        with interruptible():
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_signals_that_others_handle_stay_theirs() -> None:
    def theirs(*_: object) -> None:
        """Not ours."""

    before = signal.signal(signal.SIGINT, theirs)
    try:
        with interruptible(terminate=True, second_kills=True):
            assert signal.getsignal(signal.SIGINT) is theirs
            os.kill(os.getpid(), signal.SIGINT)
            check_signals()
    finally:
        signal.signal(signal.SIGINT, before)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_what_cannot_fit_is_refused_before_anything_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ibjax.ensemble.compiled.compile_run", lambda _: pytest.fail("compiled"))
    for config, words in (
        (Config(seeds=10**7), "10000000 seeds"),
        (Config(hidden_widths=(65_536, 65_536)), r"4295950337 parameters .*\(65536, 65536, 1\)"),
    ):
        for work in (ibjax.run, ibjax.forecast):
            with pytest.raises(MemoryError, match=rf"{words}.*about [0-9.]+ [GT]B of memory; allowed: the [0-9.]+ .B"):
                work(config)
    monkeypatch.setattr("ibjax.ensemble.compiled.available_memory", lambda: 10_000)
    with pytest.raises(MemoryError, match=r"12 seeds of .*allowed: the 10 kB available \(fewer seeds"):
        ibjax.run(TINY)
    assert main(["run", "--preset", "quick", "--out", os.devnull + "x"]) == 2


def test_available_memory_is_the_least_of_machine_and_control_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "/proc/meminfo": "MemTotal: 9000 kB\nMemAvailable: 4000 kB\nSwapFree: 96 kB\n",
        "/proc/self/cgroup": "0::/a/b\n",
        "/sys/fs/cgroup/a/b/memory.max": "max\n",
        "/sys/fs/cgroup/a/b/memory.stat": "anon 0\n",
        "/sys/fs/cgroup/a/memory.max": "3000000\n",
        "/sys/fs/cgroup/a/memory.stat": "anon 1000000\nfile 7\n",
    }
    one = {**files, "/proc/self/cgroup": "4:cpu,memory:/c\n1:cpu:/c\n0::/\n"}
    one |= {"/sys/fs/cgroup/memory/memory.limit_in_bytes": "5000\n"}
    one |= {"/sys/fs/cgroup/memory/memory.stat": "total_rss 6000\n"}
    for given, bytes_left in (
        (files, 2_000_000),
        (one, 0),
        ({}, None),
        ({**files, "/proc/self/cgroup": ""}, 4_194_304),
    ):

        def read(path: Path, given: dict[str, str] = given) -> str:
            try:
                return given[str(path)]
            except KeyError:
                raise FileNotFoundError from None

        monkeypatch.setattr(Path, "read_text", read)
        found = available_memory()
        monkeypatch.undo()
        assert found == bytes_left


def test_a_forecast_is_about_right(truth: Trajectory) -> None:
    """Of sizes; of times only that they are of the right kind: longer for more."""
    config = replace(TINY, seeds=30, logged_epochs=(0, 1, 2), store_weights=True)
    traj = ibjax.run(config)
    forecast = ibjax.forecast(config)
    nbytes = sum(np.asarray(array).nbytes for array in traj.arrays().values())
    assert nbytes < forecast.file_bytes < 1.3 * nbytes + 10_000
    assert forecast.file_bytes < forecast.memory_bytes
    assert forecast.seconds is not None
    longer = ibjax.forecast(replace(config, epochs=10**6, logged_epochs=(0, 10**6)))
    assert longer.seconds is not None
    assert longer.seconds > 100 * forecast.seconds > 0
    assert ibjax.forecast(config, timed=False) == forecast._replace(seconds=None)


def test_runs_in_two_threads_do_not_mix(truth: Trajectory) -> None:
    """Of one configuration and of another, at the same time."""
    configs = [TINY, replace(TINY, seeds=(5, 3)), replace(TINY, bins=7)] * 2
    found: list[Trajectory | None] = [None] * len(configs)

    def work(index: int) -> None:
        found[index] = ibjax.run(configs[index])

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(configs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone = [truth, truth.of_seeds([5, 3]), ibjax.run(configs[2])] * 2
    assert [a.differences(b) for a, b in zip(alone, found, strict=True) if b is not None] == [{}] * len(configs)


def test_in_a_running_event_loop(truth: Trajectory, tmp_path: Path) -> None:
    """A notebook's cells run inside one; also in a thread of it, where signals cannot be handled."""

    async def cell() -> list[Trajectory]:
        here = ibjax.run(TINY, checkpoint=tmp_path / "a")
        return [here, await asyncio.to_thread(ibjax.run, TINY, checkpoint=tmp_path / "b")]

    assert [truth.differences(again) for again in asyncio.run(cell())] == [{}, {}]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_worker_is_told_to_be_spawned() -> None:
    code = (
        "import os, jax, ibjax\n"
        "ibjax.run, jax.devices()\n"
        "if os.fork() == 0:\n"
        "    try: ibjax.run()\n"
        "    except RuntimeError as error: print(error, flush=True)\n"
        "    os._exit(0)\n"
        "os.wait()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert "get_context('spawn')" in done.stdout


def test_healthy_networks_make_no_nan(truth: Trajectory) -> None:
    """Under `jax_debug_nans`, which raises where any comes out of a program; the arrays stay the same."""
    jax.config.update("jax_debug_nans", True)
    try:
        assert truth.differences(ibjax.run(TINY)) == {}
    finally:
        jax.config.update("jax_debug_nans", False)


class Modest(ibjax.Dataset):
    """A data set that says less of itself than there is."""

    @property
    def information(self) -> float:
        return 0.001


def test_broken_bounds_are_an_error_of_the_run() -> None:
    """Warned of and not clipped."""
    task = ibjax.spherical_dataset()
    with pytest.warns(RuntimeWarning, match=r"break their bounds; do not trust them[\s\S]*I\(T;Y\) <= I\(X;Y\): [1-9]"):
        traj = ibjax.run(replace(TINY, bins=5), dataset=Modest(task.inputs, task.p_y_given_x))
    assert traj.i_ty.max() > 0.01


@pytest.mark.parametrize("weights", [False, True])
def test_memory_is_made_once_and_is_that_of_the_file(weights: bool, tmp_path: Path) -> None:
    """2,000 seeds and 2,000 logged epochs: what the arrays of the results take, and what the file is said to take."""
    config = replace(ibjax.PRESETS["paper"], seeds=2000, epochs=100_000, logged_epochs=tuple(range(0, 100_000, 50)))
    config = replace(config, store_weights=weights)
    record = lower(assemble(config), 10, jax.devices()[0])["measure"]
    results = ResultBuffer([10] * 200, len(config.logged), record.out_info)  # address space only, until it is filled
    numbers = 7 * 8 + 4 + (453 if weights else 0)
    assert results.nbytes == 2000 * 2000 * (4 * numbers + 1)
    assert ibjax.forecast(config, timed=False).file_bytes == pytest.approx(results.nbytes, rel=0.05)


def test_the_expected_size_is_about_the_files(truth: Trajectory, tmp_path: Path) -> None:
    for config in (TINY, replace(TINY, epochs=200, logged_epochs=200, store_weights=True, precision="float64")):
        file = ibjax.run(config).save(tmp_path / "a.npz")
        assert 0.7 < ibjax.forecast(config, timed=False).file_bytes / file.stat().st_size < 1.5
    with pytest.raises(OSError, match=r"100 TB wanted, [0-9.]+ [kMGT]?B free") as caught:
        check_space(tmp_path / "absent" / "x.npz", 10**14)
    assert caught.value.filename.endswith("x.npz")


@pytest.mark.parametrize(("nbytes", "words"), [(0, "0 B"), (999, "999 B"), (99_960, "100 kB"), (1.5e9, "1.5 GB")])
def test_sizes_in_words(nbytes: float, words: str) -> None:
    assert size(nbytes) == words


class TestCommandLine:
    @pytest.fixture(autouse=True)
    def quiet_place(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("JAX_ENABLE_COMPILATION_CACHE", "false")

    def options(self, config: Config) -> list[str]:
        names = ("seeds", "epochs", "logged_epochs")
        found = [f"--{name.replace('_', '-')}={getattr(config, name)}" for name in names]
        return ["run", *found, f"--hidden-widths={','.join(map(str, config.hidden_widths))}", "--out", "run.npz"]

    def test_a_run_with_a_checkpoint(self, truth: Trajectory, capsys: pytest.CaptureFixture[str]) -> None:
        """In a folder with a space and letters from elsewhere, behind a link."""
        Path("über uns").mkdir()
        Path("link").symlink_to("über uns")
        assert main([*self.options(TINY), "--checkpoint", "link/a b", "--checkpoint-every", "0.5"]) == 0
        printed = capsys.readouterr()
        pattern = r"12 networks: about [0-9.]+ (s|min), arrays [0-9.]+ MB, file [0-9.]+ kB \(.* free\)\n"
        assert re.match(pattern, printed.out), printed.out
        assert printed.err == ""
        assert truth.differences(ibjax.load("run.npz")) == {}
        assert Path("über uns/a b/run.json").exists()
        assert main([*self.options(replace(TINY, epochs=5)), "--force", "--checkpoint", "link/a b"]) == 2
        assert "config epochs (4 there, 5 asked for)" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (["--checkpoint-every", "5"], ["--checkpoint-every", "--checkpoint"]),
            (["--checkpoint", "d", "--checkpoint-every", "soon"], ["--checkpoint-every", "soon", "number"]),
            (["--checkpoint", "d", "--checkpoint-every", "-5"], ["checkpoint_every", "-5"]),
            (["--checkpoint", "file"], ["checkpoint", "file", "folder"]),
        ],
    )
    def test_wrong_options(self, options: list[str], words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        Path("file").write_text("")
        assert main([*self.options(TINY), *options]) == 2
        message = capsys.readouterr().err
        assert all(word in message for word in words), message
        assert not Path("d").exists()

    def test_the_same_command_again_finds_its_output(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Also where the process was killed after it had written; another run is refused and nothing is lost."""
        np.savez("data.npz", F=np.arange(8.0).reshape(4, 2), y=np.array([0, 1, 0, 1]))
        np.savez("other.npz", F=np.arange(8.0).reshape(4, 2), y=np.array([1, 1, 0, 1]))
        for number, more in enumerate(([], ["--estimators", "kde:noise_variance=0.1"], ["--dataset", "data.npz"])):
            command = [*self.options(TINY)[:-1], f"run{number}.npz", "--batch-size", "all", *more]
            assert main([*command, "--checkpoint", f"state{number}"]) == 0
            before = Path(f"run{number}.npz").stat()
            capsys.readouterr()
            for again in (command, [*command, "--checkpoint", f"state{number}"]):
                assert main(again) == 0
                printed = capsys.readouterr().out
                assert printed.endswith(f"run{number}.npz held this run already, finished; --force trains it again\n")
                assert "bounds: all values" in printed
            changes = [["--bins", "29"], ["--seeds", "11"], ["--estimators", "kde"]]
            for change in [*changes, *([["--dataset", "other.npz"]] if number == 2 else [])]:
                assert main([*command, *change]) == 2
                assert "exists; --force" in capsys.readouterr().err
            assert Path(f"run{number}.npz").stat() == before
        assert main(["measure", "run0.npz", "--estimator", "kde"]) == 2  # no weights: nothing is written

    def test_a_part_of_a_run_is_repeated_and_is_not_the_run(
        self, truth: Trajectory, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Of the epochs, as `of_epochs` leaves them."""
        truth.of_epochs([0, 4]).save("run.npz")
        assert main(["rerun", "run.npz", "--quiet"]) == 0
        assert "arrays agree to the bit" in capsys.readouterr().out
        assert main(self.options(TINY)) == 2
        assert "exists; --force" in capsys.readouterr().err

    def test_where_a_run_goes_on_is_said(self, capsys: pytest.CaptureFixture[str]) -> None:
        config = replace(TINY, epochs=400, logged_epochs=(0, 100, 200, 400))
        options = self.options(replace(config, logged_epochs=4))
        command = [*options, "--logged-epochs", "0,100,200,400", "--checkpoint", "state"]
        seen = []

        def stop(state: ibjax.Progress) -> None:
            seen.append(state)
            if len(seen) == 5:
                raise RuntimeError

        with pytest.raises(RuntimeError):
            ibjax.run(config, checkpoint="state", progress=stop)
        assert main(command) == 0
        found = re.search(r"goes on from epoch ([0-9]+), where 'state' has it", capsys.readouterr().out)
        assert found is not None
        assert 100 <= int(found[1]) < 400

    def test_sigterm_while_the_output_is_written(
        self, truth: Trajectory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        calls: list[Path] = []

        def save(self: Trajectory, path: Path, **options: Any) -> Path:
            calls.append(path)
            with monkeypatch.context() as patched:
                patched.setattr(os, "fsync", lambda _: signal.raise_signal(signal.SIGTERM))
                return written(self, path, **options)

        written = Trajectory.save
        monkeypatch.setattr(Trajectory, "save", save)
        assert main([*self.options(TINY), "--checkpoint", "state"]) == 143
        assert calls
        assert "goes on from the checkpoint in 'state'" in capsys.readouterr().err
        assert os.listdir() == ["state"]  # no temporary file
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL

    def test_a_measured_file_is_repeated_and_measured_again(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main([*self.options(TINY), "--store-weights", "--quiet"]) == 0
        for estimator, options in (("kde", ["--noise-variance", "0.1"]), ("histogram", ["--bins", "5"])):
            assert main(["measure", "run.npz", "--estimator", estimator, *options, "--force"]) == 0
            assert re.search(r"^measuring takes about [0-9.]+ s$", capsys.readouterr().out, re.MULTILINE)
            assert main(["rerun", f"run_{estimator}.npz"]) == 0
            assert "arrays agree to the bit" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("field", "value", "words"),
        [
            ("hidden_widths", [65_536], "states hidden widths (65536), 1 in all, its arrays are of (2), 1 in all"),
            ("epochs", 10**9, "states logged epochs (0, 1, 1000000000), 3 in all, its arrays are of (0, 1, 4)"),
            ("logged_epochs", [0, 4], "states logged epochs (0, 4), 2 in all, its arrays are of (0, 1, 4), 3"),
            ("output", "softmax", "states output 'softmax', its arrays are of 'sigmoid'"),
            ("dataset", "var_u", "states dataset 'var_u', of H(X), H(Y), I(X;Y) in bits (12.0, "),
            (
                "estimators",
                ["quantized:bits=3"],
                "of quantized {'bits': 3}, its arrays are of {'bits': 8}",
            ),
        ],
    )
    def test_a_file_that_contradicts_itself_is_not_repeated(
        self, field: str, value: Any, words: str, truth: Trajectory, capsys: pytest.CaptureFixture[str]
    ) -> None:
        settings = {**truth.config["config"], field: value}
        estimators = {"quantized": {"options": {"bits": 8}}}
        replace(truth, config={**truth.config, "config": settings, "estimators": estimators}).save("a.npz")
        assert main(["rerun", "a.npz"]) == 2
        assert words in capsys.readouterr().err

    def test_no_room_for_the_file(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ibjax, "run", lambda *_, **__: pytest.fail("trained"), raising=False)
        monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10})())
        assert main(self.options(TINY)) == 1
        assert "10 B free; free some or go elsewhere" in capsys.readouterr().err

    @pytest.mark.parametrize(("kept", "lost"), [([], False), (["--checkpoint", "state"], False), ([], True)])
    def test_results_are_not_lost_where_the_file_cannot_be_written(
        self,
        kept: list[str],
        lost: bool,
        truth: Trajectory,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """The disk of the file fills up while the networks train; that of temporary files is another."""
        save = Trajectory.save

        def full(self: Trajectory, path: Any, **options: Any) -> Path:
            if Path(path) == Path("run.npz") or lost:
                raise OSError(28, "No space left on device")
            return save(self, path, **options)

        with monkeypatch.context() as patched:
            patched.setattr(Trajectory, "save", full)
            patched.setenv("TMPDIR", ".")
            patched.setattr("tempfile.tempdir", None)
            assert main([*self.options(TINY), *kept, "--quiet"]) == 1
        message = capsys.readouterr().err
        assert "cannot write 'run.npz': No space left on device" in message
        if lost:  # the other disk is full too
            assert "the results are lost" in message
            assert os.listdir() == []
            return
        if kept:
            assert "the same command goes on from the checkpoint in 'state'" in message
            assert main([*self.options(TINY), *kept, "--quiet"]) == 0
            refuge = Path("run.npz")
        else:
            refuge = Path(message.split("the results are in '")[1].split("'")[0])
        assert truth.differences(ibjax.load(refuge)) == {}

    def test_rerun_agrees_to_the_bit(self, truth: Trajectory, capsys: pytest.CaptureFixture[str]) -> None:
        """Of a part of the seeds, as merging or picking leaves them; measures added later are not the run's."""
        part = truth.of_seeds([7, 2])
        later = {"i_xt_kde": part.i_xt, "i_ty_kde": part.i_ty}
        replace(part, extras=later).save("part.npz")
        assert main(["rerun", "part.npz", "--quiet"]) == 0
        text = capsys.readouterr().out
        assert "agree to the bit" in text
        assert "i_xt_kde was added after the run and is not compared" in text

    def test_rerun_says_what_differs(self, truth: Trajectory, capsys: pytest.CaptureFixture[str]) -> None:
        i_xt = truth.i_xt.copy()
        i_xt[1, 1, 1] += 0.25
        config = {**truth.config, "versions": {**truth.config["versions"], "jax": "0.0.1"}, "device_kind": "TPU v9"}
        replace(truth, i_xt=i_xt, config=config).save("other.npz")
        assert main(["rerun", "other.npz", "--quiet"]) == 1
        text = capsys.readouterr().out
        assert "device_kind: TPU v9 then, cpu now" in text
        assert f"jax: 0.0.1 then, {jax.__version__} now" in text
        lines = [line.split() for line in text.splitlines()]
        assert ["i_xt", "0.25"] in lines
        assert not any(line[:1] == ["i_ty"] for line in lines)
        assert "defect" not in text
        replace(truth, i_xt=i_xt).save("wrong.npz")
        assert main(["rerun", "wrong.npz", "--quiet"]) == 1
        assert "defect" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("config", "words"),
        [
            ({"custom": ["network", "optimizer"]}, "trained with a custom network, optimizer, which no file holds"),
            ({"config": {"bins": 30, "telepathy": True}}, "does not know telepathy"),
            ({"config": {"bins": 1}}, "bins = 1; allowed"),
        ],
    )
    def test_rerun_refuses(
        self, config: dict[str, Any], words: str, truth: Trajectory, capsys: pytest.CaptureFixture[str]
    ) -> None:
        replace(truth, config={**truth.config, **config}).save("odd.npz")
        assert main(["rerun", "odd.npz"]) == 2
        assert words in capsys.readouterr().err


def test_a_file_holds_what_repeats_it(truth: Trajectory, tmp_path: Path) -> None:
    again = ibjax.load(truth.save(tmp_path / "a.npz"))
    assert recorded_config(again) == replace(TINY, seeds=tuple(range(12)))
    assert again.config["config"] == json.loads(json.dumps(asdict(TINY)))
    assert again.config["versions"].keys() == {"ibjax", "jax", "jaxlib", "numpy", "optax"}
    assert again.config["device_kind"] == jax.devices()[0].device_kind
    assert again.config["command"] == sys.argv
    assert np.array_equal(again.seeds, range(12))


def test_a_part_of_a_sweep_keeps_the_settings_of_its_seeds(truth: Trajectory) -> None:
    recorded = truth.config | {"config": truth.config["config"] | {"learning_rate": [0.1 * (s + 1) for s in range(12)]}}
    part = replace(truth.of_seeds([3, 1]), config=recorded)
    assert recorded_config(part).learning_rate == pytest.approx((0.4, 0.2))
    assert recorded_config(part).seeds == (3, 1)
