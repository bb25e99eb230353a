"""Attention with the rows of the queries in lanes: no score matrix, no packed operand."""

from __future__ import annotations

from typing import Any

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, roles, steps

# Steps of a sum in a row: the loop's own instructions are paid once for all of them.
UNROLLED_DEPTH = 4


def attention(func: PrimFunc, spec: TargetSpec) -> s_tir.Schedule | None:
    """Compute scores, softmax and values for a few vectors of rows at a time.

    Matches: one block of each role of attention, perhaps an element-wise block after them.
    before: for b, i, n, c, l: for d: scores;   for b, i, n, c, l: masked;   ...;   for b, m, e: out
    after:  parallel b, i: (queries;
              for n/tile: (for d: unrolled n, c: vectorized l: scores;  masked)
              for n: most;   for n: powers;   for n: total;   scale
              for e/tile: (for n: unrolled e, c: vectorized l: mixed;  normal);   for m, e: out)
    """
    sch = s_tir.Schedule(func)
    if match.root_block(sch) is None:
        return None
    found = {role: match.block_with_role(sch, role) for role in roles.ATTENTION}
    if None in found.values():
        return None
    if sch.get_consumers(found[roles.ATTENTION_OUT]):
        epilogue = match.sole_consumer(sch, found[roles.ATTENTION_OUT])
        if epilogue is None or match.is_reduction(sch, epilogue):
            return None
        sch.reverse_compute_inline(epilogue)
    if len(match.blocks(sch)) != len(found):
        return None
    _schedule(sch, found, spec)
    return sch


def _schedule(sch: s_tir.Schedule, found: dict[str, Any], spec: TargetSpec) -> None:
    registers = spec.vector.register_count
    mixed, values = found[roles.ATTENTION_MIXED], found[roles.ATTENTION_VALUES]
    lanes = spec.lanes(dtype_bits=match.output_bits(sch, values))
    work = _chunks_of_rows(sch, found)
    _move(sch, found, work, roles.ATTENTION_NORMAL, roles.ATTENTION_MIXED)
    *_, column, vector, lane, span = sch.get_loops(mixed)
    sch.reorder(span, column, vector, lane)
    _tile_of_sums(sch, found[roles.ATTENTION_PARTS], mixed, registers)
    sch.compute_at(values, span, preserve_unit_loops=True)
    steps.vectorize_with_tail(sch, sch.get_loops(values)[-1], lanes)
    _move(sch, found, work, roles.ATTENTION_SCALE, roles.ATTENTION_TOTAL, roles.ATTENTION_POWERS)
    _move(sch, found, work, roles.ATTENTION_MOST, roles.ATTENTION_MASKED)
    scores = found[roles.ATTENTION_SCORES]
    _tile_of_sums(sch, scores, found[roles.ATTENTION_MASKED], registers)
    _move(sch, found, work, roles.ATTENTION_QUERIES)
    sch.parallel(work)  # before a sum loses its start: TVM asks here whether it is whole
    for role in (roles.ATTENTION_MOST, roles.ATTENTION_TOTAL):
        _reduce_positions(sch, found[role])
    for role in (roles.ATTENTION_POWERS, roles.ATTENTION_SCALE, roles.ATTENTION_NORMAL):
        vector, lane = list(sch.get_loops(found[role]))[-2:]
        sch.unroll(vector)
        sch.vectorize(lane)
    for block in (scores, found[roles.ATTENTION_PARTS]):
        _start_apart(sch, block)
    start = sch.decompose_reduction(mixed, span)
    sch.vectorize(sch.get_loops(start)[-1])


def _move(sch: s_tir.Schedule, found: dict[str, Any], loop: Any, *names: str) -> None:
    for name in names:
        sch.compute_at(found[name], loop, preserve_unit_loops=True)


def _chunks_of_rows(sch: s_tir.Schedule, found: dict[str, Any]) -> Any:
    """Split the output's rows by the chunk; return the loop over all chunks."""
    out = found[roles.ATTENTION_OUT]
    rows_axis = int(sch.get(out).annotations[roles.ROWS_AXIS])
    *_, vectors, lanes = match.axis_extents(sch, found[roles.ATTENTION_SCALE])
    *batch, column = sch.get_loops(out)
    chunk, row = sch.split(batch.pop(rows_axis), factors=[None, vectors * lanes])
    sch.reorder(*batch, chunk, row, column)
    return steps.fuse_loops(sch, [*batch, chunk])


def _tile_of_sums(sch: s_tir.Schedule, block: Any, reader: Any, registers: int) -> None:
    """Compute a tile of sums where it is read: in registers, all steps of it in a row."""
    *_, long, vector, lane = sch.get_loops(reader)
    vectors, size = match.extent(sch, vector), match.extent(sch, long)
    room = max(1, (registers - vectors - 1) // vectors)
    tile = steps.largest_divisor(size, room)
    factors = sch.sample_perfect_tile(
        long, n=2, max_innermost_factor=room, decision=[size // tile, tile]
    )
    tiles, one = sch.split(long, factors=factors)
    sch.compute_at(block, tiles, preserve_unit_loops=True)
    sch.set_scope(block, 0, "local")
    for loop in (one, vector):
        sch.unroll(loop)
    sch.vectorize(lane)


def _start_apart(sch: s_tir.Schedule, block: Any) -> None:
    """Steps outside the tile, the tile unrolled, one vector innermost."""
    loops = list(sch.get_loops(block))
    one, vector, lane, step = loops[-4:]
    several = steps.largest_divisor(match.extent(sch, step), UNROLLED_DEPTH)
    outer, inner = sch.split(step, factors=[None, several])
    sch.reorder(outer, inner, one, vector, lane)
    for loop in (inner, one, vector):
        sch.unroll(loop)
    sch.vectorize(lane)
    start = sch.decompose_reduction(block, outer)
    steps.unroll_tile(sch, start, depth=len(loops) - 4)


def _reduce_positions(sch: s_tir.Schedule, block: Any) -> None:
    """Positions outside, the vectors of a chunk side by side."""
    loops = list(sch.get_loops(block))
    vector, lane, position = loops[-3:]
    sch.reorder(position, vector, lane)
    sch.unroll(vector)
    sch.vectorize(lane)
    start = sch.decompose_reduction(block, position)
    steps.unroll_tile(sch, start, depth=len(loops) - 3)
