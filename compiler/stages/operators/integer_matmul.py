"""Matrix products of small integers, exact sums in int32."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import te, tirx

from compiler.stages.operators.integer_dot import IntegerDot, row_shift
from schedules import roles


def pack_integer_right(matrix: np.ndarray, dot: IntegerDot) -> np.ndarray:
    """``matrix[K, N]`` as ``[N/L, K/group, L, group]``, missing rows and columns zero."""
    depth, columns = matrix.shape
    dot = dot.for_depth(depth)
    lanes = dot.lanes_for(columns)
    blocks, chunks = -(-columns // lanes), dot.chunks_for(depth)
    room = np.zeros((chunks * dot.group, blocks * lanes), matrix.dtype)
    room[:depth, :columns] = matrix
    split = room.reshape(chunks, dot.group, blocks, lanes)
    return np.ascontiguousarray(split.transpose(2, 0, 3, 1))


def matrix_rows(left: te.Tensor, dot: IntegerDot, *, zero: int, depth: int) -> te.Tensor:
    """``left[M, K]`` as the sums read it: [M, `depth`]; a block of role PAD where it is a copy."""
    dtype = dot.row_dtype or str(left.dtype)
    rows, given = (int(extent) for extent in left.shape)
    if depth == given and dtype == str(left.dtype):
        return left
    shift = row_shift(str(left.dtype), zero, dot)

    def element(m: Any, k: Any) -> Any:
        value = left[m, k]
        if dtype != str(left.dtype):
            value = (value.astype("int16") + tirx.const(shift, "int16")).astype(dtype)
        if depth > given:
            value = tirx.if_then_else(k < given, value, tirx.const(0, dtype))
        return value

    return te.compute((rows, depth), element, name="pad", attrs={roles.ROLE: roles.PAD})


def integer_matmul(
    left: te.Tensor, panels: te.Tensor, *, columns: int, dot: IntegerDot, zero: int
) -> te.Tensor:
    """int32 ``[M, N]`` from ``left[M, K]`` and ``panels[N/L, K/group, L, group]``."""
    blocks, chunks, lanes, group = (int(extent) for extent in panels.shape)
    rows = matrix_rows(left, dot, zero=zero, depth=chunks * group)
    chunk = te.reduce_axis((0, chunks), "chunk")
    inner = te.reduce_axis((0, group), "inner_k")

    def accumulate(m: Any, block: Any, lane: Any) -> Any:
        k = chunk * group + inner if group > 1 else chunk
        factor = panels[block, chunk, lane, inner].astype("int32")
        return te.sum(rows[m, k].astype("int32") * factor, axis=[chunk, inner])

    sums = te.compute(
        (int(left.shape[0]), blocks, lanes),
        accumulate,
        name="integer_matmul",
        attrs={roles.ROLE: roles.INTEGER_MATMUL, **dot.marks()},
    )
    return te.compute(
        (int(left.shape[0]), columns),
        lambda m, n: sums[m, n // lanes, n % lanes],
        name="unpack",
        attrs={roles.ROLE: roles.UNPACK},
    )


def less_zero_points(
    sums: te.Tensor,
    zero: te.Tensor,
    weight_sums: te.Tensor,
    *,
    shape: tuple[int, ...],
    shift: int,
) -> te.Tensor:
    """``sums[M, N] - (zero + shift) * weight_sums[N]`` in a shape that ends with N.

    Args:
        zero: int32 of one element, computed when the model runs.
        shift: what was added to the data as the sums read it.
    """
    first = (0,) * len(zero.shape)

    def element(*indices: Any) -> Any:
        row: Any = 0
        for extent, index in zip(shape[:-1], indices[:-1], strict=True):
            row = row * extent + index
        around = zero[first] + tirx.const(shift, "int32")
        return sums[row, indices[-1]] - around * weight_sums[indices[-1]]

    return te.compute(shape, element, name="less_zero_points")


def less_zero_points_of_images(
    sums: te.Tensor, zero: te.Tensor, weight_sums: te.Tensor, *, shift: int
) -> te.Tensor:
    """``sums[N, H, W, O] - (zero + shift) * weight_sums[O]``; as `less_zero_points`."""
    first = (0,) * len(zero.shape)

    def element(n: Any, y: Any, x: Any, o: Any) -> Any:
        return sums[n, y, x, o] - (zero[first] + tirx.const(shift, "int32")) * weight_sums[o]

    return te.compute(sums.shape, element, name="less_zero_points")


def integer_batch_matmul(left: te.Tensor, right: te.Tensor, *, zeros: tuple[int, int]) -> te.Tensor:
    """int32 ``[B, M, N]`` from ``left[B, M, K]`` and ``right[B or 1, K, N]``, made at run time."""
    batch, rows, depth = (int(extent) for extent in left.shape)
    k = te.reduce_axis((0, depth), "k")
    shared = int(right.shape[0]) == 1

    def accumulate(b: Any, m: Any, n: Any) -> Any:
        one = left[b, m, k].astype("int32") - tirx.const(zeros[0], "int32")
        other = right[0 if shared else b, k, n].astype("int32") - tirx.const(zeros[1], "int32")
        return te.sum(one * other, axis=k)

    return te.compute((batch, rows, int(right.shape[2])), accumulate, name="integer_batch_matmul")
