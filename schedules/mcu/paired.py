"""What the rules for pairs of small integers share: their kernels end in calls of the runtime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, roles, steps
from schedules.fused import FusedSum, fused_sum

LANES = 2  # of packed weights: two lanes of two inputs are one word
POSITIONS = 32  # of a pointwise convolution whose inputs are copied together
ROW_BYTES = 4096  # of such a copy
MOST_ROWS = 4  # of the output, drawn, whose rows are copied together


def paired_sum(
    func: PrimFunc, spec: TargetSpec, role: str, *, axes: int, weights: str = "int8"
) -> FusedSum | None:
    """Return the kernel if its rows are int16 and the machine multiplies pairs of them.

    Args:
        axes: of the epilogue.
        weights: their type.
    """
    if not spec.llvm.multiplies_pairs:
        return None
    kernel = fused_sum(func, role=role, before=roles.PAD)
    if kernel is None or len(match.axis_extents(kernel.sch, kernel.epilogue)) != axes:
        return None
    kinds = [str(read.source.ty.dtype) for read in kernel.sch.get(kernel.main).reads]
    return kernel if kinds == ["int16", weights] else None


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


def copy_row(
    sch: s_tir.Schedule, copy: Any, loop: Any, *, channels: tuple[int | None, int] | None = None
) -> None:
    """Make the rows that one iteration of `loop` reads, and mark the copies of each.

    Args:
        channels: factors of a loop over a position's channels; they may lie apart.
    """
    sch.compute_at(copy, loop, preserve_unit_loops=True)
    loops = list(sch.get_loops(copy))
    if channels is not None:
        sch.split(loops[-1], factors=list(channels))
    is_matrix = len(match.axis_extents(sch, copy)) == 2
    sch.annotate(loops[-1] if is_matrix else loops[-2], roles.WIDENED_ROW, 1)
