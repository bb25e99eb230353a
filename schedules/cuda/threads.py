"""Binding loops to blocks and threads of a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from tvm import s_tir

from compiler.target_spec import GpuSpec, TargetSpec
from schedules import match, steps

# Eight warps: enough to hide latency with few registers a thread, and a divisor of what every
# multiprocessor holds (1,024, 1,536 or 2,048 threads).
THREADS = 256
THREAD_CHOICES = (64, 128, 256, 512)  # what a tuner may take instead: all GPUs allow 1,024


def gpu_of(spec: TargetSpec) -> GpuSpec:
    """The GPU of a target of that family."""
    assert spec.gpu is not None, spec.name  # of family gpu: compiler/target_checks.py
    return spec.gpu


def inline_cheap_producers(sch: s_tir.Schedule, keep: tuple[str, ...] = ()) -> None:
    """Inline every block that costs less to compute again than to store, padding too.

    A test of an index costs a GPU less than another kernel and its traffic.
    """
    changed = True
    while changed:
        changed = False
        outputs = {match.name(sch, block) for block in match.output_blocks(sch)}
        for block in match.blocks(sch):
            kept = match.name(sch, block) in outputs or match.role(sch, block) in keep
            if kept or match.is_reduction(sch, block) or _is_dear(sch, block):
                continue
            try:
                sch.compute_inline(block)
            except steps.PrimitiveError:
                continue
            changed = True
            break


def _is_dear(sch: s_tir.Schedule, block: Any) -> bool:
    """Whether the block calls exp and the like and is read more than once an element."""
    consumers = sch.get_consumers(block)
    reread = len(consumers) > 1 or any(match.is_reduction(sch, c) for c in consumers)
    return reread and match.calls_functions(sch, block)


def reads_each_sum_once(sch: s_tir.Schedule, main: Any, epilogue: Any) -> bool:
    """Whether a block without sums has as many elements as `main`, which it reads."""
    if "R" in match.axis_kinds(sch, epilogue):
        return False
    kinds, extents = match.axis_kinds(sch, main), match.axis_extents(sch, main)
    sums = prod(extent for extent, kind in zip(extents, kinds, strict=True) if kind == "S")
    return sums == prod(match.axis_extents(sch, epilogue))


def drawn(sch: s_tir.Schedule, choices: Sequence[int], default: int) -> Any:
    """Draw one of the choices, which need not hold the default, by which it is decided."""
    candidates = sorted({*choices, default})
    even = [1.0 / len(candidates)] * len(candidates)
    return sch.sample_categorical(candidates, even, decision=candidates.index(default))


def bind_elements(sch: s_tir.Schedule, loops: Sequence[Any]) -> Any:
    """Give each iteration of the loops a thread, and return the loop over a block's threads."""
    elements = steps.fuse_loops(sch, loops)
    extent = match.extent(sch, elements)
    fitting = [threads for threads in THREAD_CHOICES if threads <= extent]
    threads = drawn(sch, fitting, min(THREADS, extent))
    grid, thread = sch.split(elements, factors=[None, threads], preserve_unit_iters=True)
    sch.bind(grid, "blockIdx.x")
    sch.bind(thread, "threadIdx.x")
    return thread


def bind_sum(sch: s_tir.Schedule, main: Any, epilogue: Any | None) -> list[Any]:
    """Give each sum a thread, which also computes `epilogue` of it; return the sum's loops.

    The sum stays in a register. `epilogue` is None if the sum is the kernel's output.
    """
    spatial, rest = _spatial_and_rest(sch, main)
    thread = bind_elements(sch, spatial)
    if epilogue is None:
        epilogue = sch.cache_write(main, 0, "local")
    else:
        sch.set_scope(main, 0, "local")
    sch.reverse_compute_at(epilogue, thread)
    sch.decompose_reduction(main, rest[0])
    return rest


def bind_one_thread_each(sch: s_tir.Schedule, block: Any) -> None:
    """Give each element that the block writes a thread; what it sums, that thread sums."""
    if match.is_reduction(sch, block):
        bind_sum(sch, block, None)
        return
    loops = list(sch.get_loops(block)) or [sch.add_unit_loop(block)]
    bind_elements(sch, loops)


def share_result(sch: s_tir.Schedule, block: Any, grid: Any, threads: Any) -> None:
    """Compute a block once for a block of threads, in shared memory, at the loop `grid`.

    Its readers are there already. What is summed is summed in registers and stored at the end, so
    that no thread waits for the others within a sum.
    """
    sums = match.is_reduction(sch, block)
    store = sch.cache_write(block, 0, "local") if sums else block
    sch.set_scope(store, 0, "shared")
    sch.compute_at(store, grid, preserve_unit_loops=True)
    thread = bind_over_threads(sch, store, depth=1, threads=threads)
    if sums:
        sum_in_register(sch, block, thread)


def sum_in_register(sch: s_tir.Schedule, block: Any, thread: Any) -> None:
    """Compute a sum whose only reader is in the loop `thread`."""
    sch.compute_at(block, thread, preserve_unit_loops=True)
    rest = _spatial_and_rest(sch, block)[1]
    sch.decompose_reduction(block, rest[0])


def bind_over_threads(sch: s_tir.Schedule, block: Any, depth: int, threads: Any) -> Any:
    """Share the loops of a block without sums, below the first `depth`, among `threads` threads.

    Where there are fewer iterations, the other threads pass over it. Returns the loop over threads.

    Args:
        threads: a number, or what `drawn` returned.
    """
    loops = list(sch.get_loops(block))[depth:] or [sch.add_unit_loop(block)]
    items = steps.fuse_loops(sch, loops)
    _, thread = sch.split(items, factors=[None, threads], preserve_unit_iters=True)
    sch.bind(thread, "threadIdx.x")
    return thread


def _spatial_and_rest(sch: s_tir.Schedule, block: Any) -> tuple[list[Any], list[Any]]:
    """The block's own loops, those over what it sums after the others, which are at least one."""
    kinds = match.axis_kinds(sch, block)
    loops = list(sch.get_loops(block))[-len(kinds) :]
    pairs = list(zip(loops, kinds, strict=True))
    spatial = [loop for loop, kind in pairs if kind == "S"]
    rest = [loop for loop, kind in pairs if kind != "S"]
    if not spatial:
        spatial = [sch.add_unit_loop(rest[0])]
    sch.reorder(*spatial, *rest)
    return spatial, rest
