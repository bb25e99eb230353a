"""Depthwise convolution: one channel's plane at a time, a row's columns in vector lanes."""

from __future__ import annotations

from typing import Any

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, roles, steps
from schedules.fused import FusedSum, fused_sum


def depthwise_conv2d(func: PrimFunc, spec: TargetSpec) -> s_tir.Schedule | None:
    """Pad a plane into cache, then sum whole rows of it.

    Matches: one block of role DEPTHWISE_CONV2D with its padding, element-wise blocks after it.
    before: pad;  for n, o, y, x: for ky, kx: acc;   for n, o, y, x: epilogue
    after:  parallel n, o: (pad plane; for y: (for x/lanes: unrolled ky, kx: vectorized lane: acc;
              for x: epilogue))
    """
    kernel = fused_sum(func, role=roles.DEPTHWISE_CONV2D, before=roles.PAD)
    if kernel is None or kernel.before is None:
        return None
    _schedule(kernel, spec)
    return kernel.sch


def _schedule(kernel: FusedSum, spec: TargetSpec) -> None:
    sch, conv, epilogue, pad = kernel.sch, kernel.main, kernel.epilogue, kernel.before
    batch, channel, row, column = sch.get_loops(epilogue)
    planes = match.written_bytes(sch, pad) // match.leading_size(sch, pad, axes=2)
    plane = sch.fuse(batch, channel)
    sch.compute_at(conv, row, preserve_unit_loops=True)
    # Half of the second-level cache is left to the rows that are read and written.
    fits = planes <= spec.cache.l2_bytes // 2
    sch.compute_at(pad, plane if fits else row, preserve_unit_loops=True)
    sch.parallel(plane)
    lanes = spec.lanes(dtype_bits=match.output_bits(sch, epilogue))
    width = steps.vector_width(match.extent(sch, column), lanes)
    if width > 1:
        _, lane = sch.split(column, factors=[None, width])
        sch.vectorize(lane)
    _sum_rows(sch, conv, spec)  # last: a split reduction takes no annotation on outer loops


def _sum_rows(sch: s_tir.Schedule, conv: Any, spec: TargetSpec) -> None:
    """All taps of a vector of columns together; the taps' places are constants."""
    *_, column, tap_y, tap_x = sch.get_loops(conv)
    width = steps.vector_width(match.extent(sch, column), spec.lanes(dtype_bits=32))
    outer, lane = sch.split(column, factors=[None, width])
    sch.reorder(outer, tap_y, tap_x, lane)
    sch.unroll(tap_y)
    sch.unroll(tap_x)
    sch.vectorize(lane)
    start = sch.decompose_reduction(conv, tap_y)
    sch.vectorize(sch.get_loops(start)[-1])
