"""Depthwise convolution, on plain data by columns and on blocked data by channels."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import te

from compiler.stages.operators.channel_blocks import narrowest_lanes
from compiler.stages.operators.conv2d_signature import Conv2dSignature, padded
from compiler.stages.operators.phased_rows import phased_rows
from schedules import roles


def depthwise_conv2d(
    data: te.Tensor, weight: te.Tensor, sig: Conv2dSignature, vector_lanes: int
) -> te.Tensor:
    """``out[N, O, OH, OW]`` from ``data[N, C, H, W]`` and ``weight[O, KH, KW]``, O a multiple of C.

    Rows are computed in whole vectors; what is beyond OW is dropped.
    """
    out_h, out_w = sig.out_extent
    lanes = narrowest_lanes(out_w, vector_lanes)
    columns = -(-out_w // lanes) * lanes
    phased = phased_rows(data, sig, columns)
    multiplier = sig.group_out_channels
    stride, dilation = sig.strides[1], sig.dilation[1]
    tap_y = te.reduce_axis((0, sig.kernel[0]), "tap_y")
    tap_x = te.reduce_axis((0, sig.kernel[1]), "tap_x")

    def accumulate(n: Any, o: Any, y: Any, x: Any) -> Any:
        row = y * sig.strides[0] + tap_y * sig.dilation[0]
        reach = tap_x * dilation
        source = phased[n, o // multiplier, row, reach % stride, x + reach // stride]
        return te.sum(source * weight[o, tap_y, tap_x], axis=[tap_y, tap_x])

    rows = te.compute(
        (sig.batch, sig.out_channels, out_h, columns),
        accumulate,
        name="depthwise_conv2d",
        attrs={roles.ROLE: roles.DEPTHWISE_CONV2D},
    )
    return te.compute(
        (sig.batch, sig.out_channels, out_h, out_w),
        lambda n, o, y, x: rows[n, o, y, x],
        name="unpack",
        attrs={roles.ROLE: roles.UNPACK},
    )


def blocked_depthwise_conv2d(data: te.Tensor, weight: te.Tensor, sig: Conv2dSignature) -> te.Tensor:
    """``out[N, C/B, OH, OW, B]`` from ``data[N, C/B, H, W, B]`` and ``weight[C/B, KH, KW, B]``."""
    source = padded(data, sig.pads)
    batch, blocks, _, _, lanes = (int(extent) for extent in data.shape)
    tap_y = te.reduce_axis((0, sig.kernel[0]), "tap_y")
    tap_x = te.reduce_axis((0, sig.kernel[1]), "tap_x")

    def accumulate(n: Any, c: Any, y: Any, x: Any, lane: Any) -> Any:
        row = y * sig.strides[0] + tap_y * sig.dilation[0]
        column = x * sig.strides[1] + tap_x * sig.dilation[1]
        product = source[n, c, row, column, lane] * weight[c, tap_y, tap_x, lane]
        return te.sum(product, axis=[tap_y, tap_x])

    return te.compute(
        (batch, blocks, *sig.out_extent, lanes),
        accumulate,
        name="depthwise_conv2d",
        attrs={roles.ROLE: roles.BLOCKED_DEPTHWISE_CONV2D},
    )


def pack_depthwise_weight(weight: np.ndarray, block: int) -> np.ndarray:
    """``weight[C, 1, KH, KW]`` as ``[C/B, KH, KW, B]``."""
    channels, _, kernel_h, kernel_w = weight.shape
    by_block = weight.reshape(channels // block, block, kernel_h, kernel_w)
    return np.ascontiguousarray(np.moveaxis(by_block, 1, -1))
