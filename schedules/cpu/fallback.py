"""The rule for every kernel that no other rule knows.

Four shapes of loop nest, the first that fits:
- row-wise (softmax, normalisation): all steps of a row together, rows shared by cores;
- tile (convolution, pooling, sums over outer axes): accumulators in registers, vector innermost;
- dot (sums along memory): one vector of partial results;
- block by block: one vector loop over what lies together in memory, the rest shared by cores.

Where even the last fails the loops stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, steps

# Accumulator rows beside the vector: 4 independent sums hide the latency of an addition.
ROW_TILE, MOST_ROW_TILE = 4, 8  # the latter of what is drawn
# Elements of a row that is left to LLVM; its sums lie on the stack.
LONGEST_ROW = 128


def fallback(func: PrimFunc, spec: TargetSpec) -> tuple[s_tir.Schedule, str]:
    """Return a schedule for any kernel and the name of the loop nest it got.

    Matches: everything. Functions written without blocks keep the loops that they have.
    """
    sch = s_tir.Schedule(func)
    if match.root_block(sch) is None:
        return sch, "as-written"
    nests: tuple[tuple[str, Callable[[s_tir.Schedule, TargetSpec], bool]], ...] = (
        ("row-wise", _row_wise),
        ("tile", _tile),
    )
    for name, nest in nests:
        sch = s_tir.Schedule(func)
        steps.inline_cheap_producers(sch)
        try:
            if nest(sch, spec):
                return sch, name
        except steps.PrimitiveError:
            continue  # a primitive did not apply: the next, simpler nest
    sch = s_tir.Schedule(func)
    steps.inline_cheap_producers(sch)
    try:
        for block in match.blocks(sch):
            _block_alone(sch, block, spec)
    except steps.PrimitiveError:
        return s_tir.Schedule(func), "serial"  # slow, but right, and the report says so
    return sch, "block-by-block"


def _block_alone(sch: s_tir.Schedule, block: Any, spec: TargetSpec) -> None:
    """Schedule a block where it stands: vector loop inside, parallel loop outside."""
    if match.is_opaque(sch, block):
        return
    lanes = spec.lanes(dtype_bits=match.output_bits(sch, block))
    loops = list(sch.get_loops(block))
    kinds = match.axis_kinds(sch, block)
    if not loops or len(kinds) != len(loops):
        return
    if "R" in kinds:
        leading = len(kinds) - len(kinds.lstrip("S"))
        if match.reduces_contiguous_axis(sch, block):
            partial = _reduce_by_lanes(sch, block, lanes)
            for one in (partial, block):
                if one is not None:
                    steps.parallelize(sch, list(sch.get_loops(one))[:leading])
            return
        steps.parallelize(sch, loops[:leading])
        return
    extents = [match.extent(sch, loop) for loop in loops]
    suffix = _whole_vectors(extents, steps.contiguous_suffix(sch, block), lanes)
    inner = steps.fuse_loops(sch, loops[len(loops) - suffix :])
    lanes = steps.function_lanes(sch, block, match.extent(sch, inner), lanes)
    chunks = steps.vectorize_with_tail(sch, inner, lanes)
    outer = loops[: len(loops) - suffix]
    steps.parallelize(sch, _enough_work(sch, [*outer, *chunks], spec))


def _whole_vectors(extents: list[int], suffix: int, lanes: int) -> int:
    """How many of the last `suffix` axes are one loop: all, or as few as are whole vectors.

    Where a vector crosses the last axis (three channels), an index of more axes stays a division.
    """
    if extents[-1] % lanes == 0:
        return suffix
    whole = (n for n in range(2, suffix) if prod(extents[-n:]) % lanes == 0)
    return next(whole, suffix)


def _enough_work(sch: s_tir.Schedule, loops: list[Any], spec: TargetSpec) -> list[Any]:
    """The outermost of the loops that are enough for all cores; the others need no division."""
    wanted, shared, work = steps.ITEMS_FOR_EACH_CORE * spec.cores.count, [], 1
    for loop in loops:
        if work >= wanted:
            break
        shared.append(loop)
        work *= match.extent(sch, loop)
    return shared


def _reduce_by_lanes(sch: s_tir.Schedule, block: Any, lanes: int) -> Any | None:
    """Reduce along memory into one vector of partial results; return the block that makes them.

    Changes the order of a sum, as every vector reduction does.
    """
    if match.axis_kinds(sch, block)[-1] != "R":
        return None
    if len(sch.get(block).writes) > 1:  # (value, place): rfactor fails where the result is one pair
        return None
    loop = sch.get_loops(block)[-1]
    extent = match.extent(sch, loop)
    width = steps.vector_width(extent, lanes)
    if width < min(steps.LEAST_LANES, lanes):
        width = steps.largest_divisor(extent, lanes)  # odd, but still independent sums
    if width < min(steps.LEAST_LANES, lanes):
        return None
    _, lane = sch.split(loop, factors=[None, width])
    rank = len(sch.get(block).writes[0].source.ty.shape)
    partial = sch.rfactor(lane, factor_axis=rank)
    sch.vectorize(sch.get_loops(partial)[-1])
    return partial


def _row_wise(sch: s_tir.Schedule, spec: TargetSpec) -> bool:
    """All blocks of one row under one loop over rows.

    before: for r: for k: max;   for r: for k: exp;   for r: for k: sum;   for r: for k: div
    after:  parallel r: (for k: max;  vectorized k: exp;  for k: sum;  vectorized k: div)
    """
    blocks = match.blocks(sch)
    outputs = match.output_blocks(sch)
    reductions = [block for block in blocks if match.is_reduction(sch, block)]
    if len(outputs) != 1 or not reductions or match.is_reduction(sch, outputs[0]):
        return False
    rows = _shared_rows(sch, blocks)
    if rows == 0 or rows == len(match.axis_extents(sch, outputs[0])):
        return False
    if not all(match.reduces_contiguous_axis(sch, block) for block in reductions):
        return False
    for block in reductions:
        _reduce_by_lanes(sch, block, spec.lanes(dtype_bits=match.output_bits(sch, block)))
    anchor = outputs[0]
    row = steps.fuse_loops(sch, list(sch.get_loops(anchor))[:rows])
    for block in reversed(match.blocks(sch)[:-1]):
        sch.compute_at(block, row, preserve_unit_loops=True)
    for block in match.blocks_below(sch, row):
        if not match.is_reduction(sch, block) and not match.has_vector_loop(sch, block):
            inner = steps.fuse_loops(sch, list(sch.get_loops(block))[1:])
            lanes = spec.lanes(dtype_bits=match.output_bits(sch, block))
            lanes = steps.function_lanes(sch, block, match.extent(sch, inner), lanes)
            steps.vectorize_with_tail(sch, inner, lanes)
    sch.parallel(row)
    return True


def _shared_rows(sch: s_tir.Schedule, blocks: list[Any]) -> int:
    """Leading axes that all blocks have in common with equal extents and never reduce."""
    shapes = [match.axis_extents(sch, block) for block in blocks]
    kinds = [match.axis_kinds(sch, block) for block in blocks]
    count = 0
    while count < min(len(shape) for shape in shapes):
        same = len({shape[count] for shape in shapes}) == 1
        if not same or any(kind[count] != "S" for kind in kinds):
            break
        count += 1
    return count


def _tile(sch: s_tir.Schedule, spec: TargetSpec) -> bool:
    """A tile of results in registers, reduced over the outer loops, the vector loop innermost.

    before: for s...: for r...: acc;  for s...: epilogue
    after:  parallel outer s: (for r...: (for row: vectorized lane: acc);  for row, lane: epilogue)
    """
    blocks = match.blocks(sch)
    reductions = [block for block in blocks if match.is_reduction(sch, block)]
    pads = [block for block in blocks if match.is_padding(sch, block)]
    if len(reductions) != 1 or len(match.output_blocks(sch)) != 1:
        return False
    reduction = reductions[0]
    consumers = list(sch.get_consumers(reduction))
    if len(consumers) > 1 or match.reduces_contiguous_axis(sch, reduction):
        return False
    if len(blocks) != 1 + len(pads) + len(consumers):
        return False
    epilogue = consumers[0] if consumers else sch.cache_write(reduction, 0, "local")
    kinds = match.axis_kinds(sch, reduction)
    spatial = match.axis_extents(sch, epilogue)
    if "R" in match.axis_kinds(sch, epilogue) or kinds.count("S") != len(spatial):
        return False
    if not spatial:  # one number: nothing to tile
        return False
    # A padded plane is made at once and read from cache; of blocked data, the rows of one result.
    plane_axes = 2 if len(spatial) <= 4 else 3
    shared_axes = min(plane_axes, len(spatial) - 1) if pads else len(spatial) - 1
    width, outer, inner = _split_tile(sch, epilogue, spatial, spec)
    sch.reorder(*outer, *inner)
    sch.compute_at(reduction, outer[-1], preserve_unit_loops=True)
    for pad in pads:
        sch.compute_at(pad, outer[max(0, shared_axes - 1)], preserve_unit_loops=True)
    depth = len(outer)
    if shared_axes:
        steps.parallelize(sch, outer[:shared_axes])
        depth -= shared_axes - 1
    if width > 1:
        sch.vectorize(inner[-1])
    _reduce_outside(sch, reduction, depth, kinds, vectorized=width > 1)
    return True


def _split_tile(
    sch: s_tir.Schedule, epilogue: Any, spatial: list[int], spec: TargetSpec
) -> tuple[int, list[Any], list[Any]]:
    """Split the epilogue's loops; return the vector's width, the outer and the tile's loops.

    The vector axis is the last that has more than one element. Where no vector divides it, its
    whole row is the tile and LLVM vectorizes that, with a tail.
    """
    loops = list(sch.get_loops(epilogue))
    lanes = spec.lanes(dtype_bits=match.output_bits(sch, epilogue))
    axis = max((i for i, extent in enumerate(spatial) if extent > 1), default=len(spatial) - 1)
    width = steps.vector_width(spatial[axis], lanes)
    if width < min(steps.LEAST_LANES, lanes):
        most = LONGEST_ROW if spatial[axis] > LONGEST_ROW else spatial[axis]
        width = 1
        chunk, lane = sch.split(
            loops[axis], factors=[None, steps.largest_divisor(spatial[axis], most)]
        )
    else:
        chunk, lane = sch.split(loops[axis], factors=[None, width])
    outer = [loop for i, loop in enumerate(loops) if i != axis]
    inner = [lane]
    rows = [i for i in range(axis) if spatial[i] > 1]
    if rows and width > 1:
        row_tile = steps.largest_divisor(spatial[rows[-1]], ROW_TILE)
        outer_rows, row = steps.split_evenly(sch, loops[rows[-1]], row_tile, MOST_ROW_TILE)
        outer[rows[-1]] = outer_rows
        inner = [row, lane]
    return width, [*outer, chunk], inner


def _reduce_outside(
    sch: s_tir.Schedule, block: Any, depth: int, kinds: str, *, vectorized: bool
) -> None:
    """Move the reduction's loops outside its tile, vectorize, and split off the initial zero."""
    below = list(sch.get_loops(block))[depth:]
    spatial = [loop for loop, kind in zip(below, kinds, strict=True) if kind == "S"]
    reduction = [loop for loop, kind in zip(below, kinds, strict=True) if kind == "R"]
    single = [loop for loop in spatial if match.extent(sch, loop) == 1]
    wide = [loop for loop in spatial if match.extent(sch, loop) > 1]
    sch.reorder(*single, *reduction, *wide)
    for loop in wide[:-1]:
        sch.unroll(loop)
    if wide and vectorized:
        sch.vectorize(wide[-1])
    sch.decompose_reduction(block, reduction[0])
