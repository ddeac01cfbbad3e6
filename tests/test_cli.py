"""The command line: what it prints, where it writes, and how it says no."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import ibjax
from ibjax.cli import main

TINY = ["--preset", "quick", "--seeds", "2", "--epochs", "2", "--logged-epochs", "3", "--hidden-widths", "3,2"]


@pytest.fixture(autouse=True)
def quiet_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder of one's own, and no programs kept in the user's cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAX_ENABLE_COMPILATION_CACHE", "false")


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*arguments: Any, **options: Any) -> None:
        pytest.fail("training began before the input was checked")

    monkeypatch.setattr(ibjax, "run", run, raising=False)


def test_run_info_plot_and_merge(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", *TINY, "--out", "a b.npz"]) == 0
    printed = capsys.readouterr()
    assert "hidden_1 (3)" in printed.out
    assert "test accuracy" in printed.out
    assert "written to a b.npz" in printed.out
    assert printed.err == ""  # no bar where there is no terminal
    traj = ibjax.load("a b.npz")
    assert traj.seeds.tolist() == [0, 1]
    assert traj.layer_widths == (3, 2, 1)

    assert main(["run", *TINY, "--seeds", "2:4", "--out", "b.npz", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert main(["merge", "b.npz", "a b.npz", "--out", "all.npz"]) == 0
    assert ibjax.load("all.npz").seeds.tolist() == [0, 1, 2, 3]
    capsys.readouterr()

    assert main(["info", "all.npz"]) == 0
    printed = capsys.readouterr()
    for word in ("learning_rate", "versions", "device_kind", "I(X;Y) 0.9900", "output (1)", "4 seeds"):
        assert word in printed.out

    assert main(["plot", "all.npz", "--out", "figures"]) == 0
    printed = capsys.readouterr()
    paths = [Path(line) for line in printed.out.split()]
    assert {p.name for p in paths} >= {"all_snapshots.png", "all_trajectories.png", "all_gradients.png"}
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in paths)


def test_every_field_has_an_option_that_says_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--help"]) == 0
    text = capsys.readouterr().out
    for field in dataclasses.fields(ibjax.Config):
        assert f"--{field.name.replace('_', '-')}" in text
    assert "passes over the training set" in text


def test_options_reach_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[ibjax.Config] = []

    def run(config: ibjax.Config, **_: Any) -> None:
        seen.append(config)
        raise KeyboardInterrupt

    monkeypatch.setattr(ibjax, "run", run, raising=False)
    options = (
        "--seeds 3,5 --batch-size all --no-shuffle --compat idnns --train-fraction 0.5 --logged-epochs 0,7 --epochs 9"
    )
    assert main(["run", "--preset", "saxe", *options.split()]) == 130
    expected = dataclasses.replace(
        ibjax.PRESETS["saxe"],
        seeds=(3, 5),
        batch_size=None,
        shuffle=False,
        compat="idnns",
        train_fraction=0.5,
        logged_epochs=(0, 7),
        epochs=9,
    )
    assert seen == [expected]


BAD = [
    (["--preset", "papr"], ["--preset", "papr", "paper"]),
    (["--seeds", "0"], ["seeds", "0"]),
    (["--seeds", "-3"], ["seeds", "-3"]),
    (["--seeds", "1,1"], ["seeds", "once"]),
    (["--seeds", "5:5"], ["seeds"]),
    (["--seeds", "many"], ["--seeds", "many", "A:B"]),
    (["--epochs", "-1"], ["epochs", "-1"]),
    (["--epochs", "1e3"], ["--epochs", "1e3", "integer"]),
    (["--epochs"], ["--epochs"]),
    (["--logged-epochs", "0"], ["logged_epochs", "0"]),
    (["--logged-epochs", "0,99999"], ["logged_epochs", "99999"]),
    (["--logged-epochs", "5,3"], ["logged_epochs", "increasing"]),
    (["--hidden-widths", ""], ["hidden_widths", "empty"]),
    (["--hidden-widths", "3,-2"], ["hidden_widths", "-2"]),
    (["--hidden-widths", "3,x"], ["--hidden-widths", "3,x", "integers"]),
    (["--activation", "tahn"], ["activation", "tahn", "did you mean 'tanh'"]),
    (["--output", "softmx"], ["output", "softmax"]),
    (["--train-fraction", "0"], ["train_fraction", "0"]),
    (["--train-fraction", "1.5"], ["train_fraction", "1.5", "at most 1"]),
    (["--train-fraction", "nan"], ["train_fraction", "nan"]),
    (["--split", "sorted"], ["split", "ordered"]),
    (["--batch-size", "0"], ["batch_size", "0"]),
    (["--batch-size", "3482"], ["batch_size", "3482", "3481"]),
    (["--optimizer", "adma"], ["optimizer", "adam"]),
    (["--learning-rate", "-0.1"], ["learning_rate", "-0.1"]),
    (["--learning-rate", "inf"], ["learning_rate", "inf"]),
    (["--learning-rate", "fast"], ["--learning-rate", "fast", "number"]),
    (["--initializer", "glorot"], ["initializer", "glorot", "fan_in"]),
    (["--bins", "1"], ["bins", "1", "2"]),
    (["--bins", "5000"], ["bins", "5000", "4096"]),
    (["--compat", "idnn"], ["compat", "idnns"]),
    (["--precision", "float16"], ["precision", "float16"]),
    (["--backend", "fsed"], ["backend", "fused"]),
    (["--dataset", "var-u"], ["dataset", "var_u"]),
    (["--outt", "x.npz"], ["--outt"]),
    (["--out", "missing/x.npz"], ["--out", "missing"]),
    (["--out", "."], ["--out", "folder"]),
]


@pytest.mark.parametrize(("options", "words"), BAD, ids=[" ".join(options) for options, _ in BAD])
def test_a_wrong_value_is_named_and_nothing_is_left(
    options: list[str], words: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["run", *options]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Traceback" not in printed.err
    assert len(printed.err.splitlines()) == 1
    assert all(word in printed.err for word in words), printed.err
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_kept(no_training: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "old.npz").write_text("mine")
    assert main(["run", "--out", "old.npz"]) == 2
    assert "--force" in capsys.readouterr().err
    assert (tmp_path / "old.npz").read_text() == "mine"


def test_a_folder_that_cannot_be_written_is_found_before_training(
    no_training: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By trying: root may write anywhere, so the refusal is made by the file system's stand-in."""

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.NamedTemporaryFile", refuse)
    assert main(["run", "--out", "x.npz"]) == 2
    assert "cannot be written: Permission denied" in capsys.readouterr().err


def test_interrupt_leaves_no_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ibjax, "run", run, raising=False)
    assert main(["run", "--out", "x.npz"]) == 130
    assert "nothing was written" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Full:
        def save(self, *_: Any, **__: Any) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(ibjax, "run", lambda *_, **__: Full(), raising=False)
    assert main(["run", "--out", "x.npz"]) == 1
    assert "No space left on device" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["info", "plot", "animate"])
def test_files_that_are_not_ours(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.npz").write_text("hello")
    assert main([command, "x.npz"]) == 2
    assert "x.npz" in capsys.readouterr().err
    assert main([command, "absent.npz"]) == 2
    assert "absent.npz" in capsys.readouterr().err


def test_the_command_line_does_not_wait_for_the_compiler() -> None:
    code = (
        "import sys; from ibjax.cli import main; main(['run', '--help']); main(['run', '--bins', '0']); "
        "main(['info', 'absent.npz']); assert 'jax' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)


def test_module_and_version() -> None:
    done = subprocess.run([sys.executable, "-m", "ibjax", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"ibjax {ibjax.__version__}"
    assert subprocess.run([sys.executable, "-m", "ibjax"], capture_output=True, check=False).returncode == 2
