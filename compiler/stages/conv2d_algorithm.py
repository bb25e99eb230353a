"""Which algorithm a convolution gets: direct sums, or Winograd with tiles of some size.

The choice compares estimated cycles: of the products, as register tiles run them, of the
transforms, and of what has to come from beyond the second-level cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

from compiler.stages.operators.bfloat_matmul import PAIR
from compiler.stages.operators.channel_blocks import channel_block
from compiler.stages.operators.conv2d_signature import Conv2dSignature
from compiler.stages.operators.winograd import (
    TAPS,
    TILE_SIZES,
    TileGrid,
    transform_operations,
)
from compiler.target_spec import TargetSpec
from schedules.cpu.register_tile import FLOAT_BYTES, FMAS_A_CYCLE, output_cycles

# Bytes a cycle that one core gets from the last-level cache and from memory, about.
CACHE_BYTES_A_CYCLE, MEMORY_BYTES_A_CYCLE = 16, 7
# Scratch as a share of what the arena is without it.
WORKER_SCRATCH_SHARE, CALL_SCRATCH_SHARE = 0.2, 0.4
# Tiles across one chunk; wider rows of tiles are cut.
MOST_TILES_ACROSS = 32
# Winograd costs accuracy and memory: it must be faster by more than an estimate may be wrong.
LEAST_GAIN = 1.2


def choose_winograd(
    sig: Conv2dSignature, spec: TargetSpec, arena_bytes: int, *, bfloats: bool = False
) -> TileGrid | None:
    """Return the tiles of the fastest Winograd form, None if direct sums are about as fast.

    Args:
        arena_bytes: what the model's arena will be at least, about: scratch is a share of it.
        bfloats: direct sums are of pairs of bfloat16; Winograd's stay float32.
    """
    if not is_winograd_possible(sig, spec):
        return None
    grids = winograd_grids(sig, spec, arena_bytes)
    if not grids:
        return None
    together = PAIR if bfloats else 1
    gain = direct_cycles(sig, spec) / together / winograd_cycles(sig, grids[0], spec)
    return grids[0] if gain >= LEAST_GAIN else None


def winograd_grids(sig: Conv2dSignature, spec: TargetSpec, arena_bytes: int) -> list[TileGrid]:
    """Return the grids within the budget of scratch, those with the fewest cycles first."""
    grids = [
        grid
        for grid in _grids(sig)
        if scratch_bytes(sig, grid) <= budget_bytes(sig, grid, arena_bytes)
    ]
    return sorted(grids, key=lambda grid: winograd_cycles(sig, grid, spec))


def is_winograd_possible(sig: Conv2dSignature, spec: TargetSpec) -> bool:
    """Whether Winograd can compute it: 3 x 3 taps side by side, whole vectors of channels."""
    lanes = spec.lanes(dtype_bits=32)
    return (
        spec.family == "cpu"
        and not spec.vector.scalable  # transforms need vectors of a known length
        and sig.kernel == (TAPS, TAPS)
        and sig.strides == sig.dilation == (1, 1)
        and sig.groups == 1
        and sig.out_channels % lanes == 0
        and channel_block(sig.in_channels, lanes) == lanes
    )


def _grids(sig: Conv2dSignature) -> Iterator[TileGrid]:
    for tile in TILE_SIZES:
        down, across = (ceil(extent / tile) for extent in sig.out_extent)
        least_cuts = ceil(across / MOST_TILES_ACROSS)
        for cuts in range(least_cuts, least_cuts + 2):
            columns = ceil(across / cuts)
            for rows in range(1, down + 1):
                chunks = (ceil(down / rows), ceil(across / columns))
                yield TileGrid(tile=tile, chunks=chunks, chunk=(rows, columns))


def budget_bytes(sig: Conv2dSignature, grid: TileGrid, arena_bytes: int) -> float:
    """What scratch may take: that of several chunks lies in the arena all the time."""
    if sig.batch * grid.chunks[0] * grid.chunks[1] > 1:
        return WORKER_SCRATCH_SHARE * arena_bytes
    own = _operand_bytes(sig)
    return min(CALL_SCRATCH_SHARE * arena_bytes, (1 + WORKER_SCRATCH_SHARE) * arena_bytes - own)


def _operand_bytes(sig: Conv2dSignature) -> int:
    out_height, out_width = sig.out_extent
    data = sig.in_channels * sig.height * sig.width
    return FLOAT_BYTES * sig.batch * (data + sig.out_channels * out_height * out_width)


def scratch_bytes(sig: Conv2dSignature, grid: TileGrid) -> int:
    """Bytes of a chunk's transformed data and products."""
    channels = sig.in_channels + sig.out_channels
    return FLOAT_BYTES * grid.points**2 * grid.chunk_tiles * channels


def direct_cycles(sig: Conv2dSignature, spec: TargetSpec) -> float:
    """Estimated cycles of the direct sums on the target's cores."""
    lanes = spec.lanes(dtype_bits=32)
    rows, columns = sig.sum_extent
    weights = sig.in_channels * TAPS**2
    step = output_cycles(sig.out_channels // lanes, columns, spec.vector.register_count)
    cycles = sig.batch * rows * step * weights
    memory = FLOAT_BYTES * weights * sig.out_channels / MEMORY_BYTES_A_CYCLE
    return (cycles + memory) / spec.cores.count


def winograd_cycles(sig: Conv2dSignature, grid: TileGrid, spec: TargetSpec) -> float:
    """Estimated cycles of Winograd on the target's cores."""
    lanes, cores = spec.lanes(dtype_bits=32), spec.cores.count
    in_blocks, out_blocks = sig.in_channels // lanes, sig.out_channels // lanes
    step = output_cycles(out_blocks, grid.chunk_tiles, spec.vector.register_count)
    products = grid.points**2 * step * sig.in_channels
    data, output = transform_operations(grid.tile)
    transforms = grid.chunk_tiles * (in_blocks * data + out_blocks * output) / FMAS_A_CYCLE
    weights = FLOAT_BYTES * grid.points**2 * sig.in_channels * sig.out_channels
    scratch = scratch_bytes(sig, grid)
    moved = 2.0 * scratch if scratch > spec.cache.l2_bytes else 0.0
    chunks = sig.batch * grid.chunks[0] * grid.chunks[1]
    if weights > spec.cache.l2_bytes // 2:
        moved += weights * (chunks - 1) / chunks
    chunk = products + transforms + moved / CACHE_BYTES_A_CYCLE
    # One chunk is shared by all cores, several are dealt out whole.
    rounds = ceil(chunks / cores) if chunks > 1 else 1 / cores
    return rounds * chunk + weights / MEMORY_BYTES_A_CYCLE / cores
