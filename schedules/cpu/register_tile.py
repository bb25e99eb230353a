"""How many accumulators fit the vector registers, and in which shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm import s_tir

from schedules import steps

# Fewer independent sums than this leave the multiply-add units waiting: 2 units x 4 cycles.
LEAST_ACCUMULATORS = 8


# Vectors of output in a tile; many only where there are few positions.
BLOCK_TILES = (1, 2, 4, 8)


@dataclass(frozen=True, slots=True)
class Tile:
    """A tile of the output: `blocks` vectors of channels at `columns` positions."""

    blocks: int
    columns: int

    @property
    def accumulators(self) -> int:
        return self.blocks * self.columns

    @property
    def loads_for_each_sum(self) -> float:
        """Vectors of weights and broadcast inputs loaded for each multiply-add."""
        return (self.blocks + self.columns) / self.accumulators


def choose_tile(blocks: int, columns: int, registers: int, row: int | None = None) -> Tile:
    """Return the tile with the fewest loads that fits the registers and divides the output.

    Registers hold the accumulators, one vector of weights for each block and one broadcast input.

    Args:
        blocks: vectors of output at one position.
        columns: positions.
        row: positions come in rows of this many; a tile is part of a row or whole rows.
    """
    best = Tile(1, 1)
    for block_tile in BLOCK_TILES:
        if blocks % block_tile:
            continue
        room = (registers - block_tile - 1) // block_tile
        tile = Tile(block_tile, _most_columns(columns, max(1, room), row or columns))
        if _rank(tile) > _rank(best):
            best = tile
    return best


def _most_columns(columns: int, room: int, row: int) -> int:
    fitting = [d for d in range(1, min(columns, room) + 1) if columns % d == 0]
    return max(d for d in fitting if row % d == 0 or d % row == 0)


def _rank(tile: Tile) -> tuple[int, float]:
    return min(tile.accumulators, LEAST_ACCUMULATORS), -tile.loads_for_each_sum


def sums_in_registers(sch: s_tir.Schedule, conv: Any, depth: int) -> None:
    """Schedule a convolution's tile: input channels and taps outside, one vector innermost.

    Below its first `depth` loops the block has a tile of one batch, group and row.
    """
    loops = list(sch.get_loops(conv))[depth:]
    batch, group, block, row, column, lane, *reduction = loops
    # Blocks inside columns: one broadcast input is live, beside the weights of all blocks.
    sch.reorder(batch, group, row, *reduction, column, block, lane)
    for loop in (block, column):
        sch.unroll(loop)
    sch.vectorize(lane)
    start = sch.decompose_reduction(conv, reduction[0])
    steps.unroll_tile(sch, start, depth)
