"""Direct convolution, packed weights: output channels in lanes, positions in registers."""

from __future__ import annotations

from math import prod

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, roles, steps
from schedules.cpu.register_tile import (
    FLOAT_BYTES,
    choose_dividing_tile,
    choose_tile,
    convolution_in_registers,
)
from schedules.fused import FusedSum, fused_sum

BLOCKS_IN_A_TILE = 2  # usually: work items are tiles of channels and chunks of rows


def conv2d(func: PrimFunc, spec: TargetSpec) -> s_tir.Schedule | None:
    """Keep a tile of sums in registers over all input channels and taps.

    Matches: one block of role CONV2D, with padding before it and element-wise blocks after it.
    before: for n, o, y, x: for c, ky, kx: acc;   for n, o, y, x: epilogue
    after:  parallel n, o/tile, chunk of y: (pad the rows needed;
              for y, x/tile: (for c, ky, kx: unrolled o, x: vectorized lane: acc;
                           for x, vectorized lane: epilogue))
    """
    kernel = fused_sum(func, role=roles.CONV2D, before=roles.PAD)
    if kernel is None or len(match.axis_extents(kernel.sch, kernel.epilogue)) not in (4, 5):
        return None
    _schedule(kernel, spec)
    return kernel.sch


def _schedule(kernel: FusedSum, spec: TargetSpec) -> None:
    sch, conv, epilogue, pad = kernel.sch, kernel.main, kernel.epilogue, kernel.before
    _, groups, blocks, rows, columns, lanes = match.axis_extents(sch, conv)[:6]
    _, channels, _, width, *out_block = match.axis_extents(sch, epilogue)
    registers = spec.vector.register_count
    by_lane = spec.vector.multiplies_by_lane and match.axis_extents(sch, conv)[-1] == lanes
    tile = choose_tile(blocks, columns, registers, by_lane=by_lane)
    if channels * (out_block or [1])[0] != groups * blocks * lanes:
        tile = choose_dividing_tile(blocks, columns, width, registers)
    store = sch.cache_write(conv, 0, "local")
    positions = match.axis_extents(sch, epilogue)[2:4]
    if positions[0] != rows:  # pointwise: all positions are one row
        steps.flatten_axes(sch, epilogue, 2, 2)
    batch, channel, *position = sch.get_loops(epilogue)
    lane = [position.pop()] if out_block else []
    if len(position) == 1 or match.extent(sch, position[0]) != rows:
        position = sch.split(steps.fuse_loops(sch, position), factors=[1, None])
    row, column = position
    outer_column, inner_column = steps.split_drawn(sch, column, tile.columns, registers)
    steps.mark_tails(sch, outer_column)
    if out_block:
        block_tile = tile.blocks * lanes // out_block[0]
        outer_channel, block = sch.split(channel, factors=[None, block_tile])
        inner = (block, inner_column, lane[0])
    else:
        outer_channel, block, one = sch.split(channel, factors=[None, tile.blocks, lanes])
        # Positions innermost: outputs lie together there. Where some lanes are padding, lanes
        # innermost: then whole vectors are stored or none, without a test for each element.
        whole_blocks = channels == groups * blocks * lanes
        inner = (block, one, inner_column) if whole_blocks else (block, inner_column, one)
    chunk, row = sch.split(row, factors=[None, chunk_rows(kernel, rows, spec)])
    sch.reorder(batch, outer_channel, chunk, row, outer_column, *inner)
    shared = sch.fuse(batch, outer_channel, chunk)
    for moved in (store, conv):
        sch.compute_at(moved, outer_column, preserve_unit_loops=True)
    if pad is not None:
        steps.pad_rows(sch, pad, shared)
    sch.parallel(shared)
    sch.vectorize(inner[-1])
    convolution_in_registers(sch, conv, depth=3, by_lane=by_lane)
    steps.unroll_tile(sch, store, depth=3)


def chunk_rows(kernel: FusedSum, rows: int, spec: TargetSpec) -> int:
    """Output rows for which padded rows are made together: neighbours read the same ones."""
    if kernel.before is None:
        return 1
    _, channels, padded_rows, *plane_row = match.axis_extents(kernel.sch, kernel.before)
    row_bytes = FLOAT_BYTES * channels * prod(plane_row)
    most = spec.cache.l2_bytes // 4 // row_bytes * rows // padded_rows
    shared = match.leading_size(kernel.sch, kernel.main, axes=3) // BLOCKS_IN_A_TILE
    least_chunks = -(-steps.ITEMS_FOR_EACH_CORE * spec.cores.count // max(1, shared))
    return steps.largest_divisor(rows, max(1, min(most, rows // least_chunks)))
