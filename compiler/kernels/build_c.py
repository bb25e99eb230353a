"""One scheduled PrimFunc to one `CompiledKernel` by way of C and the target's compiler."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import tvm
from tvm.tirx import PrimFunc

from compiler.bare_metal_flags import COMPILE_FLAGS
from compiler.kernels import pair_rows, pair_sums
from compiler.kernels.build import lower_kernel
from compiler.kernels.c_source import CFunction, c_file, c_function
from compiler.program import CompiledKernel, ScheduleOutcome
from compiler.toolchain import Toolchain, run_tool


def build_c_kernel(
    func: PrimFunc,
    *,
    name: str,
    prefix: str,
    input_count: int,
    outcome: ScheduleOutcome,
    target: tvm.target.Target,
    toolchain: Toolchain,
    for_size: bool = False,
    in_order: bool = False,
) -> CompiledKernel:
    """Return a scheduled kernel as C source and as the object that the toolchain makes of it.

    Args:
        name: C identifier; the file is named after it.
        prefix: of the model: symbols start with it, so that several models fit one firmware.
        input_count: how many of the function's parameters are inputs; they come first.
        for_size: the source asks its compiler for small code.
        in_order: as `in_place.in_place_pairs` has it.

    Raises:
        UnsupportedError: the kernel needs TVM's runtime library, or there is no C for it.
        ToolchainError: the compiler refuses the source.
    """
    kernel = lower_kernel(
        func,
        name=name,
        input_count=input_count,
        target=target,
        prefix=f"{prefix}__",
        in_order=in_order,
    )
    functions = [
        c_function(phase_func, str(gvar.name_hint), input_count)
        for gvar, phase_func in sorted(
            kernel.functions.functions_items(), key=lambda item: str(item[0].name_hint)
        )
    ]
    source = c_file(
        f"Kernel {name} ({outcome.name})",
        functions,
        for_size=for_size,
        externals=_externals(functions, f"{prefix}__"),
    )
    code = _compiled(source, toolchain)
    prototypes = tuple(function.prototype for function in functions)
    built = kernel.compiled(name, outcome, code, prefix=f"{prefix}__")
    return replace(built, source=source, prototypes=prototypes)


def _externals(functions: Sequence[CFunction], prefix: str) -> tuple[str, ...]:
    """Declarations of the runtime's functions that are called, with the model's prefix."""
    return tuple(
        f"#define {name} {prefix}{name}\nvoid {name}({parameters});"
        for name, parameters in (pair_rows.PROTOTYPES | pair_sums.PROTOTYPES).items()
        if any(f"{name}(" in function.body for function in functions)
    )


def _compiled(source: str, toolchain: Toolchain) -> bytes:
    with tempfile.TemporaryDirectory(prefix="tunesmith-kernel-") as folder:
        path = Path(folder) / "kernel.c"
        path.write_text(source, encoding="ascii")
        run_tool(
            (*toolchain.cc, *COMPILE_FLAGS, "-c", path.name, "-o", "kernel.o"), folder=path.parent
        )
        return path.with_suffix(".o").read_bytes()
