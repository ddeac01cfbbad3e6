"""Data sets of images that come with a library, without a download."""

from __future__ import annotations

import numpy as np

from ibjax.data.dataset import Dataset


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
