"""Sums that fill tiles of AMX, and their nests as calls of the runtime."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import pytest
from tvm import s_tir, te
from tvm.tirx import PrimFunc

from compiler.artifact.write import RUNTIME_FUNCTION_FILES
from compiler.kernels.passes import lower_to_loops
from compiler.kernels.tile_sums import TILE_FUNCTIONS
from compiler.target_spec import load_target
from compiler.tvm_target import tvm_target
from schedules import roles, steps
from schedules.cpu.amx_tiles import TileSteps, tile_steps

TARGET = tvm_target(load_target("sapphire-rapids"))


def _convolution(
    *,
    dtype: str = "int8",
    weight_dtype: str = "int8",
    gap: int = 0,
    stride: int = 4,
    lanes: int = 16,
    step: int = 3,
    lanes_first: bool = True,
) -> PrimFunc:
    """y[6, 2, lanes] from x[3, 8 * stride + 8] and three by three taps of two chunks; marked.

    Args:
        gap: empty taps between the rows of taps in the weights.
        stride: inputs from one tap to the next; 8 if they lie together.
    """
    x = te.placeholder((3, 8 * stride + 8), dtype, name="x")
    w = te.placeholder((2, 3, 3 + gap, 2, lanes, 4), weight_dtype, name="w")
    axes = [te.reduce_axis((0, n), k) for n, k in ((3, "ky"), (3, "kx"), (2, "chunk"), (4, "k"))]
    ky, kx, chunk, k = axes

    def term(i: Any, o: Any, j: Any) -> Any:
        factor = w[o, ky, kx, chunk, j, k].astype("int32")
        return te.sum(x[ky, (i + kx) * stride + chunk * 4 + k].astype("int32") * factor, axis=axes)

    y = te.compute((6, 2, lanes), term, name="y")
    sch = s_tir.Schedule(te.create_prim_func([x, w, y]))
    block = sch.get_sblock("y")
    column, one, lane, *summed = sch.get_loops(block)
    nest = (lane, one, column, *summed) if lanes_first else (column, lane, one, *summed)
    steps.mark_sums(sch, block, 0, nest, 0, roles.TILE_SUMS, step)
    return sch.mod["main"]


@pytest.mark.parametrize(
    ("dtype", "stride", "step", "function", "numbers"),
    [
        # columns, blocks, taps down and across, chunks, those of a step; strides of columns and
        # blocks of sums, of columns and taps of inputs, of blocks of weights
        ("int8", 8, 3, "tunesmith_amx_sums", "6, 2, 3, 1, 6, 3, 32, 16, 8, 72, 0, 1152"),
        ("uint8", 8, 6, "tunesmith_amx_unsigned_sums", "6, 2, 3, 1, 6, 6, 32, 16, 8, 72, 0, 1152"),
        ("int8", 12, 2, "tunesmith_amx_sums", "6, 2, 3, 3, 2, 2, 32, 16, 12, 104, 12, 1152"),
    ],
)
def test_nest_becomes_a_call_with_extents_and_strides(
    dtype: str, stride: int, step: int, function: str, numbers: str
) -> None:
    func = _convolution(dtype=dtype, stride=stride, step=step)
    text = lower_to_loops(func, TARGET).script()
    assert f'"{function}"' in text
    assert numbers in text
    assert "for " not in text  # neither the nest nor the zeros before it


@pytest.mark.parametrize(
    "func",
    [
        _convolution(stride=8, gap=1),
        _convolution(stride=8, lanes_first=False),
        _convolution(stride=8, weight_dtype="int16"),
        _convolution(stride=8, dtype="int16"),
        _convolution(stride=8, lanes=8),
        _convolution(stride=8, step=4),
        _convolution(stride=12, step=3),
    ],
    ids=["taps-apart", "lanes-inside", "int16", "wide-inputs", "lanes", "step", "step-of-two-taps"],
)
def test_nest_that_no_function_sums_stays(func: PrimFunc) -> None:
    text = lower_to_loops(func, TARGET).script()
    assert "call_extern" not in text
    assert "= 0" in text  # the zeros before it stay too
    assert roles.TILE_SUMS not in text


def test_file_of_the_functions_is_there() -> None:
    shipped = {file.name for file in (files("compiler.artifact") / "runtime").iterdir()}
    assert {RUNTIME_FUNCTION_FILES[function] for function in TILE_FUNCTIONS} <= shipped


@pytest.mark.parametrize(
    ("rows", "depth", "taps", "expected"),
    [
        (3136, 64, 1, TileSteps(16, 16)),
        (16, 16, 1, TileSteps(4, 4)),  # a quarter of a tile
        (16, 12, 1, None),  # less
        (4, 64, 1, TileSteps(16, 16)),
        (3, 64, 1, None),
        (17, 32, 1, TileSteps(8, 8)),  # two tiles of nine rows
        (56, 3, 7, TileSteps(1, 7)),
        (14, 16, 3, TileSteps(4, 12)),  # taps of a row together
        (196, 160, 1, TileSteps(40, 10)),  # four steps; three would need a copy
        (196, 68, 1, TileSteps(32, 16)),  # two instead of 17
        (196, 96, 1, TileSteps(24, 12)),
        (196, 240, 1, TileSteps(60, 15)),
    ],
)
def test_steps_of_a_sum(rows: int, depth: int, taps: int, expected: TileSteps | None) -> None:
    assert tile_steps(rows, depth, taps) == expected
