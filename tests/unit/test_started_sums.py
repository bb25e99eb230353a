"""Sums that start with their bias: the same numbers, and only where a bias is all that is added."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tvm import s_tir, te, tirx
from tvm.tirx import PrimFunc
from tvm_ffi import structural

from compiler.kernels.build import build_kernel
from compiler.kernels.passes import lower_to_loops
from compiler.kernels.started_sums import start_sums
from compiler.program import ScheduleOutcome
from compiler.target_spec import load_target
from compiler.tvm_target import tvm_target
from schedules import steps
from tests.native_kernel import NativeKernel

V3 = tvm_target(load_target("x86-64-v3"))
ROWS, DEPTH, LANES = 6, 5, 8


def _summed(after: Any, *, dtype: str = "int32", tile: int = 2) -> PrimFunc:
    """``after(sums, bias, m, n)`` of ``sums[M, N] = a[M, K] * b[K, N]``, a tile in registers."""
    a = te.placeholder((ROWS, DEPTH), dtype, name="a")
    b = te.placeholder((DEPTH, LANES), dtype, name="b")
    bias = te.placeholder((2, LANES), dtype, name="bias")
    k = te.reduce_axis((0, DEPTH), "k")
    sums = te.compute((ROWS, LANES), lambda m, n: te.sum(a[m, k] * b[k, n], axis=k), name="sums")
    made = te.compute((ROWS, LANES), lambda m, n: after(sums, bias, m, n), name="made")
    sch = s_tir.Schedule(te.create_prim_func([a, b, bias, made]))
    row, lane = sch.get_loops(sch.get_sblock("made"))
    outer, inner = sch.split(row, factors=[None, tile])
    steps.mark_tails(sch, outer)
    sch.unroll(inner)
    sch.vectorize(lane)
    block = sch.get_sblock("sums")
    sch.compute_at(block, outer, preserve_unit_loops=True)
    sch.set_scope(block, 0, "local")
    sum_row, sum_lane, summed = list(sch.get_loops(block))[1:]
    sch.reorder(summed, sum_row, sum_lane)
    steps.sums_in_registers(sch, block, summed, (sum_row, sum_lane), depth=1)
    return sch.mod["main"]


def _biased(sums: Any, bias: Any, m: Any, n: Any) -> Any:
    return (sums[m, n] + bias[0, n]).astype("float32")


def _zeros(func: PrimFunc) -> int:
    """Vectors that start with zeros."""
    stores: list[Any] = []
    structural.structural_walk(func.body, (tirx.BufferStore, stores.append))
    values = (s.value.value for s in stores if isinstance(s.value, tirx.Broadcast))
    return sum(isinstance(value, tirx.IntImm | tirx.FloatImm) for value in values)


@pytest.mark.parametrize("tile", [1, 2, 4])  # 4: the last tile has two rows
def test_bias_stands_at_the_start(tile: int, tmp_path: Path) -> None:
    func = _summed(_biased, tile=tile)
    assert _zeros(lower_to_loops(func, V3)) == 0
    random = np.random.default_rng(tile)
    shapes = ((ROWS, DEPTH), (DEPTH, LANES), (2, LANES))
    a, b, bias = (random.integers(-99, 99, shape).astype(np.int32) for shape in shapes)
    outcome = ScheduleOutcome(source="rule", name="test", reason="")
    kernel = build_kernel(func, name="started", input_count=3, outcome=outcome, target=V3)
    (made,) = NativeKernel(kernel, tmp_path)([a, b, bias], [("float32", (ROWS, LANES))])
    assert np.array_equal(made, a @ b + bias[0])


def _unbiased(sums: Any, bias: Any, m: Any, n: Any) -> Any:
    return sums[m, n] * bias[0, n]


def _read_twice(sums: Any, bias: Any, m: Any, n: Any) -> Any:
    return (sums[m, n] + bias[0, n]).astype("float32") * sums[m, n].astype("float32")


def _two_biases(sums: Any, bias: Any, m: Any, n: Any) -> Any:
    one, other = (sums[m, n] + bias[i, n] for i in range(2))
    return one.astype("float32") * other.astype("float32")


@pytest.mark.parametrize("after", [_unbiased, _read_twice, _two_biases])
def test_other_readers_leave_zeros(after: Any) -> None:
    assert _zeros(lower_to_loops(_summed(after), V3)) == 2


def test_sums_of_floats_keep_their_order() -> None:
    assert _zeros(lower_to_loops(_summed(_biased, dtype="float32"), V3)) == 2


def test_other_targets_are_left_as_they_are() -> None:
    target = tvm_target(load_target("cortex-a72"))
    assert _zeros(lower_to_loops(_summed(_biased), target)) == 2


def _flat(bias_dtype: str = "int32", *, written: bool = False, read_later: bool = False) -> Any:
    """``sums = 0; sums += x; y = sums + bias``, by hand; perhaps the bias is written between."""
    sums, x = (tirx.decl_buffer((16,), "int32", name) for name in ("sums", "x"))
    y = tirx.decl_buffer((16,), "float32", "y")
    bias = tirx.decl_buffer((16,), bias_dtype, "bias")

    def vector(buffer: Any, first: int = 0) -> Any:
        return tirx.BufferLoad(buffer, [tirx.Ramp(first, 1, 8)])

    def store(buffer: Any, value: Any) -> Any:
        return tirx.BufferStore(buffer, value, [tirx.Ramp(0, 1, 8)])

    added = vector(bias).astype("int32x8")
    body = [
        store(sums, tirx.Broadcast(tirx.const(0, "int32"), 8)),
        store(sums, vector(sums) + vector(x)),
        *([store(bias, vector(x))] if written else []),
        store(y, (vector(sums) + added).astype("float32x8")),
    ]
    inner: Any = tirx.SeqStmt(body)
    if read_later:
        loop = tirx.For(tirx.Var("i", "int32"), 0, 2, tirx.ForKind.SERIAL, inner)
        inner = tirx.SeqStmt([loop, store(x, vector(sums))])
    return PrimFunc([x, y, bias], tirx.SeqStmt([tirx.AllocBuffer(sums), inner]))


def test_flat_code_is_started() -> None:
    func = _flat()
    before = func.script()
    assert _zeros(start_sums(func)) == 0
    assert func.script() == before


@pytest.mark.parametrize("wrong", [{"written": True}, {"bias_dtype": "int8"}, {"read_later": True}])
def test_what_may_change_between_is_no_bias(wrong: dict[str, Any]) -> None:
    assert _zeros(start_sums(_flat(**wrong))) == 1
