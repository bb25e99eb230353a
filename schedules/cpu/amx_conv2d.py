"""Convolution of small integers by products of tiles (AMX): its sums are the runtime's."""

from __future__ import annotations

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, roles, steps
from schedules.cpu.amx_tiles import TILE_LANES, TILE_ROWS
from schedules.cpu.dot_conv2d import split_run, vectorize_lanes
from schedules.cpu.integer_conv2d import copy_rows, row_loops, rows_of_chunk
from schedules.fused import FusedSum, fused_sum

# Sums stay in half of the first cache level until the epilogue reads them.
SUMS_SHARE = 2
SUM_BYTES = 4
# Registers hold two tiles of positions by two blocks of lanes.
TILES, BLOCKS = 2, 2


def amx_conv2d(func: PrimFunc, spec: TargetSpec) -> s_tir.Schedule | None:
    """Leave the sums of a run of columns and some blocks of channels to the runtime; marked.

    Matches: as `integer_conv2d`, its sum marked `roles.TILE_SUMS`.
    before: for n, y, x, o, lane: for ky, kx, c: acc;   for n, y, x, o: epilogue
    after:  parallel n, chunk of y: (copy the rows needed; for y, x/run, o/group: (marked: for lane,
              o, x, ky, kx, c: acc;   for x, o: vectorized lane: epilogue))
            runs of columns are shared too unless rows are copied for all of them, and groups of
            blocks unless anything is copied
    """
    kernel = fused_sum(func, role=roles.INTEGER_CONV2D, before=roles.PAD)
    if kernel is None or len(match.axis_extents(kernel.sch, kernel.epilogue)) != 4:
        return None
    step = tile_step(kernel, spec)
    if step is None:
        return None
    _schedule(kernel, spec, step)
    return kernel.sch


def tile_step(kernel: FusedSum, spec: TargetSpec) -> int | None:
    """Chunks of a step of sums that fill tiles; None where there are none of these."""
    said = match.word(kernel.sch, kernel.main, roles.TILE_SUMS)
    return int(said) if said is not None and spec.llvm.multiplies_tiles else None


def tile_run(columns: int, spec: TargetSpec) -> int:
    """How many columns' sums are made at once: as many as leave some to each core, of whole tiles.

    A divisor of all, where one is not too small.
    """
    least = TILES * TILE_ROWS
    fitting = spec.cache.l1d_bytes // SUMS_SHARE // (BLOCKS * TILE_LANES * SUM_BYTES)
    most = max(least, min(fitting, -(-columns // spec.cores.count)))
    divisor = steps.largest_divisor(columns, most)
    return divisor if 2 * divisor >= min(columns, most) else most // TILE_ROWS * TILE_ROWS


def blocks_together(blocks: int, run: int, parts: int, spec: TargetSpec) -> int:
    """Blocks of lanes whose sums are made at once; all where they are a prime number.

    Args:
        parts: how many groups of them cores want, at least.
    """
    fitting = spec.cache.l1d_bytes // SUMS_SHARE // (run * TILE_LANES * SUM_BYTES)
    found = steps.largest_divisor(blocks, max(BLOCKS, min(fitting, blocks // parts)))
    return found if found >= BLOCKS else blocks


def _schedule(kernel: FusedSum, spec: TargetSpec, step: int) -> None:
    sch, conv = kernel.sch, kernel.main
    items, rows, columns, blocks, lanes = match.axis_extents(sch, conv)[:5]
    run = tile_run(columns, spec)
    parts = -(-spec.cores.count // (items * rows * -(-columns // run)))
    blocks = blocks_together(blocks, run, 1 if kernel.before is not None else parts, spec)
    together = rows_of_chunk(kernel, spec, has_share=True)
    batch, row, column, channel = row_loops(kernel)
    group, block, lane = sch.split(channel, factors=[None, blocks, lanes])
    outer_column, inner_column = split_run(sch, column, run)
    is_even = columns % match.extent(sch, inner_column) == 0
    chunk, row = steps.split_evenly(sch, row, together)
    outside = [batch, chunk, row, outer_column, group]
    if kernel.before is None and not is_even:  # a loop with a tail is not shared
        outside = [batch, chunk, row, group, outer_column]
    sch.reorder(*outside, inner_column, block, lane)
    if not is_even:
        steps.mark_tails(sch, outer_column)
    count = _shared_loops(kernel, is_even)
    shared = sch.fuse(*outside[:count])
    inside = outside[-1] if count < len(outside) else shared
    sch.compute_at(conv, inside, preserve_unit_loops=True)
    if kernel.before is not None:
        copy_rows(sch, kernel.before, shared, spec)
    sch.parallel(shared)
    vectorize_lanes(sch, lane)
    depth = len(sch.get_loops(conv)) - len(match.axis_extents(sch, conv))
    item, y, x, one, lane, tap_y, tap_x, group, inner = list(sch.get_loops(conv))[depth:]
    nest = (item, y, lane, one, x, tap_y, tap_x, group, inner)
    steps.mark_sums(sch, conv, depth, nest, 2, roles.TILE_SUMS, step)


def _shared_loops(kernel: FusedSum, is_even: bool) -> int:
    """How many of the loops over items, chunks of rows, rows, runs and groups are shared."""
    if kernel.before is None:
        return 5 if is_even else 4
    is_flat = match.axis_extents(kernel.sch, kernel.main)[1] == 1
    return 4 if is_flat and is_even else 2
