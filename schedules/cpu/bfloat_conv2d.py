"""Convolution of bfloat16 in pairs: output channels in lanes, positions in registers."""

from __future__ import annotations

from math import prod
from typing import Any

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, roles, steps
from schedules.cpu.conv2d import channel_parts, chunk_rows, output_loops, pads_rows
from schedules.cpu.dot_step import dot_step, sums_by_steps
from schedules.cpu.register_tile import Tile, choose_dividing_tile, choose_tile
from schedules.fused import FusedSum, fused_sum

# Of a pointwise convolution, copied together: four tiles or so, where the positions are as many.
LEAST_POSITIONS = 24


def bfloat_conv2d(func: PrimFunc, spec: TargetSpec) -> s_tir.Schedule | None:
    """Keep a tile of float32 sums in registers over all taps and pairs of input channels.

    Matches: one block of role BFLOAT_CONV2D, a copy that rounds before it, element-wise after it.
    before: for n, o, y, x: for c, ky, kx, pair: acc;   for n, o, y, x: epilogue
    after:  parallel n, part of o, chunk of y: (round the rows needed;
              for o/tile, y, x/tile: (for c, ky, kx, pair: unrolled x, o: step of lanes: acc;
                           for x, vectorized lane: epilogue))
            of a pointwise one, a chunk is a run of positions
    """
    kernel = fused_sum(func, role=roles.BFLOAT_CONV2D, before=roles.PAD)
    if kernel is None or kernel.before is None:
        return None
    step = dot_step(kernel.sch, kernel.main, spec)
    if step is None or len(match.axis_extents(kernel.sch, kernel.epilogue)) not in (4, 5):
        return None
    _schedule(kernel, spec, step)
    return kernel.sch


def _schedule(kernel: FusedSum, spec: TargetSpec, step: str) -> None:
    sch, conv, epilogue = kernel.sch, kernel.main, kernel.epilogue
    lanes = match.axis_extents(sch, conv)[5]
    tile, run = _tile_and_run(kernel, spec)
    is_whole = _is_whole(kernel)
    store = sch.cache_write(conv, 0, "local")
    batch, channel, row, column, *lane = output_loops(kernel)
    part, column = sch.split(column, factors=[None, run])
    outer_column, inner_column = steps.split_drawn(
        sch, column, tile.columns, spec.vector.register_count
    )
    steps.mark_tails(sch, outer_column)
    if lane:
        block_tile = tile.blocks * lanes // match.extent(sch, lane[0])
        outer_channel, block = sch.split(channel, factors=[None, block_tile])
        inner = [block, inner_column, lane[0]]
    else:
        outer_channel, block, one = sch.split(channel, factors=[None, tile.blocks, lanes])
        # As in `conv2d`: whole vectors are stored, or positions that lie together.
        inner = [block, one, inner_column] if is_whole else [block, inner_column, one]
    items = match.extent(sch, batch)
    chunk, row = sch.split(row, factors=[None, _rows_together(kernel, items, spec)])
    chunks = items * match.extent(sch, chunk) * match.extent(sch, part)
    parts = channel_parts(match.extent(sch, outer_channel), chunks, spec)
    shared_channel, outer_channel = sch.split(outer_channel, factors=[parts, None])
    outermost = (batch, shared_channel, chunk, part)
    sch.reorder(*outermost, outer_channel, row, outer_column, *inner)
    shared = sch.fuse(*outermost)
    for moved in (store, conv):
        sch.compute_at(moved, outer_column, preserve_unit_loops=True)
    steps.pad_rows(sch, kernel.before, shared)
    sch.parallel(shared)
    sch.vectorize(inner[-1])
    depth = len(sch.get_loops(epilogue)) - len(inner)
    _sums_in_registers(sch, conv, depth, step)
    steps.unroll_tile(sch, store, depth)


def _tile_and_run(kernel: FusedSum, spec: TargetSpec) -> tuple[Tile, int]:
    """The tile of sums, and the columns that a work item makes: whole rows unless all are one."""
    _, _, blocks, _, columns, _ = match.axis_extents(kernel.sch, kernel.main)[:6]
    run = columns if pads_rows(kernel) else _run_of_positions(kernel, spec)
    registers = spec.vector.register_count
    if _is_whole(kernel):
        return choose_tile(blocks, run, registers), run
    return choose_dividing_tile(blocks, run, run, registers), run


def _is_whole(kernel: FusedSum) -> bool:
    """Whether no lane is padding."""
    _, _, blocks, _, _, lanes = match.axis_extents(kernel.sch, kernel.main)[:6]
    _, channels, _, _, *lane = match.axis_extents(kernel.sch, kernel.epilogue)
    return channels * prod(lane) == blocks * lanes


def _rows_together(kernel: FusedSum, items: int, spec: TargetSpec) -> int:
    rows = match.axis_extents(kernel.sch, kernel.main)[3]
    return chunk_rows(kernel, rows, items, spec) if rows > 1 else 1


def _run_of_positions(kernel: FusedSum, spec: TargetSpec) -> int:
    """Positions of a pointwise convolution that a work item makes, for all or some channels.

    What is copied for them stays in a quarter of the second cache; they divide all positions, and
    there is one run for each core, if that leaves a few tiles to each.
    """
    *_, positions, block = match.axis_extents(kernel.sch, kernel.before)
    blocks = match.axis_extents(kernel.sch, kernel.before)[1]
    position_bytes = blocks * block * match.output_bits(kernel.sch, kernel.before) // 8
    most = max(LEAST_POSITIONS, spec.cache.l2_bytes // 4 // position_bytes)
    most = max(LEAST_POSITIONS, min(most, -(-positions // spec.cores.count)))
    divisors = [d for d in range(1, positions + 1) if positions % d == 0]
    fitting = [d for d in divisors if LEAST_POSITIONS <= d <= most]
    return max(fitting) if fitting else min(d for d in divisors if d >= min(most, positions))


def _sums_in_registers(sch: s_tir.Schedule, conv: Any, depth: int, step: str) -> None:
    """Channels, taps and pairs outside, the tile's columns and blocks unrolled, a step inside."""
    loops = list(sch.get_loops(conv))[depth:]
    batch, group, block, row, column, lane, channel, tap_y, tap_x, pair, inner = loops
    sch.reorder(batch, group, row, channel, tap_y, tap_x, pair, column, block, lane, inner)
    sums_by_steps(sch, conv, channel, (column, block, lane, inner), depth, step)
