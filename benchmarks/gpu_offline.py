"""What a run takes of a GPU that is not here: its kernel's instructions, and the launches of its compiled programs.

The fused kernel is straight code, so its instructions can be counted in what NVIDIA's assembler makes of it. A
multiprocessor has four schedulers, each of which issues one instruction a cycle at most, to one of its two warps: one
that computes, one that fetches and updates. So the instructions of both loops over the minibatches are the fewest
cycles a step can take; waiting for results comes on top.

All else is a row of launches (`gpu_launches`), each of which takes some microseconds whatever it computes. How many is
an assumption, `--launch-seconds`; times are estimates, nothing was measured.

    python benchmarks/gpu_offline.py [--target h100] [--preset paper] [--launch-seconds 4e-6] [--json FILE]

Needs NVIDIA's assembler and disassembler and JAX's compiler for GPUs, all in the extra `gpu-offline`, on Linux:

    pip install -e ".[gpu-offline]"
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from gpu_launches import described_device, expect_no_gpu, launches

from ibjax import PRESETS, Config
from ibjax.ensemble.assemble import assemble
from ibjax.ensemble.blocks import block_size
from ibjax.ensemble.program import Program
from ibjax.networks.perceptron import Perceptron
from ibjax.training.fused import EPOCHS_PER_LAUNCH, FusedTrainer, gpu_launch, supports
from ibjax.training.ptx import Kernel, fitting

TARGETS = Path(__file__).parent / "gpu_targets"
LAUNCH_SECONDS = 4e-6  # an assumption: what one launch takes, of those that compute little
_COMPUTING = 128  # threads of a block that compute
# Operations that only the loops over minibatches have, and that only the one of warps that compute has.
_STEP_MARK, _COMPUTER_MARK = "BAR", "HMMA"


class Target(NamedTuple):
    """A GPU.

    Attributes:
      name: of its file in `gpu_targets`.
      capability: compute capability, "9.0".
      processors: multiprocessors.
      hertz: the clock at its fastest.
      text: its description, as XLA takes it.
    """

    name: str
    capability: str
    processors: int
    hertz: float
    text: str


class Assembled(NamedTuple):
    """A kernel in a GPU's own code.

    Attributes:
      registers: of a thread.
      spills: bytes of registers that had to go to memory, stored or loaded.
      instructions: of the two loops over the minibatches: one of warps that compute, one of warps that produce.
    """

    registers: int
    spills: int
    instructions: tuple[int, int]


def target(name: str) -> Target:
    """A GPU by name.

    Raises:
      ValueError: there is no such file.
    """
    names = sorted(path.stem for path in TARGETS.glob("*.txt"))
    if name not in names:
        raise ValueError(f"target = {name!r}; allowed: {', '.join(names)}")
    text = (TARGETS / f"{name}.txt").read_text(encoding="utf-8")

    def number(pattern: str) -> str:
        found = re.search(pattern + r"\s*:?\s*([\d.]+)", text)
        if found is None:
            raise ValueError(f"{name}.txt lacks {pattern}")
        return found[1]

    capability = re.search(r"cuda_compute_capability\s*{\s*major:\s*(\d+)(?:\s*minor:\s*(\d+))?", text)
    if capability is None:
        raise ValueError(f"{name}.txt lacks cuda_compute_capability")
    return Target(
        name,
        f"{capability[1]}.{capability[2] or 0}",
        int(number("core_count")),
        float(number("clock_rate_ghz")) * 1e9,
        text,
    )


def tool(name: str) -> str | None:
    """A program of the CUDA toolkit: from the packages that pip installs, or on the path; None where it is neither."""
    found = importlib.util.find_spec("nvidia")
    folders = [] if found is None else list(found.submodule_search_locations or [])
    programs = [str(path) for folder in folders for path in sorted(Path(folder).glob(f"*/bin/{name}"))]
    return next(iter(programs), shutil.which(name))


def assemble_for(kernel: Kernel, capability: str) -> Assembled:
    """Assemble a kernel for one kind of GPU, and count.

    Raises:
      RuntimeError: a program is missing, or does not take the kernel.
    """
    assembler, disassembler = tool("ptxas"), tool("nvdisasm")
    if assembler is None or disassembler is None:
        raise RuntimeError("needs ptxas and nvdisasm: pip install -e '.[gpu-offline]'")
    with tempfile.TemporaryDirectory() as folder:
        text, binary = Path(folder) / "kernel.ptx", Path(folder) / "kernel.cubin"
        text.write_text(kernel.text, encoding="utf-8")
        told = _run(assembler, f"-arch=sm_{capability.replace('.', '')}", "-v", "-o", binary, text)
        listing = _run(disassembler, binary)
    registers = re.search(r"Used (\d+) registers", told)
    spills = re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", told)
    if registers is None or spills is None:
        raise RuntimeError(f"the assembler does not tell registers and spills: {told}")
    return Assembled(int(registers[1]), int(spills[1]) + int(spills[2]), step_instructions(listing))


def _run(*command: str | Path) -> str:
    """What a program prints."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]}: {done.stderr.strip()}")
    return done.stdout + done.stderr


def step_instructions(listing: str) -> tuple[int, int]:
    """Instructions of the loops over the minibatches in a disassembled kernel: of warps that compute and that produce.

    Everything between a loop's first instruction and its last counts once, also what is seldom reached.

    Raises:
      ValueError: the listing has not just these two loops, or they have loops within, whose turns are not known.
    """
    operations: list[str] = []
    labels: dict[str, int] = {}
    loops = []
    for line in listing.splitlines():
        if label := re.match(r"(\.L\S*):", line):
            labels[label[1]] = len(operations)
        elif found := re.match(r"\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)(.*?);", line):
            operations.append(found[1])
            goal = re.search(r"\.L[\w.]+", found[2])
            if found[1].startswith("BRA") and goal and goal[0] in labels and labels[goal[0]] < len(operations) - 1:
                loops.append((labels[goal[0]], len(operations)))

    def holds(loop: tuple[int, int], mark: str) -> bool:
        return any(operation.startswith(mark) for operation in operations[slice(*loop)])

    steps = [loop for loop in loops if holds(loop, _STEP_MARK)]
    inner = [loop for loop in loops for step in steps if step[0] <= loop[0] and loop[1] <= step[1] and loop != step]
    computing = [end - start for start, end in steps if holds((start, end), _COMPUTER_MARK)]
    producing = [end - start for start, end in steps if not holds((start, end), _COMPUTER_MARK)]
    if inner or len(computing) != 1 or len(producing) != 1:
        raise ValueError(f"loops {loops}; allowed: one of warps that compute, one of warps that produce, none within")
    return computing[0], producing[0]


def built_in(program: Program) -> Perceptron:
    """The network of a configuration."""
    widths = (*program.inputs.shape[1:], *program.model.layer_widths)
    return Perceptron(widths, program.config.activation, program.config.output)


def fused_kernel(program: Program, gpu: Target) -> Kernel:
    """The kernel that trains a configuration on a GPU.

    Raises:
      ValueError: the configuration is not one that the fused trainer trains.
      NoKernelError: there is none.
    """
    config, network = program.config, built_in(program)
    noise = bool(np.any(config.noise))
    if not supports(network, program.trainer, noise=noise):
        raise ValueError(f"{config!r}; allowed: what the fused trainer trains")
    return fitting(network, gpu.capability, adam=config.optimizer == "adam", noise=noise)


def count_cycles(config: Config, gpu: Target) -> dict[str, str | int | float]:
    """What the kernel of a configuration takes of a GPU; integers are counts, spills and memory in bytes.

    Raises:
      ValueError: the configuration is not one that the fused trainer trains, or its kernel is no straight code.
      NoKernelError, RuntimeError: there is no kernel, or no program to count with.
    """
    program = assemble(config)
    kernel = fused_kernel(program, gpu)
    assembled = assemble_for(kernel, gpu.capability)
    batch, n = program.trainer.batch_size, program.trainer.n_train
    cycles = -(-batch // (_COMPUTING * kernel.variant.patterns)) * sum(assembled.instructions)
    # Rounds: of seeds over the multiprocessors.
    steps, rounds = -(-n // batch) * config.epochs, -(-len(config.seed_list) // gpu.processors)
    return {
        "target": gpu.name,
        "issue_cycles_per_step": cycles,
        "registers": assembled.registers,
        "spills": assembled.spills,
        "shared_memory": kernel.memory_bytes,
        "patterns_of_a_thread": kernel.variant.patterns,
        "steps": steps,
        "rounds": rounds,
        "training_seconds": cycles * steps * rounds / gpu.hertz,
    }


def count_launches(config: Config, gpu: Target) -> dict[str, int]:
    """Launches of the programs of a configuration on a GPU, for each block of seeds, by the plain path and the fused.

    Raises:
      ValueError, NoKernelError, RuntimeError: as `count_cycles`.
    """
    program = assemble(config)
    launch = gpu_launch(fused_kernel(program, gpu))
    fused = FusedTrainer(program.trainer, learning_rate=0.0, launch=launch)
    device = described_device(gpu.text)
    found = launches(dataclasses.replace(program, fused=fused), device)
    epoch = found["train"].main_loop
    calls = -(-config.epochs // (len(config.logged) * EPOCHS_PER_LAUNCH))
    return {
        "blocks": -(-len(config.seed_list) // block_size(device)),
        "launches_at_start": found["start"].total,
        "plain_kernels_per_step": epoch.main_loop.total,
        "plain_launches_per_epoch": epoch.total,
        "fused_launches_between_logs": found["fused"].direct + calls * found["fused"].main_loop.total,
        "launches_per_log": found["measure"].total,
        "loops_the_host_decides_per_log": found["measure"].undecided,
    }


def evaluate(config: Config, gpu: Target, launch_seconds: float = LAUNCH_SECONDS) -> dict[str, str | int | float]:
    """Both counts, and what they come to for the whole run; see `FORMULA`.

    Raises:
      ValueError, NoKernelError, RuntimeError: as `count_cycles`.
    """
    cycles, counted = count_cycles(config, gpu), count_launches(config, gpu)
    blocks, logs = counted["blocks"], len(config.logged)
    measuring = logs * counted["launches_per_log"]
    fused, plain = logs * counted["fused_launches_between_logs"], config.epochs * counted["plain_launches_per_epoch"]
    return {
        **cycles,
        **counted,
        "launch_seconds": launch_seconds,
        "estimated_seconds": float(cycles["training_seconds"]) + blocks * (fused + measuring) * launch_seconds,
        "plain_estimated_seconds": blocks * (plain + measuring) * launch_seconds,
    }


FORMULA = """\
training_seconds = issue_cycles_per_step x steps x rounds / clock: a lower bound, waiting for results comes on top
estimated_seconds = training_seconds + blocks x logged epochs
    x (fused_launches_between_logs + launches_per_log) x launch_seconds
plain_estimated_seconds = blocks
    x (epochs x plain_launches_per_epoch + logged epochs x launches_per_log) x launch_seconds
launch_seconds is an assumption; nothing was measured"""


def main(arguments: Sequence[str] | None = None) -> None:
    names = sorted(path.stem for path in TARGETS.glob("*.txt"))
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--target", choices=names, action="append", help="a GPU; all where none is named")
    options.add_argument("--preset", choices=sorted(PRESETS), default="paper", help="what to train")
    options.add_argument("--launch-seconds", type=float, default=LAUNCH_SECONDS, help="of one launch (%(default)s)")
    options.add_argument("--json", metavar="FILE", help="write the results there: of one target an object, else a list")
    chosen = options.parse_args(arguments)
    expect_no_gpu()
    rows = []
    for name in chosen.target or names:
        row = evaluate(PRESETS[chosen.preset], target(name), chosen.launch_seconds)
        rows.append(row)
        for key, value in row.items():
            print(f"{key:30} {value:.4g}" if isinstance(value, float) else f"{key:30} {value}")
        print()
    print(FORMULA)
    if chosen.json:
        Path(chosen.json).write_text(json.dumps(rows[0] if len(rows) == 1 else rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
