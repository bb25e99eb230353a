"""Depthwise convolution of small integers: two channels of a row's sums are one call."""

from __future__ import annotations

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, roles, steps
from schedules.fused import FusedSum
from schedules.mcu.paired import LANES, MOST_ROWS, copy_row, mark_paired_sums, paired_sum


def paired_depthwise(func: PrimFunc, spec: TargetSpec) -> s_tir.Schedule | None:
    """Copy the rows that an output row reads as planes of two channels in a word.

    Matches: one block of role INTEGER_DEPTHWISE with an even number of channels, one output for
    each, rows and weights int16, element-wise after it.
    before: for n, y, x, c: for ky, kx: acc;   for n, y, x, c: epilogue
    after:  for n, y: (copy the rows needed; for c/2: (one call: for x, lane: for ky, kx: acc;
              for lane, x: epilogue))
    """
    kernel = paired_sum(func, spec, roles.INTEGER_DEPTHWISE, axes=4, weights="int16")
    if kernel is None or kernel.before is None:
        return None
    channels = match.axis_extents(kernel.sch, kernel.main)[3]
    if channels % LANES or match.axis_extents(kernel.sch, kernel.before)[3] != channels:
        return None
    _schedule(kernel)
    return kernel.sch


def _schedule(kernel: FusedSum) -> None:
    sch, conv, copy = kernel.sch, kernel.main, kernel.before
    sch.transform_layout(copy, ("write", 0), lambda n, y, x, c: [n, c // LANES, y, x, c % LANES])
    batch, row, column, channel = sch.get_loops(kernel.epilogue)
    outer_channel, lane = sch.split(channel, factors=[None, LANES])
    shared, row = steps.split_evenly(sch, row, 1, MOST_ROWS)
    sch.reorder(batch, shared, row, outer_channel, lane, column)
    sch.compute_at(conv, outer_channel, preserve_unit_loops=True)
    copy_row(sch, copy, shared, channels=(None, LANES))
    depth = 4
    one, one_row, x, lane, tap_y, tap_x = list(sch.get_loops(conv))[depth:]
    mark_paired_sums(sch, conv, depth, [one, one_row, lane, x, tap_y, tap_x], 2)
