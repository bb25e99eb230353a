"""Nests of integer sums that become calls of the runtime's functions for scalable vectors."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import pytest
from tvm import s_tir, te
from tvm.tirx import PrimFunc

from compiler.artifact.write import RUNTIME_FILES_BEHIND, RUNTIME_FUNCTION_FILES
from compiler.kernels.passes import lower_to_loops
from compiler.kernels.scalable_integer_sums import (
    DEPTHWISE_FUNCTION,
    DOT_FUNCTION,
    MATRIX_FUNCTION,
    SCALABLE_INTEGER_FUNCTIONS,
    UNSIGNED_MATRIX_FUNCTION,
)
from compiler.target_spec import load_target
from compiler.tvm_target import tvm_target
from schedules import roles, steps

TARGET = tvm_target(load_target("neoverse-v1"))


def _convolution(
    *,
    dtype: str = "int8",
    weight_dtype: str = "int8",
    group: int = 8,
    gap: int = 0,
    lanes_first: bool = True,
) -> PrimFunc:
    """y[6, 12] from x[3, 8, 2 group] and three by three taps of two chunks; the nest is marked.

    Args:
        gap: chunks of weights between those of two taps.
        lanes_first: whether the products of a lane lie together in the weights.
    """
    x = te.placeholder((3, 8, 2 * group), dtype, name="x")
    shape = (12, group) if lanes_first else (group, 12)
    w = te.placeholder((3, 3, 2 + gap, *shape), weight_dtype, name="w")
    extents = {"ky": 3, "kx": 3, "chunk": 2, "inner": group}
    ky, kx, chunk, inner = (te.reduce_axis((0, n), name) for name, n in extents.items())

    def term(i: Any, j: Any) -> Any:
        place = (j, inner) if lanes_first else (inner, j)
        factor = w[(ky, kx, chunk, *place)].astype("int32")
        product = x[ky, i + kx, chunk * group + inner].astype("int32") * factor
        return te.sum(product, axis=[ky, kx, chunk, inner])

    y = te.compute((6, 12), term, name="y")
    sch = s_tir.Schedule(te.create_prim_func([x, w, y]))
    block = sch.get_sblock("y")
    column, lane, *summed = sch.get_loops(block)
    mark = roles.SCALABLE_INTEGER_SUMS
    steps.mark_sums(sch, block, 0, (lane, column, *summed), 0, mark)
    return sch.mod["main"]


@pytest.mark.parametrize(
    ("dtype", "group", "function", "numbers"),
    [
        # columns, lanes, taps down and across, chunks; strides of columns of sums and inputs, of
        # taps down and across in the inputs, of chunks in the weights
        ("int8", 8, MATRIX_FUNCTION, "6, 12, 3, 3, 2, 12, 16, 128, 16, 96"),
        ("uint8", 8, UNSIGNED_MATRIX_FUNCTION, "6, 12, 3, 3, 2, 12, 16, 128, 16, 96"),
        ("int8", 4, DOT_FUNCTION, "6, 12, 3, 3, 2, 12, 8, 64, 8, 48"),
    ],
)
def test_nest_becomes_a_call_with_extents_and_strides(
    dtype: str, group: int, function: str, numbers: str
) -> None:
    func = _convolution(dtype=dtype, group=group)
    text = lower_to_loops(func, TARGET, scalable=True).script()
    assert f'"{function}"' in text
    assert numbers in text
    assert "for " not in text  # neither the nest nor the zeros before it


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
    mark = roles.SCALABLE_INTEGER_SUMS
    steps.mark_sums(sch, block, 0, (lane, column, *taps), 0, mark)
    return sch.mod["main"]


def test_files_of_the_functions_and_what_they_call_are_there() -> None:
    shipped = {file.name for file in (files("compiler.artifact") / "runtime").iterdir()}
    for function in SCALABLE_INTEGER_FUNCTIONS:
        name = RUNTIME_FUNCTION_FILES[function]
        assert {name, *RUNTIME_FILES_BEHIND.get(name, ())} <= shipped
    assert RUNTIME_FILES_BEHIND[RUNTIME_FUNCTION_FILES[MATRIX_FUNCTION]] == ("mm_sums.c",)


def test_inputs_of_each_lane_take_another_function() -> None:
    text = lower_to_loops(_taps("int8"), TARGET, scalable=True).script()
    assert f'"{DEPTHWISE_FUNCTION}"' in text
    assert "6, 16, 3, 3, 16, 16, 128, 16, 48, 16" in text
    assert "call_extern" not in lower_to_loops(_taps("int16"), TARGET, scalable=True).script()


@pytest.mark.parametrize(
    "func",
    [
        _convolution(gap=1),
        _convolution(lanes_first=False),
        _convolution(weight_dtype="int16"),
        _convolution(dtype="uint8", group=4),
        _convolution(group=2),
    ],
    ids=["taps-apart", "lanes-inside", "int16", "uint8-by-four", "by-two"],
)
def test_nest_that_no_function_sums_stays(func: PrimFunc) -> None:
    text = lower_to_loops(func, TARGET, scalable=True).script()
    assert "call_extern" not in text
    assert "= 0" in text  # the zeros before it stay too
    assert roles.SCALABLE_INTEGER_SUMS not in text
