"""Data sets from files and from scikit-learn; hostile files are refused with a reason and leave nothing behind."""

import io
import os
import pickle
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import io as matlab

import ibjax
from ibjax.cli.main import main
from ibjax.data import spherical_dataset

F = np.array([[0.0, 1], [1, 0], [1, 1], [0, 0]])
Y = np.array([0.0, 1, 1, 0])


def saved(path: Path, **fields: Any) -> Path:
    if path.suffix == ".mat":
        matlab.savemat(path, fields, do_compression=True)
    else:
        np.savez(path, **fields)
    return path


@pytest.mark.parametrize("ending", [".mat", ".npz"])
class TestLoad:
    def test_the_released_task(self, ending: str, tmp_path: Path) -> None:
        """As the authors keep it: F (4096, 12) of bytes, y (1, 4096)."""
        task = spherical_dataset("var_u")
        f, y = task.inputs.astype(np.uint8), task.p_y_given_x.astype(np.uint8)[None]
        data = ibjax.load_dataset(saved(tmp_path / f"var_u{ending}", F=f, y=y))
        assert np.array_equal(data.inputs, task.inputs)
        assert np.array_equal(data.p_y_given_x, task.p_y_given_x)
        assert data.p_x is None

    @pytest.mark.parametrize(
        ("y", "expected"),
        [
            (Y[:, None], Y),
            (Y / 4, Y / 4),  # soft
            ([[1, 2, 2, 1]], np.eye(2)[[0, 1, 1, 0]]),  # MATLAB counts from 1
            ([-1, 1, 1, -1], np.eye(2)[[0, 1, 1, 0]]),
            ([0, 7, 2, 0], np.eye(3)[[0, 2, 1, 0]]),
            (np.eye(3)[[0, 1, 1, 2]], np.eye(3)[[0, 1, 1, 2]]),
        ],
    )
    def test_labels_in_every_shape(self, ending: str, y: Any, expected: Any, tmp_path: Path) -> None:
        data = ibjax.load_dataset(saved(tmp_path / f"a{ending}", F=F, y=np.asarray(y), p_x=[[0.1, 0.2, 0.3, 0.4]]))
        assert np.array_equal(data.p_y_given_x, expected)
        assert data.p_x is not None
        assert data.p_x.tolist() == [0.1, 0.2, 0.3, 0.4]

    def test_images(self, ending: str, tmp_path: Path) -> None:
        images = np.random.default_rng(3).integers(0, 256, (5, 4, 3, 2), dtype=np.uint8)
        data = ibjax.load_dataset(saved(tmp_path / f"images{ending}", inputs=images, y=[[1, 2, 3, 1, 2]]))
        assert np.array_equal(data.inputs, images)
        assert (data.input_shape, data.n_features, data.n_classes) == ((4, 3, 2), 24, 3)

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"F": F}, ["neither", "y and p_y_given_x"]),
            ({"F": F, "inputs": F, "y": Y}, ["both", "F and inputs"]),
            ({"F": F, "y": Y[:3]}, ["p_y_given_x", "(3,)", "(4,)"]),
            ({"F": F, "y": Y + 0.5}, ["y ranges over [0.5, 1.5]", "whole"]),
            ({"F": F, "y": np.full(4, 3)}, ["3", "at least 2 classes"]),
            ({"F": F * np.nan, "y": Y}, ["inputs", "8 NaN"]),
            ({"F": F, "y": np.array(["a", "b", "c", "d"])}, ["y", "dtype", "numbers"]),
            ({"F": F + 1j, "y": Y}, ["F", "complex128"]),
            ({"F": F, "y": Y, "p_x": Y}, ["p_x", "sums to 2"]),
        ],
    )
    def test_arrays_that_make_no_data_set(
        self, ending: str, fields: dict[str, Any], words: list[str], tmp_path: Path
    ) -> None:
        path = saved(tmp_path / f"wrong{ending}", **fields)
        with pytest.raises(ValueError, match="cannot read") as caught:
            ibjax.load_dataset(path)
        assert all(word in str(caught.value) for word in [path.name, *words])

    def test_every_cut_and_many_flips_are_refused_or_harmless(self, ending: str, tmp_path: Path) -> None:
        """Whatever the damage: a data set or a ValueError, nothing else. Fixed places, so that the test repeats."""
        whole = saved(tmp_path / f"whole{ending}", F=F, y=Y).read_bytes()
        path = tmp_path / f"damaged{ending}"
        generator = np.random.default_rng(11)
        places = generator.integers(0, len(whole), 150)
        flipped = [whole[:at] + bytes([generator.integers(256)]) + whole[at + 1 :] for at in places]
        pieces = [whole[:end] for end in range(0, len(whole), 7)] + flipped
        refused = 0
        for piece in pieces:
            path.write_bytes(piece)
            try:
                ibjax.load_dataset(path)
            except ValueError as error:
                refused += "cannot read" in str(error)
        assert refused > len(whole) // 7 - 2

    def test_a_pipe_and_a_folder(self, ending: str, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / f"pipe{ending}")
        with pytest.raises(ValueError, match="regular file"):
            ibjax.load_dataset(tmp_path / f"pipe{ending}")
        (tmp_path / f"folder{ending}").mkdir()
        with pytest.raises(IsADirectoryError):
            ibjax.load_dataset(tmp_path / f"folder{ending}")
        with pytest.raises(FileNotFoundError):
            ibjax.load_dataset(tmp_path / f"none{ending}")


class Evil:
    """Would write a file when unpickled."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("unpickled",)


def test_nothing_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("evil.npz", F=np.array([Evil()], dtype=object), y=Y)
    with pytest.raises(ValueError, match="Python objects"):
        ibjax.load_dataset("evil.npz")
    for name in ("pickle.npz", "pickle.mat"):
        Path(name).write_bytes(pickle.dumps(Evil()))
        with pytest.raises(ValueError, match="damaged"):
            ibjax.load_dataset(name)
    assert not Path("unpickled").exists()


def test_a_bomb_is_not_opened(tmp_path: Path) -> None:
    """A file of half a megabyte that expands to more than half a gigabyte of zeros."""
    header = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
    deflate, element = zlib.compressobj(1), io.BytesIO()
    for _ in range(520):
        element.write(deflate.compress(bytes(2**20)))
    element.write(deflate.flush())
    path = tmp_path / "bomb.mat"
    path.write_bytes(header + struct.pack("<II", 15, element.tell()) + element.getvalue())
    assert path.stat().st_size < 4 * 2**20
    with pytest.raises(ValueError, match="expand"):
        ibjax.load_dataset(path)


def test_other_endings(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'\.csv'; allowed: \.mat, \.npz"):
        ibjax.load_dataset(tmp_path / "a.csv")


def test_digits() -> None:
    data = ibjax.digits_dataset()
    assert data.inputs.shape == (1797, 64)
    assert data.inputs.min() == 0
    assert data.inputs.max() == 1
    assert data.n_classes == 10
    assert data.h_x == pytest.approx(np.log2(1797), abs=1e-12)  # all different
    counts = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]  # as scikit-learn documents the set
    assert data.p_y_given_x.sum(axis=0).tolist() == counts


def test_the_command_line_takes_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inputs = np.array([[i >> k & 1 for k in range(5)] for i in range(32)])
    path = saved(tmp_path / "own.mat", F=inputs, y=inputs.sum(axis=1)[None] % 3)
    out = tmp_path / "own.npz"
    options = "--quiet --seeds 2 --epochs 2 --logged-epochs 0,2 --hidden-widths 3 --batch-size 8 --output softmax"
    assert main(["run", "--dataset", str(path), "--out", str(out), *options.split()]) == 0
    trajectory = ibjax.load(out)
    assert trajectory.train_mask.shape == (2, 32)
    assert trajectory.config["custom"] == ["dataset"]
    assert trajectory.layer_widths == (3, 3)
    assert main(["run", "--dataset", str(tmp_path / "none.npz"), "--out", str(out)]) == 2
    assert "none.npz" in capsys.readouterr().err
    (tmp_path / "bad.npz").write_bytes(b"no zip")
    assert main(["run", "--dataset", str(tmp_path / "bad.npz"), "--out", str(out)]) == 2
    assert "--dataset: cannot read" in capsys.readouterr().err
