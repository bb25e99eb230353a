"""Sums of integers whose zero points are known when the model runs (MatMulInteger, ConvInteger)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import numpy as np
from tvm import relax, te

from compiler.stages.constants import constant_array
from compiler.stages.integer.context import Context
from compiler.stages.integer.conv2d import narrowest
from compiler.stages.integer.quantizers import SMALL_INTEGERS
from compiler.stages.operand_views import shape_of
from compiler.stages.operators.conv2d_signature import conv2d_signature
from compiler.stages.operators.integer_conv2d import (
    integer_conv2d,
    integer_depthwise_conv2d,
    pack_integer_conv2d_weight,
    pack_integer_depthwise_weight,
)
from compiler.stages.operators.integer_dot import row_shift
from compiler.stages.operators.integer_matmul import (
    less_zero_points,
    less_zero_points_of_images,
)
from compiler.stages.operators.integer_products import conv2d_dot, matmul_sums
from compiler.stages.provenance import is_call_to

_VIEWS = ("relax.expand_dims", "relax.reshape", "relax.squeeze")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Centred:
    """``int32(data) - zero`` of a graph."""

    data: Any  # an expression of small integers
    zero: Any | None  # of one element, int32


def has_computed_parameters(call: relax.Call) -> bool:
    """Whether a ``relax.quantize`` makes uint8 of float32 by one scale and zero point, computed."""
    data, scale, zero = call.args
    single = all(prod(shape_of(operand)) == 1 for operand in (scale, zero))
    kinds = [str(one.ty.dtype) for one in (data, scale, zero, call)]
    return single and kinds == ["float32", "float32", "uint8", "uint8"]


def integer_sums_of_product(
    context: Context, call: relax.Call, rewritten: Callable[[Any], Any]
) -> Any | None:
    """Return a ``relax.matmul`` of int32 as sums of 8-bit products; None if it is none.

    The right side is constant. ``sum((a - za) * b)`` is ``sum(a * b) - za * sum(b)``, whatever
    leaves 32 bits on the way: both are the same number modulo ``2**32``.
    """
    if not is_call_to(call, "relax.matmul") or str(call.ty.dtype) != "int32":
        return None
    weights = _known(context, call.args[1])
    left = _centred(context, call.args[0])
    if left is None or weights is None or weights.ndim != 2:
        return None
    if weights.min(initial=0) < -(2**15) or weights.max(initial=0) >= 2**15:
        return None
    depth = weights.shape[0]
    shape = shape_of(call)
    dot = context.dot.for_sums(depth, weights).for_tiles(
        rows=prod(shape[:-1]), depth=depth, taps=1, weights=weights
    )
    given = rewritten(left.data)
    rows = context.emit(relax.op.reshape(given, (prod(shape[:-1]), depth)))
    narrow = narrowest(weights, dot.least_weight)
    packed, compute = matmul_sums(narrow, rows=prod(shape[:-1]), dot=dot, zero=0)
    sums = context.emit_te(compute, rows, relax.const(packed), name="integer_matmul")
    zero = _zero_of(left, rewritten)
    less = partial(less_zero_points, shape=shape, shift=row_shift(str(left.data.ty.dtype), 0, dot))
    weight_sums = relax.const(weights.sum(axis=0).astype(np.int32))
    return context.builder.call_te(
        less, sums, zero, weight_sums, primfunc_name_hint="less_zero_points"
    )


def integer_sums_of_convolution(
    context: Context, call: relax.Call, rewritten: Callable[[Any], Any]
) -> Any | None:
    """Return a ``relax.nn.conv2d`` of int32 as sums of 8-bit products; None if it is none.

    As `integer_sums_of_product`. Around the data stands its zero point, so that the sum of all
    weights of a channel counts at borders, too.
    """
    if not is_call_to(call, "relax.nn.conv2d") or str(call.ty.dtype) != "int32":
        return None
    sig = conv2d_signature(call, "int32")
    weights = _known(context, call.args[1])
    data = _centred(context, call.args[0])
    if sig is None or weights is None or data is None:
        return None
    if weights.min(initial=0) < -(2**15) or weights.max(initial=0) >= 2**15:
        return None
    dot = context.dot.of_depthwise if sig.is_depthwise else conv2d_dot(sig, weights, context.dot)
    narrow = narrowest(weights, dot.least_weight)
    if sig.is_depthwise:
        narrow = weights.astype(np.int16) if dot.wide_depthwise_weights else narrow
        packed, compute = pack_integer_depthwise_weight(narrow), integer_depthwise_conv2d
    else:
        packed, compute = pack_integer_conv2d_weight(narrow, sig, dot), integer_conv2d
    zero = context.emit(_zero_of(data, rewritten))
    last = context.emit(relax.op.permute_dims(rewritten(data.data), (0, 2, 3, 1)))
    kind = str(data.data.ty.dtype)

    def sums_of(rows: te.Tensor, packed: te.Tensor, zero: te.Tensor) -> te.Tensor:
        return compute(rows, packed, sig=sig, dot=dot, zero=zero)

    sums = context.emit_te(sums_of, last, relax.const(packed), zero, name=compute.__name__)
    less = partial(less_zero_points_of_images, shift=row_shift(kind, 0, dot))
    weight_sums = relax.const(weights.sum(axis=(1, 2, 3)).astype(np.int32))
    made = context.emit_te(less, sums, zero, weight_sums, name="less_zero_points")
    return relax.op.permute_dims(made, (0, 3, 1, 2))


def _zero_of(data: _Centred, rewritten: Callable[[Any], Any]) -> Any:
    """The zero point of data as int32 of one element."""
    return relax.const(np.zeros((), np.int32)) if data.zero is None else rewritten(data.zero)


def _centred(context: Context, expression: Any) -> _Centred | None:
    """The data under a conversion to int32 and perhaps a zero point; None for anything else."""
    call, zero = context.behind(expression), None
    if is_call_to(call, "relax.subtract"):
        zero = call.args[1]
        if prod(shape_of(zero)) != 1:
            return None
        call = context.behind(call.args[0])
    if not is_call_to(call, "relax.astype") or str(call.ty.dtype) != "int32":
        return None
    data = call.args[0]
    small = isinstance(data, relax.Var) and str(data.ty.dtype) in SMALL_INTEGERS
    return _Centred(data=data, zero=zero) if small else None


def _known(context: Context, expression: Any) -> np.ndarray | None:
    """What conversions and differences of constants are worth, in int64; None if one is none."""
    call = context.behind(expression)
    array = constant_array(call)
    if array is not None:
        return np.asarray(array.astype(np.int64))
    name = getattr(getattr(call, "op", None), "name", "")
    if name == "relax.astype":
        return _known(context, call.args[0])
    if name == "relax.subtract":
        one, other = (_known(context, argument) for argument in call.args)
        return None if one is None or other is None else np.asarray(one - other)
    if name in _VIEWS:
        inner = _known(context, call.args[0])
        return None if inner is None else inner.reshape(shape_of(call))
    return None
