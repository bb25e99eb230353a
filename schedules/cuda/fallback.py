"""The rule for every kernel that no other rule knows: one thread for each element.

Each block that is not inlined is a launch of its own; between launches its result is in scratch.
Functions written as plain loops keep them and run in one thread: slow, but right, and the report
says so.
"""

from __future__ import annotations

from typing import Any

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match
from schedules.cuda.threads import (
    bind_one_thread_each,
    bind_sum,
    inline_cheap_producers,
    reads_each_sum_once,
)


def fallback(func: PrimFunc, spec: TargetSpec) -> tuple[s_tir.Schedule, str]:
    """Return a schedule for any kernel and the name of the loop nest it got.

    Matches: everything. `compiler/kernels/gpu` binds what is left unbound to one thread.
    """
    del spec
    sch = s_tir.Schedule(func)
    if match.root_block(sch) is None:
        return sch, "one-thread"
    inline_cheap_producers(sch)
    blocks = match.blocks(sch)
    if any(match.is_opaque(sch, block) or not _is_plain(sch, block) for block in blocks):
        return s_tir.Schedule(func), "one-thread"
    for block, epilogue in _pairs(sch, blocks):
        if epilogue is None:
            bind_one_thread_each(sch, block)
        else:
            bind_sum(sch, block, epilogue)
    return sch, "thread-for-each-element"


def _pairs(sch: s_tir.Schedule, blocks: list[Any]) -> list[tuple[Any, Any | None]]:
    """Each block, a sum together with the one that makes one element of each of its sums."""
    pairs = []
    taken = set()
    for block in blocks:
        if match.name(sch, block) in taken:
            continue
        epilogue = match.sole_consumer(sch, block) if match.is_reduction(sch, block) else None
        if epilogue is not None and not reads_each_sum_once(sch, block, epilogue):
            epilogue = None
        if epilogue is not None:
            taken.add(match.name(sch, epilogue))
        pairs.append((block, epilogue))
    return pairs


def _is_plain(sch: s_tir.Schedule, block: Any) -> bool:
    """Whether each loop around the block is one of its axes."""
    return len(list(sch.get_loops(block))) == len(match.axis_kinds(sch, block))
