"""Convolution with few output channels: columns in lanes, channels and vectors in registers."""

from __future__ import annotations

from typing import Any

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, roles, steps
from schedules.cpu.register_tile import BLOCK_TILES, choose_scalar_tile, choose_tile
from schedules.fused import FusedSum, fused_sum


def conv2d_columns(func: PrimFunc, spec: TargetSpec) -> s_tir.Schedule | None:
    """Keep sums of several channels and vectors of columns in registers, rows in worker scratch.

    Matches: one block of role CONV2D_COLUMNS with its rows before it, element-wise blocks after it.
    before: rows;  for n, g, o, y, v, lane: for c, ky, kx: acc;   for n, o, y, x: epilogue
    after:  parallel n, g, chunk of y: (make the rows needed;
              for y: (for v/tile, o/tile: (for c, ky, kx: unrolled o, v: vectorized lane: acc;
                                           for o, v, vectorized lane: store sum);
                      for o, vectorized x: epilogue))
    """
    kernel = fused_sum(func, role=roles.CONV2D_COLUMNS, before=roles.PAD)
    if kernel is None or kernel.before is None:
        return None
    _schedule(kernel, kernel.before, spec)
    return kernel.sch


def _schedule(kernel: FusedSum, pad: Any, spec: TargetSpec) -> None:
    sch, conv, epilogue = kernel.sch, kernel.main, kernel.epilogue
    _, groups, group_out, rows, vectors, lanes = match.axis_extents(sch, conv)[:6]
    registers = spec.vector.register_count
    choose = choose_scalar_tile if spec.vector.multiplies_by_scalar else choose_tile
    tile = choose(vectors, group_out, registers)
    store = sch.cache_write(conv, 0, "local")
    batch, channel, row, column = sch.get_loops(epilogue)
    group, channel = sch.split(channel, factors=[groups, None])
    chunk, row = steps.split_evenly(sch, row, _chunk_rows(kernel, rows, spec))
    sch.reorder(batch, group, chunk, row, channel, column)
    shared = sch.fuse(batch, group, chunk)
    sch.compute_at(store, row, preserve_unit_loops=True)
    *_, out, one_row, vector, lane = sch.get_loops(store)
    outer_out, inner_out = steps.split_drawn(sch, out, tile.columns, registers)
    outer_vector, inner_vector = steps.split_evenly(sch, vector, tile.blocks, max(BLOCK_TILES))
    sch.reorder(one_row, outer_vector, outer_out, inner_out, inner_vector, lane)
    steps.mark_tails(sch, outer_out)
    depth = len(sch.get_loops(store)) - 3
    sch.compute_at(conv, outer_out, preserve_unit_loops=True)
    sch.compute_at(pad, shared, preserve_unit_loops=True)
    sch.parallel(shared)
    width = steps.function_lanes(sch, epilogue, match.extent(sch, column), lanes)
    steps.vectorize_with_tail(sch, column, width)
    steps.unroll_tile(sch, store, depth)
    _sums_in_registers(sch, conv, depth)


def _sums_in_registers(sch: s_tir.Schedule, conv: Any, depth: int) -> None:
    """Channels and taps outside; below its first `depth` loops the block has a tile of one row."""
    batch, group, out, row, vector, lane, *reduction = list(sch.get_loops(conv))[depth:]
    # Vectors inside channels: one broadcast weight is live, beside the inputs of all vectors.
    sch.reorder(batch, group, row, *reduction, out, vector, lane)
    steps.sums_in_registers(sch, conv, reduction[0], (reduction[-1], out, vector, lane), depth)


def _chunk_rows(kernel: FusedSum, rows: int, spec: TargetSpec) -> int:
    """Output rows for which input rows are made together: neighbours read the same ones."""
    sch, pad = kernel.sch, kernel.before
    batch, groups = match.axis_extents(sch, kernel.main)[:2]
    padded_rows = match.axis_extents(sch, pad)[2]
    row_bytes = match.written_bytes(sch, pad) // (batch * groups * padded_rows)
    return steps.rows_together(rows, padded_rows, row_bytes, batch * groups, spec)
