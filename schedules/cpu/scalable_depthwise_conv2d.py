"""Depthwise convolution of blocked data for vectors of a length that only the processor knows."""

from __future__ import annotations

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, roles, steps
from schedules.cpu.conv2d import chunk_rows
from schedules.cpu.register_tile import FLOAT_BYTES
from schedules.cpu.scalable_conv2d import SUMS_SHARE
from schedules.fused import FusedSum, fused_sum


def scalable_depthwise_conv2d(func: PrimFunc, spec: TargetSpec) -> s_tir.Schedule | None:
    """Leave the sums of a run of columns to a function that knows the vectors.

    Matches: as `blocked_depthwise_conv2d`.
    before: for n, c, y, x, lane: for ky, kx: acc;   for n, c, y, x, lane: epilogue
    after:  parallel n, c, chunk of y: (pad the rows needed;
              for y, x/tile: (marked: for lane, x, ky, kx: acc;   for x, lane: epilogue))
    """
    if not spec.vector.scalable:
        return None
    kernel = fused_sum(func, role=roles.BLOCKED_DEPTHWISE_CONV2D, before=roles.PAD)
    if kernel is None:
        return None
    schedule_depthwise_sums(kernel, spec)
    return kernel.sch


def schedule_depthwise_sums(kernel: FusedSum, spec: TargetSpec) -> None:
    """Share blocks and rows among cores, and mark the sums of a run of columns."""
    sch, conv, epilogue, pad = kernel.sch, kernel.main, kernel.epilogue, kernel.before
    _, _, rows, columns, lanes = match.axis_extents(sch, conv)[:5]
    fitting = spec.cache.l1d_bytes // SUMS_SHARE // (lanes * FLOAT_BYTES)
    tile = steps.largest_divisor(columns, max(1, fitting))
    n, block, row, column, _ = sch.get_loops(epilogue)
    items = match.extent(sch, n) * match.extent(sch, block)
    together = 1 if pad is None else chunk_rows(kernel, rows, items, spec)
    chunk, row = sch.split(row, factors=[None, together])
    shared = sch.fuse(n, block, chunk)
    outer_column, _ = sch.split(column, factors=[None, tile])
    depth = len(sch.get_loops(epilogue)) - 2
    sch.compute_at(conv, outer_column, preserve_unit_loops=True)
    if pad is not None:
        steps.pad_rows(sch, pad, shared)
    sch.parallel(shared)
    *single, column, lane, tap_y, tap_x = list(sch.get_loops(conv))[depth:]
    steps.mark_sums(sch, conv, depth, (*single, lane, column, tap_y, tap_x), len(single))
