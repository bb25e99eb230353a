"""Rounding by conversion and packing on x86: the same bytes as the contract's addition."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tvm import te
from tvm.s_tir import Schedule
from tvm.tirx import PrimFunc

from compiler.kernels.build import build_kernel
from compiler.kernels.passes import lower_to_loops
from compiler.program import ScheduleOutcome
from compiler.stages.operators.requantize import Bounds, rounded
from compiler.target_spec import load_target
from compiler.tvm_target import is_avx2, tvm_target
from tests.native_kernel import NativeKernel

V3 = tvm_target(load_target("x86-64-v3"))
BOUNDS = [
    Bounds(dtype="int8", zero=0, low=-128, high=127),
    Bounds(dtype="int8", zero=-128, low=-128, high=127),
    Bounds(dtype="int8", zero=127, low=-128, high=127),
    Bounds(dtype="int8", zero=-17, low=-17, high=99),
    Bounds(dtype="uint8", zero=0, low=0, high=255),
    Bounds(dtype="uint8", zero=255, low=0, high=255),
    Bounds(dtype="uint8", zero=131, low=131, high=200),
]
TIES = np.arange(-400, 400) + 0.5
FAR = [2.0**31, 2.0**40, 3e38, np.inf, 2.0**22, 2.0**23 + 1]
VALUES = np.concatenate([TIES, TIES + 0.25, np.arange(-400, 400), FAR, [-v for v in FAR]])
VALUES = np.resize(VALUES, 4096).astype(np.float32)
FITTING = np.resize(VALUES[np.abs(VALUES) <= 2.0**30], 4096)  # 32 bits


def _kernel(to: Bounds, lanes: int, *, is_widened: bool = False, fits: bool = False) -> PrimFunc:
    """y = rounded(x), or int32 of it plus 1000, in vectors."""

    def value(i: Any) -> Any:
        small = rounded(x[i], to, fits=fits)
        return small.astype("int32") + 1000 if is_widened else small

    x = te.placeholder(VALUES.shape, "float32", name="x")
    y = te.compute(VALUES.shape, value, name="y")
    sch = Schedule(te.create_prim_func([x, y]))
    _, vector = sch.split(sch.get_loops("y")[0], factors=[None, lanes])
    sch.vectorize(vector)
    return sch.mod["main"]


def _run(func: PrimFunc, dtype: str, folder: Path, values: np.ndarray = VALUES) -> np.ndarray:
    outcome = ScheduleOutcome(source="rule", name="test", reason="")
    kernel = build_kernel(func, name="rounding", input_count=1, outcome=outcome, target=V3)
    (made,) = NativeKernel(kernel, folder)([values], [(dtype, VALUES.shape)])
    return made


def _expected(to: Bounds, values: np.ndarray = VALUES) -> Any:
    return np.clip(np.rint(values.astype(np.float64)) + to.zero, to.low, to.high)


@pytest.mark.parametrize("lanes", [4, 8, 16, 32])
@pytest.mark.parametrize("to", BOUNDS, ids=str)
def test_same_bytes(to: Bounds, lanes: int, tmp_path: Path) -> None:
    made = _run(_kernel(to, lanes), to.dtype, tmp_path)
    assert np.array_equal(made, _expected(to))


@pytest.mark.parametrize("to", BOUNDS, ids=str)
def test_same_integers_in_further_arithmetic(to: Bounds, tmp_path: Path) -> None:
    made = _run(_kernel(to, 16, is_widened=True), "int32", tmp_path)
    assert np.array_equal(made, _expected(to) + 1000)


@pytest.mark.parametrize("lanes", [4, 8, 16])
@pytest.mark.parametrize("to", BOUNDS, ids=str)
def test_values_that_fit_saturate_by_themselves(to: Bounds, lanes: int, tmp_path: Path) -> None:
    func = _kernel(to, lanes, fits=True)
    made = _run(func, to.dtype, tmp_path, FITTING)
    assert np.array_equal(made, _expected(to, FITTING))


@pytest.mark.parametrize("to", BOUNDS, ids=str)
def test_values_that_fit_are_clipped_in_further_arithmetic(to: Bounds, tmp_path: Path) -> None:
    made = _run(_kernel(to, 8, fits=True, is_widened=True), "int32", tmp_path, FITTING)
    assert np.array_equal(made, _expected(to, FITTING) + 1000)


@pytest.mark.parametrize(("fits", "has_bound"), [(False, True), (True, False)])
def test_values_that_fit_need_no_upper_bound(fits: bool, has_bound: bool) -> None:
    text = str(lower_to_loops(_kernel(BOUNDS[1], 16, fits=fits), V3).script())
    assert ("T.min(" in text) == has_bound


@pytest.mark.parametrize(
    ("target", "lanes", "has_conversion", "by_halves"),
    [
        ("x86-64-v3", 16, True, True),
        ("x86-64-v3", 8, True, False),
        ("x86-64-v3", 4, False, False),
        ("x86-64-v4", 16, True, False),
        ("rv64gc", 16, False, False),
    ],
)
def test_which_vectors_are_packed(
    target: str, lanes: int, has_conversion: bool, by_halves: bool
) -> None:
    lowered = lower_to_loops(_kernel(BOUNDS[3], lanes), tvm_target(load_target(target)))
    text = str(lowered.script())
    assert ("llvm.lrint" in text, "packssdw" in text) == (has_conversion, by_halves)
    assert ("12582912" in text) != has_conversion


def test_avx512_packs_whole_registers() -> None:
    assert is_avx2(V3)
    assert not is_avx2(tvm_target(load_target("x86-64-v4")))
