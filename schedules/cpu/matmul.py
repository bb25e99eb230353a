"""Matrix product over packed panels of the right operand: columns in lanes, rows in registers."""

from __future__ import annotations

from typing import Any

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, roles, steps
from schedules.cpu.register_tile import choose_tile
from schedules.fused import FusedSum, fused_sum

# Steps of k in a row: the loop's own instructions are paid once for all of them.
UNROLLED_DEPTH = 4


def matmul(func: PrimFunc, spec: TargetSpec) -> s_tir.Schedule | None:
    """Keep a tile of sums in registers over the whole depth.

    Matches: one block of role MATMUL, perhaps packing before it, element-wise blocks after it.
    before: for b, m, n: for k: acc;   for b, m, n: epilogue
    after:  parallel b, m/tile, n/tile: (for k: unrolled n, m: vectorized lane: acc;
              for m, n: vectorized lane: epilogue)
    """
    kernel = fused_sum(func, role=roles.MATMUL, before=roles.PACK)
    if kernel is None:
        return None
    _schedule(kernel, spec)
    return kernel.sch


def _schedule(kernel: FusedSum, spec: TargetSpec) -> None:
    sch, product, epilogue, pack = kernel.sch, kernel.main, kernel.epilogue, kernel.before
    batch, blocks, rows, panels, lanes, _ = match.axis_extents(sch, product)
    registers = spec.vector.register_count
    tile = choose_tile(panels, rows, registers)
    store = sch.cache_write(product, 0, "local")
    if batch == 1:
        steps.flatten_leading_axes(sch, epilogue)
    *leading, column = sch.get_loops(epilogue)
    matrices = [steps.fuse_loops(sch, leading[:-1])] if batch > 1 else []
    row = leading[-1] if batch > 1 else steps.fuse_loops(sch, leading)
    row_block, row = sch.split(row, factors=[blocks, rows])
    rows_tile = sch.sample_perfect_tile(
        row, n=2, max_innermost_factor=registers, decision=[rows // tile.columns, tile.columns]
    )
    outer_row, inner_row = sch.split(row, factors=rows_tile)
    outer_row = sch.fuse(row_block, outer_row)
    outer_column, panel, lane = sch.split(column, factors=[None, tile.blocks, lanes])
    # Columns outside rows: a panel of the right operand stays in cache for all rows.
    sch.reorder(*matrices, outer_column, outer_row, inner_row, panel, lane)
    for moved in (store, product):
        sch.compute_at(moved, outer_row, preserve_unit_loops=True)
    if pack is not None:
        _place_pack(sch, pack, matrices)
    sch.vectorize(lane)
    sch.unroll(panel)
    if pack is not None and matrices:
        sch.parallel(matrices[0])
        depth = 3
    else:
        sch.parallel(steps.fuse_loops(sch, [*matrices, outer_column, outer_row]))
        depth = 1
    _sums_in_registers(sch, product, depth)
    steps.unroll_tile(sch, store, depth=depth)


def _place_pack(sch: s_tir.Schedule, pack: Any, matrices: list[Any]) -> None:
    """Pack one matrix of a batch just before it is used; a single matrix beforehand, by all."""
    if matrices:
        sch.compute_at(pack, matrices[0], preserve_unit_loops=True)
        loops = list(sch.get_loops(pack))[1:]
    else:
        loops = list(sch.get_loops(pack))
        steps.parallelize(sch, loops[:-2])
    sch.vectorize(loops[-1])


def _sums_in_registers(sch: s_tir.Schedule, product: Any, depth: int) -> None:
    """Depth outside, the tile unrolled, one vector innermost."""
    batch, block, row, panel, lane, k = list(sch.get_loops(product))[depth:]
    size = match.extent(sch, k)
    steps_of_k = steps.largest_divisor(size, UNROLLED_DEPTH)
    outer_k, inner_k = sch.split(k, factors=[None, steps_of_k])
    # Panels inside rows: one broadcast left element is live, beside the panels.
    sch.reorder(batch, block, outer_k, inner_k, row, panel, lane)
    for loop in (inner_k, panel, row):
        sch.unroll(loop)
    sch.vectorize(lane)
    start = sch.decompose_reduction(product, outer_k)
    steps.unroll_tile(sch, start, depth=depth)
