"""What is said of GPUs without one: counts of a kernel's instructions and of a program's launches, and their limits.

The limits need the extra `gpu-offline`, which the gate installs for this file.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import ibjax

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
# Two loops over minibatches between instructions that are no part of them; the first branches forward within.
LISTING = """
        /*0000*/                   MOV R1, c[0x0][0x28] ;
.L_x_0:
        /*0010*/                   IMAD R2, R3, R4, R5 ;
        /*0020*/              @!P0 BRA `(.L_x_1) ;
        /*0030*/                   IMAD R2, R3, R4, R5 ;
.L_x_1:
        /*0040*/                   BAR.SYNC.DEFER_BLOCKING 0x0 ;
        /*0050*/               @P1 BRA `(.L_x_0) ;
        /*0060*/                   EXIT ;
.L_x_2:
        /*0070*/                   HMMA.1688.F32.TF32 R4, R8, R2, R4 ;
        /*0080*/                   BAR.SYNC.DEFER_BLOCKING 0x0 ;
        /*0090*/              @!P4 BRA `(.L_x_2) ;
        /*00a0*/                   EXIT ;
.L_x_3:
        /*00b0*/                   BRA `(.L_x_3) ;
"""
# A loop of 3 turns in one whose end the host decides, a choice, a call, and what costs nothing.
PROGRAM = """
HloModule jit_train, is_scheduled=true

%fused (p.1: s32[]) -> s32[] {
  %p.1 = s32[] parameter(0)
  ROOT %add.1 = s32[] add(%p.1, %p.1)
}

%inner (p.2: (s32[], f32[8])) -> (s32[], f32[8]) {
  %p.2 = (s32[], f32[8]{0}) parameter(0)
  %i.2 = s32[] get-tuple-element(%p.2), index=0
  %loop_fusion = s32[] fusion(%i.2), kind=kLoop, calls=%fused
  %gemm = (f32[8]{0}, s8[64]{0}) custom-call(%i.2), custom_call_target="__cublas$gemm"
  ROOT %t.2 = (s32[], f32[8]{0}) tuple(%loop_fusion, %gemm)
}

%compare (p.3: (s32[], f32[8])) -> pred[] {
  %p.3 = (s32[], f32[8]{0}) parameter(0)
  ROOT %less = pred[] fusion(%p.3), kind=kLoop, calls=%fused
}

%branch (p.4: s32[]) -> s32[] {
  ROOT %copy.4 = s32[] copy(%p.4)
}

%outer (p.5: (s32[], f32[8])) -> (s32[], f32[8]) {
  %p.5 = (s32[], f32[8]{0}) parameter(0)
  %while.5 = (s32[], f32[8]) while(%p.5), condition=%compare, body=%inner, backend_config={"known_trip_count":{"n":"3"}}
  ROOT %copy.5 = (s32[], f32[8]{0}) copy(%while.5)
}

ENTRY %main.9 (a: s32[]) -> s32[] {
  %a = s32[] parameter(0)
  %b = s32[] bitcast(%a)
  %while.6 = (s32[], f32[8]{0}) while(%b), condition=%compare, body=%outer
  %called = s32[] call(%a), to_apply=%branch
  ROOT %chosen = s32[] conditional(%a, %b, %b), branch_computations={%branch, %branch}
}
"""


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_instructions_of_the_loops_are_counted() -> None:
    import gpu_offline

    assert gpu_offline.step_instructions(LISTING) == (3, 5)


@pytest.mark.parametrize(
    "changed",
    [
        LISTING.replace("HMMA.1688.F32.TF32", "FFMA"),
        LISTING.replace("@!P0 BRA `(.L_x_1)", "@!P0 BRA `(.L_x_0)"),
        "",
    ],
    ids=["two that produce", "a loop within", "nothing"],
)
def test_other_listings_are_refused(changed: str) -> None:
    import gpu_offline

    with pytest.raises(ValueError, match="allowed: one of warps that compute, one of warps that produce, none within"):
        gpu_offline.step_instructions(changed)


def test_launches_are_counted() -> None:
    import gpu_launches

    found = gpu_launches.count(PROGRAM)
    # A call and two branches outside; a turn is a copy, a comparison and three turns of two launches.
    assert (found.direct, found.total, found.undecided) == (3, 11, 1)
    assert (found.main_loop.direct, found.main_loop.total) == (2, 8)
    assert (found.main_loop.main_loop.total, found.main_loop.undecided) == (2, 0)
    with pytest.raises(ValueError, match="text without ENTRY; allowed: a program as XLA writes it"):
        gpu_launches.count(PROGRAM.replace("ENTRY ", ""))


def test_targets() -> None:
    import gpu_offline

    h100, l4 = gpu_offline.target("h100"), gpu_offline.target("l4")
    assert (h100.capability, h100.processors, h100.hertz) == ("9.0", 132, 1.98e9)
    assert (l4.capability, l4.processors) == ("8.9", 58)
    with pytest.raises(ValueError, match=r"target = 'v100'; allowed: a100, h100, l4, rtx4090"):
        gpu_offline.target("v100")


def test_what_is_not_fused_is_refused() -> None:
    import gpu_offline

    with pytest.raises(ValueError, match="allowed: what the fused trainer trains"):
        gpu_offline.count_cycles(ibjax.Config(activation="softplus"), gpu_offline.target("h100"))


def test_without_the_compiler_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import gpu_launches

    monkeypatch.setattr(gpu_launches, "compiler_is_here", lambda: False)
    with pytest.raises(RuntimeError, match=r"needs JAX's compiler for GPUs: pip install -e '\.\[gpu-offline\]'"):
        gpu_launches.described_device("")


def needs_the_extra(*, compiler: bool) -> None:
    import gpu_launches
    import gpu_offline

    if not (gpu_offline.tool("ptxas") and gpu_offline.tool("nvdisasm")):
        pytest.skip("NVIDIA's assembler and disassembler are not here: pip install -e '.[gpu-offline]'")
    if compiler and not gpu_launches.compiler_is_here():
        pytest.skip("JAX's compiler for GPUs is not here: pip install -e '.[gpu-offline]'")


def test_the_paper_s_kernel_keeps_its_limits() -> None:
    """At most 6,000 cycles a minibatch step, nothing spilled, on every target with one pattern or two a thread."""
    import gpu_offline

    needs_the_extra(compiler=False)
    every = [gpu_offline.count_cycles(ibjax.PRESETS["paper"], gpu_offline.target(name)) for name in ("a100", "l4")]
    assert [row["patterns_of_a_thread"] for row in every] == [2, 1]
    assert all(row["spills"] == 0 and int(row["issue_cycles_per_step"]) <= 6000 for row in every)


def test_a_paper_run_on_an_h100(tmp_path: Path) -> None:
    """The statements of the documentation, from the command as it stands there."""
    needs_the_extra(compiler=True)
    path = tmp_path / "h100.json"
    # Programs for another machine are no business of the cache of compiled ones.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("JAX_")}
    command = [sys.executable, str(BENCHMARKS / "gpu_offline.py"), "--target", "h100", "--json", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert "nothing was measured" in done.stdout
    told = json.loads(path.read_text(encoding="utf-8"))
    assert told["target"] == "h100"
    assert told["issue_cycles_per_step"] <= 6000
    assert told["spills"] == 0
    assert told["registers"] <= 255
    # 14 steps of 256 for 3481 patterns, 10,000 epochs, 50 seeds on 132 multiprocessors.
    assert (told["steps"], told["rounds"], told["blocks"]) == (140_000, 1, 1)
    assert told["training_seconds"] == pytest.approx(told["issue_cycles_per_step"] * 140_000 / 1.98e9)
    assert told["plain_kernels_per_step"] <= 12
    assert 14 * told["plain_kernels_per_step"] < told["plain_launches_per_epoch"] <= 180
    assert told["launches_per_log"] <= 40
    assert told["loops_the_host_decides_per_log"] == 0
    measuring = told["launches_per_log"] * told["launch_seconds"] * len(ibjax.PRESETS["paper"].logged)
    assert told["training_seconds"] + measuring < told["estimated_seconds"] < told["plain_estimated_seconds"]
