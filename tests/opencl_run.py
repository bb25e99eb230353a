"""A whole program on a device: the launches of the GPU kernels, in order. No TVM here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ctypes import c_void_p
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from compiler.program import KernelCall, Launch, Program, ScheduleOutcome
from tests.opencl_device import OpenClDevice


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenClKernel:
    """A kernel's OpenCL C (or CUDA C++), its launches, and the scratch between them."""

    source: str
    launches: tuple[Launch, ...]
    scratch_bytes: tuple[int, ...]
    outcome: ScheduleOutcome


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenClProgram:
    """A model's program and its kernels by name."""

    program: Program
    kernels: Mapping[str, OpenClKernel]

    @property
    def schedules(self) -> set[str]:
        """Names of the rules and loop nests that its kernels got."""
        return {kernel.outcome.name for kernel in self.kernels.values()}


class Device(Protocol):
    """What runs device functions: OpenCL, or CUDA C++ on the processor."""

    def buffer(self, size_bytes: int) -> c_void_p: ...
    def write(self, buffer: c_void_p, array: np.ndarray) -> None: ...
    def read(self, buffer: c_void_p, array: np.ndarray) -> None: ...
    def free(self, buffer: c_void_p) -> None: ...
    def program(self, source: str) -> Any: ...
    def launch(
        self,
        program: Any,
        symbol: str,
        grid: Sequence[int],
        block: Sequence[int],
        arguments: Sequence[c_void_p],
    ) -> None: ...


def run_opencl(
    made: OpenClProgram, inputs: Mapping[str, np.ndarray], device: Device | None = None
) -> dict[str, np.ndarray]:
    """The outputs by name; an output's dtype and shape are the program's.

    Args:
        device: for whose language the program was made; OpenCL's if None.
    """
    run = _Run(device or OpenClDevice(), made)
    program = made.program
    for port in program.inputs:
        run.device.write(run.of_value(port.value), np.ascontiguousarray(inputs[port.name]))
    for value, array in program.constants.items():
        run.device.write(run.of_value(value), np.ascontiguousarray(array))
    for call in program.calls:
        run.call(call)
    for copy in program.copies:
        run.copy(copy.source, copy.destination)
    return {port.name: run.read(port.value) for port in program.outputs}


class _Run:
    """Device memory by storage; freed when its last reader has run."""

    def __init__(self, device: Device, made: OpenClProgram) -> None:
        self.device = device
        self._made = made
        self._memory: dict[int, c_void_p] = {}
        self._programs: dict[str, Any] = {}

    def of_value(self, value: int) -> c_void_p:
        program = self._made.program
        storage = program.values[value].storage
        if storage not in self._memory:
            self._memory[storage] = self.device.buffer(program.values[storage].size_bytes)
        return self._memory[storage]

    def call(self, call: KernelCall) -> None:
        kernel = self._made.kernels[call.kernel]
        if call.kernel not in self._programs:
            self._programs[call.kernel] = self.device.program(kernel.source)
        scratch = [self.device.buffer(size) for size in kernel.scratch_bytes]
        pointers = [*(self.of_value(v) for v in (*call.inputs, *call.outputs)), *scratch]
        for launch in kernel.launches:
            self.device.launch(
                self._programs[call.kernel],
                launch.symbol,
                launch.grid,
                launch.block,
                [pointers[position] for position in launch.arguments],
            )
        for block in scratch:
            self.device.free(block)

    def copy(self, source: int, destination: int) -> None:
        array = np.empty(self._made.program.values[destination].size_bytes, np.uint8)
        self.device.read(self.of_value(source), array)
        self.device.write(self.of_value(destination), array)

    def read(self, value: int) -> np.ndarray:
        info = self._made.program.values[value]
        array = np.empty(info.shape, info.dtype)
        self.device.read(self.of_value(value), array)
        return array
