"""TVM's hand-written functions (scatter, cumulative sums) in the form that rules make."""

from __future__ import annotations

from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc
from tvm_ffi import structural


def as_phased_loops(func: PrimFunc) -> PrimFunc:
    """Return a lowered function whose parallel loops all stand at its top.

    Pragmas around the loops go: they hide them. A parallel loop inside another loop becomes
    serial: threads share the outer loop. Parameters begin at their pointer, so element offsets
    are 0.
    """
    offsets = [parameter.ty.elem_offset for parameter in func.params]
    statements = [
        tirx.Bind(offset, tirx.const(0, str(offset.ty.dtype)))
        for offset in offsets
        if isinstance(offset, tirx.Var)
    ]
    statements += [_serial_inside(statement) for statement in _without_pragmas(func.body)]
    return func.with_body(tirx.SeqStmt(statements))


def _without_pragmas(body: Any) -> list[Any]:
    """The statements of a sequence, nested sequences and pragmas around them opened."""
    if isinstance(body, tirx.SeqStmt):
        return [inner for statement in body.seq for inner in _without_pragmas(statement)]
    if isinstance(body, tirx.AttrStmt) and str(body.attr_key).startswith("pragma_"):
        return _without_pragmas(body.body)
    return [body]


def _serial_inside(statement: Any) -> Any:
    """The statement with every parallel loop below its own made serial."""

    def visit(loop: Any, mutator: Any) -> Any:
        inner = mutator.default_mutate(loop)
        if inner.kind != tirx.ForKind.PARALLEL:
            return inner
        return _with_kind(inner, tirx.ForKind.SERIAL)

    changed = structural.structural_mutate(statement, [(tirx.For, visit)])
    if isinstance(statement, tirx.For) and statement.kind == tirx.ForKind.PARALLEL:
        return _with_kind(changed, tirx.ForKind.PARALLEL)
    return changed


def _with_kind(loop: Any, kind: Any) -> Any:
    return tirx.For(loop.loop_var, loop.min, loop.extent, kind, loop.body)
