"""Convolutions of quantized data with quantized constant weights."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
from tvm import relax

from compiler.stages.integer.context import Context, Result, folded_bias, refuse_overflow
from compiler.stages.integer.quantizers import ConstantIntegers, StaysFloatError, constant_integers
from compiler.stages.integer.values import Integers, Operand
from compiler.stages.operators.conv2d_signature import Conv2dSignature, conv2d_signature
from compiler.stages.operators.integer_conv2d import (
    integer_depthwise_conv2d,
    pack_integer_depthwise_weight,
)
from compiler.stages.operators.integer_conv2d_transpose import (
    SpreadConv2d,
    flipped_weight,
    integer_conv2d_transpose,
)
from compiler.stages.operators.integer_dot import row_shift
from compiler.stages.operators.integer_products import Sums, conv2d_dot, conv2d_sums
from compiler.stages.operators.tap_pairs import (
    pack_tap_pairs,
    sums_tap_pairs,
    tap_pairs_depthwise_conv2d,
)


def integer_convolution(
    context: Context, call: relax.Call, to: Result, bias: np.ndarray | None = None
) -> Integers:
    """Return ``relax.nn.conv2d`` on integers, channels last.

    Args:
        bias: reals, of any shape that holds one number or one for each output channel.
    """
    sig = conv2d_signature(call)
    weights = constant_integers(call.args[1], context.definitions)
    if sig is None:
        raise StaysFloatError("its layout is not ONNX's")
    if weights is None:
        raise StaysFloatError("its weights are no quantized constant")
    return _convolved(context, sig, context.needed(call.args[0]), weights, to, bias)


def integer_row_convolution(
    context: Context, call: relax.Call, to: Result, bias: np.ndarray | None = None
) -> Integers:
    """Return ``relax.nn.conv1d`` on integers, as images one row high."""
    attrs = call.attrs
    weights = constant_integers(call.args[1], context.definitions)
    if (attrs.data_layout, attrs.kernel_layout) != ("NCW", "OIW"):
        raise StaysFloatError("its layout is not ONNX's")
    if weights is None:
        raise StaysFloatError("its weights are no quantized constant")
    data = context.needed(call.args[0])
    batch, in_channels, width = data.integers.shape
    out_channels, _, taps = weights.values.shape
    left, right = (int(pad) for pad in attrs.padding)
    sig = Conv2dSignature(
        batch=batch,
        in_channels=in_channels,
        height=1,
        width=width,
        out_channels=out_channels,
        kernel=(1, taps),
        strides=(1, int(attrs.strides[0])),
        pads=(0, left, 0, right),
        dilation=(1, int(attrs.dilation[0])),
        groups=int(attrs.groups),
    )
    wide_weights = ConstantIntegers(
        values=weights.values[:, :, np.newaxis], scale=weights.scale[:, :, np.newaxis]
    )
    wide = replace(data, integers=context.widened(data.integers))
    made = _convolved(context, sig, wide, wide_weights, to, bias)
    return context.narrowed(made)


def _convolved(
    context: Context,
    sig: Conv2dSignature,
    data: Operand,
    weights: ConstantIntegers,
    to: Result,
    bias: np.ndarray | None,
) -> Integers:
    """Sums of a convolution of images, requantized, channels last."""
    scales = of_axis(weights, 0) * data.scale
    dot = context.dot.for_sums(sig.in_channels // sig.groups, weights.values)
    dot = conv2d_dot(sig, weights.values, dot)
    if sig.is_depthwise:
        dot = context.dot.of_depthwise
    shifted = data.zero + row_shift(data.integers.dtype, data.zero, dot)
    values = weights.values.reshape(sig.out_channels, -1)
    units = folded_bias(of_channels(bias, sig.out_channels), scales, shifted, values.sum(axis=1))
    refuse_overflow(units, np.abs(values).sum(axis=1))
    narrow = narrowest(weights.values, dot.least_weight)
    if sums_tap_pairs(sig, dot):
        packed = pack_tap_pairs(weights.values, sig)
        compute: Sums = partial(tap_pairs_depthwise_conv2d, sig=sig, dot=dot, zero=data.zero)
        name = "integer_depthwise_conv2d"
    elif sig.is_depthwise:
        if dot.wide_depthwise_weights:
            narrow = weights.values.astype(np.int16)
        packed = pack_integer_depthwise_weight(narrow)
        compute = partial(integer_depthwise_conv2d, sig=sig, dot=dot, zero=data.zero)
        name = "integer_depthwise_conv2d"
    else:
        packed, compute = conv2d_sums(narrow, sig=sig, dot=dot, zero=data.zero)
        name = "integer_conv2d"
    sums = context.emit_te(compute, data.integers.last, relax.const(packed), name=name)
    made = context.requantize(sums, units, scales / to.quantizer.scale, to)
    return context.channels_last(made)


def integer_transposed_convolution(
    context: Context, call: relax.Call, to: Result, bias: np.ndarray | None = None
) -> Integers:
    """Return ``relax.nn.conv2d_transpose`` on integers, channels last."""
    attrs = call.attrs
    weights = constant_integers(call.args[1], context.definitions)
    if (attrs.data_layout, attrs.kernel_layout) != ("NCHW", "IOHW"):
        raise StaysFloatError("its layout is not ONNX's")
    if weights is None:
        raise StaysFloatError("its weights are no quantized constant")
    data, groups = context.needed(call.args[0]), int(attrs.groups)
    form = _spread(call, data.integers.shape, weights.values.shape)
    channels = form.sig.out_channels
    scales = np.resize(of_axis(weights, 1), channels) * data.scale
    dot = context.dot.for_sums(form.sig.in_channels // groups, weights.values)
    if any(form.sig.pads):  # spread data is copied anyway
        dot = conv2d_dot(form.sig, weights.values, dot)
    shifted = data.zero + row_shift(data.integers.dtype, data.zero, dot)
    flipped = flipped_weight(weights.values, groups)
    values = flipped.reshape(channels, -1)
    units = folded_bias(of_channels(bias, channels), scales, shifted, values.sum(axis=1))
    refuse_overflow(units, np.abs(values).sum(axis=1))
    narrow = narrowest(flipped, dot.least_weight)
    packed, convolve = conv2d_sums(narrow, sig=form.sig, dot=dot, zero=data.zero)
    compute = partial(integer_conv2d_transpose, form=form, zero=data.zero, convolve=convolve)
    name = "integer_conv2d_transpose"
    sums = context.emit_te(compute, data.integers.last, relax.const(packed), name=name)
    made = context.requantize(sums, units, scales / to.quantizer.scale, to)
    return context.channels_last(made)


def _spread(
    call: relax.Call, shape: tuple[int, ...], weight_shape: tuple[int, ...]
) -> SpreadConv2d:
    """A transposed convolution as a convolution of spread data."""
    attrs = call.attrs
    batch, in_channels, height, width = shape
    _, group_out, *kernel = weight_shape
    groups = int(attrs.groups)
    strides, dilation = ([int(v) for v in pair] for pair in (attrs.strides, attrs.dilation))
    pads, more = [int(p) for p in attrs.padding], [int(p) for p in attrs.output_padding]
    reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    around = [reach[i % 2] - pads[i] + (more[i % 2] if i > 1 else 0) for i in range(4)]
    if min(around) < 0:
        raise StaysFloatError("its pads cut off more than its kernel adds")
    return SpreadConv2d(
        spread=(strides[0], strides[1]),
        sig=Conv2dSignature(
            batch=batch,
            in_channels=in_channels,
            height=(height - 1) * strides[0] + 1,
            width=(width - 1) * strides[1] + 1,
            out_channels=group_out * groups,
            kernel=(kernel[0], kernel[1]),
            strides=(1, 1),
            pads=(around[0], around[1], around[2], around[3]),
            dilation=(dilation[0], dilation[1]),
            groups=groups,
        ),
    )


def of_axis(weights: ConstantIntegers, axis: int) -> np.ndarray:
    """The scale of each output channel: [O], or [1] if they are equal.

    Raises:
        StaysFloatError: scales differ along another axis.
    """
    scale = weights.scale
    others = tuple(a for a in range(scale.ndim) if a != axis % scale.ndim)
    least = scale.min(axis=others)
    if np.any(least != scale.max(axis=others)):
        raise StaysFloatError("its weights have scales along an axis that is summed")
    return np.asarray(least)


def of_channels(bias: np.ndarray | None, channels: int) -> np.ndarray | None:
    """A bias as [O] or [1].

    Raises:
        StaysFloatError: it differs within a channel.
    """
    if bias is None or bias.size in (1, channels):
        return None if bias is None else bias.reshape(-1)
    raise StaysFloatError("what is added to its result is no bias")


def narrowest(values: np.ndarray, least: int = -128) -> np.ndarray:
    """Weights in int8, or int16 where one is below `least` or their zero point far from 0."""
    fits = values.min(initial=0) >= least and values.max(initial=0) <= 127
    return values.astype(np.int8 if fits else np.int16)
