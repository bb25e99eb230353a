"""The runtime's sums by products of tiles, alone, with AMX emulated: every sum is exact.

Operands end where memory does, so that no tile may reach beyond them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from compiler.artifact import link
from tests.emulated_amx import FLAGS
from tests.sum_cases import (
    UNTOUCHED,
    Case,
    build_program,
    drawn_integers,
    expected_memory,
    reach,
    run_cases,
    viewed,
)

CASES, NUMBERS = 60, 12
FUNCTIONS = {"tunesmith_amx_sums": "int8", "tunesmith_amx_unsigned_sums": "uint8"}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    @cache
    def built(name: str) -> Path:
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(link._ABOVE_BASELINE, "amx_sums.c", FLAGS)
            return build_program(name, NUMBERS, "x86-64-v3", tmp_path_factory.mktemp(name))

    return built


@pytest.mark.parametrize("name", FUNCTIONS)
def test_sums_are_exact(name: str, program: Callable[[str], Path]) -> None:
    random = np.random.default_rng(sum(name.encode()))
    cases = [_case(random, FUNCTIONS[name]) for _ in range(CASES)]
    made = run_cases(program(name), cases, [])
    wrong = [c.numbers for c, m in zip(cases, made, strict=True) if (m != c.expected).any()]
    assert wrong == []
    columns = {min(case.numbers[0] // 16, 2) for case in cases}
    blocks, steps = {case.numbers[1] for case in cases}, {case.numbers[5] for case in cases}
    assert columns == {0, 1, 2}  # parts of a tile, one or two, more
    assert blocks == {1, 2, 3, 4}
    assert {1, 16} <= steps


def _case(random: np.random.Generator, dtype: str) -> Case:
    """Columns, blocks, taps and chunks of any number; a step that divides the chunks."""
    columns = int(random.choice([1, 3, 15, 16, 17, 31, 33, 50, 64]))
    blocks = int(random.integers(1, 5))
    step, steps = int(random.choice([1, 2, 5, 12, 16])), int(random.integers(1, 4))
    taps_y, taps_x = (int(n) for n in random.integers(1, 4, 2))
    chunks = step * steps
    in_x = 4 * chunks + int(random.integers(0, 9))
    in_y = taps_x * in_x + int(random.integers(0, 40))
    in_column = int(random.integers(1, 3 * in_x))
    of_tap = 64 * chunks
    weight_block = taps_y * taps_x * of_tap + 64 * int(random.integers(0, 2))
    sums_block = 16 + int(random.integers(0, 5))
    sums_column = blocks * sums_block
    taken = [(taps_y, in_y), (taps_x, in_x), (chunks, 4), (4, 1)]
    packed = [(blocks, weight_block), (taps_y, taps_x * of_tap), (taps_x, of_tap)]
    packed = [*packed, (chunks, 64), (16, 4), (4, 1)]
    least = int(np.iinfo(dtype).min)
    inputs = drawn_integers(random, reach((columns, in_column), *taken), dtype, least)
    weights = drawn_integers(random, reach(*packed), "int8", -128)
    sums = np.einsum(
        "cyxik,byxilk->cbl",
        viewed(inputs, (columns, in_column), *taken),
        viewed(weights, *packed),
    )
    expected = expected_memory(_with_gaps(sums, sums_block), sums_column)
    sizes = (columns, blocks, taps_y, taps_x, chunks, step)
    strides = (sums_column, sums_block, in_column, in_y, in_x, weight_block)
    return Case(inputs=inputs, weights=weights, numbers=(*sizes, *strides), expected=expected)


def _with_gaps(sums: np.ndarray, stride: int) -> np.ndarray:
    """Sums `[column, block, lane]` as a column of them lies in memory."""
    columns, blocks, lanes = sums.shape
    memory = np.full((columns, (blocks - 1) * stride + lanes), UNTOUCHED, np.int64)
    for block in range(blocks):
        memory[:, block * stride :][:, :lanes] = sums[:, block]
    return memory
