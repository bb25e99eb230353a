"""Blocked data: ``[N, C/B, H, W, B]``, B channels side by side in memory."""

from __future__ import annotations

from typing import Any

from tvm import te

from schedules import roles

LEAST_BLOCK = 4  # fewer channels side by side are no vector worth the name


def narrowest_lanes(extent: int, vector_lanes: int) -> int:
    """The target's vector, or the smallest power of two that holds `extent` elements."""
    lanes = vector_lanes
    while lanes // 2 >= extent:
        lanes //= 2
    return lanes


def channel_block(channels: int, vector_lanes: int) -> int | None:
    """Channels in a block: the widest power of two up to the vector that divides them, or None."""
    block = vector_lanes
    while block >= LEAST_BLOCK:
        if channels % block == 0:
            return block
        block //= 2
    return None


def unblocked(data: te.Tensor) -> te.Tensor:
    """``data[N, C/B, H, W, B]`` as ``[N, C, H, W]``."""
    batch, blocks, height, width, block = (int(extent) for extent in data.shape)

    def element(n: Any, c: Any, y: Any, x: Any) -> Any:
        return data[n, c // block, y, x, c % block]

    shape = (batch, blocks * block, height, width)
    return te.compute(shape, element, name="unblocked", attrs={roles.ROLE: roles.LAYOUT})


def blocked(data: te.Tensor, block: int) -> te.Tensor:
    """``data[N, C, H, W]`` as ``[N, C/B, H, W, B]``."""
    batch, channels, height, width = (int(extent) for extent in data.shape)

    def element(n: Any, c: Any, y: Any, x: Any, lane: Any) -> Any:
        return data[n, c * block + lane, y, x]

    shape = (batch, channels // block, height, width, block)
    return te.compute(shape, element, name="blocked", attrs={roles.ROLE: roles.LAYOUT})


def blocked_to_channels_last(data: te.Tensor) -> te.Tensor:
    """``data[N, C/B, H, W, B]`` as ``[N, H, W, C]``: whole blocks stay together."""
    batch, blocks, height, width, block = (int(extent) for extent in data.shape)

    def element(n: Any, y: Any, x: Any, c: Any) -> Any:
        return data[n, c // block, y, x, c % block]

    return te.compute((batch, height, width, blocks * block), element, name="channels_last")


def channels_last_to_blocked(data: te.Tensor, block: int) -> te.Tensor:
    """``data[N, H, W, C]`` as ``[N, C/B, H, W, B]``."""
    batch, height, width, channels = (int(extent) for extent in data.shape)

    def element(n: Any, c: Any, y: Any, x: Any, lane: Any) -> Any:
        return data[n, y, x, c * block + lane]

    return te.compute((batch, channels // block, height, width, block), element, name="blocked")
