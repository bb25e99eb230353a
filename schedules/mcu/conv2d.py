"""Direct convolution on a scalar machine: channels x positions in registers, rows padded once."""

from __future__ import annotations

from typing import Any

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, roles, steps
from schedules.fused import FusedSum, fused_sum
from schedules.mcu.register_tile import choose_columns

# Taps of a row up to which they are unrolled: code grows with them.
UNROLLED_TAPS = 4
# Input channels and rows that are drawn, in a row and together.
MOST_CHANNELS, MOST_ROWS = 4, 4


def scalar_conv2d(
    func: PrimFunc, spec: TargetSpec, *, unroll_taps: bool = True
) -> s_tir.Schedule | None:
    """Sum a tile of channels x columns in registers; pad a row's inputs once for all channels.

    Matches: one block of role CONV2D, with padding before it and element-wise blocks after it.
    before: pad;  for n, o, y, x: for c, ky, kx: acc;   for n, o, y, x: epilogue
    after:  for n, y: (pad the rows needed; for o/lanes, x/tile: (for c, ky: unrolled kx, x, lane:
              acc; for lane, x: epilogue))

    Args:
        unroll_taps: the taps of a row, so that they share inputs; it takes more code.
    """
    kernel = fused_sum(func, role=roles.CONV2D, before=roles.PAD)
    if kernel is None or len(match.axis_extents(kernel.sch, kernel.epilogue)) != 4:
        return None
    _schedule(kernel, spec, UNROLLED_TAPS if unroll_taps else 1)
    return kernel.sch


def _schedule(kernel: FusedSum, spec: TargetSpec, most_taps: int) -> None:
    sch, conv, epilogue, pad = kernel.sch, kernel.main, kernel.epilogue, kernel.before
    extents = match.axis_extents(sch, conv)
    rows, columns, lanes, taps = extents[3], extents[4], extents[5], extents[8]
    store = sch.cache_write(conv, 0, "local")
    if match.axis_extents(sch, epilogue)[2] != rows:  # pointwise: all positions are one row
        steps.flatten_axes(sch, epilogue, 2, 2)
    batch, channel, *position = sch.get_loops(epilogue)
    if len(position) == 1 or match.extent(sch, position[0]) != rows:
        position = sch.split(steps.fuse_loops(sch, position), factors=[1, None])
    row, column = position
    unrolled_taps = taps if taps <= most_taps else 1
    tile = choose_columns(columns, lanes, unrolled_taps, spec.vector.register_count)
    outer_column, inner_column = steps.split_drawn(sch, column, tile, spec.vector.register_count)
    steps.mark_tails(sch, outer_column)
    outer_channel, lane = sch.split(channel, factors=[None, lanes])
    shared, row = steps.split_evenly(sch, row, 1, MOST_ROWS)
    sch.reorder(batch, shared, row, outer_channel, outer_column, lane, inner_column)
    for moved in (store, conv):
        sch.compute_at(moved, outer_column, preserve_unit_loops=True)
    if pad is not None:
        sch.compute_at(pad, shared, preserve_unit_loops=True)
    _sums_in_registers(sch, conv, depth=5, unrolled_taps=unrolled_taps)
    for loop in list(sch.get_loops(store))[5:]:
        sch.unroll(loop)


def _sums_in_registers(sch: s_tir.Schedule, conv: Any, depth: int, *, unrolled_taps: int) -> None:
    """Input channels and taps outside, the tile innermost and unrolled.

    The sum keeps its order whatever is drawn: some of its loops are unrolled where they are.
    """
    loops = list(sch.get_loops(conv))[depth:]
    batch, group, block, row, column, lane, channel, tap_y, tap_x, inner = loops
    channel, some_channels = steps.split_evenly(sch, channel, 1, MOST_CHANNELS)
    tap_y, some_rows = steps.split_evenly(sch, tap_y, 1)
    tap_x, some_taps = steps.split_evenly(sch, tap_x, unrolled_taps)
    taps = (tap_y, some_rows, inner, tap_x, some_taps)
    sch.reorder(batch, group, row, block, channel, some_channels, *taps, column, lane)
    for loop in (some_channels, some_rows, some_taps, column, lane):
        sch.unroll(loop)
    start = sch.decompose_reduction(conv, channel)
    for loop in list(sch.get_loops(start))[depth:]:
        sch.unroll(loop)
