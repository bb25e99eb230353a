"""Register tiles: they fit, divide the output, and leave the multiply-add units no wait."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedules.cpu.register_tile import Tile, choose_tile

REGISTERS = [16, 32]


@given(st.integers(1, 64), st.integers(1, 200), st.sampled_from(REGISTERS))
def test_tile_fits_and_divides(blocks: int, columns: int, registers: int) -> None:
    tile = choose_tile(blocks, columns, registers)
    assert blocks % tile.blocks == 0
    assert columns % tile.columns == 0
    if tile.columns > 1:  # accumulators, a vector of weights for each block, a broadcast input
        assert tile.accumulators + tile.blocks + 1 <= registers


@given(st.integers(1, 32), st.integers(1, 12), st.integers(1, 12), st.sampled_from(REGISTERS))
def test_tile_is_a_part_of_a_row_or_whole_rows(
    blocks: int, rows: int, row: int, registers: int
) -> None:
    tile = choose_tile(blocks, rows * row, registers, row=row)
    assert row % tile.columns == 0 or tile.columns % row == 0


@pytest.mark.parametrize(
    ("blocks", "columns", "registers", "least"),
    [
        (8, 56, 32, 8),
        (1, 56, 16, 8),
        (4, 49, 32, 8),  # 7 x 7 positions
        (8, 1, 32, 8),  # a matrix-vector product: blocks give the independent sums
    ],
)
def test_enough_independent_sums_where_the_shape_has_them(
    blocks: int, columns: int, registers: int, least: int
) -> None:
    assert choose_tile(blocks, columns, registers).accumulators >= least


def test_squarer_tile_loads_less() -> None:
    assert Tile(2, 12).loads_for_each_sum < Tile(1, 24).loads_for_each_sum
    assert choose_tile(2, 12, 32) == Tile(2, 12)
