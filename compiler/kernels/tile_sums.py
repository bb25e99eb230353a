"""Sums of products of small integers that the runtime computes by products of tiles (AMX).

As `integer_sums`: a schedule marks a nest of loops `roles.TILE_SUMS`, and here it becomes one call
with the nest's extents and strides. The type of the inputs says which function it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tvm.tirx import PrimFunc

from compiler.kernels.integer_sums import integer_operands
from compiler.kernels.sum_nests import ONCE, SumLoop, read_nest, replace_nests
from schedules.cpu.amx_tiles import CHUNK, TILE_CHUNKS, TILE_LANES
from schedules.roles import TILE_SUMS

_FUNCTIONS = {"int8": "tunesmith_amx_sums", "uint8": "tunesmith_amx_unsigned_sums"}
TILE_FUNCTIONS = frozenset(_FUNCTIONS.values())
_LANE = SumLoop(TILE_LANES, 1, 0, CHUNK)
_INNER = SumLoop(CHUNK, 0, 1, 1)
_STEP_BYTES = TILE_LANES * CHUNK  # of a chunk of weights


def call_tile_sums(func: PrimFunc) -> PrimFunc:
    """Return the function with each marked nest replaced by a call, and no zeros before it.

    Where the operands of one do not lie in memory as the runtime's function expects, all stay.
    """
    return replace_nests(func, _call, TILE_SUMS)


def _call(marked: Any) -> Any | None:
    """The call in place of the nest; None if no function can compute it."""
    nest = read_nest(marked, integer_operands)
    if nest is None or nest.lane != _LANE:
        return None
    rows, weights = (str(load.source.ty.dtype) for load in nest.loads[1:])
    if rows not in _FUNCTIONS or weights != "int8":
        return None
    numbers = _numbers(nest.others, int(marked.annotations[TILE_SUMS]))
    return None if numbers is None else nest.call(_FUNCTIONS[rows], numbers)


def _numbers(loops: Sequence[SumLoop], step: int) -> list[int] | None:
    """Extents and strides in the order of `amx_sums.c`.

    Weights of a block must lie one behind the other in the order in which they are summed.
    """
    columns = [loop for loop in loops if loop.sums and not loop.weights] or [ONCE]
    blocks = [loop for loop in loops if loop.sums and loop.weights] or [ONCE]
    *summed, inner = [loop for loop in loops if not loop.sums] or [ONCE]
    if len(columns) > 1 or len(blocks) > 1 or blocks[0].inputs or inner != _INNER:
        return None
    chunk = SumLoop(1, 0, CHUNK, _STEP_BYTES)
    if summed and (summed[-1].inputs, summed[-1].weights) == (chunk.inputs, chunk.weights):
        *summed, chunk = summed
    if len(summed) > 2:
        return None
    tap_y, tap_x = [ONCE] * (2 - len(summed)) + list(summed)
    for tap, inside in ((tap_x, chunk.extent), (tap_y, tap_x.extent * chunk.extent)):
        if tap.extent > 1 and tap.weights != inside * _STEP_BYTES:
            return None
    if tap_x.inputs == CHUNK * chunk.extent:  # inputs of neighbours lie together, as their weights
        chunk, tap_x = replace(chunk, extent=tap_x.extent * chunk.extent), ONCE
    if step > TILE_CHUNKS or chunk.extent % step:
        return None
    return [
        *(columns[0].extent, blocks[0].extent, tap_y.extent, tap_x.extent, chunk.extent, step),
        *(columns[0].sums, blocks[0].sums, columns[0].inputs, tap_y.inputs, tap_x.inputs),
        blocks[0].weights,
    ]
