"""Sums of small integers that a function of the library's runtime computes two products at a time.

A schedule leaves a nest of loops marked `roles.SUMS`; here it becomes one call of
`runtime/pair_sums.c` or `runtime/pair_depthwise.c` with the nest's extents and strides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tvm
from tvm import tirx
from tvm.tirx import PrimFunc

from compiler.kernels.sum_nests import ONCE, SumLoop, read_nest, replace_nests

PAIR_SUMS = "tunesmith_pair_sums"  # inputs are the same for both lanes
PAIR_DEPTHWISE = "tunesmith_pair_depthwise"  # each lane has an input of its own
_WEIGHTS = {PAIR_SUMS: "int8", PAIR_DEPTHWISE: "int16"}
_STRIDES = {
    PAIR_SUMS: (
        *("columns", "blocks", "taps_y", "taps_x", "run", "in_column"),
        *("sums_block", "weight_block", "in_y", "in_x", "weight_y", "weight_x"),
    ),
    PAIR_DEPTHWISE: (
        *("columns", "taps_y", "taps_x", "in_column", "in_y", "in_x"),
        *("weight_y", "weight_x"),
    ),
}
# What C needs to know of the functions: their parameters.
PROTOTYPES = {
    name: f"int32_t *sums, const int16_t *in, const {_WEIGHTS[name]}_t *weights, "
    + ", ".join(f"int32_t {number}" for number in numbers)
    for name, numbers in _STRIDES.items()
}
LANES = 2


def call_pair_sums(func: PrimFunc) -> PrimFunc:
    """Return the function with each marked nest of integers replaced by a call.

    Where the operands of one do not lie in memory as the runtime's functions expect, all stay.
    """
    return replace_nests(func, _call)


def _call(marked: Any) -> Any | None:
    """The call in place of the nest; None if no function can compute it."""
    nest = read_nest(marked, _operands)
    if nest is None:
        return None
    lane, others, loads = nest.lane, nest.others, nest.loads
    if lane.extent != LANES or lane.sums != 1 or lane.weights != 1:
        return None
    function = PAIR_DEPTHWISE if lane.inputs else PAIR_SUMS
    numbers = _depthwise(lane, others) if lane.inputs else _dense(others)
    if numbers is None or str(loads[2].source.ty.dtype) != _WEIGHTS[function]:
        return None
    return nest.call(function, [numbers[name] for name in _STRIDES[function]])


def _dense(others: Sequence[SumLoop]) -> dict[str, int] | None:
    """The numbers of `PAIR_SUMS`; None if they are not that function's."""
    column = _only(loop for loop in others if loop.sums and not loop.weights)
    block = _only(loop for loop in others if loop.sums and loop.weights)
    taps = _joined([loop for loop in others if not loop.sums])
    if column is None or column.sums not in (0, LANES):
        return None
    if block is None or block.inputs or not 0 < len(taps) <= 3:
        return None
    run = taps[-1]
    if run.inputs != 1 or run.weights != LANES:
        return None
    y, x = [ONCE] * (3 - len(taps)) + taps[:-1]
    return {
        **{"columns": column.extent, "blocks": block.extent, "run": run.extent},
        "in_column": column.inputs,
        **{"sums_block": block.sums, "weight_block": block.weights},
        **_taps(y, x),
    }


def _depthwise(lane: SumLoop, others: Sequence[SumLoop]) -> dict[str, int] | None:
    """The numbers of `PAIR_DEPTHWISE`; None if they are not that function's."""
    column = _only(loop for loop in others if loop.sums and not loop.weights)
    taps = [loop for loop in others if not loop.sums]
    if column is None or column.sums not in (0, LANES) or lane.inputs != 1 or len(taps) > 2:
        return None
    if any(loop.sums and loop.weights for loop in others):
        return None
    y, x = [ONCE] * (2 - len(taps)) + taps
    return {
        **{"columns": column.extent, "in_column": column.inputs},
        **_taps(y, x),
    }


def _taps(y: SumLoop, x: SumLoop) -> dict[str, int]:
    return {
        **{"taps_y": y.extent, "in_y": y.inputs, "weight_y": y.weights},
        **{"taps_x": x.extent, "in_x": x.inputs, "weight_x": x.weights},
    }


def _only(loops: Any) -> SumLoop | None:
    """The loop of its kind, one that runs once if there is none, None if there are more."""
    found = list(loops)
    return None if len(found) > 1 else (found or [ONCE])[0]


def _joined(taps: list[SumLoop]) -> list[SumLoop]:
    """Loops over what is summed, an outer one joined with the next where both are one run."""
    joined: list[SumLoop] = []
    for loop in reversed(taps):
        inner = joined[0] if joined else None
        if inner is not None and (loop.inputs, loop.weights) == (
            inner.extent * inner.inputs,
            inner.extent * inner.weights,
        ):
            joined[0] = SumLoop(loop.extent * inner.extent, 0, inner.inputs, inner.weights)
        else:
            joined.insert(0, loop)
    return joined


def _operands(store: Any) -> tuple[Any, Any, Any] | None:
    """The loads of ``sums = sums + int32(inputs) * int32(weights)``."""
    if not isinstance(store, tirx.BufferStore):
        return None
    value = store.value
    if not isinstance(value, tirx.Add) or not isinstance(value.b, tirx.Mul):
        return None
    casts = (value.b.a, value.b.b)
    if not all(isinstance(cast, tirx.Cast) for cast in casts):
        return None
    loads = (value.a, *(cast.value for cast in casts))
    if not all(isinstance(load, tvm.ir.TensorLoad) for load in loads):
        return None
    if not value.a.source.same_as(store.buffer):
        return None
    kinds = [str(load.source.ty.dtype) for load in loads]
    return loads if kinds[:2] == ["int32", "int16"] else None
