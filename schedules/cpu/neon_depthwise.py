"""Depthwise convolution of int8 on 64-bit Arm and RISC-V with vectors: sums by the runtime."""

from __future__ import annotations

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, roles, steps
from schedules.cpu.dot_conv2d import (
    SUM_BYTES,
    SUMS_SHARE,
    function_kinds,
    machine_mark,
    place_sums,
    rows_of_item,
    run_of,
    split_run,
    sums_in_words,
)
from schedules.cpu.integer_conv2d import copy_rows
from schedules.fused import FusedSum, fused_sum

LANES = 8  # of sums that are made together
PART_VECTORS = 4  # of the epilogue, 16 channels each, in a work item


def neon_depthwise(func: PrimFunc, spec: TargetSpec) -> s_tir.Schedule | None:
    """Leave the sums of a run of columns to a function of the runtime; it is marked.

    Matches: as `integer_depthwise`, rows and weights of int8, one output for each input channel; in
              scalable vectors if there are any.
    before: for n, y, x, c: for ky, kx: acc;   for n, y, x, c: epilogue
    after:  parallel n, part of c, chunk of y: (copy the rows needed; for y, x/tile: (marked: for c,
              x, ky, kx: acc;   for x: vectorized c: epilogue))
    """
    if not function_kinds(spec):
        return None
    kernel = fused_sum(func, role=roles.INTEGER_DEPTHWISE, before=roles.PAD)
    if kernel is None or len(match.axis_extents(kernel.sch, kernel.epilogue)) != 4:
        return None
    sch, main = kernel.sch, kernel.main
    kinds = [str(read.source.ty.dtype) for read in sch.get(main).reads]
    channels = [int(read.source.ty.shape[-1]) for read in sch.get(main).reads]
    if kinds != ["int8", "int8"] or channels[0] != channels[1]:
        return None
    _schedule(kernel, spec)
    return sch


def _schedule(kernel: FusedSum, spec: TargetSpec) -> None:
    sch, conv = kernel.sch, kernel.main
    _, _, columns, channels = match.axis_extents(sch, conv)[:4]
    part = part_of(channels)
    batch, row, column, channel = sch.get_loops(kernel.epilogue)
    run = run_of(columns, part, spec)
    outer_channel, channel = sch.split(channel, factors=[None, part])
    outer_column, inner_column = split_run(sch, column, run)
    together = rows_of_item(kernel, channels // part, spec)
    at_once = _rows_at_once(together, run * part, spec)
    if at_once > 1:
        chunk, *rows = sch.split(row, factors=[None, together // at_once, at_once])
    else:
        chunk, *rows = steps.split_evenly(sch, row, together)
    outside = (batch, outer_channel, chunk, rows[0], outer_column)
    sch.reorder(*outside, *rows[1:], inner_column, channel)
    steps.mark_tails(sch, *([outer_column] if columns % run else []))
    shared = sch.fuse(batch, outer_channel, chunk)
    depth = place_sums(sch, conv, outer_column)
    if kernel.before is not None:
        copy_rows(sch, kernel.before, shared, spec)
    sch.parallel(shared)
    # A narrower vector that divides the channels: LLVM makes a tail of the epilogue one by one.
    width = steps.vector_width(part, 2 * LANES)
    steps.vectorize_with_tail(sch, channel, width if width >= LANES else 2 * LANES)
    single_batch, row, columns_loop, lane, tap_y, tap_x = list(sch.get_loops(conv))[depth:]
    single = (single_batch,) if at_once > 1 else (single_batch, row)
    nest = (*single, lane, *([row] if at_once > 1 else []), columns_loop, tap_y, tap_x)
    scalable = spec.vector.scalable
    mark = roles.SCALABLE_INTEGER_SUMS if scalable else roles.INTEGER_SUMS
    steps.mark_sums(sch, conv, depth, nest, len(single), mark, machine_mark(spec))


def _rows_at_once(rows: int, sums: int, spec: TargetSpec) -> int:
    """Of an item's rows, how many are summed by one call.

    Where registers hold one lane, its weights are then loaded once for all of them.

    Args:
        sums: of a row.
    """
    if not sums_in_words(spec):
        return 1
    fitting = spec.cache.l1d_bytes // SUMS_SHARE // (sums * SUM_BYTES)
    return steps.largest_divisor(rows, max(1, fitting))


def part_of(channels: int) -> int:
    """Channels of a work item: whole vectors of the epilogue, all where they are no multiple."""
    vectors, rest = divmod(channels, 2 * LANES)
    return channels if rest else steps.largest_divisor(vectors, PART_VECTORS) * 2 * LANES
