"""Copies of rows as int16 that a function of the library's runtime makes four at a time.

A schedule marks the loop over a row's positions (`roles.WIDENED_ROW`); with the loops in it, it
becomes one call of `runtime/pair_rows.c`. Where that is not possible it stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tvm
from tvm import tirx
from tvm.tirx import PrimFunc
from tvm_ffi import structural

from compiler.kernels.sum_nests import coefficients, shrunk_nest
from compiler.kernels.variables import replaced
from schedules import match
from schedules.roles import WIDENED_ROW

PAIR_ROWS = "tunesmith_pair_rows"
PAIR_PLANES = "tunesmith_pair_planes"
_PARAMETERS = {
    PAIR_ROWS: ("before", "count", "after", "shift", "is_unsigned"),
    PAIR_PLANES: ("before", "count", "after", "channels", "plane", "shift", "is_unsigned"),
}
PROTOTYPES = {
    name: "int16_t *to, const void *from, " + ", ".join(f"int32_t {number}" for number in numbers)
    for name, numbers in _PARAMETERS.items()
}


def call_pair_rows(func: PrimFunc) -> PrimFunc:
    """Return the function with each marked copy replaced by a call where there is one."""

    def visit(loop: Any, mutator: Any) -> Any:
        if WIDENED_ROW not in loop.annotations:
            return mutator.default_mutate(loop)
        call = _call(loop)
        return call if call is not None else _plain(loop)

    return func.with_body(structural.structural_mutate(func.body, [(tirx.For, visit)]))


def _plain(loop: Any) -> Any:
    return tirx.For(loop.loop_var, loop.min, loop.extent, tirx.ForKind.SERIAL, loop.body)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Copied:
    """``int16(load) + shift`` where all conditions hold, 0 elsewhere."""

    load: Any
    shift: int
    conditions: tuple[Any, ...]


def _call(marked: Any) -> Any | None:
    nest, store, extents = shrunk_nest(marked)
    copied = _copied(store.value) if isinstance(store, tirx.BufferStore) else None
    if copied is None or str(store.buffer.ty.dtype) != "int16":
        return None
    variables = [loop.loop_var for loop in nest]
    to = coefficients(store.indices[0], variables)
    given = coefficients(copied.load.indices[0], variables)
    within = _within(copied, variables, extents[0])
    if to is None or given is None or within is None:
        return None
    form = _form(extents, to, given)
    if form is None:
        return None
    first, last, always = within
    numbers = {
        **{name: value for name, value in form.items() if name not in ("function", "unit")},
        "before": _if(always, first, extents[0], form["unit"]),
        "count": _if(always, last - first, 0, form["unit"]),
        "after": _if(always, extents[0] - last, 0, form["unit"]),
        "shift": copied.shift,
        "is_unsigned": int(str(copied.load.source.ty.dtype) == "uint8"),
    }
    function = form["function"]
    pointers = [
        tirx.address_of(_at(store.buffer, store.indices[0], variables, 0)),
        tirx.address_of(_at(copied.load.source, copied.load.indices[0], variables, first, always)),
    ]
    words = [numbers[name] for name in _PARAMETERS[function]]
    return tirx.Evaluate(
        tirx.call_extern("int32", function, *pointers, *(_word(number) for number in words))
    )


def _word(number: Any) -> Any:
    return tirx.const(number, "int32") if isinstance(number, int) else number


def _if(condition: Any | None, yes: int, no: int, unit: int) -> Any:
    """A number of positions in units of the function."""
    if condition is None:
        return yes * unit
    return tirx.Select(condition, tirx.const(yes * unit, "int32"), tirx.const(no * unit, "int32"))


def _at(
    buffer: Any, index: Any, variables: list[Any], first: int, always: Any | None = None
) -> Any:
    """The element at the row's position `first`, the buffer's first where there is none."""
    for place, variable in enumerate(variables):
        start = 0 if place else first
        index = replaced(index, variable, tirx.const(start, str(variable.ty.dtype)))
    if always is not None:
        index = tirx.Select(always, index, tirx.const(0, str(index.ty.dtype)))
    return tirx.BufferLoad(buffer, [index])


def _form(extents: list[int], to: list[int], given: list[int]) -> dict[str, Any] | None:
    """Which function copies a nest over positions and channels, and its numbers."""
    inner = list(zip(extents, to, given, strict=True))[1:]
    if inner and inner[-1][1:] != (1, 1):
        return None
    unit = inner[-1][0] if inner else 1
    if len(inner) < 2 and (to[0], given[0]) == (unit, unit):
        return {"function": PAIR_ROWS, "unit": unit}
    if len(inner) == 2 and (unit, to[0], inner[0][2]) == (2, 2, 2):
        channels = 2 * inner[0][0]
        if given[0] == channels:
            return {"function": PAIR_PLANES, "unit": 1, "channels": channels, "plane": inner[0][1]}
    return None


def _copied(value: Any) -> _Copied | None:
    conditions: list[Any] = []
    while isinstance(value, tvm.ir.Call) and str(value.op.name).endswith("if_then_else"):
        condition, value, other = value.args
        if not isinstance(other, tirx.IntImm) or int(other) != 0:
            return None
        conditions += _atoms(condition)
    shift = 0
    if isinstance(value, tirx.Add | tirx.Sub) and isinstance(value.b, tirx.IntImm):
        shift = int(value.b) if isinstance(value, tirx.Add) else -int(value.b)
        value = value.a
    if not isinstance(value, tirx.Cast) or not isinstance(value.value, tvm.ir.TensorLoad):
        return None
    load = value.value
    if str(load.source.ty.dtype) not in ("int8", "uint8"):
        return None
    return _Copied(load=load, shift=shift, conditions=tuple(conditions))


def _atoms(condition: Any) -> list[Any]:
    if isinstance(condition, tirx.And):
        return _atoms(condition.a) + _atoms(condition.b)
    return [condition]


def _within(
    copied: _Copied, variables: list[Any], extent: int
) -> tuple[int, int, Any | None] | None:
    """From which position to before which there is data, and a condition for the whole row."""
    first, last, always = 0, extent, None
    for condition in copied.conditions:
        if not any(match.uses(condition, variable) for variable in variables):
            always = condition if always is None else tirx.And(always, condition)
        elif isinstance(condition, tirx.LE) and condition.b.same_as(variables[0]):
            if not isinstance(condition.a, tirx.IntImm):
                return None
            first = max(first, int(condition.a))
        elif isinstance(condition, tirx.LT) and condition.a.same_as(variables[0]):
            if not isinstance(condition.b, tirx.IntImm):
                return None
            last = min(last, int(condition.b))
        else:
            return None
    return (first, last, always) if first <= last else None
