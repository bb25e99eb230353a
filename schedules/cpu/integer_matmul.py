"""Matrix product of small integers over packed panels: columns in lanes, rows in registers."""

from __future__ import annotations

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, roles, steps
from schedules.cpu.dot_step import dot_step, sums_by_steps, sums_registers, sums_vectors
from schedules.cpu.register_tile import choose_tile
from schedules.fused import FusedSum, fused_sum


def integer_matmul(func: PrimFunc, spec: TargetSpec) -> s_tir.Schedule | None:
    """Keep a tile of int32 sums in registers over the whole depth.

    Matches: one block of role INTEGER_MATMUL, perhaps a copy of rows before it, element-wise after.
    before: for m, n, lane: for k: acc;   for m, n: epilogue
    after:  parallel m/tile, n/tile: (for k: unrolled m, n: vectorized lane: acc;
              for m, n: vectorized lane: epilogue)
    """
    kernel = fused_sum(func, role=roles.INTEGER_MATMUL, before=roles.PAD)
    if kernel is None or len(match.axis_extents(kernel.sch, kernel.epilogue)) != 2:
        return None
    _schedule(kernel, spec)
    return kernel.sch


def _schedule(kernel: FusedSum, spec: TargetSpec) -> None:
    sch, product, epilogue = kernel.sch, kernel.main, kernel.epilogue
    rows, blocks, lanes = match.axis_extents(sch, product)[:3]
    step = dot_step(sch, product, spec)
    registers = sums_registers(spec, step)
    tile = choose_tile(blocks, rows, registers, vectors=sums_vectors(lanes, step))
    row, column = sch.get_loops(epilogue)
    outer_row, inner_row = steps.split_drawn(sch, row, tile.columns, registers)
    steps.mark_tails(sch, outer_row)
    outer_column, block, lane = sch.split(
        column, factors=[None, steps.largest_divisor(blocks, tile.blocks), lanes]
    )
    sch.reorder(outer_row, outer_column, inner_row, block, lane)
    sch.compute_at(product, outer_column, preserve_unit_loops=True)
    if kernel.before is not None:
        sch.compute_at(kernel.before, outer_row, preserve_unit_loops=True)
        sch.parallel(outer_row)
    else:
        sch.parallel(outer_column if rows == 1 else outer_row)
    sch.vectorize(lane)
    for loop in (inner_row, block):
        sch.unroll(loop)
    depth = 2
    row, block, lane, chunk, inner = list(sch.get_loops(product))[depth:]
    sch.set_scope(product, 0, "local")
    if step is not None:
        sch.reorder(chunk, row, block, lane, inner)
        sums_by_steps(sch, product, chunk, (row, block, lane, inner), depth, step)
        return
    sch.reorder(chunk, inner, row, block, lane)
    steps.sums_in_registers(sch, product, chunk, (inner, row, block, lane), depth)
