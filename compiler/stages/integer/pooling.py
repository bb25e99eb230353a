"""Pooling and means of quantized tensors."""

from __future__ import annotations

from functools import partial
from math import prod

import numpy as np
from tvm import relax

from compiler.stages.integer.context import INT32_LIMIT, Context, Result
from compiler.stages.integer.elementwise import rescaled
from compiler.stages.integer.quantizers import StaysFloatError
from compiler.stages.integer.values import Integers, Operand
from compiler.stages.operand_views import shape_of
from compiler.stages.operators.integer_pooling import (
    Window,
    integer_max_pool,
    integer_sum_pool,
    integer_sums,
)


def _window(call: relax.Call) -> Window:
    """The windows of a pooling call in NCHW, pads grown to what `ceil_mode` asks for."""
    attrs = call.attrs
    if str(attrs.layout) != "NCHW":
        raise StaysFloatError("its layout is not ONNX's")
    pads = [int(v) for v in attrs.padding]
    kernel, strides, dilation = (
        (int(pair[0]), int(pair[1])) for pair in (attrs.pool_size, attrs.strides, attrs.dilation)
    )
    shape, out = shape_of(call.args[0]), shape_of(call)
    for axis in (0, 1):  # the last window may reach beyond the pads
        reach = (out[2 + axis] - 1) * strides[axis] + dilation[axis] * (kernel[axis] - 1) + 1
        pads[2 + axis] = max(pads[2 + axis], reach - shape[2 + axis] - pads[axis])
    return Window(
        kernel=kernel,
        strides=strides,
        dilation=dilation,
        pads=(pads[0], pads[1], pads[2], pads[3]),
    )


def integer_max_pooling(context: Context, call: relax.Call, to: Result) -> Integers:
    """Return ``relax.nn.max_pool2d``: the largest integers are those of the largest reals."""
    data, window = context.needed(call.args[0]), _window(call)
    compute = partial(integer_max_pool, window=window)
    made = context.emit_te(compute, data.integers.last, name="integer_max_pool")
    pooled = Operand(integers=context.channels_last(made), scale=data.scale, zero=data.zero)
    return rescaled(context, pooled, to)


def integer_average_pooling(context: Context, call: relax.Call, to: Result) -> Integers:
    """Return ``relax.nn.avg_pool2d``: exact sums; each window's count is part of its factor."""
    data, window = context.needed(call.args[0]), _window(call)
    _, _, height, width = data.integers.shape
    counts = window.counts(height, width).astype(np.float64)
    size = prod(window.kernel)
    if call.attrs.count_include_pad:
        if bool(call.attrs.ceil_mode):
            raise StaysFloatError("its last windows count some of what is outside of the data")
        counts = np.full(counts.shape, float(size))
    compute = partial(integer_sum_pool, window=window, zero=data.zero)
    sums = context.emit_te(compute, data.integers.last, name="integer_sum_pool")
    factor = (data.scale / (counts * to.quantizer.scale))[:, :, np.newaxis]
    made = context.requantize(sums, np.asarray([-data.zero * size]), factor, to)
    return context.channels_last(made)


def integer_mean(context: Context, call: relax.Call, to: Result) -> Integers:
    """Return ``relax.mean``: exact sums, the count part of the factor."""
    data = context.needed(call.args[0])
    shape = data.integers.shape
    given = range(len(shape)) if call.attrs.axis is None else call.attrs.axis
    axes = sorted(int(axis) % len(shape) for axis in given)
    count = prod(shape[axis] for axis in axes)
    if count * 255 >= INT32_LIMIT:
        raise StaysFloatError("its sums may not fit 32 bits")
    factor = np.asarray([data.scale / (count * to.quantizer.scale)])
    bias = np.asarray([-data.zero * count])
    planes = axes == [2, 3] and len(shape) == 4
    if planes:
        window = Window(
            kernel=(shape[2], shape[3]), strides=(1, 1), dilation=(1, 1), pads=(0, 0, 0, 0)
        )
        compute = partial(integer_sum_pool, window=window, zero=data.zero)
        sums = context.emit_te(compute, data.integers.last, name="integer_sum_pool")
        result = context.channels_last(context.requantize(sums, bias, factor, to))
    else:
        summed = ("integer_mean", partial(integer_sums, axes=axes))
        made = context.requantize(data.integers.plain, bias, factor, to, summed=summed)
        result = context.plain(made)
    if bool(call.attrs.keepdims):
        return result
    return context.plain(context.emit(relax.op.reshape(result.plain, shape_of(call))))
