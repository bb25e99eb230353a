"""Direct convolution with packed weights: output channels in vector lanes, positions in registers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, roles, steps

# Fewer independent sums than this leave the multiply-add units waiting: 2 units x 4 cycles.
LEAST_ACCUMULATORS = 8


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


def choose_tile(blocks: int, columns: int, registers: int) -> Tile:
    """Return the tile with the fewest loads that fits the registers and divides the output.

    Registers hold the accumulators, one vector of weights for each block and one broadcast input.
    """
    best = Tile(1, 1)
    for block_tile in (1, 2, 4):
        if blocks % block_tile:
            continue
        room = (registers - block_tile - 1) // block_tile
        tile = Tile(block_tile, steps.largest_divisor(columns, max(1, room)))
        if _rank(tile) > _rank(best):
            best = tile
    return best


def _rank(tile: Tile) -> tuple[int, float]:
    return min(tile.accumulators, LEAST_ACCUMULATORS), -tile.loads_for_each_sum


def conv2d(func: PrimFunc, spec: TargetSpec) -> s_tir.Schedule | None:
    """Keep a tile of sums in registers over all input channels and taps.

    Matches: one block of role CONV2D, with padding before it and element-wise blocks after it.
    before: for n, o, y, x: for c, ky, kx: acc;   for n, o, y, x: epilogue
    after:  parallel n, o/tile, y: (pad the rows needed;
              for x/tile: (for c, ky, kx: unrolled o, x: vectorized lane: acc;
                           for x, vectorized lane: epilogue))
    """
    sch = s_tir.Schedule(func)
    if match.root_block(sch) is None:
        return None
    steps.inline_cheap_producers(sch)
    conv = match.block_with_role(sch, roles.CONV2D)
    if conv is None:
        return None
    pad = match.block_with_role(sch, roles.PAD)
    epilogue = match.sole_consumer(sch, conv)
    known = [block for block in (pad, conv, epilogue) if block is not None]
    if epilogue is None or len(match.blocks(sch)) != len(known):
        return None
    if match.axis_kinds(sch, epilogue) != "SSSS":
        return None
    _schedule(sch, conv, epilogue, pad, spec)
    return sch


def _schedule(
    sch: s_tir.Schedule, conv: Any, epilogue: Any, pad: Any | None, spec: TargetSpec
) -> None:
    _, _, blocks, rows, columns, lanes = match.axis_extents(sch, conv)[:6]
    tile = choose_tile(blocks, columns, spec.vector.register_count)
    store = sch.cache_write(conv, 0, "local")
    batch, channel, row, column = sch.get_loops(epilogue)
    if match.extent(sch, row) != rows:  # pointwise: positions are one axis
        row, column = sch.fuse(row, column), None
        row, column = sch.split(row, factors=[1, None])
    outer_column, inner_column = sch.split(
        column, factors=sch.sample_perfect_tile(
            column, n=2, max_innermost_factor=spec.vector.register_count,
            decision=[columns // tile.columns, tile.columns],
        )
    )
    outer_channel, block, lane = sch.split(channel, factors=[None, tile.blocks, lanes])
    sch.reorder(batch, outer_channel, row, outer_column, block, lane, inner_column)
    shared = sch.fuse(batch, outer_channel, row)
    for moved in (store, conv):
        sch.compute_at(moved, outer_column, preserve_unit_loops=True)
    if pad is not None:
        sch.compute_at(pad, shared, preserve_unit_loops=True)
    sch.parallel(shared)
    _sums_in_registers(sch, conv)
    _copy_out(sch, store)
    _ = lane


def _sums_in_registers(sch: s_tir.Schedule, conv: Any) -> None:
    """Input channels and taps outside, the tile unrolled, one vector innermost."""
    loops = list(sch.get_loops(conv))[2:]
    batch, group, block, row, column, lane, channel, tap_y, tap_x = loops
    sch.reorder(batch, group, row, channel, tap_y, tap_x, block, column, lane)
    for loop in (block, column):
        sch.unroll(loop)
    sch.vectorize(lane)
    start = sch.decompose_reduction(conv, channel)
    _unroll_tile(sch, start)


def _copy_out(sch: s_tir.Schedule, store: Any) -> None:
    _unroll_tile(sch, store)


def _unroll_tile(sch: s_tir.Schedule, block: Any) -> None:
    """Unrolled, so that every accumulator has a constant place and can live in a register."""
    *outer, lane = list(sch.get_loops(block))[2:]
    for loop in outer:
        sch.unroll(loop)
    sch.vectorize(lane)
