"""The runtime's functions for pairs of small integers, in plain C on this machine, one by one."""

from __future__ import annotations

import ctypes
import subprocess
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

RUNTIME = files("compiler.artifact") / "runtime"
SOURCES = ("pair_depthwise.c", "pair_rows.c", "pair_sums.c")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    built = tmp_path_factory.mktemp("pairs") / "pairs.so"
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


def integers(shape: tuple[int, ...], dtype: str, seed: int) -> np.ndarray:
    limits = (-256, 256) if dtype == "int16" else (-128, 128)
    return np.random.default_rng(seed).integers(*limits, shape).astype(dtype)


@pytest.mark.parametrize("columns", [1, 2, 3, 4, 5, 7, 8])
@pytest.mark.parametrize("run", [1, 2, 3, 4, 6, 8, 13, 16])
@pytest.mark.parametrize(("taps_y", "taps_x", "step"), [(1, 1, 5), (3, 1, 3), (2, 3, 1)])
def test_sums(
    library: ctypes.CDLL, columns: int, run: int, taps_y: int, taps_x: int, step: int
) -> None:
    blocks, width = 3, (columns - 1) * step + run + 2 * (taps_x - 1) + 1
    rows = integers((taps_y, width), "int16", run)
    weights = integers((blocks, taps_y, taps_x, run, 2), "int8", columns)
    sums = np.full((blocks, columns, 2), -1, np.int32)
    expected = np.zeros_like(sums)
    for column in range(columns):
        for x in range(taps_x):
            start = column * step + 2 * x
            taken = rows[:, start : start + run].astype(np.int64)
            expected[:, column] += np.einsum("yk,bykl->bl", taken, weights[:, :, x]).astype("int32")
    strides = (step, 2 * columns, taps_y * taps_x * run * 2, width, 2, taps_x * run * 2, run * 2)
    call(library, "pair_sums", sums, rows, weights, columns, blocks, taps_y, taps_x, run, *strides)
    np.testing.assert_array_equal(sums, expected)


@pytest.mark.parametrize("columns", [1, 2, 3, 4, 7, 9])
@pytest.mark.parametrize(("taps_y", "taps_x"), [(1, 1), (3, 3), (2, 3), (5, 4)])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (3, 1), (1, 2)])
def test_depthwise(
    library: ctypes.CDLL, columns: int, taps_y: int, taps_x: int, stride: int, dilation: int
) -> None:
    channels, width = 6, (columns - 1) * stride + (taps_x - 1) * dilation + 1
    rows = integers((taps_y, width, 2), "int16", columns)
    weights = integers((taps_y, taps_x, channels), "int16", taps_x)
    sums = np.full((columns, 2), -1, np.int32)
    expected = np.zeros_like(sums)
    for column in range(columns):
        for x in range(taps_x):
            taken = rows[:, column * stride + x * dilation].astype(np.int32)
            expected[column] += (taken * weights[:, x, :2]).sum(axis=0)
    strides = (2 * stride, 2 * width, 2 * dilation, taps_x * channels, channels)
    call(library, "pair_depthwise", sums, rows, weights, columns, taps_y, taps_x, *strides)
    np.testing.assert_array_equal(sums, expected)


@pytest.mark.parametrize("count", [0, 1, 7, 8, 21])
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_rows(library: ctypes.CDLL, count: int, dtype: str) -> None:
    given = integers((count + 1,), "int8", count).view(dtype)
    made = np.full(3 + count + 2 + 1, 99, np.int16)
    call(library, "pair_rows", made, given, 3, count, 2, -117, int(dtype == "uint8"))
    middle = given[:count].astype(np.int16) - 117
    np.testing.assert_array_equal(made, [0, 0, 0, *middle, 0, 0, 99])


@pytest.mark.parametrize("channels", [2, 4, 6, 8, 18])
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_planes(library: ctypes.CDLL, channels: int, dtype: str) -> None:
    count, positions = 5, 1 + 5 + 2
    given = integers((count, channels), "int8", channels).view(dtype)
    made = np.full((channels // 2, positions, 2), 99, np.int16)
    numbers = (1, count, 2, channels, 2 * positions, 128, int(dtype == "uint8"))
    call(library, "pair_planes", made, given, *numbers)
    expected = np.zeros_like(made)
    split = given.reshape(count, channels // 2, 2).transpose(1, 0, 2).astype(np.int16)
    expected[:, 1 : 1 + count] = split + 128
    np.testing.assert_array_equal(made, expected)
