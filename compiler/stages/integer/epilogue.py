"""What stands between an operator and its quantizer: activations that clip, and movements."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tvm import relax

from compiler.stages.integer.context import Context, Result
from compiler.stages.integer.quantizers import (
    MOVEMENTS,
    Quantizer,
    StaysFloatError,
    constant_reals,
)

_CLIPS = frozenset({"relax.nn.relu", "relax.maximum", "relax.minimum", "relax.clip"})
_LEAKY = "relax.nn.leakyrelu"


@dataclass(frozen=True, kw_only=True, slots=True)
class Epilogue:
    """The operator itself and what follows it."""

    core: Any  # an expression of the old graph
    to: Result
    movements: tuple[relax.Call, ...]  # first to last
    variables: tuple[str, ...]  # of the old graph, that the quantizer's kernel computes, too


def epilogue_of(context: Context, expression: Any, quantizer: Quantizer) -> Epilogue:
    """Return what a quantizer's operand is made of.

    Rounding keeps the order of numbers, so an activation that clips reals clips integers.
    """
    steps: list[relax.Call] = []
    variables: list[str] = []
    while True:
        if isinstance(expression, relax.Var):
            variables.append(expression.name)
        call: Any = context.definitions.get(expression)
        while isinstance(call, relax.Var):
            expression, call = call, context.definitions.get(call)
        name = getattr(getattr(call, "op", None), "name", "")
        if name not in _CLIPS and name not in MOVEMENTS and name != _LEAKY:
            break
        if name in ("relax.maximum", "relax.minimum") and _limit(context, call) is None:
            break
        steps.append(call)
        expression = call.args[0]
    to = Result(quantizer=quantizer, bounds=quantizer.bounds())
    for call in reversed(steps):
        if call.op.name not in MOVEMENTS:
            to = _after(context, call, to)
    moves = tuple(call for call in reversed(steps) if call.op.name in MOVEMENTS)
    return Epilogue(core=expression, to=to, movements=moves, variables=tuple(variables[::-1]))


def _limit(context: Context, call: relax.Call) -> float | None:
    array = constant_reals(call.args[1], context.definitions)
    return float(array.reshape(())) if array is not None and array.size == 1 else None


def _after(context: Context, call: relax.Call, to: Result) -> Result:
    """What a result may be after one more activation."""
    name, quantizer, bounds = call.op.name, to.quantizer, to.bounds
    if name == _LEAKY:
        if to.bounds != quantizer.bounds() or to.slope is not None:
            raise StaysFloatError("a leaky ReLU follows another activation")
        return replace(to, slope=float(call.attrs.alpha))
    low, high = bounds.low, bounds.high
    least: float | None
    most: float | None
    if name == "relax.nn.relu":
        least, most = 0.0, None
    elif name == "relax.clip":
        least, most = (float(getattr(a, "value", a)) for a in _clip_limits(call))
    elif name == "relax.maximum":
        least, most = _limit(context, call), None
    else:
        least, most = None, _limit(context, call)
    if least is not None:
        low, high = (max(v, quantizer.integer(least)) for v in (low, high))
    if most is not None:
        low, high = (min(v, quantizer.integer(most)) for v in (low, high))
    return replace(to, bounds=replace(bounds, low=low, high=high))


def _clip_limits(call: relax.Call) -> list[Any]:
    return [getattr(argument, "value", argument) for argument in call.args[1:3]]
