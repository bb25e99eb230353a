"""Depthwise convolution of small integers on x86: two taps a step, channels in lanes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, roles, steps
from schedules.cpu.dot_step import dot_step, step_lanes, sums_by_steps, sums_registers
from schedules.cpu.scratch_share import scratch_share
from schedules.fused import FusedSum, fused_sum

DEPTH = 4  # loops around a tile of sums
MOST_COLUMNS = 6  # of a tile
MOST_ROWS, MOST_VECTORS = 8, 4  # that are copied together: of the output, of channels
PAIR = 2
LANES = (16, 8, 4)  # of a step, as registers side by side: bytes of the result


def tap_pairs(func: PrimFunc, spec: TargetSpec) -> s_tir.Schedule | None:
    """Sum pairs of taps of a run of columns in registers.

    Matches: one block of role TAP_PAIRS, a copy of rows before it, element-wise after it.
    before: for n, y, x, c: for pair, kx, 2: acc;   for n, y, x, c: epilogue
    after:  parallel n, chunk of y, c/lanes: (copy pairs of rows, interleaved; for y, x/tile: (for
              pair, kx: unrolled x: marked lane: for 2: acc;   for x: vectorized lane: epilogue))
    """
    kernel = fused_sum(func, role=roles.TAP_PAIRS, before=roles.PAD)
    if kernel is None or kernel.before is None:
        return None
    sch, conv = kernel.sch, kernel.main
    channels = match.axis_extents(sch, conv)[3]
    lanes = next((lanes for lanes in LANES if channels % lanes == 0), None)
    step = None if lanes is None else dot_step(sch, conv, spec, lanes)
    if lanes is None or step is None or len(match.axis_extents(sch, kernel.epilogue)) != 4:
        return None
    _schedule(kernel, spec, lanes, step)
    return sch


def _schedule(kernel: FusedSum, spec: TargetSpec, lanes: int, step: str) -> None:
    sch, conv = kernel.sch, kernel.main
    columns, channels = match.axis_extents(sch, conv)[2:4]
    together = copied_together(kernel, lanes, spec)
    vectors = steps.largest_divisor(channels // lanes, together.vectors)
    # Beside the sums: weights of both taps, and what is multiplied.
    most = (sums_registers(spec, step) - 2) * step_lanes(step) // lanes
    tile = even_tile(columns, max(1, min(most, MOST_COLUMNS)))
    batch, row, column, channel = sch.get_loops(kernel.epilogue)
    part, block, lane = sch.split(channel, factors=[None, vectors, lanes])
    outer_column, inner_column = sch.split(column, factors=[None, tile])
    steps.mark_tails(sch, outer_column)
    chunk, row = sch.split(row, factors=[None, together.rows])
    sch.reorder(batch, chunk, part, block, row, outer_column, inner_column, lane)
    shared = sch.fuse(batch, chunk, part)
    sch.compute_at(conv, outer_column, preserve_unit_loops=True)
    _copy_pairs(sch, kernel.before, shared, lanes)
    sch.parallel(shared)
    sch.vectorize(lane)
    sch.unroll(inner_column)
    *single, column, lane, pair, tap_x, inner = list(sch.get_loops(conv))[DEPTH:]
    sch.reorder(*single, pair, tap_x, column, lane, inner)
    sch.set_scope(conv, 0, "local")
    sums_by_steps(sch, conv, pair, (column, lane, inner), DEPTH, step)


@dataclass(frozen=True, slots=True)
class Together:
    """What one work item copies: for so many output rows, at most so many vectors of channels."""

    rows: int
    vectors: int


def copied_together(kernel: FusedSum, lanes: int, spec: TargetSpec) -> Together:
    """Return how much is copied together: neighbours in both directions read the same.

    Rows share pairs of rows, and vectors lines of the cache. Both stay in a quarter of the second
    cache and within a share of what the kernel reads and writes. A row is copied at least, or two
    that begin in the same pair.
    """
    sch = kernel.sch
    rows, taps = (match.axis_extents(sch, kernel.main)[axis] for axis in (1, 4))
    _, pairs, width, *_ = match.axis_extents(sch, kernel.before)
    stride = max(1, (PAIR * (pairs - taps) + 1) // max(1, rows - 1))
    pair_bytes = width * lanes * PAIR * match.output_bits(sch, kernel.before) // 8
    most = min(scratch_share(kernel), spec.cache.l2_bytes // 4)
    least = min(rows, 1 + stride % PAIR)

    def copied(count: int) -> int:
        return ((count - 1) * stride // PAIR + taps + (count * stride) % PAIR) * pair_bytes

    vectors = max(1, min(MOST_VECTORS, most // copied(least)))
    divisors = [n for n in range(least, MOST_ROWS + 1) if rows % n == 0]
    fitting = [n for n in divisors if copied(n) * vectors <= most]
    return Together(max(fitting, default=least), vectors)


def even_tile(columns: int, most: int) -> int:
    """A tile of columns that divides all or, if that is short, leaves the least of the last one."""
    divisor = steps.largest_divisor(columns, most)
    return divisor if 2 * divisor > most else -(-columns // -(-columns // most))


def _copy_pairs(sch: s_tir.Schedule, copy: Any, loop: Any, lanes: int) -> None:
    sch.compute_at(copy, loop, preserve_unit_loops=True)
    channel = list(sch.get_loops(copy))[-2]
    _, lane = sch.split(channel, factors=[None, lanes])
    sch.annotate(lane, roles.INTERLEAVED, 1)
