"""Convolution of small integers: output channels in lanes, positions in registers."""

from __future__ import annotations

from math import prod
from typing import Any

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, roles, steps
from schedules.cpu.dot_step import dot_step, sums_by_steps, sums_registers, sums_vectors
from schedules.cpu.register_tile import choose_tile
from schedules.cpu.scratch_share import scratch_share
from schedules.fused import FusedSum, fused_sum

# Of a pointwise convolution, copied together: eight tiles or so; fewer where only fewer divide all;
# and the fewest that are a tile.
RUN_POSITIONS, LEAST_POSITIONS, LEAST_TILE = 48, 24, 4


def integer_conv2d(func: PrimFunc, spec: TargetSpec) -> s_tir.Schedule | None:
    """Keep a tile of int32 sums in registers over all taps and input channels.

    Matches: one block of role INTEGER_CONV2D, a copy of rows before it, element-wise after it.
    before: for n, y, x, o, lane: for ky, kx, c: acc;   for n, y, x, o: epilogue
    after:  parallel n, chunk of y: (copy the rows needed; for y, o/tile, x/tile: (for ky, kx, c:
              unrolled x, o: vectorized lane: acc;   for x, o: vectorized lane: epilogue))
            of a pointwise one by steps, a chunk is a run of positions
    """
    kernel = fused_sum(func, role=roles.INTEGER_CONV2D, before=roles.PAD)
    if kernel is None or len(match.axis_extents(kernel.sch, kernel.epilogue)) != 4:
        return None
    _schedule(kernel, spec)
    return kernel.sch


def _schedule(kernel: FusedSum, spec: TargetSpec) -> None:
    sch, conv = kernel.sch, kernel.main
    _, _, columns, blocks, lanes = match.axis_extents(sch, conv)[:5]
    step = dot_step(sch, conv, spec)
    registers = sums_registers(spec, step)
    run = columns if step is None else run_of_positions(kernel, spec)
    vectors = sums_vectors(lanes, step)
    if vectors > 1 and prod(match.axis_extents(sch, conv)[5:7]) > 1:
        registers -= 1  # in loops over taps LLVM would keep a sum of the widest tile in memory
    tile = choose_tile(blocks, run, registers, vectors=vectors)
    batch, row, column, channel = row_loops(kernel)
    *part, column = sch.split(column, factors=[None, run]) if run < columns else [column]
    outer_channel, block, lane = sch.split(
        channel, factors=[None, steps.largest_divisor(blocks, tile.blocks), lanes]
    )
    outer_column, inner_column = steps.split_drawn(sch, column, tile.columns, registers)
    steps.mark_tails(sch, outer_column)
    together = rows_of_chunk(kernel, spec, has_share=step is not None)
    chunk, row = steps.split_evenly(sch, row, together)
    sch.reorder(batch, chunk, *part, row, outer_channel, outer_column, inner_column, block, lane)
    shared = sch.fuse(batch, chunk, *part)
    sch.compute_at(conv, outer_column, preserve_unit_loops=True)
    if kernel.before is not None:
        copy_rows(sch, kernel.before, shared, spec)
    sch.parallel(shared)
    sch.vectorize(lane)
    for loop in (inner_column, block):
        sch.unroll(loop)
    _sums_in_registers(sch, conv, 4, step)


def row_loops(kernel: FusedSum) -> list[Any]:
    """The epilogue's loops: batch, row, column, channel; one row where the sums have one."""
    sch, epilogue = kernel.sch, kernel.epilogue
    rows = match.axis_extents(sch, kernel.main)[1]
    if match.axis_extents(sch, epilogue)[1] != rows:  # pointwise: all positions are one row
        steps.flatten_axes(sch, epilogue, 1, 2)
    batch, *position, channel = sch.get_loops(epilogue)
    if len(position) == 1 or match.extent(sch, position[0]) != rows:
        position = sch.split(steps.fuse_loops(sch, position), factors=[1, None])
    return [batch, *position, channel]


def rows_of_chunk(kernel: FusedSum, spec: TargetSpec, *, has_share: bool = False) -> int:
    """Output rows for which rows are copied together: neighbours read the same ones.

    Args:
        has_share: copies stay within a share of what the kernel reads and writes, too.
    """
    batch, rows = match.axis_extents(kernel.sch, kernel.main)[:2]
    if kernel.before is None:
        return 1
    _, padded_rows, *row = match.axis_extents(kernel.sch, kernel.before)
    row_bytes = prod(row) * match.output_bits(kernel.sch, kernel.before) // 8
    cached = steps.rows_together(rows, padded_rows, row_bytes, batch, spec)
    if not has_share:
        return cached
    fitting = scratch_share(kernel) // row_bytes * rows // padded_rows
    return steps.largest_divisor(rows, max(1, min(cached, fitting)))


def run_of_positions(kernel: FusedSum, spec: TargetSpec) -> int:
    """Positions of a pointwise convolution that a work item makes, for all channels; else a row.

    Each run reads all weights. Where these stay in the first cache, what is copied is a share of
    what the kernel reads and writes; else eight tiles or so, or what stays in a quarter of the
    first cache.
    """
    sch, conv = kernel.sch, kernel.main
    _, rows, columns, *_ = match.axis_extents(sch, conv)
    read, weights = (region.source for region in sch.get(conv).reads[:2])
    is_flat = [int(extent) for extent in read.ty.shape[1:3]] == [rows, columns] == [1, columns]
    if kernel.before is None or not is_flat:
        return columns
    position_bytes = int(read.ty.shape[-1]) * match.element_bits(read) // 8
    most = max(RUN_POSITIONS, spec.cache.l1d_bytes // 4 // position_bytes)
    least = LEAST_POSITIONS
    weight_bytes = prod(int(e) for e in weights.ty.shape) * match.element_bits(weights) // 8
    if weight_bytes <= spec.cache.l1d_bytes // 2:
        most = min(most, max(LEAST_TILE, scratch_share(kernel) // position_bytes))
        least = LEAST_TILE
    most = min(most, -(-columns // spec.cores.count))
    divisors = [d for d in range(1, columns + 1) if columns % d == 0]
    fitting = [d for d in divisors if min(least, columns) <= d <= most]
    return max(fitting) if fitting else min(d for d in divisors if d >= min(most, columns))


def copy_rows(sch: s_tir.Schedule, copy: Any, loop: Any, spec: TargetSpec) -> None:
    """Make the rows that one iteration of `loop` reads, channels in vectors."""
    sch.compute_at(copy, loop, preserve_unit_loops=True)
    lanes = spec.lanes(dtype_bits=match.output_bits(sch, copy))
    steps.vectorize_with_tail(sch, list(sch.get_loops(copy))[-1], lanes)


def _sums_in_registers(sch: s_tir.Schedule, conv: Any, depth: int, step: str | None) -> None:
    """Taps and channels outside, the tile's columns and blocks unrolled, one vector innermost."""
    loops = list(sch.get_loops(conv))[depth:]
    batch, row, column, block, lane, tap_y, tap_x, chunk, inner = loops
    sch.set_scope(conv, 0, "local")
    if step is not None:
        sch.reorder(batch, row, tap_y, tap_x, chunk, column, block, lane, inner)
        sums_by_steps(sch, conv, tap_y, (column, block, lane, inner), depth, step)
        return
    sch.reorder(batch, row, tap_y, tap_x, chunk, inner, column, block, lane)
    steps.sums_in_registers(sch, conv, tap_y, (inner, column, block, lane), depth)
