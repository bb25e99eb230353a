"""Long sums: a block of threads for each, its parts added up in shared memory."""

from __future__ import annotations

from typing import Any

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, steps
from schedules.cuda.threads import (
    THREADS,
    bind_over_threads,
    drawn,
    gpu_of,
    inline_cheap_producers,
    reads_each_sum_once,
    share_result,
    sum_in_register,
)

# Fewer parts would leave most of a warp without work.
LEAST_PARTS = 16
# Parts that one thread adds up: two steps of at most 16 for 256 parts.
MOST_PARTS_OF_A_THREAD = 16


def reduction(func: PrimFunc, spec: TargetSpec) -> s_tir.Schedule | None:
    """Each thread sums a part; a few threads sum those; one thread sums the rest.

    Matches: one sum, perhaps element-wise after it, if one thread for each sum would leave the GPU
    idle or read memory in strides.
    before: for s: for r
    after:  blocks s: threads: for r / parts; threads: for parts / few; one thread: for few
    """
    sch = s_tir.Schedule(func)
    if match.root_block(sch) is None:
        return None
    inline_cheap_producers(sch)
    sums = [block for block in match.blocks(sch) if match.is_reduction(sch, block)]
    if len(sums) != 1 or len(match.blocks(sch)) > 2 or len(sch.get(sums[0]).writes) != 1:
        return None
    main = sums[0]
    epilogue = match.sole_consumer(sch, main) if sch.get_consumers(main) else None
    if (epilogue is None) != (len(match.blocks(sch)) == 1):
        return None
    if epilogue is not None and not reads_each_sum_once(sch, main, epilogue):
        return None
    kinds = match.axis_kinds(sch, main)
    if len(list(sch.get_loops(main))) != len(kinds) or not _is_worth_a_block(sch, main, spec):
        return None
    return _schedule(sch, main, epilogue)


def _is_worth_a_block(sch: s_tir.Schedule, main: Any, spec: TargetSpec) -> bool:
    gpu = gpu_of(spec)
    count = 1
    for extent, kind in zip(
        match.axis_extents(sch, main), match.axis_kinds(sch, main), strict=True
    ):
        count *= extent if kind == "S" else 1
    fills_the_gpu = count >= gpu.sm_count * gpu.threads_per_sm_count
    return not fills_the_gpu or match.reduces_contiguous_axis(sch, main)


def _schedule(sch: s_tir.Schedule, main: Any, epilogue: Any | None) -> s_tir.Schedule | None:
    pairs = list(zip(sch.get_loops(main), match.axis_kinds(sch, main), strict=True))
    spatial = [loop for loop, kind in pairs if kind == "S"]
    summed = [loop for loop, kind in pairs if kind != "S"]
    extent = 1
    for loop in summed:
        extent *= match.extent(sch, loop)
    divisors = [d for d in range(LEAST_PARTS, min(THREADS, extent) + 1) if extent % d == 0]
    if not divisors:
        return None
    parts = drawn(sch, divisors, divisors[-1])
    sch.reorder(*spatial, *summed)
    _, part = sch.split(steps.fuse_loops(sch, summed), factors=[None, parts])
    first = sch.rfactor(part, 0)
    blocks = [first, main]
    count = int(sch.get(parts))
    of_thread = steps.largest_divisor(count, MOST_PARTS_OF_A_THREAD)
    if 1 < of_thread < count:
        last_sum = list(sch.get_loops(main))[-1]
        factors = sch.sample_perfect_tile(
            last_sum,
            n=2,
            max_innermost_factor=MOST_PARTS_OF_A_THREAD,
            decision=[count // of_thread, of_thread],
        )
        few, _ = sch.split(last_sum, factors=factors)
        blocks.insert(1, sch.rfactor(few, 0))
    last = epilogue if epilogue is not None else sch.cache_write(main, 0, "local")
    loops = list(sch.get_loops(last)) or [sch.add_unit_loop(last)]
    grid = steps.fuse_loops(sch, loops)
    sch.bind(grid, "blockIdx.x")
    thread = bind_over_threads(sch, last, depth=1, threads=parts)
    if epilogue is not None:
        sch.set_scope(main, 0, "local")
    sum_in_register(sch, main, thread)
    for block in reversed(blocks[:-1]):
        share_result(sch, block, grid, parts)
    return sch
