"""Convolutions for a GPU: a product with positions as columns, or one sum for each position."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from tvm import relax, te, tirx

from compiler.stages.constants import constant_array
from compiler.stages.operators.conv2d import topi_conv
from compiler.stages.operators.conv2d_signature import Conv2dSignature, conv2d_signature
from compiler.stages.operators.gpu_product import ProductExtents, tiled_product
from compiler.target_spec import GpuSpec, Precision
from schedules import roles
from schedules.cuda.product_tile import ProductTile, product_tile


def gpu_conv2d(
    data: te.Tensor,
    weight: te.Tensor,
    sig: Conv2dSignature,
    tile: ProductTile,
    precision: Precision = "float32",
) -> te.Tensor:
    """``out[N, O, OH, OW]`` of ``data[N, C, H, W]`` and ``weight[C * KH * KW, O]``, one group."""
    out_h, out_w = sig.out_extent
    kernel_h, kernel_w = sig.kernel
    extents = ProductExtents(
        batch=sig.batch,
        rows=sig.out_channels,
        columns=out_h * out_w,
        depth=sig.in_channels * kernel_h * kernel_w,
    )

    def taken(n: Any, position: Any, k: Any) -> Any:
        tap_y, tap_x = k // kernel_w % kernel_h, k % kernel_w
        channel = k // (kernel_h * kernel_w)
        return _padded(data, sig, (n, channel), (position // out_w, position % out_w), tap_y, tap_x)

    sums = tiled_product(lambda _n, o, k: weight[k, o], taken, extents, tile, precision)
    return te.compute(
        (sig.batch, sig.out_channels, out_h, out_w),
        lambda n, o, y, x: sums[n, o, y * out_w + x],
        name="unpack",
        attrs={roles.ROLE: roles.UNPACK},
    )


def gpu_depthwise_conv2d(data: te.Tensor, weight: te.Tensor, sig: Conv2dSignature) -> te.Tensor:
    """``out[N, O, OH, OW]`` of ``data[N, C, H, W]`` and ``weight[O, KH, KW]``; O is n times C."""
    multiplier = sig.group_out_channels
    tap_y = te.reduce_axis((0, sig.kernel[0]), "tap_y")
    tap_x = te.reduce_axis((0, sig.kernel[1]), "tap_x")

    def accumulate(n: Any, o: Any, y: Any, x: Any) -> Any:
        value = _padded(data, sig, (n, o // multiplier), (y, x), tap_y, tap_x)
        return te.sum(value * weight[o, tap_y, tap_x], axis=[tap_y, tap_x])

    return te.compute(
        (sig.batch, sig.out_channels, *sig.out_extent),
        accumulate,
        name="depthwise_conv2d",
        attrs={roles.ROLE: roles.GPU_DEPTHWISE},
    )


def _padded(
    data: te.Tensor,
    sig: Conv2dSignature,
    plane: tuple[Any, Any],
    position: tuple[Any, Any],
    tap_y: Any,
    tap_x: Any,
) -> Any:
    """The element that an output position reads at a tap; 0 beyond the plane."""
    top, left, bottom, right = sig.pads
    y = position[0] * sig.strides[0] + tap_y * sig.dilation[0] - top
    x = position[1] * sig.strides[1] + tap_x * sig.dilation[1] - left
    tests = []
    if top or bottom:
        tests += [y >= 0, y < sig.height]
    if left or right:
        tests += [x >= 0, x < sig.width]
    value = data[(*plane, y, x)]
    if not tests:
        return value
    return tirx.if_then_else(tirx.all(*tests), value, tirx.const(0.0, "float32"))


def legalize_gpu_conv2d(
    builder: relax.BlockBuilder, call: relax.Call, *, gpu: GpuSpec, precision: Precision
) -> relax.Expr:
    """Lower ``relax.nn.conv2d`` with constant weights; anything else goes TOPI's way.

    Also several groups of more than one channel go TOPI's way.
    """
    sig = conv2d_signature(call)
    weight = constant_array(call.args[1])
    if sig is None or weight is None or (sig.groups > 1 and not sig.is_depthwise):
        return topi_conv(builder, call)
    out_h, out_w = sig.out_extent
    if not sig.is_depthwise and 1 in (sig.out_channels, out_h * out_w):
        return topi_conv(builder, call)  # no matrix product: a vector of sums
    if sig.is_depthwise:
        taps = relax.const(np.ascontiguousarray(weight[:, 0]))
        depthwise = partial(gpu_depthwise_conv2d, sig=sig)
        return builder.call_te(depthwise, call.args[0], taps, primfunc_name_hint="depthwise_conv2d")
    tile = product_tile(sig.batch, sig.out_channels, out_h * out_w, gpu, precision)
    by_position = relax.const(np.ascontiguousarray(weight.reshape(sig.out_channels, -1).T))
    compute = partial(gpu_conv2d, sig=sig, tile=tile, precision=precision)
    return builder.call_te(compute, call.args[0], by_position, primfunc_name_hint="conv2d")
