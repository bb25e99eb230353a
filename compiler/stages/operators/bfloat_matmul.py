"""Product of matrices of bfloat16 in pairs along their depth, sums in float32."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from tvm import te, tirx

from compiler.stages.operators.matrix_panels import flat_index, pack_right, spread_index
from schedules import roles

PAIR = 2  # products that one instruction adds to a lane
LEAST_LANES = 4  # of the narrowest such instruction


def pack_pairs(matrix: np.ndarray, lanes: int) -> np.ndarray:
    """``matrix[K, N]`` as panels ``[1, N/L, K/2, L, 2]``, missing rows and columns zero."""
    depth = matrix.shape[0]
    panels = pack_right(np.pad(matrix, ((0, depth % PAIR), (0, 0))), lanes)
    pairs = panels.reshape(*panels.shape[:2], -1, PAIR, lanes)
    return np.ascontiguousarray(pairs.swapaxes(-1, -2))


def bfloat_matmul(left: te.Tensor, panels: te.Tensor, out_shape: tuple[int, ...]) -> te.Tensor:
    """``out[..., N]`` of `out_shape` from ``left[..., K]`` in float32 and ``panels`` in bfloat16.

    The left operand is rounded, half to even, in a copy. The operands keep the ranks that the graph
    gives them, so that what follows can be fused.
    """
    _, count, pairs, lanes, _ = (int(extent) for extent in panels.shape)
    rows = _rounded_rows(left, pairs * PAIR)
    pair = te.reduce_axis((0, pairs), "pair")
    inner = te.reduce_axis((0, PAIR), "inner")

    def accumulate(b: Any, m: Any, panel: Any, lane: Any) -> Any:
        right = panels[b, panel, pair, lane, inner].astype("float32")
        return te.sum(rows[m, pair * PAIR + inner].astype("float32") * right, axis=[pair, inner])

    blocked = te.compute(
        (1, int(rows.shape[0]), count, lanes),
        accumulate,
        name="matmul",
        attrs={roles.ROLE: roles.BFLOAT_MATMUL},
    )

    def plain(*indices: Any) -> Any:
        row = flat_index(indices[:-1], out_shape[:-1])
        return blocked[0, row, indices[-1] // lanes, indices[-1] % lanes]

    return te.compute(out_shape, plain, name="unpack", attrs={roles.ROLE: roles.UNPACK})


def _rounded_rows(left: te.Tensor, depth: int) -> te.Tensor:
    """``left[..., K]`` as bfloat16 ``[M, depth]``, zeros behind K."""
    *leading, given = (int(extent) for extent in left.shape)

    def element(m: Any, k: Any) -> Any:
        value = left[(*spread_index(m, leading), k)]
        if depth > given:
            value = tirx.if_then_else(k < given, value, tirx.const(0.0, "float32"))
        return value.astype("bfloat16")

    shape = (prod(leading), depth)
    return te.compute(shape, element, name="rounded", attrs={roles.ROLE: roles.PAD})
