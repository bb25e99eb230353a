"""Matrix products of quantized tensors, the right one a constant or computed."""

from __future__ import annotations

from functools import partial
from math import prod
from typing import Any

import numpy as np
from tvm import relax

from compiler.stages.integer.context import Context, Result, folded_bias, refuse_overflow
from compiler.stages.integer.conv2d import narrowest, of_axis, of_channels
from compiler.stages.integer.quantizers import StaysFloatError, constant_integers
from compiler.stages.integer.values import Integers
from compiler.stages.operand_views import shape_of
from compiler.stages.operators.gpu_integer_product import (
    gpu_integer_batch_matmul,
    integer_tiles,
    less_line_sums,
    line_sums,
)
from compiler.stages.operators.gpu_product import ProductExtents
from compiler.stages.operators.integer_dot import row_shift
from compiler.stages.operators.integer_matmul import integer_batch_matmul
from compiler.stages.operators.integer_products import matmul_sums


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
    shape = data.integers.shape
    dot = context.dot.for_sums(depth, weights.values).for_tiles(
        rows=prod(shape[:-1]), depth=depth, taps=1, weights=weights.values
    )
    shifted = data.zero + row_shift(data.integers.dtype, data.zero, dot)
    sums_of_weights = weights.values.sum(axis=0)
    units = folded_bias(of_channels(bias, columns), scales, shifted, sums_of_weights)
    refuse_overflow(units, np.abs(weights.values).sum(axis=0))
    packed, compute = matmul_sums(
        narrowest(weights.values, dot.least_weight),
        rows=prod(shape[:-1]),
        dot=dot,
        zero=data.zero,
    )
    rows = data.integers.plain
    if len(shape) != 2:
        rows = context.emit(relax.op.reshape(rows, (prod(shape[:-1]), depth)))
    sums = context.emit_te(compute, rows, relax.const(packed), name="integer_matmul")
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
    sums = _batch_sums(context, operands, (left.zero, right.zero))
    made = context.requantize(sums, units, scale / to.quantizer.scale, to)
    return _in_shape(context, made, shape_of(call))


def _batch_sums(context: Context, operands: list[Any], zeros: tuple[int, int]) -> Any:
    """int32 ``[B, M, N]`` from ``[B, M, K]`` and ``[B or 1, K, N]``.

    A GPU multiplies the integers as they are stored; what zero points add is subtracted after it.
    """
    (batch, rows, depth), (_, _, columns) = (shape_of(operand) for operand in operands)
    if context.dot.gpu is None or 1 in (rows, columns):
        compute = partial(integer_batch_matmul, zeros=zeros)
        return context.emit_te(compute, *operands, name="integer_batch_matmul")
    extents = ProductExtents(batch=batch, rows=rows, columns=columns, depth=depth)
    tiles = integer_tiles(extents, context.dot.gpu, bytes_only=True)
    lines = [
        context.emit_te(partial(line_sums, axis=axis), operand, name="integer_line_sums")
        for operand, axis, zero in zip(operands, (2, 1), reversed(zeros), strict=True)
        if zero
    ]
    product = partial(gpu_integer_batch_matmul, tiles=tiles)
    sums = context.emit_te(product, *operands, name="integer_batch_matmul")
    if not lines:
        return sums
    less = partial(less_line_sums, zeros=zeros, depth=depth)
    return context.emit_te(less, sums, *lines, name="less_line_sums")


def _in_shape(context: Context, made: object, shape: tuple[int, ...]) -> Integers:
    if shape_of(made) == shape:
        return context.plain(made)
    return context.plain(context.emit(relax.op.reshape(made, shape)))
