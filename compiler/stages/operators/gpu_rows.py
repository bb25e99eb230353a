"""Softmax and layer normalisation for a GPU: as many lanes as threads work on a row."""

from __future__ import annotations

from math import prod
from typing import Any

from tvm import relax

from compiler.stages.operators.rows import legalize_layer_norm, legalize_softmax

# A warp for the shortest rows, four for those of 128 and more; long ones are read 512 at a time.
_LEAST_LANES, _MOST_LANES = 32, 128


def _lanes(size: int) -> int:
    """Threads for a row of `size` elements: a power of two."""
    lanes = _LEAST_LANES
    while lanes < min(size, _MOST_LANES):
        lanes *= 2
    return lanes


def _shape(call: relax.Call) -> list[int]:
    return [int(extent) for extent in call.args[0].ty.shape.values]


def legalize_gpu_softmax(
    builder: relax.BlockBuilder, call: relax.Call, *, otherwise: Any
) -> relax.Expr:
    """Lower ``relax.nn.softmax`` along the last axis; `otherwise` legalizes what does not fit."""
    lanes = _lanes((_shape(call) or [1])[-1])
    return legalize_softmax(builder, call, vector_lanes=lanes, otherwise=otherwise)


def legalize_gpu_layer_norm(
    builder: relax.BlockBuilder, call: relax.Call, *, otherwise: Any
) -> relax.Expr:
    """Lower ``relax.nn.layer_norm`` over the last axes; `otherwise` legalizes what does not fit."""
    size = prod(_shape(call)[-len(call.attrs.axes) :])
    return legalize_layer_norm(builder, call, vector_lanes=_lanes(size), otherwise=otherwise)
