"""Folders of files as one trajectory, whose arrays are read when they are asked for."""

from __future__ import annotations

import pickle
import subprocess
import sys
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from conftest import synthetic_trajectory

import ibjax
from ibjax import Trajectory, TrajectoryError, analysis
from ibjax.npz import Archive, write_arrays
from ibjax.trajectory.schema import AXES


def split(trajectory: Trajectory, folder: Path, *sizes: int) -> Path:
    """A folder with a file for so many seeds each."""
    folder.mkdir(exist_ok=True)
    ends = np.cumsum(sizes)
    for number, (end, size) in enumerate(zip(ends, sizes, strict=True)):
        trajectory.of_seeds(trajectory.seeds[end - size : end]).save(folder / f"piece_{number:06}.npz")
    return folder


@pytest.fixture
def folder(damaged: Trajectory, tmp_path: Path) -> Path:
    weights = np.arange(6 * 40 * 2, dtype=np.float32).reshape(6, 40, 2)
    extras = {"params": weights, "inputs": np.zeros((64, 3), np.float32)}
    return split(replace(damaged, extras=extras), tmp_path / "pieces", 2, 3, 1)


def test_a_folder_is_what_was_split(folder: Path, damaged: Trajectory) -> None:
    joint = ibjax.load(folder)
    assert isinstance(joint, Trajectory)
    assert joint.differences(damaged).keys() == {"params", "inputs"}
    assert repr(joint) == repr(damaged)
    assert joint.config == {**damaged.config, "config": {**damaged.config["config"], "seeds": list(range(6))}}
    assert joint.extras["params"].shape == (6, 40, 2)
    assert joint.extras["inputs"].shape == (64, 3)
    assert set(joint.extras) == {"params", "inputs"}
    with pytest.raises(KeyError):
        joint.extras["i_xt"]
    assert not joint.i_xt.flags.writeable
    assert [piece.seeds.size for piece in joint.pieces()] == [2, 3, 1]
    assert [piece.seeds.size for piece in damaged.pieces()] == [6]


def test_an_array_is_read_when_it_is_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    true = Archive.read

    def recorded(self: Archive, key: str) -> Any:
        read.append(key)
        return true(self, key)

    monkeypatch.setattr(Archive, "read", recorded)
    joint = ibjax.load(folder)
    arrays = {"i_xt", "i_ty", "train_loss", "gradient_std", "params", "inputs", "train_mask"}
    assert not arrays & set(read)
    first = joint.i_xt
    assert joint.i_xt is first  # the last two stay
    assert read.count("i_xt") == 3
    assert joint.of_seeds([3]).seeds.tolist() == [3]
    assert read.count("train_loss") == 1  # of the file that holds it


def test_what_others_do_with_a_trajectory(folder: Path, damaged: Trajectory, tmp_path: Path) -> None:
    joint = ibjax.load(folder)
    assert joint.of_seeds([5, 0, 2]).differences(ibjax.load(folder).of_seeds([5, 0, 2])) == {}
    assert joint.of_seeds([5, 0]).i_xt.tobytes() == damaged.of_seeds([5, 0]).i_xt.tobytes()
    assert joint.of_epochs(joint.epochs[:3]).i_xt.tobytes() == damaged.of_epochs(joint.epochs[:3]).i_xt.tobytes()
    assert pickle.loads(pickle.dumps(joint)).differences(joint) == {}
    assert replace(joint, extras={}).differences(damaged) == {}
    assert ibjax.load(joint.save(tmp_path / "joint.npz")).differences(joint) == {}
    assert ibjax.concatenate([joint]) is joint
    assert [row.layer for row in analysis.summary(joint)] == list(damaged.layer_names)
    with pytest.raises(TrajectoryError, match=r"seeds \[7\] are not among"):
        joint.of_seeds([7])
    with pytest.raises(TrajectoryError, match=r"train_loss is absent"):
        ibjax.load(split(replace(damaged, train_loss=cast(Any, None)), tmp_path / "less", 3, 3)).require("train_loss")


def test_what_does_not_belong_together(folder: Path, damaged: Trajectory, tmp_path: Path) -> None:
    first = folder / "piece_000000.npz"
    replace(damaged.of_seeds([0]), seeds=np.array([9])).save(folder / "again.npz")
    with pytest.raises(TrajectoryError, match=r"differ in inputs, params"):
        ibjax.load(folder)
    first.rename(folder / "again.npz")
    ibjax.load(folder / "again.npz").save(first)
    with pytest.raises(TrajectoryError, match=r"seeds \[0, 1\] occur in more than one"):
        ibjax.load(folder)
    config = {**damaged.config, "config": {**damaged.config["config"], "learning_rate": 0.2}}
    replace(ibjax.load(first).of_seeds([0]), config=config).save(folder / "again.npz")
    with pytest.raises(
        TrajectoryError, match=r"again.npz and piece_000000.npz differ in config learning_rate \(0.2, 0.1"
    ):
        ibjax.load(folder)
    (folder / "again.npz").write_bytes(first.read_bytes()[:-100])
    with pytest.raises(TrajectoryError, match=r"cannot read .*again.npz"):
        ibjax.load(folder)


def test_a_piece_that_changes_after_it_was_counted(folder: Path, damaged: Trajectory) -> None:
    joint = ibjax.load(folder)
    arrays = ibjax.load(folder / "piece_000001.npz").arrays()
    write_arrays(folder / "piece_000001.npz", arrays | {"i_xt": arrays["i_xt"].astype(np.float64)})
    with pytest.raises(TrajectoryError, match=r"i_xt is of another kind"):
        _ = joint.i_xt
    write_arrays(folder / "piece_000001.npz", arrays | {"i_ty": arrays["i_ty"][:1]})
    with pytest.raises(TrajectoryError, match=r"piece_000001.*S=3"):
        _ = joint.i_ty


def test_files_of_several_machines_say_which(damaged: Trajectory, tmp_path: Path) -> None:
    folder = split(damaged, tmp_path / "a", 2, 2, 2)
    last = ibjax.load(folder / "piece_000002.npz")
    replace(last, config=last.config | {"device_kind": "NVIDIA H100"}).save(folder / "piece_000002.npz")
    sources = ibjax.load(folder).config["merged_from"]
    assert [(source["device_kind"], source["seeds"]) for source in sources] == [
        ("cpu", [0, 1, 2, 3]),
        ("NVIDIA H100", [4, 5]),
    ]


def test_means_hold_one_piece_at_a_time(damaged: Trajectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are: a piece is gone before the next is read, and files are closed."""
    folder, held, counts = split(damaged, tmp_path / "pieces", 1, 1, 1, 1, 1, 1), weakref.WeakSet[Any](), []
    archives = weakref.WeakSet[Archive]()
    joint, enter, init = ibjax.load(folder), Trajectory.__post_init__, Archive.__init__

    def counted(self: Trajectory) -> None:
        enter(self)
        held.add(self)
        counts.append(len(held))

    def opened(self: Archive, path: Any) -> None:
        init(self, path)
        archives.add(self)
        counts.append(len(archives))

    monkeypatch.setattr(Trajectory, "__post_init__", counted)
    monkeypatch.setattr(Archive, "__init__", opened)
    for values in ("i_xt", lambda piece: piece.i_xt[:, -1] - piece.i_ty[:, -1]):
        found = analysis.streamed_mean(joint, values)
        assert found.count.max() == damaged.healthy.sum()
    assert counts == [1] * 24  # two passes over six files
    assert not held


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_means_of_many_seeds_take_the_memory_of_a_piece(tmp_path: Path) -> None:
    """5000 seeds of 250 logged epochs and eight layers, 220 MB in files, in a process of their own."""
    names = (*(f"h{index}" for index in range(7)), "output")
    piece = synthetic_trajectory(50, names=names)
    repeat = np.arange(250) % piece.epochs.size
    extended: dict[str, Any] = {
        key: np.asarray(getattr(piece, key))[:, repeat] for key, axes in AXES.items() if "E" in axes
    }
    (tmp_path / "many").mkdir()
    for number in range(100):
        seeds = np.arange(50) + 50 * number
        replace(piece, seeds=seeds, epochs=np.arange(250), **extended).save(tmp_path / "many" / f"{number:03}.npz")
    total = sum(path.stat().st_size for path in (tmp_path / "many").iterdir())
    code = """
import sys, ibjax
from ibjax import analysis
def peak():
    return next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmHWM"))
analysis.streamed_mean(ibjax.load(sys.argv[1]).of_seeds([0, 1]), "i_xt")
before = peak()
found = analysis.streamed_mean(ibjax.load(sys.argv[1]), "i_xt")
assert found.mean.shape == (250, 8) and found.count.min() == 5000, found
print(1024 * (peak() - before))
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "many"], capture_output=True, text=True, check=True)
    assert total > 200e6
    assert int(done.stdout) < total / 10
