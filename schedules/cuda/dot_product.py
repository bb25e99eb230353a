"""Matrix products of small integers, four products an instruction, sums in registers."""

from __future__ import annotations

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, roles
from schedules.cuda.product_kernel import bind_threads, product_kernel
from schedules.cuda.product_tile import BYTE_DEPTHS, THREAD_COLUMNS, THREAD_ROWS
from schedules.cuda.shared_words import WORD, share_words
from schedules.cuda.tensor_cores import dot_intrinsic


def dot_product(func: PrimFunc, spec: TargetSpec) -> s_tir.Schedule | None:
    """A block of 16 x 16 threads computes a tile; each thread some rows x columns of it.

    Matches: what `product` does, if bytes are multiplied four at a time (`dp4a`).
    before: for b, row, column: for k
    after:  blocks b, tile of rows, tile of columns: threads: for a step of k: gather both operands'
            tiles in shared memory, word by word; for k/4 in the step: the intrinsic
    """
    kernel = product_kernel(func)
    if kernel is None or spec.gpu is None or not spec.gpu.sums_bytes:
        return None
    sch, main = kernel.sch, kernel.main
    if match.word(sch, main, roles.GPU_PRECISION) != "dp4a":
        return None
    left, right = match.read_dtypes(sch, main)[-2:]
    loops = bind_threads(kernel, BYTE_DEPTHS)
    sch.reverse_compute_at(kernel.epilogue, loops.thread)
    sch.set_scope(main, 0, "local")
    for gathered, sums in ((kernel.left, loops.rows), (kernel.right, loops.columns)):
        share_words(sch, gathered, loops.step, sums, (THREAD_ROWS, THREAD_COLUMNS))
        # Rows of 16 threads that read at once lie an odd number of words apart: in 16 banks.
        sch.storage_align(gathered, 0, 2, 2 * WORD, WORD)
    sch.decompose_reduction(main, loops.step)
    several, steps = sch.split(loops.inner, factors=[None, WORD])
    sch.reorder(several, loops.row, loops.column, steps)
    sch.unroll(several)
    sch.tensorize(loops.row, dot_intrinsic(loops.rows, loops.columns, (left, right)))
    return sch
