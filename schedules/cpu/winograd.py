"""Winograd convolution: transform, many small matrix products, transform back, chunk by chunk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm import s_tir
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec
from schedules import match, roles, steps
from schedules.cpu.register_tile import BLOCK_TILES, choose_tile


@dataclass(frozen=True, kw_only=True, slots=True)
class _Kernel:
    """The blocks of a Winograd convolution, in the order of their work."""

    sch: s_tir.Schedule
    pad: Any | None
    data_half: Any
    data: Any
    products: Any
    output_half: Any
    output: Any
    epilogue: Any


def winograd(func: PrimFunc, spec: TargetSpec) -> s_tir.Schedule | None:
    """Compute a chunk of tiles from input to output in worker scratch.

    Matches: the blocks of `stages/operators/winograd.py` with element-wise blocks after them.
    before: pad; data rows; data; for i, j, t, o: for c: acc; output rows; output; epilogue
    after:  parallel chunk: (for c: (pad; for t: data rows, data);
              for i, j, o/tile, t/tile: for c: unrolled tile of acc;
              for o, t: output rows, output, epilogue)
            With one chunk each of the three is a parallel loop of its own.
    """
    kernel = _matched(func)
    if kernel is None:
        return None
    _schedule(kernel, spec)
    return kernel.sch


def _matched(func: PrimFunc) -> _Kernel | None:
    sch = s_tir.Schedule(func)
    if match.root_block(sch) is None:
        return None
    kept = (roles.PAD, roles.WINOGRAD_HALF, roles.WINOGRAD_DATA, roles.WINOGRAD_OUTPUT)
    steps.inline_cheap_producers(sch, keep=kept)
    *blocks, epilogue = match.blocks(sch)
    names = [match.role(sch, block) for block in blocks]
    pad = blocks.pop(0) if names[:1] == [roles.PAD] else None
    wanted = [
        roles.WINOGRAD_HALF,
        roles.WINOGRAD_DATA,
        roles.WINOGRAD_PRODUCTS,
        roles.WINOGRAD_HALF,
        roles.WINOGRAD_OUTPUT,
    ]
    if names[-len(blocks) :] != wanted or match.is_reduction(sch, epilogue):
        return None
    data_half, data, products, output_half, output = blocks
    return _Kernel(
        sch=sch,
        pad=pad,
        data_half=data_half,
        data=data,
        products=products,
        output_half=output_half,
        output=output,
        epilogue=epilogue,
    )


def _schedule(kernel: _Kernel, spec: TargetSpec) -> None:
    sch = kernel.sch
    chunk, block, tile = _tile_epilogue(kernel)
    chunks = match.extent(sch, chunk)
    for moved in (kernel.output, kernel.output_half):
        sch.compute_at(moved, tile, preserve_unit_loops=True)
    if chunks > 1:
        for moved in (kernel.products, kernel.data):
            sch.compute_at(moved, chunk, preserve_unit_loops=True)
    depth = 1 if chunks > 1 else 0
    data_block = _schedule_data(kernel, depth)
    points = _place_products(kernel, spec, depth)
    for loop in (chunk,) if chunks > 1 else (data_block, points, sch.fuse(chunk, block)):
        sch.parallel(loop)
    for transform in (kernel.data_half, kernel.data, kernel.output_half, kernel.output):
        _unroll_transform(sch, transform)
    _sums_in_registers(sch, kernel.products)


def _tile_epilogue(kernel: _Kernel) -> tuple[Any, Any, Any]:
    """Loops over chunks, blocks of channels, tiles, and a tile; return the first three."""
    sch = kernel.sch
    extents = match.axis_extents(sch, kernel.output)
    size, lanes = extents[-2], extents[-1]
    columns = match.annotation(sch, kernel.output, roles.CHUNK_COLUMNS)
    rows = extents[-4] // columns
    batch, channel, row, column, *lane = sch.get_loops(kernel.epilogue)
    down, tile_row, y = sch.split(row, factors=[None, rows, size])
    across, tile_column, x = sch.split(column, factors=[None, columns, size])
    if lane:
        inner_blocks = lanes // match.extent(sch, lane[0])
        block, inner = sch.split(channel, factors=[None, inner_blocks])
        inside = [y, x, inner, lane[0]]
    else:
        block, inner = sch.split(channel, factors=[None, lanes])
        inside = [y, x, inner]
    sch.reorder(batch, down, across, block, tile_row, tile_column, *inside)
    tile = sch.fuse(tile_row, tile_column)
    for loop in inside[:-1]:
        sch.unroll(loop)
    sch.vectorize(inside[-1])
    return sch.fuse(batch, down, across), block, tile


def _schedule_data(kernel: _Kernel, depth: int) -> Any:
    """For each block of channels: padded rows, then tile by tile; return the loop over blocks."""
    sch = kernel.sch
    *place, i, j, tile, block, lane = list(sch.get_loops(kernel.data))[depth:]
    sch.reorder(*place, block, tile, i, j, lane)
    sch.compute_at(kernel.data_half, tile, preserve_unit_loops=True)
    if kernel.pad is not None:
        steps.pad_rows(sch, kernel.pad, block)
    return sch.fuse(*place, block) if depth == 0 else block


def _place_products(kernel: _Kernel, spec: TargetSpec, depth: int) -> Any:
    """A matrix product for each point, with tiles as its rows; return the loop over points."""
    sch, products = kernel.sch, kernel.products
    *_, tiles, blocks, _, _, _ = match.axis_extents(sch, products)
    registers = spec.vector.register_count
    shape = choose_tile(blocks, tiles, registers)
    store = sch.cache_write(products, 0, "local")
    *place, i, j, row, block, lane = list(sch.get_loops(store))[depth:]
    outer_row, inner_row = steps.split_drawn(sch, row, shape.columns, registers)
    steps.mark_tails(sch, outer_row)
    outer_block, inner_block = steps.split_evenly(sch, block, shape.blocks, max(BLOCK_TILES))
    sch.reorder(outer_block, outer_row, inner_row, inner_block, lane)
    points = sch.fuse(*place, i, j, outer_block)
    sch.compute_at(products, outer_row, preserve_unit_loops=True)
    steps.unroll_tile(sch, store, depth=len(sch.get_loops(store)) - 3)
    return points


def _unroll_transform(sch: s_tir.Schedule, block: Any) -> None:
    """Unroll a transform of one tile; its last loop is a vector of channels."""
    *_, i, j, lane = list(sch.get_loops(block))
    sch.unroll(i)
    sch.unroll(j)
    sch.vectorize(lane)


def _sums_in_registers(sch: s_tir.Schedule, products: Any) -> None:
    """Channels outside, the tile unrolled, one vector innermost."""
    *outer, row, block, lane, channel, inner = list(sch.get_loops(products))
    step, unrolled = steps.split_evenly(sch, inner, 1)
    # Blocks inside rows: one broadcast input is live, beside the weights of all blocks.
    sch.reorder(channel, step, unrolled, row, block, lane)
    steps.sums_in_registers(sch, products, channel, (unrolled, row, block, lane), len(outer))
