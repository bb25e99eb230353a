"""Sums, products, and other scales of quantized tensors."""

from __future__ import annotations

from functools import partial
from math import floor, log2
from typing import Any

import numpy as np
from tvm import relax

from compiler.stages.integer.context import INT32_LIMIT, Context, Result
from compiler.stages.integer.conv2d import (
    integer_convolution,
    integer_row_convolution,
    integer_transposed_convolution,
)
from compiler.stages.integer.matmul import integer_product
from compiler.stages.integer.quantizers import StaysFloatError, constant_reals
from compiler.stages.integer.values import Integers, Operand
from compiler.stages.operand_views import shape_of
from compiler.stages.operators.integer_elementwise import as_int32, weighted_sum
from compiler.stages.operators.integer_elementwise import integer_product as elements_product
from compiler.stages.provenance import is_call_to

_BIASED = {
    "relax.matmul": integer_product,
    "relax.nn.conv1d": integer_row_convolution,
    "relax.nn.conv2d": integer_convolution,
    "relax.nn.conv2d_transpose": integer_transposed_convolution,
}


def integer_sum(context: Context, call: relax.Call, to: Result) -> Integers:
    """Return ``relax.add``: of a bias to what is summed, or of two quantized tensors.

    The two are ``(M0 * q0 + M1 * q1 + C) * 2**-k``, M0 and M1 whole numbers: the multiple of
    ``2**-k`` nearest to ``scale / output scale``, k as large as 32 bits let it be.
    """
    for core, other in (call.args, reversed(list(call.args))):
        biased = _BIASED.get(getattr(getattr(context.behind(core), "op", None), "name", ""))
        bias = None if biased is None else constant_reals(other, context.definitions)
        if biased is not None and bias is not None:
            if isinstance(core, relax.Var):
                context.inner_names.append(core.name)
            _refuse_broadcast(
                bias, shape_of(call), is_call_to(context.behind(core), "relax.matmul")
            )
            return biased(context, context.behind(core), to, bias)
    return _weighted(context, call, to, sign=1)


def integer_difference(context: Context, call: relax.Call, to: Result) -> Integers:
    """Return ``relax.subtract`` of two quantized tensors."""
    return _weighted(context, call, to, sign=-1)


def _weighted(context: Context, call: relax.Call, to: Result, *, sign: int) -> Integers:
    operands = [context.needed(argument) for argument in call.args]
    ratios = [operand.scale / to.quantizer.scale for operand in operands]
    shift = sum_shift(ratios)
    weights = [int(np.rint(ratio * 2.0**shift)) for ratio in ratios]
    weights[1] *= sign
    bias = -sum(w * operand.zero for w, operand in zip(weights, operands, strict=True))
    compute = partial(weighted_sum, weights=(weights[0], weights[1]))
    name = "integer_add" if sign > 0 else "integer_subtract"
    return _of_two(context, call, operands, compute, name, bias, 2.0**-shift, to)


def sum_shift(ratios: list[float]) -> int:
    """The largest k with ``sum(rint(ratio * 2**k) * 255)`` below half of what 32 bits hold.

    Zero points are at most as large again: they are part of the other half.
    """
    return floor(log2(INT32_LIMIT / 2 / 256 / sum(ratios)))


def integer_elements_product(context: Context, call: relax.Call, to: Result) -> Integers:
    """Return ``relax.multiply`` of two quantized tensors."""
    operands = [context.needed(argument) for argument in call.args]
    one, other = operands
    factor = one.scale * other.scale / to.quantizer.scale
    compute = partial(elements_product, zeros=(one.zero, other.zero))
    return _of_two(context, call, operands, compute, "integer_multiply", 0, factor, to)


def _of_two(
    context: Context,
    call: relax.Call,
    operands: list[Operand],
    compute: Any,
    name: str,
    bias: int,
    factor: float,
    to: Result,
) -> Integers:
    """Emit an operator of two tensors in the layout that they have, and requantize."""
    images = all(len(operand.integers.shape) == 4 for operand in operands)
    last = images and any(operand.integers.is_last for operand in operands)
    given = [o.integers.last if last else o.integers.plain for o in operands]
    del call
    sums = context.emit_te(compute, *given, name=name)
    made = context.requantize(sums, np.asarray([bias]), np.asarray([factor]), to)
    return context.channels_last(made) if last else context.plain(made)


def rescaled(context: Context, operand: Operand, to: Result) -> Integers:
    """The same reals in other integers: as they are where scale, zero point and range agree."""
    integers, quantizer = operand.integers, to.quantizer
    same = (operand.scale, operand.zero, integers.dtype) == (
        quantizer.scale,
        quantizer.zero,
        quantizer.dtype,
    )
    if same and to.slope is None and to.bounds == quantizer.bounds():
        return integers
    last = integers.is_last
    given = integers.last if last else integers.plain
    wide = context.emit_te(as_int32, given, name="integer_rescale")
    factor = np.asarray([operand.scale / quantizer.scale])
    made = context.requantize(wide, np.asarray([-operand.zero]), factor, to)
    return context.channels_last(made) if last else context.plain(made)


def _refuse_broadcast(bias: np.ndarray, shape: tuple[int, ...], last_axis: bool) -> None:
    """Raise StaysFloatError unless the bias is one number for each channel."""
    axis = len(shape) - 1 if last_axis else 1
    own = (1,) * (len(shape) - bias.ndim) + bias.shape
    if any(extent > 1 and position != axis for position, extent in enumerate(own)):
        raise StaysFloatError("what is added to its result is no bias")
