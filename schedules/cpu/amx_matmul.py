"""Matrix product of small integers by products of tiles (AMX): its sums are the runtime's."""

from __future__ import annotations

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, roles, steps
from schedules.cpu.amx_conv2d import blocks_together, tile_run, tile_step
from schedules.cpu.dot_conv2d import split_run, vectorize_lanes
from schedules.fused import FusedSum, fused_sum


def amx_matmul(func: PrimFunc, spec: TargetSpec) -> s_tir.Schedule | None:
    """Leave the sums of a run of rows and some panels of columns to the runtime; marked.

    Matches: as `integer_matmul`, its sum marked `roles.TILE_SUMS`.
    before: for m, n, lane: for k: acc;   for m, n: epilogue
    after:  parallel m/run, n/group: (marked: for lane, n, m, k: acc;   for m, n: vectorized lane:
              epilogue)
            where rows are copied, runs of them are shared
    """
    kernel = fused_sum(func, role=roles.INTEGER_MATMUL, before=roles.PAD)
    if kernel is None or len(match.axis_extents(kernel.sch, kernel.epilogue)) != 2:
        return None
    step = tile_step(kernel, spec)
    if step is None:
        return None
    _schedule(kernel, spec, step)
    return kernel.sch


def _schedule(kernel: FusedSum, spec: TargetSpec, step: int) -> None:
    sch, product = kernel.sch, kernel.main
    rows, panels, lanes = match.axis_extents(sch, product)[:3]
    row, column = sch.get_loops(kernel.epilogue)
    run = tile_run(rows, spec)
    outer_row, inner_row = split_run(sch, row, run)
    is_even = rows % match.extent(sch, inner_row) == 0
    is_copied = kernel.before is not None
    parts = 1 if is_copied else -(-spec.cores.count // -(-rows // run))
    together = blocks_together(panels, run, parts, spec)
    group, panel, lane = sch.split(column, factors=[None, together, lanes])
    outside = [outer_row, group] if is_even or is_copied else [group, outer_row]
    sch.reorder(*outside, inner_row, panel, lane)
    if not is_even:
        steps.mark_tails(sch, outer_row)
    if is_even and not is_copied:
        shared = inside = sch.fuse(*outside)
    else:
        shared, inside = outside
    sch.compute_at(product, inside, preserve_unit_loops=True)
    if kernel.before is not None:
        sch.compute_at(kernel.before, outer_row, preserve_unit_loops=True)
    sch.parallel(shared)
    vectorize_lanes(sch, lane)
    depth = len(sch.get_loops(product)) - len(match.axis_extents(sch, product))
    rows_loop, one, lane, chunk, inner = list(sch.get_loops(product))[depth:]
    nest = (lane, one, rows_loop, chunk, inner)
    steps.mark_sums(sch, product, depth, nest, 0, roles.TILE_SUMS, step)
