"""Transposed convolution as a convolution with one output channel for each phase of the stride."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from tvm import relax, te, tirx

from compiler.stages.constants import constant_array
from compiler.stages.operators.channel_blocks import narrowest_lanes
from compiler.stages.operators.conv2d import pack_conv2d_weight
from schedules import roles


@dataclass(frozen=True, kw_only=True, slots=True)
class Conv2dTransposeSignature:
    """A 2-D transposed convolution, one group, no dilation. Data NCHW, weights IOHW."""

    batch: int
    in_channels: int
    height: int
    width: int
    out_channels: int
    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int]  # top and left; the others are in `out_extent`
    out_extent: tuple[int, int]

    @property
    def taps(self) -> tuple[int, int]:
        """Taps of one phase: every stride-th tap of the kernel."""
        pairs = zip(self.kernel, self.strides, strict=True)
        return tuple(-(-kernel // stride) for kernel, stride in pairs)  # type: ignore[return-value]

    @property
    def positions(self) -> tuple[int, int]:
        """Rows and columns of the convolution whose phases make the output."""
        triples = zip(self.out_extent, self.pads, self.strides, strict=True)
        return tuple((out - 1 + pad) // s + 1 for out, pad, s in triples)  # type: ignore[return-value]


def phase_weights(weight: np.ndarray, sig: Conv2dTransposeSignature) -> np.ndarray:
    """``weight[I, O, KH, KW]`` as ``[O * SH * SW, I, TH, TW]``: a plain OIHW for each phase.

    Phase p of an axis uses the taps p, p + stride, ...; the last is farthest back in the input,
    so the taps are reversed. Taps beyond the kernel are zero.
    """
    (tap_h, tap_w), (stride_h, stride_w) = sig.taps, sig.strides
    in_channels, out_channels = weight.shape[:2]
    room = np.zeros(
        (in_channels, out_channels, tap_h * stride_h, tap_w * stride_w), dtype=weight.dtype
    )
    room[:, :, : sig.kernel[0], : sig.kernel[1]] = weight
    split = room.reshape(in_channels, out_channels, tap_h, stride_h, tap_w, stride_w)
    phases = split.transpose(1, 3, 5, 0, 2, 4)[..., ::-1, ::-1]
    return phases.reshape(out_channels * stride_h * stride_w, in_channels, tap_h, tap_w)


def phased_conv2d_transpose(
    data: te.Tensor, weight: te.Tensor, sig: Conv2dTransposeSignature
) -> te.Tensor:
    """``out[N, O, OH, OW]`` of ``data[N, I, H, W]``, ``weight[1, O*SH*SW/L, I, TH, TW, 1, L]``."""
    _, blocks, in_channels, tap_h, tap_w, _, lanes = (int(extent) for extent in weight.shape)
    rows, columns = sig.positions
    top, left = tap_h - 1, tap_w - 1
    zero = tirx.const(0.0, str(data.dtype))

    def padded_element(n: Any, c: Any, y: Any, x: Any) -> Any:
        across = tirx.all(x >= left, x < left + sig.width)
        value = tirx.if_then_else(across, data[n, c, y - top, x - left], zero)
        return tirx.if_then_else(tirx.all(y >= top, y < top + sig.height), value, zero)

    padded = te.compute(
        (sig.batch, in_channels, rows + top, columns + left),
        padded_element,
        name="pad",
        attrs={roles.ROLE: roles.PAD},
    )
    channel = te.reduce_axis((0, in_channels), "channel")
    tap_y = te.reduce_axis((0, tap_h), "tap_y")
    tap_x = te.reduce_axis((0, tap_w), "tap_x")

    def accumulate(n: Any, g: Any, o: Any, y: Any, x: Any, lane: Any) -> Any:
        source = padded[n, channel, y + tap_y, x + tap_x]
        taps = [channel, tap_y, tap_x]
        return te.sum(source * weight[g, o, channel, tap_y, tap_x, 0, lane], axis=taps)

    blocked = te.compute(
        (sig.batch, 1, blocks, rows, columns, lanes),
        accumulate,
        name="conv2d_transpose",
        attrs={roles.ROLE: roles.CONV2D_TRANSPOSE},
    )
    (stride_h, stride_w), (pad_h, pad_w) = sig.strides, sig.pads

    def plain(n: Any, o: Any, y: Any, x: Any) -> Any:
        row, column = y + pad_h, x + pad_w
        phase = (o * stride_h + row % stride_h) * stride_w + column % stride_w
        where = (row // stride_h, column // stride_w)
        return blocked[(n, 0, phase // lanes, *where, phase % lanes)]

    shape = (sig.batch, sig.out_channels, *sig.out_extent)
    return te.compute(shape, plain, name="unpack", attrs={roles.ROLE: roles.UNPACK})


def conv2d_transpose_signature(call: relax.Call) -> Conv2dTransposeSignature | None:
    """Return the signature of a float32 call with one group and no dilation, else None."""
    attrs, data, weight = call.attrs, call.args[0].ty, call.args[1].ty
    plain = (attrs.data_layout, attrs.kernel_layout) == ("NCHW", "IOHW")
    dense = int(attrs.groups) == 1 and all(int(d) == 1 for d in attrs.dilation)
    if not plain or not dense or str(data.dtype) != "float32":
        return None
    batch, in_channels, height, width = (int(extent) for extent in data.shape.values)
    _, out_channels, kernel_h, kernel_w = (int(extent) for extent in weight.shape.values)
    strides, pads = [int(s) for s in attrs.strides], [int(p) for p in attrs.padding]
    out_h, out_w = (int(extent) for extent in call.ty.shape.values[2:])
    return Conv2dTransposeSignature(
        batch=batch,
        in_channels=in_channels,
        height=height,
        width=width,
        out_channels=out_channels,
        kernel=(kernel_h, kernel_w),
        strides=(strides[0], strides[1]),
        pads=(pads[0], pads[1]),
        out_extent=(out_h, out_w),
    )


def legalize_conv2d_transpose(
    builder: relax.BlockBuilder, call: relax.Call, *, vector_lanes: int, otherwise: Any
) -> relax.Expr:
    """Lower ``relax.nn.conv2d_transpose`` with constant weights; `otherwise` takes the rest."""
    sig = conv2d_transpose_signature(call)
    weight = constant_array(call.args[1])
    if sig is None or weight is None:
        return otherwise(builder, call)
    phases = phase_weights(weight, sig)
    lanes = narrowest_lanes(phases.shape[0], vector_lanes)
    packed = relax.const(pack_conv2d_weight(phases, 1, lanes))
    compute = partial(phased_conv2d_transpose, sig=sig)
    return builder.call_te(compute, call.args[0], packed, primfunc_name_hint="conv2d_transpose")
