"""Depthwise convolution of small integers by pairs of taps, one below the other.

Its channels are not summed, so that neighbours in a dot product have to be taps. Two rows of data
lie interleaved, channel by channel: a step multiplies a vector of channels by both taps. An output
row begins in the first row of a pair or, for odd strides, in the second; a tap that a pair lacks is
a weight of zero.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import te, tirx

from compiler.stages.operators.channel_blocks import channel_block
from compiler.stages.operators.conv2d_signature import Conv2dSignature
from compiler.stages.operators.integer_dot import IntegerDot, row_shift
from schedules import roles

PAIR = 2


def sums_tap_pairs(sig: Conv2dSignature, dot: IntegerDot) -> bool:
    """Whether taps below each other make pairs, and channels whole vectors."""
    if not dot.pairs_taps or not sig.is_depthwise or sig.group_out_channels > 1:
        return False
    has_pairs = sig.kernel[0] > 1 and sig.dilation[0] == 1
    return has_pairs and channel_block(sig.in_channels, dot.lanes) is not None


def pack_tap_pairs(weight: np.ndarray, sig: Conv2dSignature) -> np.ndarray:
    """``weight[O, 1, KH, KW]`` as int16 ``[starts, pairs, KW, O, 2]``.

    `starts`: whether the first tap is in the first row of a pair or in the second.
    """
    starts, pairs = _starts(sig), _pairs(sig)
    channels, _, taps, columns = weight.shape
    room = np.zeros((starts, PAIR * pairs, columns, channels), np.int16)
    for start in range(starts):
        room[start, start : start + taps] = weight[:, 0].transpose(1, 2, 0)
    split = room.reshape(starts, pairs, PAIR, columns, channels)
    return np.ascontiguousarray(split.transpose(0, 1, 3, 4, 2))


def tap_pairs_depthwise_conv2d(
    data: te.Tensor, weight: te.Tensor, *, sig: Conv2dSignature, dot: IntegerDot, zero: int
) -> te.Tensor:
    """int32 ``[N, OH, OW, O]`` from ``data[N, H, W, C]`` and weights of `pack_tap_pairs`."""
    shift = row_shift(str(data.dtype), zero, dot)
    rows = _pairs_of_rows(data, sig, shift=shift, around=zero + shift)
    starts, pairs = _starts(sig), _pairs(sig)
    pair = te.reduce_axis((0, pairs), "tap_pair")
    tap_x = te.reduce_axis((0, sig.kernel[1]), "tap_x")
    inner = te.reduce_axis((0, PAIR), "inner_tap")

    def accumulate(n: Any, y: Any, x: Any, o: Any) -> Any:
        column = x * sig.strides[1] + tap_x * sig.dilation[1]
        first = y * sig.strides[0]
        value = rows[n, first // PAIR + pair, column, o, inner].astype("int32")
        factor = weight[first % PAIR if starts > 1 else 0, pair, tap_x, o, inner]
        return te.sum(value * factor.astype("int32"), axis=[pair, tap_x, inner])

    return te.compute(
        (sig.batch, *sig.out_extent, sig.out_channels),
        accumulate,
        name="tap_pairs_depthwise_conv2d",
        attrs={roles.ROLE: roles.TAP_PAIRS},
    )


def _starts(sig: Conv2dSignature) -> int:
    return 1 + sig.strides[0] % 2


def _pairs(sig: Conv2dSignature) -> int:
    return -(-(sig.kernel[0] + _starts(sig) - 1) // PAIR)


def _pairs_of_rows(data: te.Tensor, sig: Conv2dSignature, *, shift: int, around: int) -> te.Tensor:
    """``data[N, H, W, C]`` as int16 [N, pairs of H + pads, W + pads, C, 2].

    Args:
        shift: what is added to it.
        around: what stands around it.
    """
    top, left, _, right = sig.pads
    batch, height, width, channels = (int(extent) for extent in data.shape)
    last = (sig.out_extent[0] - 1) * sig.strides[0] // PAIR + _pairs(sig)

    border = tirx.const(around, "int16")

    def element(n: Any, k: Any, x: Any, c: Any, i: Any) -> Any:
        row = k * PAIR + i
        value = data[n, row - top, x - left, c].astype("int16") + tirx.const(shift, "int16")
        if left or right:
            value = tirx.if_then_else(tirx.all(x >= left, x < left + width), value, border)
        if top or PAIR * last > height:
            value = tirx.if_then_else(tirx.all(row >= top, row < top + height), value, border)
        return value

    shape = (batch, last, width + left + right, channels, PAIR)
    return te.compute(shape, element, name="pad", attrs={roles.ROLE: roles.PAD})
