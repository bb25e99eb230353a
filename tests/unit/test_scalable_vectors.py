"""Element-wise loops and padded copies in vectors of a length that only the processor knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tvm import s_tir, te, tirx
from tvm.tirx import PrimFunc

from compiler.kernels.padded_copies import PAD_FUNCTION
from compiler.kernels.passes import lower_to_loops
from compiler.target_spec import load_target
from compiler.tvm_target import tvm_target

TARGET = tvm_target(load_target("neoverse-v1"))
MASKED = "llvm.masked.store"


def _lowered(
    shape: tuple[int, ...], compute: Callable[..., Any], *shapes: tuple[int, ...]
) -> PrimFunc:
    operands = [te.placeholder(s, "float32", name=f"x{i}") for i, s in enumerate(shapes)]
    y = te.compute(shape, lambda *axes: compute(*operands, *axes), name="y")
    func = s_tir.Schedule(te.create_prim_func([*operands, y])).mod["main"]
    return lower_to_loops(func, TARGET, scalable=True)


def _bias_add(x: Any, b: Any, row: Any, lane: Any) -> Any:
    return tirx.max(x[row, lane] + b[lane], tirx.const(0.0, "float32"))


def test_lanes_become_vectors_outside_of_the_columns() -> None:
    text = _lowered((7, 24), _bias_add, (7, 24), (24,)).script()
    loops = next(line for line in text.splitlines() if " in T.grid(" in line)
    assert "T.vscale()" in loops.split(", 7)")[0]  # vectors first, then the seven columns
    assert text.count("llvm.masked.load") == 2
    assert MASKED in text
    assert ", 24)" in text  # the predicate's end


def test_loops_whose_operands_lie_together_are_one_for_llvm() -> None:
    relu = _lowered(
        (32, 16), lambda x, i, j: tirx.max(x[i, j], tirx.const(0.0, "float32")), (32, 16)
    )
    assert "in range(512)" in relu.script()
    assert MASKED not in relu.script()


@pytest.mark.parametrize(
    ("compute", "shapes"),
    [
        (lambda x, i, j: x[j, i] + x[j, i], ((16, 7),)),  # lanes do not lie together
        (lambda x, i, j: x[i, j] + tirx.Cast("float32", j), ((7, 16),)),  # a value of its own
        (lambda x, i, j: tirx.exp(x[i, j]) + x[0, j], ((7, 16),)),  # a function
    ],
)
def test_other_loops_stay(compute: Callable[..., Any], shapes: tuple[tuple[int, ...], ...]) -> None:
    assert MASKED not in _lowered((7, 16), compute, *shapes).script()


def test_loop_that_reads_what_it_wrote_stays() -> None:
    """What column i writes is read by column i - 1: vectors outside of the columns change it."""
    buffer = tirx.decl_buffer((160,), "float32", "y")
    i, j = tirx.Var("i", "int32"), tirx.Var("j", "int32")
    load = tirx.BufferLoad(buffer, [i * 16 + j + 1])
    store = tirx.BufferStore(buffer, load + tirx.const(1.0, "float32"), [i * 16 + j])
    serial = tirx.ForKind.SERIAL
    body: Any = store
    for variable, extent in ((j, 16), (i, 9)):
        zero, count = tirx.const(0, "int32"), tirx.const(extent, "int32")
        body = tirx.For(variable, zero, count, serial, body)
    func = PrimFunc([buffer], body)
    assert MASKED not in lower_to_loops(func, TARGET, scalable=True).script()


def _pad(x: Any, c: Any, y: Any, column: Any, lane: Any) -> Any:
    inside = tirx.all(y >= 1, y < 6, column >= 2, column < 9)
    value = x[c, y - 1, column - 2, lane]
    return tirx.if_then_else(inside, value, tirx.const(0.0, "float32"))


def test_padded_copy_becomes_a_call() -> None:
    text = _lowered((3, 7, 11, 4), _pad, (3, 5, 7, 4)).script()
    # offset; channels, rows, length; rows and elements that are read; strides of the source
    numbers = "-36, 3, 7, 44, 1, 6, 8, 36, 140, 28"
    assert f'"{PAD_FUNCTION}"' in text
    assert numbers in text
    assert "for " not in text


def test_padded_copy_of_plain_rows() -> None:
    def pad(x: Any, y: Any, column: Any) -> Any:
        inside = tirx.all(y < 5, column >= 2)
        return tirx.if_then_else(inside, x[y, column - 2], tirx.const(0.0, "float32"))

    text = _lowered((6, 9), pad, (5, 7)).script()
    assert f'"{PAD_FUNCTION}"' in text
    assert "-2, 1, 6, 9, 0, 5, 2, 9, 0, 7" in text


@pytest.mark.parametrize(
    "pad",
    [
        lambda x, y, c: tirx.if_then_else(c >= 2, x[y, c - 2], tirx.const(1.0, "float32")),
        lambda x, y, c: tirx.if_then_else(c < 7, x[y, c * 2], tirx.const(0.0, "float32")),
        lambda x, y, c: tirx.if_then_else(y * 2 < 5, x[y, c], tirx.const(0.0, "float32")),
        lambda x, y, c: tirx.if_then_else(y + c < 5, x[y, c], tirx.const(0.0, "float32")),
    ],
)
def test_other_choices_stay(pad: Callable[..., Any]) -> None:
    assert PAD_FUNCTION not in _lowered((6, 9), pad, (6, 20)).script()


def test_loops_that_workers_share_stay_loops() -> None:
    x = te.placeholder((3, 5, 7, 4), "float32", name="x")
    y = te.compute((3, 7, 11, 4), lambda *axes: _pad(x, *axes), name="y")
    sch = s_tir.Schedule(te.create_prim_func([x, y]))
    sch.parallel(sch.get_loops(sch.get_sblock("y"))[0])
    text = lower_to_loops(sch.mod["main"], TARGET, scalable=True).script()
    assert "T.parallel(3)" in text
    assert "* 35 - 36, 1, 7, 44" in text or "* 140 - 36, 1, 7, 44" in text


def test_targets_with_vectors_of_known_length_have_neither() -> None:
    x = te.placeholder((3, 5, 7, 4), "float32", name="x")
    y = te.compute((3, 7, 11, 4), lambda *axes: _pad(x, *axes), name="y")
    func = s_tir.Schedule(te.create_prim_func([x, y])).mod["main"]
    text = lower_to_loops(func, tvm_target(load_target("cortex-a72"))).script()
    assert PAD_FUNCTION not in text
    assert "vscale" not in text
