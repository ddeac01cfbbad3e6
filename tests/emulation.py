"""The fused trainer's kernel on a CPU: its own source, compiled by g++, under the tests' driver `fused_host.cpp`."""

from __future__ import annotations

import ctypes
import hashlib
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jax
import numpy as np
import numpy.typing as npt
import pytest
from jax import Array

from ibjax.training.fused import Launch
from ibjax.training.ptx import Variant, source

_DRIVER = Path(__file__).parent / "fused_host.cpp"

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="the kernel is compiled for the CPU by g++")


def library(variant: Variant, folder: Path) -> ctypes.CDLL:
    """A kernel's emulation, compiled where it is not in the folder yet."""
    text = source(variant) + _DRIVER.read_text(encoding="utf-8")
    path = folder / f"{hashlib.sha256(text.encode()).hexdigest()}.so"
    if not path.exists():
        path.with_suffix(".cpp").write_text(text, encoding="utf-8")
        # Only sums that the source writes as fused are fused, as on every machine.
        options = ["-std=c++17", "-O1", "-ffp-contract=off", "-fPIC", "-shared"]
        warnings = ["-Wall", "-Werror", "-Wno-unknown-pragmas"]
        subprocess.run(["g++", *options, *warnings, "-o", path, path.with_suffix(".cpp")], check=True)
    return ctypes.CDLL(str(path))


def host_launch(variant: Variant, folder: Path) -> Launch:
    """The kernel for `FusedTrainer`, as `ibjax.training.fused.gpu_launch` makes it for a GPU."""
    compiled = library(variant, folder)

    def run(*arguments: npt.ArrayLike) -> tuple[npt.NDArray[Any], ...]:
        arrays = [np.ascontiguousarray(a) for a in arguments]
        parameters, state = arrays[-2:]
        out = [np.full_like(a, np.nan) for a in (parameters, state, state)]
        compiled.train_on_host(len(parameters), *(ctypes.c_void_p(a.ctypes.data) for a in (*arrays, *out)))
        return tuple(out)

    def launch(*arguments: Array) -> tuple[Array, Array, Array]:
        parameters, state = arguments[-2:]
        shapes = tuple(jax.ShapeDtypeStruct(a.shape, a.dtype) for a in (parameters, state, state))
        return jax.pure_callback(run, shapes, *arguments)

    return launch
