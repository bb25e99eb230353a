"""Sums of products of small integers that a function of the library's runtime computes.

A schedule leaves a nest of loops marked `roles.INTEGER_SUMS`, and here it becomes one call with the
nest's extents and strides, as `scalable_sums` does it for float32. The type of the inputs and the
products of a step say which function it is; of depthwise sums, the number of the mark.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tvm
from tvm import tirx
from tvm.tirx import PrimFunc

from compiler.kernels.sum_nests import ONCE, SumLoop, read_nest, replace_nests
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


def call_integer_sums(func: PrimFunc) -> PrimFunc:
    """Return the function with each marked nest replaced by a call, and no zeros before it.

    Where the operands of one do not lie in memory as the runtime's function expects, all stay.
    """
    return replace_nests(func, _call, INTEGER_SUMS)


def _call(marked: Any) -> Any | None:
    """The call in place of the nest; None if no function can compute it."""
    nest = read_nest(marked, integer_operands)
    if nest is None:
        return None
    lane, others, loads = nest.lane, nest.others, nest.loads
    columns = [loop for loop in others if loop.sums] or [ONCE]
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
        numbers = depthwise_numbers(lane, column, summed)
    if numbers is not None and function == PLAIN_DEPTHWISE_FUNCTION:
        row = rows.pop() if rows else ONCE
        numbers += [row.extent, row.sums, row.inputs]
    if rows:
        return None
    if numbers is None or function is None or kinds[1] != "int8":
        return None
    return nest.call(function, numbers)


def _dot(lane: SumLoop, column: SumLoop, summed: Sequence[SumLoop]) -> list[int] | None:
    """Extents and strides in the order of `dot_sums.c` and its like."""
    group = lane.weights
    if group > 1:
        *summed, inner = summed or [ONCE]
        if inner != SumLoop(group, 0, 1, 1):
            return None
    if lane.extent not in DOT_LANES or lane != SumLoop(lane.extent, 1, 0, group):
        return None
    chunk = SumLoop(1, 0, group, group * lane.extent)
    if summed and (summed[-1].inputs, summed[-1].weights) == (chunk.inputs, chunk.weights):
        *summed, chunk = summed
    if len(summed) > 2:
        return None
    tap_y, tap_x = [ONCE] * (2 - len(summed)) + list(summed)
    # Taps of a row may be summed as if they were chunks: their weights lie one after another.
    if tap_x.extent > 1 and tap_x.weights != chunk.extent * chunk.weights:
        return None
    return [
        *(column.extent, lane.extent, tap_y.extent, tap_x.extent, chunk.extent),
        *(column.sums, column.inputs, tap_y.inputs, tap_x.inputs, tap_y.weights, tap_x.weights),
    ]


def depthwise_numbers(
    lane: SumLoop, column: SumLoop, summed: Sequence[SumLoop]
) -> list[int] | None:
    """Extents and strides in the order of `dot_depthwise.c` and its like."""
    if lane != SumLoop(lane.extent, 1, 1, 1) or len(summed) > 2:
        return None
    tap_y, tap_x = [ONCE] * (2 - len(summed)) + list(summed)
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
