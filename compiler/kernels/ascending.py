"""Whether a kernel writes its elements one after another, as they lie in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tvm
from tvm import s_tir, sym, tirx
from tvm.tirx import PrimFunc
from tvm_ffi import structural

from compiler.kernels.variables import replaced

_STEPPING = (tirx.ForKind.SERIAL, tirx.ForKind.PARALLEL, tirx.ForKind.UNROLLED)


def writes_ascending(func: PrimFunc) -> bool:
    """Whether no element is written before one that lies in front of it.

    True of one block in a nest of loops, if its work items are run in order on one thread. A vector
    is read whole before any of it is written, so the innermost loop may be one.
    """
    loops, realize = _nest(func)
    if not loops:
        return realize is not None  # one element
    if realize is None or not all(_steps(loop, loops[-1]) for loop in loops):
        return False
    stores: list[Any] = []
    structural.structural_walk(realize.block.body, (tirx.BufferStore, stores.append))
    if len(stores) != 1:
        return False
    strides = _strides(stores[0], loops, realize)
    return strides is not None and _is_lexicographic(strides, loops)


def _nest(func: PrimFunc) -> tuple[list[Any], Any]:
    """The loops around the only block, from the outside, and the block; else None for the block."""
    loops: list[Any] = []
    statement = func.body
    while True:
        if isinstance(statement, tirx.For):
            loops.append(statement)
            statement = statement.body
        elif isinstance(statement, s_tir.SBlockRealize):
            if statement.block.name_hint != "root":
                return loops, statement
            statement = statement.block.body
        else:
            return loops, None


def _steps(loop: Any, innermost: Any) -> bool:
    is_vector = loop.kind == tirx.ForKind.VECTORIZED and loop.same_as(innermost)
    return (is_vector or loop.kind in _STEPPING) and isinstance(loop.extent, tirx.IntImm)


def _strides(store: Any, loops: Sequence[Any], realize: Any) -> list[int] | None:
    """How many elements apart neighbours of each loop are; None if that is not the same all along.

    The store's place is taken in row-major order.
    """
    analyzer = sym.Analyzer()
    for loop in loops:
        analyzer.bind(loop.loop_var, tvm.ir.Range.from_min_extent(loop.min, loop.extent))
    place: Any = 0
    for index, extent in zip(store.indices, store.buffer.ty.shape, strict=True):
        place = place * int(extent) + index
    for axis, value in zip(realize.block.iter_vars, realize.iter_values, strict=True):
        place = replaced(place, axis.var, value)
    variables = [loop.loop_var for loop in loops]
    found = sym.detect_linear_equation(analyzer.simplify(place), variables)
    if not found or not all(isinstance(stride, tirx.IntImm) for stride in found[:-1]):
        return None
    return [int(stride) for stride in found[:-1]]


def _is_lexicographic(strides: Sequence[int], loops: Sequence[Any]) -> bool:
    """Whether a step of each loop goes beyond all that the loops inside it reach."""
    reach = 0
    for stride, loop in zip(reversed(strides), reversed(loops), strict=True):
        if int(loop.extent) > 1 and stride <= reach:
            return False
        reach += stride * (int(loop.extent) - 1)
    return True
