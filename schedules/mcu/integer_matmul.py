"""Matrix product of small integers on a scalar machine: columns in registers."""

from __future__ import annotations

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, roles, steps
from schedules.fused import FusedSum, fused_sum
from schedules.mcu.matmul import MOST_UNROLLED_DEPTH, UNROLLED_DEPTH


def scalar_integer_matmul(func: PrimFunc, spec: TargetSpec) -> s_tir.Schedule | None:
    """Keep the sums of a panel's columns in registers over the whole depth.

    Matches: one block of role INTEGER_MATMUL, perhaps a copy of rows before it, element-wise after.
    before: for m, n, lane: for k: acc;   for m, n: epilogue
    after:  for m, n: (for k/4: unrolled k, lane: acc;   for lane: epilogue)
    """
    del spec
    kernel = fused_sum(func, role=roles.INTEGER_MATMUL, before=roles.PAD)
    if kernel is None or len(match.axis_extents(kernel.sch, kernel.epilogue)) != 2:
        return None
    _schedule(kernel)
    return kernel.sch


def _schedule(kernel: FusedSum) -> None:
    sch, product, epilogue = kernel.sch, kernel.main, kernel.epilogue
    lanes = match.axis_extents(sch, product)[2]
    row, column = sch.get_loops(epilogue)
    outer_column, lane = sch.split(column, factors=[None, lanes])
    sch.compute_at(product, outer_column, preserve_unit_loops=True)
    if kernel.before is not None:
        sch.compute_at(kernel.before, row, preserve_unit_loops=True)
    depth = 2
    one, block, lane, chunk, inner = list(sch.get_loops(product))[depth:]
    chunks = match.extent(sch, chunk)
    outer_chunk, inner_chunk = steps.split_evenly(
        sch, chunk, steps.largest_divisor(chunks, UNROLLED_DEPTH), MOST_UNROLLED_DEPTH
    )
    sch.reorder(one, block, outer_chunk, inner_chunk, inner, lane)
    for loop in (inner_chunk, inner, lane):
        sch.unroll(loop)
    sch.set_scope(product, 0, "local")
    start = sch.decompose_reduction(product, outer_chunk)
    for loop in list(sch.get_loops(start))[depth:]:
        sch.unroll(loop)
