"""Vector loops with a tail: which become two loops, and what stays one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tvm import te, tirx
from tvm.s_tir import Schedule
from tvm.tirx import PrimFunc

from compiler.kernels.passes import lower_to_loops
from compiler.kernels.vector_tails import split_vector_tails
from compiler.tvm_target import tvm_target
from schedules import steps
from tests.lowered import fixed_spec

LANES = 8


def _lowered(extent: int, value: Callable[[te.Tensor, Any], Any]) -> str:
    """``y[i] = value(x, i)`` over `extent` elements, in vectors with a tail, lowered to loops."""
    x = te.placeholder((4 * extent,), "float32", name="x")
    y = te.compute((extent,), lambda i: value(x, i), name="y")
    sch = Schedule(te.create_prim_func([x, y]))
    steps.vectorize_with_tail(sch, sch.get_loops("y")[0], LANES)
    return str(lower_to_loops(sch.mod["main"], tvm_target(fixed_spec())).script())


@pytest.mark.parametrize(
    ("extent", "value"),
    [
        (21, lambda x, i: x[i] * 2.0),
        (22, lambda x, i: x[i] + x[2 * i]),
        (24, lambda x, i: tirx.if_then_else(i < 21, x[i], tirx.const(0.0, "float32"))),
    ],
)
def test_whole_vectors_stay_vectors(extent: int, value: Callable[[te.Tensor, Any], Any]) -> None:
    text = _lowered(extent, value)
    assert ":i_0 * 8 + 8]" in text or "cse_v1:cse_v1 + 8]" in text  # a store of eight
    assert "else:" in text  # and the tail


def _vector_loop(condition: Callable[[Any], Any]) -> tuple[PrimFunc, Any]:
    x = tirx.decl_buffer((64,), "float32", name="x")
    lane = tirx.Var("lane", "int32")
    store = tirx.BufferStore(x, tirx.const(1.0, "float32"), [lane])
    body = tirx.IfThenElse(condition(lane), store, None)
    loop = tirx.For(lane, 0, LANES, tirx.ForKind.VECTORIZED, body)
    return PrimFunc([x], loop), loop


@pytest.mark.parametrize(
    "condition",
    [
        lambda lane: lane * 2 + 3 < 11,
        lambda lane: lane // 2 <= 2,
        lambda lane: tirx.all(lane < 5, lane + 1 < 9),
    ],
)
def test_split_where_the_last_lane_speaks_for_all(condition: Callable[[Any], Any]) -> None:
    func, _ = _vector_loop(condition)
    split = split_vector_tails(func).body
    assert isinstance(split, tirx.IfThenElse)
    assert split.then_case.kind == tirx.ForKind.VECTORIZED
    assert split.else_case.kind == tirx.ForKind.SERIAL


@pytest.mark.parametrize(
    "condition",
    [
        lambda lane: lane > 2,  # holds for the last, not for the first
        lambda lane: lane * -1 < -2,
        lambda lane: lane % 2 < 1,
        lambda lane: tirx.any(lane < 1, lane > 6),
        lambda lane: tirx.const(5, "int32") < lane + 2,
    ],
)
def test_other_conditions_stay(condition: Callable[[Any], Any]) -> None:
    func, loop = _vector_loop(condition)
    assert split_vector_tails(func).body.same_as(loop)


def test_choice_that_is_the_same_for_all_lanes_is_made_once() -> None:
    def padded(i: Any, lane: Any) -> Any:
        return tirx.if_then_else(i < 3, x[i, lane], tirx.const(0.0, "float32"))

    x = te.placeholder((3, LANES), "float32", name="x")
    sch = Schedule(te.create_prim_func([x, te.compute((5, LANES), padded, name="y")]))
    sch.vectorize(sch.get_loops("y")[-1])
    lowered = lower_to_loops(sch.mod["main"], tvm_target(fixed_spec()))
    assert "else:" in str(lowered.script())
    assert str(lowered.script()).count("range") == 1  # of the rows: no loop over lanes
