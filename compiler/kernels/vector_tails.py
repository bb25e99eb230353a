"""Vector loops whose last vector is not full: whole vectors as such, lane by lane at the end.

TVM makes a vector loop under a condition on the lane serial as a whole. Here the condition is asked
once for the last lane; where it holds, no lane needs it.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import tirx
from tvm.tirx import PrimFunc
from tvm_ffi import structural

from compiler.kernels.variables import replaced
from schedules import match


def split_vector_tails(func: PrimFunc) -> PrimFunc:
    """Return the function with each vector loop that has a tail as two loops.

    before: vectorized lane: if (c(lane)): body   or   vectorized lane: x[lane] = c(lane) ? a : b
    after:  if (c(last lane)): (vectorized lane: body) else: (for lane: if (c(lane)): body)

    before: vectorized lane: x[lane] = c ? a : b       (c the same for all lanes)
    after:  if (c): (vectorized lane: x[lane] = a) else: (vectorized lane: x[lane] = b)
    """

    def visit(loop: Any, mutator: Any) -> Any:
        loop = mutator.default_mutate(loop)
        return _split(loop) if loop.kind == tirx.ForKind.VECTORIZED else loop

    return func.with_body(structural.structural_mutate(func.body, [(tirx.For, visit)]))


def _split(loop: Any) -> Any:
    lane, last = loop.loop_var, loop.min + loop.extent - 1
    choice = _choice_of(loop.body)
    if choice is not None and not match.uses(choice[0], lane):
        condition, body, otherwise = choice
        return tirx.IfThenElse(condition, _again(loop, body), _again(loop, otherwise))
    found = _test_of(loop.body)
    if found is None or not _holds_below(found[0], lane):
        return loop
    condition, body = found
    return tirx.IfThenElse(
        replaced(condition, lane, last),
        _again(loop, body),
        tirx.For(lane, loop.min, loop.extent, tirx.ForKind.SERIAL, loop.body),
    )


def _again(loop: Any, body: Any) -> Any:
    """The loop around another body, with a variable of its own: one is bound once in a function."""
    lane = tirx.Var(loop.loop_var.name, loop.loop_var.ty)
    body = replaced(body, loop.loop_var, lane)
    return tirx.For(lane, loop.min, loop.extent, loop.kind, body)


def _test_of(body: Any) -> tuple[Any, Any] | None:
    """The condition of a body, and what is done where it holds."""
    if isinstance(body, tirx.IfThenElse) and body.else_case is None:
        return body.condition, body.then_case
    choice = _choice_of(body)
    return None if choice is None else choice[:2]


def _choice_of(body: Any) -> tuple[Any, Any, Any] | None:
    """The condition of a store of one of two values, and the two stores."""
    value = getattr(body, "value", None)
    if not isinstance(body, tirx.BufferStore) or not isinstance(value, tvm.ir.Call):
        return None
    if not value.op.name.endswith(".if_then_else"):
        return None
    condition, *values = value.args
    one, other = (tirx.BufferStore(body.buffer, value, body.indices) for value in values)
    return condition, one, other


def _holds_below(condition: Any, lane: Any) -> bool:
    """Whether a condition that holds for a lane holds for every lane before it."""
    if isinstance(condition, tirx.And):
        return _holds_below(condition.a, lane) and _holds_below(condition.b, lane)
    if getattr(getattr(condition, "op", None), "name", "") == "tirx.likely":
        return _holds_below(condition.args[0], lane)
    if not match.uses(condition, lane):
        return True
    if not isinstance(condition, tirx.LT | tirx.LE):
        return False
    return not match.uses(condition.b, lane) and _grows(condition.a, lane)


def _grows(expression: Any, lane: Any) -> bool:
    """Whether an index never falls as the lane grows."""
    if expression.same_as(lane) or not match.uses(expression, lane):
        return True
    if isinstance(expression, tirx.Add):
        return _grows(expression.a, lane) and _grows(expression.b, lane)
    if isinstance(expression, tirx.Mul | tirx.FloorDiv):
        factor = expression.b
        return isinstance(factor, tirx.IntImm) and factor.value > 0 and _grows(expression.a, lane)
    return False
