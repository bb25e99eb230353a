"""Sums of products that a function of the library's runtime computes in scalable vectors.

LLVM keeps no accumulator of unknown size in a register, so a schedule leaves a nest of loops
marked `roles.SUMS`, and here it becomes one call of `runtime/sve_sums.c` with the nest's extents
and strides.
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

SUMS_FUNCTION = "tunesmith_sve_sums"  # inputs are the same for all lanes
DEPTHWISE_FUNCTION = "tunesmith_sve_depthwise"  # each lane has an input of its own
# The like by the first one's name for weights that are halves.
OF_HALVES = {
    SUMS_FUNCTION: "tunesmith_sve_half_sums",
    DEPTHWISE_FUNCTION: "tunesmith_sve_half_depthwise",
}
# Of halves in both, in registers of 128 bits.
HALF_SUMS_FUNCTION = "tunesmith_half_sums"
HALF_DEPTHWISE_FUNCTION = "tunesmith_half_depthwise"
HALF_LANES = 8  # of which those functions take multiples
SUMMED_LOOPS = 4  # channels, taps down and across, channels of a block


def call_sums(func: PrimFunc) -> PrimFunc:
    """Return the function with each marked nest replaced by a call, and no zeros before it.

    Where the operands of one do not lie in memory as the runtime's function expects, all stay.
    """
    return replace_nests(func, _call)


def call_half_sums(func: PrimFunc, *, last: bool = True) -> PrimFunc:
    """The like for nests whose factors are halves, by the runtime's functions for these.

    Args:
        last: whether no pass behind takes other nests of sums; these then become plain loops.
    """
    marked: list[Any] = []
    structural.structural_walk(func.body, (tirx.For, marked.append))
    nests = [loop for loop in marked if int(loop.annotations.get(SUMS, 0))]
    if not nests or (not last and any(_half_call(loop) is None for loop in nests)):
        return func
    return replace_nests(func, _half_call)


def _half_call(marked: Any) -> Any | None:
    _, store = nest_of(marked)
    loads = _operands(store)
    if loads is None or any(str(load.ty.dtype) != "float16" for load in loads[1:]):
        return None
    return _call(marked) if int(marked.extent) % HALF_LANES == 0 else None


def replace_nests(
    func: PrimFunc, call_of: Callable[[Any], Any | None], mark: str = SUMS
) -> PrimFunc:
    """Return the function with `call_of` each marked nest in place; all stay if one has none."""
    marked: list[Any] = []
    structural.structural_walk(func.body, (tirx.For, marked.append))
    nests = [loop for loop in marked if int(loop.annotations.get(mark, 0))]
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
class _Loop:
    """A loop of a nest: how often it runs, by how many elements its operands' addresses grow."""

    extent: int
    sums: int
    inputs: int
    weights: int


def _call(marked: Any) -> Any | None:
    """The call in place of the nest; None if the function cannot compute it."""
    nest, store = nest_of(marked)
    loads = _operands(store)
    if loads is None:
        return None
    variables = [one.loop_var for one in nest]
    strides = [coefficients(load.indices[0], variables) for load in loads]
    if None in strides:
        return None
    lane, *others = (
        _Loop(int(one.extent), *steps)
        for one, *steps in zip(nest, *(s for s in strides if s), strict=True)
    )
    function = DEPTHWISE_FUNCTION if lane.inputs else SUMS_FUNCTION
    if str(loads[1].ty.dtype) == "float16":
        function = HALF_DEPTHWISE_FUNCTION if lane.inputs else HALF_SUMS_FUNCTION
    elif str(loads[2].ty.dtype) == "float16":
        function = OF_HALVES[function]
    numbers = _arguments(lane, others)
    if numbers is None:
        return None
    pointers = [first_address(load, variables) for load in loads]
    words = [tirx.const(number, "int32") for number in numbers]
    return tirx.Evaluate(tirx.call_extern("int32", function, *pointers, *words))


def _arguments(lane: _Loop, others: Sequence[_Loop]) -> list[int] | None:
    """Extents and strides in the order of the functions; loops that run once are gone."""
    columns = [loop for loop in others if loop.sums]
    summed = [loop for loop in others if not loop.sums]
    column = columns[0] if columns else _Loop(1, 0, 0, 0)
    fits = lane.sums == lane.weights == 1 and lane.inputs in (0, 1) and column.weights == 0
    if not fits or len(columns) > 1 or len(summed) > SUMMED_LOOPS:
        return None
    summed = [_Loop(1, 0, 0, 0)] * (SUMMED_LOOPS - len(summed)) + summed
    return [
        *(column.extent, lane.extent, *(loop.extent for loop in summed)),
        *(column.sums, column.inputs),
        *(loop.inputs for loop in summed),
        *(loop.weights for loop in summed),
    ]


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


def _operands(store: Any) -> tuple[Any, Any, Any] | None:
    """The loads of ``sums = sums + inputs * weights`` in float32; factors may be halves."""
    if not isinstance(store, tirx.BufferStore) or str(store.buffer.ty.dtype) != "float32":
        return None
    value = store.value
    if not isinstance(value, tirx.Add) or not isinstance(value.b, tirx.Mul):
        return None
    factors = (_widened_half(value.b.a), _widened_half(value.b.b))
    if not all(isinstance(load, tvm.ir.TensorLoad) for load in (value.a, *factors)):
        return None
    if not value.a.source.same_as(store.buffer):
        return None
    return (value.a, *factors)


def _widened_half(value: Any) -> Any:
    """What is read in float16 and converted, else `value` itself."""
    is_half = isinstance(value, tirx.Cast) and str(value.value.ty.dtype) == "float16"
    return value.value if is_half else value


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
