"""Safe npz files: written whole or not at all, read without trusting them.

An npz is a zip of npy members. NumPy's own reader allocates whatever a member's header declares and takes the
last of two members of one name; a file that crossed a network deserves more care. Nothing in a file can run
code here, and no file makes the reader hold more than the file's own size and `MAX_EXPANSION` bytes besides.
"""

import contextlib
import io
import math
import os
import zipfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ibjax._files import atomic_write, opens_at_once

_KINDS = "biufU"
MAX_EXPANSION = 512 * 2**20
"""Bytes that all members together may declare beyond the size of the file that holds them."""

_CHUNK = 2**20
_HEADER = 2**10  # of an array, more than it takes
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class ArchiveError(ValueError):
    """The file is not a sound npz of plain arrays; the message is the reason."""


class _ShortReads(io.BufferedReader):
    """A file that refuses long reads.

    `zipfile` reads the central directory in one piece, whose length the file declares, and makes an object
    for every entry. Data are read below in pieces of `_CHUNK`, so the limit holds for them anyway.
    """

    def read(self, size: int | None = -1, /) -> bytes:
        rest = os.fstat(self.fileno()).st_size - self.tell()
        wanted = rest if size is None or size < 0 else min(size, rest)
        if wanted > _CHUNK:
            raise ArchiveError(f"its table of contents takes {wanted} bytes; at most {_CHUNK} are read")
        return super().read(size)


@contextlib.contextmanager
def _reasons(subject: str) -> Iterator[None]:
    """Turn whatever a damaged file makes zipfile, zlib and numpy raise into one `ArchiveError`.

    Their documented exceptions are not all they raise on hostile bytes (struct.error, zlib.error,
    NotImplementedError, tokenize.TokenError, OSError from a seek before the start ...), hence the wide net.
    """
    try:
        yield
    except ArchiveError as error:
        raise ArchiveError(f"{subject}{error}") from error
    except Exception as error:
        raise ArchiveError(f"{subject}damaged or no npz file ({type(error).__name__}: {error})") from error


class Archive:
    """An npz open for reading, a context manager.

    Args:
      path: the file.

    Raises:
      FileNotFoundError, PermissionError, IsADirectoryError: as `open` does.
      ArchiveError: the file is not a zip, is truncated, holds anything but npy members stored or deflated without
        encryption, holds a key twice, or declares more data than `MAX_EXPANSION` allows.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if not opens_at_once(path):
            raise ArchiveError("it is not a regular file")
        self._file = _ShortReads(io.FileIO(path))
        try:
            with _reasons(""):
                self._zip = zipfile.ZipFile(self._file)
                self._members = _checked_members(self._zip, os.fstat(self._file.fileno()).st_size)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()
        self._file.close()

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the arrays, in the file's order."""
        return tuple(self._members)

    def read(self, key: str) -> npt.NDArray[Any]:
        """Read one array: native byte order, C order, bool, integer, float or unicode.

        Raises:
          KeyError: no such key.
          ArchiveError: the member is damaged, holds objects or records, or its header and size disagree.
        """
        info = self._members[key]
        with _reasons(f"{key}: "), self._zip.open(info) as member:
            return _read_member(member, info.file_size)


def _checked_members(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        key = info.filename.removesuffix(".npy")
        if key == info.filename:
            raise ArchiveError(f"it holds {info.filename!r}, which is not an array (.npy)")
        if key in members:
            raise ArchiveError(f"it holds {key!r} twice")
        # A damaged length can swallow the next entry, of 50 bytes or more, and an optional array with it.
        if info.comment or len(info.extra) > 49:
            raise ArchiveError(f"{key!r} carries notes where an array has none")
        if info.flag_bits & 1:
            raise ArchiveError(f"{key!r} is encrypted")
        if info.compress_type not in _METHODS:
            raise ArchiveError(f"{key!r} is compressed by method {info.compress_type}; read are 0 and 8 (deflate)")
        members[key] = info
    declared = sum(info.file_size for info in members.values())
    if declared > size + MAX_EXPANSION:
        raise ArchiveError(
            f"its {size} bytes declare {declared} bytes of arrays; at most {MAX_EXPANSION} more than its size are read"
        )
    return members


def _read_member(member: Any, declared: int) -> npt.NDArray[Any]:
    """One npy stream of `declared` bytes, header included."""
    version = np.lib.format.read_magic(member)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(member)
    elif version == (2, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(member)
    else:
        raise ArchiveError(f"npy version {version}; read are (1, 0) and (2, 0)")
    if dtype.hasobject:
        raise ArchiveError("it holds Python objects, which are never read")
    if dtype.kind not in _KINDS or dtype.itemsize == 0:
        raise ArchiveError(f"dtype {dtype} is not bool, integer, float or text")
    header = member.tell()
    if any(n < 0 for n in shape) or header + math.prod(shape) * dtype.itemsize != declared:
        raise ArchiveError(f"shape {shape} of {dtype} does not fill the {declared - header} bytes stored")
    flat = np.empty(math.prod(shape), dtype)
    raw = flat.view(np.uint8)
    if read_into(raw, member) != raw.size:
        raise ArchiveError("it ends too early")
    if member.read(1):  # also lets zipfile compare the checksum of an empty array
        raise ArchiveError("it goes on after its last value")
    if dtype.kind == "b" and raw.size and raw.max() > 1:
        raise ArchiveError("a truth value is neither 0 nor 1")
    array = flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)
    return np.asarray(array, dtype.newbyteorder("="), order="C")


def read_into(raw: npt.NDArray[np.uint8], file: Any) -> int:
    """Fill an array with the bytes of a file, in pieces, as its end may come early; returns how many came."""
    for start in range(0, raw.size, _CHUNK):
        piece = raw[start : start + _CHUNK]
        data = file.read(piece.size)
        piece[: len(data)] = np.frombuffer(data, np.uint8)
        if len(data) != piece.size:
            return start + len(data)
    return raw.size


def write_arrays(
    path: str | os.PathLike[str],
    arrays: Mapping[str, npt.NDArray[Any]],
    *,
    overwrite: bool = True,
    compressed: Collection[str] = (),
) -> Path:
    """Write arrays as an npz, readable by `numpy.load`, as `ibjax._files.atomic_write` does; returns its path.

    Equal arrays give equal bytes (members carry no date). Most values are stored uncompressed: measured floats hardly
    shrink, deflate costs far more time than it saves.

    Args:
      path, overwrite: as there.
      arrays: by key.
      compressed: keys of arrays to deflate, as many of them as fit `MAX_EXPANSION`: what is written can be read.

    Raises:
      FileExistsError, OSError: as there.
      ValueError: an array holds objects.
    """
    with atomic_write(path, overwrite=overwrite) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        allowance = MAX_EXPANSION
        for key, array in arrays.items():
            info = zipfile.ZipInfo(f"{key}.npy")
            if key in compressed and array.nbytes + _HEADER <= allowance:
                allowance -= array.nbytes + _HEADER
                info.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(info, "w", force_zip64=array.nbytes > 2**30) as member:
                np.lib.format.write_array(member, np.asarray(array, order="C"), allow_pickle=False)
    return Path(path)
