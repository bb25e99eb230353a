"""Softmax and normalisation: everything that is computed of a row, one row after another."""

from __future__ import annotations

from typing import Any

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, roles, steps


def rows(func: PrimFunc, spec: TargetSpec) -> s_tir.Schedule | None:
    """Keep a row in cache and its sums in vectors.

    Matches: sums of role LANE_SUMS over leading axes that all blocks share, values of role
    ROW_VALUE between them, one element-wise output.
    before: for r, c, l: sum;   for r, l: halves;   for r, k: output
    after:  parallel r: (for c: vectorized l: sum;  vectorized l: halves;  vectorized k: output)
    """
    sch = s_tir.Schedule(func)
    if match.root_block(sch) is None:
        return None
    steps.inline_cheap_producers(sch, keep=(roles.ROW_VALUE,))
    blocks, outputs = match.blocks(sch), match.output_blocks(sch)
    sums = [block for block in blocks if match.role(sch, block) == roles.LANE_SUMS]
    if not sums or len(outputs) != 1:
        return None
    if any(match.is_reduction(sch, block) for block in blocks if not _among(sch, block, sums)):
        return None
    shared = len(match.axis_extents(sch, sums[0])) - 2
    leading = {tuple(match.axis_extents(sch, block)[:shared]) for block in blocks}
    if len(leading) != 1:
        return None
    _schedule(sch, outputs[0], shared, spec)
    return sch


def _among(sch: s_tir.Schedule, block: Any, others: list[Any]) -> bool:
    return match.name(sch, block) in {match.name(sch, other) for other in others}


def _schedule(sch: s_tir.Schedule, output: Any, shared: int, spec: TargetSpec) -> None:
    row = steps.fuse_loops(sch, list(sch.get_loops(output))[:shared])
    for block in reversed(match.blocks(sch)[:-1]):
        sch.compute_at(block, row, preserve_unit_loops=True)
    sch.parallel(row)  # before a sum loses its start: TVM asks here whether it is whole
    for block in match.blocks_below(sch, row):
        lanes = spec.lanes(dtype_bits=match.output_bits(sch, block))
        loops = list(sch.get_loops(block))[1:]
        if match.is_reduction(sch, block):
            _sum_in_vectors(sch, block, loops, lanes)
        else:
            inner = steps.fuse_loops(sch, loops)
            lanes = steps.function_lanes(sch, block, match.extent(sch, inner), lanes)
            steps.vectorize_with_tail(sch, inner, lanes)


def _sum_in_vectors(sch: s_tir.Schedule, block: Any, loops: list[Any], lanes: int) -> None:
    """Chunks outside, the vectors of a chunk side by side in registers."""
    *_, lane, chunk = loops
    vectors, lane = sch.split(lane, factors=[None, lanes])
    sch.reorder(chunk, vectors, lane)
    depth = len(sch.get_loops(block)) - 2
    steps.sums_in_registers(sch, block, chunk, (vectors, lane), depth - 1)
