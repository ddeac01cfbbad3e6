"""`ibjax run --grid`, a run for each combination of values, and `--log-json`, what a program reads of a run."""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import json
import math
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from conftest import synthetic_trajectory

import ibjax
from ibjax.cli.log import Log
from ibjax.cli.main import main
from ibjax.progress import Progress

TINY = ["--preset", "quick", "--seeds", "2", "--epochs", "2", "--logged-epochs", "3", "--hidden-widths", "3,2"]
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def quiet_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder of one's own, and no programs kept in the user's cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAX_ENABLE_COMPILATION_CACHE", "false")


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[ibjax.Config]:
    """The configurations that reach `ibjax.run`, which makes up their results."""
    seen: list[ibjax.Config] = []

    def run(config: ibjax.Config, **options: Any) -> ibjax.Trajectory:
        seen.append(config)
        return made_up(config)

    monkeypatch.setattr(ibjax, "run", run, raising=False)
    return seen


def made_up(config: ibjax.Config, diverged: tuple[int, ...] = ()) -> ibjax.Trajectory:
    """Results of no training, which a file keeps as those of a finished run."""
    run = synthetic_trajectory(seeds=len(config.seed_list), diverged=diverged)
    config = dataclasses.replace(config, epochs=int(run.epochs[-1]), logged_epochs=tuple(run.epochs.tolist()))
    return dataclasses.replace(run, config={"config": dataclasses.asdict(config), "custom": []})


def events(text: str) -> list[dict[str, Any]]:
    """The lines of a log; whatever JSON does not know is refused."""

    def refuse(word: str) -> None:
        pytest.fail(f"{word} in a line of JSON")

    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def rows(folder: str) -> list[dict[str, str]]:
    with open(Path(folder, "table.csv"), encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def names(folder: str) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def test_a_grid_is_a_file_for_each_point_and_a_table(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    command = ["run", *TINY, "--grid", "learning_rate=0.05,0.4", "--grid", "batch-size=all", "--out", "sweep"]
    assert main([*command, "--log-json", "log.jsonl"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    points = list(itertools.product(("0.05", "0.4"), ("all",)))
    files = [f"learning_rate={rate},batch_size={size}.npz" for rate, size in points]
    assert names("sweep") == sorted([*files, "table.csv"])

    table = rows("sweep")
    assert [(row["learning_rate"], row["batch_size"], row["file"]) for row in table] == [
        (*point, file) for point, file in zip(points, files, strict=True)
    ]
    for row, file in zip(table, files, strict=True):
        run = ibjax.load(f"sweep/{file}")
        for column in ("train_loss", "test_loss", "train_accuracy", "test_accuracy"):
            assert float(row[column]) == pytest.approx(getattr(run, column)[:, -1].mean(), rel=1e-6)
        for column in ("i_xt", "i_ty"):
            assert float(row[column]) == pytest.approx(getattr(run, column)[:, -1, 1].mean(), rel=1e-6)
        assert (row["networks"], row["diverged"], row["epoch"], row["error"]) == ("2", "0", "2", "")
    assert len({row["train_loss"] for row in table}) == 2
    lines = printed.out.splitlines()
    head = next(number for number, line in enumerate(lines) if line.startswith("learning_rate  batch_size "))
    shown = [line.split() for line in lines[head + 1 : head + 3]]
    assert [tuple(words[:2]) for words in shown] == points
    for words, row in zip(shown, table, strict=True):
        assert [float(word) for word in words[2:]] == pytest.approx(
            [float(row[name]) for name in ("train_loss", "train_accuracy", "test_accuracy", "i_xt", "i_ty")], abs=5e-3
        )
    assert max(map(len, lines)) <= 80
    assert "point 2 of 2: learning_rate=0.4,batch_size=all" in lines

    one_by_one = ["run", *TINY, "--learning-rate", "0.4", "--batch-size", "all", "--out", "one.npz", "--quiet"]
    assert main(one_by_one) == 0
    assert ibjax.load("one.npz").differences(ibjax.load(f"sweep/{files[1]}")) == {}

    told = events(Path("log.jsonl").read_text(encoding="utf-8"))
    of_one = ["point", "start", "progress", "progress", "finish"]
    assert [event["event"] for event in told if event["event"] != "warning"] == [*of_one * 2, "table"]
    assert [event["file"] for event in told if event["event"] == "finish"] == [f"sweep/{file}" for file in files]
    assert told[0]["values"] == {"learning_rate": 0.05, "batch_size": None}
    assert told[-1].items() >= {"file": "sweep/table.csv", "points": 2, "failed": 0}.items()

    monkeypatch.setattr(ibjax, "run", lambda *_, **__: pytest.fail("trained again"), raising=False)
    before = Path("sweep/table.csv").read_text()
    assert main(command) == 0
    assert "2 of 2 points were finished before; --force trains them again" in capsys.readouterr().out
    assert Path("sweep/table.csv").read_text() == before
    assert main([*command, "--epochs", "3"]) == 2  # another configuration: nothing is overwritten
    assert f"'sweep/{files[0]}' exists; --force overwrites it" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_grid_goes_on(number: signal.Signals, trained: list[ibjax.Config], capsys: Capture) -> None:
    """In a process of its own, as the second point is trained."""
    command = ["run", "--preset", "quick", "--grid", "bins=20,25,30", "--out", "sweep", *LOGGED]
    code = (
        "import os, signal, sys, ibjax; from test_grid import made_up; from ibjax.cli.main import main\n"
        "def run(config, **options):\n"
        f"    if config.bins == 25: signal.raise_signal({int(number)})\n"
        "    return made_up(config)\n"
        "ibjax.run = run\n"
        f"sys.exit(main({command!r}))"
    )
    here = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {here!r})\n{code}"],
        capture_output=True,
        text=True,
        check=False,
    )
    interrupted = number == signal.SIGINT
    assert done.returncode == (130 if interrupted else -number), done.stderr
    assert ("the same command goes on with what 'sweep' lacks" in done.stderr) == interrupted
    assert names("sweep") == ["bins=20.npz", "table.csv"]
    assert [row["bins"] for row in rows("sweep")] == ["20"]
    assert main(command) == 0
    assert [config.bins for config in trained] == [25, 30]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "1 of 3 points were finished before; --force trains them again"
    assert [line for line in lines if line.startswith("point")] == ["point 2 of 3: bins=25", "point 3 of 3: bins=30"]
    assert [row["bins"] for row in rows("sweep")] == ["20", "25", "30"]
    trained.clear()
    assert main([*command, "--grid", "activation=tanh,relu"]) == 0  # other points, for which no file stands
    assert [(config.bins, config.activation) for config in trained] == list(
        itertools.product((20, 25, 30), ("tanh", "relu"))
    )
    assert main([*command, "--force"]) == 0
    assert [config.bins for config in trained[6:]] == [20, 25, 30]


EPOCHS = synthetic_trajectory(seeds=1).epochs.tolist()
LOGGED = ["--epochs", str(EPOCHS[-1]), "--logged-epochs", ",".join(map(str, EPOCHS))]


BAD: list[tuple[list[str], str]] = [
    (["--grid", "learning_rate"], "--grid = 'learning_rate'; allowed: FIELD=VALUE,VALUE"),
    (["--grid", "learnin_rate=1"], "(did you mean 'learning_rate'?)"),
    (["--grid", "learning_rate=0.1,x"], "--grid learning_rate: --learning-rate = 'x'; allowed: a number"),
    (["--grid", "learning_rate=0.1,,1"], "--grid learning_rate: --learning-rate = ''; allowed: a number"),
    (["--grid", "learning_rate="], "--grid learning_rate: --learning-rate = ''; allowed: a number"),
    (["--grid", "learning_rate=0.1,-1"], "learning_rate=-1: learning_rate = -1; allowed: a finite number"),
    (["--grid", "learning_rate=0.1,0.10"], "--grid learning_rate holds 0.1 more than once"),
    (["--grid", "learning_rate=0.1,0.1"], "--grid learning_rate holds '0.1' more than once"),
    (["--grid", "learning_rate=0.1,0.2;0.3"], "learning_rate holds 2 numbers for 10 seeds"),
    (["--grid", "shuffle=true,no"], "--grid shuffle: --shuffle = 'no'; allowed: true or false"),
    (["--grid", "hidden_widths=10,7;5,x"], "--grid hidden_widths: --hidden-widths = '5,x'; allowed: comma-"),
    (["--grid", "bins=20", "--grid", "bins=30"], "--grid names bins more than once"),
    (["--grid", "bins=20,30", "--bins", "30"], "--grid bins with --bins; allowed: one of them"),
    (["--grid", "bins=30,1"], "bins=1: bins = 1; allowed: an integer from 2 to 4096"),
    (["--grid", "batch_size=64,3482"], "batch_size=3482: batch_size = 3482; allowed: at most the 3481 training"),
    (["--grid", "optimizer=sgd,adam", "--momentum", "0.9"], "optimizer=adam: momentum = 0.9 with optimizer"),
    (["--grid", "dataset=spherical,here.npz"], "dataset=here.npz: --dataset = 'here.npz' cannot be read"),
    (["--grid", "logged_epochs=" + ",".join(map(str, range(150))) + ";"], "too long"),
    (["--grid", "bins=20,30", "--out", ""], "--grid without --out; allowed: --out FOLDER"),
    (["--grid", "bins=20,30", "--out", "there/sweep"], "--out = 'there/sweep': there is no folder 'there'"),
    (["--grid", "bins=20,30", "--out", "/dev/null"], "--out = '/dev/null' cannot be made a folder"),
]


@pytest.mark.parametrize(("options", "words"), BAD, ids=[" ".join(options[1:])[:40] for options, _ in BAD])
def test_a_wrong_grid_is_refused_before_anything_is_trained(
    options: list[str], words: str, trained: list[ibjax.Config], capsys: Capture
) -> None:
    assert main(["run", "--preset", "quick", "--out", "sweep", *options]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert words in printed.err
    assert len(printed.err.splitlines()) == 1
    assert trained == []
    assert list(Path.cwd().iterdir()) == []


def test_a_table_of_somebody_else_is_kept(trained: list[ibjax.Config], capsys: Capture) -> None:
    Path("sweep").mkdir()
    table = Path("sweep/table.csv")
    table.write_text("mine")
    command = ["run", "--preset", "quick", "--grid", "bins=20,30", "--out", "sweep"]
    assert main(command) == 2
    assert "'sweep/table.csv' exists; --force overwrites it" in capsys.readouterr().err
    assert (table.read_text(), trained) == ("mine", [])
    assert main([*command, "--force"]) == 0
    assert [row["bins"] for row in rows("sweep")] == ["20", "30"]


def test_values_that_are_lists_and_paths(trained: list[ibjax.Config]) -> None:
    Path("data").mkdir()
    for path, flip in (("own.npz", 0), ("data/own.npz", 1)):
        np.savez(path, F=np.eye(8), y=(np.arange(8) + flip) % 2)
    grid = ["--grid", "hidden_widths=10,7;5,;3", "--grid", "dataset=own.npz,data/own.npz", "--batch-size", "all"]
    assert main(["run", "--preset", "quick", *grid, "--out", "sweep", "--checkpoint", "state"]) == 0
    assert [config.hidden_widths for config in trained] == [(10, 7), (10, 7), (5,), (5,), (3,), (3,)]
    assert "hidden_widths=10,7,dataset=data%2Fown.npz.npz" in names("sweep")
    assert [row["dataset"] for row in rows("sweep")] == ["own.npz", "data/own.npz"] * 3
    trained.clear()
    assert main(["run", "--preset", "quick", "--grid", "learning_rate=0.1;0.1,0.2", "--seeds", "2", "--out", "r"]) == 0
    assert [config.learning_rate for config in trained] == [0.1, (0.1, 0.2)]
    trained.clear()
    assert main(["run", "--preset", "quick", "--grid", "hidden_widths=10,7", "--out", "w"]) == 0
    assert [config.hidden_widths for config in trained] == [(10, 7)]
    assert names("w") == ["hidden_widths=10,7.npz", "table.csv"]


def test_a_disk_with_room_for_one_point_is_too_small(
    trained: list[ibjax.Config], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    nbytes = ibjax.forecast(ibjax.PRESETS["quick"], timed=False).file_bytes
    monkeypatch.setattr("ibjax._files.shutil.disk_usage", lambda _: Mock(free=nbytes * 3 // 2))
    command = ["run", "--preset", "quick", "--quiet", "--out", "sweep", "--grid"]
    assert main([*command, "bins=20,30"]) == 1
    assert "No space left on device: " in capsys.readouterr().err
    assert trained == []
    assert list(Path.cwd().iterdir()) == []
    assert main([*command, "bins=20"]) == 0


def test_a_point_that_fails_leaves_the_others(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    refused: dict[int, Exception] = {
        20: ibjax.DeviceError("a device failed (NVIDIA H100: gone)"),
        21: ValueError("bins = 21; allowed: something else"),
        22: OSError(28, "No space left on device"),
    }
    checkpoints = []

    def run(config: ibjax.Config, *, checkpoint: str, **options: Any) -> ibjax.Trajectory:
        checkpoints.append(checkpoint)
        if config.bins in refused:
            raise refused[config.bins]
        return made_up(config, diverged=(0, 1) if config.bins == 24 else ())

    monkeypatch.setattr(ibjax, "run", run, raising=False)
    command = ["run", "--preset", "quick", "--seeds", "2", "--grid", "bins=20,21,22,23,24", "--out", "sweep", *LOGGED]
    command += ["--checkpoint", "state"]
    assert main([*command, "--log-json", "log.jsonl"]) == 1
    printed = capsys.readouterr()
    messages = ["a device failed (NVIDIA H100: gone)", "bins = 21; allowed: something else", "No space left on device"]
    assert printed.err.splitlines() == [f"ibjax run: bins={20 + i}: {text}" for i, text in enumerate(messages)]
    assert names("sweep") == ["bins=23.npz", "bins=24.npz", "table.csv"]
    table = rows("sweep")
    assert [row["error"] for row in table] == [*messages, "", ""]
    assert [row["train_loss"] == "" for row in table] == [True, True, True, False, True]
    assert (table[4]["diverged"], table[4]["i_xt"]) == ("2", "")
    lines = printed.out.splitlines()
    assert [line.split() for line in lines if line.startswith(("20 ", "24 "))] == [["20", *"-----"], ["24", *"-----"]]
    assert "bins=20: a device failed (NVIDIA H100: gone)" in lines
    assert "bins=24: 2 of 2 networks diverged, in no mean" in lines
    assert checkpoints == [f"state/bins={bins}" for bins in range(20, 25)]
    told = events(Path("log.jsonl").read_text(encoding="utf-8"))
    errors = [(event["file"], event["status"]) for event in told if event["event"] == "error"]
    assert errors == [(f"sweep/bins={bins}.npz", 1) for bins in (20, 21, 22)]
    assert told[-1]["failed"] == 3
    lost = told[-2]
    assert (lost["event"], lost["train_loss"], lost["layers"][0]["i_xt"]) == ("finish", None, None)

    refused.clear()
    checkpoints.clear()
    assert main([*command, "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert checkpoints == [f"state/bins={bins}" for bins in (20, 21, 22)]  # those that had failed
    assert [row["error"] for row in rows("sweep")] == [""] * 5


def test_values_beyond_their_bounds_are_an_error_of_their_point(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def run(config: ibjax.Config, **options: Any) -> ibjax.Trajectory:
        whole = made_up(config)
        return dataclasses.replace(whole, i_ty=whole.i_ty + 7) if config.bins == 20 else whole

    monkeypatch.setattr(ibjax, "run", run, raising=False)
    command = ["run", "--preset", "quick", "--grid", "bins=20,30", "--out", "sweep", *LOGGED]
    for _ in range(2):  # found again in the file
        assert main(command) == 1
        assert [row["error"] for row in rows("sweep")] == ["values break their bounds", ""]
        assert "ERROR" in capsys.readouterr().err


def test_the_table_fits_80_columns(trained: list[ibjax.Config], capsys: Capture) -> None:
    """However many fields there are, and however long their values."""
    grid = ["measure_on=all,train", "hidden_widths=12,10,7,5,4,3,2;10,7", "train_fraction=0.85", "activation=tanh"]
    grid += ["optimizer=sgd", "initializer=fan_out", "weight_decay=0.0001", "initial_scale=1.000000000001"]
    options = [word for text in grid for word in ("--grid", text)]
    assert main(["run", "--preset", "quick", *options, "--out", "s"]) == 0
    lines = capsys.readouterr().out.splitlines()
    head = next(number for number, line in enumerate(lines) if line.endswith("I(X;T)  I(T;Y)"))
    assert "…" in lines[head]
    assert 70 < max(map(len, lines[head - 3 : head + 5])) <= 80
    assert len({len(line) for line in lines[head : head + 5]}) == 1


def test_a_log_on_standard_output_is_alone_there(capsys: Capture) -> None:
    """A real run: the configuration is that of the run, the numbers those of its file."""
    assert main(["run", *TINY, "--out", "a.npz", "--log-json"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    told = events(printed.out)
    assert [event["event"] for event in told] == ["start", "progress", "progress", "finish"]
    assert {event["file"] for event in told} == {"a.npz"}
    assert [event["time"] for event in told] == sorted(event["time"] for event in told)
    start, first, last, finish = told
    run = ibjax.load("a.npz")
    assert dataclasses.asdict(ibjax.Config(**start["config"])) == dataclasses.asdict(
        ibjax.Config(**run.config["config"])
    )
    needs = ibjax.forecast(ibjax.Config(**start["config"]), timed=False)
    assert start["forecast"] == {"memory_bytes": needs.memory_bytes, "file_bytes": needs.file_bytes}
    assert (first["share"], first["accuracy"], first["resumed"]) == (0, None, 0)
    assert (last["share"], last["epoch"], last["epochs"], last["networks"]) == (1, 2, 2, 2)
    assert last["accuracy"] == pytest.approx(run.test_accuracy[:, -1].mean(), rel=1e-6)
    assert last["i_xt"] == pytest.approx(run.i_xt[:, -1, 1].mean(), rel=1e-6)
    assert 0 <= first["seconds"] <= last["seconds"] <= finish["seconds"] + 0.001
    assert finish["trained"]
    assert finish["within_bounds"]
    assert finish["test_loss"] == pytest.approx(run.test_loss[:, -1].mean(), rel=1e-6)
    layers = [(row["layer"], row["width"], row["i_ty"]) for row in finish["layers"]]
    expected = zip(run.layer_names, run.layer_widths, run.i_ty[:, -1].mean(axis=0).tolist(), strict=True)
    assert layers == [(name, width, pytest.approx(value, rel=1e-6)) for name, width, value in expected]

    assert main(["run", *TINY, "--out", "a.npz", "--log-json"]) == 0  # it is there
    again = events(capsys.readouterr().out)
    assert [event["event"] for event in again] == ["finish"]
    assert not again[0]["trained"]
    assert main(["run", *TINY, "--out", "a.npz", "--bins", "20", "--log-json"]) == 2
    printed = capsys.readouterr()
    (error,) = events(printed.out)
    assert (error["event"], error["status"]) == ("error", 2)
    assert printed.err == f"ibjax run: {error['message']}\n"


@pytest.mark.filterwarnings("always")
def test_a_log_in_a_file_is_gone_on_with(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """Warnings and interrupts are in it; what is printed stays the same."""

    def run(config: ibjax.Config, **options: Any) -> ibjax.Trajectory:
        warnings.warn("something is slow", RuntimeWarning, stacklevel=1)
        if config.bins == 20:
            raise KeyboardInterrupt
        return made_up(config)

    monkeypatch.setattr(ibjax, "run", run, raising=False)
    assert main(["run", "--preset", "quick", "--out", "a.npz", "--bins", "20", "--log-json", "log.jsonl"]) == 130
    assert main(["run", "--preset", "quick", "--out", "a.npz", "--log-json", "log.jsonl"]) == 0
    printed = capsys.readouterr()
    assert printed.err.count("ibjax run: something is slow\n") == 2
    assert "written to a.npz" in printed.out
    told = events(Path("log.jsonl").read_text(encoding="utf-8"))
    kinds = [event["event"] for event in told]
    assert kinds == ["start", "warning", "error", "start", "warning", "finish"]
    assert told[1]["message"] == "something is slow"
    assert (told[2]["message"], told[2]["status"]) == ("interrupted; nothing was written", 130)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("mine.txt", "--log-json = 'mine.txt' is no log of ibjax; allowed: one, to go on with, or a new name"),
        (".", "--log-json = '.' cannot be written: Is a directory"),
        ("there/log", "--log-json = 'there/log' cannot be written: No such file or directory"),
    ],
)
def test_a_log_that_cannot_be(target: str, words: str, trained: list[ibjax.Config], capsys: Capture) -> None:
    Path("mine.txt").write_text("mine\n")
    assert main(["run", "--preset", "quick", "--log-json", target]) == 2
    assert capsys.readouterr() == ("", f"ibjax run: {words}\n")
    assert trained == []
    assert Path("mine.txt").read_text() == "mine\n"


def test_a_run_goes_on_where_nobody_reads_its_log(trained: list[ibjax.Config], capsys: Capture) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    assert main(["run", "--preset", "quick", "--out", "a.npz", "--quiet", "--log-json", "/dev/full"]) == 0
    assert capsys.readouterr() == ("", "ibjax run: --log-json: No space left on device; no more is logged\n")
    assert Path("a.npz").exists()


def test_progress_is_told_about_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """And at the beginning and the end."""
    clock = itertools.count(0, 0.25)
    monkeypatch.setattr("ibjax.cli.log.time.monotonic", lambda: next(clock))
    log = Log(stream := io.StringIO())
    log.start(ibjax.Config(), None)
    for done in range(0, 19):
        log.progress(Progress(done, 18, 36, 2 * done, math.nan, math.inf, 9, 8.0), networks=3)
    told = events(stream.getvalue())[1:]
    assert [event["epoch"] for event in told] == [0, 8, 16, 24, 32, 36]
    assert [event["seconds"] for event in told] == [0.25, 1.25, 2.25, 3.25, 4.25, 4.75]
    assert {(event["accuracy"], event["i_xt"], event["resumed"]) for event in told} == {(None, None, 0.5)}
