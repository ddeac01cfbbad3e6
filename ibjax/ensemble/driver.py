"""Blocks of networks on one device: compiled programs, and the blocks that wait there for their next epochs.

Shapes: K seeds of a block.
"""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import numpy.typing as npt

from ibjax.ensemble.blocks import compile_all
from ibjax.ensemble.checkpoint import Arrays, from_bytes
from ibjax.ensemble.program import Program, Record

_PIECE = 50  # epochs in a call: how long Ctrl-C waits


class Block(NamedTuple):
    """Where one block of seeds stands."""

    number: int
    logged: int
    epoch: int
    sample: Any
    state: Any


class Driver:
    """A program compiled for blocks of one size on one device, and the blocks that wait there for their next epochs."""

    def __init__(self, program: Program, size: int, device: jax.Device) -> None:
        self._device = device
        self._waiting: collections.deque[Block] = collections.deque()
        self._inputs, self._conditional = self._put(program.inputs), self._put(program.conditional)
        programs = lowered(program, size, device)
        self.record = programs[2].out_info  # shapes and dtypes of what is measured
        self._start, self._train, self._measure, *self._estimates = compile_all(programs, device)

    def _put(self, value: Any) -> Any:
        return jax.device_put(value, self._device)

    def _numbers(self, first: int, last: int, learn: bool) -> Any:
        return self._put((np.int32(first), np.int32(last), np.bool_(learn)))

    def start(self, number: int, seeds: npt.NDArray[np.uint32]) -> Block:
        """A block of fresh networks."""
        sample, state = self._start(self._put(seeds), self._inputs, self._conditional)
        return Block(number, 0, 0, sample, state)

    def moved(self, block: Block, logged: int, epoch: int, state: Arrays) -> Block:
        """The same networks as they were later, from the bytes of their state."""
        return Block(block.number, logged, epoch, block.sample, self._put(from_bytes(state, block.state)))

    def add(self, block: Block) -> None:
        """Let a block wait for its next epochs."""
        self._waiting.append(block)

    def waiting(self) -> list[Block]:
        """All blocks that wait."""
        return list(self._waiting)

    def clear(self) -> None:
        """Forget blocks left over by an interrupted run."""
        self._waiting.clear()

    def take(self) -> Block | None:
        """The block that has waited longest, or None where all are finished or in other hands."""
        try:
            return self._waiting.popleft()
        except IndexError:
            return None

    def advance(
        self,
        block: Block,
        logged: tuple[int, ...],
        stop: threading.Event,
        store: Callable[[Block, Record], None],
    ) -> None:
        """Train up to the block's next logged epoch, measure and `store` there, queue the block if more are to come.

        Where `stop` comes first, the block is queued as it is by then.
        """
        epoch, state = logged[block.logged], block.state
        # Before any update there is no epoch to take gradients of: one pass is made without updates.
        pieces = (
            [(0, 1, False)]
            if epoch == 0
            else [(first, min(first + _PIECE, epoch), True) for first in range(block.epoch, epoch, _PIECE)]
        )
        for piece in pieces:
            state = self._train(block.sample, state, self._inputs, *self._numbers(*piece))
            if self._device.platform == "cpu":  # elsewhere the host runs ahead of the device, and should
                jax.block_until_ready(state)
            if stop.is_set() and piece[1] < epoch:
                self._waiting.append(block._replace(epoch=piece[1], state=state))
                return
        record = self._measure(block.sample, state, self._inputs, self._conditional)
        if self._estimates:
            number = self._put(np.int32(epoch))
            rows = [e(block.sample, state.params, number, self._inputs, self._conditional) for e in self._estimates]
            record = record._replace(estimates=np.concatenate([np.asarray(part) for part in rows], axis=1))
        block = Block(block.number, block.logged + 1, epoch, block.sample, state)
        store(block, Record(*map(np.asarray, record)))
        if block.logged < len(logged):
            self._waiting.append(block)


def arguments(program: Program, size: int, device: jax.Device) -> tuple[Any, ...]:
    """Shapes, on a device, of what a block's programs take: seeds, data, sample, state, numbers of epochs."""
    here = jax.sharding.SingleDeviceSharding(device)

    def of(tree: Any) -> Any:
        return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=here), tree)

    seeds, data = of(np.zeros(size, np.uint32)), of((program.inputs, program.conditional))
    sample, state = of(jax.eval_shape(program.start, seeds, *data))
    return seeds, data, sample, state, of((np.int32(0), np.int32(0), np.bool_(True)))


def lowered(program: Program, size: int, device: jax.Device) -> tuple[Any, ...]:
    """Start, train, measure and the further estimates, traced for blocks of one size."""
    seeds, data, sample, state, numbers = arguments(program, size, device)
    return (
        jax.jit(program.start).lower(seeds, *data),
        jax.jit(program.train, donate_argnums=1).lower(sample, state, data[0], *numbers),
        jax.jit(program.measure).lower(sample, state, *data),
        *(jax.jit(estimate).lower(sample, state.params, numbers[0], *data) for estimate in program.estimates),
    )
