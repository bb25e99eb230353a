"""Winograd convolution of 3 x 3 taps: fewer products, for a little accuracy.

An output tile of m x m needs (m + 2)^2 products for each pair of channels instead of 9 m^2. Tiles
stand in a grid, and the grid in chunks: all that is computed between input and output is computed
of one chunk at a time.
Source: Lavin and Gray, 2015 (arXiv 1509.09308), F(2 x 2, 3 x 3) and F(4 x 4, 3 x 3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import te, tirx

from compiler.stages.operators.conv2d_signature import Conv2dSignature, in_output_layout, padded
from schedules import roles

TAPS = 3


@dataclass(frozen=True, slots=True)
class _Transforms:
    """Matrices of one tile size: ``Y = A^T ((G g G^T) * (B^T d B)) A``."""

    weight: tuple[tuple[float, ...], ...]  # G
    data: tuple[tuple[float, ...], ...]  # B^T
    output: tuple[tuple[float, ...], ...]  # A^T


_TRANSFORMS = {
    2: _Transforms(
        weight=((1, 0, 0), (1 / 2, 1 / 2, 1 / 2), (1 / 2, -1 / 2, 1 / 2), (0, 0, 1)),
        data=((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1)),
        output=((1, 1, 1, 0), (0, 1, -1, -1)),
    ),
    4: _Transforms(
        weight=(
            (1 / 4, 0, 0),
            (-1 / 6, -1 / 6, -1 / 6),
            (-1 / 6, 1 / 6, -1 / 6),
            (1 / 24, 1 / 12, 1 / 6),
            (1 / 24, -1 / 12, 1 / 6),
            (0, 0, 1),
        ),
        data=(
            (4, 0, -5, 0, 1, 0),
            (0, -4, -4, 1, 1, 0),
            (0, 4, -4, -1, 1, 0),
            (0, -2, -1, 2, 1, 0),
            (0, 2, -1, -2, 1, 0),
            (0, 4, 0, -5, 0, 1),
        ),
        output=(
            (1, 1, 1, 1, 1, 0),
            (0, 1, -1, 2, -2, 0),
            (0, 1, 1, 4, 4, 0),
            (0, 1, -1, 8, -8, 1),
        ),
    ),
}

TILE_SIZES = tuple(_TRANSFORMS)


@dataclass(frozen=True, kw_only=True, slots=True)
class TileGrid:
    """Output tiles of `tile` x `tile`, in chunks; the last tiles may reach over the edge."""

    tile: int
    chunks: tuple[int, int]  # down, across
    chunk: tuple[int, int]  # tiles in a chunk: down, across

    @property
    def points(self) -> int:
        """Products for each row of a tile."""
        return self.tile + TAPS - 1

    @property
    def chunk_tiles(self) -> int:
        return self.chunk[0] * self.chunk[1]

    @property
    def tiles(self) -> int:
        return self.chunks[0] * self.chunks[1] * self.chunk_tiles

    @property
    def extent(self) -> tuple[int, int]:
        """Rows and columns that the tiles cover."""
        down, across = (n * size for n, size in zip(self.chunks, self.chunk, strict=True))
        return down * self.tile, across * self.tile

    def just_covers(self, out_extent: tuple[int, int]) -> bool:
        """Whether the tiles cover so many rows and columns, and each chunk is needed."""
        chunk = (size * self.tile for size in self.chunk)
        return all(
            (count - 1) * size < extent <= count * size
            for count, size, extent in zip(self.chunks, chunk, out_extent, strict=True)
        )


def transform_operations(tile: int) -> tuple[int, int]:
    """Vector operations that transform the data and the output of one tile, stores among them."""
    points, transforms = tile + TAPS - 1, _TRANSFORMS[tile]
    data = sum(factor != 0 for row in transforms.data for factor in row)
    output = sum(factor != 0 for row in transforms.output for factor in row)
    return 2 * points * (data + points), (points + tile) * (output + tile)


def winograd_weight(weight: np.ndarray, tile: int, lanes: int) -> np.ndarray:
    """``weight[O, I, 3, 3]`` transformed: ``[P, P, O/L, I, L]``, P points a row; O divides by L."""
    matrix = np.array(_TRANSFORMS[tile].weight, np.float64)
    out_channels, in_channels = weight.shape[:2]
    points = np.einsum("pa,oiab,qb->pqoi", matrix, weight.astype(np.float64), matrix, optimize=True)
    blocked = points.reshape(*points.shape[:2], out_channels // lanes, lanes, in_channels)
    return np.ascontiguousarray(np.moveaxis(blocked, 3, 4), np.float32)


def _combination(
    matrix: Sequence[Sequence[float]], index: Any, element: Callable[[int], Any]
) -> Any:
    """The row `index` of `matrix` times the vector of elements; unrolled, one row remains."""

    def row(factors: Sequence[float]) -> Any:
        total = None
        for position, factor in enumerate(factors):
            if factor == 0:
                continue
            term = element(position)
            if factor == -1 and total is not None:
                total = total - term
                continue
            term = term if factor == 1 else term * tirx.const(factor, "float32")
            total = term if total is None else total + term
        return total

    value = row(matrix[-1])
    for number in reversed(range(len(matrix) - 1)):
        value = tirx.if_then_else(index == number, row(matrix[number]), value)
    return value


def winograd_conv2d(
    data: te.Tensor,
    weight: te.Tensor,
    sig: Conv2dSignature,
    grid: TileGrid,
    out_block: int | None = None,
) -> te.Tensor:
    """3 x 3 convolution of ``data[N, C/B, H, W, B]`` with ``weight[P, P, O/L, I, L]``.

    Gives ``[N, O/B', OH, OW, B']``, or ``[N, O, OH, OW]`` if `out_block` is None.
    """
    tile, points = grid.tile, grid.points
    (rows, columns), (down, across) = grid.chunk, grid.chunks
    transforms = _TRANSFORMS[tile]
    batch, in_blocks, _, _, in_lanes = (int(extent) for extent in data.shape)
    _, _, out_blocks, _, lanes = (int(extent) for extent in weight.shape)
    place = (batch, down, across)  # of a chunk
    source = padded(data, _pads_of_whole_tiles(sig, grid))

    def data_rows(n: Any, gy: Any, gx: Any, c: Any, t: Any, i: Any, x: Any, b: Any) -> Any:
        y, left = (gy * rows + t // columns) * tile, (gx * columns + t % columns) * tile
        return _combination(transforms.data, i, lambda k: source[n, c, y + k, left + x, b])

    half = te.compute(
        (*place, in_blocks, grid.chunk_tiles, points, points, in_lanes),
        data_rows,
        name="data_rows",
        attrs={roles.ROLE: roles.WINOGRAD_HALF},
    )
    points_of_data = te.compute(
        (*place, points, points, grid.chunk_tiles, in_blocks, in_lanes),
        lambda n, gy, gx, i, j, t, c, b: _combination(
            transforms.data, j, lambda k: half[n, gy, gx, c, t, i, k, b]
        ),
        name="data_points",
        attrs={roles.ROLE: roles.WINOGRAD_DATA},
    )
    block = te.reduce_axis((0, in_blocks), "channel")
    inner = te.reduce_axis((0, in_lanes), "inner_channel")
    products = te.compute(
        (*place, points, points, grid.chunk_tiles, out_blocks, lanes),
        lambda n, gy, gx, i, j, t, o, lane: te.sum(
            points_of_data[n, gy, gx, i, j, t, block, inner]
            * weight[i, j, o, block * in_lanes + inner, lane],
            axis=[block, inner],
        ),
        name="winograd",
        attrs={roles.ROLE: roles.WINOGRAD_PRODUCTS},
    )
    half_output = te.compute(
        (*place, out_blocks, grid.chunk_tiles, tile, points, lanes),
        lambda n, gy, gx, o, t, i, j, lane: _combination(
            transforms.output, i, lambda k: products[n, gy, gx, k, j, t, o, lane]
        ),
        name="output_rows",
        attrs={roles.ROLE: roles.WINOGRAD_HALF},
    )
    tiles = te.compute(
        (*place, out_blocks, grid.chunk_tiles, tile, tile, lanes),
        lambda n, gy, gx, o, t, i, j, lane: _combination(
            transforms.output, j, lambda k: half_output[n, gy, gx, o, t, i, k, lane]
        ),
        name="output_tiles",
        attrs={roles.ROLE: roles.WINOGRAD_OUTPUT, roles.CHUNK_COLUMNS: columns},
    )
    return _untiled(tiles, sig, grid, out_block)


def _pads_of_whole_tiles(sig: Conv2dSignature, grid: TileGrid) -> tuple[int, int, int, int]:
    """The convolution's pads, and zeros below and to the right for tiles over the edge."""
    top, left, _, _ = sig.pads
    height, width = (extent + TAPS - 1 for extent in grid.extent)
    return top, left, height - sig.height - top, width - sig.width - left


def _untiled(
    tiles: te.Tensor, sig: Conv2dSignature, grid: TileGrid, out_block: int | None
) -> te.Tensor:
    """``tiles[N, GY, GX, O/L, T, m, m, L]`` in the output's own layout."""
    lanes, tile = int(tiles.shape[7]), grid.tile
    rows, columns = grid.chunk

    def element(n: Any, o: Any, y: Any, x: Any) -> Any:
        down, across = y // tile, x // tile
        chunk = (n, down // rows, across // columns)
        inside = (down % rows * columns + across % columns, y % tile, x % tile)
        return tiles[(*chunk, o // lanes, *inside, o % lanes)]

    return in_output_layout(element, sig, out_block)
