"""Which operator sums the products of a convolution or matrix product on a target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
from tvm import te

from compiler.stages.operators.conv2d_signature import Conv2dSignature
from compiler.stages.operators.gpu_integer_product import (
    along_sums,
    conv2d_extents,
    gpu_integer_conv2d,
    gpu_integer_matmul,
    gpu_integer_vector_matmul,
    integer_tiles,
    words,
)
from compiler.stages.operators.gpu_matmul import MOST_ROWS_OF_VECTORS
from compiler.stages.operators.gpu_product import ProductExtents
from compiler.stages.operators.integer_conv2d import integer_conv2d, pack_integer_conv2d_weight
from compiler.stages.operators.integer_dot import IntegerDot
from compiler.stages.operators.integer_matmul import integer_matmul, pack_integer_right
from compiler.stages.operators.joined_taps import joins_taps
from schedules.cpu.amx_tiles import CHUNK

# (data, packed weights) -> int32 sums
Sums = Callable[[te.Tensor, te.Tensor], te.Tensor]


def conv2d_dot(sig: Conv2dSignature, weights: np.ndarray, dot: IntegerDot) -> IntegerDot:
    """Return what a convolution with weights `[O, I, KH, KW]` is packed for.

    Products of tiles are of one group: another block of channels reads the same inputs.
    """
    if not dot.multiplies_tiles or sig.groups > 1:
        return dot
    out_h, out_w = sig.out_extent
    rows = out_h * out_w if sig.is_pointwise else out_w
    depth, taps = sig.in_channels, sig.kernel[1] if sig.dilation[1] == 1 else 1
    if joins_taps(sig, replace(dot, group=CHUNK)):
        depth, taps = sig.kernel[1] * depth, 1
    return dot.for_tiles(rows=rows, depth=depth, taps=taps, weights=weights)


def conv2d_sums(
    weight: np.ndarray, *, sig: Conv2dSignature, dot: IntegerDot, zero: int
) -> tuple[np.ndarray, Sums]:
    """Return packed weights and what makes ``[N, OH, OW, O]`` of ``data[N, H, W, C]`` and them.

    Args:
        weight: ``[O, I, KH, KW]``, int8 or int16.
        zero: the integer that stands around the data.
    """
    extents = conv2d_extents(sig)
    if dot.gpu is None or sig.groups > 1 or 1 in (extents.rows, extents.columns):
        packed = pack_integer_conv2d_weight(weight, sig, dot)
        return packed, partial(integer_conv2d, sig=sig, dot=dot, zero=zero)
    tiles = integer_tiles(extents, dot.gpu, bytes_only=weight.dtype == np.int8)
    by_tap = weight.transpose(0, 2, 3, 1).reshape(sig.out_channels, -1)
    return along_sums(by_tap, tiles), partial(gpu_integer_conv2d, sig=sig, tiles=tiles, zero=zero)


def matmul_sums(
    matrix: np.ndarray, *, rows: int, dot: IntegerDot, zero: int
) -> tuple[np.ndarray, Sums]:
    """Return packed weights and what makes ``[M, N]`` of ``left[M, K]`` and them.

    Args:
        matrix: ``[K, N]``, int8 or int16.
        rows: M.
        zero: of the data.
    """
    depth, columns = matrix.shape
    bytes_only = matrix.dtype == np.int8
    few = 1 in (rows, columns) or rows <= MOST_ROWS_OF_VECTORS
    if dot.gpu is not None and few and bytes_only and dot.gpu.sums_bytes:
        return words(matrix.T), gpu_integer_vector_matmul
    if dot.gpu is None or few:
        packed = pack_integer_right(matrix, dot)
        return packed, partial(integer_matmul, columns=columns, dot=dot, zero=zero)
    extents = ProductExtents(batch=1, rows=rows, columns=columns, depth=depth)
    tiles = integer_tiles(extents, dot.gpu, bytes_only=bytes_only)
    return along_sums(matrix.T, tiles), partial(gpu_integer_matmul, columns=columns, tiles=tiles)
