"""Matrix product on a scalar machine: rows x columns in registers, packed weights in a stream."""

from __future__ import annotations

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, roles, steps
from schedules.fused import FusedSum, fused_sum
from schedules.mcu.register_tile import choose_columns

# Steps of the depth in a row: the loop's own instructions are paid once for all of them.
UNROLLED_DEPTH = 4
MOST_UNROLLED_DEPTH = 16


def scalar_matmul(func: PrimFunc, spec: TargetSpec) -> s_tir.Schedule | None:
    """Keep a tile of sums in registers over the whole depth.

    Matches: one block of role MATMUL, perhaps packing before it, element-wise blocks after it.
    before: for b, m, n: for k: acc;   for b, m, n: epilogue
    after:  for b, m/tile, n/lanes: (for k/4: unrolled k, m, lane: acc;   for m, lane: epilogue)
    """
    kernel = fused_sum(func, role=roles.MATMUL, before=roles.PACK)
    if kernel is None:
        return None
    _schedule(kernel, spec)
    return kernel.sch


def _schedule(kernel: FusedSum, spec: TargetSpec) -> None:
    sch, product, epilogue = kernel.sch, kernel.main, kernel.epilogue
    batch, rows, _, lanes, depth = match.axis_extents(sch, product)
    if batch == 1:
        steps.flatten_axes(sch, epilogue, 0, len(match.axis_extents(sch, epilogue)) - 1)
    *leading, column = sch.get_loops(epilogue)
    matrices = leading[:-1] if batch > 1 else []
    row = leading[-1] if batch > 1 else steps.fuse_loops(sch, leading)
    tile = choose_columns(rows, lanes, 1, spec.vector.register_count)
    outer_row, inner_row = steps.split_drawn(sch, row, tile, spec.vector.register_count)
    steps.mark_tails(sch, outer_row)
    outer_column, lane = sch.split(column, factors=[None, lanes])
    sch.reorder(*matrices, outer_row, outer_column, inner_row, lane)
    store = sch.cache_write(product, 0, "local")
    for moved in (store, product):
        sch.compute_at(moved, outer_column, preserve_unit_loops=True)
    outside = len(matrices) + 2
    one, row, panel, lane, k = list(sch.get_loops(product))[outside:]
    outer_k, inner_k = steps.split_evenly(
        sch, k, steps.largest_divisor(depth, UNROLLED_DEPTH), MOST_UNROLLED_DEPTH
    )
    sch.reorder(one, panel, outer_k, inner_k, row, lane)
    for loop in (inner_k, row, lane):
        sch.unroll(loop)
    start = sch.decompose_reduction(product, outer_k)
    for block in (start, store):
        for loop in list(sch.get_loops(block))[outside:]:
            sch.unroll(loop)
