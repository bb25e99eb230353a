"""Convolution with few output channels: a row's columns in vector lanes.

Where a vector of output channels would be part empty, or the only one at a position, columns of a
row fill vectors instead, and each weight is multiplied with a vector of inputs.
"""

from __future__ import annotations

from math import gcd
from typing import Any

import numpy as np
from tvm import te

from compiler.stages.operators.conv2d_signature import Conv2dSignature, in_output_layout
from compiler.stages.operators.phased_rows import phased_rows
from schedules import roles

# Taps of one row that are written out, so that each knows its phase.
_MOST_WRITTEN_OUT = 8


def tap_run(sig: Conv2dSignature) -> int:
    """Taps side by side of which each always has the same phase of the stride; divides them."""
    taps, stride = sig.kernel[1], sig.strides[1]
    period = stride // gcd(stride, sig.dilation[1])
    if taps % period == 0:
        return period
    return taps if taps <= _MOST_WRITTEN_OUT else 1


def columns_conv2d(
    data: te.Tensor, weight: te.Tensor, sig: Conv2dSignature, vectors: int, lanes: int
) -> te.Tensor:
    """``out[N, O, OH, OW]`` from plain or blocked data and ``weight[G, I, KH, KW/P, P, O/G]``.

    Args:
        vectors: of `lanes` columns, which a row of sums has; what is beyond OW is dropped.
    """
    groups, group_in, kernel_h, runs, run, group_out = (int(extent) for extent in weight.shape)
    rows = phased_rows(data, sig, vectors * lanes)
    stride, dilation = sig.strides[1], sig.dilation[1]
    channel = te.reduce_axis((0, group_in), "channel")
    tap_y = te.reduce_axis((0, kernel_h), "tap_y")
    tap_run = te.reduce_axis((0, runs), "tap_run")
    tap_x = te.reduce_axis((0, run), "tap_x")

    def accumulate(n: Any, g: Any, o: Any, y: Any, vector: Any, lane: Any) -> Any:
        row = y * sig.strides[0] + tap_y * sig.dilation[0]
        reach = (tap_run * run + tap_x) * dilation
        column = vector * lanes + lane + reach // stride
        source = rows[n, g * group_in + channel, row, reach % stride, column]
        factor = weight[g, channel, tap_y, tap_run, tap_x, o]
        return te.sum(source * factor, axis=[channel, tap_y, tap_run, tap_x])

    sums = te.compute(
        (sig.batch, groups, group_out, sig.out_extent[0], vectors, lanes),
        accumulate,
        name="conv2d",
        attrs={roles.ROLE: roles.CONV2D_COLUMNS},
    )

    def element(n: Any, o: Any, y: Any, x: Any) -> Any:
        return sums[n, o // group_out, o % group_out, y, x // lanes, x % lanes]

    return in_output_layout(element, sig, None)


def pack_columns_weight(weight: np.ndarray, groups: int, run: int) -> np.ndarray:
    """``weight[O, I, KH, KW]`` as ``[G, I, KH, KW/P, P, O/G]``, P = `run`."""
    out_channels, group_in, kernel_h, kernel_w = weight.shape
    by_run = weight.reshape(
        groups, out_channels // groups, group_in, kernel_h, kernel_w // run, run
    )
    return np.ascontiguousarray(np.moveaxis(by_run, 1, -1))
