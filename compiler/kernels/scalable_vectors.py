"""Element-wise loops over few lanes as vectors of a length that only the processor knows.

LLVM unrolls a loop of up to some fifty iterations and makes vectors of a known length of it. Here
such a loop becomes one over scalable vectors, of which a predicate says how many lanes are in use:

    before: for c in columns: for lane in lanes: y[c, lane] = max(sums[c, lane] + bias[lane], 0)
    after:  for v in ceil(lanes / L), L the processor's lanes:
              predicate = lanes v * L ... of `lanes`
              for c in columns: y[c, v * L ...] = max(sums[c, v * L ...] + bias[v * L ...], 0)

Loops whose operands lie together are one loop first: then it is long enough for LLVM.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import tvm
from tvm import tirx
from tvm.tirx import PrimFunc
from tvm_ffi import structural

from compiler.kernels.sum_nests import coefficients
from compiler.kernels.variables import replaced
from schedules import match

# From here on LLVM's own vectors are better: no predicate for each. Two of 2,048 bits, twice.
LONG_LOOP = 256
_LEAST_LANES = 4  # in 128 bits
_VECTOR, _MASK = "float32xvscalex4", "uint1xvscalex4"
_OPERATIONS = (tirx.Add, tirx.Sub, tirx.Mul, tirx.Div, tirx.Max, tirx.Min)


def vectorize_scalable(func: PrimFunc) -> PrimFunc:
    """Return the function with short element-wise loops over float32 as scalable vectors."""

    def visit(loop: Any, mutator: Any) -> Any:
        nest = _nest(loop)
        if nest is None:
            return mutator.default_mutate(loop)
        nest = _flattened(nest)
        lanes = int(nest.loops[-1].extent)
        if lanes < _LEAST_LANES:
            return loop
        return _rebuilt(nest) if lanes >= LONG_LOOP else _vectors(nest)

    return func.with_body(structural.structural_mutate(func.body, [(tirx.For, visit)]))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Nest:
    """Loops around nothing but each other and one store; its iterations are independent."""

    loops: tuple[Any, ...]  # from the outermost
    store: Any
    steps: tuple[tuple[int, ...], ...]  # of the store, then of each load: of each loop, in elements


def _nest(loop: Any) -> _Nest | None:
    """The nest that begins with the loop; None if the innermost one is no vector loop."""
    loops, store = plain_nest(loop)
    if not loops or not isinstance(store, tirx.BufferStore):
        return None
    variables = [one.loop_var for one in loops]
    if not _is_element_wise(store.value, variables) or len(store.indices) != 1:
        return None
    steps = [coefficients(access.indices[0], variables) for access in _accesses(store)]
    if None in steps:
        return None
    nest = _Nest(loops=tuple(loops), store=store, steps=tuple(tuple(s) for s in steps if s))
    return nest if _lanes_lie_together(nest) and _is_independent(nest) else None


def plain_nest(loop: Any) -> tuple[list[Any], Any]:
    """The loops from this one inwards and what is inside; none if one is of another kind.

    Plain loops count from 0 to a known number, share no work and have no marks.
    """
    loops = [loop]
    while isinstance(loops[-1].body, tirx.For):
        loops.append(loops[-1].body)
    return (loops if all(map(_is_plain, loops)) else []), loops[-1].body


def _is_plain(loop: Any) -> bool:
    known = isinstance(loop.extent, tirx.IntImm) and isinstance(loop.min, tirx.IntImm)
    serial = loop.kind in (tirx.ForKind.SERIAL, tirx.ForKind.VECTORIZED)
    return serial and known and int(loop.min) == 0 and not loop.annotations


def _accesses(store: Any) -> list[Any]:
    return [store, *match.loads(store.value)]


def _is_element_wise(value: Any, variables: list[Any]) -> bool:
    """Whether it is arithmetic of loads of float32 and of numbers."""
    if str(value.ty.dtype) != "float32":
        return False
    if isinstance(value, _OPERATIONS):
        return all(_is_element_wise(one, variables) for one in (value.a, value.b))
    if isinstance(value, tvm.ir.TensorLoad):
        return len(value.indices) == 1
    return isinstance(value, tirx.FloatImm)


def _lanes_lie_together(nest: _Nest) -> bool:
    stored, *loaded = (steps[-1] for steps in nest.steps)
    return stored == 1 and all(step in (0, 1) for step in loaded)


def _is_independent(nest: _Nest) -> bool:
    """Whether each element is stored once and read, if at all, only for itself."""
    pairs = zip(nest.steps[0], nest.loops, strict=True)
    sizes = sorted((step, int(loop.extent)) for step, loop in pairs)
    reached = 0
    for step, extent in sizes:
        if step <= reached and extent > 1:
            return False
        reached += step * (extent - 1)
    index = nest.store.indices[0]
    return all(
        structural.structural_equal(load.indices[0], index)
        for load in match.loads(nest.store.value)
        if load.source.same_as(nest.store.buffer)
    )


def _flattened(nest: _Nest) -> _Nest:
    """The nest with its innermost loops as one, as far as all operands lie together."""
    while len(nest.loops) > 1:
        *outer, row, lane = nest.loops
        width = int(lane.extent)
        if any(steps[-2] != steps[-1] * width for steps in nest.steps):
            break
        zero = tirx.const(0, str(row.loop_var.ty.dtype))
        whole = tirx.For(lane.loop_var, lane.min, row.extent * width, lane.kind, lane.body)
        nest = replace(
            nest,
            loops=(*outer, whole),
            store=replaced(nest.store, row.loop_var, zero),
            steps=tuple((*steps[:-2], steps[-1]) for steps in nest.steps),
        )
    return nest


def _around(loops: tuple[Any, ...], body: Any) -> Any:
    """The loops, plain, around another body."""
    serial = tirx.ForKind.SERIAL
    return reduce(
        lambda inner, one: tirx.For(one.loop_var, one.min, one.extent, serial, inner),
        reversed(loops),
        body,
    )


def _rebuilt(nest: _Nest) -> Any:
    return _around(nest.loops, nest.store)


def _vectors(nest: _Nest) -> Any:
    """Vectors outside, so that a predicate is made, and what all columns share loaded, once."""
    *columns, lane = nest.loops
    width = 4 * tirx.vscale()
    vector = tirx.Var("vector", "int32")
    first = vector * width
    mask = tirx.get_active_lane_mask(_MASK, first, lane.extent)
    value = _vector(nest.store.value, lane.loop_var, first, mask)
    start = tirx.BufferLoad(nest.store.buffer, nest.store.indices)
    address = tirx.address_of(replaced(start, lane.loop_var, first))
    write = tirx.call_llvm_intrin("void", "llvm.masked.store", value, address, mask)
    count = tirx.truncdiv(lane.extent - 1 + width, width)
    body = _around(tuple(columns), tirx.Evaluate(write))
    return tirx.For(vector, tirx.const(0, "int32"), count, tirx.ForKind.SERIAL, body)


def _vector(value: Any, lane: Any, first: Any, mask: Any) -> Any:
    """The value for the lanes from `first` on."""
    if isinstance(value, _OPERATIONS):
        left, right = (_vector(one, lane, first, mask) for one in (value.a, value.b))
        return type(value)(left, right)
    width = 4 * tirx.vscale()
    if not match.uses(value, lane):
        return tirx.Broadcast(value, width)
    address = tirx.address_of(replaced(value, lane, first))
    zeros = tirx.Broadcast(tirx.const(0.0, "float32"), width)
    return tirx.call_llvm_intrin(_VECTOR, "llvm.masked.load", address, mask, zeros)
