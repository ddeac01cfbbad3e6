"""Arrays from idx files, plain or compressed by gzip, in which MNIST and data sets made like it are given.

An idx file is two zero bytes, one for the type of its numbers, one for the count of its axes, the length of each axis
(four bytes, the first the highest), and the numbers; as described at http://yann.lecun.com/exdb/mnist/ by LeCun, Cortes
and Burges. A file is not trusted: what its header declares is compared with its size before room is made for it.
"""

from __future__ import annotations

import gzip
import math
import os
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ibjax._files import opens_at_once
from ibjax.npz import MAX_EXPANSION, read_into

TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
"""Type of the numbers by the third byte of a file."""

_NAME = re.compile(r"([-._]idx[0-9]+-|\.idx)[a-z0-9]*(\.gz)?$", re.IGNORECASE)
_GZIP = b"\x1f\x8b"
_RATIO = 1032  # of deflate, the most that it shrinks anything
_MOST_AXES = 8


def is_idx(path: str | os.PathLike[str]) -> bool:
    """Whether the name is that of an idx file: `train-images-idx3-ubyte`, `a.idx`, each also with .gz behind it."""
    return _NAME.search(Path(path).name) is not None


def read_idx(path: str | os.PathLike[str]) -> npt.NDArray[Any]:
    """The array of an idx file, of the shape that its header gives, in native byte order.

    Args:
      path: the file, plain or compressed by gzip, whichever its first bytes tell.

    Raises:
      FileNotFoundError, PermissionError, IsADirectoryError: as `open` does.
      ValueError: no idx file, a type that idx does not have, more or fewer numbers than the header declares, or more
        than a file of this size may hold; says which, and what is allowed.
    """
    if not opens_at_once(path):
        raise ValueError("it is not a regular file")
    with open(path, "rb") as file:
        compressed = file.read(2) == _GZIP
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        most = min(size * _RATIO, size + MAX_EXPANSION) if compressed else size
        try:
            return _read(gzip.GzipFile(fileobj=file) if compressed else file, most)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"damaged or no gzip file ({type(error).__name__}: {error})") from error


def _read(file: Any, most: int) -> npt.NDArray[Any]:
    """The array of an open file of `most` bytes at most."""
    start = file.read(4)
    if len(start) < 4 or start[:2] != b"\0\0":
        raise ValueError(f"it begins with {start.hex(' ') or 'nothing'}; allowed: 00 00, as every idx file")
    code, axes = start[2:]
    if code not in TYPES:
        allowed = ", ".join(f"{known:#04x}" for known in TYPES)
        raise ValueError(f"type of its numbers = {code:#04x}; allowed: {allowed}")
    if not 1 <= axes <= _MOST_AXES:
        raise ValueError(f"axes = {axes}; allowed: 1 to {_MOST_AXES}")
    header = file.read(4 * axes)
    if len(header) < 4 * axes:
        raise ValueError(f"it ends within its header, after {4 + len(header)} bytes; allowed: {4 + 4 * axes} and more")
    shape = tuple(np.frombuffer(header, ">u4").tolist())
    dtype = np.dtype(TYPES[code])
    declared = 4 + len(header) + math.prod(shape) * dtype.itemsize
    if declared > most:
        raise ValueError(f"shape {shape} of {dtype} takes {declared} bytes; allowed: {most}, which it can hold at most")
    flat = np.empty(math.prod(shape), dtype)
    held = 4 + len(header) + read_into(flat.view(np.uint8), file)
    if held != declared:
        raise ValueError(f"it ends after {held} bytes; allowed: {declared}, for shape {shape} of {dtype}")
    if file.read(1):
        raise ValueError(f"it goes on after {declared} bytes, which is all of shape {shape} of {dtype}")
    return flat.reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def read_pair(
    images: str | os.PathLike[str], labels: str | os.PathLike[str] | None = None
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Inputs (N, ...), bytes without a sign as shares of 255, and labels (N,) from a pair of idx files.

    Args:
      images: the file of the inputs.
      labels: the file of the labels; None for the one beside it with "labels" and "idx1" in its name where this has
        "images" and "idx3", compressed or not.

    Raises:
      OSError: as of `read_idx`.
      ValueError: as of `read_idx`, its message begun with the name of the file of labels where that is at fault; no
        file of labels; labels that are no row of whole numbers, or not as many as inputs.
    """
    pixels = read_idx(images)
    path = _beside(Path(images)) if labels is None else Path(labels)
    try:
        ids = read_idx(path)
        if ids.ndim != 1 or ids.dtype.kind not in "iu":
            raise ValueError(f"labels of shape {ids.shape} and dtype {ids.dtype}; allowed: (N,) whole numbers")
        if len(ids) != len(pixels):
            raise ValueError(f"{len(ids)} labels for {len(pixels)} inputs; allowed: as many labels as inputs")
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)!r}: {error}") from error
    return pixels / 255 if pixels.dtype == np.uint8 else pixels, ids


def _beside(images: Path) -> Path:
    """The file of labels of this file of images."""
    name = re.sub("idx[0-9]+", "idx1", images.name.replace("images", "labels"))
    plain = name.removesuffix(".gz")
    names = dict.fromkeys((name, plain, f"{plain}.gz"))
    for each in names:
        if each != images.name and (found := images.with_name(each)).is_file():
            return found
    if "images" not in images.name:
        raise ValueError("labels = None; allowed: the file of its labels, unless this one has 'images' in its name")
    raise ValueError(f"labels = None; allowed: the file of its labels, or {' or '.join(map(repr, names))} beside it")
