"""What the rules for pairs of small integers share: their kernels end in calls of the runtime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, steps
from schedules.fused import FusedSum, fused_sum
from schedules.roles import PAD

LANES = 2  # of packed weights: two lanes of two inputs are one word
POSITIONS = 32  # of a pointwise convolution whose inputs are copied together
ROW_BYTES = 4096  # of such a copy


def paired_sum(func: PrimFunc, spec: TargetSpec, role: str, axes: int) -> FusedSum | None:
    """Return the kernel if it sums int16 times int8 in int32 on a machine that multiplies pairs.

    Args:
        axes: of the epilogue.
    """
    if not spec.llvm.multiplies_pairs:
        return None
    kernel = fused_sum(func, role=role, before=PAD)
    if kernel is None or len(match.axis_extents(kernel.sch, kernel.epilogue)) != axes:
        return None
    kinds = [str(read.source.ty.dtype) for read in kernel.sch.get(kernel.main).reads]
    return kernel if kinds == ["int16", "int8"] else None


def positions_together(positions: int, depth: int) -> int:
    """How many of a row's positions are copied for all channels: a divisor where one is near."""
    most = max(1, min(positions, POSITIONS, ROW_BYTES // (2 * depth)))
    best = max(count for count in range(1, most + 1) if positions % count == 0)
    return best if 2 * best > most else most


def mark_paired_sums(
    sch: s_tir.Schedule, block: Any, depth: int, nest: Sequence[Any], lane: int
) -> None:
    """As `steps.mark_sums`, the sums in scratch that only this kernel knows."""
    sch.set_scope(block, 0, "local")
    steps.mark_sums(sch, block, depth, nest, lane)
