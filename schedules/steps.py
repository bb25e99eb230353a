"""Scheduling steps that several rules take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import s_tir, tirx

from compiler.target_spec import TargetSpec
from schedules import match, roles

# ScheduleError and InternalError are RuntimeErrors; some checks of arguments raise ValueError.
PrimitiveError = (RuntimeError, ValueError)
# A narrower vector loop costs more than LLVM's own choice.
LEAST_LANES = 4
# Work items for each core: enough to share them evenly.
ITEMS_FOR_EACH_CORE = 8
# Each needs about three registers: four of them hide the four cycles of a multiply-add.
VECTORS_OF_A_FUNCTION = 4


def inline_cheap_producers(sch: s_tir.Schedule, keep: tuple[str, ...] = ()) -> None:
    """Inline every block that costs less to compute again than to store.

    Stays: blocks with a role in `keep`, reductions, outputs, zero padding (its test would be in
    the inner loop), and what calls exp, erf and the like and is read more than once an element.
    """
    changed = True
    while changed:
        changed = False
        outputs = {match.name(sch, block) for block in match.output_blocks(sch)}
        for block in match.blocks(sch):
            kept = match.name(sch, block) in outputs or match.role(sch, block) in keep
            if kept or _must_stay(sch, block):
                continue
            try:
                sch.compute_inline(block)
            except PrimitiveError:
                continue
            changed = True
            break


def _must_stay(sch: s_tir.Schedule, block: Any) -> bool:
    if match.is_reduction(sch, block):
        return True
    consumers = sch.get_consumers(block)
    if match.is_padding(sch, block):
        return any(match.is_reduction(sch, consumer) for consumer in consumers)
    reread = len(consumers) > 1 or any(match.is_reduction(sch, c) for c in consumers)
    return reread and match.calls_functions(sch, block)


def largest_divisor(extent: int, most: int) -> int:
    """The largest divisor of `extent` that is at most `most`."""
    return max(d for d in range(1, max(1, min(most, extent)) + 1) if extent % d == 0)


def vector_width(extent: int, lanes: int) -> int:
    """The widest power of two up to `lanes` that divides `extent`; 1 for an empty loop."""
    width = lanes if extent else 1
    while width > 1 and extent % width:
        width //= 2
    return width


def function_lanes(sch: s_tir.Schedule, block: Any, extent: int, lanes: int) -> int:
    """Lanes of a loop over `extent` elements of a block: several vectors of exp and the like.

    Such a polynomial is a chain of steps that wait for each other, longer than a processor looks
    ahead; of several vectors at once each step is as many instructions, which do not.
    """
    if extent < lanes or not match.calls_polynomials(sch, block):
        return lanes
    return lanes * largest_divisor(extent // lanes, VECTORS_OF_A_FUNCTION)


def fuse_loops(sch: s_tir.Schedule, loops: Sequence[Any]) -> Any:
    """One loop over all of them."""
    return loops[0] if len(loops) == 1 else sch.fuse(*loops)


def flatten_axes(sch: s_tir.Schedule, block: Any, first: int, count: int) -> None:
    """Make `count` axes of a spatial block, from the one numbered `first`, one axis.

    A tile of it can then cross the end of an inner axis: 4 x 49 rows are 14 tiles of 14.
    """
    extents = match.axis_extents(sch, block)
    end = first + count
    if count < 2 or sum(extent > 1 for extent in extents[first:end]) < 2:
        return

    def flat(*indices: Any) -> list[Any]:
        position: Any = 0
        for index, extent in zip(indices[first:end], extents[first:end], strict=True):
            position = position * extent + index
        return [*indices[:first], position, *indices[end:]]

    index_map = tirx.IndexMap.from_func(
        flat, ndim=len(extents), index_dtype=match.index_type(sch, block)
    )
    sch.transform_block_layout(block, index_map)


def split_drawn(sch: s_tir.Schedule, loop: Any, tile: int, most: int) -> list[Any]:
    """Split a loop by a tile that is drawn, `tile` by default; the last tile may be smaller."""
    extent = match.extent(sch, loop)
    return split_among(sch, loop, tile, range(1, min(extent, max(tile, most)) + 1))


def split_among(sch: s_tir.Schedule, loop: Any, tile: int, tiles: Sequence[int]) -> list[Any]:
    """Split a loop by one of the tiles that is drawn, `tile` by default."""
    candidates = list(tiles)
    drawn = sch.sample_categorical(
        candidates, [1.0 / len(candidates)] * len(candidates), decision=candidates.index(tile)
    )
    return list(sch.split(loop, factors=[None, drawn]))


def split_evenly(sch: s_tir.Schedule, loop: Any, inner: int, most: int | None = None) -> list[Any]:
    """Split a loop by a divisor that is drawn, `inner` by default.

    Args:
        most: of it; the whole loop if None.
    """
    extent = match.extent(sch, loop)
    if extent < 2:
        return list(sch.split(loop, factors=[None, inner]))
    factors = sch.sample_perfect_tile(
        loop,
        n=2,
        max_innermost_factor=max(inner, most or extent),
        decision=[extent // inner, inner],
    )
    return list(sch.split(loop, factors=factors))


def mark_tails(sch: s_tir.Schedule, *loops: Any) -> None:
    """Let the last iteration of each loop have code of its own if it does less."""
    for loop in loops:
        sch.annotate(loop, roles.TAIL, 1)


def parallelize(sch: s_tir.Schedule, loops: Sequence[Any]) -> None:
    """Fuse the outer loops and mark the result as work that cores may share."""
    if loops:
        sch.parallel(fuse_loops(sch, loops))


def pad_rows(sch: s_tir.Schedule, pad: Any, loop: Any) -> None:
    """Make the padded rows that one iteration of `loop` reads; whole vectors of blocked data."""
    sch.compute_at(pad, loop, preserve_unit_loops=True)
    if len(match.axis_extents(sch, pad)) == 5:
        sch.vectorize(sch.get_loops(pad)[-1])


def rows_together(rows: int, padded_rows: int, row_bytes: int, items: int, spec: TargetSpec) -> int:
    """Of a plane's `rows`, how many a work item makes: neighbours read the same padded rows.

    Those of one item, `row_bytes` each, stay in a quarter of the second cache.

    Args:
        items: work items beside those of rows.
    """
    most = spec.cache.l2_bytes // 4 // row_bytes * rows // padded_rows
    least_chunks = -(-ITEMS_FOR_EACH_CORE * spec.cores.count // items)
    return largest_divisor(rows, max(1, min(most, rows // least_chunks)))


def vectorize_with_tail(sch: s_tir.Schedule, loop: Any, lanes: int) -> list[Any]:
    """Split a loop by the vector and vectorize; return the loop over vectors, if there is one.

    The last vector may be part of one. A loop shorter than a vector that no wide power of two
    divides stays whole: LLVM makes of it what it can.
    """
    extent = match.extent(sch, loop)
    width = lanes if extent > lanes else vector_width(extent, lanes)
    if width < min(LEAST_LANES, lanes):
        return []
    chunks, vector = sch.split(loop, factors=[None, width])
    sch.vectorize(vector)
    return [chunks]


def unroll_tile(sch: s_tir.Schedule, block: Any, depth: int) -> None:
    """Unroll the block's loops below the first `depth`, vectorize the last.

    Then every accumulator has a constant place, and LLVM can keep it in a register.
    """
    *outer, lane = list(sch.get_loops(block))[depth:]
    for loop in outer:
        sch.unroll(loop)
    sch.vectorize(lane)


def sums_in_registers(
    sch: s_tir.Schedule, block: Any, reduction: Any, tile: Sequence[Any], depth: int
) -> None:
    """Unroll a tile of sums, its last loop a vector, and start the sums before the reduction.

    Args:
        reduction: the outermost loop over what is summed; the tile is inside.
        tile: the loops of the tile, and those of the reduction that are unrolled with it.
        depth: how many loops around the tile its start keeps.
    """
    *unrolled, lane = tile
    for loop in unrolled:
        sch.unroll(loop)
    sch.vectorize(lane)
    start = sch.decompose_reduction(block, reduction)
    unroll_tile(sch, start, depth)


def read_into_registers(sch: s_tir.Schedule, block: Any, operand: int) -> tuple[Any, int]:
    """Copy what the block reads of an operand first; return the copy and how many axes it has.

    Its axes are those of the block that the operand is read with, in the block's order: sums first,
    their last one innermost.
    """
    statement = sch.get(block)
    axes = [axis.var for axis in statement.iter_vars]
    read = statement.reads[operand].source
    load = next(load for load in match.loads(statement.body) if load.source.same_as(read))
    used = [i for i, v in enumerate(axes) if any(match.uses(index, v) for index in load.indices)]
    index_map = tirx.IndexMap.from_func(
        lambda *given: tuple(given[i] for i in used),
        ndim=len(axes),
        index_dtype=match.index_type(sch, block),
    )
    return sch.reindex_cache_read(block, operand, "local", index_map), len(used)


def mark_sums(
    sch: s_tir.Schedule,
    block: Any,
    depth: int,
    nest: Sequence[Any],
    lane: int,
    annotation: str = roles.SUMS,
    number: int = 1,
) -> None:
    """Order a sum's loops as `nest` and mark them for a function of the runtime.

    Args:
        depth: how many loops around the nest there are.
        lane: which loop of the nest is the marked one; loops outside it run once.
        number: of the mark; not 0.
    """
    sch.reorder(*nest)
    start = sch.decompose_reduction(block, nest[0])
    sch.annotate(nest[lane], annotation, number)
    sch.annotate(list(sch.get_loops(start))[depth + lane], annotation, 0)


def contiguous_suffix(sch: s_tir.Schedule, block: Any) -> int:
    """How many innermost axes of a spatial block can be one loop without division in any index.

    An axis joins the suffix if every operand is read with that axis and the axes after it as its
    own last indices, over its whole extents, or does not use any of them.
    """
    statement = sch.get(block)
    axes = [axis.var for axis in statement.iter_vars]
    extents = match.axis_extents(sch, block)
    loads = match.loads(statement.body)
    count = 1
    while count < len(axes):
        suffix = axes[-count - 1 :]
        sizes = extents[-count - 1 :]
        if not all(_reads_whole_suffix(load, suffix, sizes) for load in loads):
            break
        count += 1
    return count


def _reads_whole_suffix(load: Any, suffix: Sequence[Any], sizes: Sequence[int]) -> bool:
    used = [v for v in suffix if any(match.uses(index, v) for index in load.indices)]
    if not used:
        return True
    if len(used) < len(suffix) or len(load.indices) < len(suffix):
        return False
    tail = list(load.indices)[-len(suffix) :]
    shape = [int(e) for e in load.source.ty.shape][-len(suffix) :]
    same = all(index.same_as(v) for index, v in zip(tail, suffix, strict=True))
    return same and shape == list(sizes)
