"""The kernels in the package: made from the source beside them, accepted by NVIDIA's assembler, nothing spilled.

`python tests/test_ptx.py` makes them anew, with the nvcc on the path.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from ibjax.config import Config
from ibjax.networks.perceptron import Perceptron
from ibjax.presets import PRESETS
from ibjax.training import ptx
from ibjax.training.ptx import FOLDER, OPTIONS, Kernel, NoKernelError, Variant, fitting, kernel, portable, source

ARCHITECTURES = ("sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120")  # Ampere to Blackwell

needs_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="NVIDIA's compiler is not on the path")
needs_ptxas = pytest.mark.skipif(shutil.which("ptxas") is None, reason="NVIDIA's assembler is not on the path")


def network_of(config: Config) -> Perceptron:
    """The network of a configuration, on the paper's task."""
    outputs = 1 if config.output == "sigmoid" else 2
    return Perceptron((12, *config.hidden_widths, outputs), config.activation, config.output)


VARIANTS = {
    variant.name: variant
    for config in PRESETS.values()
    for patterns in (1, 2)
    for variant in [Variant(network_of(config), config.optimizer == "adam", patterns=patterns)]
}


def compile_by_nvcc(variant: Variant) -> str:
    """A kernel's PTX as the package holds it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fused.cu"
        path.write_text(source(variant), encoding="utf-8")
        subprocess.run(["nvcc", *OPTIONS, "-ptx", "-o", path.with_suffix(".ptx"), path], check=True)
        return portable(path.with_suffix(".ptx").read_text(encoding="utf-8"), source(variant))


def test_the_package_has_the_kernels_of_the_presets() -> None:
    assert {path.name for path in FOLDER.glob("*.ptx")} == set(VARIANTS)
    assert {path.name for path in FOLDER.iterdir()} == {*VARIANTS, "fused.cu"}


@pytest.mark.parametrize("name", VARIANTS)
def test_kernels_are_made_from_the_source_beside_them(name: str) -> None:
    """If this fails, the source has changed: `python tests/test_ptx.py`."""
    text = (FOLDER / name).read_text(encoding="utf-8")
    made_from = hashlib.sha256(source(VARIANTS[name]).encode()).hexdigest()
    assert text.startswith(f"// sha256 of the source: {made_from}\n")
    # Drivers of CUDA 12.0 take it, and the oldest GPUs with the operations that it uses.
    assert ".version 8.0\n.target sm_80\n" in text
    assert kernel(VARIANTS[name]) == Kernel(VARIANTS[name], text, ptx.memory_bytes(text))


@needs_nvcc
@pytest.mark.parametrize("name", VARIANTS)
def test_the_compiler_makes_the_same_again(name: str) -> None:
    """Where it is the one that made them: another release orders instructions in another way."""
    stored, made = (FOLDER / name).read_text(encoding="utf-8"), compile_by_nvcc(VARIANTS[name])
    if stored.splitlines()[1] != made.splitlines()[1]:
        pytest.skip(f"{made.splitlines()[1]} here, {stored.splitlines()[1]} there")
    assert made == stored


@needs_ptxas
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("name", VARIANTS)
def test_the_assembler_takes_them_and_spills_nothing(name: str, architecture: str, tmp_path: Path) -> None:
    command = ["ptxas", f"-arch={architecture}", "-v", "-o", str(tmp_path / "out"), str(FOLDER / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "0 bytes spill stores, 0 bytes spill loads" in done.stderr
    registers = re.search(r"Used (\d+) registers", done.stderr)
    assert registers is not None
    assert int(registers[1]) * 256 <= 65536  # a block of 256 threads


def test_the_kernel_that_fits() -> None:
    """Two patterns a thread where a multiprocessor has the memory, one elsewhere, none where even that is too much."""
    paper = network_of(PRESETS["paper"])
    large, small = (fitting(paper, capability, adam=False, noise=False) for capability in ("9.0", "8.9"))
    assert large == kernel(Variant(paper, patterns=2))
    assert small == kernel(Variant(paper, patterns=1))
    assert small.memory_bytes <= 101_376 < large.memory_bytes <= 166_912
    assert fitting(paper, "12.0", adam=False, noise=False) == small


@pytest.mark.parametrize("capability", ["7.5", "of a cpu", "gfx942"])
def test_other_devices_have_none(capability: str) -> None:
    with pytest.raises(NoKernelError, match=f"compute capability {capability}; allowed: NVIDIA's, 8"):
        fitting(network_of(PRESETS["paper"]), capability, adam=False, noise=False)


class FakeNvrtc:
    """NVRTC as far as it is called; what it "compiles" tells what it was given."""

    def __init__(self, memory: int, failure: str = "") -> None:
        self.memory, self.failure, self.source = memory, failure, ""
        self.options: list[str] = []

    def nvrtcCreateProgram(self, program: Any, text: bytes, *_: Any) -> int:  # noqa: N802 # the library's name
        self.source = text.decode()
        return 0

    def nvrtcCompileProgram(self, program: Any, count: int, options: Any) -> int:  # noqa: N802
        self.options = [options[i].decode() for i in range(count)]
        return 6 if self.failure else 0

    def _text(self) -> bytes:
        text = f"//\n// tools, release 99, V99\n\n.version 9.9\nmemory_bytes = {self.memory};\n"
        return (self.failure or text).encode()

    def _size(self, program: Any, size: Any) -> int:
        size._obj.value = len(self._text()) + 1
        return 0

    def _get(self, program: Any, buffer: Any) -> int:
        buffer.value = self._text()
        return 0

    nvrtcGetPTXSize = nvrtcGetProgramLogSize = _size  # noqa: N815
    nvrtcGetPTX = nvrtcGetProgramLog = _get  # noqa: N815

    def nvrtcDestroyProgram(self, program: Any) -> int:  # noqa: N802
        return 0


def test_other_widths_are_compiled_by_nvrtc(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel.cache_clear()
    library = FakeNvrtc(100_000)
    monkeypatch.setattr(ptx, "_nvrtc", lambda: library)
    network = Perceptron((9, 5, 1), "relu")
    found = fitting(network, "8.6", adam=True, noise=False)
    assert found.memory_bytes == 100_000
    assert found.text.splitlines()[1:] == ["// CUDA release 99, V99", ".version 8.0", "memory_bytes = 100000;"]
    assert library.options == ["-std=c++17", "--gpu-architecture=compute_80"]
    assert library.source.startswith("#define WIDTHS 9, 5, 1\n#define PATTERNS 2\n#define RELU 1\n")
    library.memory = 300_000
    with pytest.raises(NoKernelError, match=r"layers of \(9, 6, 1\) take 300000 bytes.*; allowed: 232448"):
        fitting(Perceptron((9, 6, 1)), "9.0", adam=False, noise=False)
    library.failure = "error: no such thing"
    with pytest.raises(NoKernelError, match="does not compile the fused trainer: error: no such thing"):
        fitting(Perceptron((9, 7, 1)), "9.0", adam=False, noise=True)
    assert "#define NOISE 1\n" in library.source
    assert "#define PATTERNS 1\n" in library.source
    kernel.cache_clear()


def test_without_nvrtc_there_is_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("ctypes.util.find_library", lambda name: None)
    with pytest.raises(NoKernelError, match=r"NVRTC, the compiler that comes with jax\[cuda13\], is not at hand"):
        fitting(Perceptron((9, 8, 1)), "9.0", adam=False, noise=False)


if __name__ == "__main__":
    for old in FOLDER.glob("*.ptx"):
        old.unlink()
    for new in VARIANTS.values():
        (FOLDER / new.name).write_text(compile_by_nvcc(new), encoding="utf-8")
    sys.exit(0)
