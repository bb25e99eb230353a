"""What a kernel keeps in global memory between its launches becomes parameters."""

from __future__ import annotations

from math import prod
from typing import Any

import tvm
from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.program import ELEMENT_BYTES


def scratch_as_parameters(func: PrimFunc) -> tuple[PrimFunc, tuple[int, ...]]:
    """Return the function with its global intermediate buffers as parameters at the end.

    Also the bytes of each: the memory plan gives it scratch of that size.
    """
    body = func.body
    if not isinstance(body, s_tir.SBlockRealize):
        return func, ()
    buffers = list(body.block.alloc_buffers)
    outside = [buffer for buffer in buffers if _is_global(buffer)]
    if not outside:
        return func, ()
    inside = [buffer for buffer in buffers if not _is_global(buffer)]
    realize = with_block(body, alloc_buffers=inside)
    changed = PrimFunc([*func.params, *outside], realize, func.ret_type, attrs=func.attrs)
    return changed, tuple(_size_bytes(buffer) for buffer in outside)


def with_block(
    realize: s_tir.SBlockRealize, *, body: Any = None, alloc_buffers: Any = None
) -> s_tir.SBlockRealize:
    """Return a block as it was but for its body or the buffers that it allocates."""
    block = realize.block
    changed = s_tir.SBlock(
        block.iter_vars,
        block.reads,
        block.writes,
        block.name_hint,
        block.body if body is None else body,
        block.init,
        block.alloc_buffers if alloc_buffers is None else alloc_buffers,
        block.match_buffers,
        block.annotations,
    )
    return s_tir.SBlockRealize(realize.iter_values, realize.predicate, changed)


def _is_global(buffer: tvm.tirx.Buffer) -> bool:
    return str(buffer.scope()) in ("", "global")


def _size_bytes(buffer: tvm.tirx.Buffer) -> int:
    return prod(int(extent) for extent in buffer.ty.shape) * ELEMENT_BYTES[str(buffer.ty.dtype)]
