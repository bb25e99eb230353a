"""The kernel that the rules for matrix products are for, and what both do with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from tvm import s_tir, tirx
from tvm.tirx import PrimFunc

from schedules import match, roles
from schedules.cuda.product_tile import SUMS, THREAD_COLUMNS, THREAD_ROWS
from schedules.cuda.threads import drawn, inline_cheap_producers

_MOST_BLOCKS = 65_535  # along y and z; CUDA C++ Programming Guide


@dataclass(frozen=True, kw_only=True, slots=True)
class ProductKernel:
    """A schedule of such a kernel and its four blocks."""

    sch: s_tir.Schedule
    main: Any  # the sums, [batch, rows, columns] of whole tiles
    left: Any  # gathers [batch, depth, rows], or of bytes [batch, rows, depth/4, 4]
    right: Any  # gathers [batch, depth, columns] or [batch, columns, depth/4, 4]
    epilogue: Any  # writes the kernel's output, its axes those of the product


@dataclass(frozen=True, kw_only=True, slots=True)
class ThreadLoops:
    """Loops of the sums of one thread."""

    thread: Any  # that of the block's two loops over threads which is further inside
    step: Any  # of depth, between two of which operands are gathered
    inner: Any  # steps of the sum in one of these
    row: Any
    column: Any
    rows: int  # extents of the last two
    columns: int


def product_kernel(func: PrimFunc) -> ProductKernel | None:
    """Return the blocks of a kernel with one product, its operands, and element-wise work after it.

    None for all others, and where the results are not the product's one by one.
    """
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
    return ProductKernel(sch=sch, main=main, left=left, right=right, epilogue=epilogue)


def bind_threads(kernel: ProductKernel, depths: Sequence[int]) -> ThreadLoops:
    """Tile the sums among 16 x 16 threads.

    Args:
        depths: what may be drawn as the depth of a step.
    """
    sch, main = kernel.sch, kernel.main
    rows, columns, depth = (
        match.annotation(sch, main, key)
        for key in (roles.GPU_TILE_ROWS, roles.GPU_TILE_COLUMNS, roles.GPU_TILE_DEPTH)
    )
    batch, row, column, k = sch.get_loops(main)
    row_sums = drawn_extent(sch, row, THREAD_ROWS, SUMS, rows)
    column_sums = drawn_extent(sch, column, THREAD_COLUMNS, SUMS, columns)
    steps = drawn_extent(sch, k, 1, depths, depth)
    row_tile, row_thread, row_sum = sch.split(
        row, factors=[None, THREAD_ROWS, row_sums], preserve_unit_iters=True
    )
    column_tile, column_thread, column_sum = sch.split(
        column, factors=[None, THREAD_COLUMNS, column_sums], preserve_unit_iters=True
    )
    step, inner = sch.split(k, factors=[None, steps])
    order = (batch, row_tile, column_tile, row_thread, column_thread, step, inner)
    sch.reorder(*order, row_sum, column_sum)
    tags = (*block_tags(sch, row_tile), "threadIdx.y", "threadIdx.x")
    for loop, tag in zip(order, tags, strict=False):
        sch.bind(loop, tag)
    return ThreadLoops(
        thread=column_thread,
        step=step,
        inner=inner,
        row=row_sum,
        column=column_sum,
        rows=int(sch.get(row_sums)),
        columns=int(sch.get(column_sums)),
    )


def block_tags(sch: s_tir.Schedule, row_tile: Any) -> tuple[str, str, str]:
    """What a grid's dimensions are bound to: batch, tiles of rows and tiles of columns.

    Neighbours read the same rows, unless there are more tiles of rows than fit along y: positions
    of large images, where channels are columns.
    """
    if match.extent(sch, row_tile) > _MOST_BLOCKS:
        return "blockIdx.z", "blockIdx.x", "blockIdx.y"
    return "blockIdx.z", "blockIdx.y", "blockIdx.x"


def drawn_extent(
    sch: s_tir.Schedule, loop: Any, unit: int, choices: Sequence[int], tile: int
) -> Any:
    """Draw one of the choices, of which `unit` times as many divide the loop; ``tile / unit`` by
    default."""
    whole = match.extent(sch, loop)
    fitting = [choice for choice in choices if whole % (unit * choice) == 0]
    return drawn(sch, fitting, tile // unit)


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
