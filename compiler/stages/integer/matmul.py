"""Matrix products of quantized tensors, the right one a constant or computed."""

from __future__ import annotations

from functools import partial
from math import prod

import numpy as np
from tvm import relax

from compiler.stages.integer.context import Context, Result, folded_bias, refuse_overflow
from compiler.stages.integer.conv2d import narrowest, of_axis, of_channels
from compiler.stages.integer.quantizers import StaysFloatError, constant_integers
from compiler.stages.integer.values import Integers
from compiler.stages.operand_views import shape_of
from compiler.stages.operators.integer_dot import row_shift
from compiler.stages.operators.integer_matmul import (
    integer_batch_matmul,
    integer_matmul,
    pack_integer_right,
)


def integer_product(
    context: Context, call: relax.Call, to: Result, bias: np.ndarray | None = None
) -> Integers:
    """Return ``relax.matmul`` on integers.

    Args:
        bias: reals, one number or one for each column.
    """
    weights = constant_integers(call.args[1], context.definitions)
    if weights is None or weights.values.ndim != 2:
        return _of_activations(context, call, to, bias)
    data = context.needed(call.args[0])
    depth, columns = weights.values.shape
    scales = of_axis(weights, 1) * data.scale
    dot = context.dot.for_sums(depth, weights.values)
    shifted = data.zero + row_shift(data.integers.dtype, data.zero, dot)
    sums_of_weights = weights.values.sum(axis=0)
    units = folded_bias(of_channels(bias, columns), scales, shifted, sums_of_weights)
    refuse_overflow(units, np.abs(weights.values).sum(axis=0))
    packed = relax.const(pack_integer_right(narrowest(weights.values, dot.least_weight), dot))
    shape = data.integers.shape
    rows = data.integers.plain
    if len(shape) != 2:
        rows = context.emit(relax.op.reshape(rows, (prod(shape[:-1]), depth)))
    compute = partial(integer_matmul, columns=columns, dot=dot, zero=data.zero)
    sums = context.emit_te(compute, rows, packed, name="integer_matmul")
    made = context.requantize(sums, units, scales / to.quantizer.scale, to)
    return _in_shape(context, made, shape_of(call))


def _of_activations(
    context: Context, call: relax.Call, to: Result, bias: np.ndarray | None
) -> Integers:
    """Both sides computed: zero points are subtracted as they are read."""
    left, right = context.needed(call.args[0]), context.needed(call.args[1])
    one, other = left.integers.shape, right.integers.shape
    if len(one) < 2 or len(other) < 2:
        raise StaysFloatError("it is a product with a vector")
    batch = prod(other[:-2])
    if batch != 1 and one[:-2] != other[:-2]:
        raise StaysFloatError("its batches are broadcast")
    scale = np.asarray([left.scale * right.scale])
    units = np.zeros(1) if bias is None else np.rint(of_channels(bias, other[-1]) / scale)
    refuse_overflow(units, np.asarray([255.0 * one[-1]]))
    flat_left = (batch, prod(one[:-1]) // batch, one[-1])
    operands = [
        context.emit(relax.op.reshape(left.integers.plain, flat_left)),
        context.emit(relax.op.reshape(right.integers.plain, (batch, *other[-2:]))),
    ]
    compute = partial(integer_batch_matmul, zeros=(left.zero, right.zero))
    sums = context.emit_te(compute, *operands, name="integer_batch_matmul")
    made = context.requantize(sums, units, scale / to.quantizer.scale, to)
    return _in_shape(context, made, shape_of(call))


def _in_shape(context: Context, made: object, shape: tuple[int, ...]) -> Integers:
    if shape_of(made) == shape:
        return context.plain(made)
    return context.plain(context.emit(relax.op.reshape(made, shape)))
