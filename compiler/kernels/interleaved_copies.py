"""Copies that put elements of two vectors side by side become two vectors and one shuffle."""

from __future__ import annotations

from typing import Any

import tvm
from tvm import tirx
from tvm.tirx import PrimFunc
from tvm_ffi import structural

from compiler.kernels.sum_nests import coefficients
from compiler.kernels.variables import replaced
from schedules import match
from schedules.roles import INTERLEAVED

LANES_OF_A_STORE = 8  # of each of two vectors of int16: 32 bytes


def interleave_copies(func: PrimFunc) -> PrimFunc:
    """Return the function with each marked pair of loops as one vector statement.

    before: marked lane in L: for i in 2: to[2 * lane + i] = from(i, lane)
    after:  to[0:2 * L] = shuffle(from(0, 0:L), from(1, 0:L))

    `from` is an element, perhaps cast and added to, where conditions hold that know no lane. Other
    loops stay.
    """

    def visit(loop: Any, mutator: Any) -> Any:
        if INTERLEAVED not in loop.annotations:
            return mutator.default_mutate(loop)
        made = _interleaved(loop)
        return made or tirx.For(loop.loop_var, loop.min, loop.extent, loop.kind, loop.body)

    return func.with_body(structural.structural_mutate(func.body, [(tirx.For, visit)]))


def _interleaved(loop: Any) -> Any | None:
    inner = loop.body
    store = getattr(inner, "body", None)
    if not isinstance(inner, tirx.For) or not isinstance(store, tirx.BufferStore):
        return None
    lane, which, lanes = loop.loop_var, inner.loop_var, int(loop.extent)
    if int(inner.extent) != 2 or coefficients(store.indices[0], [lane, which]) != [2, 1]:
        return None
    first = replaced(replaced(store.indices[0], which, _like(which, 0)), lane, _like(lane, 0))
    values = [replaced(store.value, which, _like(which, number)) for number in (0, 1)]
    copied = _stores(store.buffer, first, [_inside(value) for value in values], lane, lanes)
    tests = [test for value in values for test in _tests(value)]
    if copied is None or any(match.uses(test, lane) for test in tests):
        return None
    if not tests:
        return copied
    around = _stores(store.buffer, first, values, lane, lanes)
    return None if around is None else tirx.IfThenElse(tirx.all(*tests), copied, around)


def _inside(value: Any) -> Any:
    """The value where all its conditions hold."""
    return _inside(value.args[1]) if _is_choice(value) else value


def _tests(value: Any) -> list[Any]:
    return [value.args[0], *_tests(value.args[1])] if _is_choice(value) else []


def _stores(buffer: Any, first: Any, values: list[Any], lane: Any, lanes: int) -> Any | None:
    """The two values of all lanes, side by side, from an index on: a vector for each few lanes."""
    count = min(lanes, LANES_OF_A_STORE)
    stores = []
    for begin in range(0, lanes, count):
        joined = _side_by_side(values[0], values[1], lane, lanes, range(begin, begin + count))
        if joined is None:
            return None
        place = [tirx.Ramp(first + 2 * begin, 1, 2 * count)]
        stores.append(tirx.BufferStore(buffer, joined, place))
    return stores[0] if len(stores) == 1 else tirx.SeqStmt(stores)


def _side_by_side(a: Any, b: Any, lane: Any, lanes: int, taken: range) -> Any | None:
    """Lanes `taken` of two values, in turns; of narrow values before they are cast."""
    if isinstance(a, tirx.Cast) and isinstance(b, tirx.Cast):
        inner = _side_by_side(a.value, b.value, lane, lanes, taken)
        return None if inner is None else inner.astype(f"{a.ty.dtype}x{2 * len(taken)}")
    if isinstance(a, tirx.Add) and isinstance(b, tirx.Add) and isinstance(a.b, tirx.IntImm):
        inner = _side_by_side(a.a, b.a, lane, lanes, taken)
        same = isinstance(b.b, tirx.IntImm) and int(a.b) == int(b.b)
        return inner + tirx.Broadcast(a.b, 2 * len(taken)) if same and inner is not None else None
    halves = [_vector(value, lane, lanes) for value in (a, b)]
    if any(half is None for half in halves):
        return None
    order = [tirx.const(i + half * lanes, "int32") for i in taken for half in (0, 1)]
    return tirx.Shuffle(halves, order)


def _vector(value: Any, lane: Any, lanes: int) -> Any | None:
    """The values of all lanes, None if they are no vector that lies together."""
    if not match.uses(value, lane):
        return tirx.Broadcast(value, lanes)
    if isinstance(value, tvm.ir.TensorLoad):
        if coefficients(value.indices[0], [lane]) != [1]:
            return None
        first = replaced(value.indices[0], lane, _like(lane, 0))
        return tirx.BufferLoad(value.source, [tirx.Ramp(first, 1, lanes)])
    if isinstance(value, tirx.Cast):
        inner = _vector(value.value, lane, lanes)
        return None if inner is None else inner.astype(f"{value.ty.dtype}x{lanes}")
    if isinstance(value, tirx.Add | tirx.Sub):
        a, b = _vector(value.a, lane, lanes), _vector(value.b, lane, lanes)
        return None if a is None or b is None else type(value)(a, b)
    if _is_choice(value) and not match.uses(value.args[0], lane):
        then, otherwise = (_vector(argument, lane, lanes) for argument in value.args[1:])
        whole = then is not None and otherwise is not None
        return tirx.if_then_else(value.args[0], then, otherwise) if whole else None
    return None


def _is_choice(value: Any) -> bool:
    return isinstance(value, tvm.ir.Call) and str(value.op.name).endswith(".if_then_else")


def _like(variable: Any, number: int) -> Any:
    return tirx.const(number, str(variable.ty.dtype))
