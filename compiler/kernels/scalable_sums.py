"""Sums of products that a function of the library's runtime computes in scalable vectors.

LLVM keeps no accumulator of unknown size in a register, so a schedule leaves a nest of loops
marked `roles.SUMS`, and here it becomes one call of `runtime/sve_sums.c` with the nest's extents
and strides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tvm
from tvm import tirx
from tvm.tirx import PrimFunc
from tvm_ffi import structural

from compiler.kernels.sum_nests import ONCE, SumLoop, read_nest, replace_nests
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
    nest = read_nest(marked, _operands)
    if nest is None or any(str(load.ty.dtype) != "float16" for load in nest.loads[1:]):
        return None
    return _call(marked) if int(marked.extent) % HALF_LANES == 0 else None


def _call(marked: Any) -> Any | None:
    """The call in place of the nest; None if the function cannot compute it."""
    nest = read_nest(marked, _operands)
    if nest is None:
        return None
    lane, others, loads = nest.lane, nest.others, nest.loads
    function = DEPTHWISE_FUNCTION if lane.inputs else SUMS_FUNCTION
    if str(loads[1].ty.dtype) == "float16":
        function = HALF_DEPTHWISE_FUNCTION if lane.inputs else HALF_SUMS_FUNCTION
    elif str(loads[2].ty.dtype) == "float16":
        function = OF_HALVES[function]
    numbers = _arguments(lane, others)
    if numbers is None:
        return None
    return nest.call(function, numbers)


def _arguments(lane: SumLoop, others: Sequence[SumLoop]) -> list[int] | None:
    """Extents and strides in the order of the functions; loops that run once are gone."""
    columns = [loop for loop in others if loop.sums]
    summed = [loop for loop in others if not loop.sums]
    column = columns[0] if columns else ONCE
    fits = lane.sums == lane.weights == 1 and lane.inputs in (0, 1) and column.weights == 0
    if not fits or len(columns) > 1 or len(summed) > SUMMED_LOOPS:
        return None
    summed = [ONCE] * (SUMMED_LOOPS - len(summed)) + summed
    return [
        *(column.extent, lane.extent, *(loop.extent for loop in summed)),
        *(column.sums, column.inputs),
        *(loop.inputs for loop in summed),
        *(loop.weights for loop in summed),
    ]


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
