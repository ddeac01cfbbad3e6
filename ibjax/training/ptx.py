"""The text of the fused trainer for a GPU (PTX): from the package, or compiled here where NVIDIA's NVRTC is at hand.

`kernel/fused.cu` is compiled for the widths of one network, which makes it straight code with everything in registers.
For the networks of the presets its PTX is in the package; for others it is made when they are first asked for, by
NVRTC, a library that comes with `jax[cuda13]`. PTX is the form that any driver translates for the GPU at hand.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import hashlib
import importlib.util
import re
from pathlib import Path
from typing import NamedTuple

from ibjax.networks.perceptron import Perceptron

FOLDER = Path(__file__).parent / "kernel"
# The oldest PTX with all that the kernel uses, which drivers of CUDA 12.0 and newer take, and the oldest such GPUs.
_VERSION, _ARCHITECTURE = "8.0", "compute_80"
# Of a block, by compute capability.
_SHARED_MEMORY = {"8.0": 166_912, "8.7": 166_912, "9.0": 232_448, "10.0": 232_448, "10.3": 232_448}
_LEAST_SHARED_MEMORY = 101_376
OPTIONS = ("-std=c++17", f"-arch={_ARCHITECTURE}")


class NoKernelError(RuntimeError):
    """There is none for a network on a device, and the message says why."""


class Variant(NamedTuple):
    """What a kernel is written for.

    Attributes:
      network: its widths, activation and output.
      adam: Adam, or else plain gradient descent.
      noise: whether the hidden activations are noisy.
      patterns: of a thread at a time, 1 or 2: two read each weight half as often, and take more memory and registers.
    """

    network: Perceptron
    adam: bool = False
    noise: bool = False
    patterns: int = 2

    @property
    def name(self) -> str:
        """Of a file that holds its PTX."""
        network, widths = self.network, "-".join(map(str, self.network.widths))
        optimizer, noise = ("adam" if self.adam else "sgd"), (".noise" if self.noise else "")
        return f"{widths}.{network.activation}.{network.output}.{optimizer}{noise}.{self.patterns}.ptx"


class Kernel(NamedTuple):
    """A compiled kernel.

    Attributes:
      variant: what it is for.
      text: PTX.
      memory_bytes: of shared memory that a block takes.
    """

    variant: Variant
    text: str
    memory_bytes: int


def source(variant: Variant) -> str:
    """CUDA C++ of a kernel."""
    network = variant.network
    settings = {
        "WIDTHS": ", ".join(map(str, network.widths)),
        "PATTERNS": variant.patterns,
        "RELU": int(network.activation == "relu"),
        "SOFTMAX": int(network.output == "softmax"),
        "ADAM": int(variant.adam),
        "NOISE": int(variant.noise),
    }
    defined = "".join(f"#define {name} {value}\n" for name, value in settings.items())
    return defined + (FOLDER / "fused.cu").read_text(encoding="utf-8")


def portable(ptx: str, cuda: str) -> str:
    """A compiler's PTX for every driver: its version is that of the oldest, and what it was made from stands first."""
    body = re.sub(r"^\.version .*$", f".version {_VERSION}", ptx.strip("\0\n"), count=1, flags=re.MULTILINE)
    tools = re.findall(r"release .*", body)
    # Which bytes of a load are used is a hint, of a later version.
    body = re.sub(r'^(//|\s*\.pragma "used_bytes_mask).*\n', "", body, flags=re.MULTILINE).strip()
    return f"// sha256 of the source: {hashlib.sha256(cuda.encode()).hexdigest()}\n// CUDA {' '.join(tools)}\n{body}\n"


@functools.cache
def kernel(variant: Variant) -> Kernel:
    """A kernel.

    Raises:
      NoKernelError: it is neither in the package nor can it be made.
    """
    cuda, path = source(variant), FOLDER / variant.name
    text = path.read_text(encoding="utf-8") if path.exists() else portable(_compile(cuda), cuda)
    return Kernel(variant, text, memory_bytes(text))


def fitting(network: Perceptron, capability: str, *, adam: bool, noise: bool) -> Kernel:
    """The kernel for a network on GPUs of a compute capability ("9.0").

    Raises:
      NoKernelError: such GPUs lack what it needs, or it can't be made here.
    """
    if not re.fullmatch(r"\d+\.\d+", capability) or float(capability) < 8:
        raise NoKernelError(f"compute capability {capability}; allowed: NVIDIA's, 8.0 or newer")
    room = _SHARED_MEMORY.get(capability, _LEAST_SHARED_MEMORY)
    # Noise makes long code, and the processor keeps only so much of it at hand.
    for patterns in (1,) if noise else (2, 1):
        found = kernel(Variant(network, adam, noise, patterns))
        if found.memory_bytes <= room:
            return found
    raise NoKernelError(
        f"layers of {network.widths} take {found.memory_bytes} bytes of a multiprocessor; allowed: {room}"
    )


def memory_bytes(text: str) -> int:
    """Shared memory of a block, which the kernel's text tells."""
    found = re.search(r"memory_bytes = (\d+)", text)
    if found is None:
        raise ValueError("PTX without memory_bytes; allowed: that of kernel/fused.cu")
    return int(found[1])


def _nvrtc() -> ctypes.CDLL:
    """The library, from the packages that jax brings, or from the system."""
    found = importlib.util.find_spec("nvidia")
    folders = [] if found is None else list(found.submodule_search_locations or [])
    paths = [str(path) for folder in folders for path in sorted(Path(folder).glob("**/libnvrtc.so.*"))]
    for path in (*paths, ctypes.util.find_library("nvrtc")):
        if path is not None:
            try:
                return ctypes.CDLL(path)
            except OSError:  # for another system, or without what it needs
                continue
    raise NoKernelError("NVRTC, the compiler that comes with jax[cuda13], is not at hand")


def _compile(cuda: str) -> str:
    """PTX of CUDA C++ by NVRTC."""
    library, program = _nvrtc(), ctypes.c_void_p()
    options = [option.replace("-arch=", "--gpu-architecture=").encode() for option in OPTIONS]
    library.nvrtcCreateProgram(ctypes.byref(program), cuda.encode(), b"fused.cu", 0, None, None)
    try:
        failed = library.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
        what, size = ("ProgramLog" if failed else "PTX"), ctypes.c_size_t()
        getattr(library, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
        text = ctypes.create_string_buffer(size.value)
        getattr(library, f"nvrtcGet{what}")(program, text)
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))
    if failed:
        raise NoKernelError(f"NVRTC does not compile the fused trainer: {text.value.decode()}")
    return text.value.decode()
