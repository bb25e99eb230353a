"""One scheduled PrimFunc to one `CompiledKernel` for a microcontroller, by LLVM."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import tvm
from tvm.tirx import PrimFunc

from compiler.kernels.build import llvm_object, lower_kernel
from compiler.kernels.object_code import function_bytes
from compiler.program import CompiledKernel, ScheduleOutcome
from compiler.toolchain import Toolchain, run_tool

LINK_ERROR = 0.01  # of code without linking it: the linker aligns functions


def build_object_kernel(
    func: PrimFunc,
    *,
    name: str,
    input_count: int,
    outcome: ScheduleOutcome,
    target: tvm.target.Target,
    toolchain: Toolchain,
    in_order: bool = False,
) -> CompiledKernel:
    """Return a scheduled kernel as an object that has nothing but the kernel in it.

    Args:
        name: C identifier; symbols of the phases start with it.
        input_count: how many of the function's parameters are inputs; they come first.
        in_order: as `in_place.in_place_pairs` has it.

    Raises:
        UnsupportedError: the kernel needs TVM's runtime library, or TVM has no code for it.
        ToolchainError: the toolchain does not link the object, which is of another processor.
    """
    kernel = lower_kernel(
        func, name=name, input_count=input_count, target=target, in_order=in_order
    )
    symbols = [phase.symbol for phase in kernel.phases]
    code = _only(symbols, llvm_object(kernel, name, target), toolchain)
    return kernel.compiled(name, outcome, code)


def unlinked_object_kernel(
    func: PrimFunc,
    *,
    name: str,
    input_count: int,
    outcome: ScheduleOutcome,
    target: tvm.target.Target,
    in_order: bool = False,
) -> CompiledKernel:
    """As `build_object_kernel` without a toolchain: the object holds more than the kernel.

    `code_bytes` are those of the kernel's functions.
    """
    kernel = lower_kernel(
        func, name=name, input_count=input_count, target=target, in_order=in_order
    )
    code = llvm_object(kernel, name, target)
    sizes = function_bytes(code)
    own = sum(sizes[phase.symbol] for phase in kernel.phases)
    return replace(kernel.compiled(name, outcome, code), code_bytes=own)


def _only(symbols: Sequence[str], code: bytes, toolchain: Toolchain) -> bytes:
    """Return the object without what its phases do not need.

    TVM adds conversions of half-precision numbers to each object, and debug information.
    """
    with tempfile.TemporaryDirectory(prefix="tunesmith-kernel-") as folder:
        (Path(folder) / "whole.o").write_bytes(code)
        roots = [f"-Wl,-u,{symbol}" for symbol in symbols]
        flags = ("-r", "-nostdlib", "-Wl,--gc-sections", "-Wl,--strip-debug", *roots)
        # Specs name a C library, and picolibc's also the linker script of a whole program.
        command = [word for word in toolchain.cc if not word.startswith("--specs=")]
        run_tool((*command, *flags, "whole.o", "-o", "kernel.o"), folder=Path(folder))
        return (Path(folder) / "kernel.o").read_bytes()
