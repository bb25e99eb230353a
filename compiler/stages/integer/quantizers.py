"""What quantizers and dequantizers of a graph say, and what constants are worth in reals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import relax

from compiler.stages.constants import constant_array
from compiler.stages.operators.requantize import Bounds
from compiler.stages.provenance import is_call_to

SMALL_INTEGERS = ("int8", "uint8")
# They keep every element as it is, so they may stand before or after a quantizer.
MOVEMENTS = frozenset(
    f"relax.{name}" for name in ("reshape", "permute_dims", "squeeze", "expand_dims", "flatten")
)


class StaysFloatError(Exception):
    """Why a quantizer's operand is computed in float arithmetic; caught by the stage."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Quantizer:
    """``q = saturate(round(x / scale) + zero)`` in `dtype`, the same for a whole tensor."""

    scale: float  # a float32
    zero: int
    dtype: str

    @property
    def limits(self) -> tuple[int, int]:
        """Smallest and largest integer."""
        info = np.iinfo(self.dtype)
        return int(info.min), int(info.max)

    def integer(self, real: float) -> int:
        """The integer of a real number."""
        low, high = self.limits
        quotient = np.float32(real) / np.float32(self.scale)
        return int(np.clip(np.rint(quotient) + self.zero, low, high))

    def bounds(self) -> Bounds:
        """All integers of the type."""
        low, high = self.limits
        return Bounds(dtype=self.dtype, zero=self.zero, low=low, high=high)


def quantizer_of(call: relax.Call) -> Quantizer | None:
    """Return the parameters of a ``quantize`` or ``dequantize`` call.

    None where they are computed, belong to channels, or are of other integers than 8 bits.
    """
    scale, zero = constant_array(call.args[1]), constant_array(call.args[2])
    small = call if is_call_to(call, "relax.quantize") else call.args[0]
    dtype = str(small.ty.dtype)
    if scale is None or zero is None or scale.size != 1 or zero.size != 1:
        return None
    if dtype not in SMALL_INTEGERS or str(scale.dtype) != "float32":
        return None
    return Quantizer(scale=float(scale.reshape(())), zero=int(zero.reshape(())), dtype=dtype)


@dataclass(frozen=True, kw_only=True, slots=True)
class ConstantIntegers:
    """Quantized weights: ``real = values * scale``, zero point subtracted, scale broadcast."""

    values: np.ndarray  # int32
    scale: np.ndarray  # float64, of the same rank


Definitions = Mapping[Any, Any]  # variable -> the expression that it is bound to


def looked_up(expression: Any, definitions: Definitions) -> Any:
    """The call or constant behind variables."""
    while isinstance(expression, relax.Var) and expression in definitions:
        expression = definitions[expression]
    return expression


def constant_integers(expression: Any, definitions: Definitions) -> ConstantIntegers | None:
    """Return what a dequantized constant is, through reshapes and transposes; else None."""
    call = looked_up(expression, definitions)
    if is_call_to(call, "relax.dequantize"):
        data, scale, zero = (
            constant_array(looked_up(argument, definitions)) for argument in call.args[:3]
        )
        if data is None or scale is None or zero is None:
            return None
        axis = int(call.attrs.axis)
        difference = data.astype(np.int32) - _along(zero.astype(np.int32), data.ndim, axis)
        return ConstantIntegers(
            values=difference, scale=_along(scale.astype(np.float64), data.ndim, axis)
        )
    if is_call_to(call, "relax.permute_dims"):
        inner = constant_integers(call.args[0], definitions)
        axes = None if call.attrs.axes is None else [int(a) for a in call.attrs.axes]
        return None if inner is None else _each(inner, lambda array: array.transpose(axes))
    if getattr(getattr(call, "op", None), "name", "") in MOVEMENTS:
        inner = constant_integers(call.args[0], definitions)
        shape = [int(extent) for extent in call.ty.shape.values]
        if inner is None:
            return None
        scale = np.broadcast_to(inner.scale, inner.values.shape).reshape(shape)
        return ConstantIntegers(values=inner.values.reshape(shape), scale=scale)
    return None


def constant_reals(expression: Any, definitions: Definitions) -> np.ndarray | None:
    """Return a constant, dequantized or float, in float64; None for what is computed."""
    integers = constant_integers(expression, definitions)
    if integers is not None:
        return np.asarray(integers.values.astype(np.float64) * integers.scale)
    call = looked_up(expression, definitions)
    array = constant_array(call)
    if array is not None:
        return array.astype(np.float64) if array.dtype == np.float32 else None
    name = getattr(getattr(call, "op", None), "name", "")
    if name not in MOVEMENTS:
        return None
    inner = constant_reals(call.args[0], definitions)
    if inner is None:
        return None
    if name == "relax.permute_dims":
        axes = None if call.attrs.axes is None else [int(a) for a in call.attrs.axes]
        return np.asarray(inner.transpose(axes))
    return np.asarray(inner.reshape([int(extent) for extent in call.ty.shape.values]))


def _each(integers: ConstantIntegers, change: Any) -> ConstantIntegers:
    return ConstantIntegers(values=change(integers.values), scale=change(integers.scale))


def _along(factor: np.ndarray, rank: int, axis: int) -> np.ndarray:
    """A factor for each index of an axis, in a shape that broadcasts."""
    if factor.size == 1:
        return factor.reshape((1,) * rank)
    shape = [1] * rank
    shape[axis % rank] = factor.size
    return factor.reshape(shape)
