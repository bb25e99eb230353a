"""Convolution with weights packed at compile time into vector-wide output-channel blocks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from tvm import relax, te, tirx, topi

from compiler.stages.constants import constant_array
from schedules import roles


@dataclass(frozen=True, kw_only=True, slots=True)
class Conv2dSignature:
    """A 2-D convolution. Data NCHW, weights OIHW; pads are top, left, bottom, right."""

    batch: int
    in_channels: int
    height: int
    width: int
    out_channels: int
    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int, int, int]
    dilation: tuple[int, int]
    groups: int

    @property
    def is_depthwise(self) -> bool:
        return self.groups == self.in_channels and self.groups > 1

    @property
    def is_pointwise(self) -> bool:
        """A matrix product over all positions: rows need not be told apart."""
        return self.kernel == self.strides == (1, 1) and not any(self.pads)

    @property
    def group_out_channels(self) -> int:
        return self.out_channels // self.groups

    @property
    def out_extent(self) -> tuple[int, int]:
        """Output height and width."""
        top, left, bottom, right = self.pads
        reach = [d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel, strict=True)]
        return (
            (self.height + top + bottom - reach[0]) // self.strides[0] + 1,
            (self.width + left + right - reach[1]) // self.strides[1] + 1,
        )


def conv2d_signature(call: relax.Call) -> Conv2dSignature | None:
    """Return the signature of a float32 ``relax.nn.conv2d`` in NCHW, None for any other call."""
    attrs = call.attrs
    data, weight = call.args[0].ty, call.args[1].ty
    plain = (attrs.data_layout, attrs.kernel_layout, attrs.out_layout) == ("NCHW", "OIHW", "NCHW")
    if not plain or str(data.dtype) != "float32" or str(weight.dtype) != "float32":
        return None
    batch, in_channels, height, width = (int(extent) for extent in data.shape.values)
    out_channels, _, kernel_h, kernel_w = (int(extent) for extent in weight.shape.values)
    strides, dilation = ([int(v) for v in value] for value in (attrs.strides, attrs.dilation))
    pads = [int(value) for value in attrs.padding]
    return Conv2dSignature(
        batch=batch,
        in_channels=in_channels,
        height=height,
        width=width,
        out_channels=out_channels,
        kernel=(kernel_h, kernel_w),
        strides=(strides[0], strides[1]),
        pads=(pads[0], pads[1], pads[2], pads[3]),
        dilation=(dilation[0], dilation[1]),
        groups=int(attrs.groups),
    )


def _padded(data: te.Tensor, pads: tuple[int, int, int, int]) -> te.Tensor:
    """``data[N, C, H, W]`` with zeros around it; the block has the role `PAD`."""
    top, left, bottom, right = pads
    if not any(pads):
        return data
    batch, channels, height, width = (int(extent) for extent in data.shape)

    def element(n: Any, c: Any, y: Any, x: Any) -> Any:
        # Two tests, one in the other: the row's leaves the loop over a row.
        zero = tirx.const(0.0, str(data.dtype))
        value = data[n, c, y - top, x - left]
        if left or right:
            value = tirx.if_then_else(tirx.all(x >= left, x < left + width), value, zero)
        if top or bottom:
            value = tirx.if_then_else(tirx.all(y >= top, y < top + height), value, zero)
        return value

    shape = (batch, channels, height + top + bottom, width + left + right)
    return te.compute(shape, element, name="pad", attrs={roles.ROLE: roles.PAD})


def packed_conv2d(data: te.Tensor, weight: te.Tensor, sig: Conv2dSignature) -> te.Tensor:
    """``out[N, O, OH, OW]`` from ``data[N, C, H, W]`` and ``weight[G, O/G/L, I, KH, KW, L]``."""
    groups, blocks, group_in, kernel_h, kernel_w, lanes = (int(extent) for extent in weight.shape)
    out_h, out_w = sig.out_extent
    rows, columns = (1, out_h * out_w) if sig.is_pointwise else (out_h, out_w)
    padded = _padded(data, sig.pads)
    channel = te.reduce_axis((0, group_in), "channel")
    tap_y = te.reduce_axis((0, kernel_h), "tap_y")
    tap_x = te.reduce_axis((0, kernel_w), "tap_x")

    def position(y: Any, x: Any) -> tuple[Any, Any]:
        if sig.is_pointwise:
            return x // out_w, x % out_w
        return (
            y * sig.strides[0] + tap_y * sig.dilation[0],
            x * sig.strides[1] + tap_x * sig.dilation[1],
        )

    def accumulate(n: Any, g: Any, o: Any, y: Any, x: Any, lane: Any) -> Any:
        source = padded[(n, g * group_in + channel, *position(y, x))]
        taps = [channel, tap_y, tap_x]
        return te.sum(source * weight[g, o, channel, tap_y, tap_x, lane], axis=taps)

    blocked = te.compute(
        (sig.batch, groups, blocks, rows, columns, lanes),
        accumulate,
        name="conv2d",
        attrs={roles.ROLE: roles.CONV2D},
    )
    group_out = sig.group_out_channels

    def plain(n: Any, o: Any, y: Any, x: Any) -> Any:
        where = (0, y * out_w + x) if sig.is_pointwise else (y, x)
        # One group: no `% group_out`, which would hide from TVM that a tile is a block of lanes.
        inside = o if sig.groups == 1 else o % group_out
        return blocked[(n, o // group_out, inside // lanes, *where, inside % lanes)]

    shape = (sig.batch, sig.out_channels, out_h, out_w)
    return te.compute(shape, plain, name="unpack", attrs={roles.ROLE: roles.UNPACK})


def _phased(data: te.Tensor, sig: Conv2dSignature, columns: int) -> te.Tensor:
    """``data`` padded, its columns sorted by phase: ``[N, C, H, stride, W/stride]``.

    Then neighbours in an output row read neighbours in memory, whatever the stride, and rows are
    long enough to compute `columns` of them.
    """
    top, left, bottom, _ = sig.pads
    stride = sig.strides[1]
    width = columns + (sig.dilation[1] * (sig.kernel[1] - 1)) // stride
    zero = tirx.const(0.0, str(data.dtype))

    def element(n: Any, c: Any, y: Any, phase: Any, x: Any) -> Any:
        column = x * stride + phase - left
        inside = tirx.all(column >= 0, column < sig.width)
        value = tirx.if_then_else(inside, data[n, c, y - top, column], zero)
        if top or bottom:
            rows = tirx.all(y >= top, y < top + sig.height)
            value = tirx.if_then_else(rows, value, zero)
        return value

    shape = (sig.batch, sig.in_channels, sig.height + top + bottom, stride, width)
    return te.compute(shape, element, name="pad", attrs={roles.ROLE: roles.PAD})


def depthwise_conv2d(
    data: te.Tensor, weight: te.Tensor, sig: Conv2dSignature, vector_lanes: int
) -> te.Tensor:
    """``out[N, O, OH, OW]`` from ``data[N, C, H, W]`` and ``weight[O, KH, KW]``, O a multiple of C.

    Rows are computed in whole vectors; what is beyond OW is dropped.
    """
    out_h, out_w = sig.out_extent
    lanes = narrowest_lanes(out_w, vector_lanes)
    columns = -(-out_w // lanes) * lanes
    padded = _phased(data, sig, columns)
    multiplier = sig.group_out_channels
    stride, dilation = sig.strides[1], sig.dilation[1]
    tap_y = te.reduce_axis((0, sig.kernel[0]), "tap_y")
    tap_x = te.reduce_axis((0, sig.kernel[1]), "tap_x")

    def accumulate(n: Any, o: Any, y: Any, x: Any) -> Any:
        row = y * sig.strides[0] + tap_y * sig.dilation[0]
        reach = tap_x * dilation
        source = padded[n, o // multiplier, row, reach % stride, x + reach // stride]
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


def pack_conv2d_weight(weight: np.ndarray, groups: int, lanes: int) -> np.ndarray:
    """``weight[O, I, KH, KW]`` as ``[G, ceil(O/G/L), I, KH, KW, L]``, missing channels zero."""
    out_channels, group_in, kernel_h, kernel_w = weight.shape
    group_out = out_channels // groups
    blocks = -(-group_out // lanes)
    grouped = weight.reshape(groups, group_out, group_in, kernel_h, kernel_w)
    room = np.zeros((groups, blocks * lanes, group_in, kernel_h, kernel_w), weight.dtype)
    room[:, :group_out] = grouped
    blocked = room.reshape(groups, blocks, lanes, group_in, kernel_h, kernel_w)
    return np.ascontiguousarray(np.moveaxis(blocked, 2, -1))


def narrowest_lanes(extent: int, vector_lanes: int) -> int:
    """The target's vector, or the smallest power of two that holds `extent` elements."""
    lanes = vector_lanes
    while lanes // 2 >= extent:
        lanes //= 2
    return lanes


def conv2d_lanes(sig: Conv2dSignature, vector_lanes: int) -> int:
    """Width of an output-channel block: the target's vector, or less where there are few channels.

    With several groups a block must not reach into the next group, so it divides the group.
    """
    lanes = vector_lanes
    if sig.groups > 1:
        while sig.group_out_channels % lanes:
            lanes //= 2
        return lanes
    return narrowest_lanes(sig.out_channels, vector_lanes)


def legalize_conv2d(
    builder: relax.BlockBuilder, call: relax.Call, *, vector_lanes: int
) -> relax.Expr:
    """Lower ``relax.nn.conv2d`` with constant weights to a packed or depthwise kernel.

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
    lanes = conv2d_lanes(sig, vector_lanes)
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
