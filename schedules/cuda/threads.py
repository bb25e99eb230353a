"""Binding loops to blocks and threads of a GPU."""

from __future__ import annotations

from typing import Any

from tvm import s_tir

from compiler.target_spec import GpuSpec, TargetSpec
from schedules import match, steps

# Eight warps: enough to hide latency with few registers a thread, and a divisor of what every
# multiprocessor holds (1,024, 1,536 or 2,048 threads).
THREADS = 256


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


def bind_one_thread_each(sch: s_tir.Schedule, block: Any) -> None:
    """Give each element that the block writes a thread; what it sums, that thread sums."""
    loops = list(sch.get_loops(block))
    kinds = match.axis_kinds(sch, block)
    spatial = [loop for loop, kind in zip(loops, kinds, strict=True) if kind == "S"]
    rest = [loop for loop, kind in zip(loops, kinds, strict=True) if kind != "S"]
    if not spatial:
        spatial = [sch.add_unit_loop(rest[0] if rest else block)]
    if rest:
        sch.reorder(*spatial, *rest)
    elements = steps.fuse_loops(sch, spatial)
    threads = min(THREADS, match.extent(sch, elements))
    grid, thread = sch.split(elements, factors=[None, threads])
    sch.bind(grid, "blockIdx.x")
    sch.bind(thread, "threadIdx.x")
    if rest:
        store = sch.cache_write(block, 0, "local")  # the sum stays in a register
        sch.reverse_compute_at(store, thread)
        sch.decompose_reduction(block, sch.get_loops(block)[2])
