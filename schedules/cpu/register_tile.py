"""How many accumulators fit the vector registers, and in which shape."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tvm import s_tir

from schedules import match, steps

# What cores of today have in common: two multiply-adds and two loads begin in a cycle, and a
# multiply-add waits 4 cycles for the one before it. Where vectors are handled in halves all
# three double together.
# Weights come from the second-level cache: a vector in a cycle.
FMAS_A_CYCLE, LOADS_A_CYCLE, WEIGHTS_A_CYCLE, FMA_LATENCY_CYCLES = 2, 2, 1, 4
FLOAT_BYTES = 4
# Vectors of weights that are loaded before they are used, where inputs are lanes of registers.
WEIGHTS_IN_FLIGHT = 2
# Vectors of output in a tile; many only where there are few positions.
BLOCK_TILES = (1, 2, 3, 4, 5, 6, 8)
# Pointers and loop of a step of the reduction, of which LLVM unrolls some.
STEP_INSTRUCTIONS = 1
# What a last tile with code of its own costs: LLVM keeps addresses for both in memory. Measured on
# cortex-m55: 16 and 32 columns take fewer instructions in pairs than in threes with a rest.
UNEVEN = 1.12


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

    def instructions(self, vectors: int) -> int:
        """Those of one step of the reduction where a vector is multiplied by a general register.

        Args:
            vectors: in a block.
        """
        products_and_weights = (self.accumulators + self.blocks) * vectors
        return products_and_weights + self.columns + STEP_INSTRUCTIONS

    @property
    def cycles(self) -> float:
        """Cycles of one step of the reduction: the slowest of arithmetic, loads and latency."""
        return max(
            self.accumulators / FMAS_A_CYCLE,
            (self.blocks + self.columns) / LOADS_A_CYCLE,
            self.blocks / WEIGHTS_A_CYCLE,
            FMA_LATENCY_CYCLES,
        )


def choose_scalar_tile(blocks: int, columns: int, registers: int, vectors: int = 1) -> Tile:
    """Return the like where one factor of a multiply-add is a general register.

    Inputs are in these: registers hold the accumulators and one vector of weights. Such a machine
    begins one instruction at a time, so the fewest win.

    Args:
        vectors: in a block; weights of one block lie together in memory.
    """
    most = (registers - 1) // vectors
    tiles = (
        Tile(block_tile, tile)
        for block_tile in range(1, most + 1)
        if blocks % block_tile == 0
        for tile in range(1, min(columns, most // block_tile) + 1)
    )

    def cost(tile: Tile) -> float:
        whole, rest = divmod(columns, tile.columns)
        total = float(whole * tile.instructions(vectors))
        if rest:
            total = (total + Tile(tile.blocks, rest).instructions(vectors)) * UNEVEN
        return total * (blocks // tile.blocks)

    return min(tiles, key=cost)


def choose_tile(
    blocks: int, columns: int, registers: int, *, by_lane: bool = False, vectors: int = 1
) -> Tile:
    """Return the tile with the fewest cycles for the whole output, of these the fewest loads.

    Blocks are divided evenly; the last tile of columns may be smaller than the others.
    Registers hold the accumulators, one vector of weights for each block and one broadcast input.

    Args:
        blocks: vectors of output at one position.
        columns: positions.
        by_lane: inputs are loaded a vector at a time, as many as there are positions, and one
            vector of weights is live beside the next.
        vectors: in a block; of the tile that is returned, too.
    """
    tiles = _fitting_tiles(blocks * vectors, columns, registers, by_lane=by_lane)
    whole = (tile for tile in tiles if tile.blocks % vectors == 0)
    best = min(whole, key=lambda tile: _cost(tile, blocks * vectors, columns))
    return Tile(best.blocks // vectors, best.columns)


def _fitting_tiles(
    blocks: int, columns: int, registers: int, *, by_lane: bool = False
) -> Iterator[Tile]:
    for block_tile in (count for count in BLOCK_TILES if blocks % count == 0):
        if by_lane:
            room = max(1, (registers - WEIGHTS_IN_FLIGHT) // (block_tile + 1))
        else:
            room = max(1, (registers - block_tile - 1) // block_tile)
        for tile in range(1, min(columns, room) + 1):
            yield Tile(block_tile, tile)


def _cost(tile: Tile, blocks: int, columns: int) -> tuple[float, float]:
    whole, rest = divmod(columns, tile.columns)
    cycles = whole * tile.cycles
    if rest:
        cycles += Tile(tile.blocks, rest).cycles
    return cycles * (blocks // tile.blocks), tile.loads_for_each_sum


def output_cycles(blocks: int, columns: int, registers: int) -> float:
    """Cycles of one step of the reduction for the whole output, in the tiles of `choose_tile`."""
    return _cost(choose_tile(blocks, columns, registers), blocks, columns)[0]


def choose_dividing_tile(blocks: int, columns: int, row: int, registers: int) -> Tile:
    """The like for an output whose last block is part of one: the tile divides the columns.

    It is part of a row or whole rows: TVM sees through one tail of a tile, not through two, and not
    where a tile is three blocks or ends inside another row.
    """
    tiles = (
        tile
        for tile in _fitting_tiles(blocks, columns, registers)
        if columns % tile.columns == 0
        and (row % tile.columns == 0 or tile.columns % row == 0)
        and tile.blocks.bit_count() == 1
    )
    return min(tiles, key=lambda tile: _cost(tile, blocks, columns))


def convolution_in_registers(
    sch: s_tir.Schedule, conv: Any, depth: int, *, by_lane: bool = False, by_scalar: bool = False
) -> None:
    """Schedule a convolution's tile: input channels and taps outside, one vector innermost.

    Below its first `depth` loops the block has a tile of one batch, group and row.

    Args:
        by_lane: load a vector of blocked input channels at a time; products take its lanes.
        by_scalar: inputs are in general registers.
    """
    if by_lane:
        _sums_by_lane(sch, conv, depth)
        return
    loops = list(sch.get_loops(conv))[depth:]
    batch, group, block, row, column, lane, channel, *taps, inner_channel = loops
    # Channels innermost: LLVM unrolls that loop, and between taps it would find inputs to keep
    # for the next one, of which the registers cannot hold as many.
    plain = match.extent(sch, inner_channel) == 1
    reduction = [*taps, inner_channel, channel] if plain else [channel, *taps, inner_channel]
    # Blocks inside columns: one broadcast input is live, beside the weights of all blocks. If
    # inputs take no vector register: one vector of weights, beside the inputs of all columns.
    tile = (block, column) if by_scalar else (column, block)
    sch.reorder(batch, group, row, *reduction, *tile, lane)
    steps.sums_in_registers(sch, conv, reduction[0], (*tile, lane), depth)


def _sums_by_lane(sch: s_tir.Schedule, conv: Any, depth: int) -> None:
    """The like where the block of input channels is loaded as a vector for each position."""
    inputs, axes = steps.read_into_registers(sch, conv, 0)
    loops = list(sch.get_loops(conv))[depth:]
    batch, group, block, row, column, lane, channel, *taps, inner_channel = loops
    # Columns inside blocks: one vector of weights is live, beside the inputs of all columns.
    sch.reorder(batch, group, row, channel, *taps, inner_channel, block, column, lane)
    sch.compute_at(inputs, taps[-1], preserve_unit_loops=True)
    steps.unroll_tile(sch, inputs, len(sch.get_loops(inputs)) - axes)
    steps.sums_in_registers(sch, conv, channel, (inner_channel, block, column, lane), depth)
