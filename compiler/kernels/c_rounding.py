"""How C rounds a float32 to a small integer: by a conversion where Arm has a saturating one.

Kernels write the rounding as a clip, the addition of 1.5 * 2**23 and a reinterpretation. Rounding
keeps order and the bounds are integers, so that clipping the rounded number gives the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tvm
from tvm import tirx

MAGIC, MAGIC_BITS = 12582912.0, 0x4B400000

# VCVTR rounds as FPSCR says, to nearest even unless a program changed it; that holds for the sum
# with the magic number, too. It saturates, as QADD does.
ROUNDED = """static inline int32_t ts_rounded(float value, int32_t zero, int32_t low, int32_t high)
{
#if defined(__GNUC__) && defined(__ARM_FEATURE_DSP) && defined(__ARM_FP) && (__ARM_FP & 4)
    float whole;
    int32_t number;
    __asm__("vcvtr.s32.f32 %0, %1" : "=t"(whole) : "t"(value));
    memcpy(&number, &whole, sizeof number);
    if (zero != 0) {
        __asm__("qadd %0, %1, %2" : "=r"(number) : "r"(number), "r"(zero));
    }
    if (low == -128 && high == 127) {
        __asm__("ssat %0, #8, %1" : "=r"(number) : "r"(number));
        return number;
    }
    if (low == 0 && high == 255) {
        __asm__("usat %0, #8, %1" : "=r"(number) : "r"(number));
        return number;
    }
    number = number > high ? high : number;
    return number < low ? low : number;
#else
    const float most = (float)(high - zero), least = (float)(low - zero);
    float shifted = value < most ? value : most;
    int32_t bits;
    shifted = (shifted > least ? shifted : least) + 12582912.0f;
    memcpy(&bits, &shifted, sizeof bits);
    return bits - (1262485504 - zero);
#endif
}"""


@dataclass(frozen=True, slots=True)
class Rounding:
    """``clip(rint(value) + zero, low, high)``."""

    value: Any
    zero: int
    low: int
    high: int
    fits: bool = False  # the value fits 32 bits

    @property
    def numbers(self) -> tuple[int, int, int]:
        return self.zero, self.low, self.high


def match_rounding(node: Any) -> Rounding | None:
    """What ``reinterpret(max(min(value, high), low) + MAGIC) - (MAGIC_BITS - zero)`` is.

    Of a value that fits 32 bits, ``min(max(value, low), high)`` stands there.
    Of vectors, too, whose constants are the same in all lanes.
    """
    bits = getattr(node, "a", None)
    if not isinstance(bits, tvm.ir.Call) or not str(bits.op.name).endswith("reinterpret"):
        return None
    total, offset = bits.args[0], _of_all_lanes(node.b)
    if str(node.ty.dtype).split("x")[0] != "int32" or not isinstance(offset, tirx.IntImm):
        return None
    if not isinstance(total, tirx.Add) or not _is_float(_of_all_lanes(total.b), MAGIC):
        return None
    fits = isinstance(total.a, tirx.Min)
    kinds = (tirx.Min, tirx.Max) if fits else (tirx.Max, tirx.Min)
    if not isinstance(total.a, kinds[0]) or not isinstance(total.a.a, kinds[1]):
        return None
    low, high = (_of_all_lanes(clip.b) for clip in (total.a, total.a.a))
    if fits:
        low, high = high, low
    if not all(isinstance(bound, tirx.FloatImm) and _is_whole(bound) for bound in (low, high)):
        return None
    zero = MAGIC_BITS - int(offset)
    return Rounding(total.a.a.a, zero, int(low.value) + zero, int(high.value) + zero, fits)


def _of_all_lanes(node: Any) -> Any:
    return node.value if isinstance(node, tirx.Broadcast) else node


def _is_float(node: Any, value: float) -> bool:
    return isinstance(node, tirx.FloatImm) and float(node.value) == value


def _is_whole(bound: Any) -> bool:
    return float(bound.value).is_integer()
