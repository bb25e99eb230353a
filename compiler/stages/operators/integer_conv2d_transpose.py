"""Transposed convolution of small integers: a convolution of data that its strides spread out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import te, tirx

from compiler.stages.operators.conv2d_signature import Conv2dSignature

Convolution = Callable[[te.Tensor, te.Tensor], te.Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class SpreadConv2d:
    """A convolution with strides of 1 over data with `spread` - 1 zero points between elements."""

    spread: tuple[int, int]
    sig: Conv2dSignature  # of the spread data


def flipped_weight(weight: np.ndarray, groups: int) -> np.ndarray:
    """``weight[I, O/G, KH, KW]`` of a transposed convolution as ``[O, I/G, KH, KW]``, flipped."""
    in_channels, group_out, *kernel = weight.shape
    split = weight.reshape(groups, in_channels // groups, group_out, *kernel)
    turned = split.transpose(0, 2, 1, 3, 4).reshape(groups * group_out, -1, *kernel)
    return np.ascontiguousarray(turned[:, :, ::-1, ::-1])


def integer_conv2d_transpose(
    data: te.Tensor, weight: te.Tensor, *, form: SpreadConv2d, zero: int, convolve: Convolution
) -> te.Tensor:
    """int32 ``[N, OH, OW, O]`` from ``data[N, H, W, C]`` and the packed, flipped weights.

    Args:
        zero: the integer that stands between the data.
        convolve: makes the sums of spread data and these weights.
    """
    down, across = form.spread
    sig = form.sig
    around = tirx.const(zero, str(data.dtype))

    def element(n: Any, y: Any, x: Any, c: Any) -> Any:
        here = tirx.all(tirx.indexmod(y, down) == 0, tirx.indexmod(x, across) == 0)
        return tirx.if_then_else(here, data[n, y // down, x // across, c], around)

    shape = (sig.batch, sig.height, sig.width, sig.in_channels)
    spread = te.compute(shape, element, name="spread") if form.spread != (1, 1) else data
    return convolve(spread, weight)
