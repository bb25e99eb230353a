"""Depthwise convolution of blocked data: channels in vector lanes, columns in registers."""

from __future__ import annotations

from typing import Any

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, roles, steps
from schedules.fused import FusedSum, fused_sum

# A padded plane is kept whole only where it is a small part of the input: else its rows are.
PLANE_SHARE = 20


def blocked_depthwise_conv2d(func: PrimFunc, spec: TargetSpec) -> s_tir.Schedule | None:
    """Sum all taps of a run of columns in registers, one vector of channels wide.

    Matches: one block of role BLOCKED_DEPTHWISE_CONV2D, padding before it, element-wise after it.
    before: for n, c, y, x, lane: for ky, kx: acc;   for n, c, y, x, lane: epilogue
    after:  parallel n, c, y: (pad rows; for x/tile: (unrolled ky, kx, x: vectorized lane: acc;
              for x: vectorized lane: epilogue))
    dear:   parallel n, c, y: (pad rows; for x/tile: (acc; for x: vectorized lane: store sum);
              for x/4: vectorized x, lane: epilogue), where the epilogue calls exp or the like:
            its constants and the sums do not fit the registers together.
    """
    kernel = fused_sum(func, role=roles.BLOCKED_DEPTHWISE_CONV2D, before=roles.PAD)
    if kernel is None:
        return None
    _schedule(kernel, spec)
    return kernel.sch


def _schedule(kernel: FusedSum, spec: TargetSpec) -> None:
    sch, conv, epilogue, pad = kernel.sch, kernel.main, kernel.epilogue, kernel.before
    batch, blocks, _, columns, _ = match.axis_extents(sch, conv)[:5]
    # Half of the registers: the others hold weights and what is loaded ahead.
    tile = steps.largest_divisor(columns, spec.vector.register_count // 2)
    dear = match.calls_polynomials(sch, epilogue)
    stored = sch.cache_write(conv, 0, "local") if dear else epilogue
    n, block, row, *_, lane = sch.get_loops(epilogue)
    plane = sch.fuse(n, block)
    whole = pad is not None and batch * blocks >= PLANE_SHARE
    shared = plane if whole else sch.fuse(plane, row)
    if dear:
        sch.compute_at(stored, row if whole else shared, preserve_unit_loops=True)
        *_, column, lane = sch.get_loops(epilogue)
        lanes, whole_row = match.extent(sch, lane), sch.fuse(column, lane)
        lanes = steps.function_lanes(sch, epilogue, columns * lanes, lanes)
        steps.vectorize_with_tail(sch, whole_row, lanes)
    *_, column, lane = sch.get_loops(stored)
    outer_column, inner_column = sch.split(column, factors=[None, tile])
    depth = len(sch.get_loops(stored)) - 2
    sch.compute_at(conv, outer_column, preserve_unit_loops=True)
    if pad is not None:
        steps.pad_rows(sch, pad, shared)
    sch.parallel(shared)
    sch.vectorize(lane)
    sch.unroll(inner_column)
    sum_taps_in_registers(sch, conv, depth)


def sum_taps_in_registers(sch: s_tir.Schedule, conv: Any, depth: int) -> None:
    """Taps outside, the tile's columns unrolled, one vector innermost."""
    *single, column, lane, tap_y, tap_x = list(sch.get_loops(conv))[depth:]
    sch.reorder(*single, tap_y, tap_x, column, lane)
    sch.set_scope(conv, 0, "local")
    steps.sums_in_registers(sch, conv, tap_y, (tap_y, tap_x, column, lane), depth)
