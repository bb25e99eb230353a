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

    The choice compares estimated cycles.

    Args:
        bfloats: sums of blocked channels take two products in a step; columns have no pairs.
    """
    if not may_have_columns(sig, spec):
        return None
    vectors = row_vectors(sig, spec)
    by_columns = _columns_cycles(sig, vectors, spec.vector.register_count)
    by_channels = _channels_cycles(sig, spec.vector.register_count)
    is_blocked = channel_block(sig.in_channels, spec.lanes(dtype_bits=32)) is not None
    if bfloats and sig.groups == 1 and is_blocked:
        by_channels /= PAIR
    return vectors if by_columns < by_channels else None


def may_have_columns(sig: Conv2dSignature, spec: TargetSpec) -> bool:
    """Whether columns may fill lanes.

    Only convolutions with at most one vector of output channels in a group are asked for: more of
    them share what they load, and depthwise ones have rules of their own. All positions of a
    pointwise one are a matrix product's. Where the vectors' length is known to the processor only,
    a row cannot be cut into them.
    """
    lanes = spec.lanes(dtype_bits=32)
    few = sig.group_out_channels <= lanes and lanes > 1
    return few and not (spec.vector.scalable or sig.is_depthwise or sig.is_pointwise)


def row_vectors(sig: Conv2dSignature, spec: TargetSpec) -> int:
    """Return how many vectors of columns a row has that are computed in the fewest cycles."""
    registers = spec.vector.register_count
    least = -(-sig.out_extent[1] // spec.lanes(dtype_bits=32))
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
