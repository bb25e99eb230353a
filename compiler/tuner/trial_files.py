"""A trial as files beside an emulator: the call and its inputs go in, outputs come out."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from compiler.program import CompiledKernel
from compiler.tuner.trial import KernelData

CALL, INPUTS, OUTPUTS = "call.bin", "inputs.bin", "outputs.bin"
COUNTED_RUNS = 3  # of runners/programs/trial_marks.h; what follows is of trial_call.h
WROTE_OUTSIDE, NO_ROOM = 6, 5  # exit statuses
ALIGNMENT = 64
_INPUT, _OUTPUT, _SCRATCH = range(3)


def scratch_bytes(kernel: CompiledKernel) -> tuple[int, ...]:
    """Bytes of each block that the kernel takes behind inputs and outputs."""
    worker = kernel.memory.worker_scratch_bytes
    return (*kernel.memory.scratch_bytes, *((worker,) if worker else ()))


def pointer_count(kernel: CompiledKernel, data: KernelData) -> int:
    """How many pointers the functions of the kernel take."""
    return len(data.inputs) + len(data.expected) + len(scratch_bytes(kernel))


def encoded_call(kernel: CompiledKernel, data: KernelData) -> bytes:
    """Return the content of the file that says what the program has to call."""
    operands = [(_INPUT, array.nbytes) for array in data.inputs]
    operands += [(_OUTPUT, array.nbytes) for array in data.expected]
    operands += [(_SCRATCH, size) for size in scratch_bytes(kernel)]
    extents = [phase.extent for phase in kernel.phases]
    numbers = [len(extents), *extents, len(operands)]
    numbers += (number for operand in operands for number in operand)
    return struct.pack(f"<{len(numbers) + 1}I", len(numbers), *numbers)


def write_inputs(path: Path, data: KernelData) -> int:
    """Write all inputs, each at a multiple of `ALIGNMENT`, and return the bytes of the file."""
    with path.open("wb") as file:
        for array in data.inputs:
            file.write(np.ascontiguousarray(array).tobytes())
            file.write(bytes(-array.nbytes % ALIGNMENT))
        return file.tell()


def read_outputs(path: Path, data: KernelData) -> tuple[tuple[np.ndarray, ...], ...]:
    """Return the outputs of the first run and those of the last one."""
    with path.open("rb") as file:
        return tuple(
            tuple(_like(array, file.read(array.nbytes)) for array in data.expected)
            for _ in range(2)
        )


def _like(expected: np.ndarray, content: bytes) -> np.ndarray:
    return np.frombuffer(content, expected.dtype).reshape(expected.shape)


def run_counts(marks: Sequence[int]) -> tuple[float, ...]:
    """Return the instructions of each counted run, from those at each mark.

    Between the first two marks is nothing but a mark.
    """
    between = [after - before for before, after in pairwise(marks)]
    return tuple(float(count - between[0]) for count in between[1:])
