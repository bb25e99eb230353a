"""A function that binds no loop to threads becomes the work of one thread."""

from __future__ import annotations

from typing import Any

import tvm
from tvm import s_tir, tirx
from tvm.tirx import PrimFunc
from tvm_ffi import structural

from compiler.kernels.gpu.scratch import with_block
from compiler.kernels.variables import replaced

_THREAD_INDEX = 1  # IterVar.iter_type
_TAGS = ("threadIdx.x", "blockIdx.x")  # from the inside to the outside


def in_one_thread(func: PrimFunc) -> PrimFunc:
    """Return the function with its loops as they are, in one thread, unless it binds threads.

    Its loops may be those of a function that TVM wrote for CPUs: parallel ones become serial.
    """
    if _binds_threads(func):
        return func
    func = _without_offsets(func)
    body = structural.structural_mutate(func.body, [(tirx.For, _serial)])
    if isinstance(body, s_tir.SBlockRealize):
        return func.with_body(with_block(body, body=_bound(body.block.body)))
    return func.with_body(_bound(body))


def _without_offsets(func: PrimFunc) -> PrimFunc:
    """Say of parameters which may begin anywhere in their memory that they begin at its start."""
    parameters, body = [], func.body
    for parameter in func.params:
        whole = parameter
        if isinstance(parameter.ty.elem_offset, tirx.Var):
            whole = tirx.decl_buffer(parameter.shape, parameter.dtype, parameter.name)
            body = replaced(body, parameter, whole)
        parameters.append(whole)
    return PrimFunc(parameters, body, func.ret_type, attrs=func.attrs)


def _binds_threads(func: PrimFunc) -> bool:
    kinds: list[int] = []
    structural.structural_walk(func.body, (tirx.For, lambda loop: kinds.append(int(loop.kind))))
    return int(tirx.ForKind.THREAD_BINDING) in kinds


def _serial(loop: tirx.For, mutator: Any) -> tirx.For:
    changed = mutator.default_mutate(loop)
    if int(changed.kind) != int(tirx.ForKind.PARALLEL):
        return changed
    return tirx.For(
        changed.loop_var, changed.min, changed.extent, tirx.ForKind.SERIAL, changed.body
    )


def _bound(body: Any) -> Any:
    """The statement within a loop of one iteration for a thread, and one for its block."""
    for tag in _TAGS:
        variable = tirx.Var(tag.replace(".", "_"), "int32")
        extent = tvm.ir.Range(0, 1)
        axis = tirx.IterVar(extent, tirx.Var(tag, "int32"), _THREAD_INDEX, tag)
        body = tirx.For(variable, 0, 1, tirx.ForKind.THREAD_BINDING, body, thread_binding=axis)
    return body
