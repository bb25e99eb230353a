"""What a kernel keeps in global memory between its launches becomes parameters."""

from __future__ import annotations

from math import prod

import tvm
from tvm import s_tir, tirx
from tvm.tirx import PrimFunc
from tvm_ffi import structural

from compiler.program import ELEMENT_BYTES


def scratch_as_parameters(func: PrimFunc) -> tuple[PrimFunc, tuple[int, ...]]:
    """Return the function with its global intermediate buffers as parameters at the end.

    Also the bytes of each: the memory plan gives it scratch of that size.
    """
    body = func.body
    if not isinstance(body, s_tir.SBlockRealize):
        return func, ()
    root = body.block
    buffers = list(root.alloc_buffers)
    outside = [buffer for buffer in buffers if _is_global(buffer)]
    if not outside:
        return func, ()
    inside = [buffer for buffer in buffers if not _is_global(buffer)]
    block = s_tir.SBlock(
        root.iter_vars,
        root.reads,
        root.writes,
        root.name_hint,
        root.body,
        root.init,
        inside,
        root.match_buffers,
        root.annotations,
    )
    realize = s_tir.SBlockRealize(body.iter_values, body.predicate, block)
    changed = PrimFunc([*func.params, *outside], realize, func.ret_type, attrs=func.attrs)
    return changed, tuple(_size_bytes(buffer) for buffer in outside)


def _is_global(buffer: tvm.tirx.Buffer) -> bool:
    return str(buffer.scope()) in ("", "global")


def _size_bytes(buffer: tvm.tirx.Buffer) -> int:
    return prod(int(extent) for extent in buffer.ty.shape) * ELEMENT_BYTES[str(buffer.ty.dtype)]


def in_one_thread(func: PrimFunc) -> PrimFunc:
    """Return a function without thread bindings as the work of one thread."""

    def serial(loop: tirx.For, mutator: object) -> tirx.For:
        changed = mutator.default_mutate(loop)  # type: ignore[attr-defined]  # tvm_ffi's mutator
        if int(changed.kind) != int(tirx.ForKind.PARALLEL):
            return changed
        return tirx.For(
            changed.loop_var, changed.min, changed.extent, tirx.ForKind.SERIAL, changed.body
        )

    body = structural.structural_mutate(func.body, [(tirx.For, serial)])
    return func.with_body(body)
