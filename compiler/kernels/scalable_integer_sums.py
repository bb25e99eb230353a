"""Sums of products of small integers that the runtime computes in scalable vectors.

As `scalable_sums` for float32: a schedule marks a nest of loops `roles.SCALABLE_INTEGER_SUMS`, and
here it becomes one call with the nest's extents and strides. The products of a step and the type of
the inputs say which function it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc
from tvm_ffi import structural

from compiler.kernels.integer_sums import depthwise_numbers, integer_operands
from compiler.kernels.sum_nests import ONCE, SumLoop, read_nest, replace_nests
from schedules.roles import INTEGER_SUMS, SCALABLE_INTEGER_SUMS

MATRIX_FUNCTION = "tunesmith_sve_mm_sums"
UNSIGNED_MATRIX_FUNCTION = "tunesmith_sve_mm_unsigned_sums"
DOT_FUNCTION = "tunesmith_sve_dot_sums"
DEPTHWISE_FUNCTION = "tunesmith_sve_dot_depthwise"  # int8, one input for each lane
# By type of the inputs and products of a lane in a step; weights are int8.
_FUNCTIONS = {
    ("int8", 8): MATRIX_FUNCTION,
    ("uint8", 8): UNSIGNED_MATRIX_FUNCTION,
    ("int8", 4): DOT_FUNCTION,
}
SCALABLE_INTEGER_FUNCTIONS = frozenset({*_FUNCTIONS.values(), DEPTHWISE_FUNCTION})


def call_scalable_integer_sums(func: PrimFunc) -> PrimFunc:
    """Return the function with each marked nest replaced by a call, and no zeros before it.

    Where the operands of one do not lie in memory as the runtime's function expects, all stay.
    """
    return replace_nests(func, _call, SCALABLE_INTEGER_SUMS)


def has_integer_sums(func: PrimFunc) -> bool:
    """Whether functions of the runtime sum small integers for it.

    What is around them is short loops over lanes, where LLVM's scalable vectors take up to four
    times the instructions of registers of 128 bits.
    """
    loops: list[Any] = []
    structural.structural_walk(func.body, (tirx.For, loops.append))
    marks = (INTEGER_SUMS, SCALABLE_INTEGER_SUMS)
    return any(mark in loop.annotations for loop in loops for mark in marks)


def _call(marked: Any) -> Any | None:
    """The call in place of the nest; None if no function can compute it."""
    nest = read_nest(marked, integer_operands)
    if nest is None:
        return None
    lane, others, loads = nest.lane, nest.others, nest.loads
    columns = [loop for loop in others if loop.sums] or [ONCE]
    summed = [loop for loop in others if not loop.sums] or [ONCE]
    rows, weights = (str(load.source.ty.dtype) for load in loads[1:])
    if len(columns) > 1 or columns[0].weights or weights != "int8":
        return None
    if lane.inputs:
        function = DEPTHWISE_FUNCTION if rows == "int8" else None
        numbers = depthwise_numbers(lane, columns[0], summed)
    else:
        function = _FUNCTIONS.get((rows, summed[-1].extent))
        numbers = _numbers(lane, columns[0], summed)
    if function is None or numbers is None:
        return None
    return nest.call(function, numbers)


def _numbers(lane: SumLoop, column: SumLoop, summed: Sequence[SumLoop]) -> list[int] | None:
    """Extents and strides in the order of `sve_mm_sums.c` and `sve_dot_sums.c`.

    Weights must lie one behind the other in the order in which they are summed.
    """
    *summed, inner = summed
    group = inner.extent
    step = group * lane.extent
    if inner != SumLoop(group, 0, 1, 1) or lane != SumLoop(lane.extent, 1, 0, group):
        return None
    chunk = ONCE
    if summed and (summed[-1].inputs, summed[-1].weights) == (group, step):
        *summed, chunk = summed
    if len(summed) > 2:
        return None
    tap_y, tap_x = [ONCE] * (2 - len(summed)) + list(summed)
    for tap, inside in ((tap_x, chunk.extent), (tap_y, tap_x.extent * chunk.extent)):
        if tap.extent > 1 and tap.weights != inside * step:
            return None
    return [
        *(column.extent, lane.extent, tap_y.extent, tap_x.extent, chunk.extent),
        *(column.sums, column.inputs, tap_y.inputs, tap_x.inputs, step),
    ]
