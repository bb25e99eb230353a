"""Matrix product over packed panels of the right operand: columns in lanes, rows in registers."""

from __future__ import annotations

from typing import Any

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, roles, steps
from schedules.cpu.register_tile import BLOCK_TILES, FLOAT_BYTES, choose_scalar_tile, choose_tile
from schedules.fused import FusedSum, fused_sum

# Steps of k in a row: the loop's own instructions are paid once for all of them.
UNROLLED_DEPTH = 4
MOST_UNROLLED_DEPTH = 16
# Panels in a tile that is drawn.
MOST_PANELS = max(BLOCK_TILES)
# A tile of the product: batch, row, panel, lane.
TILE_AXES = 4
# With fewer tiles in a chunk of rows the right operand is read too often.
LEAST_CHUNK_TILES = 4
# Rows whose sums are stored before the epilogue: with fewer, the loops cost more than is gained.
LEAST_SPAN = 16
# Groups of columns for each core: enough to share them evenly.
GROUPS_FOR_EACH_CORE = 4


def matmul(func: PrimFunc, spec: TargetSpec) -> s_tir.Schedule | None:
    """Keep a tile of sums in registers over the whole depth, rows of the left operand in cache.

    Matches: one block of role MATMUL, perhaps packing before it, element-wise blocks after it.
    before: for b, m, n: for k: acc;   for b, m, n: epilogue
    after:  parallel b, group of columns: for chunk of rows: for n/tile, m/tile:
              (for k: unrolled m, n: vectorized lane: acc;   for m, n: vectorized lane: epilogue)
    dear:   as before, but for n/tile, span of rows: (for m/tile: (acc; store sums);
              for m: vectorized n, lane: epilogue)
    """
    kernel = fused_sum(func, role=roles.MATMUL, before=roles.PACK)
    if kernel is None:
        return None
    _schedule(kernel, spec)
    return kernel.sch


def _schedule(kernel: FusedSum, spec: TargetSpec) -> None:
    sch, product, epilogue, pack = kernel.sch, kernel.main, kernel.epilogue, kernel.before
    batch, rows, panels, lanes, depth = match.axis_extents(sch, product)
    registers = spec.vector.register_count
    by_lane = spec.vector.multiplies_by_lane and depth % lanes == 0 and lanes == UNROLLED_DEPTH
    by_scalar = spec.vector.multiplies_by_scalar
    if by_scalar:
        vectors = max(1, lanes // spec.lanes(dtype_bits=32))
        tile = choose_scalar_tile(panels, rows, registers, vectors)
    else:
        tile = choose_tile(panels, rows, registers, by_lane=by_lane)
    store = sch.cache_write(product, 0, "local")
    leading_axes = len(match.axis_extents(sch, epilogue)) - 1
    if batch == 1:
        steps.flatten_axes(sch, epilogue, 0, leading_axes)
    *leading, column = sch.get_loops(epilogue)
    matrices = [steps.fuse_loops(sch, leading[:-1])] if batch > 1 else []
    row = leading[-1] if batch > 1 else steps.fuse_loops(sch, leading)
    together = chunk_tiles(rows, tile.columns, depth, spec)
    span = _span(kernel, rows, tile.blocks * lanes, spec)
    if span:
        outer_row, inner_row = steps.split_evenly(sch, row, span)
        spans = match.extent(sch, outer_row)
        together = steps.largest_divisor(spans, max(1, together * tile.columns // span))
    else:
        outer_row, inner_row = steps.split_drawn(sch, row, tile.columns, registers)
    chunk, outer_row = steps.split_evenly(sch, outer_row, together)
    steps.mark_tails(sch, chunk, outer_row)
    outer_column, panel, lane = _column_tile(sch, column, tile.blocks, lanes)
    tiles = match.extent(sch, outer_column)
    group, outer_column = steps.split_evenly(
        sch, outer_column, tiles // column_groups(tiles, chunk, sch, spec)
    )
    # Columns outside rows: a panel of the right operand stays in cache for a chunk of rows.
    sch.reorder(*matrices, group, chunk, outer_column, outer_row, inner_row, panel, lane)
    sch.compute_at(store, outer_row, preserve_unit_loops=True)
    tiled = _tile_rows(sch, store, tile.columns, registers) if span else outer_row
    sch.compute_at(product, tiled, preserve_unit_loops=True)
    if pack is not None:
        place_pack(sch, pack, matrices)
    if span:
        _vectorize_together(sch, epilogue, panel, lane)
    else:
        sch.vectorize(lane)
        sch.unroll(panel)
    if pack is not None and matrices:
        sch.parallel(matrices[0])
    else:
        sch.parallel(steps.fuse_loops(sch, [*matrices, group]))
    _sums_in_registers(sch, product, by_lane=by_lane, by_scalar=by_scalar)
    # Of rows that are tiled apart the loop over batches, of one, is above that over tiles.
    axes = TILE_AXES - 1 if span else TILE_AXES
    steps.unroll_tile(sch, store, depth=len(sch.get_loops(store)) - axes)


def _span(kernel: FusedSum, rows: int, columns: int, spec: TargetSpec) -> int:
    """Rows of a tile of columns whose sums are stored before the epilogue; 0: none are.

    Steps of exp and the like wait for each other, and in the few vectors of one tile of sums there
    is little else to do meanwhile. The sums take half of the first cache.
    """
    if not match.calls_polynomials(kernel.sch, kernel.epilogue):
        return 0
    fitting = spec.cache.l1d_bytes // 2 // (columns * FLOAT_BYTES)
    span = steps.largest_divisor(rows, max(1, fitting))
    return span if span >= min(rows, LEAST_SPAN) else 0


def _tile_rows(sch: s_tir.Schedule, store: Any, tile: int, registers: int) -> Any:
    """Tile the rows of a span of sums; return the loop over tiles."""
    *_, row, _, _ = sch.get_loops(store)
    outer, _ = steps.split_drawn(sch, row, tile, registers)
    steps.mark_tails(sch, outer)
    return outer


def _vectorize_together(sch: s_tir.Schedule, epilogue: Any, panel: Any, lane: Any) -> None:
    """Vectorize panels of an epilogue as one loop, several vectors at a time."""
    lanes = match.extent(sch, lane)
    whole = sch.fuse(panel, lane)
    vectors = steps.function_lanes(sch, epilogue, match.extent(sch, whole), lanes)
    steps.vectorize_with_tail(sch, whole, vectors)


def chunk_tiles(rows: int, tile_rows: int, depth: int, spec: TargetSpec) -> int:
    """Tiles of rows in a chunk: rows of the left operand that take half of the L2 cache."""
    tiles = -(-rows // tile_rows)
    fitting = spec.cache.l2_bytes // 2 // (tile_rows * depth * FLOAT_BYTES)
    if fitting >= tiles:
        return tiles
    chunk = steps.largest_divisor(tiles, max(1, fitting))
    return chunk if chunk >= LEAST_CHUNK_TILES else tiles


def _column_tile(sch: s_tir.Schedule, column: Any, blocks: int, lanes: int) -> list[Any]:
    """Split the columns into tiles of panels, panels, and lanes."""
    if match.extent(sch, column) % (blocks * lanes):  # the last panel is part of one
        return list(sch.split(column, factors=[None, blocks, lanes]))
    panels, lane = sch.split(column, factors=[None, lanes])
    return [*steps.split_evenly(sch, panels, blocks, MOST_PANELS), lane]


def column_groups(tiles: int, chunk: Any, sch: s_tir.Schedule, spec: TargetSpec) -> int:
    """Groups of column tiles that cores share: all apart, few where groups read rows in chunks."""
    if match.extent(sch, chunk) == 1:
        return tiles
    return steps.largest_divisor(tiles, GROUPS_FOR_EACH_CORE * spec.cores.count)


def place_pack(sch: s_tir.Schedule, pack: Any, matrices: list[Any]) -> None:
    """Pack one matrix of a batch just before it is used; a single matrix beforehand, by all."""
    if matrices:
        sch.compute_at(pack, matrices[0], preserve_unit_loops=True)
        loops = list(sch.get_loops(pack))[1:]
    else:
        loops = list(sch.get_loops(pack))
        steps.parallelize(sch, loops[:-2])
    sch.vectorize(loops[-1])


def _sums_in_registers(
    sch: s_tir.Schedule, product: Any, *, by_lane: bool, by_scalar: bool
) -> None:
    """Depth outside, the tile unrolled, one vector innermost.

    Args:
        by_lane: load a vector of each left row at a time; products take its lanes.
        by_scalar: left elements are in general registers.
    """
    left = steps.read_into_registers(sch, product, 0) if by_lane else None
    *outer, batch, row, panel, lane, k = list(sch.get_loops(product))
    size = match.extent(sch, k)
    outer_k, inner_k = steps.split_evenly(
        sch, k, steps.largest_divisor(size, UNROLLED_DEPTH), MOST_UNROLLED_DEPTH
    )
    # Panels inside rows: one broadcast left element is live, beside the panels. Of vectors of
    # left rows all are live, and of general registers: one vector of a panel beside them.
    tile = (panel, row) if left or by_scalar else (row, panel)
    sch.reorder(batch, outer_k, inner_k, *tile, lane)
    if left:
        copy, axes = left
        sch.compute_at(copy, outer_k, preserve_unit_loops=True)
        steps.unroll_tile(sch, copy, len(sch.get_loops(copy)) - axes)
    steps.sums_in_registers(sch, product, outer_k, (inner_k, *tile, lane), len(outer))
