"""Arrays from parquet files of numbers, and of names and images as Hugging Face writes them, which pyarrow reads.

Shapes: N rows, one a pattern, F features; (N, height, width, channels) of images.
"""

from __future__ import annotations

import io
import os
from typing import Any

import numpy as np
import numpy.typing as npt

from ibjax._files import opens_at_once
from ibjax.npz import MAX_EXPANSION

LABELS = ("y", "p_y_given_x")
MARGINAL = "p_x"
"""Names of the labels, of which a file has one, and of p(x), in files of every kind that names what it holds."""

_IMAGE = ("bytes", "path")
"""Parts of a column of images, as Hugging Face writes it."""

_LONGEST_TEXT, _MOST_ENTRIES = 10**6, 10**6  # of what describes a file's content


def read_parquet(path: str | os.PathLike[str], labels: str | None = None) -> dict[str, npt.NDArray[Any]]:
    """`F`, (N, F) or of one column of images (N, ...), `y` or `p_y_given_x`, (N,) or (N, C), perhaps `p_x`, (N,).

    Labels that are texts are numbered in alphabetical order. Images are PNG or JPEG, of one size and mode; bytes become
    shares of 255.

    Args:
      path: the file.
      labels: the column of the labels, which then is `y`; None for the one that is named `y` or `p_y_given_x`.

    Raises:
      FileNotFoundError, PermissionError, IsADirectoryError: as `open` does.
      ImportError: pyarrow is not installed.
      ValueError: a damaged file, one whose columns take too much memory, a column that is missing or is of no such
        kind; lists the columns where one is missing.
    """
    if not opens_at_once(path):
        raise ValueError("it is not a regular file")
    with open(path, "rb") as file:
        try:
            from pyarrow import parquet  # here, as it is optional and slow to import
        except ImportError as error:
            raise ImportError("load_dataset() of a .parquet needs pyarrow: pip install 'ibjax[parquet]'") from error
        try:
            limits = {"thrift_string_size_limit": _LONGEST_TEXT, "thrift_container_size_limit": _MOST_ENTRIES}
            table = parquet.ParquetFile(file, **limits)
            names = list(table.schema_arrow.names)
            chosen = _label(names, labels)
            _check_size(table.metadata, os.fstat(file.fileno()).st_size)
            for field in table.schema_arrow:
                _check_type(field, chosen)
            # What is written once and meant a million times is held once.
            leaves = [table.schema.column(place) for place in range(len(table.schema))]
            texts = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
            content = parquet.ParquetFile(file, read_dictionary=texts, **limits).read()
        except _RefusedError as error:
            raise ValueError(str(error)) from None
        except Exception as error:  # pyarrow raises nearly anything on hostile bytes
            raise ValueError(f"damaged or no parquet file ({type(error).__name__}: {error})") from error
    columns = {name: _values(name, content.column(place)) for place, name in enumerate(names)}
    fields = {LABELS[0] if labels is not None else chosen: columns.pop(chosen)}
    if MARGINAL in columns:
        fields[MARGINAL] = columns.pop(MARGINAL)
    if not columns:
        raise ValueError(f"no column is left for the inputs; it has {', '.join(names)}")
    if len(columns) == 1 and next(iter(columns.values())).ndim > 2:
        fields["F"] = next(iter(columns.values()))
        return fields
    fields["F"] = np.concatenate([column.reshape(len(column), -1) for column in columns.values()], axis=1)
    return fields


class _RefusedError(Exception):
    """What is wrong with a file that is not damaged."""


def _label(names: list[str], labels: str | None) -> str:
    """The column of the labels."""
    listed = ", ".join(names[:30]) + (f" and {len(names) - 30} more" if len(names) > 30 else "")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise _RefusedError(f"it has the columns {', '.join(twice)} twice; allowed: each once")
    if labels is not None:
        if labels not in names:
            raise _RefusedError(f"labels = {labels!r} is no column; allowed: {listed}")
        return labels
    found = [name for name in LABELS if name in names]
    if len(found) != 1:
        what = "both" if found else "neither"
        raise _RefusedError(
            f"it has {what} of the columns y and p_y_given_x; allowed: one of them, or labels = one of {listed}"
        )
    return found[0]


def _check_size(metadata: Any, size: int) -> None:
    """Refuses a file whose numbers take more memory than its size and `MAX_EXPANSION`."""
    groups = [metadata.row_group(place) for place in range(metadata.num_row_groups)]
    counts = [group.column(place).num_values for group in groups for place in range(group.num_columns)]
    numbers = max(sum(counts), metadata.num_rows * metadata.num_columns)
    if min(counts, default=0) < 0 or not 0 <= 8 * numbers <= size + MAX_EXPANSION:
        raise _RefusedError(
            f"its {size} bytes declare {numbers} numbers; allowed: at most {(size + MAX_EXPANSION) // 8}"
        )
    held = sum(group.total_byte_size for group in groups)
    if not 0 <= held <= size + MAX_EXPANSION:
        raise _RefusedError(f"its {size} bytes declare {held} bytes; allowed: at most {size + MAX_EXPANSION}")


def _check_type(field: Any, labels: str) -> None:
    """Refuses a column that is not of numbers, of lists of them or of images, nor of labels that are texts."""
    from pyarrow import types  # here, as it is optional and slow to import

    item = field.type
    if types.is_struct(item) and [part.name for part in item] == list(_IMAGE) and types.is_binary(item[0].type):
        return
    if field.name == labels and (types.is_string(item) or types.is_large_string(item) or types.is_dictionary(item)):
        return
    if types.is_list(item) or types.is_large_list(item) or types.is_fixed_size_list(item):
        item = item.value_type
    if not (types.is_boolean(item) or types.is_integer(item) or types.is_floating(item)):
        raise _RefusedError(
            f"column {field.name!r} is of type {field.type}; allowed: numbers, or lists of them, images as "
            "struct<bytes, path>, and texts in the column of the labels"
        )


def _values(name: str, column: Any) -> npt.NDArray[Any]:
    """A column as numbers: texts as the places of their names in alphabetical order, images as arrays."""
    from pyarrow import types  # here, as it is optional and slow to import

    if column.null_count or not (types.is_struct(column.type) or types.is_dictionary(column.type)):
        return _numbers(name, column)
    array = column.unify_dictionaries().combine_chunks()
    if types.is_struct(column.type):
        return _images(name, array.field(_IMAGE[0]))
    texts, places = array.dictionary.to_pylist(), array.indices.to_numpy(zero_copy_only=False)
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(f"column {name!r} is a dictionary of {array.dictionary.type}; allowed: one of texts")
    names = sorted({texts[place] for place in np.unique(places)})
    number = {text: place for place, text in enumerate(names)}
    return np.array([number.get(text, -1) for text in texts])[places]


def _images(name: str, encoded: Any) -> npt.NDArray[Any]:
    """PNG or JPEG images, (N, height, width, channels), as shares of 255."""
    from PIL import Image  # here, as few files hold images; matplotlib brings it

    if encoded.null_count:
        raise ValueError(f"column {name!r} lacks the bytes of {encoded.null_count} images; allowed: none missing")
    kinds: dict[tuple[int, int, str], None] = {}
    found = []
    for place, data in enumerate(encoded):
        try:
            with Image.open(io.BytesIO(data.as_py()), formats=("PNG", "JPEG")) as image:
                kinds[(*image.size, image.mode)] = None
                fits = len(encoded) * image.width * image.height * len(image.mode) <= MAX_EXPANSION
                if len(kinds) > 1 or image.mode not in ("L", "RGB", "RGBA") or not fits:
                    break
                found.append(np.asarray(image))
        except Exception as error:  # Pillow raises nearly anything on hostile bytes
            raise ValueError(f"column {name!r}, row {place}: no PNG or JPEG image ({type(error).__name__})") from error
    if len(found) < len(encoded):
        told = " and ".join(f"{width} x {height} {mode}" for width, height, mode in kinds)
        raise ValueError(
            f"column {name!r} holds {len(encoded)} images of {told}; allowed: one size, a mode of L, RGB, RGBA, and "
            f"{MAX_EXPANSION} bytes in all"
        )
    pixels = np.stack(found) / 255
    return pixels[..., None] if pixels.ndim == 3 else pixels


def _numbers(name: str, column: Any) -> npt.NDArray[Any]:
    """A column as (N,), or as (N, F) where it holds lists."""
    if column.null_count:
        raise ValueError(f"column {name!r} lacks {column.null_count} of {len(column)} values; allowed: none missing")
    array = column.combine_chunks()
    if not hasattr(array.type, "value_type"):
        return np.asarray(array.to_numpy(zero_copy_only=False))
    lengths = set(array.value_lengths().to_pylist())
    if len(lengths) != 1:
        raise ValueError(f"column {name!r} holds lists of {min(lengths)} to {max(lengths)} values; allowed: one length")
    flat = array.flatten()
    if flat.null_count:
        raise ValueError(f"column {name!r} lacks {flat.null_count} values within its lists; allowed: none missing")
    return np.asarray(flat.to_numpy(zero_copy_only=False)).reshape(len(array), -1)
