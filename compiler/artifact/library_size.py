"""How large a library will be, from its kernels and weights, before it is linked."""

from __future__ import annotations

from collections.abc import Collection

from compiler.program import CompiledKernel

# What is not weights, fitted to the models of ``tests/models``. A shared library takes of each
# object what a run loads and what describes it; a static one is its objects, with their headers.
_RUNTIME_BYTES, _OBJECT_SHARE = 18_000, 0.56
_BARE_RUNTIME_BYTES, _MEMBER_BYTES = 9_000, 1_200
_CODE_SHARE, _RISCV_CODE_SHARE = 1.6, 3.2  # RISC-V objects leave more to the linker
LIBRARY_ERROR = 0.3  # of what is not weights; tests/unit/test_estimate.py holds it to that


def shared_library_bytes(kernels: Collection[CompiledKernel]) -> int:
    """Return the bytes beside the weights of a library with sessions; kernels have their code."""
    objects = sum(len(kernel.object_code) for kernel in kernels)
    return _RUNTIME_BYTES + round(_OBJECT_SHARE * objects)


def bare_library_bytes(kernels: Collection[CompiledKernel], *, is_riscv: bool = False) -> int:
    """Return the bytes beside the weights of a microcontroller's static library."""
    code = sum(kernel.code_bytes for kernel in kernels)
    share = _RISCV_CODE_SHARE if is_riscv else _CODE_SHARE
    return _BARE_RUNTIME_BYTES + _MEMBER_BYTES * len(kernels) + round(share * code)
