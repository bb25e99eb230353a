"""Convolution of bfloat16 in pairs of channels, sums in float32 (``--precision bf16``)."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import te

from compiler.stages.operators.bfloat_matmul import LEAST_LANES, PAIR
from compiler.stages.operators.conv2d import pack_conv2d_weight, unpacked
from compiler.stages.operators.conv2d_signature import Conv2dSignature, padded
from schedules import roles


def has_bfloat_form(sig: Conv2dSignature, block: int, lanes: int) -> bool:
    """Whether the sums are pairs of neighbours in blocked data, in vectors of output channels.

    Depthwise sums have no neighbours, a group may have few. Images of one column are left, too:
    their rows would have to take the place of columns.

    Args:
        block: channels in a block of the data.
        lanes: of output channels in packed weights.
    """
    one_column = sig.is_single_column and not sig.is_pointwise
    return sig.groups == 1 and block % PAIR == 0 and lanes >= LEAST_LANES and not one_column


def pack_bfloat_weight(weight: np.ndarray, lanes: int, in_block: int) -> np.ndarray:
    """``weight[O, I, KH, KW]`` as ``[1, O/L, I/B, KH, KW, B/2, L, 2]``, B = `in_block`."""
    packed = pack_conv2d_weight(weight, 1, lanes, in_block)
    pairs = packed.reshape(*packed.shape[:5], in_block // PAIR, PAIR, lanes)
    return np.ascontiguousarray(pairs.swapaxes(-1, -2))


def bfloat_conv2d(
    data: te.Tensor, weight: te.Tensor, sig: Conv2dSignature, out_block: int | None = None
) -> te.Tensor:
    """Convolution of ``data[N, I/B, H, W, B]`` with bfloat16 as `pack_bfloat_weight` packs it.

    The data is float32. It is rounded, half to even, where rows are copied, and all positions of a
    pointwise convolution are one row of the copy. The output is plain or blocked.
    """
    _, blocks, in_blocks, kernel_h, kernel_w, pairs, lanes, _ = (int(e) for e in weight.shape)
    rows = _rounded_rows(data, sig)
    is_flat = sig.is_pointwise or sig.is_sampled
    sums_sig = sig.on_samples if sig.is_sampled else sig
    channel = te.reduce_axis((0, in_blocks), "channel")
    tap_y = te.reduce_axis((0, kernel_h), "tap_y")
    tap_x = te.reduce_axis((0, kernel_w), "tap_x")
    pair = te.reduce_axis((0, pairs), "pair")
    inner = te.reduce_axis((0, PAIR), "inner")

    def taken(n: Any, y: Any, x: Any) -> Any:
        where = (y, x)
        if not is_flat:
            where = (
                y * sig.strides[0] + tap_y * sig.dilation[0],
                x * sig.strides[1] + tap_x * sig.dilation[1],
            )
        return rows[(n, channel, *where, pair * PAIR + inner)].astype("float32")

    def accumulate(n: Any, g: Any, o: Any, y: Any, x: Any, lane: Any) -> Any:
        factor = weight[g, o, channel, tap_y, tap_x, pair, lane, inner].astype("float32")
        return te.sum(taken(n, y, x) * factor, axis=[channel, tap_y, tap_x, pair, inner])

    sums = te.compute(
        (sig.batch, 1, blocks, *sums_sig.sum_extent, lanes),
        accumulate,
        name="conv2d",
        attrs={roles.ROLE: roles.BFLOAT_CONV2D},
    )
    return unpacked(sums, sums_sig, out_block)


def _rounded_rows(data: te.Tensor, sig: Conv2dSignature) -> te.Tensor:
    """The data as bfloat16, zeros around it, or in one row the positions that are read."""
    batch, blocks, _, _, block = (int(extent) for extent in data.shape)
    if not (sig.is_pointwise or sig.is_sampled):
        return padded(data, sig.pads, "bfloat16")
    out_h, out_w = sig.out_extent
    down, across = sig.strides

    def element(n: Any, c: Any, _: Any, x: Any, lane: Any) -> Any:
        return data[n, c, x // out_w * down, x % out_w * across, lane].astype("bfloat16")

    return te.compute(
        (batch, blocks, 1, out_h * out_w, block),
        element,
        name="rounded",
        attrs={roles.ROLE: roles.PAD},
    )
