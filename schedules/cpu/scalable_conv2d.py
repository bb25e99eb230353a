"""Direct convolution for vectors of a length that only the processor knows."""

from __future__ import annotations

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, roles, steps
from schedules.cpu.conv2d import chunk_rows, pads_rows, place_copy
from schedules.cpu.register_tile import FLOAT_BYTES
from schedules.fused import FusedSum, fused_sum

# A tile's sums stay in this share of the first cache level until the epilogue reads them.
SUMS_SHARE = 4


def scalable_conv2d(func: PrimFunc, spec: TargetSpec) -> s_tir.Schedule | None:
    """Leave a tile of sums to a function that knows the vectors; it is marked `roles.SUMS`.

    Matches: as `conv2d`, where the output's block is that of the weights, or there is no block.
    before: for n, o, y, x: for c, ky, kx: acc;   for n, o, y, x: epilogue
    after:  parallel n, o, chunk of y: (pad the rows needed;
              for y, x/tile: (for x: 0;   marked: for lane, x, c, ky, kx: acc;
                              for x, lane: epilogue))
    """
    if not spec.vector.scalable:
        return None
    kernel = fused_sum(func, role=roles.CONV2D, before=roles.PAD)
    if kernel is None or len(match.axis_extents(kernel.sch, kernel.epilogue)) not in (4, 5):
        return None
    if not is_whole_blocks(kernel):
        return None
    schedule_conv2d_sums(kernel, spec)
    return kernel.sch


def is_whole_blocks(kernel: FusedSum) -> bool:
    """Whether the output is plain or has the blocks of the weights, all channels in them."""
    _, groups, blocks, _, _, lanes = match.axis_extents(kernel.sch, kernel.main)[:6]
    extents = match.axis_extents(kernel.sch, kernel.epilogue)
    if len(extents) not in (4, 5):
        return False
    _, channels, _, _, *out_block = extents
    whole = channels * (out_block or [1])[0] == groups * blocks * lanes
    return out_block in ([], [lanes]) and whole


def schedule_conv2d_sums(kernel: FusedSum, spec: TargetSpec) -> None:
    """Share parts of channels and rows among cores, and mark the sums of a run of columns."""
    sch, conv, epilogue = kernel.sch, kernel.main, kernel.epilogue
    _, _, _, rows, columns, lanes = match.axis_extents(sch, conv)[:6]
    plain = len(match.axis_extents(sch, epilogue)) == 4
    if match.axis_extents(sch, epilogue)[2] != rows:  # pointwise: all positions are one row
        steps.flatten_axes(sch, epilogue, 2, 2)
    batch, channel, *position = sch.get_loops(epilogue)
    if plain:
        channel, lane = sch.split(channel, factors=[None, lanes])
    else:
        lane = position.pop()
    if len(position) == 1 or match.extent(sch, position[0]) != rows:
        position = sch.split(steps.fuse_loops(sch, position), factors=[1, None])
    row, column = position
    fitting = spec.cache.l1d_bytes // SUMS_SHARE // (lanes * FLOAT_BYTES)
    tile = steps.largest_divisor(columns, max(1, fitting))
    outer_column, inner_column = sch.split(column, factors=[None, tile])
    items = match.extent(sch, batch) * match.extent(sch, channel)
    together = chunk_rows(kernel, rows, items, spec) if pads_rows(kernel) else 1
    chunk, row = sch.split(row, factors=[None, together])
    inner = (lane, inner_column) if plain else (inner_column, lane)
    sch.reorder(batch, channel, chunk, row, outer_column, *inner)
    shared = sch.fuse(batch, channel, chunk)
    sch.compute_at(conv, outer_column, preserve_unit_loops=True)
    place_copy(kernel, shared)
    sch.parallel(shared)
    *single, column, lane, channel, tap_y, tap_x, inner_channel = list(sch.get_loops(conv))[3:]
    nest = (*single, lane, column, channel, tap_y, tap_x, inner_channel)
    steps.mark_sums(sch, conv, 3, nest, len(single))
