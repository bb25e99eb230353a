"""Matrix products by tensor cores: tiles in shared memory, sums in the registers of warps."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import GpuSpec, TargetSpec
from schedules import match, roles
from schedules.cuda.product_kernel import (
    ProductKernel,
    ThreadLoops,
    block_tags,
    drawn_extent,
    product_kernel,
)
from schedules.cuda.product_tile import TENSOR_SUMS, THREAD_COLUMNS, THREAD_ROWS
from schedules.cuda.shared_words import BYTE_BITS, share_words
from schedules.cuda.tensor_cores import (
    FACTORS,
    LANE_COLUMNS,
    LANE_ROWS,
    Factors,
    product_intrinsic,
)

WARP_ROWS, WARP_COLUMNS = THREAD_ROWS // LANE_ROWS, THREAD_COLUMNS // LANE_COLUMNS
WARPS, LANES = WARP_ROWS * WARP_COLUMNS, LANE_ROWS * LANE_COLUMNS
_BANK_BITS, _BANKS = 32, 32  # of shared memory


def tensor_product(func: PrimFunc, spec: TargetSpec) -> s_tir.Schedule | None:
    """A block of 2 x 4 warps computes a tile, each thread some rows x columns of it.

    Matches: what `product` does, if its factors are rounded to what the GPU's tensor cores take,
    or are small integers.
    before: for b, row, column: for k
    after:  blocks b, tile of rows, tile of columns: warps: threads: for a step of k: gather both
            operands' tiles in shared memory; for k/steps: the intrinsic
    """
    kernel = product_kernel(func)
    if kernel is None or spec.gpu is None:
        return None
    word = match.word(kernel.sch, kernel.main, roles.GPU_PRECISION)
    if word not in _kinds(spec.gpu):
        return None  # of float32 nothing is written
    sch, main = kernel.sch, kernel.main
    factors = FACTORS[word]
    left, right = match.read_dtypes(sch, main)[-2:]
    loops = _bind_tiles(kernel)
    sch.reverse_compute_at(kernel.epilogue, loops.thread)
    sch.set_scope(main, 0, "local")
    _share(sch, kernel.left, loops.step, loops.rows, factors)
    _share(sch, kernel.right, loops.step, loops.columns, factors)
    sch.decompose_reduction(main, loops.step)
    several, steps = sch.split(loops.inner, factors=[None, factors.steps])
    sch.reorder(several, loops.row, loops.column, steps)
    sch.unroll(several)
    name = product_intrinsic(word, loops.rows, loops.columns, (left, right))
    sch.tensorize(loops.row, name)
    return sch


def _kinds(gpu: GpuSpec) -> tuple[str, ...]:
    """What the GPU's tensor cores multiply."""
    return (*gpu.precisions[1:], *(("int8",) if gpu.multiplies_bytes else ()))


def _bind_tiles(kernel: ProductKernel) -> ThreadLoops:
    """Tile the sums among warps and their lanes."""
    sch, main = kernel.sch, kernel.main
    rows, columns, depth = (
        match.annotation(sch, main, key)
        for key in (roles.GPU_TILE_ROWS, roles.GPU_TILE_COLUMNS, roles.GPU_TILE_DEPTH)
    )
    batch, row, column, k = sch.get_loops(main)
    row_sums = drawn_extent(sch, row, THREAD_ROWS, TENSOR_SUMS, rows)
    column_sums = drawn_extent(sch, column, THREAD_COLUMNS, TENSOR_SUMS, columns)
    split = partial(sch.split, preserve_unit_iters=True)
    row_tile, warp_row, lane_row, row_sum = split(
        row, factors=[None, WARP_ROWS, LANE_ROWS, row_sums]
    )
    column_tile, warp_column, lane_column, column_sum = split(
        column, factors=[None, WARP_COLUMNS, LANE_COLUMNS, column_sums]
    )
    step, inner = split(k, factors=[None, depth])
    of_warps, of_lanes = (warp_row, warp_column), (lane_row, lane_column)
    sums = (step, inner, row_sum, column_sum)
    sch.reorder(batch, row_tile, column_tile, *of_warps, *of_lanes, *sums)
    warp, lane = sch.fuse(*of_warps), sch.fuse(*of_lanes)
    tags = (*block_tags(sch, row_tile), "threadIdx.y", "threadIdx.x")
    for loop, tag in zip((batch, row_tile, column_tile, warp, lane), tags, strict=True):
        sch.bind(loop, tag)
    return ThreadLoops(
        thread=lane,
        step=step,
        inner=inner,
        row=row_sum,
        column=column_sum,
        rows=int(sch.get(row_sums)),
        columns=int(sch.get(column_sums)),
    )


def _share(sch: s_tir.Schedule, gathered: Any, step: Any, sums: int, factors: Factors) -> None:
    """Gather a tile of an operand with all threads of the block, neighbours by neighbours.

    It lies as [batch, row of a thread, thread, depth]: of what a warp's lanes read at once, 8 rows
    of different threads and 4 words each, the rows lie 4 words (mod 16) apart, and where a row is
    one of two of a thread, these 16 words (mod 32): no two lanes read from one bank.
    """
    if factors.bits == BYTE_BITS:
        share_words(sch, gathered, step, sums, (WARPS, LANES))
    else:
        sch.transform_layout(gathered, ("write", 0), _by_thread(sums))
        # Before: what all threads of the block read is gathered.
        sch.set_scope(gathered, 0, "shared")
        sch.compute_at(gathered, step, preserve_unit_loops=True)
        tile = sch.fuse(*list(sch.get_loops(gathered))[-2:])
        _, warp, lane = sch.split(tile, factors=[None, WARPS, LANES])
        sch.bind(warp, "threadIdx.y")
        sch.bind(lane, "threadIdx.x")
    word = _BANK_BITS // factors.bits
    sch.storage_align(gathered, 0, 2, _BANKS // 2 * word, 4 * word)
    sch.storage_align(gathered, 0, 1, _BANKS * word, _BANKS // 2 * word)


def _by_thread(sums: int) -> Callable[[Any, Any, Any], tuple[Any, ...]]:
    return lambda batch, k, row: (batch, row % sums, row // sums, k)
