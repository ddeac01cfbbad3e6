"""What is said of GPUs without one: the count of a kernel's instructions, and the limits that it must keep."""

from __future__ import annotations

import json
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
        gpu_offline.evaluate(ibjax.Config(activation="softplus"), gpu_offline.target("h100"))


def test_the_paper_s_kernel_keeps_its_limits(tmp_path: Path) -> None:
    """At most 6,000 cycles a minibatch step, nothing spilled, on every target with one pattern or two a thread."""
    import gpu_offline

    if not (gpu_offline.tool("ptxas") and gpu_offline.tool("nvdisasm")):
        pytest.skip("NVIDIA's assembler and disassembler are not here: pip install 'ibjax[gpu-offline]'")
    path = tmp_path / "h100.json"
    gpu_offline.main(["--target", "h100", "--json", str(path)])
    told = json.loads(path.read_text(encoding="utf-8"))
    assert told["target"] == "h100"
    assert told["issue_cycles_per_step"] <= 6000
    assert told["spills"] == 0
    assert told["registers"] <= 255
    # 14 steps of 256 for 3481 patterns, 10,000 epochs, 50 seeds on 132 multiprocessors.
    assert (told["steps"], told["rounds"]) == (140_000, 1)
    assert told["estimated_seconds"] == pytest.approx(told["issue_cycles_per_step"] * 140_000 / 1.98e9)
    every = [gpu_offline.evaluate(ibjax.PRESETS["paper"], gpu_offline.target(name)) for name in ("a100", "l4")]
    assert [row["patterns_of_a_thread"] for row in every] == [2, 1]
    assert all(row["spills"] == 0 and int(row["issue_cycles_per_step"]) <= 6000 for row in every)
