"""Convolution of small integers on a scalar machine: channels x positions in registers."""

from __future__ import annotations

from typing import Any

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, roles, steps
from schedules.cpu.integer_conv2d import row_loops
from schedules.fused import FusedSum, fused_sum
from schedules.mcu.register_tile import choose_columns

# Steps over input channels in a row: the loop's own instructions are paid once for all of them.
UNROLLED_CHANNELS = 4
MOST_CHANNELS, MOST_ROWS = 16, 4  # that are drawn: in a row, and copied together


def scalar_integer_conv2d(func: PrimFunc, spec: TargetSpec) -> s_tir.Schedule | None:
    """Sum a tile of channels x columns in registers; copy a row's inputs once for all channels.

    Matches: one block of role INTEGER_CONV2D, a copy of rows before it, element-wise after it.
    before: for n, y, x, o, lane: for ky, kx, c: acc;   for n, y, x, o: epilogue
    after:  for n, y: (copy the rows needed; for o, x/tile: (for ky, kx, c/4: unrolled c, x, lane:
              acc;   for x, lane: epilogue))
    """
    kernel = fused_sum(func, role=roles.INTEGER_CONV2D, before=roles.PAD)
    if kernel is None or len(match.axis_extents(kernel.sch, kernel.epilogue)) != 4:
        return None
    _schedule(kernel, spec)
    return kernel.sch


def _schedule(kernel: FusedSum, spec: TargetSpec) -> None:
    sch, conv = kernel.sch, kernel.main
    _, _, columns, _, lanes = match.axis_extents(sch, conv)[:5]
    batch, row, column, channel = row_loops(kernel)
    # Sums, weights and addresses share the general registers: 13 on Arm.
    tile = choose_columns(columns, lanes, 1, min(spec.vector.register_count, 16))
    outer_column, inner_column = steps.split_drawn(sch, column, tile, spec.vector.register_count)
    steps.mark_tails(sch, outer_column)
    outer_channel, lane = sch.split(channel, factors=[None, lanes])
    shared, row = steps.split_evenly(sch, row, 1, MOST_ROWS)
    sch.reorder(batch, shared, row, outer_channel, outer_column, inner_column, lane)
    sch.compute_at(conv, outer_column, preserve_unit_loops=True)
    if kernel.before is not None:
        sch.compute_at(kernel.before, shared, preserve_unit_loops=True)
    _sums_in_registers(sch, conv, depth=5)


def _sums_in_registers(sch: s_tir.Schedule, conv: Any, depth: int) -> None:
    """Taps and channels outside, the tile innermost and unrolled."""
    loops = list(sch.get_loops(conv))[depth:]
    batch, row, column, block, lane, tap_y, tap_x, chunk, inner = loops
    chunks = match.extent(sch, chunk)
    outer_chunk, inner_chunk = steps.split_evenly(
        sch, chunk, steps.largest_divisor(chunks, UNROLLED_CHANNELS), MOST_CHANNELS
    )
    sch.reorder(batch, row, block, tap_y, tap_x, outer_chunk, inner_chunk, inner, column, lane)
    for loop in (inner_chunk, inner, column, lane):
        sch.unroll(loop)
    sch.set_scope(conv, 0, "local")
    start = sch.decompose_reduction(conv, tap_y)
    for loop in list(sch.get_loops(start))[depth:]:
        sch.unroll(loop)
