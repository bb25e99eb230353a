"""Matrix product of int8 on 64-bit Arm and RISC-V with vectors: sums by the runtime."""

from __future__ import annotations

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, roles, steps
from schedules.cpu.dot_conv2d import (
    machine_mark,
    place_sums,
    run_of,
    split_run,
    sums_by_function,
    vectorize_lanes,
)
from schedules.fused import FusedSum, fused_sum


def dot_matmul(func: PrimFunc, spec: TargetSpec) -> s_tir.Schedule | None:
    """Leave the sums of a run of rows to a function of the runtime; it is marked.

    Matches: as `integer_matmul`, rows and panels as `sums_by_function` has them.
    before: for m, n, lane: for k: acc;   for m, n: epilogue
    after:  parallel m/tile, n: (marked: for lane, m, k: acc;   for m: vectorized lane: epilogue)
            where rows are copied, tiles of them are shared
    """
    kernel = fused_sum(func, role=roles.INTEGER_MATMUL, before=roles.PAD)
    if kernel is None or len(match.axis_extents(kernel.sch, kernel.epilogue)) != 2:
        return None
    if not sums_by_function(kernel, spec):
        return None
    schedule_dot_matmul(kernel, spec, roles.INTEGER_SUMS)
    return kernel.sch


def schedule_dot_matmul(kernel: FusedSum, spec: TargetSpec, mark: str) -> None:
    """Sums of a run of rows at a time, their nest marked with `mark`."""
    sch, product = kernel.sch, kernel.main
    rows, _, lanes = match.axis_extents(sch, product)[:3]
    row, column = sch.get_loops(kernel.epilogue)
    run = run_of(rows, lanes, spec)
    outer_row, inner_row = split_run(sch, row, run)
    panel, lane = sch.split(column, factors=[None, lanes])
    sch.reorder(outer_row, panel, inner_row, lane)
    steps.mark_tails(sch, *([outer_row] if rows % run else []))
    shared = outer_row
    if kernel.before is None and rows % run == 0:
        shared = panel = sch.fuse(outer_row, panel)
    depth = place_sums(sch, product, panel)
    if kernel.before is not None:
        sch.compute_at(kernel.before, outer_row, preserve_unit_loops=True)
    sch.parallel(shared)
    vectorize_lanes(sch, lane)
    rows_loop, one, lane, chunk, inner = list(sch.get_loops(product))[depth:]
    nest = (one, lane, rows_loop, chunk, inner)
    steps.mark_sums(sch, product, depth, nest, 1, mark, machine_mark(spec))
