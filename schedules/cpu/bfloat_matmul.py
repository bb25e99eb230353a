"""Matrix product of bfloat16 in pairs along the depth: columns in lanes, rows in registers."""

from __future__ import annotations

from typing import Any

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, roles, steps
from schedules.cpu.dot_step import dot_step, sums_by_steps
from schedules.cpu.matmul import TILE_AXES, UNROLLED_DEPTH, chunk_tiles, column_groups
from schedules.cpu.register_tile import choose_tile
from schedules.fused import FusedSum, fused_sum


def bfloat_matmul(func: PrimFunc, spec: TargetSpec) -> s_tir.Schedule | None:
    """Round all rows first, then keep a tile of float32 sums in registers over the whole depth.

    Matches: one block of role BFLOAT_MATMUL, a copy that rounds before it, element-wise after it.
    before: for m, n: for k/2, pair: acc;   for m, n: epilogue
    after:  parallel m: (round);   parallel group of columns: for chunk of rows: for n/tile, m/tile:
              (for k/2: unrolled m, n: step of lanes: acc;   for m, n: vectorized lane: epilogue)
    """
    kernel = fused_sum(func, role=roles.BFLOAT_MATMUL, before=roles.PAD)
    if kernel is None or kernel.before is None:
        return None
    step = dot_step(kernel.sch, kernel.main, spec)
    if step is None:
        return None
    _schedule(kernel, spec, step)
    return kernel.sch


def _schedule(kernel: FusedSum, spec: TargetSpec, step: str) -> None:
    sch, product, epilogue = kernel.sch, kernel.main, kernel.epilogue
    _, rows, panels, lanes, pairs, _ = match.axis_extents(sch, product)
    registers = spec.vector.register_count
    tile = choose_tile(panels, rows, registers)
    store = sch.cache_write(product, 0, "local")
    steps.flatten_axes(sch, epilogue, 0, len(match.axis_extents(sch, epilogue)) - 1)
    *leading, column = sch.get_loops(epilogue)
    outer_row, inner_row = steps.split_drawn(
        sch, steps.fuse_loops(sch, leading), tile.columns, registers
    )
    together = chunk_tiles(rows, tile.columns, pairs, spec)  # a pair is as large as a float32
    chunk, outer_row = sch.split(outer_row, factors=[None, together])
    steps.mark_tails(sch, chunk, outer_row)
    outer_column, panel, lane = sch.split(column, factors=[None, tile.blocks, lanes])
    groups = column_groups(panels // tile.blocks, chunk, sch, spec)
    group, outer_column = sch.split(outer_column, factors=[groups, None])
    sch.reorder(group, chunk, outer_column, outer_row, inner_row, panel, lane)
    for moved in (store, product):
        sch.compute_at(moved, outer_row, preserve_unit_loops=True)
    sch.vectorize(lane)
    sch.unroll(panel)
    sch.parallel(group)
    _round_first(sch, kernel.before, spec)
    _sums_in_registers(sch, product, step)
    steps.unroll_tile(sch, store, depth=len(sch.get_loops(store)) - TILE_AXES)


def _round_first(sch: s_tir.Schedule, copy: Any, spec: TargetSpec) -> None:
    """Round all rows before any sum: all tiles of columns read them."""
    row, depth = sch.get_loops(copy)
    sch.parallel(row)
    steps.vectorize_with_tail(sch, depth, spec.lanes(dtype_bits=32))


def _sums_in_registers(sch: s_tir.Schedule, product: Any, step: str) -> None:
    """Depth outside, the tile unrolled, a step innermost."""
    *outer, batch, row, panel, lane, pair, inner = list(sch.get_loops(product))
    together = steps.largest_divisor(match.extent(sch, pair), UNROLLED_DEPTH)
    outer_pair, inner_pair = sch.split(pair, factors=[None, together])
    sch.reorder(batch, outer_pair, inner_pair, row, panel, lane, inner)
    tile = (inner_pair, row, panel, lane, inner)
    sums_by_steps(sch, product, outer_pair, tile, len(outer), step)
