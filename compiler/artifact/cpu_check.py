"""C source that asks the CPU and the operating system for the features that code needs.

Bits are from the Intel 64 and IA-32 Software Developer's Manual, volume 2A, CPUID, and from the
AMD64 Architecture Programmer's Manual, volume 3, appendix E (leaf 0x80000001).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from compiler.artifact.cpu_check_hwcap import AARCH64_BITS, RISCV_BITS
from compiler.artifact.cpu_check_sysctl import MACOS_AARCH64_NAMES
from compiler.artifact.render import render
from compiler.errors import ToolchainError

# State that the operating system must save, as bits of XCR0.
_NONE = 0x0
_YMM = 0x6  # SSE and AVX registers
_ZMM = 0xE6  # these, opmask, upper halves, the upper 16
_TILE = 0x60000  # tile configuration and tile data

_EAX, _EBX, _ECX, _EDX = range(4)


@dataclass(frozen=True, order=True, slots=True)
class CpuidBit:
    """Where CPUID tells of a feature; ordered so that one leaf is read once."""

    leaf: int
    subleaf: int
    register: int  # 0 eax, 1 ebx, 2 ecx, 3 edx
    bit: int
    state: int  # bits of XCR0 that must be set


X86_BITS = {
    "sse3": CpuidBit(1, 0, _ECX, 0, _NONE),
    "pclmul": CpuidBit(1, 0, _ECX, 1, _NONE),
    "ssse3": CpuidBit(1, 0, _ECX, 9, _NONE),
    "fma": CpuidBit(1, 0, _ECX, 12, _YMM),
    "sse4.1": CpuidBit(1, 0, _ECX, 19, _NONE),
    "sse4.2": CpuidBit(1, 0, _ECX, 20, _NONE),
    "movbe": CpuidBit(1, 0, _ECX, 22, _NONE),
    "popcnt": CpuidBit(1, 0, _ECX, 23, _NONE),
    "aes": CpuidBit(1, 0, _ECX, 25, _NONE),
    "avx": CpuidBit(1, 0, _ECX, 28, _YMM),
    "f16c": CpuidBit(1, 0, _ECX, 29, _YMM),
    "bmi": CpuidBit(7, 0, _EBX, 3, _NONE),
    "avx2": CpuidBit(7, 0, _EBX, 5, _YMM),
    "bmi2": CpuidBit(7, 0, _EBX, 8, _NONE),
    "avx512f": CpuidBit(7, 0, _EBX, 16, _ZMM),
    "avx512dq": CpuidBit(7, 0, _EBX, 17, _ZMM),
    "avx512ifma": CpuidBit(7, 0, _EBX, 21, _ZMM),
    "avx512cd": CpuidBit(7, 0, _EBX, 28, _ZMM),
    "avx512bw": CpuidBit(7, 0, _EBX, 30, _ZMM),
    "avx512vl": CpuidBit(7, 0, _EBX, 31, _ZMM),
    "avx512vbmi": CpuidBit(7, 0, _ECX, 1, _ZMM),
    "avx512vbmi2": CpuidBit(7, 0, _ECX, 6, _ZMM),
    "gfni": CpuidBit(7, 0, _ECX, 8, _NONE),
    "vaes": CpuidBit(7, 0, _ECX, 9, _YMM),
    "vpclmulqdq": CpuidBit(7, 0, _ECX, 10, _YMM),
    "avx512vnni": CpuidBit(7, 0, _ECX, 11, _ZMM),
    "avx512bitalg": CpuidBit(7, 0, _ECX, 12, _ZMM),
    "avx512vpopcntdq": CpuidBit(7, 0, _ECX, 14, _ZMM),
    "avx512vp2intersect": CpuidBit(7, 0, _EDX, 8, _ZMM),
    "amx-bf16": CpuidBit(7, 0, _EDX, 22, _TILE),
    "avx512fp16": CpuidBit(7, 0, _EDX, 23, _ZMM),
    "amx-tile": CpuidBit(7, 0, _EDX, 24, _TILE),
    "amx-int8": CpuidBit(7, 0, _EDX, 25, _TILE),
    "avxvnni": CpuidBit(7, 1, _EAX, 4, _YMM),
    "avx512bf16": CpuidBit(7, 1, _EAX, 5, _ZMM),
    "amx-fp16": CpuidBit(7, 1, _EAX, 21, _TILE),
    "avxifma": CpuidBit(7, 1, _EAX, 23, _YMM),
    "avxvnniint8": CpuidBit(7, 1, _EDX, 4, _YMM),
    "avxneconvert": CpuidBit(7, 1, _EDX, 5, _YMM),
    "avxvnniint16": CpuidBit(7, 1, _EDX, 10, _YMM),
    "lzcnt": CpuidBit(0x8000_0001, 0, _ECX, 5, _NONE),
    "sse4a": CpuidBit(0x8000_0001, 0, _ECX, 6, _NONE),
}


_TABLES: dict[str, dict[str, Any]] = {
    "x86_64": X86_BITS,
    "aarch64": AARCH64_BITS,
    "riscv64": RISCV_BITS,
}
_MACOS_TABLES: dict[str, dict[str, Any]] = {"x86_64": X86_BITS, "aarch64": MACOS_AARCH64_NAMES}


def cpu_check_source(features: tuple[str, ...], *, architecture: str, macos: bool = False) -> str:
    """Return the C file that defines ``ts_missing_cpu_feature``.

    Args:
        features: LLVM names of all that the code uses beyond the architecture's baseline.
        architecture: first part of the target's triple.
        macos: the system is macOS, else Linux.

    Raises:
        ToolchainError: it is not known how to ask for one of them.
    """
    table = (_MACOS_TABLES if macos else _TABLES).get(architecture, {})
    unknown = sorted(set(features) - set(table))
    if unknown:
        raise ToolchainError(
            f"no check at run time is known for the {architecture} feature `{unknown[0]}`",
            why="a library for such a CPU could crash on another one instead of refusing it",
            fix="drop the feature from the target's [llvm] features",
        )
    bits = sorted((table[name], name) for name in set(features))
    if bits and architecture != "x86_64":
        return render(f"cpu_check_{'sysctl' if macos else 'hwcap'}.c.j2", bits=bits)
    return render("cpu_check.c.j2", bits=bits, uses_tiles=any(b.state & _TILE for b, _ in bits))
