"""Sums of products of halves on 64-bit Arm: a function of the runtime computes them."""

from __future__ import annotations

from typing import Any

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, roles
from schedules.cpu.scalable_conv2d import is_whole_blocks, schedule_conv2d_sums
from schedules.cpu.scalable_depthwise_conv2d import schedule_depthwise_sums
from schedules.cpu.scalable_matmul import schedule_matmul_sums
from schedules.fused import FusedSum, fused_sum

LANES = 8  # of halves, in a register of 128 bits


def half_conv2d(func: PrimFunc, spec: TargetSpec) -> s_tir.Schedule | None:
    """Leave a tile of sums to a function of the runtime; it is marked `roles.SUMS`.

    Matches: as `scalable_conv2d`, both factors float16. before, after: likewise, lanes vectorized.
    """
    kernel = _kernel(func, spec, roles.CONV2D, roles.PAD)
    if kernel is None or not is_whole_blocks(kernel):
        return None
    schedule_conv2d_sums(kernel, spec)
    return _vectorized(kernel, spec)


def half_depthwise_conv2d(func: PrimFunc, spec: TargetSpec) -> s_tir.Schedule | None:
    """Leave the sums of a run of columns to a function of the runtime.

    Matches: as `scalable_depthwise_conv2d`, both factors float16. before, after: likewise.
    """
    kernel = _kernel(func, spec, roles.BLOCKED_DEPTHWISE_CONV2D, roles.PAD)
    if kernel is None:
        return None
    schedule_depthwise_sums(kernel, spec)
    return _vectorized(kernel, spec)


def half_matmul(func: PrimFunc, spec: TargetSpec) -> s_tir.Schedule | None:
    """Leave the sums of a run of rows to a function of the runtime.

    Matches: as `scalable_matmul`, both factors float16. before, after: likewise.
    """
    kernel = _kernel(func, spec, roles.MATMUL, roles.PACK)
    if kernel is None:
        return None
    schedule_matmul_sums(kernel, spec)
    return _vectorized(kernel, spec)


def _kernel(func: PrimFunc, spec: TargetSpec, role: str, before: str) -> FusedSum | None:
    """The kernel's blocks if its factors are halves and its lanes whole registers."""
    if not spec.llvm.multiplies_halves:
        return None
    kernel = fused_sum(func, role=role, before=before)
    if kernel is None or match.read_dtypes(kernel.sch, kernel.main) != ["float16", "float16"]:
        return None
    extents: Any = kernel.sch.get(kernel.main).writes[0].source.ty.shape
    return kernel if int(extents[-1]) % LANES == 0 else None


def _vectorized(kernel: FusedSum, spec: TargetSpec) -> s_tir.Schedule:
    """The lanes of the epilogue are its last loop unless the output is plain, channels outside."""
    if not spec.vector.scalable:
        last = kernel.sch.get_loops(kernel.epilogue)[-1]
        kernel.sch.vectorize(last)
    return kernel.sch
