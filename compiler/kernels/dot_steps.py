"""Lanes and products that a schedule marked as a step become the instruction that computes them."""

from __future__ import annotations

from typing import Any

import tvm
from tvm import tirx
from tvm.tirx import PrimFunc
from tvm_ffi import structural

from compiler.kernels.bfloats import pair_sums
from compiler.kernels.sum_nests import coefficients
from compiler.kernels.variables import replaced
from schedules import match
from schedules.cpu.dot_step import is_of_bfloats, step_lanes
from schedules.roles import DOT_STEP


def call_dot_steps(func: PrimFunc) -> PrimFunc:
    """Return the function with each marked pair of loops as one vector statement.

    before: marked lane in L: for k in G: sums[lane] += int32(rows[k]) * int32(weights[lane*G + k])
            or of rows[lane*G + k], as they are instead of broadcast
    after:  sums[0:L] += pmaddwd(broadcast(rows[0:2]), weights[0:2 * L])              (G 2)
            sums[0:L] = vpdpbusd(sums[0:L], broadcast(rows[0:4]), weights[0:4 * L])   (G 4)
            sums[0:L] = vdpbf16ps(sums[0:L], broadcast(rows[0:2]), weights[0:2 * L])  (bfloat16)

    More lanes than the instruction has are several of it, joined. Loops whose operands lie
    otherwise stay loops.
    """

    def visit(loop: Any, mutator: Any) -> Any:
        if DOT_STEP not in loop.annotations:
            return mutator.default_mutate(loop)
        step = _step(loop, str(loop.annotations[DOT_STEP]))
        return step or tirx.For(loop.loop_var, loop.min, loop.extent, loop.kind, loop.body)

    return func.with_body(structural.structural_mutate(func.body, [(tirx.For, visit)]))


def _step(loop: Any, instruction: str) -> Any | None:
    inner = loop.body
    if not isinstance(inner, tirx.For):
        return None
    condition, store = _guarded(inner.body)
    variables = [loop.loop_var, inner.loop_var]
    loads = _operands(store)
    if loads is None or any(match.uses(condition, v) for v in variables if condition is not None):
        return None
    lanes, group = int(loop.extent), int(inner.extent)
    strides = [coefficients(load.indices[0], variables) for load in loads]
    if strides[::2] != [[1, 0], [group, 1]] or strides[1] not in ([0, 1], [group, 1]):
        return None
    sums, rows, weights = (_first(load, variables) for load in loads)
    by_lane = strides[1] == [group, 1]
    value = _value(instruction, sums, rows, weights, lanes, group, by_lane)
    statement = tirx.BufferStore(sums.source, value, [tirx.Ramp(sums.indices[0], 1, lanes)])
    return statement if condition is None else tirx.IfThenElse(condition, statement, None)


def _value(
    instruction: str, sums: Any, rows: Any, weights: Any, lanes: int, group: int, by_lane: bool
) -> Any:
    """The sums after a step; `rows` and so on are loads of the first element."""
    before = _vector(sums, lanes)
    width = step_lanes(instruction)
    of_bfloats = is_of_bfloats(instruction)

    def part(first: int) -> Any:
        factors = _vector(weights, width * group, first * group)
        if by_lane:
            inputs = _vector(rows, width * group, first * group)
        else:
            inputs = _repeated(rows, group, width)
        if of_bfloats:
            return pair_sums(instruction, _lanes(before, first, width), inputs, factors)
        operands = [inputs, factors.astype(f"int16x{width * group}")]
        if group == 4:
            operands = [_lanes(before, first, width), inputs, factors]
        return tirx.call_llvm_pure_intrin(f"int32x{width}", instruction, *operands)

    parts = [part(first) for first in range(0, lanes, width)]
    made = parts[0] if len(parts) == 1 else tirx.Shuffle(parts, _numbers(0, lanes))
    return before + made if group == 2 and not of_bfloats else made


def _repeated(rows: Any, group: int, lanes: int) -> Any:
    """A group of rows' elements, as they are for each lane."""
    word = tirx.reinterpret("int32", _vector(rows, group))
    kind = str(rows.ty.dtype)
    return tirx.reinterpret(f"{kind}x{lanes * group}", tirx.Broadcast(word, lanes))


def _lanes(vector: Any, first: int, count: int) -> Any:
    """Lanes of a vector as a shorter one."""
    if count == int(vector.ty.dtype.lanes):
        return vector
    return tirx.Shuffle([vector], _numbers(first, count))


def _numbers(first: int, count: int) -> list[Any]:
    return [tirx.const(number, "int32") for number in range(first, first + count)]


def _vector(load: Any, lanes: int, first: int = 0) -> Any:
    return tirx.BufferLoad(load.source, [tirx.Ramp(load.indices[0] + first, 1, lanes)])


def _guarded(statement: Any) -> tuple[Any | None, Any]:
    """The condition around a statement, if there is one, and the statement."""
    if isinstance(statement, tirx.IfThenElse) and statement.else_case is None:
        return statement.condition, statement.then_case
    return None, statement


def _operands(store: Any) -> tuple[Any, Any, Any] | None:
    """The loads of ``sums = sums + int32(rows) * int32(weights)``, or of float32 the like."""
    value = getattr(store, "value", None)
    if not isinstance(store, tirx.BufferStore) or not isinstance(value, tirx.Add):
        return None
    if not isinstance(value.b, tirx.Mul):
        return None
    factors = (value.b.a, value.b.b)
    if not all(isinstance(factor, tirx.Cast) for factor in factors):
        return None
    found = (value.a, *(factor.value for factor in factors))
    if not all(isinstance(load, tvm.ir.TensorLoad) for load in found):
        return None
    return found if found[0].source.same_as(store.buffer) else None


def _first(load: Any, variables: list[Any]) -> Any:
    """The load with both loops at their beginning."""
    for variable in variables:
        load = replaced(load, variable, tirx.const(0, str(variable.ty.dtype)))
    return load
