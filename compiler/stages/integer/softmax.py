"""Softmax of quantized rows: powers by a table, an exact sum, one division for each row."""

from __future__ import annotations

from functools import partial
from math import prod
from typing import Any

import numpy as np
from tvm import relax

from compiler.stages.integer.context import Context, Result
from compiler.stages.integer.quantizers import StaysFloatError
from compiler.stages.integer.values import Integers, Operand
from compiler.stages.operand_views import shape_of
from compiler.stages.operators.integer_table import integer_softmax

MOST_POWER_BITS = 30


def power_table(scale: float, columns: int) -> np.ndarray:
    """Return ``exp(-scale * d)`` for d from 0 to 255 as int32 multiples of a power of two.

    It is as small as it may be for `columns` of them to fit 31 bits.
    """
    bits = MOST_POWER_BITS - (columns - 1).bit_length()
    return np.rint(np.exp(-scale * np.arange(256.0)) * 2.0**bits).astype(np.int32)


def integer_softmax_rows(context: Context, call: relax.Call, to: Result) -> Integers:
    """Return ``relax.nn.softmax``; of an inner axis, between two transposes of integers."""
    data = context.needed(call.args[0])
    shape = data.integers.shape
    axis = int(call.attrs.axis) % len(shape)
    if to.slope is not None or shape[axis] > 2**16:
        raise StaysFloatError("its rows are too long")
    inner = prod(shape[axis + 1 :]) != 1
    if inner and len(shape) == 4 and axis == 1:
        made = _of_rows(context, data, data.integers.last, to)
        return context.channels_last(made)
    if not inner:
        given = context.emit(relax.op.reshape(data.integers.plain, shape[: axis + 1]))
        made = _of_rows(context, data, given, to)
        return context.plain(context.emit(relax.op.reshape(made, shape)))
    order = [*(a for a in range(len(shape)) if a != axis), axis]
    turned = context.emit(relax.op.permute_dims(data.integers.plain, order))
    made = _of_rows(context, data, turned, to)
    back = [order.index(a) for a in range(len(shape))]
    return context.plain(context.emit(relax.op.permute_dims(made, back)))


def _of_rows(context: Context, data: Operand, given: Any, to: Result) -> Any:
    """Softmax of the last axis of integers, in their shape."""
    shape = shape_of(given)
    columns = shape[-1]
    rows = context.emit(relax.op.reshape(given, (prod(shape[:-1]), columns)))
    powers = relax.const(power_table(data.scale, columns))
    compute = partial(
        integer_softmax, inverse=float(np.float32(1.0 / to.quantizer.scale)), to=to.bounds
    )
    made = context.emit_te(compute, rows, powers, name="integer_softmax")
    return context.emit(relax.op.reshape(made, shape))
