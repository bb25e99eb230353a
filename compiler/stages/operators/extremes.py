"""The largest or least number of a whole tensor, in vectors."""

from __future__ import annotations

from functools import partial
from math import inf, prod
from typing import Any

from tvm import relax, te, tirx

from compiler.stages.operators.rows import Rows

# What reduces chunks, what combines two numbers, and what changes no result.
_KINDS: dict[str, tuple[Any, Any, float]] = {
    "relax.max": (te.max, tirx.max, -inf),
    "relax.min": (te.min, tirx.min, inf),
}


def extreme_of_row(data: te.Tensor, lanes: int, operator: str) -> te.Tensor:
    """One number of ``data[1, n]``, as [1, 1]."""
    reduce, combine, fill = _KINDS[operator]
    row = Rows((1,), int(data.shape[1]), lanes)
    chunks = row.chunked(lambda r, k: data[(*r, k)], fill, "chunks")
    found = row.reduced(chunks, reduce, combine, operator.rpartition(".")[2])
    return te.compute((1, 1), lambda r, k: found[r, k], name="extreme")


def legalize_extreme(
    builder: relax.BlockBuilder, call: relax.Call, *, vector_lanes: int, otherwise: Any
) -> relax.Expr:
    """Lower ``relax.max`` or ``relax.min`` over all axes; `otherwise` legalizes what does not fit.

    Some axes only, other types than float32, and what has not two vectors are TVM's.
    """
    shape = [int(extent) for extent in call.args[0].ty.shape.values]
    size, axes = prod(shape), call.attrs.axis
    whole = axes is None or len({int(axis) % len(shape) for axis in axes}) == len(shape)
    if not whole or str(call.args[0].ty.dtype) != "float32" or size < 2 * vector_lanes:
        return otherwise(builder, call)
    row = builder.emit(relax.op.reshape(call.args[0], (1, size)))
    compute = partial(extreme_of_row, lanes=vector_lanes, operator=call.op.name)
    name = call.op.name.rpartition(".")[2]
    found = builder.emit(builder.call_te(compute, row, primfunc_name_hint=name))
    return relax.op.reshape(found, call.ty.shape)
