"""Rounding to small integers on x86: one conversion that rounds, then packing that saturates.

Elsewhere a clipped float32 is rounded by the addition of a large number
(`stages/operators/requantize.py`). x86 converts with rounding half to even, and its instructions
that narrow integers saturate: the same bits in fewer instructions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc
from tvm_ffi import structural

from compiler.kernels.c_rounding import Rounding, match_rounding

PACKED_LANES = 16  # a vector of bytes
LEAST_LANES = 8  # LLVM makes no packing of fewer
_Made = tuple[Any, Callable[[Any], Any]]  # what is rounded, and what makes the result of it
_BOUNDS = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-(2**15), 2**15 - 1)}


def pack_rounded(func: PrimFunc, *, by_halves: bool = False) -> PrimFunc:
    """Return the function with vectors rounded to small integers by conversion and packing.

    before: small(reinterpret(clip(x, low, high) + MAGIC) - (MAGIC_BITS - zero))
    after:  small(clip(add_saturating(int16(clip(lrint(min(x, high)), int16)), zero), small)),
            the outer clip by the lower bound if that is above the type's; of an x that fits 32 bits
            the upper bound is taken there, too

    before: int32(small(reinterpret(clip(x, low, high) + MAGIC) - (MAGIC_BITS - zero)))
    after:  lrint(clip(x, low, high)) + zero

    LLVM makes a packing instruction of a clip to what a narrower type holds. What is too far below
    `low` for 32 bits is converted to -2**31, which saturates as well.

    Args:
        by_halves: registers are packed half by half (AVX2). 16 numbers are then put in order after
            the last packing, in a register of 16 bytes: moves between halves take longer.
    """

    def visit(cast: Any, mutator: Any) -> Any:
        made = _widened(cast) or _packed(cast, by_halves)
        if made is None:
            return mutator.default_mutate(cast)
        value, build = made
        return build(structural.structural_mutate(value, [(tirx.Cast, visit)]))

    return func.with_body(structural.structural_mutate(func.body, [(tirx.Cast, visit)]))


def _rounding_of(cast: Any) -> Rounding | None:
    if not isinstance(cast, tirx.Cast) or _element(cast) not in ("int8", "uint8"):
        return None
    if int(cast.ty.dtype.lanes) < LEAST_LANES:
        return None
    return match_rounding(cast.value)


def _element(node: Any) -> str:
    return str(node.ty.dtype).split("x")[0]


def _packed(cast: Any, by_halves: bool) -> _Made | None:
    """Of a cast that rounds to a small integer."""
    found = _rounding_of(cast)
    if found is None:
        return None
    small, lanes = _element(cast), int(cast.ty.dtype.lanes)

    def build(value: Any) -> Any:
        most = _float(found.high - found.zero, lanes)
        numbers = _whole(value if found.fits else tirx.Min(value, most))
        halves = by_halves and lanes == PACKED_LANES
        words = _words_by_halves(numbers) if halves else _narrowed(numbers, "int16")
        if found.zero:
            zero = _integer(found.zero, f"int16x{lanes}")
            words = tirx.call_llvm_pure_intrin(f"int16x{lanes}", "llvm.sadd.sat", words, zero)
        if found.fits and found.high < _BOUNDS[small][1]:
            words = tirx.Min(words, _integer(found.high, f"int16x{lanes}"))
        if halves:
            return _bytes_in_order(words, small, low=found.low)
        return _narrowed(words, small, low=found.low)

    return found.value, build


def _widened(cast: Any) -> _Made | None:
    """The like where the small integer is an operand of further arithmetic."""
    found = _rounding_of(cast.value) if _element(cast) == "int32" else None
    if found is None:
        return None
    lanes = int(cast.ty.dtype.lanes)

    def build(value: Any) -> Any:
        upper = tirx.Min(value, _float(found.high - found.zero, lanes))
        clipped = tirx.Max(upper, _float(found.low - found.zero, lanes))
        return _whole(clipped) + _integer(found.zero, f"int32x{lanes}")

    return found.value, build


def _whole(value: Any) -> Any:
    return tirx.call_llvm_pure_intrin(f"int32x{int(value.ty.dtype.lanes)}", "llvm.lrint", value)


def _words_by_halves(numbers: Any) -> Any:
    """16 integers as int16: 0 to 3, 8 to 11, then 4 to 7, 12 to 15."""
    halves = [_part(numbers, first, 8) for first in (0, 8)]
    return tirx.call_llvm_pure_intrin("int16x16", "llvm.x86.avx2.packssdw", *halves)


def _bytes_in_order(words: Any, small: str, *, low: int) -> Any:
    """The result of `_words_by_halves` saturated to bytes, at least `low`."""
    least, _ = _BOUNDS[small]
    if low > least:
        words = tirx.Max(words, _integer(low, "int16x16"))
    name = "packsswb" if small == "int8" else "packuswb"
    halves = [_part(words, first, 8) for first in (0, 8)]
    packed = tirx.call_llvm_pure_intrin("int8x16", f"llvm.x86.sse2.{name}.128", *halves)
    quarters = [4 * place + i for place in (0, 2, 1, 3) for i in range(4)]
    made = tirx.Shuffle([packed], [tirx.const(place, "int32") for place in quarters])
    return made if small == "int8" else tirx.reinterpret("uint8x16", made)


def _part(vector: Any, first: int, count: int) -> Any:
    return tirx.Shuffle([vector], [tirx.const(first + i, "int32") for i in range(count)])


def _narrowed(value: Any, to: str, *, low: int | None = None) -> Any:
    """The value saturated to a type, at least `low`."""
    dtype, lanes = str(value.ty.dtype), int(value.ty.dtype.lanes)
    least, most = _BOUNDS[to]
    upper = tirx.Min(value, _integer(most, dtype))
    clipped = tirx.Max(upper, _integer(least if low is None else low, dtype))
    return clipped.astype(f"{to}x{lanes}")


def _float(number: int, lanes: int) -> Any:
    return tirx.Broadcast(tirx.const(float(number), "float32"), lanes)


def _integer(number: int, dtype: str) -> Any:
    element, lanes = dtype.split("x")
    return tirx.Broadcast(tirx.const(number, element), int(lanes))
