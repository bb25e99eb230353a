"""How C reads a half (weights in 16 bits) as a float: by a conversion where Arm has one."""

from __future__ import annotations

from typing import Any

import tvm
from tvm import tirx

# Every FPU of the M profile converts, though GCC's __ARM_FP says so of those with doubles only.
_CONVERTS = (
    "defined(__GNUC__) && defined(__ARM_FP) && ((__ARM_FP & 2) || "
    "((__ARM_FP & 4) && __ARM_ARCH_PROFILE == 'M'))"
)

# Zero and small halves have no implicit bit: their mantissa counts in 2**-24.
WIDENED = f"""static inline float ts_widened(uint16_t half)
{{
    float wide;
#if {_CONVERTS}
    uint32_t bits = half;
    memcpy(&wide, &bits, sizeof wide);
    __asm__("vcvtb.f32.f16 %0, %1" : "=t"(wide) : "t"(wide));
#else
    const uint32_t sign = (uint32_t)(half & 0x8000u) << 16, rest = half & 0x7fffu;
    uint32_t bits = sign | ((rest << 13) + 0x38000000u);
    if (rest < 0x400u) {{
        wide = (float)(int32_t)rest * 5.9604644775390625e-8f;
        return sign != 0u ? -wide : wide;
    }}
    memcpy(&wide, &bits, sizeof wide);
#endif
    return wide;
}}"""

# Two halves that lie together are one word, so one load; the compiler sees that it is the same.
# Halves are constants of a library, each of which begins at a multiple of 8 bytes.
WIDENED_LOW = f"""static inline float ts_widened_low(const uint16_t *pair)
{{
#if {_CONVERTS} && !defined(__ARM_BIG_ENDIAN)
    float wide;
    memcpy(&wide, __builtin_assume_aligned(pair, 4), sizeof wide);
    __asm__("vcvtb.f32.f16 %0, %1" : "=t"(wide) : "t"(wide));
    return wide;
#else
    return ts_widened(pair[0]);
#endif
}}"""
WIDENED_HIGH = f"""static inline float ts_widened_high(const uint16_t *pair)
{{
#if {_CONVERTS} && !defined(__ARM_BIG_ENDIAN)
    float wide;
    memcpy(&wide, __builtin_assume_aligned(pair, 4), sizeof wide);
    __asm__("vcvtt.f32.f16 %0, %1" : "=t"(wide) : "t"(wide));
    return wide;
#else
    return ts_widened(pair[1]);
#endif
}}"""


def is_half_load(cast: Any) -> bool:
    """Whether a conversion to float32 is of a half that is read from memory."""
    load = cast.value
    kinds = (str(load.ty.dtype), str(cast.ty.dtype))
    return isinstance(load, tvm.ir.TensorLoad) and kinds == ("float16", "float32")


class Parities:
    """Which indices are even or odd whatever loop variables are: places in pairs of halves."""

    def __init__(self) -> None:
        self._known: dict[int, int | None] = {}

    def bind(self, variable: Any, value: Any) -> None:
        """Remember what a variable stands for."""
        self._known[hash(variable)] = self.of(value)

    def of(self, node: Any) -> int | None:
        """0 or 1; None if it depends on a variable."""
        if isinstance(node, tirx.IntImm):
            return int(node.value) % 2
        if isinstance(node, tirx.Cast):
            return self.of(node.value)
        if isinstance(node, tirx.Add | tirx.Sub):
            one, other = self.of(node.a), self.of(node.b)
            return None if one is None or other is None else (one + other) % 2
        if isinstance(node, tirx.Mul):
            factors = (self.of(node.a), self.of(node.b))
            return 0 if 0 in factors else 1 if factors == (1, 1) else None
        return self._known.get(hash(node)) if isinstance(node, tvm.ir.Var) else None
