"""Sums of products of small integers that a function of the library's runtime computes.

A schedule leaves a nest of loops marked `roles.INTEGER_SUMS`, and here it becomes one call with the
nest's extents and strides, as `scalable_sums` does it for float32. The type of the inputs and the
products of a step say which function it is; of depthwise sums, the number of the mark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tvm
from tvm import tirx
from tvm.tirx import PrimFunc
from tvm_ffi import structural

from compiler.kernels.scalable_sums import coefficients, first_address, shrunk_nest
from schedules.roles import DOTS, INTEGER_SUMS, NARROW_PAIRS, RISCV_VECTORS, WORDS

DOT_FUNCTION = "tunesmith_dot_sums"  # int8, four products a lane
NARROW_FUNCTION = "tunesmith_narrow_sums"  # int8, eight products of a lane together
WIDE_FUNCTION = "tunesmith_wide_sums"  # int16 inputs, one after another
RISCV_FUNCTION = "tunesmith_rvv_sums"  # int8 inputs, one after another
WORD_FUNCTION = "tunesmith_word_sums"  # the same, three sums in a word
PLAIN_DEPTHWISE_FUNCTION = "tunesmith_plain_depthwise"  # which takes several rows of columns
DOT_LANES = (4, 8, 16)  # words have 8 at most
# By products of a lane that lie together, the type of the inputs, and the number of the mark where
# that makes a difference; weights are int8.
_FUNCTIONS = {
    (4, "int8"): DOT_FUNCTION,
    (8, "int8"): NARROW_FUNCTION,
    (1, "int16"): WIDE_FUNCTION,
    (1, "int8", RISCV_VECTORS): RISCV_FUNCTION,
    (1, "int8", WORDS): WORD_FUNCTION,
}
# Sums of int8 with one input for each lane, by the number of the mark.
_DEPTHWISE_FUNCTIONS = {
    DOTS: "tunesmith_dot_depthwise",
    NARROW_PAIRS: "tunesmith_narrow_depthwise",
    RISCV_VECTORS: "tunesmith_rvv_depthwise",
    WORDS: PLAIN_DEPTHWISE_FUNCTION,
}
INTEGER_FUNCTIONS = frozenset({*_FUNCTIONS.values(), *_DEPTHWISE_FUNCTIONS.values()})


@dataclass(frozen=True, slots=True)
class _Loop:
    """A loop of a nest: how often it runs, by how many elements its operands' addresses grow."""

    extent: int
    sums: int
    inputs: int
    weights: int


_ONCE = _Loop(1, 0, 0, 0)


def call_integer_sums(func: PrimFunc) -> PrimFunc:
    """Return the function with each marked nest replaced by a call, and no zeros before it.

    Where the operands of one do not lie in memory as the runtime's function expects, all stay.
    """
    marked: list[Any] = []
    structural.structural_walk(func.body, (tirx.For, marked.append))
    nests = [loop for loop in marked if int(loop.annotations.get(INTEGER_SUMS, 0))]
    if not nests:
        return func
    possible = all(_call(loop) is not None for loop in nests)

    def visit(loop: Any, mutator: Any) -> Any:
        if INTEGER_SUMS not in loop.annotations:
            return mutator.default_mutate(loop)
        if not possible:
            return tirx.For(loop.loop_var, loop.min, loop.extent, tirx.ForKind.SERIAL, loop.body)
        if int(loop.annotations[INTEGER_SUMS]):
            return _call(loop)
        return tirx.Evaluate(tirx.const(0, "int32"))

    return func.with_body(structural.structural_mutate(func.body, [(tirx.For, visit)]))


def _call(marked: Any) -> Any | None:
    """The call in place of the nest; None if no function can compute it."""
    nest, store, extents = shrunk_nest(marked)
    loads = integer_operands(store)
    if loads is None:
        return None
    variables = [one.loop_var for one in nest]
    strides = [coefficients(load.indices[0], variables) for load in loads]
    if None in strides:
        return None
    lane, *others = (
        _Loop(extent, *steps)
        for extent, *steps in zip(extents, *(s for s in strides if s), strict=True)
    )
    columns = [loop for loop in others if loop.sums] or [_ONCE]
    summed = [loop for loop in others if not loop.sums]
    kinds = tuple(str(load.source.ty.dtype) for load in loads[1:])
    if lane.sums != 1 or any(loop.weights for loop in columns):
        return None
    *rows, column = columns
    mark = int(marked.annotations[INTEGER_SUMS])
    kind = (lane.weights, kinds[0])
    function = _FUNCTIONS.get(kind) or _FUNCTIONS.get((*kind, mark))
    numbers = _dot(lane, column, summed)
    if lane.inputs:
        function = _DEPTHWISE_FUNCTIONS[mark] if kinds[0] == "int8" else None
        numbers = _depthwise(lane, column, summed)
    if numbers is not None and function == PLAIN_DEPTHWISE_FUNCTION:
        row = rows.pop() if rows else _ONCE
        numbers += [row.extent, row.sums, row.inputs]
    if rows:
        return None
    if numbers is None or function is None or kinds[1] != "int8":
        return None
    words = [tirx.const(number, "int32") for number in numbers]
    pointers = [first_address(load, variables) for load in loads]
    return tirx.Evaluate(tirx.call_extern("int32", function, *pointers, *words))


def _dot(lane: _Loop, column: _Loop, summed: Sequence[_Loop]) -> list[int] | None:
    """Extents and strides in the order of `dot_sums.c` and its like."""
    group = lane.weights
    if group > 1:
        *summed, inner = summed or [_ONCE]
        if inner != _Loop(group, 0, 1, 1):
            return None
    if lane.extent not in DOT_LANES or lane != _Loop(lane.extent, 1, 0, group):
        return None
    chunk = _Loop(1, 0, group, group * lane.extent)
    if summed and (summed[-1].inputs, summed[-1].weights) == (chunk.inputs, chunk.weights):
        *summed, chunk = summed
    if len(summed) > 2:
        return None
    tap_y, tap_x = [_ONCE] * (2 - len(summed)) + list(summed)
    # Taps of a row may be summed as if they were chunks: their weights lie one after another.
    if tap_x.extent > 1 and tap_x.weights != chunk.extent * chunk.weights:
        return None
    return [
        *(column.extent, lane.extent, tap_y.extent, tap_x.extent, chunk.extent),
        *(column.sums, column.inputs, tap_y.inputs, tap_x.inputs, tap_y.weights, tap_x.weights),
    ]


def _depthwise(lane: _Loop, column: _Loop, summed: Sequence[_Loop]) -> list[int] | None:
    """Extents and strides in the order of `dot_depthwise.c` and its like."""
    if lane != _Loop(lane.extent, 1, 1, 1) or len(summed) > 2:
        return None
    tap_y, tap_x = [_ONCE] * (2 - len(summed)) + list(summed)
    return [
        *(column.extent, lane.extent, tap_y.extent, tap_x.extent),
        *(column.sums, column.inputs, tap_y.inputs, tap_x.inputs, tap_y.weights, tap_x.weights),
    ]


def integer_operands(store: Any) -> tuple[Any, Any, Any] | None:
    """The loads of ``sums = sums + int32(inputs) * int32(weights)``."""
    if not isinstance(store, tirx.BufferStore) or str(store.buffer.ty.dtype) != "int32":
        return None
    value = store.value
    if not isinstance(value, tirx.Add) or not isinstance(value.b, tirx.Mul):
        return None
    factors = (value.b.a, value.b.b)
    if not all(isinstance(factor, tirx.Cast) for factor in factors):
        return None
    loads = (value.a, *(factor.value for factor in factors))
    if not all(isinstance(load, tvm.ir.TensorLoad) for load in loads):
        return None
    return loads if value.a.source.same_as(store.buffer) else None
