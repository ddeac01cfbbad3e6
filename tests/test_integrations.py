"""Integrations without their frameworks: nothing is imported before it is used, and arrays of any framework are read.

The frameworks themselves are in `test_integrations_torch` and `test_integrations_keras`.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import ibjax
from ibjax.recorder.arrays import as_array


def test_the_frameworks_are_imported_when_they_are_used() -> None:
    code = (
        "import sys, ibjax\n"
        "assert dir(ibjax.integrations) == ['keras', 'torch']\n"
        "assert not {'torch', 'keras', 'tensorflow'} & sys.modules.keys()\n"
        "sys.modules['torch'] = None\n"  # as where it is not installed
        "try:\n    ibjax.integrations.torch\nexcept ImportError as error:\n    assert 'torch' in str(error)\n"
        "else:\n    raise AssertionError"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


class ByDlpackAlone:
    """Without `__dlpack_device__`, which some frameworks lack, and without `__array__`."""

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self._array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self._array.__dlpack__(**options)


@pytest.mark.parametrize("dtype", [np.float64, np.int64, np.float16, np.uint8, np.bool_])
def test_dlpack_alone_keeps_all_bits(dtype: Any) -> None:
    """JAX by itself would make 32 bits of 64."""
    exact = np.array([[1, 0], [3, 1]]).astype(dtype)
    if exact.dtype.itemsize == 8:
        exact[1, 1] += dtype(2) ** 40
    read = as_array("x", ByDlpackAlone(exact))
    assert read.dtype == dtype
    assert np.array_equal(read, exact)


def test_class_ids_beyond_32_bits_stay_apart() -> None:
    ids = np.array([5, 5 + 2**32, 5, 5 + 2**32])
    recorder = ibjax.Recorder(ByDlpackAlone(ids))
    recorder.log(0, [np.array([[0.0], [1.0], [0.0], [1.0]])])
    traj = recorder.trajectory()
    assert (traj.h_y, traj.i_ty[0, 0, 0]) == pytest.approx((1, 1))
