"""The rule for every kernel that no other rule knows: one thread for each element.

Two shapes of loop nest, the first that fits:
- thread-for-each-element: each block that is not inlined is a launch of its own, a sum together
  with what is computed of each of its results; between launches results are in scratch;
- one-thread: functions written as plain loops keep them: slow, but right, and the report says so.
"""

from __future__ import annotations

from typing import Any

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, steps
from schedules.cuda.threads import (
    bind_one_thread_each,
    bind_sum,
    inline_cheap_producers,
    reads_each_sum_once,
)


def fallback(func: PrimFunc, spec: TargetSpec) -> tuple[s_tir.Schedule, str]:
    """Return a schedule for any kernel and the name of the loop nest it got.

    Matches: everything. `compiler/kernels/gpu` gives one thread to what is bound to none here.
    """
    del spec
    sch = s_tir.Schedule(func)
    if match.root_block(sch) is None:
        return sch, "one-thread"
    for joins_sums in (True, False):
        sch = s_tir.Schedule(func)
        try:
            if _thread_for_each_element(sch, joins_sums=joins_sums):
                return sch, "thread-for-each-element"
        except steps.PrimitiveError:
            continue  # a primitive did not apply: the next, simpler nest
    return s_tir.Schedule(func), "one-thread"


def _thread_for_each_element(sch: s_tir.Schedule, *, joins_sums: bool) -> bool:
    inline_cheap_producers(sch)
    blocks = match.blocks(sch)
    if any(match.is_opaque(sch, block) or not _is_plain(sch, block) for block in blocks):
        return False
    taken: set[str] = set()
    for block in blocks:
        if match.name(sch, block) in taken:
            continue
        epilogue = _epilogue(sch, block) if joins_sums else None
        if epilogue is None:
            bind_one_thread_each(sch, block)
        else:
            taken.add(match.name(sch, epilogue))
            bind_sum(sch, block, epilogue)
    return True


def _epilogue(sch: s_tir.Schedule, block: Any) -> Any | None:
    """What makes one element of each of the block's sums, if that is all that reads them."""
    if not match.is_reduction(sch, block):
        return None
    reader = match.sole_consumer(sch, block)
    if reader is None or not reads_each_sum_once(sch, block, reader):
        return None
    return reader


def _is_plain(sch: s_tir.Schedule, block: Any) -> bool:
    """Whether each loop around the block is one of its axes; there are none around a scalar."""
    return len(list(sch.get_loops(block))) in (0, len(match.axis_kinds(sch, block)))
