"""Matrix product of small integers by sums of products: four columns in general registers."""

from __future__ import annotations

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, roles
from schedules.fused import FusedSum, fused_sum
from schedules.mcu.dot_conv2d import copy_row, dot_product_of, sum_dot_products


def dot_matmul(func: PrimFunc, spec: TargetSpec) -> s_tir.Schedule | None:
    """Sum the products of a group of the depth by one instruction, four columns at a time.

    Matches: one block of role INTEGER_MATMUL whose panels lie in groups that the machine sums,
    perhaps a copy of rows before it, element-wise after it.
    before: for m, n, lane: for chunk, k: acc;   for m, n: epilogue
    after:  for m, n/lanes: (for chunk/4: unrolled chunk, lane: dot product;
              vectorized lane: epilogue)
    """
    if not spec.vector.sums_products:
        return None
    kernel = fused_sum(func, role=roles.INTEGER_MATMUL, before=roles.PAD)
    if kernel is None or len(match.axis_extents(kernel.sch, kernel.epilogue)) != 2:
        return None
    intrinsic = dot_product_of(kernel.sch, kernel.main)
    if intrinsic is None:
        return None
    _schedule(kernel, intrinsic, spec)
    return kernel.sch


def _schedule(kernel: FusedSum, intrinsic: str, spec: TargetSpec) -> None:
    sch, product = kernel.sch, kernel.main
    lanes = match.axis_extents(sch, product)[2]
    row, column = sch.get_loops(kernel.epilogue)
    outer_column, lane = sch.split(column, factors=[None, lanes])
    sch.compute_at(product, outer_column, preserve_unit_loops=True)
    if kernel.before is not None:
        copy_row(sch, kernel.before, row, spec)
    sch.vectorize(lane)
    *single, lane, chunk, inner = list(sch.get_loops(product))[2:]
    sch.reorder(*single, chunk, lane, inner)
    sum_dot_products(sch, product, (chunk,), lane, intrinsic, depth=2)
