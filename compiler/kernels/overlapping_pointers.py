"""Pointers that LLVM must not take to lie apart."""

from __future__ import annotations

from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc


def with_overlapping_pointers(func: PrimFunc) -> PrimFunc:
    """Return a phase whose parameters may point to the same memory, whatever their types are.

    Without `tirx.noalias` TVM still gives accesses by each parameter a class of their own in type
    based alias analysis, so LLVM would move loads beyond stores. Variables bound to pointers share
    one class.
    """
    statements: list[Any] = []
    for statement in func.body.seq:
        if isinstance(statement, tirx.DeclBuffer) and _is_parameter(func, statement.data):
            pointer = statement.data
            bound = tirx.Var(f"{pointer.name}_shared", pointer.ty)
            statements.append(tirx.Bind(bound, pointer))
            statement = tirx.DeclBuffer(statement.buffer, data=bound)
        statements.append(statement)
    return func.with_body(tirx.SeqStmt(statements))


def _is_parameter(func: PrimFunc, data: Any) -> bool:
    return any(data.same_as(parameter) for parameter in func.params)
