"""Nests of integer sums that become calls of the runtime's functions."""

from __future__ import annotations

from typing import Any

import pytest
from tvm import s_tir, te
from tvm.tirx import PrimFunc

from compiler.kernels.integer_sums import (
    DOT_DEPTHWISE_FUNCTION,
    DOT_FUNCTION,
    NARROW_FUNCTION,
    WIDE_DEPTHWISE_FUNCTION,
)
from compiler.kernels.passes import lower_to_loops
from compiler.target_spec import load_target
from compiler.tvm_target import tvm_target
from schedules import roles, steps

TARGET = tvm_target(load_target("neoverse-n1"))


def _product(
    *, inner_last: bool = True, lanes: int = 8, weight_dtype: str = "int8", group: int = 4
) -> PrimFunc:
    """y[6, lanes] = x[6, 5 group] w[5, lanes, group], int8 in int32; the nest is marked."""
    x = te.placeholder((6, 5 * group), "int8", name="x")
    shape = (5, lanes, group) if inner_last else (5, group, lanes)
    w = te.placeholder(shape, weight_dtype, name="w")
    chunk, inner = te.reduce_axis((0, 5), "chunk"), te.reduce_axis((0, group), "inner")

    def term(i: Any, j: Any) -> Any:
        factor = w[chunk, j, inner] if inner_last else w[chunk, inner, j]
        product = x[i, chunk * group + inner].astype("int32") * factor.astype("int32")
        return te.sum(product, axis=[chunk, inner])

    y = te.compute((6, lanes), term, name="y")
    sch = s_tir.Schedule(te.create_prim_func([x, w, y]))
    block = sch.get_sblock("y")
    column, lane, chunk_loop, inner_loop = sch.get_loops(block)
    nest = (lane, column, chunk_loop, inner_loop)
    steps.mark_sums(sch, block, 0, nest, 0, roles.INTEGER_SUMS)
    return sch.mod["main"]


def _taps(dtype: str) -> PrimFunc:
    """y[6, 16] from x[3, 8, 16] and three by three taps, lane by lane."""
    x = te.placeholder((3, 8, 16), dtype, name="x")
    w = te.placeholder((3, 3, 16), "int8", name="w")
    ky, kx = te.reduce_axis((0, 3), "ky"), te.reduce_axis((0, 3), "kx")

    def term(i: Any, j: Any) -> Any:
        product = x[ky, i + kx, j].astype("int32") * w[ky, kx, j].astype("int32")
        return te.sum(product, axis=[ky, kx])

    y = te.compute((6, 16), term, name="y")
    sch = s_tir.Schedule(te.create_prim_func([x, w, y]))
    block = sch.get_sblock("y")
    column, lane, *taps = sch.get_loops(block)
    steps.mark_sums(sch, block, 0, (lane, column, *taps), 0, roles.INTEGER_SUMS)
    return sch.mod["main"]


@pytest.mark.parametrize(
    ("group", "function", "numbers"),
    [
        # columns, lanes, taps down and across, chunks; strides of columns; of taps in both operands
        (4, DOT_FUNCTION, "6, 8, 1, 1, 5, 8, 20, 0, 0, 0, 0"),
        (8, NARROW_FUNCTION, "6, 8, 1, 1, 5, 8, 40, 0, 0, 0, 0"),
    ],
)
def test_nest_becomes_a_call_with_extents_and_strides(
    group: int, function: str, numbers: str
) -> None:
    text = lower_to_loops(_product(group=group), TARGET).script()
    assert f'"{function}"' in text
    assert numbers in text
    assert "for " not in text  # neither the nest nor the zeros before it


@pytest.mark.parametrize(
    ("dtype", "function"),
    [("int8", DOT_DEPTHWISE_FUNCTION), ("int16", WIDE_DEPTHWISE_FUNCTION)],
)
def test_inputs_of_each_lane_take_another_function(dtype: str, function: str) -> None:
    text = lower_to_loops(_taps(dtype), TARGET).script()
    assert f'"{function}"' in text
    assert "6, 16, 3, 3, 16, 16, 128, 16, 48, 16" in text


@pytest.mark.parametrize(
    "func",
    [
        _product(inner_last=False),
        _product(lanes=12),
        _product(weight_dtype="int16"),
        _product(group=2),
    ],
    ids=["strides", "lanes", "types", "group"],
)
def test_nest_that_no_function_sums_stays(func: PrimFunc) -> None:
    text = lower_to_loops(func, TARGET).script()
    assert "call_extern" not in text
    assert "= 0" in text  # the zeros before it stay too
    assert "tunesmith.integer-sums" not in text


def test_inputs_of_other_types_have_no_depthwise_function() -> None:
    assert "call_extern" not in lower_to_loops(_taps("uint8"), TARGET).script()
