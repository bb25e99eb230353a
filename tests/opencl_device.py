"""An OpenCL device without a GPU: PoCL on this machine's processor, through ctypes."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import byref, c_char_p, c_int, c_size_t, c_uint, c_void_p
from typing import Any

import numpy as np

_DEVICE_TYPE_ALL = 0xFFFFFFFF
_MEM_READ_WRITE = 1
_PROGRAM_BUILD_LOG = 0x1183
_TRUE = 1


def opencl_is_missing() -> str | None:
    """Why there is no OpenCL device here, None if there is one."""
    try:
        OpenClDevice()
    except OSError as missing:
        return str(missing)
    return None


def _interface() -> ctypes.CDLL:
    """What the process has already (Oclgrind puts itself there), else the system's loader."""
    loaded = ctypes.CDLL(None)
    return loaded if hasattr(loaded, "clGetPlatformIDs") else ctypes.CDLL("libOpenCL.so.1")


class OpenClError(RuntimeError):
    """A call of OpenCL failed."""


class OpenClDevice:
    """The first device of the first platform, one queue in order."""

    def __init__(self) -> None:
        self._cl = _interface()
        platform, count = c_void_p(), c_uint()
        if self._cl.clGetPlatformIDs(1, byref(platform), byref(count)) or not count.value:
            raise OSError("no OpenCL platform (Debian: apt-get install pocl-opencl-icd)")
        self._device = c_void_p()
        self._check(
            "clGetDeviceIDs",
            platform,
            ctypes.c_ulong(_DEVICE_TYPE_ALL),
            1,
            byref(self._device),
            None,
        )
        self._context = self._made("clCreateContext", None, 1, byref(self._device), None, None)
        self._queue = self._made(
            "clCreateCommandQueue", self._context, self._device, ctypes.c_ulong(0)
        )

    def buffer(self, size_bytes: int) -> c_void_p:
        """Device memory."""
        size = c_size_t(max(size_bytes, 1))
        return self._made(
            "clCreateBuffer", self._context, ctypes.c_ulong(_MEM_READ_WRITE), size, None
        )

    def write(self, buffer: c_void_p, array: np.ndarray) -> None:
        """Fill a buffer from an array, whose bytes lie together."""
        if array.nbytes:
            self._transfer("clEnqueueWriteBuffer", buffer, array)

    def read(self, buffer: c_void_p, array: np.ndarray) -> None:
        """Fill an array from a buffer."""
        if array.nbytes:
            self._transfer("clEnqueueReadBuffer", buffer, array)

    def free(self, buffer: c_void_p) -> None:
        self._check("clReleaseMemObject", buffer)

    def program(self, source: str) -> c_void_p:
        """Compile OpenCL C."""
        text = c_char_p(source.encode())
        program = self._made("clCreateProgramWithSource", self._context, 1, byref(text), None)
        options = c_char_p(b"-cl-std=CL1.2")
        if self._cl.clBuildProgram(program, 1, byref(self._device), options, None, None):
            raise OpenClError(self._build_log(program))
        return program

    def launch(
        self,
        program: c_void_p,
        symbol: str,
        grid: Sequence[int],
        block: Sequence[int],
        arguments: Sequence[c_void_p],
    ) -> None:
        """Start a kernel; `grid` counts blocks, as CUDA does."""
        kernel = self._made("clCreateKernel", program, c_char_p(symbol.encode()))
        for position, buffer in enumerate(arguments):
            self._check(
                "clSetKernelArg",
                kernel,
                c_uint(position),
                c_size_t(ctypes.sizeof(c_void_p)),
                byref(buffer),
            )
        threads = (c_size_t * 3)(*(g * b for g, b in zip(grid, block, strict=True)))
        local = (c_size_t * 3)(*block)
        self._check(
            "clEnqueueNDRangeKernel", self._queue, kernel, 3, None, threads, local, 0, None, None
        )
        self._check("clFinish", self._queue)
        self._check("clReleaseKernel", kernel)

    def _transfer(self, function: str, buffer: c_void_p, array: np.ndarray) -> None:
        assert array.flags.c_contiguous
        address = c_void_p(array.ctypes.data)
        size = c_size_t(array.nbytes)
        self._check(function, self._queue, buffer, _TRUE, c_size_t(0), size, address, 0, None, None)

    def _build_log(self, program: c_void_p) -> str:
        text = ctypes.create_string_buffer(1 << 16)
        self._cl.clGetProgramBuildInfo(
            program, self._device, _PROGRAM_BUILD_LOG, c_size_t(len(text)), text, None
        )
        return text.value.decode(errors="replace")

    def _check(self, function: str, *arguments: Any) -> None:
        error = getattr(self._cl, function)(*arguments)
        if error:
            raise OpenClError(f"{function}: error {error}")

    def _made(self, function: str, *arguments: Any) -> c_void_p:
        """What a function returns that tells its error through its last argument."""
        call = getattr(self._cl, function)
        call.restype = c_void_p
        error = c_int()
        made = call(*arguments, byref(error))
        if error.value or not made:
            raise OpenClError(f"{function}: error {error.value}")
        return c_void_p(made)
