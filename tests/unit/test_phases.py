"""A kernel cut into phases: what is shared, what belongs to a worker, what stays on the stack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper
from tvm import te, tirx
from tvm.s_tir import Schedule
from tvm.tirx import PrimFunc

from compiler.kernels.build import build_kernel
from compiler.kernels.phases import SCRATCH_ALIGNMENT, STACK_BUFFER_BYTES
from compiler.program import CompiledKernel, ScheduleOutcome
from compiler.target_spec import load_target
from compiler.tvm_target import tvm_target
from tests.native_kernel import (
    NativeKernel,
    Split,
    all_at_once,
    build_kernels,
    one_by_one_backwards,
    second_half_first,
)
from tests.onnx_models import make_model

ROWS, COLUMNS = 6, 40
SHAPE = (ROWS, COLUMNS)


def _two_steps() -> PrimFunc:
    """``y[i, j] = sum over all rows r of exp(x[r, j]) + exp(x[i, j])``."""
    x = te.placeholder(SHAPE, "float32", name="x")
    power = te.compute(SHAPE, lambda i, j: tirx.exp(x[i, j]), name="power")
    r = te.reduce_axis((0, ROWS), "r")
    total = te.compute((COLUMNS,), lambda j: te.sum(power[r, j], axis=r), name="total")
    y = te.compute(SHAPE, lambda i, j: total[j] + power[i, j], name="y")
    return te.create_prim_func([x, y])


def _expected(x: np.ndarray) -> np.ndarray:
    power = np.exp(x.astype(np.float64))
    return np.asarray(power.sum(axis=0) + power)


def _parallel_blocks(*names: str) -> Schedule:
    """The two steps with the outer loop of some blocks shared by cores."""
    sch = Schedule(_two_steps())
    for name in names:
        sch.parallel(sch.get_loops(sch.get_sblock(name))[0])
    return sch


def _build(func: PrimFunc, inputs: int = 1) -> CompiledKernel:
    return build_kernel(
        func,
        name="kernel",
        input_count=inputs,
        outcome=ScheduleOutcome(source="rule", name="test"),
        target=tvm_target(load_target("host")),
    )


def _extents(kernel: CompiledKernel) -> list[int]:
    return [phase.extent for phase in kernel.phases]


def test_each_parallel_nest_is_a_phase_with_shared_scratch() -> None:
    kernel = _build(_parallel_blocks("power", "total", "y").mod["main"])
    assert _extents(kernel) == [ROWS, COLUMNS, ROWS]
    assert [phase.symbol for phase in kernel.phases] == ["kernel_p0", "kernel_p1", "kernel_p2"]
    assert sorted(kernel.memory.scratch_bytes) == [4 * COLUMNS, 4 * ROWS * COLUMNS]
    assert kernel.memory.worker_scratch_bytes == 0


def test_serial_loops_between_are_one_phase() -> None:
    assert _extents(_build(_parallel_blocks("y").mod["main"])) == [1, ROWS]
    assert _extents(_build(_parallel_blocks("power").mod["main"])) == [ROWS, 1]
    kernel = _build(_parallel_blocks().mod["main"])
    assert _extents(kernel) == [1]
    assert [phase.symbol for phase in kernel.phases] == ["kernel"]


@pytest.mark.parametrize("split", [all_at_once, one_by_one_backwards, second_half_first])
@pytest.mark.parametrize(
    "parallel", [("power", "total", "y"), ("power", "y"), ("total",), ("y",), ()]
)
def test_any_cut_and_any_order_give_the_same_numbers(
    parallel: tuple[str, ...], split: Split, tmp_path: Path
) -> None:
    native = NativeKernel(_build(_parallel_blocks(*parallel).mod["main"]), tmp_path)
    x = np.random.default_rng(0).standard_normal(SHAPE, dtype=np.float32)
    (y,) = native([x], [("float32", SHAPE)], split=split)
    np.testing.assert_allclose(y, _expected(x), rtol=1e-5)  # float32 sums of 6


def _copied_rows(*sizes: int) -> PrimFunc:
    """For each row a buffer of each size, filled and then read backwards: worker scratch."""
    most = max(sizes)
    x = te.placeholder((ROWS, most), "float32", name="x")
    copies = [
        te.compute((ROWS, size), lambda i, j: tirx.exp(x[i, j]), name=f"copy{number}")
        for number, size in enumerate(sizes)
    ]
    y = te.compute(
        (ROWS, min(sizes)),
        lambda i, j: sum((c[i, int(c.shape[1]) - 1 - j] for c in copies), tirx.const(0.0)),
        name="y",
    )
    sch = Schedule(te.create_prim_func([x, y]))
    row = sch.get_loops(sch.get_sblock("y"))[0]
    for number in range(len(sizes)):
        sch.compute_at(sch.get_sblock(f"copy{number}"), row, preserve_unit_loops=True)
    sch.parallel(row)
    return sch.mod["main"]


def test_large_buffers_of_a_work_item_lie_in_worker_scratch() -> None:
    size = STACK_BUFFER_BYTES // 4 + 1
    kernel = _build(_copied_rows(size, size))
    assert _extents(kernel) == [ROWS]
    assert kernel.memory.scratch_bytes == ()
    aligned = -(-4 * size // SCRATCH_ALIGNMENT) * SCRATCH_ALIGNMENT
    assert kernel.memory.worker_scratch_bytes == 2 * aligned


def test_small_buffers_of_a_work_item_lie_on_the_stack() -> None:
    kernel = _build(_copied_rows(STACK_BUFFER_BYTES // 4))
    assert kernel.memory.scratch_bytes == ()
    assert kernel.memory.worker_scratch_bytes == 0


@pytest.mark.parametrize("sizes", [(16,), (300,), (129, 300)])
def test_worker_scratch_is_not_shared_by_work_items(sizes: tuple[int, ...], tmp_path: Path) -> None:
    native = NativeKernel(_build(_copied_rows(*sizes)), tmp_path)
    x = np.random.default_rng(0).standard_normal((ROWS, max(sizes)), dtype=np.float32)
    wanted = sum(np.exp(x[:, :size])[:, ::-1][:, : min(sizes)] for size in sizes)
    types = [("float32", (ROWS, min(sizes)))]
    (y,) = native([x], types, split=one_by_one_backwards)
    np.testing.assert_allclose(y, wanted, rtol=1e-5)


def test_parallel_loops_inside_others_become_serial() -> None:
    """A phase shares out its outer loop only; TVM's launcher would be called for another."""
    sch = Schedule(_two_steps())
    for name in ("power", "y"):
        outer, inner = sch.get_loops(sch.get_sblock(name))
        sch.parallel(outer if name == "power" else inner)
    kernel = _build(sch.mod["main"])
    assert _extents(kernel) == [ROWS, 1]


def test_loops_of_a_scatter_are_phases() -> None:
    """TVM writes it with a pragma around the loops: the copy of the data, then the updates."""
    model = make_model(
        [helper.make_node("ScatterElements", ["x", "i", "u"], ["y"], name="scatter")],
        inputs={"x": ("float32", [4, 4]), "i": ("int64", [2, 4]), "u": ("float32", [2, 4])},
        outputs={"y": ("float32", [4, 4])},
    )
    _, kernels = build_kernels(model)
    assert _extents(kernels["scatter_elements_float32_4x4"]) == [16, 4]


def test_pair_reduced_to_one_number(tmp_path: Path) -> None:
    """Names bound in the order of the statements: they read what a store before them wrote."""
    x = te.placeholder((1,), "float32", name="x")
    r = te.reduce_axis((0, 1), "r")

    def larger(a: Any, b: Any) -> Any:
        best = tirx.Select(a[1] >= b[1], a[0], b[0])
        return best, tirx.Select(a[1] >= b[1], a[1], b[1])

    argmax = te.comm_reducer(
        larger, lambda _, t: (tirx.const(-1, "int32"), tirx.min_value(t)), name="argmax"
    )
    pair = te.compute((), lambda: argmax((tirx.Cast("int32", r.var), x[r]), axis=r), name="pair")
    y = te.compute((), lambda: pair[0](), name="y")
    native = NativeKernel(_build(te.create_prim_func([x, y])), tmp_path)
    (place,) = native([np.asarray([3.0], np.float32)], [("int32", ())])
    assert int(place) == 0
