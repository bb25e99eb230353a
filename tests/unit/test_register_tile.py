"""Register tiles: they fit, divide the output, and leave the multiply-add units no wait."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedules.cpu.register_tile import (
    FMAS_A_CYCLE,
    WEIGHTS_IN_FLIGHT,
    Tile,
    choose_scalar_tile,
    choose_tile,
)

REGISTERS = [16, 32]


@given(st.integers(1, 64), st.integers(1, 200), st.sampled_from(REGISTERS))
def test_tile_fits_and_divides_the_blocks(blocks: int, columns: int, registers: int) -> None:
    tile = choose_tile(blocks, columns, registers)
    assert blocks % tile.blocks == 0
    assert tile.columns <= columns
    if tile.columns > 1:  # accumulators, a vector of weights for each block, a broadcast input
        assert tile.accumulators + tile.blocks + 1 <= registers


@given(st.integers(1, 64), st.integers(1, 200))
def test_tile_with_vectors_of_inputs_fits(blocks: int, columns: int) -> None:
    tile = choose_tile(blocks, columns, 32, by_lane=True)
    assert blocks % tile.blocks == 0
    if tile.columns > 1:  # accumulators, a vector of inputs for each column, weights
        assert tile.accumulators + tile.columns + WEIGHTS_IN_FLIGHT <= 32


@given(st.integers(1, 16), st.integers(12, 200), st.sampled_from(REGISTERS))
def test_no_number_of_columns_costs_much_more_than_its_arithmetic(
    pairs: int, columns: int, registers: int
) -> None:
    tile = choose_tile(2 * pairs, columns, registers)
    whole, rest = divmod(columns, tile.columns)
    cycles = whole * tile.cycles + (Tile(tile.blocks, rest).cycles if rest else 0)
    assert cycles <= 1.15 * columns * tile.blocks / FMAS_A_CYCLE


@pytest.mark.parametrize(
    ("blocks", "columns", "registers", "least"),
    [
        (8, 56, 32, 8),
        (1, 56, 16, 8),
        (4, 49, 32, 8),  # 7 x 7 positions
        (64, 49, 16, 8),
        (24, 197, 16, 8),  # a prime number of rows
        (8, 1, 32, 8),  # a matrix-vector product: blocks give the independent sums
    ],
)
def test_enough_independent_sums_where_the_shape_has_them(
    blocks: int, columns: int, registers: int, least: int
) -> None:
    assert choose_tile(blocks, columns, registers).accumulators >= least


def test_squarer_tile_loads_less() -> None:
    assert Tile(2, 12).loads_for_each_sum < Tile(1, 24).loads_for_each_sum
    assert choose_tile(4, 12, 32) == Tile(4, 6)


@given(st.integers(1, 16), st.integers(1, 200), st.sampled_from([2, 4]))
def test_tile_of_blocks_of_several_vectors_fits(blocks: int, columns: int, vectors: int) -> None:
    tile = choose_tile(blocks, columns, 15, vectors=vectors)
    assert blocks % tile.blocks == 0
    if tile.columns > 1:
        assert (tile.accumulators + tile.blocks) * vectors + 1 <= 15


def test_last_tile_counts() -> None:
    # 7 columns are 4 + 3; tiles of 5 leave 2, which wait for their own results.
    assert choose_tile(2, 7, 16) == Tile(2, 4)


@given(st.integers(1, 64), st.integers(1, 200), st.sampled_from([1, 2, 4]))
def test_tile_with_inputs_in_general_registers_fits(
    blocks: int, columns: int, vectors: int
) -> None:
    tile = choose_scalar_tile(blocks, columns, 8, vectors)
    assert blocks % tile.blocks == 0
    assert tile.columns <= columns
    assert tile.accumulators * vectors + 1 <= 8  # and a vector of weights


@pytest.mark.parametrize(
    ("blocks", "columns", "vectors", "tile"),
    [
        (8, 125, 2, Tile(1, 3)),  # six sums of seven registers
        (2, 16, 2, Tile(1, 2)),  # without a rest
        (8, 5, 2, Tile(1, 3)),  # with one: five single columns load each weight five times
        (8, 1, 4, Tile(1, 1)),  # a matrix and a vector: four sums
        (32, 1, 1, Tile(4, 1)),
    ],
)
def test_fewest_instructions_win(blocks: int, columns: int, vectors: int, tile: Tile) -> None:
    assert choose_scalar_tile(blocks, columns, 8, vectors) == tile
