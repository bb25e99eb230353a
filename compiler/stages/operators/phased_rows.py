"""Rows whose columns are sorted by phase of the stride, so that vectors of columns lie together."""

from __future__ import annotations

from typing import Any

from tvm import te, tirx

from compiler.stages.operators.conv2d_signature import Conv2dSignature
from schedules import roles


def phased_rows(data: te.Tensor, sig: Conv2dSignature, columns: int) -> te.Tensor:
    """``data`` padded, its columns sorted by phase: ``[N, C, H, stride, W/stride]``.

    Then neighbours in an output row read neighbours in memory, whatever the stride, and rows are
    long enough to compute `columns` of them. The block has the role `PAD`.

    Args:
        data: plain ``[N, C, H, W]`` or blocked ``[N, C/B, H, W, B]``.
    """
    top, left, bottom, _ = sig.pads
    stride = sig.strides[1]
    width = columns + (sig.dilation[1] * (sig.kernel[1] - 1)) // stride
    zero = tirx.const(0.0, str(data.dtype))
    block = int(data.shape[4]) if len(data.shape) == 5 else None

    def source(n: Any, c: Any, y: Any, x: Any) -> Any:
        return data[n, c, y, x] if block is None else data[n, c // block, y, x, c % block]

    def element(n: Any, c: Any, y: Any, phase: Any, x: Any) -> Any:
        column = x * stride + phase - left
        inside = tirx.all(column >= 0, column < sig.width)
        value = tirx.if_then_else(inside, source(n, c, y - top, column), zero)
        if top or bottom:
            rows = tirx.all(y >= top, y < top + sig.height)
            value = tirx.if_then_else(rows, value, zero)
        return value

    shape = (sig.batch, sig.in_channels, sig.height + top + bottom, stride, width)
    return te.compute(shape, element, name="pad", attrs={roles.ROLE: roles.PAD})
