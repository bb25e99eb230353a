"""One compiled kernel as a callable: its object linked alone and its phases called by ctypes."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx

from compiler.kernels.build import build_kernel
from compiler.program import CompiledKernel, KernelCall, Program, ScheduleOutcome
from compiler.scheduling import schedule_kernel
from compiler.target_spec import TargetSpec, load_target
from compiler.tvm_target import tvm_target
from tests.lowered import workloads

ALIGNMENT = 64
GUARD = 0xA5

# From the work items of a phase to ranges, in the order in which they are to be run.
Split = Callable[[int], list[tuple[int, int]]]


def all_at_once(extent: int) -> list[tuple[int, int]]:
    return [(0, extent)]


def one_by_one_backwards(extent: int) -> list[tuple[int, int]]:
    return [(item, item + 1) for item in reversed(range(extent))]


def second_half_first(extent: int) -> list[tuple[int, int]]:
    return [(extent // 2, extent), (0, extent // 2)]


def build_kernels(
    model: onnx.ModelProto, spec: TargetSpec | None = None
) -> tuple[Program, dict[str, CompiledKernel]]:
    """The program of a model and its kernels, for this machine unless told otherwise."""
    spec = spec or load_target("host")
    found = workloads(model, spec)
    kernels = {}
    for name, func in found.functions.items():
        count = found.input_counts[name]
        scheduled = schedule_kernel(name, func, count, spec)
        kernels[name] = build_kernel(
            scheduled.func,
            name=name,
            input_count=count,
            outcome=ScheduleOutcome(source="rule", name="test"),
            target=tvm_target(spec),
        )
    return found.program, kernels


class Memory:
    """Bytes at a chosen distance from a cache line, with guard bytes around them."""

    def __init__(self, size_bytes: int, offset: int) -> None:
        self._size = size_bytes
        self._bytes = np.full(size_bytes + 4 * ALIGNMENT, GUARD, np.uint8)
        aligned = -self._bytes.ctypes.data % ALIGNMENT + ALIGNMENT
        self._start = aligned + offset

    @property
    def address(self) -> int:
        return int(self._bytes.ctypes.data) + self._start

    @property
    def content(self) -> np.ndarray:
        return self._bytes[self._start : self._start + self._size]

    def check_guards(self) -> None:
        outside = np.delete(self._bytes, slice(self._start, self._start + self._size))
        assert (outside == GUARD).all()


class NativeKernel:
    """A kernel linked on its own: no symbol but libc's and libm's may be missing."""

    def __init__(self, kernel: CompiledKernel, folder: Path) -> None:
        self._kernel = kernel
        made = folder / f"{kernel.name}.o"
        made.write_bytes(kernel.object_code)
        library = folder / f"{kernel.name}.so"
        command = ["cc", "-shared", "-Wl,--no-undefined", "-o", str(library), str(made), "-lm"]
        subprocess.run(command, check=True)
        self._library = ctypes.CDLL(str(library))

    def __call__(
        self,
        inputs: Sequence[np.ndarray],
        outputs: Sequence[tuple[str, tuple[int, ...]]],
        *,
        split: Split = all_at_once,
        offset: int = 0,
        in_place: tuple[int, int] | None = None,
    ) -> list[np.ndarray]:
        """Run the kernel and return its outputs (dtype, shape).

        Args:
            offset: distance in elements of every tensor from a cache line.
            in_place: (input, output) positions that are one memory block.
        """
        sources = [Memory(a.nbytes, offset * a.itemsize) for a in inputs]
        for source, array in zip(sources, inputs, strict=True):
            source.content[:] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        results = []
        for position, (dtype, shape) in enumerate(outputs):
            item = np.dtype(dtype).itemsize
            made = Memory(item * int(np.prod(shape)), offset * item)
            if in_place is not None and in_place[1] == position:
                made = sources[in_place[0]]
            results.append(made)
        memory = self._kernel.memory
        scratch = [Memory(size, 0) for size in memory.scratch_bytes]
        tensors = [m.address for m in (*sources, *results, *scratch)]
        for phase in self._kernel.phases:
            function = self._library[phase.symbol]
            for begin, end in split(phase.extent):
                worker = Memory(memory.worker_scratch_bytes, 0)
                pointers = [*tensors, *([worker.address] if memory.worker_scratch_bytes else [])]
                function(
                    *map(ctypes.c_void_p, pointers), ctypes.c_int32(begin), ctypes.c_int32(end)
                )
                worker.check_guards()
        for one in (*sources, *results, *scratch):
            one.check_guards()
        return [
            m.content.view(dtype).reshape(shape).copy()
            for m, (dtype, shape) in zip(results, outputs, strict=True)
        ]


def call_of(program: Program, kernel: str) -> KernelCall:
    return next(call for call in program.calls if call.kernel == kernel)


def draw_operands(program: Program, kernel: str) -> list[np.ndarray]:
    """The kernel's constants and standard normal numbers for its other operands."""
    generator = np.random.default_rng(0)
    operands = []
    for number in call_of(program, kernel).inputs:
        value = program.values[number]
        known = program.constants.get(value.storage)
        drawn = generator.standard_normal(value.shape).astype(value.dtype)
        operands.append(drawn if known is None else known)
    return operands


def result_types(program: Program, kernel: str) -> list[tuple[str, tuple[int, ...]]]:
    values = [program.values[number] for number in call_of(program, kernel).outputs]
    return [(value.dtype, value.shape) for value in values]
