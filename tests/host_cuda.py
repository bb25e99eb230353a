"""CUDA C++ on this machine's processor: `tests/c/cuda_on_host.h` has what a kernel uses of CUDA."""

from __future__ import annotations

import ctypes
import re
import subprocess
from collections.abc import Sequence
from ctypes import c_int, c_void_p
from pathlib import Path

import numpy as np

from compiler.kernels.gpu.source import own_functions

_HEADERS = Path(__file__).parent / "c"
_FLAGS = (
    "-std=c++17",
    "-O1",
    "-fno-strict-aliasing",
    "-ffp-contract=off",
    "-shared",
    "-fPIC",
    "-w",
)


class HostCuda:
    """A device for `run_opencl` whose memory is the host's."""

    def __init__(self, folder: Path, arch: int = 800) -> None:
        self._folder = folder
        self._arch = f"-D__CUDA_ARCH__={arch}"
        self._blocks: dict[int, ctypes.Array[ctypes.c_char]] = {}
        self._count = 0

    def buffer(self, size_bytes: int) -> c_void_p:
        block = ctypes.create_string_buffer(max(size_bytes, 1))
        address = ctypes.addressof(block)
        self._blocks[address] = block
        return c_void_p(address)

    def write(self, buffer: c_void_p, array: np.ndarray) -> None:
        assert array.flags.c_contiguous
        ctypes.memmove(buffer, array.ctypes.data, array.nbytes)

    def read(self, buffer: c_void_p, array: np.ndarray) -> None:
        assert array.flags.c_contiguous
        ctypes.memmove(array.ctypes.data, buffer, array.nbytes)

    def free(self, buffer: c_void_p) -> None:
        assert buffer.value is not None
        del self._blocks[buffer.value]

    def program(self, source: str) -> ctypes.CDLL:
        """Compile a CUDA file; its kernels are started through functions made for them."""
        self._count += 1
        kernels = source[source.index('extern "C" __global__') :]  # after what TVM asks of CUDA
        source = f"{own_functions(kernels)}\n{kernels}"
        file = self._folder / f"kernel{self._count}.cpp"
        starts = "".join(
            f'extern "C" void run_{symbol}(const int *grid, const int *block, void **arguments) '
            f"{{ host::run({symbol}, grid, block, arguments); }}\n"
            for symbol in _symbols(source)
        )
        file.write_text(f'#include "cuda_on_host.h"\n{source}\n{starts}', encoding="utf-8")
        library = file.with_suffix(".so")
        command = ["c++", *_FLAGS, self._arch, f"-I{_HEADERS}", "-o", str(library), str(file)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return ctypes.CDLL(str(library))

    def launch(
        self,
        program: ctypes.CDLL,
        symbol: str,
        grid: Sequence[int],
        block: Sequence[int],
        arguments: Sequence[c_void_p],
    ) -> None:
        pointers = (c_void_p * len(arguments))(*arguments)
        program[f"run_{symbol}"]((c_int * 3)(*grid), (c_int * 3)(*block), pointers)


def _symbols(source: str) -> list[str]:
    """Kernels that a CUDA file declares, as TVM writes it."""
    return re.findall(r"__global__ .*?(\w+)\([^()]*\);$", source, re.MULTILINE)
