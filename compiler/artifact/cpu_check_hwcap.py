"""Where Linux tells a program of the features of an Arm or RISC-V processor.

Bits are from Linux: arch/arm64/include/uapi/asm/hwcap.h, and for RISC-V one bit for each letter of
the extensions (arch/riscv/include/uapi/asm/hwcap.h; V from Linux 6.5 on).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True, slots=True)
class HwcapBit:
    """A bit of an entry of the auxiliary vector: 16 is AT_HWCAP, 26 AT_HWCAP2."""

    entry: int
    bit: int


_HWCAP, _HWCAP2 = 16, 26

AARCH64_BITS = {
    "lse": HwcapBit(_HWCAP, 8),
    "fullfp16": HwcapBit(_HWCAP, 10),
    "rdm": HwcapBit(_HWCAP, 12),
    "complxnum": HwcapBit(_HWCAP, 14),
    "sha3": HwcapBit(_HWCAP, 17),
    "dotprod": HwcapBit(_HWCAP, 20),
    "sve": HwcapBit(_HWCAP, 22),
    "sve2": HwcapBit(_HWCAP2, 1),
    "i8mm": HwcapBit(_HWCAP2, 13),
    "bf16": HwcapBit(_HWCAP2, 14),
}
RISCV_BITS = {letter: HwcapBit(_HWCAP, ord(letter) - ord("a")) for letter in "acdfimv"}
