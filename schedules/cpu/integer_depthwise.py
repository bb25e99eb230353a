"""Depthwise convolution of small integers: channels in lanes, a run of columns in registers."""

from __future__ import annotations

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, roles, steps
from schedules.cpu.integer_conv2d import copy_rows, rows_of_chunk
from schedules.fused import FusedSum, fused_sum


def integer_depthwise(func: PrimFunc, spec: TargetSpec) -> s_tir.Schedule | None:
    """Sum all taps of a run of columns in registers, one vector of channels wide.

    Matches: one block of role INTEGER_DEPTHWISE, a copy of rows before it, element-wise after it.
    before: for n, y, x, c: for ky, kx: acc;   for n, y, x, c: epilogue
    after:  parallel n, chunk of y: (copy the rows needed; for y, c/lanes, x/tile: (for ky, kx:
              unrolled x: vectorized lane: acc;   for x: vectorized lane: epilogue))
    """
    kernel = fused_sum(func, role=roles.INTEGER_DEPTHWISE, before=roles.PAD)
    if kernel is None or len(match.axis_extents(kernel.sch, kernel.epilogue)) != 4:
        return None
    _schedule(kernel, spec)
    return kernel.sch


def _schedule(kernel: FusedSum, spec: TargetSpec) -> None:
    sch, conv, epilogue = kernel.sch, kernel.main, kernel.epilogue
    _, _, columns, channels = match.axis_extents(sch, conv)[:4]
    # Half of the registers: the others hold weights and what is loaded ahead.
    tile = steps.largest_divisor(columns, spec.vector.register_count // 2)
    lanes = min(spec.lanes(dtype_bits=32), channels)
    batch, row, column, channel = sch.get_loops(epilogue)
    outer_channel, lane = sch.split(channel, factors=[None, lanes])
    outer_column, inner_column = steps.split_evenly(
        sch, column, tile, spec.vector.register_count - 1
    )
    chunk, row = steps.split_evenly(sch, row, rows_of_chunk(kernel, spec))
    sch.reorder(batch, chunk, row, outer_channel, outer_column, inner_column, lane)
    shared = sch.fuse(batch, chunk)
    sch.compute_at(conv, outer_column, preserve_unit_loops=True)
    if kernel.before is not None:
        copy_rows(sch, kernel.before, shared, spec)
    sch.parallel(shared)
    sch.vectorize(lane)
    sch.unroll(inner_column)
    *single, column, lane, tap_y, tap_x = list(sch.get_loops(conv))[4:]
    sch.reorder(*single, tap_y, tap_x, column, lane)
    sch.set_scope(conv, 0, "local")
    steps.sums_in_registers(sch, conv, tap_y, (column, lane), depth=4)
