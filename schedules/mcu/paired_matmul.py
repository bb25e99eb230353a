"""Matrix product of small integers, two products an instruction: some panels are one call."""

from __future__ import annotations

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, roles, steps
from schedules.fused import FusedSum
from schedules.mcu.paired import LANES, copy_row, mark_paired_sums, paired_sum

PANELS = 8  # summed before the epilogue of their columns: an even number, 64 bytes of sums
MOST_PANELS = 32  # that are drawn


def paired_matmul(func: PrimFunc, spec: TargetSpec) -> s_tir.Schedule | None:
    """Copy a row as int16, then some panels of two columns at a time.

    Matches: one block of role INTEGER_MATMUL, rows int16, weights int8, element-wise after it.
    before: for m, n, lane: for k: acc;   for m, n: epilogue
    after:  for m: (copy the row; for n/16: (one call: for n, lane: for k: acc;   for n: epilogue))
    """
    kernel = paired_sum(func, spec, roles.INTEGER_MATMUL, axes=2)
    if kernel is None or match.axis_extents(kernel.sch, kernel.main)[2] != LANES:
        return None
    _schedule(kernel)
    return kernel.sch


def _schedule(kernel: FusedSum) -> None:
    sch, product, epilogue = kernel.sch, kernel.main, kernel.epilogue
    panels = match.axis_extents(sch, product)[1]
    row, column = sch.get_loops(epilogue)
    together = steps.largest_divisor(panels, PANELS)
    divisors = [count for count in range(1, MOST_PANELS + 1) if panels % count == 0]
    outer_column, _ = steps.split_among(
        sch, column, together * LANES, [count * LANES for count in divisors]
    )
    sch.compute_at(product, outer_column, preserve_unit_loops=True)
    if kernel.before is not None:
        copy_row(sch, kernel.before, row)
    depth = 2
    one, block, lane, chunk, inner = list(sch.get_loops(product))[depth:]
    mark_paired_sums(sch, product, depth, [one, lane, block, chunk, inner], 1)
