"""Data sets from files and packages; hostile files are refused with a reason and leave nothing behind.

Shapes: N patterns.
"""

import gzip
import io
import itertools
import os
import pickle
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet
from scipy import io as matlab

import ibjax
from ibjax.cli.main import main
from ibjax.data import images as images_module
from ibjax.data import spherical_dataset
from ibjax.data.idx import read_idx

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
    with pytest.raises(ValueError, match=r"'\.csv'; allowed: a file that ends in \.mat, \.npz, \.parquet, or an idx"):
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


def idx(array: npt.ArrayLike, code: int, dtype: str) -> bytes:
    """The bytes of an idx file, by its published description."""
    a = np.asarray(array)
    return bytes([0, 0, code, a.ndim]) + struct.pack(f">{a.ndim}I", *a.shape) + a.astype(dtype).tobytes()


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


PIXELS = np.random.default_rng(4).integers(0, 256, (6, 3, 2), dtype=np.uint8)
CLASSES = [3, 0, 1, 3, 1, 0]


class TestIdx:
    @pytest.mark.parametrize("ending", ["", ".gz"])
    @pytest.mark.parametrize(
        ("code", "dtype", "values"),
        [
            (0x08, ">u1", [0, 255]),
            (0x09, ">i1", [-128, 127]),
            (0x0B, ">i2", [-(2**15), 2**15 - 1]),
            (0x0C, ">i4", [-(2**31), 2**31 - 1]),
            (0x0D, ">f4", [-1.5, 3.25e38]),
            (0x0E, ">f8", [-0.1, 1e300]),
        ],
    )
    def test_every_type(self, code: int, dtype: str, values: list[float], ending: str, tmp_path: Path) -> None:
        expected = np.array([values, values[::-1], values], dtype)
        found = read_idx(write(tmp_path / f"a.idx{ending}", idx(expected, code, dtype)))
        assert np.array_equal(found, expected)
        assert found.dtype == np.dtype(dtype).newbyteorder("=")

    @pytest.mark.parametrize("names", [("a-images-idx3-ubyte.gz", "a-labels-idx1-ubyte"), ("images.idx", "labels.idx")])
    def test_labels_lie_beside_their_images(self, names: tuple[str, str], tmp_path: Path) -> None:
        images, labels = (tmp_path / name for name in names)
        write(images, idx(PIXELS, 8, "u1"))
        write(labels, idx(CLASSES, 8, "u1"))
        data = ibjax.load_dataset(images)
        assert np.array_equal(data.inputs, PIXELS / 255)
        assert np.array_equal(data.p_y_given_x, np.eye(3)[[2, 0, 1, 2, 1, 0]])
        other = ibjax.load_dataset(images, labels=write(tmp_path / "other.idx", idx([0, 1, 1, 0, 1, 0], 8, "u1")))
        assert other.p_y_given_x.tolist() == [0, 1, 1, 0, 1, 0]

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"", "begins with nothing; allowed: 00 00"),
            (b"PK\3\4", "begins with 50 4b 03 04; allowed: 00 00"),
            (bytes([0, 0, 0x0A, 1, 0, 0, 0, 1, 7]), "type of its numbers = 0x0a; allowed: 0x08, 0x09, 0x0b, 0x0c"),
            (bytes([0, 0, 8, 0]), "axes = 0; allowed: 1 to 8"),
            (bytes([0, 0, 8, 9]), "axes = 9; allowed: 1 to 8"),
            (bytes([0, 0, 8, 2, 0, 0, 0]), "ends within its header, after 7 bytes; allowed: 12"),
            (idx(PIXELS, 8, "u1") + b"x", "goes on after 52 bytes"),
        ],
    )
    @pytest.mark.parametrize("ending", ["", ".gz"])
    def test_what_is_no_idx_file(self, content: bytes, words: str, ending: str, tmp_path: Path) -> None:
        path = write(tmp_path / f"images.idx{ending}", content)
        with pytest.raises(ValueError, match=f"cannot read '.*images.idx.*: .*{words}"):
            ibjax.load_dataset(path)

    def test_a_cut_file(self, tmp_path: Path) -> None:
        whole = idx(PIXELS, 8, "u1")
        with pytest.raises(ValueError, match=r"shape \(6, 3, 2\) of uint8 takes 52 bytes; allowed: 51"):
            read_idx(write(tmp_path / "a.idx", whole[:-1]))
        with pytest.raises(ValueError, match=r"ends after 51 bytes; allowed: 52, for shape \(6, 3, 2\) of uint8"):
            read_idx(write(tmp_path / "a.idx.gz", whole[:-1]))
        (tmp_path / "a.idx.gz").write_bytes(gzip.compress(whole)[:-9])
        with pytest.raises(ValueError, match="damaged or no gzip file"):
            read_idx(tmp_path / "a.idx.gz")

    @pytest.mark.parametrize("ending", ["", ".gz"])
    def test_a_header_that_declares_too_much(self, ending: str, tmp_path: Path) -> None:
        """2^256 numbers, and 4 GB, which no room is made for."""
        for axes in ([2**32 - 1] * 8, [2**16, 2**16]):
            path = write(
                tmp_path / f"a.idx{ending}", bytes([0, 0, 8, len(axes)]) + struct.pack(f">{len(axes)}I", *axes)
            )
            with pytest.raises(ValueError, match=r"bytes; allowed: [0-9]+, which it can hold at most"):
                read_idx(path)

    def test_every_damage_is_refused_or_harmless(self, tmp_path: Path) -> None:
        whole = gzip.compress(idx(PIXELS, 8, "u1"), mtime=0)
        path, refused = tmp_path / "a.idx.gz", 0
        for at, bit in itertools.product(range(len(whole)), (1, 128)):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :])
            try:
                assert np.array_equal(read_idx(path), PIXELS)
            except ValueError:
                refused += 1
        assert refused > len(whole)

    @pytest.mark.parametrize(
        ("labels", "words"),
        [
            (idx(CLASSES[:5], 8, "u1"), "5 labels for 6 inputs; allowed: as many"),
            (idx(PIXELS, 8, "u1"), r"labels of shape \(6, 3, 2\) and dtype uint8; allowed: \(N,\) whole"),
            (idx(CLASSES, 13, ">f4"), r"labels of shape \(6,\) and dtype float32; allowed: \(N,\) whole"),
            (b"\0\0\7\1", "type of its numbers = 0x07"),
        ],
    )
    def test_labels_that_do_not_fit(self, labels: bytes, words: str, tmp_path: Path) -> None:
        images = write(tmp_path / "images.idx", idx(PIXELS, 8, "u1"))
        write(tmp_path / "labels.idx", labels)
        with pytest.raises(ValueError, match=f"images.idx.*labels.idx': {words}"):
            ibjax.load_dataset(images)

    def test_no_labels(self, tmp_path: Path) -> None:
        images = write(tmp_path / "t-images-idx3-ubyte", idx(PIXELS, 8, "u1"))
        with pytest.raises(ValueError, match=r"labels = None; .* 't-labels-idx1-ubyte' or 't-labels-idx1-ubyte.gz"):
            ibjax.load_dataset(images)
        with pytest.raises(ValueError, match=r"labels = None; allowed: .* unless this one has 'images' in its name"):
            ibjax.load_dataset(write(tmp_path / "x.idx", idx(PIXELS, 8, "u1")))
        with pytest.raises(FileNotFoundError, match=r"none\.idx"):
            ibjax.load_dataset(images, labels=tmp_path / "none.idx")
        with pytest.raises(FileNotFoundError, match=r"no-images\.idx"):
            ibjax.load_dataset(tmp_path / "no-images.idx")

    def test_a_pipe_and_a_folder(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.idx")
        with pytest.raises(ValueError, match="regular file"):
            ibjax.load_dataset(tmp_path / "pipe.idx")
        (tmp_path / "folder.idx").mkdir()
        with pytest.raises(IsADirectoryError):
            ibjax.load_dataset(tmp_path / "folder.idx")

    def test_other_files_name_their_labels(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"labels = 'y' with a file that names them itself; allowed: None"):
            ibjax.load_dataset(saved(tmp_path / "a.npz", F=F, y=Y), labels="y")


def table(path: Path, **columns: Any) -> Path:
    parquet.write_table(pa.table(columns), path)
    return path


def png(shape: tuple[int, ...], value: int = 51) -> dict[str, Any]:
    """An image as Hugging Face writes it."""
    held = io.BytesIO()
    Image.fromarray(np.full(shape, value, np.uint8)).save(held, "PNG")
    return {"bytes": held.getvalue(), "path": "a.png"}


class TestParquet:
    def test_texts_are_labels(self, tmp_path: Path) -> None:
        for names in (["dog", "cat", "owl", "cat"], pa.array(["dog", "cat", "owl", "cat"]).dictionary_encode()):
            data = ibjax.load_dataset(table(tmp_path / "a.parquet", a=[1, 2, 3, 4], kind=names), labels="kind")
            assert np.array_equal(data.p_y_given_x, np.eye(3)[[1, 0, 2, 0]])

    @pytest.mark.parametrize("channels", [(), (3,)])
    def test_images(self, channels: tuple[int, ...], tmp_path: Path) -> None:
        images = [png((2, 4, *channels), value) for value in (0, 51, 255)]
        data = ibjax.load_dataset(table(tmp_path / "a.parquet", image=images, label=[0, 1, 2]), labels="label")
        assert data.inputs.shape == (3, 2, 4, *(channels or (1,)))
        assert data.inputs[:, 1, 3, 0].tolist() == [0, 0.2, 1]
        # With another column, each value is a feature.
        data = ibjax.load_dataset(table(tmp_path / "b.parquet", image=images, b=[7, 8, 9], y=[0, 1, 2]))
        assert data.inputs.shape == (3, 2 * 4 * (channels or (1,))[0] + 1)

    def test_columns_in_their_order(self, tmp_path: Path) -> None:
        lists = pa.array([[1.0, 2], [3, 4], [5, 6], [7, 8]], pa.list_(pa.float32()))
        path = table(tmp_path / "a.parquet", b=[0, 1, 0, 1], p_x=[0.1, 0.2, 0.3, 0.4], y=[5, 2, 7, 5], a=lists)
        data = ibjax.load_dataset(path)
        assert data.inputs.tolist() == [[0, 1, 2], [1, 3, 4], [0, 5, 6], [1, 7, 8]]
        assert np.array_equal(data.p_y_given_x, np.eye(3)[[1, 0, 2, 1]])
        assert data.p_x is not None
        assert data.p_x.tolist() == [0.1, 0.2, 0.3, 0.4]

    def test_labels_by_another_name(self, tmp_path: Path) -> None:
        rows = pa.FixedSizeListArray.from_arrays(pa.array([0.25, 0.75, 1, 0]), 2)
        data = ibjax.load_dataset(table(tmp_path / "a.parquet", target=rows, flag=[True, False]), labels="target")
        assert data.p_y_given_x.tolist() == [[0.25, 0.75], [1, 0]]
        assert data.inputs.tolist() == [[1], [0]]

    @pytest.mark.parametrize(
        ("columns", "labels", "words"),
        [
            ({"a": [1, 2], "b": [0, 1]}, None, "neither of the columns y and p_y_given_x; .* one of a, b"),
            ({"a": [1, 2], "y": [0, 1], "p_y_given_x": [0, 1]}, None, "both of the columns y and p_y_given_x"),
            ({"a": [1, 2], "b": [0, 1]}, "label", "labels = 'label' is no column; allowed: a, b"),
            ({"y": [0, 1], "p_x": [0.5, 0.5]}, None, "no column is left for the inputs; it has y, p_x"),
            ({"a": ["u", "v"], "y": [0, 1]}, None, "column 'a' is of type string; allowed: numbers, or lists"),
            ({"a": [{"bytes": b"u"}] * 2, "y": [0, 1]}, None, "column 'a' is of type struct"),
            ({"a": [{"bytes": b"u", "path": "p"}] * 2, "y": [0, 1]}, None, "column 'a', row 0: no PNG or JPEG image"),
            (
                {"a": [png((2, 2)), png((2, 3))], "y": [0, 1]},
                None,
                "2 images of 2 x 2 L and 3 x 2 L; allowed: one size",
            ),
            ({"a": [png((2, 2)), {"bytes": None, "path": "p"}], "y": [0, 1]}, None, "lacks the bytes of 1 images"),
            ({"a": [png((2, 2, 3)), None], "y": [0, 1]}, None, "column 'a' lacks 1 of 2 values"),
            ({"a": [1, 2], "y": ["u", None]}, None, "column 'y' lacks 1 of 2 values"),
            ({"a": [1.0, None], "y": [0, 1]}, None, "column 'a' lacks 1 of 2 values"),
            ({"a": [[1, 2], [3]], "y": [0, 1]}, None, "column 'a' holds lists of 1 to 2 values; allowed: one length"),
            ({"a": [[1, 2], [3, None]], "y": [0, 1]}, None, "column 'a' lacks 1 values within its lists"),
            ({"a": [1.0, 2], "y": [0, 1.5]}, None, r"y ranges over \[0, 1.5\] and is not whole"),
        ],
    )
    def test_columns_that_make_no_data_set(self, columns: Any, labels: str | None, words: str, tmp_path: Path) -> None:
        path = table(tmp_path / "wrong.parquet", **columns)
        with pytest.raises(ValueError, match=f"cannot read '.*wrong.parquet' as a data set: .*{words}"):
            ibjax.load_dataset(path, labels=labels)

    def test_cuts_flips_and_no_file(self, tmp_path: Path) -> None:
        whole = table(tmp_path / "whole.parquet", a=[0.5, 1, 2], y=[0, 1, 1]).read_bytes()
        path = tmp_path / "damaged.parquet"
        generator = np.random.default_rng(12)
        places = generator.integers(0, len(whole), 60)
        flipped = [whole[:at] + bytes([generator.integers(256)]) + whole[at + 1 :] for at in places]
        pieces = [whole[:end] for end in range(0, len(whole), 23)]
        refused = 0
        for piece in [*pieces, *flipped]:
            path.write_bytes(piece)
            try:
                ibjax.load_dataset(path)
            except ValueError as error:
                refused += "cannot read" in str(error)
        assert refused >= len(pieces)
        with pytest.raises(FileNotFoundError):
            ibjax.load_dataset(tmp_path / "none.parquet")

    def test_a_bomb_is_not_opened(self, tmp_path: Path) -> None:
        """A constant column: 2^27 numbers, a gigabyte, in a file of some kilobytes."""
        path = tmp_path / "bomb.parquet"
        zeros = pa.table({"a": np.zeros(2**20), "y": np.zeros(2**20)})
        with parquet.ParquetWriter(path, zeros.schema) as writer:
            for _ in range(2**6):
                writer.write_table(zeros)
        assert path.stat().st_size < 2**20
        with pytest.raises(ValueError, match=r"its [0-9]+ bytes declare 134217728 numbers; allowed: at most"):
            ibjax.load_dataset(path)

    def test_without_pyarrow(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = table(tmp_path / "a.parquet", a=[0.5, 1], y=[0, 1])
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        with pytest.raises(ImportError, match=r"needs pyarrow: pip install 'ibjax\[parquet\]'"):
            ibjax.load_dataset(path)


class TestFashionMnist:
    """Files of its form; the data themselves are looked at where Debian's package is installed."""

    @staticmethod
    def folder(path: Path, **changed: bytes) -> Path:
        """Five patterns of training, three of test; pattern k is one grey of k / 255."""
        for part, grey, labels in (("train", np.arange(5), [9, 0, 3, 3, 1]), ("t10k", np.arange(5, 8), [0, 2, 9])):
            images = np.broadcast_to(grey[:, None, None], (len(grey), 28, 28))
            write(path / f"{part}-images-idx3-ubyte.gz", changed.get(f"{part}_images") or idx(images, 8, "u1"))
            write(path / f"{part}-labels-idx1-ubyte", changed.get(f"{part}_labels") or idx(labels, 8, "u1"))
        return path

    def test_the_first_patterns_of_each_part(self, tmp_path: Path) -> None:
        data = ibjax.fashion_mnist_dataset(self.folder(tmp_path), train=4, test=2)
        assert data.input_shape == (28, 28, 1)
        assert np.array_equal(data.inputs[:, 0, 0, 0] * 255, [0, 1, 2, 3, 5, 6])
        assert np.array_equal(data.p_y_given_x.argmax(axis=1), [9, 0, 3, 3, 0, 2])
        assert data.n_classes == 10
        assert ibjax.fashion_mnist_dataset(tmp_path, train=0, test=3).n_patterns == 3

    def test_what_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"neither train-images-idx3-ubyte .*install dataset-fas"):
            ibjax.fashion_mnist_dataset(tmp_path)
        self.folder(tmp_path)
        with pytest.raises(ValueError, match=r"train-images.* as Fashion-MNIST: train = 6; allowed: at most 5"):
            ibjax.fashion_mnist_dataset(tmp_path, train=6, test=1)
        with pytest.raises(ValueError, match=r"train = -1; allowed: an integer from 0 to 60000"):
            ibjax.fashion_mnist_dataset(tmp_path, train=-1)
        with pytest.raises(ValueError, match=r"train \+ test = 1; allowed: at least 2"):
            ibjax.fashion_mnist_dataset(tmp_path, train=0, test=1)
        for name, content, words in (
            ("train_images", idx(np.zeros((5, 8, 8)), 8, "u1"), r"\(8, 8\) pixels"),
            ("train_labels", idx([0, 1, 2, 3, 10], 8, "u1"), "labels up to 10; allowed: .* 0 to 9"),
            ("train_labels", idx([0, 1], 8, "u1"), "2 labels for 5 inputs"),
        ):
            with pytest.raises(ValueError, match=f"as Fashion-MNIST: .*{words}"):
                ibjax.fashion_mnist_dataset(self.folder(tmp_path, **{name: content}), train=4, test=2)

    @pytest.mark.skipif(not Path(images_module.FASHION_MNIST).is_dir(), reason="dataset-fashion-mnist is not installed")
    def test_the_real_one(self) -> None:
        """As published: 1,000 of each class in the test part; the first label of training is 9, an ankle boot."""
        data = ibjax.fashion_mnist_dataset(train=10)
        assert data.p_y_given_x[10:].sum(axis=0).tolist() == [1000.0] * 10
        assert data.p_y_given_x[:4].argmax(axis=1).tolist() == [9, 0, 0, 3]
        assert data.inputs.max() == 1


def test_the_command_line_takes_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    images = np.random.default_rng(5).integers(0, 256, (32, 4, 4), dtype=np.uint8)
    write(tmp_path / "train-images-idx3-ubyte.gz", idx(images, 8, "u1"))
    write(tmp_path / "train-labels-idx1-ubyte.gz", idx(np.arange(32) % 3, 8, "u1"))
    options = "--quiet --seeds 2 --epochs 2 --logged-epochs 0,2 --hidden-widths 3 --batch-size 8 --output softmax"
    assert main(["run", "--dataset", "train-images-idx3-ubyte.gz", "--out", "own.npz", *options.split()]) == 0
    assert ibjax.load("own.npz").layer_widths == (3, 3)
    write(tmp_path / "bad.idx", b"no idx")
    table(tmp_path / "bad.parquet", a=[1, 2])
    for name, words in (
        ("none-images.idx", "--dataset = 'none-images.idx' cannot be read: No such file"),
        ("bad.idx", "--dataset: cannot read 'bad.idx' as a data set: it begins with 6e 6f 20 69; allowed: 00 00"),
        ("bad.parquet", "neither of the columns y and p_y_given_x; allowed: one of them, or labels = one of a"),
    ):
        assert main(["run", "--dataset", name, "--out", "own2.npz"]) == 2
        assert words in " ".join(capsys.readouterr().err.split())
