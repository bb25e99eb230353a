"""Pooling of small integers, data [N, H, W, C]."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import te, tirx, topi

from schedules import roles


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """Pads are top, left, bottom, right, those of `ceil_mode` included."""

    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilation: tuple[int, int]
    pads: tuple[int, int, int, int]

    def out_extent(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the result."""
        top, left, bottom, right = self.pads
        reach = [d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel, strict=True)]
        return (
            (height + top + bottom - reach[0]) // self.strides[0] + 1,
            (width + left + right - reach[1]) // self.strides[1] + 1,
        )

    def counts(self, height: int, width: int) -> np.ndarray:
        """How many elements of the data each window holds, [OH, OW]."""
        top, left, _, _ = self.pads
        out_h, out_w = self.out_extent(height, width)
        inside = [
            sum(
                0 <= o * self.strides[a] - (top, left)[a] + k * self.dilation[a] < size
                for k in range(self.kernel[a])
            )
            for a, count, size in ((0, out_h, height), (1, out_w, width))
            for o in range(count)
        ]
        return np.outer(inside[:out_h], inside[out_h:])


def _surrounded(data: te.Tensor, window: Window, around: int) -> te.Tensor:
    top, left, bottom, right = window.pads
    if not any(window.pads):
        return data
    batch, height, width, channels = (int(extent) for extent in data.shape)
    fill = tirx.const(around, str(data.dtype))

    def element(n: Any, y: Any, x: Any, c: Any) -> Any:
        value = data[n, y - top, x - left, c]
        inside = tirx.all(y >= top, y < top + height, x >= left, x < left + width)
        return tirx.if_then_else(inside, value, fill)

    shape = (batch, height + top + bottom, width + left + right, channels)
    return te.compute(shape, element, name="pad", attrs={roles.ROLE: roles.PAD})


def integer_max_pool(data: te.Tensor, *, window: Window) -> te.Tensor:
    """Largest of each window, in the data's own integers."""
    return _pool(data, window, int(np.iinfo(str(data.dtype)).min), te.max)


def integer_sum_pool(data: te.Tensor, *, window: Window, zero: int) -> te.Tensor:
    """int32 sums of each window; what is outside of the data counts as `zero`."""
    return _pool(data, window, zero, te.sum)


def _pool(data: te.Tensor, window: Window, around: int, reduce: Any) -> te.Tensor:
    source = _surrounded(data, window, around)
    batch, height, width, channels = (int(extent) for extent in data.shape)
    tap_y = te.reduce_axis((0, window.kernel[0]), "tap_y")
    tap_x = te.reduce_axis((0, window.kernel[1]), "tap_x")

    def element(n: Any, y: Any, x: Any, c: Any) -> Any:
        row = y * window.strides[0] + tap_y * window.dilation[0]
        column = x * window.strides[1] + tap_x * window.dilation[1]
        value = source[n, row, column, c]
        if reduce is te.sum:
            value = value.astype("int32")
        return reduce(value, axis=[tap_y, tap_x])

    shape = (batch, *window.out_extent(height, width), channels)
    return te.compute(shape, element, name="pool")


def integer_sums(data: te.Tensor, *, axes: list[int]) -> te.Tensor:
    """int32 sums along axes, which stay with an extent of 1."""
    wide = te.compute(data.shape, lambda *i: data[i].astype("int32"), name="widened")
    return topi.sum(wide, axis=axes, keepdims=True)
