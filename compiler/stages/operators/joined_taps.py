"""Rows of taps as one run of products: channels of neighbouring columns lie together.

A dot product of 16 channels would be mostly zeros where there are three. The 3 x 3 channels of a
row of taps are one run of 9, and the run of the next position begins `stride * C` further.
"""

from __future__ import annotations

from dataclasses import replace
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
from schedules import roles


def joins_taps(sig: Conv2dSignature, dot: IntegerDot) -> bool:
    """Whether fewer groups of products do if those of a row of taps are one run."""
    if not dot.joins_taps or sig.groups > 1 or sig.kernel[1] == 1 or sig.dilation[1] > 1:
        return False
    run = sig.kernel[1] * sig.in_channels
    apart = sig.kernel[1] * -(-sig.in_channels // dot.for_depth(sig.in_channels).group)
    return -(-run // dot.group) < apart


def for_joined_taps(run: int, dot: IntegerDot) -> IntegerDot:
    """The like with the shortest group of which no more are needed for so long a run."""
    needed = -(-run // dot.group)
    shortest = min(g for g in (dot.group, *dot.short_groups) if -(-run // g) == needed)
    return replace(dot, group=shortest, short_groups=())


def joined_taps(weight: np.ndarray) -> np.ndarray:
    """``weight[O, I, KH, KW]`` as ``[O, KW * I, KH, 1]``."""
    out_channels, _, kernel_h, _ = weight.shape
    return weight.transpose(0, 3, 1, 2).reshape(out_channels, -1, kernel_h, 1)


def joined_rows(
    data: te.Tensor, sig: Conv2dSignature, dot: IntegerDot, *, zero: int | te.Tensor, taps: int
) -> te.Tensor:
    """``data[N, H, W, C]`` as [N, H + pads, (W + pads) * C and what the last run reads beyond].

    A block of role PAD; around the data stands its zero point.

    Args:
        taps: products of a run, those with weights of zero included.
    """
    dtype, given = dot.row_dtype or str(data.dtype), str(data.dtype)
    top, left, bottom, right = sig.pads
    batch, height, width, channels = (int(extent) for extent in data.shape)
    shift = row_shift(given, known_zero(zero), dot)
    around = stands_around(zero, given, dtype, dot)
    begin, end = left * channels, (left + width) * channels
    last = (sig.out_extent[1] - 1) * sig.strides[1] * channels

    def element(n: Any, y: Any, j: Any) -> Any:
        value = data[n, y - top, (j - begin) // channels, (j - begin) % channels]
        if dtype != given:
            value = (value.astype("int16") + tirx.const(shift, "int16")).astype(dtype)
        if begin or last + taps > end:
            value = tirx.if_then_else(tirx.all(j >= begin, j < end), value, around)
        if top or bottom:
            value = tirx.if_then_else(tirx.all(y >= top, y < top + height), value, around)
        return value

    shape = (batch, height + top + bottom, max(end + right * channels, last + taps))
    return te.compute(shape, element, name="pad", attrs={roles.ROLE: roles.PAD})
