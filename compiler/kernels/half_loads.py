"""Widening of halves by integer instructions, for processors that have no conversion.

Exact for every finite half, the small ones without an implicit bit included.
"""

from __future__ import annotations

from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc
from tvm_ffi import structural

# Exponent and mantissa of a half, where those of a float32 lie, stand for 2**-112 of its value:
# 15 is the one bias, 127 the other.
MANTISSA_BITS = 23 - 10
SCALE = 2.0**112
# The sign and what lies below it, of a half whose sign was extended to 32 bits.
KEPT_BITS = 0x8FFF_E000 - 2**32


def widen_by_integers(func: PrimFunc) -> PrimFunc:
    """Return the function with no conversion from float16 to float32."""

    def visit(cast: Any, mutator: Any) -> Any:
        inner = mutator.default_mutate(cast)
        kinds = (str(inner.value.ty.dtype), str(inner.ty.dtype))
        return _widened(inner.value) if kinds == ("float16", "float32") else inner

    return func.with_body(structural.structural_mutate(func.body, [(tirx.Cast, visit)]))


def _widened(half: Any) -> Any:
    signed = tirx.Cast("int32", tirx.reinterpret("int16", half))
    moved = tirx.bitwise_and(
        tirx.shift_left(signed, tirx.const(MANTISSA_BITS, "int32")),
        tirx.const(KEPT_BITS, "int32"),
    )
    return tirx.reinterpret("float32", moved) * tirx.const(SCALE, "float32")
