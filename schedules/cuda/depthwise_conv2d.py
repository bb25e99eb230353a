"""Depthwise convolution: a thread for each position, its taps unrolled."""

from __future__ import annotations

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, roles
from schedules.cuda.threads import bind_sum, inline_cheap_producers, reads_each_sum_once


def depthwise_conv2d(func: PrimFunc, spec: TargetSpec) -> s_tir.Schedule | None:
    """Neighbours in a row are computed by neighbouring threads, which read neighbours.

    Matches: one sum with the role `GPU_DEPTHWISE` or, of small integers, `INTEGER_DEPTHWISE`,
    perhaps element-wise after it.
    before: for n, c, y, x: for tap_y, tap_x
    after:  threads n * c * y * x: unrolled tap_y, tap_x, the sum in a register
    """
    del spec
    sch = s_tir.Schedule(func)
    if match.root_block(sch) is None:
        return None
    inline_cheap_producers(sch)
    main = match.block_with_role(sch, roles.GPU_DEPTHWISE)
    main = main or match.block_with_role(sch, roles.INTEGER_DEPTHWISE)
    if main is None:
        return None
    epilogue = match.sole_consumer(sch, main) if sch.get_consumers(main) else None
    known = 1 if epilogue is None else 2
    if len(match.blocks(sch)) != known:
        return None
    if epilogue is not None and not reads_each_sum_once(sch, main, epilogue):
        return None
    for loop in bind_sum(sch, main, epilogue):
        sch.unroll(loop)
    return sch
