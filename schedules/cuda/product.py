"""Matrix products, and convolutions as products: tiles in shared memory, sums in registers."""

from __future__ import annotations

from typing import Any

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, roles
from schedules.cuda.product_kernel import bind_threads, product_kernel
from schedules.cuda.product_tile import DEPTHS, THREAD_COLUMNS, THREAD_ROWS


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
    if match.word(sch, kernel.main, roles.GPU_PRECISION) in ("dp4a", "int8"):
        return None  # operands whose bytes lie together: `dot_product` takes those
    loops = bind_threads(kernel, DEPTHS)
    for loop in (loops.inner, loops.row, loops.column):
        sch.unroll(loop)
    sch.reverse_compute_at(kernel.epilogue, loops.thread)
    sch.set_scope(kernel.main, 0, "local")
    _share(sch, kernel.left, loops.step)
    _share(sch, kernel.right, loops.step)
    sch.decompose_reduction(kernel.main, loops.step)
    return sch


def _share(sch: s_tir.Schedule, gathered: Any, step: Any) -> None:
    """Gather a tile of an operand with all threads of the block, neighbours by neighbours."""
    sch.set_scope(gathered, 0, "shared")  # before: what all threads of the block read is gathered
    sch.compute_at(gathered, step, preserve_unit_loops=True)
    tile = sch.fuse(*list(sch.get_loops(gathered))[-2:])
    _, row_thread, column_thread = sch.split(tile, factors=[None, THREAD_ROWS, THREAD_COLUMNS])
    sch.bind(row_thread, "threadIdx.y")
    sch.bind(column_thread, "threadIdx.x")
