"""Depthwise convolution of small integers on a scalar machine: columns share weights."""

from __future__ import annotations

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, roles, steps
from schedules.fused import FusedSum, fused_sum

COLUMNS = 4  # sums; each weight is loaded once for all of them
MOST_COLUMNS, MOST_ROWS = 8, 4  # that are drawn: of a tile, and copied together


def scalar_integer_depthwise(func: PrimFunc, spec: TargetSpec) -> s_tir.Schedule | None:
    """Copy the rows that an output row reads, then sum a few columns of a channel at a time.

    Matches: one block of role INTEGER_DEPTHWISE, a copy of rows before it, element-wise after it.
    before: for n, y, x, c: for ky, kx: acc;   for n, y, x, c: epilogue
    after:  for n, y: (copy the rows needed; for x/4, c: (for ky: unrolled kx, x: acc;
              for x: epilogue))
    """
    del spec
    kernel = fused_sum(func, role=roles.INTEGER_DEPTHWISE, before=roles.PAD)
    if kernel is None or len(match.axis_extents(kernel.sch, kernel.epilogue)) != 4:
        return None
    _schedule(kernel)
    return kernel.sch


def _schedule(kernel: FusedSum) -> None:
    sch, conv, epilogue = kernel.sch, kernel.main, kernel.epilogue
    batch, row, column, channel = sch.get_loops(epilogue)
    tile = steps.largest_divisor(match.extent(sch, column), COLUMNS)
    outer_column, inner_column = steps.split_evenly(sch, column, tile, MOST_COLUMNS)
    shared, row = steps.split_evenly(sch, row, 1, MOST_ROWS)
    sch.reorder(batch, shared, row, outer_column, channel, inner_column)
    sch.compute_at(conv, channel, preserve_unit_loops=True)
    if kernel.before is not None:
        sch.compute_at(kernel.before, shared, preserve_unit_loops=True)
    depth = 5
    *single, column, lane, tap_y, tap_x = list(sch.get_loops(conv))[depth:]
    sch.reorder(*single, tap_y, tap_x, column, lane)
    for loop in (tap_x, column, lane):
        sch.unroll(loop)
    sch.set_scope(conv, 0, "local")
    start = sch.decompose_reduction(conv, tap_y)
    for loop in list(sch.get_loops(start))[depth:]:
        sch.unroll(loop)
