"""A program run from Python: its kernels linked together, one array for each value.

No entry code, no arena, no weights file: for tests of what kernels compute, where writing an
artifact would take most of the time.
"""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx

from compiler.joined_storage import without_join_copies
from compiler.onnx_import.support import require_supported
from compiler.program import CompiledKernel, KernelCall, Program
from tests.lowered import loaded
from tests.native_kernel import build_kernels

_GUARD_BYTES = 64


def run_program(model: onnx.ModelProto, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the bytes of each output of the model, compiled for this machine.

    Raises:
        CompilerError: the model cannot be compiled.
    """
    require_supported(loaded(model))
    program, kernels = build_kernels(model)
    memory_of = {name: kernel.memory for name, kernel in kernels.items()}
    program = without_join_copies(program, memory_of, may_grow=True)
    memory: dict[int, np.ndarray] = {}
    for value in program.values:
        if value.storage == value.id:
            memory[value.id] = np.zeros(value.size_bytes + _GUARD_BYTES, np.uint8)
    for number, array in program.constants.items():
        memory[number][: array.nbytes] = array.reshape(-1).view(np.uint8)
    for port in program.inputs:
        content = np.ascontiguousarray(inputs[port.name]).reshape(-1).view(np.uint8)
        memory[program.values[port.value].storage][: content.size] = content
    with tempfile.TemporaryDirectory() as folder:
        library = _link(kernels, Path(folder)) if kernels else None
        for call in program.calls:
            assert library is not None
            _run(library, kernels[call.kernel], call, program, memory)
    for copy in program.copies:
        _bytes_of(program, memory, copy.destination)[:] = _bytes_of(program, memory, copy.source)
    return {port.name: _bytes_of(program, memory, port.value) for port in program.outputs}


def _bytes_of(program: Program, memory: Mapping[int, np.ndarray], number: int) -> np.ndarray:
    """Where the bytes of a value are."""
    value = program.values[number]
    return memory[value.storage][value.offset_bytes :][: value.size_bytes]


def _link(kernels: Mapping[str, CompiledKernel], folder: Path) -> ctypes.CDLL:
    objects = []
    for number, kernel in enumerate(kernels.values()):
        path = folder / f"{number}.o"
        path.write_bytes(kernel.object_code)
        objects.append(str(path))
    library = folder / "kernels.so"
    command = ["cc", "-shared", "-Wl,--no-undefined", "-o", str(library), *objects, "-lm"]
    subprocess.run(command, check=True)
    return ctypes.CDLL(str(library))


def _run(
    library: ctypes.CDLL,
    kernel: CompiledKernel,
    call: KernelCall,
    program: Program,
    memory: Mapping[int, np.ndarray],
) -> None:
    scratch = [np.zeros(size, np.uint8) for size in kernel.memory.scratch_bytes]
    if kernel.memory.worker_scratch_bytes:
        scratch.append(np.zeros(kernel.memory.worker_scratch_bytes, np.uint8))
    tensors = [_bytes_of(program, memory, n) for n in (*call.inputs, *call.outputs)]
    pointers = [ctypes.c_void_p(array.ctypes.data) for array in (*tensors, *scratch)]
    for phase in kernel.phases:
        library[phase.symbol](*pointers, ctypes.c_int32(0), ctypes.c_int32(phase.extent))
