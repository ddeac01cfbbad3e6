"""Data sets of images that come with a package, without a download of ibjax's own.

Shapes: N patterns.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ibjax._checks import integer
from ibjax.data.dataset import Dataset
from ibjax.data.idx import read_pair

FASHION_MNIST = "/usr/share/datasets/fashion-mnist"
"""Where Debian's package dataset-fashion-mnist puts its files."""

_PARTS = {"train": "train", "test": "t10k"}


def digits_dataset() -> Dataset:
    """The 1797 handwritten digits of scikit-learn (8 x 8 pixels of 0 ... 16, here 0 ... 1; ten classes), no download.

    Raises:
      ImportError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits  # here, as it is optional and slow to import
    except ImportError as error:
        raise ImportError("digits_dataset() needs scikit-learn: pip install 'ibjax[digits]'") from error
    pixels, labels = load_digits(return_X_y=True)
    return Dataset(pixels / 16, np.eye(10)[labels])


def fashion_mnist_dataset(
    folder: str | os.PathLike[str] = FASHION_MNIST, *, train: int = 60_000, test: int = 10_000
) -> Dataset:
    """Fashion-MNIST (Xiao, Rasul & Vollgraf 2017, arXiv 1708.07747): photographs of clothes, ten classes.

    Inputs are (N, 28, 28, 1), grey values of 0 ... 1: the first patterns of the set's own training part, then the
    first of its test part. `Config(split="ordered", train_fraction=train / (train + test))` keeps to that split.

    Its files are not part of ibjax. On Debian and Ubuntu: `apt-get install dataset-fashion-mnist`. Elsewhere: those of
    https://github.com/zalandoresearch/fashion-mnist, in a folder. MNIST's own files, which have the same names, do too.

    Args:
      folder: that of the four files `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and
        `t10k-labels-idx1-ubyte`, each as it is or with .gz behind its name.
      train, test: how many patterns of each part.

    Raises:
      FileNotFoundError: a file is not there; says where it was looked for and how to get it.
      ValueError: a file that is damaged or holds something else, more patterns than there are, fewer than 2 in all.
    """
    counts = {"train": integer("train", train, 0, 60_000), "test": integer("test", test, 0, 10_000)}
    if sum(counts.values()) < 2:
        raise ValueError(f"train + test = {train + test}; allowed: at least 2 patterns")
    pixels, labels = [], []
    for part, name in _PARTS.items():
        if not counts[part]:
            continue
        paths = [_find(Path(folder), f"{name}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1")]
        try:
            images, ids = read_pair(*paths)
            if images.shape[1:] != (28, 28) or not np.isin(ids, range(10)).all():
                raise ValueError(
                    f"images of {images.shape[1:]} pixels, labels up to {ids.max(initial=0)}; allowed: (28, 28), 0 to 9"
                )
            if counts[part] > len(images):
                raise ValueError(f"{part} = {counts[part]}; allowed: at most {len(images)}, which it holds")
        except ValueError as error:
            raise ValueError(f"cannot read {os.fspath(paths[0])!r} as Fashion-MNIST: {error}") from error
        pixels.append(images[: counts[part], :, :, None])
        labels.append(ids[: counts[part]])
    return Dataset(np.concatenate(pixels), np.eye(10)[np.concatenate(labels)])


def _find(folder: Path, name: str) -> Path:
    """The file of this name, or with .gz behind it."""
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"folder = {os.fspath(folder)!r} has neither {name} nor {name}.gz; allowed: one with the files of Fashion-"
        "MNIST (apt-get install dataset-fashion-mnist, or https://github.com/zalandoresearch/fashion-mnist)"
    )
