"""Resizing of blocked images."""

from __future__ import annotations

from tvm import relax, te, topi


def blocked_resize2d(data: te.Tensor, resize: relax.Call, block: int) -> te.Tensor:
    """``data[N, C/B, H, W, B]`` resized as `resize`, a ``relax.image.resize2d`` of NCHW, says."""
    attrs = resize.attrs
    return topi.image.resize2d(
        data,
        roi=attrs.roi,
        size=resize.args[1],
        layout=f"NCHW{block}c",
        method=attrs.method,
        coordinate_transformation_mode=attrs.coordinate_transformation_mode,
        rounding_method=attrs.rounding_method,
        bicubic_alpha=attrs.cubic_alpha,
        bicubic_exclude=attrs.cubic_exclude,
        extrapolation_value=attrs.extrapolation_value,
    )
