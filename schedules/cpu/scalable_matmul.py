"""Matrix product for vectors of a length that only the processor knows."""

from __future__ import annotations

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, roles, steps
from schedules.cpu.matmul import place_pack
from schedules.cpu.register_tile import FLOAT_BYTES
from schedules.cpu.scalable_conv2d import SUMS_SHARE
from schedules.fused import FusedSum, fused_sum

PRODUCT_AXES = 5  # batch, row, panel, lane, k


def scalable_matmul(func: PrimFunc, spec: TargetSpec) -> s_tir.Schedule | None:
    """Leave the sums of a run of rows to a function that knows the vectors.

    Matches: as `matmul`.
    before: for b, m, n: for k: acc;   for b, m, n: epilogue
    after:  parallel b, panel of columns: for m/tile: (marked: for lane, m, k: acc;
              for m, lane: epilogue)
    """
    if not spec.vector.scalable:
        return None
    kernel = fused_sum(func, role=roles.MATMUL, before=roles.PACK)
    if kernel is None:
        return None
    schedule_matmul_sums(kernel, spec)
    return kernel.sch


def schedule_matmul_sums(kernel: FusedSum, spec: TargetSpec) -> None:
    """Share panels and matrices among cores, and mark the sums of a run of rows."""
    sch, product, epilogue, pack = kernel.sch, kernel.main, kernel.epilogue, kernel.before
    batch, rows, _, lanes, _ = match.axis_extents(sch, product)
    if batch == 1:
        steps.flatten_axes(sch, epilogue, 0, len(match.axis_extents(sch, epilogue)) - 1)
    *leading, column = sch.get_loops(epilogue)
    matrices = [steps.fuse_loops(sch, leading[:-1])] if batch > 1 else []
    row = leading[-1] if batch > 1 else steps.fuse_loops(sch, leading)
    fitting = spec.cache.l1d_bytes // SUMS_SHARE // (lanes * FLOAT_BYTES)
    tile = steps.largest_divisor(rows, max(1, fitting))
    outer_row, inner_row = sch.split(row, factors=[None, tile])
    panel, lane = sch.split(column, factors=[None, lanes])
    sch.reorder(*matrices, panel, outer_row, inner_row, lane)
    sch.compute_at(product, outer_row, preserve_unit_loops=True)
    if pack is not None:
        place_pack(sch, pack, matrices)
    if pack is not None and matrices:
        sch.parallel(matrices[0])
    else:
        sch.parallel(steps.fuse_loops(sch, [*matrices, panel]))
    depth = len(sch.get_loops(product)) - PRODUCT_AXES
    one, rows_loop, one_panel, lane_loop, k = list(sch.get_loops(product))[depth:]
    steps.mark_sums(sch, product, depth, (one, one_panel, lane_loop, rows_loop, k), 2)
