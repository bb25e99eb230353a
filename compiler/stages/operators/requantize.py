"""From exact int32 sums to small integers: the numeric contract of all integer kernels.

One float32 product, saturation, rounding half to even, zero point. Nothing here can be contracted
to a fused multiply-add: a product is never the operand of a sum, for a clip stands between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm import te, tirx

# 1.5 * 2**23: a float32 of this size has a last place of 1, so adding it rounds half to even; the
# integer stands in the low bits. Right for |x| < 2**22; no call of libm, and vectors stay vectors.
MAGIC, MAGIC_BITS = 12582912.0, 0x4B400000


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """What a result may be: integers of `dtype` from `low` to `high`, `zero` of which is 0.0."""

    dtype: str
    zero: int
    low: int
    high: int


def rounded(value: Any, to: Bounds, *, fits: bool = False) -> Any:
    """``clip(value, low - zero, high - zero)``, rounded half to even, plus zero, in `to.dtype`.

    Args:
        fits: the value fits 32 bits. The lower bound is then taken first, which says so to
            `compiler/kernels/packed_rounding.py`; the number is the same.
    """
    high, low = (tirx.const(float(bound - to.zero), "float32") for bound in (to.high, to.low))
    clipped = te.min(te.max(value, low), high) if fits else te.max(te.min(value, high), low)
    bits = tirx.reinterpret("int32", clipped + tirx.const(MAGIC, "float32"))
    return (bits - tirx.const(MAGIC_BITS - to.zero, "int32")).astype(to.dtype)


def requantized(
    sums: te.Tensor,
    bias: te.Tensor,
    factor: te.Tensor,
    *more: te.Tensor,
    to: Bounds,
    fits: bool = False,
) -> te.Tensor:
    """``float32(sums + bias) * factor`` in the integers of `to`; both broadcast from the right.

    Args:
        more: one tensor at most: the factor where ``sums + bias`` is negative (leaky ReLU).
        fits: all factors are so small that every product fits 32 bits.
    """

    def of(operand: te.Tensor, indices: tuple[Any, ...]) -> Any:
        shape = [int(extent) for extent in operand.shape]
        own = indices[len(indices) - len(shape) :]
        return operand[tuple(0 if e == 1 else i for e, i in zip(shape, own, strict=True))]

    def element(*indices: Any) -> Any:
        exact = sums[indices] + of(bias, indices)
        scale = of(factor, indices)
        if more:
            scale = tirx.Select(exact < 0, of(more[0], indices), scale)
        return rounded(exact.astype("float32") * scale, to, fits=fits)

    return te.compute(sums.shape, element, name="requantize")


def quantized(data: te.Tensor, *, scale: float, to: Bounds) -> te.Tensor:
    """``data / scale``, a float32 quotient as ONNX has it, in the integers of `to`."""
    divisor = tirx.const(scale, "float32")
    return te.compute(data.shape, lambda *i: rounded(data[i] / divisor, to), name="quantize")


def dynamically_quantized(data: te.Tensor, scale: te.Tensor, zero: te.Tensor) -> te.Tensor:
    """``data / scale`` in uint8, around a zero point that is computed when the model runs, too.

    Args:
        scale, zero: of one element, float32 and uint8.
    """

    def one(operand: te.Tensor) -> Any:
        return operand[(0,) * len(operand.shape)]

    def element(*indices: Any) -> Any:
        around = one(zero).astype("int32")
        low = tirx.const(0.0, "float32") - around.astype("float32")
        clipped = te.max(
            te.min(data[indices] / one(scale), low + tirx.const(255.0, "float32")), low
        )
        bits = tirx.reinterpret("int32", clipped + tirx.const(MAGIC, "float32"))
        return (bits - (tirx.const(MAGIC_BITS, "int32") - around)).astype("uint8")

    return te.compute(data.shape, element, name="quantize")


def dequantized(data: te.Tensor, *, scale: float, zero: int) -> te.Tensor:
    """``float32(data - zero) * scale``."""

    def element(*indices: Any) -> Any:
        difference = data[indices].astype("int32") - tirx.const(zero, "int32")
        return difference.astype("float32") * tirx.const(scale, "float32")

    return te.compute(data.shape, element, name="dequantize")
