"""Convolution of small integers, two products an instruction: a row's sums are one call."""

from __future__ import annotations

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, roles, steps
from schedules.cpu.integer_conv2d import row_loops
from schedules.fused import FusedSum
from schedules.mcu.paired import (
    LANES,
    MOST_ROWS,
    POSITIONS,
    copy_row,
    mark_paired_sums,
    paired_sum,
    positions_together,
)


def paired_conv2d(func: PrimFunc, spec: TargetSpec) -> s_tir.Schedule | None:
    """Copy a row's inputs as int16 once for all channels, then two channels of it at a time.

    Matches: one block of role INTEGER_CONV2D, rows int16, weights int8, element-wise after it.
    before: for n, y, x, o, lane: for ky, kx, c: acc;   for n, y, x, o: epilogue
    after:  for n, y, x/run: (copy the rows needed; for o/2: (one call: for x, lane: for ky, kx, c:
              acc;   for lane, x: epilogue))
    """
    kernel = paired_sum(func, spec, roles.INTEGER_CONV2D, axes=4)
    if kernel is None or match.axis_extents(kernel.sch, kernel.main)[4] != LANES:
        return None
    _schedule(kernel)
    return kernel.sch


def _schedule(kernel: FusedSum) -> None:
    sch, conv, copy = kernel.sch, kernel.main, kernel.before
    extents = match.axis_extents(sch, conv)
    rows, columns, tap_rows, tap_columns, chunks = extents[1], extents[2], *extents[5:8]
    batch, row, column, channel = row_loops(kernel)
    is_flat = rows * tap_rows * tap_columns == 1
    run = positions_together(columns, chunks if is_flat else 1)
    outer_column, inner_column = steps.split_drawn(sch, column, run, POSITIONS)
    shared, row = steps.split_evenly(sch, row, 1, MOST_ROWS)
    steps.mark_tails(sch, outer_column)
    outer_channel, lane = sch.split(channel, factors=[None, LANES])
    sch.reorder(batch, shared, row, outer_column, outer_channel, lane, inner_column)
    sch.compute_at(conv, outer_channel, preserve_unit_loops=True)
    if copy is not None:
        copy_row(sch, copy, outer_column if is_flat else shared)
    depth = 5
    one, one_row, x, block, lane, tap_y, tap_x, chunk, inner = list(sch.get_loops(conv))[depth:]
    nest = [one, one_row, block, lane, x, tap_y, tap_x, chunk, inner]
    mark_paired_sums(sch, conv, depth, nest, 3)
