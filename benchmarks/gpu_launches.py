"""What XLA makes of a run for a GPU that is not here: programs compiled for a described target, and their launches.

A launch is whatever the host asks of the GPU one by one: a fusion, a copy, a fill, a call of a library, which counts
once, though that of a sort may launch several kernels. Needs the compiler for GPUs that `jax[cuda13-local]` brings, of
JAX's own version: `pip install -e ".[gpu-offline]"`.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import re
from collections.abc import Iterable
from typing import NamedTuple

import jax
from jax.experimental import topologies

from ibjax.ensemble.blocks import block_size, lower, precision
from ibjax.ensemble.program import Program

# Of these the host does by itself, or does nothing.
_FREE = frozenset({"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "copy-done"})
_INSTRUCTION = re.compile(r"\s+(?:ROOT )?%\S+ = (?:\(.*?\)|\S+) ([a-z][a-z0-9-]*)\(")


class Launches(NamedTuple):
    """Launches of a program, or of one turn of a loop.

    Attributes:
      direct: outside all loops.
      loops: those within.
    """

    direct: int
    loops: tuple[Loop, ...]

    @property
    def total(self) -> int:
        """With all turns of all loops; of a loop whose turns the program does not tell, one."""
        return self.direct + sum((loop.turns or 1) * loop.turn.total for loop in self.loops)

    @property
    def undecided(self) -> int:
        """Loops of which the host has to ask, turn by turn, whether they go on."""
        return sum((loop.turns is None) + loop.turn.undecided for loop in self.loops)

    @property
    def main_loop(self) -> Launches:
        """A turn of the loop that launches most.

        Raises:
          ValueError: there is no loop.
        """
        return max(self.loops, key=lambda loop: (loop.turns or 1) * loop.turn.total).turn


class Loop(NamedTuple):
    """A loop: its turns, None where the program does not tell, and the launches of a turn."""

    turns: int | None
    turn: Launches


def count(text: str) -> Launches:
    """Launches of a compiled program, given as XLA writes it (`compiled.as_text()`).

    Raises:
      ValueError: there is no program in it.
    """
    computations: dict[str, list[str]] = {}
    entry, lines = None, []
    for line in text.splitlines():
        if found := re.match(r"(ENTRY )?%(\S+) \(.*\{$", line):
            lines = computations.setdefault(found[2], [])
            entry = found[2] if found[1] else entry
        else:
            lines.append(line)
    if entry is None:
        raise ValueError("text without ENTRY; allowed: a program as XLA writes it")
    return _count(computations, [entry])


def _count(computations: dict[str, list[str]], names: Iterable[str]) -> Launches:
    """Launches of some computations together."""
    direct, loops = 0, []
    for line in (line for name in names for line in computations[name]):
        operation = _INSTRUCTION.match(line)
        if operation is None or operation[1] in _FREE:
            continue
        called = dict(re.findall(r"(condition|body|to_apply)=%([^\s,]+)", line))
        if operation[1] == "while":
            turns = re.search(r'"known_trip_count":\{"n":"(\d+)"', line)
            of_a_turn = [called["body"]] if turns else [called["body"], called["condition"]]
            loops.append(Loop(int(turns[1]) if turns else None, _count(computations, of_a_turn)))
        elif operation[1] in ("call", "conditional"):  # of a choice all branches count
            branches = re.search(r"(?:branch_computations=\{|true_computation=)([^}]*)", line)
            inner = re.findall(r"%([^\s,}]+)", branches[1]) if branches else [called["to_apply"]]
            within = _count(computations, inner)
            direct, loops = direct + within.direct, [*loops, *within.loops]
        else:
            direct += 1
    return Launches(direct, tuple(loops))


def expect_no_gpu() -> None:
    """To be called before JAX looks for devices: it runs on the CPU, and loads its compiler for GPUs without CUDA."""
    os.environ.setdefault("JAX_SKIP_CUDA_CONSTRAINTS_CHECK", "1")
    jax.config.update("jax_platforms", "cpu")


def described_device(target: str) -> jax.Device:
    """A GPU to compile for, from the text of its description, after `expect_no_gpu`; nothing is there to run on.

    Raises:
      RuntimeError: the compiler for GPUs is missing.
    """
    if not compiler_is_here():
        raise RuntimeError("needs JAX's compiler for GPUs: pip install -e '.[gpu-offline]'")
    described = topologies.get_topology_desc("described", "cuda", target_config=target, topology="1x1x1")
    return described.devices[0]


def compiler_is_here() -> bool:
    """Whether JAX can compile for GPUs."""
    return importlib.util.find_spec("jax_plugins") is not None and any(
        importlib.util.find_spec(f"jax_plugins.{name}") is not None for name in ("xla_cuda13", "xla_cuda12")
    )


def launches(program: Program, device: jax.Device) -> dict[str, Launches]:
    """Launches of a run's programs for a block: "start", "train" on the plain path, "fused" if it has it, "measure"."""
    with precision(program.config):
        size = block_size(device)
        plain = dataclasses.replace(program, fused=None, measurements=())
        lowered = lower(plain, size, device)
        if program.fused is not None:
            lowered["fused"] = lower(program, size, device, measure=False)["train"]
        return {name: count(each.compile().as_text()) for name, each in lowered.items()}
