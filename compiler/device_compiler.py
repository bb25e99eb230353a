"""Find nvcc and compile CUDA source to a fatbin; what ptxas says of each kernel is kept.

No TVM here. nvcc is the machine's, or that of NVIDIA's wheels (``nvidia-cuda-nvcc``).
"""

from __future__ import annotations

import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from compiler.errors import ToolchainError
from compiler.program import DeviceUse
from compiler.toolchain import run_tool_for_messages

_SOURCE, _FATBIN = "kernels.cu", "kernels.fatbin"
# Lines of `ptxas -v` about one function.
_FUNCTION = re.compile(r"Compiling entry function '(\w+)' for")
_SPILLS = re.compile(r"(\d+) bytes spill stores, (\d+) bytes spill loads")
_REGISTERS = re.compile(r"Used (\d+) registers")
_SHARED = re.compile(r"(\d+) bytes smem")


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceCompiler:
    """nvcc, as the words of a command, and what it says of itself."""

    command: tuple[str, ...]
    version: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceImage:
    """Device code of all kernels of a model: what cuModuleLoadData takes."""

    data: bytes
    source: str  # CUDA C++ that it was made from
    uses: dict[str, DeviceUse]  # by device function
    compiler: str


def find_device_compiler() -> DeviceCompiler:
    """Return nvcc.

    Raises:
        ToolchainError: there is none.
    """
    path = shutil.which("nvcc") or _in_a_wheel()
    if path is None:
        raise ToolchainError(
            "no CUDA compiler: `nvcc` was not found",
            why="device code for a GPU is made by it, and it is neither on the PATH nor installed "
            "as a Python package",
            fix="install the CUDA toolkit, or `pip install nvidia-cuda-nvcc`",
        )
    said = run_tool_for_messages((path, "--version"), folder=None)
    release = next((line for line in said.splitlines() if "release" in line), said.strip())
    return DeviceCompiler(command=(path,), version=release.strip())


def _in_a_wheel() -> str | None:
    """nvcc in one of the packages of the namespace ``nvidia``: cu13, cuda_nvcc."""
    for folder in sys.path:
        for found in sorted(Path(folder).glob("nvidia/*/bin/nvcc")):
            return str(found)
    return None


def compile_device_code(compiler: DeviceCompiler, source: str, arch: str) -> DeviceImage:
    """Return the fatbin: machine code for `arch` and PTX that newer GPUs translate.

    Args:
        arch: ``sm_80``.

    Raises:
        ToolchainError: nvcc or ptxas refuses the source.
    """
    virtual = arch.replace("sm_", "compute_")
    flags = (
        *("-fatbin", "-O3", "-std=c++17", "--compress-mode=size", "-Xptxas", "-v"),
        *("-gencode", f"arch={virtual},code={arch}", "-gencode", f"arch={virtual},code={virtual}"),
    )
    with TemporaryDirectory(prefix="tunesmith-device-") as name:
        folder = Path(name)
        (folder / _SOURCE).write_text(source, encoding="utf-8")
        command = (*compiler.command, *flags, "-o", _FATBIN, _SOURCE)
        said = run_tool_for_messages(command, folder=folder)
        data = (folder / _FATBIN).read_bytes()
    return DeviceImage(data=data, source=source, uses=device_uses(said), compiler=compiler.version)


def device_uses(messages: str) -> dict[str, DeviceUse]:
    """Return what ``ptxas -v`` says of each function."""
    uses = {}
    for part in re.split(r"(?=Compiling entry function)", messages):
        function, spills = _FUNCTION.search(part), _SPILLS.search(part)
        registers, shared = _REGISTERS.search(part), _SHARED.search(part)
        if function is None or registers is None:
            continue
        uses[function[1]] = DeviceUse(
            registers=int(registers[1]),
            shared_bytes=int(shared[1]) if shared else 0,
            spill_bytes=int(spills[1]) + int(spills[2]) if spills else 0,
        )
    return uses
