"""Functions of one quantized tensor, element by element: computed for all 256 integers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from tvm import relax

from compiler.stages.integer.context import Context, Result
from compiler.stages.integer.quantizers import StaysFloatError, constant_reals
from compiler.stages.integer.values import Integers, Operand
from compiler.stages.operators.integer_table import lookup

_erf = np.vectorize(math.erf, otypes=[np.float64])


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1.0 / (1.0 + np.exp(-x)))


_UNARY: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "abs": np.abs,
    "atan": np.arctan,
    "ceil": np.ceil,
    "cos": np.cos,
    "erf": _erf,
    "exp": np.exp,
    "floor": np.floor,
    "log": np.log,
    "negative": np.negative,
    "nn.gelu": lambda x: 0.5 * x * (1.0 + _erf(x / math.sqrt(2.0))),
    "nn.gelu_tanh": lambda x: (
        0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))
    ),
    "nn.relu": lambda x: np.maximum(x, 0.0),
    "nn.silu": lambda x: x * _sigmoid(x),
    "round": np.rint,
    "rsqrt": lambda x: 1.0 / np.sqrt(x),
    "sigmoid": _sigmoid,
    "sin": np.sin,
    "sqrt": np.sqrt,
    "square": np.square,
    "tanh": np.tanh,
}
_BINARY: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "add": np.add,
    "divide": np.divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "multiply": np.multiply,
    "power": np.power,
    "subtract": np.subtract,
}


def integer_function(context: Context, expression: Any, to: Result) -> Integers:
    """Return what element-wise operators make of one quantized tensor, by a table.

    The table is computed in float64 and rounded to float32 before it is quantized.

    Raises:
        StaysFloatError: another operator is among them, or another tensor.
    """
    leaves: list[Operand] = []
    domain = np.arange(256, dtype=np.float64)
    with np.errstate(all="ignore"):
        reals = np.float32(_value(context, expression, domain, leaves))
        quotients = reals / np.float32(to.quantizer.scale)
    if not leaves or np.any(np.isnan(quotients)):
        raise StaysFloatError("its function is not defined everywhere")
    if to.slope is not None:
        raise StaysFloatError("a leaky ReLU follows it")
    low, high = to.bounds.low, to.bounds.high
    table = np.clip(np.rint(quotients) + np.float32(to.bounds.zero), low, high)
    operand = leaves[0]
    last = operand.integers.is_last
    given = operand.integers.last if last else operand.integers.plain
    constant = relax.const(np.broadcast_to(table, (256,)).astype(to.bounds.dtype))
    made = context.emit_te(lookup, given, constant, name="integer_table")
    return context.channels_last(made) if last else context.plain(made)


def _value(
    context: Context, expression: Any, domain: np.ndarray, leaves: list[Operand]
) -> np.ndarray:
    """What an expression is for each integer of the one operand that `leaves` gets."""
    constant = constant_reals(expression, context.definitions)
    if constant is not None:
        if constant.size != 1:
            raise StaysFloatError("its function differs between elements")
        return np.asarray(constant.reshape(()))
    call = context.behind(expression)
    name = getattr(getattr(call, "op", None), "name", "").removeprefix("relax.")
    if name == "dequantize":
        return _leaf(context, expression, domain, leaves)
    if isinstance(expression, relax.Var):
        context.inner_names.append(expression.name)
    if name == "nn.leakyrelu":
        inner = _value(context, call.args[0], domain, leaves)
        return np.where(inner < 0, inner * float(call.attrs.alpha), inner)
    if name == "clip":
        low, high = (float(getattr(a.value, "value", a.value)) for a in call.args[1:3])
        return np.asarray(np.clip(_value(context, call.args[0], domain, leaves), low, high))
    if name in _UNARY:
        return np.asarray(_UNARY[name](_value(context, call.args[0], domain, leaves)))
    if name in _BINARY:
        one, other = (_value(context, argument, domain, leaves) for argument in call.args)
        return _BINARY[name](one, other)
    if name == "call_tir":  # the importer made a kernel of it
        name = call.args[0].name_hint
    raise StaysFloatError(f"{name.rpartition('.')[2] or 'it'} has no integer form")


def _leaf(
    context: Context, expression: Any, domain: np.ndarray, leaves: list[Operand]
) -> np.ndarray:
    operand = context.needed(expression)
    if leaves and leaves[0].integers is not operand.integers:
        raise StaysFloatError("it is a function of two tensors")
    leaves.append(operand)
    least = -128 if operand.integers.dtype == "int8" else 0
    centred = (domain + least - operand.zero).astype(np.float32)
    return np.asarray((centred * np.float32(operand.scale)).astype(np.float64))
