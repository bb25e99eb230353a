"""Convolution with weights packed at compile time into vector-wide output-channel blocks."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from tvm import relax, te, topi

from compiler.stages.constants import constant_array
from compiler.stages.operators.channel_blocks import channel_block, narrowest_lanes
from compiler.stages.operators.conv2d_signature import (
    Conv2dSignature,
    conv2d_signature,
    in_output_layout,
    padded,
    sampled,
)
from compiler.stages.operators.depthwise_conv2d import depthwise_conv2d
from schedules import roles

# Of a tile, where inputs are in general registers: six sums in seven registers take 2 x 3.
CHANNEL_VECTORS = 2


def packed_conv2d(
    data: te.Tensor, weight: te.Tensor, sig: Conv2dSignature, out_block: int | None = None
) -> te.Tensor:
    """Convolution with ``weight[G, O/G/L, I/B, KH, KW, B, L]``; data and output plain or blocked.

    Plain is [N, C, H, W], where B is 1, blocked [N, C/B, H, W, B]. Of several groups blocked data
    may have more channels in a block than B, which divides them: then groups share its blocks.
    """
    groups, blocks, group_blocks, kernel_h, kernel_w, in_block, lanes = (
        int(extent) for extent in weight.shape
    )
    source = sampled(data, sig) if sig.is_sampled else padded(data, sig.pads)
    sig = sig.on_samples if sig.is_sampled else sig
    _, out_w = sig.out_extent
    channel = te.reduce_axis((0, group_blocks), "channel")
    tap_y = te.reduce_axis((0, kernel_h), "tap_y")
    tap_x = te.reduce_axis((0, kernel_w), "tap_x")
    inner = te.reduce_axis((0, in_block), "inner_channel")

    def taken(n: Any, g: Any, y: Any, x: Any) -> Any:
        if sig.is_pointwise:
            where = (x // out_w, x % out_w)
        elif sig.is_single_column:
            where = (x * sig.strides[0] + tap_y * sig.dilation[0], tap_x)
        else:
            row = y * sig.strides[0] + tap_y * sig.dilation[0]
            where = (row, x * sig.strides[1] + tap_x * sig.dilation[1])
        if len(data.shape) == 5:
            block, first = place_of_block(g)
            return source[(n, block, *where, first + inner)]
        return source[(n, g * group_blocks + channel, *where)]

    def place_of_block(g: Any) -> tuple[Any, Any]:
        """Block of blocked data and channel in it where `in_block` channels of a group begin."""
        number = channel if groups == 1 else g * group_blocks + channel
        shared = int(data.shape[4]) // in_block
        return (number, 0) if shared == 1 else (number // shared, number % shared * in_block)

    def accumulate(n: Any, g: Any, o: Any, y: Any, x: Any, lane: Any) -> Any:
        factor = weight[g, o, channel, tap_y, tap_x, inner, lane]
        return te.sum(taken(n, g, y, x) * factor, axis=[channel, tap_y, tap_x, inner])

    sums = te.compute(
        (sig.batch, groups, blocks, *sig.sum_extent, lanes),
        accumulate,
        name="conv2d",
        attrs={roles.ROLE: roles.CONV2D},
    )
    return unpacked(sums, sig, out_block)


def unpacked(sums: te.Tensor, sig: Conv2dSignature, out_block: int | None) -> te.Tensor:
    """``sums[N, G, O/G/L, OH, OW, L]`` in the output's own layout."""
    blocks, lanes, group_out = int(sums.shape[2]), int(sums.shape[5]), sig.group_out_channels
    out_h, out_w = sig.out_extent

    def place(y: Any, x: Any) -> tuple[Any, Any]:
        return (y, x) if sig.sum_extent == (out_h, out_w) else (0, y * out_w + x)

    def of_channel(n: Any, o: Any, y: Any, x: Any) -> Any:
        if sig.groups == 1:
            # No `% group_out`: it would hide from TVM that a tile is a block of lanes.
            return sums[(n, 0, o // lanes, *place(y, x), o % lanes)]
        inside = o % group_out
        return sums[(n, o // group_out, inside // lanes, *place(y, x), inside % lanes)]

    def of_block(n: Any, o: Any, y: Any, x: Any, lane: Any) -> Any:
        return sums[(n, o // blocks, o % blocks, *place(y, x), lane)]

    if sig.groups > 1 and out_block == lanes:  # by blocks: channels would hide them, as above
        shape = (sig.batch, sig.groups * blocks, out_h, out_w, lanes)
        return te.compute(shape, of_block, name="unpack", attrs={roles.ROLE: roles.UNPACK})
    return in_output_layout(of_channel, sig, out_block)


def pack_conv2d_weight(
    weight: np.ndarray, groups: int, lanes: int, in_block: int = 1
) -> np.ndarray:
    """``weight[O, I, KH, KW]`` as ``[G, ceil(O/G/L), I/B, KH, KW, B, L]``, B = `in_block`.

    Missing output channels are zero. The order is that of the sums: weights are read in a stream.
    """
    out_channels, group_in, kernel_h, kernel_w = weight.shape
    group_out = out_channels // groups
    blocks = -(-group_out // lanes)
    grouped = weight.reshape(groups, group_out, group_in, kernel_h, kernel_w)
    room = np.zeros((groups, blocks * lanes, group_in, kernel_h, kernel_w), weight.dtype)
    room[:, :group_out] = grouped
    blocked = room.reshape(
        groups, blocks, lanes, group_in // in_block, in_block, kernel_h, kernel_w
    )
    return np.ascontiguousarray(blocked.transpose(0, 1, 3, 5, 6, 4, 2))


def conv2d_lanes(
    sig: Conv2dSignature, vector_lanes: int, *, scalable: bool = False, by_scalar: bool = False
) -> int:
    """Width of an output-channel block: the target's vector, or less where there are few channels.

    With several groups a block must not reach into the next group, so it divides the group.

    Args:
        scalable: a block is no register: one that divides the channels wastes nothing.
        by_scalar: sums of two vectors share each input; a block of both is read in one stream.
    """
    lanes = vector_lanes
    if by_scalar and sig.group_out_channels % (CHANNEL_VECTORS * lanes) == 0:
        return CHANNEL_VECTORS * lanes
    block = channel_block(sig.out_channels, vector_lanes) if scalable else None
    if sig.groups == 1 and block is not None:
        return block
    if sig.groups > 1:
        while sig.group_out_channels % lanes:
            lanes //= 2
        return lanes
    return narrowest_lanes(sig.out_channels, vector_lanes)


def legalize_conv2d(
    builder: relax.BlockBuilder,
    call: relax.Call,
    *,
    vector_lanes: int,
    sum_lanes: int,
    by_scalar: bool = False,
) -> relax.Expr:
    """Lower ``relax.nn.conv2d`` with constant weights to a packed or depthwise kernel.

    Columns of a depthwise convolution fill vectors, output channels of others `sum_lanes`.

    Anything else (other dtypes, layouts, weights computed at run time) goes TOPI's way.
    """
    sig = conv2d_signature(call)
    weight = constant_array(call.args[1])
    if sig is None or weight is None:
        return topi_conv(builder, call)
    if sig.is_depthwise:
        taps = relax.const(np.ascontiguousarray(weight[:, 0]))
        compute = partial(depthwise_conv2d, sig=sig, vector_lanes=vector_lanes)
        return builder.call_te(compute, call.args[0], taps, primfunc_name_hint="depthwise_conv2d")
    lanes = conv2d_lanes(sig, sum_lanes, by_scalar=by_scalar)
    packed = relax.const(pack_conv2d_weight(weight, sig.groups, lanes))
    compute = partial(packed_conv2d, sig=sig)
    return builder.call_te(compute, call.args[0], packed, primfunc_name_hint="conv2d")


def topi_conv(builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
    """TOPI's plain convolution in the call's own layout."""
    attrs = call.attrs
    return builder.call_te(
        topi.nn.conv,
        inp=call.args[0],
        filt=call.args[1],
        stride=attrs.strides,
        padding=attrs.padding,
        dilation=attrs.dilation,
        groups=attrs.groups,
        data_layout=attrs.data_layout,
        kernel_layout=attrs.kernel_layout,
        primfunc_name_hint="conv",
    )
