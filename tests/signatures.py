"""Convolutions as the compiler describes them."""

from __future__ import annotations

from typing import Any

from compiler.stages.operators.conv2d_signature import Conv2dSignature


def conv2d(in_channels: int, out_channels: int, size: int, **changes: Any) -> Conv2dSignature:
    """3 x 3, one group, a square plane that keeps its size; `changes` are fields that differ."""
    fields: dict[str, Any] = {
        "batch": 1,
        "in_channels": in_channels,
        "height": size,
        "width": size,
        "out_channels": out_channels,
        "kernel": (3, 3),
        "strides": (1, 1),
        "pads": (1, 1, 1, 1),
        "dilation": (1, 1),
        "groups": 1,
    }
    return Conv2dSignature(**(fields | changes))
