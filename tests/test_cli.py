"""The command line: what it prints, where it writes, and how it says no."""

from __future__ import annotations

import copy
import dataclasses
import functools
import io
import json
import os
import random
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from conftest import synthetic_trajectory

import ibjax
from ibjax.cli.main import main
from ibjax.cli.options import toml
from ibjax.cli.output import prepare_compiler
from ibjax.cluster.engine import connect
from ibjax.information.estimator import ESTIMATORS
from ibjax.npz import write_arrays
from ibjax.progress import Progress, bar

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


def test_a_run_into_a_folder(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Ended early, the same command goes on; what reads a file reads the folder."""
    monkeypatch.setattr("ibjax.ensemble.blocks.cores", lambda: 1)
    command = ["run", *TINY, "--seeds", "12", "--out", "pieces/"]
    save = ibjax.Trajectory.save

    def interrupted(self: ibjax.Trajectory, path: Any, **options: Any) -> Any:
        save(self, path, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ibjax.Trajectory, "save", interrupted)
        assert main(command) == 130
    assert "the same command goes on with the pieces in 'pieces/'" in capsys.readouterr().err
    assert sorted(path.name for path in Path("pieces").iterdir()) == ["lock", "piece_000000.npz", "run.json"]
    assert main(command) == 0
    printed = capsys.readouterr()
    assert "12 networks: about" in printed.out
    assert "goes on from 50% of its pieces, which are in 'pieces/'" in printed.out
    assert "means of 12 networks" in printed.out
    assert printed.err == ""
    assert main(["run", *TINY, "--seeds", "12", "--out", "whole.npz", "--quiet"]) == 0
    assert ibjax.load("pieces").differences(ibjax.load("whole.npz")) == {}
    assert main([*command[:-1], "pieces"]) == 0  # also without the slash, where it holds pieces
    capsys.readouterr()
    assert main(["info", "pieces", "whole.npz"]) == 0
    of_folder, of_file = capsys.readouterr().out.split("whole.npz:")
    assert of_folder.rpartition("mean over")[2] == of_file.rpartition("mean over")[2]
    assert main(["merge", "pieces", "--out", "joint.npz"]) == 0
    assert main([*command, "--force"]) == 2
    assert main([*command, "--checkpoint", "state"]) == 2
    assert main([*command, "--learning-rate", "0.2"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert "--force with --out = 'pieces/', a folder" in errors[0]
    assert "checkpoint = 'state' with executor=... or out=...; allowed: out=FOLDER" in errors[1]
    assert "differs in config learning_rate (0.1 there, 0.2 asked for)" in errors[2]
    assert len(errors) == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ["--scheduler", "tcp://127.0.0.1:1"],
            ["--scheduler = 'tcp://127.0.0.1:1'", "no scheduler answers", "HOST:8786"],
        ),
        (["--scheduler", "http//x"], ["--scheduler = 'http//x'", "no scheduler answers"]),
        (["--scheduler", "quic://x:1"], ["--scheduler = 'quic://x:1'", "no scheduler answers"]),
        (["--scheduler-file", "none.json"], ["--scheduler-file = 'none.json'", "No such file"]),
        (["--scheduler-file", "bad.json"], ["--scheduler-file = 'bad.json'", "no scheduler answers"]),
        (["--scheduler", "a", "--scheduler-file", "b"], ["--scheduler with --scheduler-file; allowed: one of them"]),
    ],
    ids=lambda value: " ".join(value) if value[0].startswith("--s") else "",
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_scheduler_that_is_not_there(
    options: list[str],
    words: list[str],
    no_training: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("ibjax.cli.train.connect", functools.partial(connect, seconds=0.5))
    Path("bad.json").write_text("[]")
    assert main(["run", *TINY, *options]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    assert all(word in printed.err for word in words), printed.err
    assert [path.name for path in tmp_path.iterdir()] == ["bad.json"]


def test_a_scheduler_without_dask(
    no_training: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert main(["run", *TINY, "--scheduler", "tcp://127.0.0.1:1"]) == 2
    assert "needs the package distributed: pip install 'ibjax[dask]'" in capsys.readouterr().err


def test_a_lost_device_is_a_message(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: Any, **options: Any) -> None:
        raise ibjax.DeviceError("a device failed (NVIDIA H100: gone)")

    monkeypatch.setattr(ibjax, "run", run, raising=False)
    assert main(["run", *TINY]) == 1
    assert capsys.readouterr().err == "ibjax run: a device failed (NVIDIA H100: gone)\n"


def test_every_field_has_an_option_that_says_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--help"]) == 0
    text = capsys.readouterr().out
    for field in dataclasses.fields(ibjax.Config):
        assert f"--{field.name.replace('_', '-')}" in text
    assert "passes over the training set" in text


def test_help_names_the_choices_and_the_defaults_of_the_paper(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for field in dataclasses.fields(ibjax.Config):
        assert all(name in text for name in field.metadata.get("choices", ()))
    for shown in ("12,10,7,5,4,3,2", "0.85", "10000", "--no-store-weights)", "tanh, relu, linear, softsign, softplus"):
        assert shown in text


def test_options_reach_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[ibjax.Config] = []

    def run(config: ibjax.Config, **_: Any) -> None:
        seen.append(config)
        raise KeyboardInterrupt

    monkeypatch.setattr(ibjax, "run", run, raising=False)
    options = (
        "--seeds 3,5 --batch-size all --no-shuffle --compat idnns --train-fraction 0.5 --logged-epochs 0,7 --epochs 9 "
        "--learning-rate 0.1,0.2 --noise 0,0.01 --measure-on train --weight-decay 0.1 --initial-scale 1,2 "
        "--optimizer sgd --momentum 0.9"
    )
    assert main(["run", "--preset", "saxe", *options.split()]) == 130
    expected = dataclasses.replace(
        ibjax.PRESETS["saxe"],
        seeds=(3, 5),
        batch_size=None,
        shuffle=False,
        compat="idnns",
        train_fraction=0.5,
        learning_rate=(0.1, 0.2),
        noise=(0.0, 0.01),
        weight_decay=0.1,
        initial_scale=(1.0, 2.0),
        optimizer="sgd",
        momentum=0.9,
        measure_on="train",
        logged_epochs=(0, 7),
        epochs=9,
    )
    assert seen == [expected]


BAD = [
    (["--preset", "papr"], ["--preset", "papr", "paper"]),
    (["--seeds", "0"], ["seeds", "0"]),
    (["--seeds", "-3"], ["seeds", "-3"]),
    (["--seeds", "1,1"], ["seeds", "once"]),
    (["--seeds", "5:5"], ["--seeds", "5:5", "A < B"]),
    (["--seeds", "5:3"], ["--seeds", "5:3", "A < B"]),
    (["--seeds", "0:99999999999"], ["--seeds", "at most 10000000"]),
    (["--seeds", "1:4294967298"], ["--seeds", "4294967295"]),
    (["--seeds", "1,,2"], ["--seeds", "1,,2", "A:B"]),
    (["--seeds", "many"], ["--seeds", "many", "A:B"]),
    (["--epochs", "-1"], ["epochs", "-1"]),
    (["--epochs", "1e3"], ["--epochs", "1e3", "integer"]),
    (["--epochs"], ["--epochs"]),
    (["--logged-epochs", "0"], ["logged_epochs", "0"]),
    (["--logged-epochs", "0,99999"], ["logged_epochs", "99999"]),
    (["--logged-epochs", "5,3"], ["logged_epochs", "increasing"]),
    (["--hidden-widths", ""], ["hidden_widths", "empty"]),
    (["--hidden-widths", "3,-2"], ["hidden_widths", "-2"]),
    (["--hidden-widths", "3,,2"], ["--hidden-widths", "3,,2", "integers"]),
    (["--compat", "all"], ["--compat", "all", "'idnns', 'none'"]),
    (["--batch-size", "half"], ["--batch-size", "half", "an integer or all"]),
    (["--out", "x" * 300 + ".npz"], ["--out", "too long"]),
    (["--out", ""], ["--out", "folder"]),
    (["--out", "/dev/null", "--force"], ["--out", "device"]),
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
    (["--learning-rate", "0.1,x"], ["--learning-rate", "0.1,x", "comma-separated numbers"]),
    (["--learning-rate", "0.1,0.2"], ["learning_rate", "2 numbers for 50 seeds"]),
    (["--noise", "-1"], ["noise", "-1"]),
    (["--measure-on", "validation"], ["measure_on", "validation", "'train'"]),
    (["--initializer", "glorot"], ["initializer", "glorot", "fan_in"]),
    (["--bins", "1"], ["bins", "1", "2"]),
    (["--bins", "5000"], ["bins", "5000", "4096"]),
    (["--compat", "idnn"], ["compat", "idnns"]),
    (["--precision", "float16"], ["precision", "float16"]),
    (["--backend", "fsed"], ["backend", "fused"]),
    (["--dataset", "var-u"], ["dataset", "var_u"]),
    (["--dataset", "data3.csv"], ["--dataset = 'data3.csv'", "'var_u'", "a file that ends in .mat, .npz, .parquet"]),
    (["--outt", "x.npz"], ["--outt", "(see ibjax run --help)"]),
    (["--out", "missing/x.npz"], ["--out", "missing"]),
    (["--out", "."], ["--out", "folder"]),
]


@pytest.mark.parametrize(("options", "words"), BAD, ids=[" ".join(options)[:40] for options, _ in BAD])
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
        "import sys; from ibjax.cli.main import main; main(['run', '--help']); main(['run', '--bins', '0']); "
        "main(['info', 'absent.npz']); assert not {'jax', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)


def test_module_and_version() -> None:
    done = subprocess.run([sys.executable, "-m", "ibjax", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"ibjax {ibjax.__version__}"
    assert subprocess.run([sys.executable, "-m", "ibjax"], capture_output=True, check=False).returncode == 2


@pytest.fixture
def made_up(tmp_path: Path) -> Path:
    return synthetic_trajectory(diverged=(1,)).save(tmp_path / "made.npz")


def test_info_tells_everything_the_file_holds(made_up: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(made_up)]) == 0
    text = capsys.readouterr().out
    traj = ibjax.load(made_up)
    for key in ("i_xt", "gradient_std", "train_mask", "diverged"):
        array = getattr(traj, key)
        assert [key, str(array.dtype), *str(array.shape).split()] in [line.split() for line in text.splitlines()]
    assert "1 of 6 networks diverged" in text
    assert "means of 5 networks" in text


def test_info_plot_and_animate_of_another_estimator(
    made_up: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ibjax.load(made_up)
    told = {"sliced": {"i_xt": "estimate", "i_ty": "estimate"}}
    extras = {"i_xt_sliced": run.i_xt / 2, "i_ty_sliced": run.i_ty / 2}
    dataclasses.replace(run, config={**run.config, "estimators": told}, extras=extras).save(made_up)
    drawn: list[ibjax.Trajectory] = []

    def draw(shown: ibjax.Trajectory, *_: Any, **__: Any) -> Any:
        drawn.append(shown)
        raise ibjax.TrajectoryError("nothing to draw")

    def animate(shown: ibjax.Trajectory, path: Path, **_: Any) -> Path:
        drawn.append(shown)
        return path

    for name in ("plane_snapshots", "plane_trajectories", "gradients", "information_over_epochs", "loss_and_accuracy"):
        monkeypatch.setattr(f"ibjax.figures.{name}", draw)
    monkeypatch.setattr("ibjax.figures.save_animation", animate)
    assert main(["plot", str(made_up), "--estimator", "sliced"]) == 0
    assert len(drawn) == 5
    capsys.readouterr()
    assert main(["animate", str(made_up), "--estimator", "sliced"]) == 0
    assert capsys.readouterr().out.startswith("made_sliced.")
    assert all(np.array_equal(shown.i_xt, run.i_xt / 2, equal_nan=True) for shown in drawn)
    assert main(["info", str(made_up), "--estimator", "sliced"]) == 0
    assert "measured by sliced (I(X;T) estimate, I(T;Y) estimate)" in capsys.readouterr().out
    for command in ("info", "plot", "animate"):
        assert main([command, str(made_up), "--estimator", "slice"]) == 2
        words = "made.npz': --estimator = 'slice'; allowed: 'histogram', 'sliced', whose values the trajectory holds"
        assert words in capsys.readouterr().err


def test_info_of_diverged_networks_only(capsys: pytest.CaptureFixture[str]) -> None:
    """Of no value is it said that it lies within its bounds."""
    synthetic_trajectory(seeds=1, diverged=(0,)).save("lost.npz")
    assert main(["info", "lost.npz"]) == 0
    text = capsys.readouterr().out
    assert "1 of 1 networks diverged" in text
    assert "bounds: all values" not in text


def test_a_file_cannot_steer_the_terminal(trajectory: ibjax.Trajectory, capsys: pytest.CaptureFixture[str]) -> None:
    config = {"config": {"dataset\x1b[2J": "\x1b]0;title\x07"}, "command": ["\x1b[31m"]}
    dataclasses.replace(trajectory, config=config).save("hostile.npz")
    assert main(["info", "hostile.npz"]) == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "title" in text


def test_a_file_without_what_a_foreign_loop_cannot_give(
    trajectory: ibjax.Trajectory, capsys: pytest.CaptureFixture[str]
) -> None:
    """`info` does without, `plot` draws what it can and says what it left out."""
    absent = ("test_accuracy", "gradient_std", "train_mask")
    dataclasses.replace(trajectory, **dict.fromkeys(absent)).save("foreign.npz")  # type: ignore[arg-type]
    assert main(["info", "foreign.npz"]) == 0
    text = capsys.readouterr().out
    lines = [line.split() for line in text.splitlines()]
    assert ["absent", *absent] in lines
    assert ["data", "set", "I(X;Y)"] in [line[:3] for line in lines]
    assert "train accuracy" in text
    assert "test accuracy" not in text
    assert main(["plot", "foreign.npz"]) == 0
    printed = capsys.readouterr()
    assert printed.out.split() == [f"foreign_{name}.png" for name in ("snapshots", "trajectories", "information")]
    assert all(Path(name).exists() for name in printed.out.split())
    assert printed.err.splitlines() == [
        "ibjax plot: gradients left out: gradient_std is absent: the training loop did not give it",
        "ibjax plot: accuracy left out: test_accuracy is absent: the training loop did not give it",
    ]
    assert main(["measure", "foreign.npz", "--estimator", "kde"]) == 2


@pytest.mark.parametrize("config", [{}, {"config": {"bins": {}}, "versions": {"a": [1]}, "command": {"a": 1}}])
def test_info_reads_any_configuration(config: dict[str, Any], trajectory: ibjax.Trajectory) -> None:
    dataclasses.replace(trajectory, config=config).save("odd.npz")
    assert main(["info", "odd.npz"]) == 0


def test_info_does_not_tell_what_a_custom_part_took_the_place_of(
    trajectory: ibjax.Trajectory, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(*custom: str) -> dict[str, str]:
        config = {"config": dataclasses.asdict(ibjax.Config()), "custom": list(custom)}
        dataclasses.replace(trajectory, config=config).save("custom.npz")
        assert main(["info", "custom.npz"]) == 0
        lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
        return {words[0]: words[1] for words in reversed(lines) if len(words) == 2}  # the first of a name counts

    plain = told()
    assert (plain["dataset"], plain["hidden_widths"], plain["optimizer"]) == ("spherical", "12 10 7 5 4 3 2", "sgd")
    of_network = {"hidden_widths", "activation", "output", "initializer"}
    for custom, fields in (
        (("dataset",), {"dataset"}),
        (("network", "optimizer"), of_network | {"optimizer", "learning_rate", "momentum"}),
    ):
        assert {key for key, value in told(*custom).items() if value == "custom"} == fields


LISTS: tuple[list[Any], ...] = ([], [[1]], [10**400, 1], ["network"], [0.1, "x"])
STRANGE: tuple[Any, ...] = (*LISTS, "x", "\ud800", "\x1b[2J", None, 5, 2.5, 10**18, {}, {"a": [1]})
DEEP = json.loads("[" * 300 + "]" * 300)


def damage(config: dict[str, Any], rng: random.Random) -> Any:
    """A description of a run with one to three of its values replaced, or added."""
    for _ in range(rng.randint(1, 3)):
        held = config
        while True:
            key = rng.choice([*held, "custom", "merged_from", "measured"])
            if isinstance(held.get(key), dict) and held[key] and rng.random() < 0.7:
                held = held[key]
            else:
                break
        held[key] = copy.deepcopy(rng.choice([*STRANGE, DEEP]))
    return config if rng.random() < 0.95 else rng.choice(STRANGE)


def test_no_description_of_a_run_ends_in_a_traceback(
    trajectory: ibjax.Trajectory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """150 damaged ones, each read by every command; nothing is trained, compiled or drawn."""
    config = trajectory.config | {"config": json.loads(json.dumps(dataclasses.asdict(ibjax.Config(seeds=6))))}
    config |= {"estimators": {"histogram": {"i_xt": "exact", "options": {"bins": 30}}}, "custom": []}
    trajectory = dataclasses.replace(trajectory, config=config)
    trajectory.of_seeds([5]).save("other.npz")
    arrays = trajectory.of_seeds(range(5)).arrays()
    refused = ValueError("not in this test")
    for name in ("run", "information_curve"):
        monkeypatch.setattr(ibjax, name, Mock(side_effect=refused), raising=False)
    monkeypatch.setattr("ibjax.ensemble.remeasure.assemble", Mock(side_effect=refused))
    rng, statuses = random.Random(12), set()
    for _ in range(150):
        text = json.dumps(damage(copy.deepcopy(config), rng))
        write_arrays("damaged.npz", arrays | {"config": np.array(text)})
        for command in (
            ["info", "damaged.npz"],
            ["bound", "damaged.npz"],
            ["measure", "damaged.npz", "--estimator", "kde", "--force"],
            ["merge", "damaged.npz", "other.npz", "--out", "both.npz", "--force"],
            ["merge", "other.npz", "damaged.npz", "--out", "both.npz", "--force"],
            ["rerun", "damaged.npz", "--quiet"],
        ):
            statuses.add((command[0], main(command)))
            printed = capsys.readouterr()
            assert "\x1b" not in printed.out + printed.err
            assert len(printed.err.splitlines()) <= 1, printed.err
    assert statuses <= {(name, status) for name in ("info", "bound", "measure", "merge", "rerun") for status in (0, 2)}
    assert {("info", 0), ("info", 2), ("merge", 0), ("merge", 2)} <= statuses


def test_all_diverged_has_no_accuracy(capsys: pytest.CaptureFixture[str]) -> None:
    synthetic_trajectory(seeds=2, diverged=(0, 1)).save("lost.npz")
    assert main(["info", "lost.npz"]) == 0
    text = capsys.readouterr().out
    assert "2 of 2 networks diverged" in text
    assert "means of 0" not in text
    assert "no train patterns" not in text  # there are patterns; it is networks that are missing


@pytest.mark.parametrize("quiet", [[], ["--quiet"]])
def test_broken_bounds_are_said_loudly(
    quiet: list[str], trajectory: ibjax.Trajectory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    i_ty = trajectory.i_ty.copy()
    i_ty[2, 5, 1] = 7.0
    broken = dataclasses.replace(trajectory, i_ty=i_ty)
    monkeypatch.setattr(ibjax, "run", lambda *_, **__: broken, raising=False)
    assert main(["run", "--out", "x.npz", *quiet]) == 1
    printed = capsys.readouterr()
    assert "ERROR" in printed.err
    assert "seed 2" in printed.err
    assert np.isclose(ibjax.load("x.npz").i_ty[2, 5, 1], 7.0)
    assert (printed.out == "") == bool(quiet)


def test_interrupt_keeps_the_file_that_was_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def run(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    (tmp_path / "old.npz").write_text("mine")
    monkeypatch.setattr(ibjax, "run", run, raising=False)
    assert main(["run", "--out", "old.npz", "--force"]) == 130
    assert (tmp_path / "old.npz").read_text() == "mine"


def test_a_printed_configuration_is_read_back(no_training: None, capsys: pytest.CaptureFixture[str]) -> None:
    """Every field of every preset, by way of the file; options are stronger than the file, the file than the preset."""
    for preset, config in ibjax.PRESETS.items():
        assert main(["config", "--preset", preset]) == 0
        text = capsys.readouterr().out
        assert max(map(len, text.splitlines())) <= 80
        Path("mine.toml").write_text(text, encoding="utf-8")
        assert main(["config", "--config", "mine.toml"]) == 0
        assert capsys.readouterr().out == text
        values = tomllib.loads(text)
        assert values.keys() == {field.name for field in dataclasses.fields(ibjax.Config)}
        assert tuple(values["hidden_widths"]) == config.hidden_widths
    Path("mine.toml").write_text('epochs = 7\nbatch_size = "all"\nhidden_widths = [3, 2]\n', encoding="utf-8")
    assert main(["config", "--preset", "quick", "--config", "mine.toml", "--epochs", "9"]) == 0
    values = tomllib.loads(capsys.readouterr().out)
    assert (values["epochs"], values["batch_size"], values["hidden_widths"]) == (9, "all", [3, 2])
    assert values["seeds"] == ibjax.PRESETS["quick"].seeds
    phases = (*(f"information:until={end}:layer=layer {'with a long name ' * 5}" for end in (5, 6, 7)), "sgd")
    printed = toml(dataclasses.replace(ibjax.PRESETS["paper"], phases=phases))
    assert tuple(tomllib.loads(printed)["phases"]) == phases  # broken between items, not in them


def test_a_run_takes_its_configuration_from_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("mine.toml").write_text("epochs = 7\nlearning_rate = [0.1, 0.2]\nseeds = 2\n", encoding="utf-8")
    seen = []

    def run(config: ibjax.Config, **options: Any) -> None:
        seen.append(config)
        raise ibjax.DeviceError("seen")

    monkeypatch.setattr(ibjax, "run", run, raising=False)
    assert main(["run", "--preset", "quick", "--config", "mine.toml"]) == 1
    changes: dict[str, Any] = {"epochs": 7, "learning_rate": (0.1, 0.2), "seeds": 2}
    assert seen == [dataclasses.replace(ibjax.PRESETS["quick"], **changes)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("epoch = 3", "--config = 'mine.toml': field = 'epoch'; allowed: 'dataset', "),
        ("epochs = -3", "--config = 'mine.toml': epochs = -3; allowed: "),
        ("[run]\nepochs = 3", "--config = 'mine.toml': field = 'run'; allowed: "),
        ("epochs = ", "--config = 'mine.toml' is no TOML: "),
        ('activation = "tan"', "--config = 'mine.toml': activation = 'tan'; allowed: 'tanh'"),
        (None, "No such file or directory"),
    ],
)
def test_a_wrong_file_of_a_configuration_is_refused(
    text: str | None, words: str, no_training: None, capsys: pytest.CaptureFixture[str]
) -> None:
    if text is not None:
        Path("mine.toml").write_text(text, encoding="utf-8")
    assert main(["run", "--config", "mine.toml"]) == (1 if text is None else 2)
    assert words in capsys.readouterr().err


def test_figures_of_gradients_that_no_phase_takes_are_left_out(
    trajectory: ibjax.Trajectory, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing = np.full_like(trajectory.gradient_mean, np.nan)
    config = trajectory.config | {"config": {"phases": ["metropolis"]}}
    dataclasses.replace(trajectory, config=config, gradient_mean=nothing, gradient_std=nothing).save("walk.npz")
    assert main(["plot", "walk.npz"]) == 0
    assert "gradients left out: no phase takes a gradient" in capsys.readouterr().err
    assert Path("walk_accuracy.png").exists()
    assert not Path("walk_gradients.png").exists()


def test_figures_have_the_format_and_the_width_asked_for(made_up: Path) -> None:
    assert main(["plot", str(made_up), "--format", "svg", "--width", "170mm"]) == 0
    narrow, wide = (Path(f"{made_up.stem}_{name}.svg").read_text() for name in ("snapshots", "information"))
    for text in (narrow, wide):
        points = float(re.search(r'width="([0-9.]+)pt"', text)[1])  # type: ignore[index] # it is there
        assert points >= 170 / 25.4 * 72 * 0.99
    assert main(["plot", str(made_up), "--format", "pdf", "--width", "86"]) == 0
    assert Path(f"{made_up.stem}_gradients.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("width", ["wide", "59mm", "401", "3in", "nan"])
def test_a_wrong_width_is_refused(width: str, made_up: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot", str(made_up), "--width", width]) == 2
    assert f"--width = {width!r}; allowed: 60mm to 400mm, in mm with or without this unit" in capsys.readouterr().err


def test_plot_refuses_what_it_cannot_write(made_up: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = made_up.with_name("made_accuracy.png")
    kept.write_text("mine")
    assert main(["plot", str(made_up)]) == 2
    assert "--force" in capsys.readouterr().err
    assert kept.read_text() == "mine"
    assert not made_up.with_name("made_snapshots.png").exists()  # all are checked before the first is drawn
    assert main(["plot", str(made_up), "--out", str(made_up)]) == 2
    assert "--out" in capsys.readouterr().err


@pytest.mark.parametrize("out", ["film.avi", "missing/film.gif", "there.gif"])
def test_animate_refuses_what_it_cannot_write(made_up: Path, out: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("there.gif").write_text("mine")
    assert main(["animate", str(made_up), "--out", out]) == 2
    assert "--out" in capsys.readouterr().err
    assert Path("there.gif").read_text() == "mine"


def test_animate_without_ffmpeg(
    made_up: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An .mp4 asked for is refused; without an ending it is a .gif, and that is said."""
    monkeypatch.setattr("matplotlib.animation.FFMpegWriter.isAvailable", lambda: False)
    Path("film.gif").write_text("mine")
    assert main(["animate", str(made_up), "--out", "film.mp4"]) == 2
    assert "'film.mp4' needs the program ffmpeg" in capsys.readouterr().err
    assert main(["animate", str(made_up), "--out", "film"]) == 2
    assert "film.gif' exists" in capsys.readouterr().err
    assert Path("film.gif").read_text() == "mine"
    monkeypatch.setattr("ibjax.figures.save_animation", lambda _, path, **__: path)
    dotted = made_up.rename(made_up.with_name("made.v2.npz"))
    assert main(["animate", str(dotted)]) == 0
    assert capsys.readouterr() == ("made.v2.gif\n", "ibjax animate: a .gif, as the program ffmpeg is not found\n")


@pytest.mark.parametrize(("rate", "words"), [("0", "fps = 0; allowed"), ("x", "--fps = 'x'; allowed: an integer")])
def test_animate_refuses_a_rate(made_up: Path, rate: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["animate", str(made_up), "--out", "film.gif", "--fps", rate]) == 2
    assert words in capsys.readouterr().err
    assert not Path("film.gif").exists()


def test_animate_says_where_the_film_is(
    made_up: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def save(_: Any, path: Path, *, fps: int, progress: Any) -> Path:
        assert fps == 7
        progress(1, 2)
        path.write_text("film")
        return path

    monkeypatch.setattr("ibjax.figures.save_animation", save)
    assert main(["animate", str(made_up), "--out", "film.gif", "--fps", "7"]) == 0
    assert capsys.readouterr() == ("film.gif\n", "")


def test_merge_names_what_differs(trajectory: ibjax.Trajectory, capsys: pytest.CaptureFixture[str]) -> None:
    trajectory.save("a.npz")
    assert main(["merge", "a.npz", "a.npz", "--out", "both.npz"]) == 2
    assert "more than one" in capsys.readouterr().err
    assert not Path("both.npz").exists()


def test_reading_and_drawing_never_import_the_compiler(made_up: Path) -> None:
    code = (
        f"import sys; from ibjax.cli.main import main; assert main(['info', {str(made_up)!r}]) == 0; "
        f"assert main(['plot', {str(made_up)!r}]) == 0; assert 'jax' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


STATES = (Progress(0, 400, 200, 0, 0.5, 5.0, 0, 8.0), Progress(200, 400, 200, 90, 0.875, 6.25, 0, 8.0))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_bar_tells_epoch_accuracy_and_information(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", shown := Terminal())
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    with bar() as report:
        first = shown.getvalue()
        for state in STATES:
            report(state)
    assert "compiling" in first
    for word in ("100/200", "0.875", "I(X;T) 6.25 bits"):
        assert word in shown.getvalue()


def test_no_bar_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Also with FORCE_COLOR, which makes rich take any file for a terminal."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    with bar() as report:
        report(STATES[1])
    assert capsys.readouterr() == ("", "")


def test_bound_of_a_task_and_of_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bound", "var_u", "--betas", "0.5,2", "--out", "curve.npz"]) == 0
    printed = capsys.readouterr().out
    assert "onset at beta = 1.000000" in printed
    with np.load("curve.npz", allow_pickle=False) as curve:
        np.testing.assert_allclose(curve["i_x"], [0, 0.9991571], atol=1e-6)  # hard labels: all or nothing
        np.testing.assert_allclose(curve["i_y"], [0, 0.9991571], atol=1e-6)
    run = synthetic_trajectory()
    dataclasses.replace(run, config={"config": {"dataset": "var_u"}}).save("run.npz")
    assert main(["bound", "run.npz", "--betas", "2", "--plot", "curve.png"]) == 0
    assert Path("curve.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sperical"], ["'sperical'", "did you mean 'spherical'?", "or the file of a run"]),
        (["own.npz"], ["own.npz", "a custom data set", "information_curve(dataset.joint)"]),
        (["--betas", "1,x"], ["--betas = '1,x'", "comma-separated numbers"]),
        (["--betas", "1,-2"], ["betas has minimum -2"]),
        (["--out", "own.npz"], ["--out = 'own.npz' exists"]),
        (["--plot", "curve"], ["--plot = 'curve'; allowed: a name that ends in", ".png, "]),
        (["--plot", "folder.png"], ["--plot = 'folder.png' is a folder"]),
    ],
)
def test_bound_refuses(arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    run = synthetic_trajectory()
    dataclasses.replace(run, config={"config": {"dataset": "var_u"}, "custom": ["dataset"]}).save("own.npz")
    Path("folder.png").mkdir()
    assert main(["bound", *arguments]) == 2
    message = capsys.readouterr().err
    assert all(word in message for word in words), message


@pytest.mark.parametrize("command", ["info", "plot", "animate", "tensorboard", "bound", "merge", "rerun"])
def test_unknown_options_point_to_the_help_of_their_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    required = {"bound": [], "merge": ["a.npz", "--out", "b.npz"]}.get(command, ["a.npz"])
    assert main([command, *required, "--telepathy"]) == 2
    assert capsys.readouterr().err == (
        f"ibjax {command}: unrecognized arguments: --telepathy (see ibjax {command} --help)\n"
    )


def test_what_is_printed_fits_a_terminal_of_80_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever the names of layers; a word that is longer by itself is not torn."""
    monkeypatch.setenv("COLUMNS", "80")
    names = ("hidden_1", "a_layer_with_a_very_long_name_of_its_maker", "output")
    run = synthetic_trajectory(seeds=60, diverged=(3,), names=names)
    recorded = {"config": dataclasses.asdict(ibjax.Config()), "command": ["ibjax", "run", *["--epochs=7"] * 20]}
    run = dataclasses.replace(run, config=recorded, layer_widths=(65536, 5, 1))
    run.save("run.npz")
    helps = [[name] for name in ("run", "info", "plot", "animate", "tensorboard", "bound")]
    helps += [[name] for name in ("measure", "merge", "rerun", "completion")]
    helps += [[], *(["measure", "--estimator", name] for name in ESTIMATORS)]
    commands = [["info", "run.npz"], ["bound", "--betas", "2"], *([*words, "--help"] for words in helps)]
    for command in commands:
        assert main(command) == 0
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) >= 5
        assert [line for line in lines if len(line) > 80] == [], command
        if command == ["info", "run.npz"]:
            rows = [line for line in lines if line.startswith("  a_layer_with")]
            assert rows[-1].split()[:2] == ["a_layer_with_a_very…", "(5)"]
            assert len({len(line) for line in lines if line.endswith(("end", rows[-1][-5:]))}) == 1


@pytest.mark.parametrize("value", ["cuda", "nonsense"])
def test_a_platform_that_is_not_there(value: str, tmp_path: Path) -> None:
    """In processes of their own: JAX looks for its devices once."""
    run = synthetic_trajectory()
    task = ibjax.spherical_dataset()
    recorded = {"logged_epochs": run.epochs.tolist(), "hidden_widths": run.layer_widths[:-1], "output": "softmax"}
    facts: dict[str, Any] = {"i_xy": task.information, "h_x": task.h_x, "h_y": task.h_y}
    dataclasses.replace(run, config={"config": recorded}, **facts).save("a.npz")
    code = (
        "import sys, ibjax; from ibjax.cli.main import main\n"
        "commands = ['run --quiet', 'bound', 'measure a.npz --estimator kde', 'rerun a.npz']\n"
        "print([main(command.split()) for command in commands])\n"
        "try: ibjax.run()\n"
        "except RuntimeError as error: print('Python', error, file=sys.stderr)"
    )
    environment = {**os.environ, "JAX_PLATFORMS": value}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "[2, 2, 2, 2]\n", done.stderr
    lines = done.stderr.splitlines()
    assert [line.split()[:2] for line in lines[:4]] == [
        ["ibjax", f"{name}:"] for name in ("run", "bound", "measure", "rerun")
    ]
    assert len(lines) == 5
    for line in lines:
        assert f"JAX_PLATFORMS = {value!r}, of which there is no device here; allowed: unset, or " in line
    assert not Path("paper.npz").exists()


@pytest.mark.parametrize("home", ["/proc", "", "elsewhere", None])
def test_without_a_home_nothing_is_stored_and_nothing_is_said(
    home: str | None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import jax

    for name in ("JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(Path.cwd() / "home") if home is None else home)
    updated: dict[str, Any] = {}
    monkeypatch.setattr(jax.config, "update", updated.__setitem__)
    prepare_compiler()
    assert capfd.readouterr() == ("", "")
    if home is None:  # where there is one, it is made and used
        assert updated["jax_compilation_cache_dir"] == str(Path("home/.cache/ibjax/programs").absolute())
        assert Path("home/.cache/ibjax/programs").is_dir()
    else:
        assert updated == {}
        assert list(Path.cwd().iterdir()) == []
        assert not Path("/.cache").exists()


@pytest.mark.parametrize(
    ("command", "file"), [(["plot"], "made_snapshots.png"), (["animate", "--out", "film.gif"], "film.gif")]
)
def test_a_full_disk_leaves_no_picture_and_is_named(
    command: list[str], file: str, made_up: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Files of at most 4 kB stand for the disk."""
    resource = pytest.importorskip("resource")
    few = functools.partial(ibjax.figures.save_animation, frames=2)
    monkeypatch.setattr("ibjax.figures.save_animation", few)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
        assert main([*command, str(made_up)]) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert capsys.readouterr().err == f"ibjax {command[0]}: {file!r}: File too large\n"
    assert [path.name for path in Path.cwd().iterdir()] == [made_up.name]  # so that no --force is needed later
