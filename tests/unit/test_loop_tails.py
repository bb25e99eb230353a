"""Loops whose last iteration does less: its code is apart, and neither part asks anything."""

from __future__ import annotations

from tvm import s_tir, te, tirx
from tvm.tirx import PrimFunc
from tvm_ffi import structural

from compiler.kernels.loop_tails import peel_tails
from compiler.kernels.passes import lower_to_loops
from compiler.tvm_target import tvm_target
from schedules import steps
from tests.lowered import fixed_spec

TARGET = tvm_target(fixed_spec())


def _scheduled(extent: int, tile: int, *, marked: bool = True) -> PrimFunc:
    data = te.placeholder((extent, 8), "float32", name="x")
    double = te.compute((extent, 8), lambda i, j: data[i, j] * tirx.const(2.0), name="y")
    sch = s_tir.Schedule(te.create_prim_func([data, double]))
    row, lane = sch.get_loops(sch.get_sblock("y"))
    outer, inner = sch.split(row, factors=[None, tile])
    sch.unroll(inner)
    sch.vectorize(lane)
    if marked:
        steps.mark_tails(sch, outer)
    return sch.mod["main"]


def _count(func: PrimFunc, kind: type) -> int:
    found: list[object] = []
    structural.structural_walk(func.body, (kind, found.append))
    return len(found)


def test_tests_go() -> None:
    plain = lower_to_loops(_scheduled(7, 4, marked=False), TARGET)
    assert _count(plain, tirx.IfThenElse) > 0
    assert _count(lower_to_loops(_scheduled(7, 4), TARGET), tirx.IfThenElse) == 0


def test_a_loop_without_tail_has_one_body() -> None:
    assert _count(lower_to_loops(_scheduled(8, 4), TARGET), tirx.BufferStore) == 4


def test_tail_stores_what_is_left() -> None:
    assert _count(lower_to_loops(_scheduled(11, 4), TARGET), tirx.BufferStore) == 4 + 3


def test_unmarked_function_is_left_as_it_is() -> None:
    func = _scheduled(7, 4, marked=False)
    assert peel_tails(func).body.same_as(func.body)
