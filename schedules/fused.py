"""The kernel that most rules are for: one sum, perhaps a copy before it, element-wise after it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm import s_tir
from tvm.tirx import PrimFunc

from schedules import match, steps


@dataclass(frozen=True, kw_only=True, slots=True)
class FusedSum:
    """A schedule of such a kernel, cheap blocks inlined already, and its blocks."""

    sch: s_tir.Schedule
    main: Any  # the sum
    before: Any | None  # the copy that it reads: padding or packing
    epilogue: Any  # writes the kernel's output


def fused_sum(func: PrimFunc, *, role: str, before: str) -> FusedSum | None:
    """Return the kernel's blocks if it has one of `role` and nothing that does not belong to it.

    Args:
        role: of the sum.
        before: role of the copy that may stand before it.
    """
    sch = s_tir.Schedule(func)
    if match.root_block(sch) is None:
        return None
    steps.inline_cheap_producers(sch, keep=(before,))
    main = match.block_with_role(sch, role)
    if main is None:
        return None
    copy = match.block_with_role(sch, before)
    if sch.get_consumers(main):
        epilogue = match.sole_consumer(sch, main)
    else:
        epilogue = sch.cache_write(main, 0, "local")  # nothing fused: the store is the epilogue
    known = [block for block in (copy, main, epilogue) if block is not None]
    if epilogue is None or len(match.blocks(sch)) != len(known):
        return None
    if "R" in match.axis_kinds(sch, epilogue):
        return None
    return FusedSum(sch=sch, main=main, before=copy, epilogue=epilogue)
