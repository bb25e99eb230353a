"""Compile CUDA source for a GPU: with nvcc to a fatbin, without it with NVRTC to PTX.

No TVM here. nvcc is the machine's, or that of NVIDIA's wheels (``nvidia-cuda-nvcc``); what its
ptxas says of each function is kept.
"""

from __future__ import annotations

import ctypes
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from compiler.errors import ToolchainError
from compiler.nvrtc import compile_ptx, find_nvrtc, nvrtc_version
from compiler.program import DeviceUse
from compiler.toolchain import run_tool_for_messages

_SOURCE, _FATBIN = "kernels.cu", "kernels.fatbin"
# Lines of `ptxas -v` about one function.
_FUNCTION = re.compile(r"Compiling entry function '(\w+)' for")
_SPILLS = re.compile(r"(\d+) bytes spill stores, (\d+) bytes spill loads")
_REGISTERS = re.compile(r"Used (\d+) registers")
_SHARED = re.compile(r"(\d+) bytes smem")


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceImage:
    """Device code of all kernels of a model: what cuModuleLoadData takes."""

    data: bytes
    source: str  # CUDA C++ that it was made from
    uses: dict[str, DeviceUse]  # by device function; empty if no ptxas has seen it
    compiler: str


class DeviceCompiler(Protocol):
    """What makes an image of CUDA source."""

    def compile(self, source: str, arch: str) -> DeviceImage:
        """Return the image for the architecture ``sm_80`` and newer ones.

        Raises:
            ToolchainError: the source is refused.
        """


def find_device_compiler() -> DeviceCompiler:
    """Return nvcc, else NVRTC.

    Raises:
        ToolchainError: there is neither.
    """
    path = shutil.which("nvcc") or _in_a_wheel()
    if path is not None:
        return Nvcc(path)
    nvrtc = find_nvrtc()
    if nvrtc is not None:
        return Nvrtc(nvrtc)
    raise ToolchainError(
        "no CUDA compiler: `nvcc` was not found",
        why="device code for a GPU is made by it, or by the library NVRTC; neither is installed, "
        "for the machine or as a Python package",
        fix="install the CUDA toolkit, or `pip install nvidia-cuda-nvcc`",
    )


def _in_a_wheel() -> str | None:
    """nvcc in one of the packages of the namespace ``nvidia``: cu13, cuda_nvcc."""
    for folder in sys.path:
        for found in sorted(Path(folder).glob("nvidia/*/bin/nvcc")):
            return str(found)
    return None


class Nvcc:
    """Machine code for one architecture, and PTX that newer GPUs translate."""

    def __init__(self, path: str) -> None:
        said = run_tool_for_messages((path, "--version"), folder=None)
        release = next((line for line in said.splitlines() if "release" in line), said)
        self.path = path
        self.version = release.strip()

    def compile(self, source: str, arch: str) -> DeviceImage:
        virtual = arch.replace("sm_", "compute_")
        flags = (
            *("-fatbin", "-O3", "-std=c++17", "-Xptxas", "-v"),
            *("-gencode", f"arch={virtual},code={arch}"),
            *("-gencode", f"arch={virtual},code={virtual}"),
        )
        with TemporaryDirectory(prefix="tunesmith-device-") as name:
            folder = Path(name)
            (folder / _SOURCE).write_text(source, encoding="utf-8")
            command = (self.path, *flags, "-o", _FATBIN, _SOURCE)
            said = run_tool_for_messages(command, folder=folder)
            data = (folder / _FATBIN).read_bytes()
        uses = device_uses(said)
        return DeviceImage(data=data, source=source, uses=uses, compiler=self.version)


class Nvrtc:
    """PTX only: the GPU's driver makes machine code of it when a library is loaded."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    def compile(self, source: str, arch: str) -> DeviceImage:
        data = compile_ptx(self._library, source, arch.replace("sm_", "compute_"))
        version = nvrtc_version(self._library)
        return DeviceImage(data=data, source=source, uses={}, compiler=version)


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
