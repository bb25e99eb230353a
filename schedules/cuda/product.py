"""Matrix products, and convolutions as products: tiles in shared memory, sums in registers."""

from __future__ import annotations

from typing import Any

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, roles
from schedules.cuda.product_kernel import ProductKernel, drawn_extent, product_kernel
from schedules.cuda.product_tile import DEPTHS, SUMS, THREAD_COLUMNS, THREAD_ROWS


def product(func: PrimFunc, spec: TargetSpec) -> s_tir.Schedule | None:
    """A block of 16 x 16 threads computes a tile; each thread some rows x columns of it.

    Matches: one sum with the role `GPU_PRODUCT`, its two gathered operands, element-wise after it.
    before: for b, row, column: for k
    after:  blocks b, tile of rows, tile of columns: threads: for a step of k: gather both operands'
            tiles in shared memory; for k in the step: rows x columns of a thread, unrolled
    """
    del spec  # the default tile was chosen with the operands' extents: they are whole tiles
    kernel = product_kernel(func)
    if kernel is None:
        return None
    sch = kernel.sch
    steps_of_depth, column = _bind_tiles(kernel)
    sch.reverse_compute_at(kernel.epilogue, column)
    sch.set_scope(kernel.main, 0, "local")
    _share(sch, kernel.left, steps_of_depth)
    _share(sch, kernel.right, steps_of_depth)
    sch.decompose_reduction(kernel.main, steps_of_depth)
    return sch


def _bind_tiles(kernel: ProductKernel) -> tuple[Any, Any]:
    """Tile the sums, and return the loop over steps of depth and that over a thread's columns."""
    sch, main = kernel.sch, kernel.main
    rows, columns, depth = (
        match.annotation(sch, main, key)
        for key in (roles.GPU_TILE_ROWS, roles.GPU_TILE_COLUMNS, roles.GPU_TILE_DEPTH)
    )
    batch, row, column, k = sch.get_loops(main)
    row_sums = drawn_extent(sch, row, THREAD_ROWS, SUMS, rows)
    column_sums = drawn_extent(sch, column, THREAD_COLUMNS, SUMS, columns)
    steps = drawn_extent(sch, k, 1, DEPTHS, depth)
    row_tile, row_thread, row_sum = sch.split(
        row, factors=[None, THREAD_ROWS, row_sums], preserve_unit_iters=True
    )
    column_tile, column_thread, column_sum = sch.split(
        column, factors=[None, THREAD_COLUMNS, column_sums], preserve_unit_iters=True
    )
    step, inner = sch.split(k, factors=[None, steps])
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
