"""Convolutions of small integers, data [N, H, W, C], exact sums in int32."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import te, tirx

from compiler.stages.operators.conv2d_signature import Conv2dSignature
from compiler.stages.operators.integer_dot import (
    IntegerDot,
    known_zero,
    row_shift,
    stands_around,
)
from compiler.stages.operators.joined_taps import (
    for_joined_taps,
    joined_rows,
    joined_taps,
    joins_taps,
)
from schedules import roles


def packed_lanes(sig: Conv2dSignature, dot: IntegerDot) -> int:
    """Output channels side by side in the packed weights; none reaches into the next group."""
    if sig.groups == 1:
        return dot.lanes_for(sig.out_channels)
    lanes = dot.lanes
    while sig.group_out_channels % lanes:
        lanes //= 2
    return lanes


def pack_integer_conv2d_weight(
    weight: np.ndarray, sig: Conv2dSignature, dot: IntegerDot
) -> np.ndarray:
    """``weight[O, I, KH, KW]`` as ``[O/L, KH, KW, I/group, L, group]``, missing channels zero.

    A joined row of taps is one tap of KW * I channels.
    """
    lanes = packed_lanes(sig, dot)
    if joins_taps(sig, dot):
        weight = joined_taps(weight)
        dot = for_joined_taps(weight.shape[1], dot)
    dot = dot.for_depth(weight.shape[1])
    out_channels, group_in, kernel_h, kernel_w = weight.shape
    blocks, chunks = -(-out_channels // lanes), dot.chunks_for(group_in)
    room = np.zeros((blocks * lanes, chunks * dot.group, kernel_h, kernel_w), weight.dtype)
    room[:out_channels, :group_in] = weight
    split = room.reshape(blocks, lanes, chunks, dot.group, kernel_h, kernel_w)
    return np.ascontiguousarray(split.transpose(0, 4, 5, 2, 1, 3))


def integer_rows(
    data: te.Tensor,
    sig: Conv2dSignature,
    dot: IntegerDot,
    *,
    zero: int | te.Tensor,
    channels: int,
) -> te.Tensor:
    """``data[N, H, W, C]`` as the sums read it: [N, H + pads, W + pads, `channels`].

    If `dot` wants it, a copy for a pointwise convolution is [N, 1, H * W, `channels`].

    A block of role PAD where that is a copy; around the data stands its zero point.
    """
    dtype = dot.row_dtype or str(data.dtype)
    top, left, bottom, right = sig.pads
    batch, height, width, given = (int(extent) for extent in data.shape)
    if not any(sig.pads) and channels == given and dtype == str(data.dtype):
        return data
    shift = row_shift(str(data.dtype), known_zero(zero), dot)
    around = stands_around(zero, str(data.dtype), dtype, dot)

    def element(n: Any, y: Any, x: Any, c: Any) -> Any:
        value = data[n, y - top, x - left, c]
        if dtype != str(data.dtype):
            value = (value.astype("int16") + tirx.const(shift, "int16")).astype(dtype)
        # One test in another: those of position leave the loop over channels.
        if channels > given:
            value = tirx.if_then_else(c < given, value, around)
        if left or right:
            value = tirx.if_then_else(tirx.all(x >= left, x < left + width), value, around)
        if top or bottom:
            value = tirx.if_then_else(tirx.all(y >= top, y < top + height), value, around)
        return value

    shape = (batch, height + top + bottom, width + left + right, channels)
    if sig.is_pointwise and dot.flat_positions:
        return te.compute(
            (batch, 1, height * width, channels),
            lambda n, _, x, c: element(n, x // width, x % width, c),
            name="pad",
            attrs={roles.ROLE: roles.PAD},
        )
    return te.compute(shape, element, name="pad", attrs={roles.ROLE: roles.PAD})


def integer_conv2d(
    data: te.Tensor,
    weight: te.Tensor,
    *,
    sig: Conv2dSignature,
    dot: IntegerDot,
    zero: int | te.Tensor,
) -> te.Tensor:
    """int32 ``[N, OH, OW, O]`` from ``data[N, H, W, C]`` and packed weights.

    The sums are [N, Y, X, O/L, L]; a pointwise convolution's positions are one row, Y is 1.

    Args:
        zero: the integer that stands around the data; a tensor of one if computed at run time.
    """
    blocks, _, _, chunks, lanes, group = (int(extent) for extent in weight.shape)
    group_in = sig.in_channels // sig.groups
    joined = joins_taps(sig, dot)
    if joined:
        rows = joined_rows(data, sig, dot, zero=zero, taps=chunks * group)
    else:
        rows = integer_rows(
            data, sig, dot, zero=zero, channels=(sig.groups - 1) * group_in + chunks * group
        )
    out_h, out_w = sig.out_extent
    tap_y = te.reduce_axis((0, sig.kernel[0]), "tap_y")
    tap_x = te.reduce_axis((0, 1 if joined else sig.kernel[1]), "tap_x")
    chunk = te.reduce_axis((0, chunks), "chunk")
    inner = te.reduce_axis((0, group), "inner_channel")

    def taken(n: Any, y: Any, x: Any, block: Any) -> Any:
        channel: Any = chunk * group + inner if group > 1 else chunk
        if sig.groups > 1:
            channel = block * lanes // sig.group_out_channels * group_in + channel
        if sig.is_pointwise and rows is not data and dot.flat_positions:
            return rows[n, 0, x, channel]
        if sig.is_pointwise:
            return rows[n, x // out_w, x % out_w, channel]
        row = y * sig.strides[0] + tap_y * sig.dilation[0]
        if joined:
            return rows[n, row, x * (sig.strides[1] * sig.in_channels) + channel]
        return rows[n, row, x * sig.strides[1] + tap_x * sig.dilation[1], channel]

    def accumulate(n: Any, y: Any, x: Any, block: Any, lane: Any) -> Any:
        factor = weight[block, tap_y, tap_x, chunk, lane, inner].astype("int32")
        product = taken(n, y, x, block).astype("int32") * factor
        return te.sum(product, axis=[tap_y, tap_x, chunk, inner])

    extent = (1, out_h * out_w) if sig.is_pointwise else (out_h, out_w)
    sums = te.compute(
        (sig.batch, *extent, blocks, lanes),
        accumulate,
        name="integer_conv2d",
        attrs={roles.ROLE: roles.INTEGER_CONV2D, **dot.marks()},
    )

    def unpacked(n: Any, y: Any, x: Any, o: Any) -> Any:
        place = (0, y * out_w + x) if sig.is_pointwise else (y, x)
        return sums[(n, *place, o // lanes, o % lanes)]

    shape = (sig.batch, out_h, out_w, sig.out_channels)
    return te.compute(shape, unpacked, name="unpack", attrs={roles.ROLE: roles.UNPACK})


def pack_integer_depthwise_weight(weight: np.ndarray) -> np.ndarray:
    """``weight[O, 1, KH, KW]`` as ``[KH, KW, O]``."""
    return np.ascontiguousarray(weight[:, 0].transpose(1, 2, 0))


def integer_depthwise_conv2d(
    data: te.Tensor,
    weight: te.Tensor,
    *,
    sig: Conv2dSignature,
    dot: IntegerDot,
    zero: int | te.Tensor,
) -> te.Tensor:
    """int32 ``[N, OH, OW, O]`` from ``data[N, H, W, C]`` and ``weight[KH, KW, O]``."""
    rows = integer_rows(data, sig, dot, zero=zero, channels=sig.in_channels)
    tap_y = te.reduce_axis((0, sig.kernel[0]), "tap_y")
    tap_x = te.reduce_axis((0, sig.kernel[1]), "tap_x")
    multiplier = sig.group_out_channels

    def accumulate(n: Any, y: Any, x: Any, o: Any) -> Any:
        row = y * sig.strides[0] + tap_y * sig.dilation[0]
        column = x * sig.strides[1] + tap_x * sig.dilation[1]
        value = rows[n, row, column, o // multiplier if multiplier > 1 else o].astype("int32")
        return te.sum(value * weight[tap_y, tap_x, o].astype("int32"), axis=[tap_y, tap_x])

    return te.compute(
        (sig.batch, *sig.out_extent, sig.out_channels),
        accumulate,
        name="integer_depthwise_conv2d",
        attrs={roles.ROLE: roles.INTEGER_DEPTHWISE},
    )
