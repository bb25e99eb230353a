"""Whether a convolution fills vectors with output channels or with columns of a row."""

from __future__ import annotations

from math import prod

from compiler.stages.operators.bfloat_matmul import PAIR
from compiler.stages.operators.channel_blocks import channel_block
from compiler.stages.operators.conv2d_signature import Conv2dSignature
from compiler.target_spec import TargetSpec
from schedules.cpu.register_tile import output_cycles

# A row may be made this many vectors longer than it is, so that tiles of vectors divide it.
_MOST_EXTRA_VECTORS = 3


def columns_in_lanes(
    sig: Conv2dSignature, spec: TargetSpec, *, bfloats: bool = False
) -> int | None:
    """Return how many vectors a row of columns gets, None where output channels fill lanes better.

    The choice compares estimated cycles. Only convolutions with at most one vector of output
    channels in a group are asked for: more of them share what they load, and depthwise ones have
    rules of their own. All positions of a pointwise one are a matrix product's. Where the vectors'
    length is known to the processor only, a row cannot be cut into them.

    Args:
        bfloats: sums of blocked channels take two products in a step; columns have no pairs.
    """
    if spec.vector.scalable:
        return None
    lanes = spec.lanes(dtype_bits=32)
    few = sig.group_out_channels <= lanes and lanes > 1
    if not few or sig.is_depthwise or sig.is_pointwise:
        return None
    vectors = _row_vectors(sig, lanes, spec.vector.register_count)
    by_columns = _columns_cycles(sig, vectors, spec.vector.register_count)
    by_channels = _channels_cycles(sig, spec.vector.register_count)
    if bfloats and sig.groups == 1 and channel_block(sig.in_channels, lanes) is not None:
        by_channels /= PAIR
    return vectors if by_columns < by_channels else None


def _row_vectors(sig: Conv2dSignature, lanes: int, registers: int) -> int:
    least = -(-sig.out_extent[1] // lanes)
    return min(
        range(least, least + _MOST_EXTRA_VECTORS + 1),
        key=lambda vectors: output_cycles(vectors, sig.group_out_channels, registers),
    )


def _columns_cycles(sig: Conv2dSignature, vectors: int, registers: int) -> float:
    """Cycles of the sums with columns in lanes, and of copying the rows: one for an element."""
    row = output_cycles(vectors, sig.group_out_channels, registers)
    copied = sig.batch * sig.in_channels * sig.height * sig.width
    return sig.out_extent[0] * row * _steps(sig) + copied


def _channels_cycles(sig: Conv2dSignature, registers: int) -> float:
    """Cycles of the sums with one vector of output channels at each position."""
    rows, columns = sig.sum_extent
    return rows * output_cycles(1, columns, registers) * _steps(sig)


def _steps(sig: Conv2dSignature) -> int:
    """Products in each output, for all images and groups."""
    return sig.batch * sig.in_channels * prod(sig.kernel)
