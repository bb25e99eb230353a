"""Nests of integer sums that become calls of the runtime's functions."""

from __future__ import annotations

from typing import Any

import pytest
from tvm import s_tir, te
from tvm.tirx import PrimFunc

from compiler.kernels.integer_sums import (
    DOT_FUNCTION,
    NARROW_FUNCTION,
    RISCV_FUNCTION,
    WIDE_FUNCTION,
    WORD_FUNCTION,
)
from compiler.kernels.passes import lower_to_loops
from compiler.target_spec import load_target
from compiler.tvm_target import tvm_target
from schedules import roles, steps

TARGET = tvm_target(load_target("neoverse-n1"))


def _product(
    *,
    inner_last: bool = True,
    lanes: int = 8,
    dtype: str = "int8",
    weight_dtype: str = "int8",
    group: int = 4,
    mark: int = roles.DOTS,
) -> PrimFunc:
    """y[6, lanes] = x[6, 5 group] w[5, lanes, group], int8 in int32; the nest is marked."""
    x = te.placeholder((6, 5 * group), dtype, name="x")
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
    steps.mark_sums(sch, block, 0, nest, 0, roles.INTEGER_SUMS, mark)
    return sch.mod["main"]


def _taps(dtype: str, *, mark: int = roles.DOTS, rows: int = 1) -> PrimFunc:
    """y[rows, 6, 16] from x[rows + 2, 8, 16] and three by three taps, lane by lane."""
    x = te.placeholder((rows + 2, 8, 16), dtype, name="x")
    w = te.placeholder((3, 3, 16), "int8", name="w")
    ky, kx = te.reduce_axis((0, 3), "ky"), te.reduce_axis((0, 3), "kx")

    def term(r: Any, i: Any, j: Any) -> Any:
        product = x[r + ky, i + kx, j].astype("int32") * w[ky, kx, j].astype("int32")
        return te.sum(product, axis=[ky, kx])

    y = te.compute((rows, 6, 16), term, name="y")
    sch = s_tir.Schedule(te.create_prim_func([x, w, y]))
    block = sch.get_sblock("y")
    row, column, lane, *taps = sch.get_loops(block)
    steps.mark_sums(sch, block, 0, (lane, row, column, *taps), 0, roles.INTEGER_SUMS, mark)
    return sch.mod["main"]


@pytest.mark.parametrize(
    ("group", "dtype", "mark", "function", "numbers"),
    [
        # columns, lanes, taps down and across, chunks; strides of columns; of taps in both operands
        (4, "int8", roles.DOTS, DOT_FUNCTION, "6, 8, 1, 1, 5, 8, 20, 0, 0, 0, 0"),
        (8, "int8", roles.NARROW_PAIRS, NARROW_FUNCTION, "6, 8, 1, 1, 5, 8, 40, 0, 0, 0, 0"),
        (1, "int16", roles.NARROW_PAIRS, WIDE_FUNCTION, "6, 8, 1, 1, 5, 8, 5, 0, 0, 0, 0"),
        (1, "int8", roles.RISCV_VECTORS, RISCV_FUNCTION, "6, 8, 1, 1, 5, 8, 5, 0, 0, 0, 0"),
        (1, "int8", roles.WORDS, WORD_FUNCTION, "6, 8, 1, 1, 5, 8, 5, 0, 0, 0, 0"),
    ],
)
def test_nest_becomes_a_call_with_extents_and_strides(
    group: int, dtype: str, mark: int, function: str, numbers: str
) -> None:
    text = lower_to_loops(_product(group=group, dtype=dtype, mark=mark), TARGET).script()
    assert f'"{function}"' in text
    assert numbers in text
    assert "for " not in text  # neither the nest nor the zeros before it


@pytest.mark.parametrize(
    ("mark", "function"),
    [
        (roles.DOTS, "tunesmith_dot_depthwise"),
        (roles.NARROW_PAIRS, "tunesmith_narrow_depthwise"),
        (roles.RISCV_VECTORS, "tunesmith_rvv_depthwise"),
    ],
)
def test_inputs_of_each_lane_take_another_function(mark: int, function: str) -> None:
    text = lower_to_loops(_taps("int8", mark=mark), TARGET).script()
    assert f'"{function}"' in text
    assert "6, 16, 3, 3, 16, 16, 128, 16, 48, 16)" in text


@pytest.mark.parametrize(("rows", "numbers"), [(1, "1, 0, 0"), (4, "4, 96, 128")])
def test_words_take_several_rows_of_columns(rows: int, numbers: str) -> None:
    text = lower_to_loops(_taps("int8", mark=roles.WORDS, rows=rows), TARGET).script()
    assert '"tunesmith_plain_depthwise"' in text
    assert f"6, 16, 3, 3, 16, 16, 128, 16, 48, 16, {numbers})" in text


def test_other_functions_take_one_row_of_columns() -> None:
    assert "call_extern" not in lower_to_loops(_taps("int8", rows=4), TARGET).script()


@pytest.mark.parametrize(
    "func",
    [
        _product(inner_last=False),
        _product(lanes=12),
        _product(weight_dtype="int16"),
        _product(group=2),
        _product(group=1),
    ],
    ids=["strides", "lanes", "types", "group", "mark"],
)
def test_nest_that_no_function_sums_stays(func: PrimFunc) -> None:
    text = lower_to_loops(func, TARGET).script()
    assert "call_extern" not in text
    assert "= 0" in text  # the zeros before it stay too
    assert "tunesmith.integer-sums" not in text


@pytest.mark.parametrize("dtype", ["uint8", "int16"])
def test_inputs_of_other_types_have_no_depthwise_function(dtype: str) -> None:
    assert "call_extern" not in lower_to_loops(_taps(dtype), TARGET).script()
