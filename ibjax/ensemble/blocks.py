"""Blocks of seeds: one compiled program of a fixed size serves any number of networks.

That is why a network is the same to the bit in any company, in training and when it is measured again.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from concurrent import futures
from typing import Any

import jax
import numpy as np
import numpy.typing as npt

from ibjax.config import Config

_BLOCK = 10  # seeds; larger ones train no faster on a core, and this divides the usual 50
_BLOCK_ON_ACCELERATOR = 128  # a block of threads each: about as many as a GPU has multiprocessors

Integers = npt.NDArray[np.integer[Any]]


def block_size(device: jax.Device) -> int:
    """K, whatever the number of seeds."""
    return _BLOCK if device.platform == "cpu" else _BLOCK_ON_ACCELERATOR


def split(seeds: Integers, size: int) -> tuple[list[Integers], list[Integers]]:
    """The seeds (or their numbers) of each block, and the same filled up to `size`.

    What fills the last block up are copies of its first, to be dropped in the end.
    """
    parts = [seeds[i : i + size] for i in range(0, len(seeds), size)]
    return parts, [np.append(part, np.full(size - len(part), part[0])) for part in parts]


def precision(config: Config) -> contextlib.AbstractContextManager[Any]:
    """The precision of a run, for this thread and this block of code only."""
    context: contextlib.AbstractContextManager[Any] = jax.enable_x64(config.precision == "float64")
    return context


def cores() -> int:
    """Of the CPU, as many as this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def compile_all(lowered: Sequence[Any], device: jax.Device) -> list[Any]:
    """Programs for one device, all at once: the compiler keeps one core busy a program."""
    # XLA halves the vectors of a CPU that has 512 bits, for the sake of mixed loads; these loops gain a tenth.
    options = {"xla_cpu_prefer_vector_width": 512} if device.platform == "cpu" else {}
    with futures.ThreadPoolExecutor(len(lowered)) as pool:
        return list(pool.map(lambda program: program.compile(compiler_options=options), lowered))
