"""Copies with zeros around them that a function of the library's runtime makes in scalable vectors.

LLVM makes vectors of a known length of such a copy: the loops over its lanes are short, and the
test for zeros stands between them. Here a nest of loops becomes one call of `runtime/sve_pad.c`:

    for c, y, x, lane: pad[c, y, x, lane] = 1 <= y and y < 57 and 1 <= x ? data[...] : 0
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tvm
from tvm import sym, tirx
from tvm.tirx import PrimFunc
from tvm_ffi import structural

from compiler.kernels.scalable_vectors import plain_nest
from compiler.kernels.sum_nests import coefficients
from compiler.kernels.variables import replaced
from schedules import match

PAD_FUNCTION = "tunesmith_sve_pad"
_LOOPS = 4  # channels, rows, columns, lanes


def call_padded_copies(func: PrimFunc) -> PrimFunc:
    """Return the function with each padded copy of float32 replaced by a call."""

    def visit(loop: Any, mutator: Any) -> Any:
        call = _call(loop)
        return mutator.default_mutate(loop) if call is None else call

    return func.with_body(structural.structural_mutate(func.body, [(tirx.For, visit)]))


@dataclass(frozen=True, slots=True)
class _Loop:
    """A loop of a nest: how often it runs, by how many elements both addresses grow."""

    variable: Any
    extent: int
    to: int
    source: int


def _call(outermost: Any) -> Any | None:
    """The call in place of the nest that begins with the loop; None if it is no padded copy."""
    loops, store = plain_nest(outermost)
    parts = _parts(store)
    if parts is None or not loops:
        return None
    condition, load = parts
    nest = _with_steps(loops, store, load)
    if nest is None or match.uses(condition, nest[-1].variable) or not _lies_together(nest):
        return None
    channels, rows, columns, lanes = nest
    ranges = _ranges(condition, (rows, columns))
    if ranges is None or not all(isinstance(bound, int) for bound in ranges[1]):
        return None
    width = lanes.extent
    numbers = (
        _at_start(load, loops).indices[0],
        *(channels.extent, rows.extent, columns.extent * width),
        *ranges[0],
        *(bound * width for bound in ranges[1]),
        *(channels.source, rows.source),
    )
    words = [tirx.const(n, "int32") if isinstance(n, int) else n for n in numbers]
    source = tirx.BufferLoad(load.source, [tirx.const(0, "int32")])
    start = tirx.BufferLoad(store.buffer, store.indices)
    addresses = [tirx.address_of(one) for one in (_at_start(start, loops), source)]
    return tirx.Evaluate(tirx.call_extern("int32", PAD_FUNCTION, *addresses, *words))


def _with_steps(loops: Sequence[Any], store: Any, load: Any) -> list[_Loop] | None:
    """Channels, rows, columns and lanes of a nest, those that it lacks as loops that run once."""
    variables = [loop.loop_var for loop in loops]
    to, source = (coefficients(access.indices[0], variables) for access in (store, load))
    if to is None or source is None:
        return None
    nest = [
        _Loop(loop.loop_var, int(loop.extent), *steps)
        for loop, *steps in zip(loops, to, source, strict=True)
    ]
    if nest[-1].to == 1 and match.uses(store.value.args[0], nest[-1].variable):
        nest.append(_once(1))
    missing = _LOOPS - len(nest)
    return None if missing < 0 else [*(_once(0) for _ in range(missing)), *nest]


def _once(step: int) -> _Loop:
    return _Loop(tirx.Var("once", "int32"), 1, step, step)


def _parts(store: Any) -> tuple[Any, Any] | None:
    """The condition and the load of ``x = condition ? load : 0`` in float32."""
    value = getattr(store, "value", None)
    if not isinstance(store, tirx.BufferStore) or not isinstance(value, tvm.ir.Call):
        return None
    if not value.op.name.endswith(".if_then_else") or str(value.ty.dtype) != "float32":
        return None
    condition, load, other = value.args
    zero = isinstance(other, tirx.FloatImm) and other.value == 0.0
    return (condition, load) if zero and isinstance(load, tvm.ir.TensorLoad) else None


def _lies_together(nest: Sequence[_Loop]) -> bool:
    """Whether the copy is written from end to end, and a row of it lies together in its source."""
    size = 1
    for loop in reversed(nest):
        if loop.extent > 1 and loop.to != size:
            return False
        size *= loop.extent
    _, _, columns, lanes = nest
    return lanes.source == 1 and columns.source == lanes.extent


Range = tuple[Any, Any]  # from the first to before the end


def _ranges(condition: Any, loops: Sequence[_Loop]) -> list[Range] | None:
    """For which iterations of each of two loops the condition holds; None if it asks for more."""
    variables = [loop.variable for loop in loops]
    ranges: list[Range] = [(0, loop.extent) for loop in loops]
    for term in _terms(condition):
        above = _above_zero(term)
        steps = None if above is None else coefficients(above, variables)
        if steps is None or sorted(map(abs, steps)) != [0, 1]:
            return None
        place = steps.index(0) ^ 1
        rest = replaced(above, variables[place], tirx.const(0, "int32"))
        first, end = ranges[place]
        if steps[place] > 0:
            ranges[place] = (_known(tirx.max(first, -rest)), end)
        else:
            ranges[place] = (first, _known(tirx.min(end, rest + 1)))
    return ranges


def _terms(condition: Any) -> list[Any]:
    if isinstance(condition, tirx.And):
        return [*_terms(condition.a), *_terms(condition.b)]
    return [condition]


def _above_zero(term: Any) -> Any | None:
    """What is not negative where the comparison holds."""
    if isinstance(term, tirx.LE):
        return term.b - term.a
    return term.b - term.a - 1 if isinstance(term, tirx.LT) else None


def _known(bound: Any) -> Any:
    """The bound as a number if it is one."""
    bound = sym.Analyzer().simplify(bound)
    return int(bound) if isinstance(bound, tirx.IntImm) else bound


def _at_start(access: Any, loops: Sequence[Any]) -> Any:
    """The access in the first iteration of all loops."""
    for loop in loops:
        access = replaced(access, loop.loop_var, tirx.const(0, str(loop.loop_var.ty.dtype)))
    return access
