"""Softmax and layer normalisation: a block of threads for each row, the row in shared memory."""

from __future__ import annotations

from typing import Any

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, roles, steps
from schedules.cuda.threads import bind_over_threads, gpu_of, inline_cheap_producers, share_result


def rows(func: PrimFunc, spec: TargetSpec) -> s_tir.Schedule | None:
    """Every step of a row is shared among the threads; sums are halved until one is left.

    Matches: sums with the role `LANE_SUMS`, as many lanes as threads, and work on the rows around
    them, with one output.
    before: for rows: for chunks, lanes: ... one step after another, each for all rows
    after:  blocks rows: threads lanes: for chunks: ... every step, in shared memory
    """
    sch = s_tir.Schedule(func)
    if match.root_block(sch) is None:
        return None
    inline_cheap_producers(sch, keep=(roles.ROW_VALUE,))
    sums = [block for block in match.blocks(sch) if match.role(sch, block) == roles.LANE_SUMS]
    outputs = match.output_blocks(sch)
    if not sums or len(outputs) != 1:
        return None
    lanes, count = _lanes_and_rows(sch, sums[0])
    others = [b for b in match.blocks(sch) if match.name(sch, b) != match.name(sch, outputs[0])]
    if not all(_is_of_rows(sch, block, count) for block in others):
        return None
    needed = sum(match.written_bytes(sch, block) // count for block in others)
    gpu = gpu_of(spec)
    if needed > gpu.shared_memory_per_block_bytes or lanes > gpu.threads_per_block_count:
        return None
    return _schedule(sch, others, outputs[0], count, lanes)


def _lanes_and_rows(sch: s_tir.Schedule, sums: Any) -> tuple[int, int]:
    """Extent of the last spatial axis of lane sums, and how many rows are before it."""
    kinds = match.axis_kinds(sch, sums)
    extents = match.axis_extents(sch, sums)
    spatial = [extent for extent, kind in zip(extents, kinds, strict=True) if kind == "S"]
    count = 1
    for extent in spatial[:-1]:
        count *= extent
    return spatial[-1], count


def _is_of_rows(sch: s_tir.Schedule, block: Any, count: int) -> bool:
    """Whether a block's elements are as many for each row: then its leading axes are the rows."""
    if match.is_opaque(sch, block) or match.written_bytes(sch, block) % count:
        return False
    return _row_axes(match.axis_extents(sch, block), count) is not None


def _row_axes(extents: list[int], count: int) -> int | None:
    """How many leading axes are the rows."""
    product = 1
    for axes, extent in enumerate(extents):
        if product == count:
            return axes
        product *= extent
    return len(extents) if product == count else None


def _schedule(
    sch: s_tir.Schedule, others: list[Any], output: Any, count: int, lanes: int
) -> s_tir.Schedule | None:
    axes = _row_axes(match.axis_extents(sch, output), count)
    if not axes or "R" in match.axis_kinds(sch, output):
        return None
    row = steps.fuse_loops(sch, list(sch.get_loops(output))[:axes])
    sch.bind(row, "blockIdx.x")
    bind_over_threads(sch, output, depth=1, threads=lanes)
    for block in reversed(others):
        share_result(sch, block, row, lanes)
    return sch
