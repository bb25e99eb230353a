"""Direct convolution, packed weights: output channels in lanes, positions in registers."""

from __future__ import annotations

from math import prod
from typing import Any

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, roles, steps
from schedules.cpu.register_tile import (
    FLOAT_BYTES,
    choose_dividing_tile,
    choose_scalar_tile,
    choose_tile,
    convolution_in_registers,
)
from schedules.fused import FusedSum, fused_sum


def conv2d(func: PrimFunc, spec: TargetSpec) -> s_tir.Schedule | None:
    """Keep a tile of sums in registers over all input channels and taps.

    Matches: one block of role CONV2D, with padding before it and element-wise blocks after it.
    before: for n, o, y, x: for c, ky, kx: acc;   for n, o, y, x: epilogue
    after:  parallel n, part of o, chunk of y: (pad the rows needed;
              for o/tile, y, x/tile: (for c, ky, kx: unrolled o, x: vectorized lane: acc;
                           for x, vectorized lane: epilogue))
    """
    kernel = fused_sum(func, role=roles.CONV2D, before=roles.PAD)
    if kernel is None or len(match.axis_extents(kernel.sch, kernel.epilogue)) not in (4, 5):
        return None
    _schedule(kernel, spec)
    return kernel.sch


def _schedule(kernel: FusedSum, spec: TargetSpec) -> None:
    sch, conv, epilogue = kernel.sch, kernel.main, kernel.epilogue
    _, groups, blocks, rows, columns, lanes = match.axis_extents(sch, conv)[:6]
    _, channels, _, width, *out_block = match.axis_extents(sch, epilogue)
    registers = spec.vector.register_count
    by_lane = spec.vector.multiplies_by_lane and match.axis_extents(sch, conv)[-1] == lanes
    by_scalar = spec.vector.multiplies_by_scalar
    if channels * (out_block or [1])[0] != groups * blocks * lanes:
        tile = choose_dividing_tile(blocks, columns, width, registers)
    elif by_scalar:
        vectors = max(1, lanes // spec.lanes(dtype_bits=32))
        tile = choose_scalar_tile(blocks, columns, registers, vectors)
    else:
        tile = choose_tile(blocks, columns, registers, by_lane=by_lane)
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
    outermost = [batch]
    grouped = groups > 1 and bool(out_block)
    if out_block:
        if grouped:
            group, channel = sch.split(channel, factors=[groups, None])
            outermost.append(group)
        block_tile = tile.blocks * lanes // out_block[0]
        outer_channel, block = sch.split(channel, factors=[None, block_tile])
        inner = (block, inner_column, lane[0])
    else:
        outer_channel, block, one = sch.split(channel, factors=[None, tile.blocks, lanes])
        # Positions innermost: outputs lie together there. Where some lanes are padding, lanes
        # innermost: then whole vectors are stored or none, without a test for each element.
        whole_blocks = channels == groups * blocks * lanes
        inner = (block, one, inner_column) if whole_blocks else (block, inner_column, one)
    items = prod(match.extent(sch, loop) for loop in outermost)
    together = chunk_rows(kernel, rows, items, spec) if pads_rows(kernel) else 1
    chunk, row = sch.split(row, factors=[None, together])
    outermost += [outer_channel, chunk]
    below = []
    if pads_rows(kernel):
        chunks = items * match.extent(sch, chunk)
        parts = channel_parts(match.extent(sch, outer_channel), chunks, spec)
        outermost[-2], outer_channel = sch.split(outer_channel, factors=[parts, None])
        below = [outer_channel]
    sch.reorder(*outermost, *below, row, outer_column, *inner)
    # Groups have a loop of their own until all is moved: TVM does not see them in a fused one.
    shared = chunk if grouped else sch.fuse(*outermost)
    for moved in (store, conv):
        sch.compute_at(moved, outer_column, preserve_unit_loops=True)
    place_copy(kernel, shared)
    sch.parallel(sch.fuse(*outermost) if grouped else shared)
    sch.vectorize(inner[-1])
    depth = len(sch.get_loops(epilogue)) - len(inner)
    convolution_in_registers(sch, conv, depth, by_lane=by_lane, by_scalar=by_scalar)
    steps.unroll_tile(sch, store, depth)


def pads_rows(kernel: FusedSum) -> bool:
    """Whether each row of sums reads a few rows of the copy; else all positions are one row."""
    if kernel.before is None:
        return False
    _, _, _, rows, *_ = match.axis_extents(kernel.sch, kernel.main)
    return rows == match.axis_extents(kernel.sch, kernel.epilogue)[2]


def place_copy(kernel: FusedSum, shared: Any) -> None:
    """Make the copy that sums read: its rows in each iteration of `shared`, or all before."""
    if pads_rows(kernel):
        steps.pad_rows(kernel.sch, kernel.before, shared)
    elif kernel.before is not None:
        _copy_first(kernel.sch, kernel.before)


def _copy_first(sch: s_tir.Schedule, copy: Any) -> None:
    """Copy the positions that strides keep before any sum: all tiles of channels read them."""
    batch, channel, *_, last = sch.get_loops(copy)
    sch.parallel(sch.fuse(batch, channel))
    if len(match.axis_extents(sch, copy)) == 5:
        sch.vectorize(last)


def chunk_rows(kernel: FusedSum, rows: int, items: int, spec: TargetSpec) -> int:
    """Output rows for which padded rows are made together: neighbours read the same ones.

    Args:
        items: work items beside those of rows.
    """
    _, channels, padded_rows, *plane_row = match.axis_extents(kernel.sch, kernel.before)
    row_bytes = FLOAT_BYTES * channels * prod(plane_row)
    return steps.rows_together(rows, padded_rows, row_bytes, items, spec)


def channel_parts(tiles: int, chunks: int, spec: TargetSpec) -> int:
    """Parts of the tiles of channels that are work items of their own; each pads its rows anew."""
    least = steps.ITEMS_FOR_EACH_CORE * spec.cores.count if spec.cores.count > 1 else 1
    fair = (n for n in range(1, tiles) if tiles % n == 0 and n * chunks >= least)
    return next(fair, tiles)
