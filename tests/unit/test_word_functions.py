"""The runtime's functions for int8 on processors without vectors, on this machine, one by one."""

from __future__ import annotations

import ctypes
import subprocess
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

RUNTIME = files("compiler.artifact") / "runtime"
SOURCES = ("plain_depthwise.c", "word_sums.c")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    built = tmp_path_factory.mktemp("words") / "words.so"
    # -U__ELF__: else the functions are hidden in the library.
    flags = ("-O1", "-std=c99", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared")
    define = ("-DTUNESMITH_PREFIX=m", "-U__ELF__", f"-I{RUNTIME}")
    sources = [str(Path(str(RUNTIME)) / name) for name in SOURCES]
    subprocess.run(["cc", *flags, *define, *sources, "-o", str(built)], check=True)
    return ctypes.CDLL(str(built))


def call(library: ctypes.CDLL, name: str, *arguments: Any) -> None:
    given = [
        a.ctypes.data_as(ctypes.c_void_p) if isinstance(a, np.ndarray) else ctypes.c_int32(a)
        for a in arguments
    ]
    getattr(library, f"m__tunesmith_{name}")(*given)


def integers(shape: tuple[int, ...], seed: int, least: int = -128) -> np.ndarray:
    return np.random.default_rng(seed).integers(least, 128, shape).astype(np.int8)


@pytest.mark.parametrize("lanes", [4, 8])
@pytest.mark.parametrize("columns", [1, 4, 7])
@pytest.mark.parametrize("depth", [1, 3, 8, 64, 65, 150])
@pytest.mark.parametrize(
    ("taps_y", "taps_x", "dilation"), [(1, 1, 1), (3, 1, 1), (1, 3, 2), (2, 3, 1), (3, 2, 2)]
)
def test_sums(
    library: ctypes.CDLL,
    lanes: int,
    columns: int,
    depth: int,
    taps_y: int,
    taps_x: int,
    dilation: int,
) -> None:
    width = columns + (taps_x - 1) * dilation
    rows = integers((taps_y, width, depth), depth)
    weights = integers((taps_y, taps_x, depth, lanes), columns, -127)
    sums = np.full((columns, lanes), -1, np.int32)
    expected = np.zeros_like(sums)
    for column in range(columns):
        for x in range(taps_x):
            taken = rows[:, column + x * dilation].astype(np.int32)
            expected[column] += np.einsum("yk,ykl->l", taken, weights[:, x].astype(np.int32))
    strides = (lanes, depth, width * depth, dilation * depth, taps_x * depth * lanes, depth * lanes)
    call(library, "word_sums", sums, rows, weights, columns, lanes, taps_y, taps_x, depth, *strides)
    np.testing.assert_array_equal(sums, expected)


@pytest.mark.parametrize(("data", "weight"), [(-128, -127), (-128, 127), (127, 127)])
@pytest.mark.parametrize("columns", [1, 2, 4])
def test_largest_sums_stay_in_their_fields(
    library: ctypes.CDLL, data: int, weight: int, columns: int
) -> None:
    depth, lanes = 128, 8
    rows = np.full((columns, depth), data, np.int8)
    weights = np.full((depth, lanes), weight, np.int8)
    weights[:, 1::2] = -weight
    sums = np.zeros((columns, lanes), np.int32)
    strides = (lanes, depth, 0, 0, 0, 0)
    call(library, "word_sums", sums, rows, weights, columns, lanes, 1, 1, depth, *strides)
    expected = rows.astype(np.int32) @ weights.astype(np.int32)
    np.testing.assert_array_equal(sums, expected)


@pytest.mark.parametrize("columns", [1, 2, 5, 6])
@pytest.mark.parametrize("out_rows", [1, 3])
@pytest.mark.parametrize(("taps_y", "taps_x"), [(1, 1), (3, 3), (2, 3), (5, 4)])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (3, 1), (1, 2)])
def test_depthwise(
    library: ctypes.CDLL,
    columns: int,
    out_rows: int,
    taps_y: int,
    taps_x: int,
    stride: int,
    dilation: int,
) -> None:
    lanes, width = 3, (columns - 1) * stride + (taps_x - 1) * dilation + 1
    rows = integers((out_rows - 1 + taps_y, width, lanes), columns)
    weights = integers((taps_y, taps_x, lanes), taps_x)
    sums = np.full((out_rows, columns, lanes), -1, np.int32)
    expected = np.zeros_like(sums)
    for row, column, y, x in np.ndindex(out_rows, columns, taps_y, taps_x):
        taken = rows[row + y, column * stride + x * dilation].astype(np.int32)
        expected[row, column] += taken * weights[y, x]
    extents = (columns, lanes, taps_y, taps_x)
    strides = (lanes, stride * lanes, width * lanes, dilation * lanes, taps_x * lanes, lanes)
    more = (out_rows, columns * lanes, width * lanes)
    call(library, "plain_depthwise", sums, rows, weights, *extents, *strides, *more)
    np.testing.assert_array_equal(sums, expected)
