"""Data sets from files of arrays.

Shapes: N patterns, ... axes of one input, F features, C classes.
"""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ibjax._files import opens_at_once
from ibjax.data.dataset import Dataset
from ibjax.data.idx import is_idx, read_pair
from ibjax.data.parquet import LABELS, MARGINAL, read_parquet
from ibjax.npz import MAX_EXPANSION, Archive, ArchiveError
from ibjax.probability import one_hot, within_unit

ENDINGS = (".mat", ".npz", ".parquet")
"""Of the files that `load_dataset` reads, beside those of idx."""

READABLE = f"a file that ends in {', '.join(ENDINGS)}, or an idx file such as train-images-idx3-ubyte, also .gz"
"""Those in words."""

_INPUTS = ("F", "inputs")
_FIELDS = (*_INPUTS, *LABELS, MARGINAL)
_COMPRESSED = 15  # type of a deflated element of a MAT-file of level 5
_CHUNK = 2**16

Arrays = dict[str, npt.NDArray[Any]]


def is_readable(path: str | os.PathLike[str]) -> bool:
    """Whether a file of this name is one that `load_dataset` reads."""
    return Path(path).suffix.lower() in ENDINGS or is_idx(path)


def load_dataset(path: str | os.PathLike[str], *, labels: str | os.PathLike[str] | None = None) -> Dataset:
    """A data set from a MATLAB file (.mat, up to version 7), an .npz, a .parquet, or a pair of idx files.

    MATLAB and npz, with the fields that the authors' codes use:

    - `F` (or `inputs`): (N, F) or (N, ...) numbers.
    - `y` (or `p_y_given_x`): N numbers in one row or column, or (N, C) rows that sum to 1. N numbers within [0, 1] are
      p(y=1|x), 0 and 1 being hard labels; whole numbers beyond name classes, 0 ... C-1 in increasing order.
    - `p_x`, optional: N numbers that sum to 1.

    Parquet: the column `y` (or `p_y_given_x`, or that of `labels`), optionally `p_x`, each as above; all other columns,
    in their order, are the inputs, (N, F): numbers, or lists of as many numbers in every row, or PNG or JPEG images of
    one size and mode as struct<bytes, path>, which alone stay (N, height, width, channels), from 0 to 1. Labels may be
    texts, which name classes in alphabetical order. It takes pyarrow, which parses the file, and of images Pillow.

    idx, plain or compressed by gzip: N bytes or numbers or arrays of them, and a second file of N whole numbers that
    name the classes. Bytes without a sign are pixels: they are divided by 255.

    Other fields are not read. The file is not trusted: nothing in it is executed, and it may expand to no more than
    its size and half a gigabyte.

    Args:
      path: the file, whose name ends in .mat, .npz or .parquet, or has idx in it (`train-images-idx3-ubyte.gz`,
        `a.idx`).
      labels: of an idx file, the file of labels; by default that beside it whose name says labels where this says
        images. Of a .parquet, the name of the column of labels. Not for other files, which name their labels.

    Raises:
      FileNotFoundError, PermissionError, IsADirectoryError: as `open` does.
      ImportError: a .parquet, and pyarrow is not installed.
      ValueError: another kind of file, a damaged one, or arrays that make no data set; names the file and says why.
    """
    path = Path(path)
    ending = path.suffix.lower()
    try:
        if not is_readable(path):
            raise ValueError(f"the name ends in {path.suffix!r}; allowed: {READABLE}")
        if is_idx(path):
            pixels, ids = read_pair(path, labels)
            return Dataset(pixels, _conditional(ids, len(pixels)))
        if ending == ".parquet":
            fields = read_parquet(path, None if labels is None else os.fspath(labels))
        elif labels is not None:
            raise ValueError(f"labels = {os.fspath(labels)!r} with a file that names them itself; allowed: None")
        else:
            fields = _from_mat(path) if ending == ".mat" else _from_npz(path)
        inputs, conditional = _one_of(fields, _INPUTS), _one_of(fields, LABELS)
        for name, array in fields.items():
            if array.dtype.kind not in "biuf":
                raise ValueError(f"{name} has dtype {array.dtype}; allowed: numbers")
        marginal = fields.get(MARGINAL)
        n = inputs.shape[0] if inputs.ndim else 0
        return Dataset(inputs, _conditional(conditional, n), None if marginal is None else _flat(marginal))
    except (ValueError, ArchiveError) as error:
        raise ValueError(f"cannot read {os.fspath(path)!r} as a data set: {error}") from error


def _one_of(fields: Arrays, names: tuple[str, ...]) -> npt.NDArray[Any]:
    found = [name for name in names if name in fields]
    if len(found) != 1:
        what = "both" if found else "neither"
        raise ValueError(f"it holds {what} of {' and '.join(names)}; allowed: one of them")
    return fields[found[0]]


def _flat(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A row or column as a vector."""
    return array.reshape(-1) if array.ndim == 2 and 1 in array.shape else array


def _conditional(y: npt.NDArray[Any], n: int) -> npt.NDArray[Any]:
    """p(y|x) as `Dataset` takes it, from labels in any of the shapes of `load_dataset`."""
    y = _flat(y)
    if y.ndim != 1 or len(y) != n or not np.isfinite(y).all() or within_unit(y):
        return y  # probabilities, or for `Dataset` to refuse
    return one_hot("y", y)  # also of whole floats: MATLAB's numbers have no other type


def _from_npz(path: Path) -> Arrays:
    with Archive(path) as archive:
        return {name: archive.read(name) for name in _FIELDS if name in archive.keys}


def _from_mat(path: Path) -> Arrays:
    from scipy import io  # here, as it is slow to import and few runs read .mat files

    if not opens_at_once(path):
        raise ValueError("it is not a regular file")
    with open(path, "rb") as file:
        _check_expansion(file)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # what SciPy only warns of is a damaged file
                limit = os.fstat(file.fileno()).st_size + MAX_EXPANSION
                for name, shape, _ in io.whosmat(file):
                    if name in _FIELDS and 8 * int(np.prod([float(n) for n in shape])) > limit:
                        raise ValueError(f"{name} of shape {shape} is larger than the file can hold")
                file.seek(0)
                content = io.loadmat(file, variable_names=_FIELDS, chars_as_strings=False)
        except NotImplementedError:
            raise ValueError("it is of MATLAB's version 7.3; allowed: save it with -v7, or as .npz") from None
        except Exception as error:  # SciPy's reader raises nearly anything on hostile bytes
            raise ValueError(f"damaged or no MATLAB file ({type(error).__name__}: {error})") from error
    found = {name: content[name] for name in _FIELDS if name in content}
    for name, array in found.items():
        if not isinstance(array, np.ndarray):
            raise ValueError(f"{name} is of type {type(array).__name__}; allowed: a full array of numbers")
    return found


def _check_expansion(file: Any) -> None:
    """Refuses a MAT-file of level 5 whose deflated elements hold too much; leaves the file at its start."""
    size = os.fstat(file.fileno()).st_size
    header = file.read(128)
    order = {b"IM": "<", b"MI": ">"}.get(header[126:128])
    left = size + MAX_EXPANSION
    while order is not None and len(tag := file.read(8)) == 8:
        kind, length = struct.unpack(f"{order}II", tag)
        if kind != _COMPRESSED:
            file.seek(length, os.SEEK_CUR)
            continue
        inflate, end = zlib.decompressobj(), file.tell() + length
        try:
            while (piece := file.read(min(_CHUNK, end - file.tell()))) and not inflate.eof:
                while piece and left >= 0:
                    left -= len(inflate.decompress(piece, _CHUNK))
                    piece = inflate.unconsumed_tail
        except zlib.error as error:
            raise ValueError(f"damaged or no MATLAB file ({error})") from error
        if left < 0:
            raise ValueError(f"its {size} bytes expand to more than {size + MAX_EXPANSION}, which are not read")
        file.seek(end)
    file.seek(0)
