"""Transposed convolution: one row of all phases at a time, then the output rows it makes."""

from __future__ import annotations

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, roles, steps
from schedules.cpu.register_tile import (
    choose_scalar_tile,
    choose_tile,
    convolution_in_registers,
)
from schedules.fused import FusedSum, fused_sum


def conv2d_transpose(func: PrimFunc, spec: TargetSpec) -> s_tir.Schedule | None:
    """Keep tiles of sums in registers; interleave the phases when a row is done.

    Matches: one block of role CONV2D_TRANSPOSE with its padding, element-wise blocks after it.
    before: pad;  for n, o, y, x: for c, ky, kx: acc;   for n, o, y, x: epilogue
    after:  parallel n, y/stride: (pad rows; for o/tile, x/tile: for c, ky, kx: tile of acc;
              for o, y, x: epilogue)
    """
    kernel = fused_sum(func, role=roles.CONV2D_TRANSPOSE, before=roles.PAD)
    if kernel is None or kernel.before is None:
        return None
    _schedule(kernel, spec)
    return kernel.sch


def _schedule(kernel: FusedSum, spec: TargetSpec) -> None:
    sch, conv, epilogue, pad = kernel.sch, kernel.main, kernel.epilogue, kernel.before
    _, _, blocks, rows, columns, _ = match.axis_extents(sch, conv)[:6]
    store = sch.cache_write(conv, 0, "local")
    batch, channel, row, column = sch.get_loops(epilogue)
    out_rows = match.extent(sch, row)
    stride = out_rows // rows if out_rows % rows == 0 else 1
    outer_row, inner_row = sch.split(row, factors=[None, max(1, stride)])
    sch.reorder(batch, outer_row, channel, inner_row, column)
    shared = sch.fuse(batch, outer_row)
    sch.compute_at(store, shared, preserve_unit_loops=True)
    by_scalar = spec.vector.multiplies_by_scalar
    choose = choose_scalar_tile if by_scalar else choose_tile
    tile = choose(blocks, columns, spec.vector.register_count)
    batch, group, block, row, column, lane = list(sch.get_loops(store))[1:]
    outer_block, inner_block = sch.split(block, factors=[None, tile.blocks])
    outer_column, inner_column = steps.split_drawn(
        sch, column, tile.columns, spec.vector.register_count
    )
    steps.mark_tails(sch, outer_column)
    sch.reorder(batch, group, row, outer_block, outer_column, inner_block, inner_column, lane)
    sch.compute_at(conv, outer_column, preserve_unit_loops=True)
    sch.compute_at(pad, shared, preserve_unit_loops=True)
    sch.parallel(shared)
    depth = 6  # shared, batch, group, row, outer_block, outer_column
    convolution_in_registers(sch, conv, depth, by_scalar=by_scalar)
    steps.unroll_tile(sch, store, depth)
