"""Nests of loops that sum products: what lies where, and the call of a function in their place.

A schedule marks the outermost loop of a nest, with 0 that of the zeros before it. `scalable_sums`,
`integer_sums`, `scalable_integer_sums`, `tile_sums` and `pair_sums` say which function computes
which nest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import tvm
from tvm import tirx
from tvm.tirx import PrimFunc
from tvm_ffi import structural

from compiler.kernels.variables import replaced
from schedules import match
from schedules.roles import SUMS


def replace_nests(
    func: PrimFunc, call_of: Callable[[Any], Any | None], mark: str = SUMS
) -> PrimFunc:
    """Return the function with `call_of` each marked nest in place; all stay if one has none."""
    marked: list[Any] = []
    structural.structural_walk(func.body, (tirx.For, marked.append))
    nests = [loop for loop in marked if int(loop.annotations.get(mark, 0))]
    if not nests:
        return func
    possible = all(call_of(loop) is not None for loop in nests)

    def visit(loop: Any, mutator: Any) -> Any:
        if mark not in loop.annotations:
            return mutator.default_mutate(loop)
        if not possible:
            return _plain(loop)
        starts = not int(loop.annotations[mark])
        return tirx.Evaluate(tirx.const(0, "int32")) if starts else call_of(loop)

    return func.with_body(structural.structural_mutate(func.body, [(tirx.For, visit)]))


def _plain(loop: Any) -> Any:
    return tirx.For(loop.loop_var, loop.min, loop.extent, tirx.ForKind.SERIAL, loop.body)


@dataclass(frozen=True, slots=True)
class SumLoop:
    """A loop of a nest: how often it runs, by how many elements its operands' addresses grow."""

    extent: int
    sums: int
    inputs: int
    weights: int


ONCE = SumLoop(1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class SumNest:
    """A marked nest: its outermost loop, the others, the loads of sums, inputs and weights."""

    lane: SumLoop
    others: tuple[SumLoop, ...]
    loads: tuple[Any, Any, Any]
    variables: tuple[Any, ...]

    def call(self, function: str, numbers: Sequence[int]) -> Any:
        """The call of a function: addresses of the operands, then numbers in int32."""
        pointers = [first_address(load, self.variables) for load in self.loads]
        words = [tirx.const(number, "int32") for number in numbers]
        return tirx.Evaluate(tirx.call_extern("int32", function, *pointers, *words))


def read_nest(marked: Any, operands: Callable[[Any], Any | None]) -> SumNest | None:
    """The marked nest; None if its operands are others or lie in no regular steps.

    Args:
        operands: what gives the loads of sums, inputs and weights of a statement, or None.
    """
    nest, store, extents = shrunk_nest(marked)
    loads = operands(store)
    if loads is None:
        return None
    variables = tuple(one.loop_var for one in nest)
    steps = [coefficients(load.indices[0], variables) for load in loads]
    if None in steps:
        return None
    lane, *others = (
        SumLoop(extent, *strides)
        for extent, *strides in zip(extents, *(s for s in steps if s), strict=True)
    )
    return SumNest(lane, tuple(others), loads, variables)


def nest_of(loop: Any) -> tuple[list[Any], Any]:
    """The loops from the marked one inwards, and the statement inside; unit loops are gone."""
    loops = [loop]
    while isinstance(loops[-1].body, tirx.For):
        loops.append(loops[-1].body)
    return loops, loops[-1].body


def shrunk_nest(marked: Any) -> tuple[list[Any], Any, list[int]]:
    """The loops, the statement inside, and how often each loop runs: a last tile stops early."""
    nest, inside = nest_of(marked)
    extents = [int(loop.extent) for loop in nest]
    while isinstance(inside, tirx.IfThenElse) and inside.else_case is None:
        last = inside.condition
        if isinstance(last, tvm.ir.Call) and len(last.args) == 1:  # likely(...)
            last = last.args[0]
        if not isinstance(last, tirx.LT) or not isinstance(last.b, tirx.IntImm):
            break
        places = [i for i, loop in enumerate(nest) if last.a.same_as(loop.loop_var)]
        if not places:
            break
        extents[places[0]] = min(extents[places[0]], int(last.b))
        if isinstance(inside.then_case, tirx.For):
            more, inside = nest_of(inside.then_case)
            nest += more
            extents += [int(loop.extent) for loop in more]
        else:
            inside = inside.then_case
    return nest, inside, extents


def coefficients(index: Any, variables: Sequence[Any]) -> list[int] | None:
    """The factor of each variable in a linear expression, None if it is not linear in them."""
    if isinstance(index, tirx.Cast):
        return coefficients(index.value, variables)
    found = [int(index.same_as(variable)) for variable in variables]
    if any(found) or not any(match.uses(index, variable) for variable in variables):
        return found
    if isinstance(index, tirx.Add | tirx.Sub):
        left, right = coefficients(index.a, variables), coefficients(index.b, variables)
        sign = 1 if isinstance(index, tirx.Add) else -1
        if left is None or right is None:
            return None
        return [a + sign * b for a, b in zip(left, right, strict=True)]
    if isinstance(index, tirx.Mul) and isinstance(index.b, tirx.IntImm):
        inner = coefficients(index.a, variables)
        return None if inner is None else [a * int(index.b) for a in inner]
    return None


def first_address(load: Any, variables: Sequence[Any]) -> Any:
    """The address of the element that the nest begins with."""
    for variable in variables:
        load = replaced(load, variable, tirx.const(0, str(variable.ty.dtype)))
    return tirx.address_of(load)
