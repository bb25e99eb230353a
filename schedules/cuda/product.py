"""Matrix products, and convolutions as products: tiles in shared memory, sums in registers."""

from __future__ import annotations

from math import prod
from typing import Any

from tvm import s_tir, tirx
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, roles
from schedules.cuda.product_tile import THREAD_COLUMNS, THREAD_ROWS
from schedules.cuda.threads import inline_cheap_producers


def product(func: PrimFunc, spec: TargetSpec) -> s_tir.Schedule | None:
    """A block of 16 x 16 threads computes a tile; each thread some rows x columns of it.

    Matches: one sum with the role `GPU_PRODUCT`, its two gathered operands, element-wise after it.
    before: for b, row, column: for k
    after:  blocks b, tile of rows, tile of columns: threads: for a step of k: gather both operands'
            tiles in shared memory; for k in the step: rows x columns of a thread, unrolled
    """
    del spec  # the tile was chosen with the operands' extents: they are whole tiles
    sch = s_tir.Schedule(func)
    if match.root_block(sch) is None:
        return None
    inline_cheap_producers(sch, keep=(roles.GPU_LEFT, roles.GPU_RIGHT))
    main, left, right = (
        match.block_with_role(sch, role)
        for role in (roles.GPU_PRODUCT, roles.GPU_LEFT, roles.GPU_RIGHT)
    )
    if main is None or left is None or right is None:
        return None
    epilogue = match.sole_consumer(sch, main)
    if epilogue is None or len(match.blocks(sch)) != 4 or "R" in match.axis_kinds(sch, epilogue):
        return None
    if 1 in (match.annotation(sch, main, key) for key in (roles.GPU_ROWS, roles.GPU_COLUMNS)):
        return None  # an index that is always 0 ties the result to no thread
    if not _flatten_epilogue(sch, main, epilogue):
        return None
    steps_of_depth, column = _bind_tiles(sch, main)
    sch.reverse_compute_at(epilogue, column)
    sch.set_scope(main, 0, "local")
    _share(sch, left, steps_of_depth)
    _share(sch, right, steps_of_depth)
    sch.decompose_reduction(main, steps_of_depth)
    return sch


def _bind_tiles(sch: s_tir.Schedule, main: Any) -> tuple[Any, Any]:
    """Tile the sums, and return the loop over steps of depth and that over a thread's columns."""
    rows, columns, depth = (
        match.annotation(sch, main, key)
        for key in (roles.GPU_TILE_ROWS, roles.GPU_TILE_COLUMNS, roles.GPU_TILE_DEPTH)
    )
    batch, row, column, k = sch.get_loops(main)
    row_tile, row_thread, row_sum = sch.split(
        row, factors=[None, THREAD_ROWS, rows // THREAD_ROWS], preserve_unit_iters=True
    )
    column_tile, column_thread, column_sum = sch.split(
        column, factors=[None, THREAD_COLUMNS, columns // THREAD_COLUMNS], preserve_unit_iters=True
    )
    step, inner = sch.split(k, factors=[None, depth])
    order = (batch, row_tile, column_tile, row_thread, column_thread, step, inner)
    sch.reorder(*order, row_sum, column_sum)
    tags = ("blockIdx.z", "blockIdx.y", "blockIdx.x", "threadIdx.y", "threadIdx.x")
    for loop, tag in zip(order, tags, strict=False):
        sch.bind(loop, tag)
    for loop in (inner, row_sum, column_sum):
        sch.unroll(loop)
    return step, column_thread


def _share(sch: s_tir.Schedule, gathered: Any, step: Any) -> None:
    """Gather a tile of an operand with all threads of the block, neighbours by neighbours."""
    sch.set_scope(gathered, 0, "shared")  # before: what all threads of the block read is gathered
    sch.compute_at(gathered, step, preserve_unit_loops=True)
    tile = sch.fuse(*list(sch.get_loops(gathered))[-2:])
    _, row_thread, column_thread = sch.split(tile, factors=[None, THREAD_ROWS, THREAD_COLUMNS])
    sch.bind(row_thread, "threadIdx.y")
    sch.bind(column_thread, "threadIdx.x")


def _flatten_epilogue(sch: s_tir.Schedule, main: Any, epilogue: Any) -> bool:
    """Make of the epilogue's axes the product's three; False if they are not those."""
    extents = match.axis_extents(sch, epilogue)
    batch = match.axis_extents(sch, main)[0]
    rows = match.annotation(sch, main, roles.GPU_ROWS)
    columns = match.annotation(sch, main, roles.GPU_COLUMNS)
    cuts = _cuts(extents, (batch, rows, columns))
    if cuts is None:
        return False

    def flat(*indices: Any) -> list[Any]:
        axes = []
        for start, end in zip((0, *cuts), (*cuts, len(extents)), strict=True):
            position: Any = 0
            for index, extent in zip(indices[start:end], extents[start:end], strict=True):
                position = position * extent + index
            axes.append(position)
        return [axis for axis in axes if not isinstance(axis, int)]

    index_map = tirx.IndexMap.from_func(
        flat, ndim=len(extents), index_dtype=match.index_type(sch, epilogue)
    )
    sch.transform_block_layout(epilogue, index_map)
    return True


def _cuts(extents: list[int], wanted: tuple[int, int, int]) -> tuple[int, int] | None:
    """Where to cut the extents so that the products of the three parts are those wanted."""
    for first in range(len(extents) + 1):
        for second in range(first, len(extents) + 1):
            parts = (extents[:first], extents[first:second], extents[second:])
            if tuple(prod(part) for part in parts) == wanted:
                return first, second
    return None
