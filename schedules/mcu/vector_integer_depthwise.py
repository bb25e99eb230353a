"""Depthwise convolution of small integers on a microcontroller with vectors: channels in lanes."""

from __future__ import annotations

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, roles, steps
from schedules.fused import FusedSum, fused_sum
from schedules.mcu.dot_conv2d import copy_row


def vector_integer_depthwise(func: PrimFunc, spec: TargetSpec) -> s_tir.Schedule | None:
    """Sum all taps of one position in a register, four channels wide.

    One column at a time: eight registers hold no tile of sums beside weights and inputs, but LLVM
    widens the weights of all taps once for a row and reads them from the stack.

    Matches: one block of role INTEGER_DEPTHWISE, a copy of rows before it, element-wise after it.
    before: for n, y, x, c: for ky, kx: acc;   for n, y, x, c: epilogue
    after:  for n, y: (copy the rows needed; for c/lanes, x: (for ky: unrolled kx: vectorized lane:
              acc;   vectorized lane: epilogue))
    """
    if not spec.vector.sums_products:
        return None
    kernel = fused_sum(func, role=roles.INTEGER_DEPTHWISE, before=roles.PAD)
    if kernel is None or len(match.axis_extents(kernel.sch, kernel.epilogue)) != 4:
        return None
    _schedule(kernel, spec)
    return kernel.sch


def _schedule(kernel: FusedSum, spec: TargetSpec) -> None:
    sch, conv = kernel.sch, kernel.main
    lanes = min(spec.lanes(dtype_bits=32), match.axis_extents(sch, conv)[3])
    batch, row, column, channel = sch.get_loops(kernel.epilogue)
    outer_channel, lane = sch.split(channel, factors=[None, lanes])
    sch.reorder(batch, row, outer_channel, column, lane)
    sch.compute_at(conv, column, preserve_unit_loops=True)
    if kernel.before is not None:
        copy_row(sch, kernel.before, row, spec)
    sch.vectorize(lane)
    *single, lane, tap_y, tap_x = list(sch.get_loops(conv))[4:]
    sch.reorder(*single, tap_y, tap_x, lane)
    sch.set_scope(conv, 0, "local")
    steps.sums_in_registers(sch, conv, tap_y, (tap_x, lane), depth=4)
