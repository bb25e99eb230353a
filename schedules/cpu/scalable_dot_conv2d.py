"""Convolution of small integers in scalable vectors: its sums are a function of the runtime."""

from __future__ import annotations

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, roles
from schedules.cpu.dot_conv2d import schedule_dot_conv2d
from schedules.fused import FusedSum, fused_sum

DOT_GROUP, MATRIX_GROUP = 4, 8  # products of a lane in a step
LEAST_LANES = 4


def scalable_dot_conv2d(func: PrimFunc, spec: TargetSpec) -> s_tir.Schedule | None:
    """Leave the sums of a run of columns to a function of the runtime; it is marked.

    Matches: as `integer_conv2d`, weights packed as `sums_scalable_dots` says.
    before and after: as `dot_conv2d`
    """
    kernel = fused_sum(func, role=roles.INTEGER_CONV2D, before=roles.PAD)
    if kernel is None or len(match.axis_extents(kernel.sch, kernel.epilogue)) != 4:
        return None
    if not sums_scalable_dots(kernel, spec):
        return None
    schedule_dot_conv2d(kernel, spec, roles.SCALABLE_INTEGER_SUMS)
    return kernel.sch


def sums_scalable_dots(kernel: FusedSum, spec: TargetSpec) -> bool:
    """Whether both operands are as a function of the runtime reads them.

    With products of matrices (i8mm) groups are eight products of int8 or uint8 by int8; else they
    are four of int8. At any length of vectors the former take half as many instructions: 32
    products in each 128 bits of a vector instead of 16.
    """
    if not (spec.llvm.is_aarch64 and spec.vector.scalable):
        return False
    sch, main = kernel.sch, kernel.main
    rows, weights = (read.source.ty for read in sch.get(main).reads)
    lanes, group = (int(extent) for extent in weights.shape[-2:])
    wanted, kinds = DOT_GROUP, ["int8"]
    if spec.llvm.multiplies_matrices:
        wanted, kinds = MATRIX_GROUP, ["int8", "uint8"]
    fits = str(rows.dtype) in kinds and str(weights.dtype) == "int8"
    return fits and group == wanted and lanes >= LEAST_LANES
