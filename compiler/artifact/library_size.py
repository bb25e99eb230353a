"""How large a library will be, from its kernels and weights, before it is linked."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from compiler.program import CompiledKernel
from compiler.target_spec import TargetSpec

# What is not weights, fitted to the models of ``tests/models``. A shared library holds its code,
# the runtime and what the system wants of it; a static one is its objects, with their headers.
_RUNTIME_BYTES, _ZIG_RUNTIME_BYTES, _MAC_RUNTIME_BYTES = 22_000, 8_500, 54_000
_SVE_RUNTIME_BYTES = 20_000  # the sums of scalable vectors
_BARE_RUNTIME_BYTES, _MEMBER_BYTES = 9_000, 1_200
_FUNCTION_BYTES = 2_800  # of a function of the runtime that kernels call
_CODE_SHARE, _RISCV_CODE_SHARE = 1.6, 3.2  # RISC-V objects leave more to the linker
LIBRARY_ERROR = 0.3  # of what is not weights; tests/unit/test_estimate.py holds it to that


def shared_library_bytes(kernels: Collection[CompiledKernel], spec: TargetSpec) -> int:
    """Return the bytes beside the weights of a library with sessions; kernels have their code."""
    runtime = _ZIG_RUNTIME_BYTES if Path(spec.toolchain.cc[0]).name == "zig" else _RUNTIME_BYTES
    if "-apple-macos" in spec.llvm.triple:
        runtime = _MAC_RUNTIME_BYTES
    if spec.vector.scalable:
        runtime += _SVE_RUNTIME_BYTES
    return runtime + sum(kernel.code_bytes for kernel in kernels)


def bare_library_bytes(kernels: Collection[CompiledKernel], *, is_riscv: bool = False) -> int:
    """Return the bytes beside the weights of a microcontroller's static library."""
    code = sum(kernel.code_bytes for kernel in kernels)
    share = _RISCV_CODE_SHARE if is_riscv else _CODE_SHARE
    functions = {symbol for kernel in kernels for symbol in kernel.runtime_symbols}
    runtime = _BARE_RUNTIME_BYTES + _FUNCTION_BYTES * len(functions)
    return runtime + _MEMBER_BYTES * len(kernels) + round(share * code)
