"""Depthwise convolution on a scalar machine: neighbouring columns share inputs and weights."""

from __future__ import annotations

from typing import Any

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, roles, steps
from schedules.fused import FusedSum, fused_sum

COLUMNS = 4  # with 9 weights and 6 inputs of a row 19 of 32 registers
MOST_COLUMNS, MOST_ROWS = 8, 4  # that are drawn: of a tile, and padded together
# A padded plane is made at once where it is a small part of what the kernel reads and writes.
PLANE_SHARE = 16


def scalar_depthwise_conv2d(
    func: PrimFunc, spec: TargetSpec, *, whole_planes: bool = True
) -> s_tir.Schedule | None:
    """Pad one channel's plane, or one row of it, then sum a few columns at a time.

    Matches: one block of role DEPTHWISE_CONV2D with its padding, element-wise blocks after it.
    before: pad;  for n, o, y, x: for ky, kx: acc;   for n, o, y, x: epilogue
    after:  for n, o: (pad plane; for y, x/4: (unrolled ky, kx, x: acc;  for x: epilogue))

    Args:
        whole_planes: where a plane is a small part of all; else a row is padded at a time.
    """
    del spec
    kernel = fused_sum(func, role=roles.DEPTHWISE_CONV2D, before=roles.PAD)
    if kernel is None or kernel.before is None:
        return None
    _schedule(kernel, whole_planes=whole_planes)
    return kernel.sch


def _schedule(kernel: FusedSum, *, whole_planes: bool) -> None:
    sch, conv, epilogue, pad = kernel.sch, kernel.main, kernel.epilogue, kernel.before
    _, channel, row, column = sch.get_loops(epilogue)
    planes = match.leading_size(sch, pad, axes=2)
    tile = steps.largest_divisor(match.extent(sch, column), COLUMNS)
    outer_column, _ = steps.split_evenly(sch, column, tile, MOST_COLUMNS)
    sch.compute_at(conv, outer_column, preserve_unit_loops=True)
    whole = whole_planes and planes >= PLANE_SHARE
    shared = channel if whole else steps.split_evenly(sch, row, 1, MOST_ROWS)[0]
    sch.compute_at(pad, shared, preserve_unit_loops=True)
    sch.set_scope(conv, 0, "local")
    _sum_columns(sch, conv)


def _sum_columns(sch: s_tir.Schedule, conv: Any) -> None:
    """All taps of the columns together; the taps' places are constants."""
    *_, column, tap_y, tap_x = sch.get_loops(conv)
    sch.reorder(tap_y, tap_x, column)
    for loop in (tap_y, tap_x, column):
        sch.unroll(loop)
    start = sch.decompose_reduction(conv, tap_y)
    sch.unroll(sch.get_loops(start)[-1])
