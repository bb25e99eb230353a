"""What cores share of a kernel that the fallback schedules: no more loops than they need."""

from __future__ import annotations

import pytest
import tvm_ffi
from tvm import te, tirx

from compiler.kernels.passes import lower_to_loops
from compiler.target_spec import load_target
from compiler.tvm_target import tvm_target
from schedules.steps import ITEMS_FOR_EACH_CORE
from tests.lowered import apply_fallback, fixed_spec


def parallel_extents(shape: tuple[int, ...], axes: tuple[int, ...]) -> list[int]:
    """Extents of the parallel loops of a transposition."""
    source = te.placeholder(shape, "float32", name="source")
    turned = te.compute(
        tuple(shape[axis] for axis in axes),
        lambda *at: source[tuple(at[axes.index(axis)] for axis in range(len(axes)))],
    )
    schedule, _ = apply_fallback(te.create_prim_func([source, turned]))
    found: list[int] = []

    def look(loop: tirx.For) -> None:
        if loop.kind == tirx.ForKind.PARALLEL:
            found.append(int(loop.extent))

    tvm_ffi.structural.structural_walk(schedule.mod["main"].body, (tirx.For, look))
    return found


@pytest.mark.parametrize(
    ("shape", "axes", "expected"),
    [
        ((3, 5, 100, 4, 16), (2, 1, 0, 3, 4), [100]),  # enough: the loops below stay as they are
        ((3, 2, 4, 16), (2, 1, 0, 3), [4 * 2 * 3 * 2]),  # all of them, and the vectors of a row
    ],
)
def test_outer_loops_until_there_is_work(
    shape: tuple[int, ...], axes: tuple[int, ...], expected: list[int]
) -> None:
    wanted = ITEMS_FOR_EACH_CORE * fixed_spec().cores.count
    assert wanted <= 32, "the shapes are made for a machine of four cores"
    assert parallel_extents(shape, axes) == expected


def test_vectors_that_cross_three_channels_are_loaded_whole() -> None:
    source = te.placeholder((1, 96, 96, 3), "float32", name="source")
    small = te.compute(source.shape, lambda *at: (source[at] * 2.0).astype("int8"), name="small")
    schedule, _ = apply_fallback(te.create_prim_func([source, small]))
    text = lower_to_loops(schedule.mod["main"], tvm_target(load_target("cortex-a72"))).script()
    loads = [line for line in text.splitlines() if "source_1[" in line]
    assert len(loads) == 1
    assert "T.Ramp" in loads[0]
    assert "//" not in loads[0]  # else each lane is loaded by itself
    assert "%" not in loads[0]
