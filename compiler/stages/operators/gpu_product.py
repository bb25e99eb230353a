"""A matrix product for a GPU, its operands gathered tile by tile: convolutions are products too.

Operands and sums are as large as whole tiles; what is beyond the matrices is zero. So the tests for
the edges stand where operands are gathered and where results are written, in no inner loop.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm import te, tirx

from schedules import roles
from schedules.cuda.product_tile import ProductTile

# (matrix, row or column, position of the sum) -> element
Element = Callable[[Any, Any, Any], Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class ProductExtents:
    """``[batch, rows, columns]``, each a sum of `depth` products."""

    batch: int
    rows: int
    columns: int
    depth: int


def tiled_product(
    left: Element, right: Element, extents: ProductExtents, tile: ProductTile
) -> te.Tensor:
    """Return ``sum over k of left(b, row, k) * right(b, column, k)``: [batch, rows', columns'].

    The last two extents are rounded up to whole tiles.
    """
    rows, columns, depth = (
        -(-extent // step) * step
        for extent, step in (
            (extents.rows, tile.rows),
            (extents.columns, tile.columns),
            (extents.depth, tile.depth),
        )
    )
    gathered_left = _gathered(left, (extents.rows, rows), extents, depth, roles.GPU_LEFT)
    gathered_right = _gathered(right, (extents.columns, columns), extents, depth, roles.GPU_RIGHT)
    k = te.reduce_axis((0, depth), "k")
    attrs = {
        roles.ROLE: roles.GPU_PRODUCT,
        roles.GPU_ROWS: extents.rows,
        roles.GPU_COLUMNS: extents.columns,
        roles.GPU_TILE_ROWS: tile.rows,
        roles.GPU_TILE_COLUMNS: tile.columns,
        roles.GPU_TILE_DEPTH: tile.depth,
    }
    return te.compute(
        (extents.batch, rows, columns),
        lambda b, row, column: te.sum(
            gathered_left[b, k, row] * gathered_right[b, k, column], axis=k
        ),
        name="product",
        attrs=attrs,
    )


def _gathered(
    element: Element, lengths: tuple[int, int], extents: ProductExtents, depth: int, role: str
) -> te.Tensor:
    """``[batch, depth, length]``: neighbours in a row or column lie together in shared memory."""
    length, whole = lengths

    def value(b: Any, k: Any, index: Any) -> Any:
        tests = []
        if whole != length:
            tests.append(index < length)
        if depth != extents.depth:
            tests.append(k < extents.depth)
        inside = element(b, index, k)
        if not tests:
            return inside
        return tirx.if_then_else(tirx.all(*tests), inside, tirx.const(0.0, "float32"))

    shape = (extents.batch, depth, whole)
    return te.compute(shape, value, name=role.replace("-", "_"), attrs={roles.ROLE: role})
