"""Copies of two vectors in turns: which become shuffles, what they copy, and what stays loops."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tvm import te, tirx
from tvm.s_tir import Schedule
from tvm.tirx import PrimFunc

from compiler.kernels.build import build_kernel
from compiler.kernels.passes import lower_to_loops
from compiler.program import ScheduleOutcome
from compiler.target_spec import load_target
from compiler.tvm_target import tvm_target
from schedules import roles
from tests.native_kernel import NativeKernel

V3 = tvm_target(load_target("x86-64-v3"))
ROWS, CHANNELS = 6, 32
Element = Callable[[te.Tensor, Any, Any], Any]


def _kernel(element: Element, lanes: int) -> PrimFunc:
    """pairs[k, c, i] = element(x, 2 * k + i, c), channels marked in vectors of `lanes`."""
    x = te.placeholder((ROWS, 2 * CHANNELS), "int8", name="x")
    shape = (ROWS // 2, CHANNELS, 2)
    y = te.compute(shape, lambda k, c, i: element(x, 2 * k + i, c), name="y")
    sch = Schedule(te.create_prim_func([x, y]))
    _, channel, _ = sch.get_loops("y")
    _, lane = sch.split(channel, factors=[None, lanes])
    sch.annotate(lane, roles.INTERLEAVED, 1)
    return sch.mod["main"]


def _plain(x: te.Tensor, row: Any, c: Any) -> Any:
    return x[row, c].astype("int16") + tirx.const(7, "int16")


def _padded(x: te.Tensor, row: Any, c: Any) -> Any:
    inside = tirx.all(row >= 1, row < ROWS - 1)
    return tirx.if_then_else(inside, _plain(x, row, c), tirx.const(0, "int16"))


@pytest.mark.parametrize("lanes", [4, 8, 16])
@pytest.mark.parametrize("element", [_plain, _padded])
def test_pairs_of_rows(element: Element, lanes: int, tmp_path: Path) -> None:
    func = _kernel(element, lanes)
    assert "T.Shuffle" in str(lower_to_loops(func, V3).script())
    outcome = ScheduleOutcome(source="rule", name="test", reason="")
    kernel = build_kernel(func, name="pairs", input_count=1, outcome=outcome, target=V3)
    x = np.random.default_rng(lanes).integers(-128, 127, (ROWS, 2 * CHANNELS)).astype(np.int8)
    (made,) = NativeKernel(kernel, tmp_path)([x], [("int16", (ROWS // 2, CHANNELS, 2))])
    rows = x[:, :CHANNELS].astype(np.int16) + 7
    if element is _padded:
        rows[[0, -1]] = 0
    assert np.array_equal(made, rows.reshape(ROWS // 2, 2, CHANNELS).transpose(0, 2, 1))


@pytest.mark.parametrize(
    "element",
    [
        lambda x, row, c: x[row, 2 * c].astype("int16"),  # lanes do not lie together
        lambda x, row, c: tirx.if_then_else(  # a test of the lane
            c < 5, x[row, c].astype("int16"), tirx.const(0, "int16")
        ),
    ],
    ids=["apart", "by-lane"],
)
def test_other_copies_stay_loops(element: Element) -> None:
    text = str(lower_to_loops(_kernel(element, 16), V3).script())
    assert "T.Shuffle" not in text
    assert roles.INTERLEAVED not in text
