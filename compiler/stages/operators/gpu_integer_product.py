"""Convolutions and matrix products of small integers for a GPU, exact sums in int32.

Data has channels last and weights lie along their sums, so that four factors of either are a word.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import te, tirx

from compiler.stages.operators.conv2d_signature import Conv2dSignature
from compiler.stages.operators.gpu_product import (
    WORD,
    Element,
    Operand,
    ProductExtents,
    tiled_product,
)
from compiler.target_spec import GpuSpec
from schedules import roles
from schedules.cuda.product_tile import (
    IntegerProduct,
    ProductTile,
    integer_product_tile,
    product_tile,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class IntegerTiles:
    """What multiplies, in what tile; each sum has `depth` products, whole steps of the tile."""

    kind: IntegerProduct
    tile: ProductTile
    depth: int


def integer_tiles(extents: ProductExtents, gpu: GpuSpec, *, bytes_only: bool) -> IntegerTiles:
    """Return how a GPU computes a product.

    Args:
        bytes_only: no factor needs more than 8 bits.
    """
    shape = (extents.batch, extents.rows, extents.columns)
    kind: IntegerProduct = "int32"
    tile = product_tile(*shape, gpu)
    if bytes_only and gpu.sums_bytes:
        kind, tile = integer_product_tile(shape, extents.depth, gpu)
    return IntegerTiles(kind=kind, tile=tile, depth=-(-extents.depth // tile.depth) * tile.depth)


def along_sums(weight: np.ndarray, tiles: IntegerTiles) -> np.ndarray:
    """``weight[N, K]`` as ``[N, depth]``: what is missing is zero."""
    room = np.zeros((weight.shape[0], tiles.depth), weight.dtype)
    room[:, : weight.shape[1]] = weight
    return room


def conv2d_extents(sig: Conv2dSignature) -> ProductExtents:
    """The product that a convolution is: positions by output channels, of one group."""
    out_h, out_w = sig.out_extent
    return ProductExtents(
        batch=1,
        rows=sig.batch * out_h * out_w,
        columns=sig.out_channels,
        depth=sig.in_channels * sig.kernel[0] * sig.kernel[1],
    )


def gpu_integer_conv2d(
    data: te.Tensor, weight: te.Tensor, *, sig: Conv2dSignature, tiles: IntegerTiles, zero: int
) -> te.Tensor:
    """int32 ``[N, OH, OW, O]`` from ``data[N, H, W, C]`` and ``weight[O, depth]``.

    Args:
        zero: the integer that stands around the data.
    """
    extents = conv2d_extents(sig)
    out_h, out_w = sig.out_extent

    def taken(_b: Any, position: Any, k: Any) -> Any:
        n = position // (out_h * out_w) if sig.batch > 1 else 0
        in_plane = position % (out_h * out_w) if sig.batch > 1 else position
        tap, channel = _tap_and_channel(k, sig.in_channels)
        return _surrounded(data, sig, (n, in_plane // out_w, in_plane % out_w), tap, channel, zero)

    whole = _of_depth(extents, tiles)
    operands = (_operand(data, sig.in_channels), _operand(weight, tiles.depth))
    sums = tiled_product(taken, _row_of(weight), whole, tiles.tile, tiles.kind, operands)
    return te.compute(
        (sig.batch, out_h, out_w, sig.out_channels),
        lambda n, y, x, o: sums[0, (n * out_h + y) * out_w + x, o],
        name="unpack",
        attrs={roles.ROLE: roles.UNPACK},
    )


def _tap_and_channel(k: Any, channels: int) -> tuple[Any, Any]:
    """Which tap a position of the sum is, and which channel of it: of words where taps are words.

    So a word is of one tap to the compiler, too, and is read at once.
    """
    if isinstance(k, tuple) and channels % WORD == 0:
        word, byte = k
        words_of_tap = channels // WORD
        return word // words_of_tap, word % words_of_tap * WORD + byte
    position = _position(k)
    return position // channels, position % channels


def _position(k: Any) -> Any:
    return k[0] * WORD + k[1] if isinstance(k, tuple) else k


def _within(k: Any, depth: int) -> Any:
    """Whether a position of the sum is one of the first `depth`."""
    if isinstance(k, tuple) and depth % WORD == 0:
        return k[0] < depth // WORD
    return _position(k) < depth


def _surrounded(
    data: te.Tensor,
    sig: Conv2dSignature,
    position: tuple[Any, Any, Any],
    tap: Any,
    channel: Any,
    zero: int,
) -> Any:
    """The element that a position reads at a tap, counted row by row; `zero` beyond the plane.

    Also beyond the last tap, where weights are zero. The tests are of taps, not of channels: four
    channels are one word where they are read.
    """
    top, left, bottom, right = sig.pads
    n, y, x = position
    kernel_h, kernel_w = sig.kernel
    row = y * sig.strides[0] + tap // kernel_w * sig.dilation[0] - top
    column = x * sig.strides[1] + tap % kernel_w * sig.dilation[1] - left
    tests = [tap < kernel_h * kernel_w]
    if top or bottom:
        tests += [row >= 0, row < sig.height]
    if left or right:
        tests += [column >= 0, column < sig.width]
    around = tirx.const(zero, str(data.dtype))
    return tirx.if_then_else(tirx.all(*tests), data[n, row, column, channel], around)


def gpu_integer_matmul(
    left: te.Tensor, weight: te.Tensor, *, columns: int, tiles: IntegerTiles
) -> te.Tensor:
    """int32 ``[M, N]`` from ``left[M, K]`` and ``weight[N, depth]``."""
    rows, depth = (int(extent) for extent in left.shape)
    extents = ProductExtents(batch=1, rows=rows, columns=columns, depth=tiles.depth)

    def taken(_b: Any, row: Any, k: Any) -> Any:
        return _or_zero(left, (row, _position(k)), k, depth, tiles)

    operands = (_operand(left, depth), _operand(weight, tiles.depth))
    sums = tiled_product(taken, _row_of(weight), extents, tiles.tile, tiles.kind, operands)
    return te.compute(
        (rows, columns),
        lambda m, n: sums[0, m, n],
        name="unpack",
        attrs={roles.ROLE: roles.UNPACK},
    )


def gpu_integer_batch_matmul(
    left: te.Tensor, right: te.Tensor, *, tiles: IntegerTiles
) -> te.Tensor:
    """int32 ``[B, M, N]`` from ``left[B, M, K]`` and ``right[B or 1, K, N]``, made at run time."""
    batch, rows, depth = (int(extent) for extent in left.shape)
    shared, columns = int(right.shape[0]) == 1, int(right.shape[2])
    extents = ProductExtents(batch=batch, rows=rows, columns=columns, depth=tiles.depth)

    def of_left(b: Any, row: Any, k: Any) -> Any:
        return _or_zero(left, (b, row, _position(k)), k, depth, tiles)

    def of_right(b: Any, column: Any, k: Any) -> Any:
        matrix = 0 if shared else b
        return _or_zero(right, (matrix, _position(k), column), k, depth, tiles)

    operands = (_operand(left, depth), Operand(dtype=str(right.dtype)))
    sums = tiled_product(of_left, of_right, extents, tiles.tile, tiles.kind, operands)
    return te.compute(
        (batch, rows, columns),
        lambda b, m, n: sums[b, m, n],
        name="unpack",
        attrs={roles.ROLE: roles.UNPACK},
    )


def line_sums(data: te.Tensor, *, axis: int) -> te.Tensor:
    """int32 sums of ``data[B, M, N]`` along its second or third axis."""
    batch, rows, columns = (int(extent) for extent in data.shape)
    if axis == 1:
        k = te.reduce_axis((0, rows), "k")
        return te.compute(
            (batch, columns), lambda b, n: te.sum(data[b, k, n].astype("int32"), axis=k)
        )
    k = te.reduce_axis((0, columns), "k")
    return te.compute((batch, rows), lambda b, m: te.sum(data[b, m, k].astype("int32"), axis=k))


def less_line_sums(
    sums: te.Tensor, *lines: te.Tensor, zeros: tuple[int, int], depth: int
) -> te.Tensor:
    """``sum((left - zeros[0]) * (right - zeros[1]))`` of ``sums[B, M, N]``, those without zeros.

    Args:
        lines: of the left operand, where the right one's zero point is not 0; then of the right.
    """
    of_left = lines[0] if zeros[1] else None
    of_right = lines[-1] if zeros[0] else None

    def element(b: Any, m: Any, n: Any) -> Any:
        value = sums[b, m, n] + tirx.const(zeros[0] * zeros[1] * depth, "int32")
        if of_left is not None:
            value = value - of_left[b, m] * tirx.const(zeros[1], "int32")
        if of_right is not None:
            shared = int(of_right.shape[0]) == 1
            value = value - of_right[0 if shared else b, n] * tirx.const(zeros[0], "int32")
        return value

    return te.compute(sums.shape, element, name="less_line_sums")


def _operand(data: te.Tensor, run: int) -> Operand:
    """Bytes of which runs of so many lie together: whole words, or not."""
    return Operand(dtype=str(data.dtype), has_words=run % WORD == 0)


def _of_depth(extents: ProductExtents, tiles: IntegerTiles) -> ProductExtents:
    return ProductExtents(
        batch=extents.batch, rows=extents.rows, columns=extents.columns, depth=tiles.depth
    )


def _row_of(weight: te.Tensor) -> Element:
    return lambda _b, row, k: weight[row, _position(k)]


def _or_zero(
    data: te.Tensor, indices: tuple[Any, ...], k: Any, depth: int, tiles: IntegerTiles
) -> Any:
    """An element, or 0 beyond the `depth` products that there are."""
    if depth == tiles.depth:
        return data[indices]
    return tirx.if_then_else(_within(k, depth), data[indices], tirx.const(0, str(data.dtype)))


def words(weight: np.ndarray) -> np.ndarray:
    """``weight[N, K]`` of int8 as int32 ``[N, K/4]``, four in a word, the first in its low byte."""
    room = np.zeros((weight.shape[0], -(-weight.shape[1] // WORD) * WORD), np.int8)
    room[:, : weight.shape[1]] = weight
    return np.ascontiguousarray(room.view("<i4").astype(np.int32))


def gpu_integer_vector_matmul(left: te.Tensor, weight: te.Tensor) -> te.Tensor:
    """int32 ``[M, N]`` from ``left[M, K]`` and words of weights ``[N, K/4]``: for few rows."""
    rows, depth = (int(extent) for extent in left.shape)
    columns, count = (int(extent) for extent in weight.shape)
    k = te.reduce_axis((0, count), "word")
    dtype = str(left.dtype)

    def byte(m: Any, place: int) -> Any:
        value = left[m, k * WORD + place]
        if count * WORD > depth:
            inside = k * WORD + place < depth
            value = tirx.if_then_else(inside, value, tirx.const(0, dtype))
        return (value.astype("int32") & 255) << (8 * place)

    def accumulate(m: Any, n: Any) -> Any:
        word = byte(m, 0) | byte(m, 1) | byte(m, 2) | byte(m, 3)
        name = f"tunesmith_dp4a_{'s' if dtype == 'int8' else 'u'}8"
        return te.sum(tirx.call_pure_extern("int32", name, word, weight[n, k]), axis=k)

    return te.compute((rows, columns), accumulate, name="integer_vector_matmul")
