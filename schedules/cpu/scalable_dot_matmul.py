"""Matrix product of small integers in scalable vectors: sums by a function of the runtime."""

from __future__ import annotations

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, roles
from schedules.cpu.dot_matmul import schedule_dot_matmul
from schedules.cpu.scalable_dot_conv2d import sums_scalable_dots
from schedules.fused import fused_sum


def scalable_dot_matmul(func: PrimFunc, spec: TargetSpec) -> s_tir.Schedule | None:
    """Leave the sums of a run of rows to a function of the runtime; it is marked.

    Matches: as `integer_matmul`, panels packed as `sums_scalable_dots` says.
    before and after: as `dot_matmul`
    """
    kernel = fused_sum(func, role=roles.INTEGER_MATMUL, before=roles.PAD)
    if kernel is None or len(match.axis_extents(kernel.sch, kernel.epilogue)) != 2:
        return None
    if not sums_scalable_dots(kernel, spec):
        return None
    schedule_dot_matmul(kernel, spec, roles.SCALABLE_INTEGER_SUMS)
    return kernel.sch
