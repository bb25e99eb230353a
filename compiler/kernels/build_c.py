"""One scheduled PrimFunc to one `CompiledKernel` by way of C and the target's compiler."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import tvm
from tvm.tirx import PrimFunc

from compiler.bare_metal_flags import COMPILE_FLAGS
from compiler.kernels.build import lower_kernel
from compiler.kernels.c_source import c_file, c_function
from compiler.program import CompiledKernel, ScheduleOutcome
from compiler.toolchain import Toolchain, run_tool


def build_c_kernel(
    func: PrimFunc,
    *,
    name: str,
    prefix: str,
    input_count: int,
    outcome: ScheduleOutcome,
    toolchain: Toolchain,
) -> CompiledKernel:
    """Return a scheduled kernel as C source and as the object that the toolchain makes of it.

    Args:
        name: C identifier; the file is named after it.
        prefix: of the model: symbols start with it, so that several models fit one firmware.
        input_count: how many of the function's parameters are inputs; they come first.

    Raises:
        UnsupportedError: the kernel needs TVM's runtime library, or there is no C for it.
        ToolchainError: the compiler refuses the source.
    """
    target = tvm.target.Target({"kind": "c"})
    kernel = lower_kernel(
        func, name=name, input_count=input_count, target=target, prefix=f"{prefix}__"
    )
    functions = [
        c_function(phase_func, str(gvar.name_hint), input_count)
        for gvar, phase_func in sorted(
            kernel.functions.functions_items(), key=lambda item: str(item[0].name_hint)
        )
    ]
    source = c_file(f"Kernel {name} ({outcome.name})", functions)
    code = _compiled(source, toolchain)
    prototypes = tuple(function.prototype for function in functions)
    return replace(kernel.compiled(name, outcome, code), source=source, prototypes=prototypes)


def _compiled(source: str, toolchain: Toolchain) -> bytes:
    with tempfile.TemporaryDirectory(prefix="tunesmith-kernel-") as folder:
        path = Path(folder) / "kernel.c"
        path.write_text(source, encoding="ascii")
        run_tool(
            (*toolchain.cc, *COMPILE_FLAGS, "-c", path.name, "-o", "kernel.o"), folder=path.parent
        )
        return path.with_suffix(".o").read_bytes()
