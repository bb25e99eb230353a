"""Direct convolution, packed weights: output channels in lanes, positions in registers."""

from __future__ import annotations

from math import prod
from typing import Any

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, roles, steps
from schedules.cpu.register_tile import (
    BLOCK_TILES,
    FLOAT_BYTES,
    Tile,
    choose_dividing_tile,
    choose_scalar_tile,
    choose_tile,
    convolution_in_registers,
)
from schedules.fused import FusedSum, fused_sum

# Vectors of output channels in a tile that is drawn.
MOST_BLOCKS = max(BLOCK_TILES)


def conv2d(func: PrimFunc, spec: TargetSpec) -> s_tir.Schedule | None:
    """Keep a tile of sums in registers over all input channels and taps.

    Matches: one block of role CONV2D, with padding before it and element-wise blocks after it.
    before: for n, o, y, x: for c, ky, kx: acc;   for n, o, y, x: epilogue
    after:  parallel n, part of o, chunk of y: (pad the rows needed;
              for o/tile, y, x/tile: (for c, ky, kx: unrolled o, x: vectorized lane: acc;
                           for x, vectorized lane: epilogue))
    dear:   as before, but for o/tile, y: (for x/tile: (acc; store sums);
              for o, vectorized x, lane: epilogue), a span of x at a time where nothing is padded
    """
    kernel = fused_sum(func, role=roles.CONV2D, before=roles.PAD)
    if kernel is None or len(match.axis_extents(kernel.sch, kernel.epilogue)) not in (4, 5):
        return None
    _schedule(kernel, spec)
    return kernel.sch


def _schedule(kernel: FusedSum, spec: TargetSpec) -> None:
    sch, conv, epilogue = kernel.sch, kernel.main, kernel.epilogue
    _, groups, _, rows, columns, lanes = match.axis_extents(sch, conv)[:6]
    out_block = match.axis_extents(sch, epilogue)[4:]
    registers = spec.vector.register_count
    by_lane = spec.vector.multiplies_by_lane and match.axis_extents(sch, conv)[-1] == lanes
    by_scalar = spec.vector.multiplies_by_scalar
    tile = _tile(kernel, spec, by_lane=by_lane)
    store = sch.cache_write(conv, 0, "local")
    batch, channel, row, column, *lane = output_loops(kernel)
    # Where the epilogue calls exp or the like, sums of a row are stored first: it then takes
    # several vectors at a time, whose steps do not wait for each other.
    dear = bool(out_block) and match.calls_exponentials(sch, epilogue)
    tiled = [column] if dear else _tiles(sch, column, tile.columns, registers)
    outermost = [batch]
    grouped = groups > 1 and bool(out_block)
    if grouped:
        group, channel = sch.split(channel, factors=[groups, None])
        outermost.append(group)
    outer_channel, *inner = _channel_tile(kernel, channel, tile.blocks, tiled[-1], lane)
    items = prod(match.extent(sch, loop) for loop in outermost)
    together = chunk_rows(kernel, rows, items, spec) if pads_rows(kernel) else 1
    chunk, row = steps.split_evenly(sch, row, together)
    outermost += [outer_channel, chunk]
    below = []
    if pads_rows(kernel):
        tiles = match.extent(sch, outer_channel)
        parts = channel_parts(tiles, items * match.extent(sch, chunk), spec)
        outermost[-2], outer_channel = steps.split_evenly(sch, outer_channel, tiles // parts)
        below = [outer_channel]
    elif dear:
        span, column = steps.split_evenly(sch, column, _span(columns, tile.blocks * lanes, spec))
        outermost.append(span)
        inner[1] = column
    sch.reorder(*outermost, *below, row, *tiled[:-1], *inner)
    # Groups have a loop of their own until all is moved: TVM does not see them in a fused one.
    shared = chunk if grouped else sch.fuse(*outermost)
    sch.compute_at(store, row if dear else tiled[0], preserve_unit_loops=True)
    if dear:
        tiled = _tile_row(sch, store, tile.columns, registers)
    sch.compute_at(conv, tiled[0], preserve_unit_loops=True)
    place_copy(kernel, shared)
    sch.parallel(sch.fuse(*outermost) if grouped else shared)
    if dear:
        whole = sch.fuse(*inner[1:])
        vectors = steps.function_lanes(sch, epilogue, match.extent(sch, whole), out_block[0])
        steps.vectorize_with_tail(sch, whole, vectors)
    else:
        sch.vectorize(inner[-1])
    # Above a tile: of a row that is tiled apart there are three loops below, else all axes.
    depth = len(sch.get_loops(store)) - (3 if dear else len(match.axis_extents(sch, store)))
    convolution_in_registers(sch, conv, depth, by_lane=by_lane, by_scalar=by_scalar)
    steps.unroll_tile(sch, store, depth)


def _tile(kernel: FusedSum, spec: TargetSpec, *, by_lane: bool) -> Tile:
    sch, registers = kernel.sch, spec.vector.register_count
    _, groups, blocks, _, columns, lanes = match.axis_extents(sch, kernel.main)[:6]
    _, channels, _, width, *out_block = match.axis_extents(sch, kernel.epilogue)
    if channels * (out_block or [1])[0] != groups * blocks * lanes:
        return choose_dividing_tile(blocks, columns, width, registers)
    if spec.vector.multiplies_by_scalar:
        vectors = max(1, lanes // spec.lanes(dtype_bits=32))
        return choose_scalar_tile(blocks, columns, registers, vectors)
    return choose_tile(blocks, columns, registers, by_lane=by_lane)


def output_loops(kernel: FusedSum) -> list[Any]:
    """The epilogue's loops: batch, channel, row, column, and lane of blocked data.

    Of a pointwise convolution all positions are one row, as they are in its sums.
    """
    sch, epilogue = kernel.sch, kernel.epilogue
    rows = match.axis_extents(sch, kernel.main)[3]
    is_blocked = len(match.axis_extents(sch, epilogue)) == 5
    if match.axis_extents(sch, epilogue)[2] != rows:
        steps.flatten_axes(sch, epilogue, 2, 2)
    batch, channel, *position = sch.get_loops(epilogue)
    lane = [position.pop()] if is_blocked else []
    if len(position) == 1 or match.extent(sch, position[0]) != rows:
        position = sch.split(steps.fuse_loops(sch, position), factors=[1, None])
    return [batch, channel, *position, *lane]


def _channel_tile(
    kernel: FusedSum, channel: Any, blocks: int, column: Any, lane: list[Any]
) -> list[Any]:
    """Split the channels; return the loop over tiles and those in one, columns among them."""
    sch = kernel.sch
    lanes = match.axis_extents(sch, kernel.main)[5]
    if lane:
        parts = lanes // match.extent(sch, lane[0])
        return [
            *steps.split_evenly(sch, channel, blocks * parts, MOST_BLOCKS * parts),
            column,
            *lane,
        ]
    if match.extent(sch, channel) % (blocks * lanes) == 0:
        channel, one = sch.split(channel, factors=[None, lanes])
        outer, block = steps.split_evenly(sch, channel, blocks, MOST_BLOCKS)
        # Positions innermost: outputs lie together there.
        return [outer, block, one, column]
    # Where some lanes are padding, lanes innermost: then whole vectors are stored or none, without
    # a test for each element.
    outer, block, one = sch.split(channel, factors=[None, blocks, lanes])
    return [outer, block, column, one]


def _tiles(sch: s_tir.Schedule, column: Any, tile: int, registers: int) -> list[Any]:
    """Split a loop over columns into tiles, the last of which may be smaller."""
    outer, inner = steps.split_drawn(sch, column, tile, registers)
    steps.mark_tails(sch, outer)
    return [outer, inner]


def _tile_row(sch: s_tir.Schedule, store: Any, tile: int, registers: int) -> list[Any]:
    """Tile the columns of a row of sums that is stored; return the loops over tiles and in one."""
    *_, block, row, column, lane = sch.get_loops(store)
    outer, inner = _tiles(sch, column, tile, registers)
    sch.reorder(row, outer, block, inner, lane)
    return [outer, inner]


def _span(columns: int, channels: int, spec: TargetSpec) -> int:
    """Positions of a plane whose sums are stored before the epilogue: half of the first cache."""
    most = spec.cache.l1d_bytes // 2 // (channels * FLOAT_BYTES)
    return steps.largest_divisor(columns, max(1, most))


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
