"""A matrix product for a GPU, its operands gathered tile by tile: convolutions are products too.

Operands and sums are as large as whole tiles; what is beyond the matrices is zero. So the tests for
the edges stand where operands are gathered and where results are written, in no inner loop.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm import te, tirx

from compiler.target_spec import Precision
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
    left: Element,
    right: Element,
    extents: ProductExtents,
    tile: ProductTile,
    precision: Precision = "float32",
) -> te.Tensor:
    """Return ``sum over k of left(b, row, k) * right(b, column, k)``: [batch, rows', columns'].

    The last two extents are rounded up to whole tiles. Factors are rounded to `precision` while
    they are gathered; sums are float32.
    """
    rows, columns, depth = (
        -(-extent // step) * step
        for extent, step in (
            (extents.rows, tile.rows),
            (extents.columns, tile.columns),
            (extents.depth, tile.depth),
        )
    )
    gathered_left, gathered_right = (
        _gathered(element, lengths, (extents, depth), role, precision)
        for element, lengths, role in (
            (left, (extents.rows, rows), roles.GPU_LEFT),
            (right, (extents.columns, columns), roles.GPU_RIGHT),
        )
    )
    k = te.reduce_axis((0, depth), "k")
    attrs: dict[str, Any] = {
        roles.ROLE: roles.GPU_PRODUCT,
        roles.GPU_ROWS: extents.rows,
        roles.GPU_COLUMNS: extents.columns,
        roles.GPU_TILE_ROWS: tile.rows,
        roles.GPU_TILE_COLUMNS: tile.columns,
        roles.GPU_TILE_DEPTH: tile.depth,
    }
    if precision != "float32":
        attrs[roles.GPU_PRECISION] = precision

    def accumulate(b: Any, row: Any, column: Any) -> Any:
        one, other = gathered_left[b, k, row], gathered_right[b, k, column]
        if precision == "fp16":
            one, other = one.astype("float32"), other.astype("float32")
        return te.sum(one * other, axis=k)

    shape = (extents.batch, rows, columns)
    return te.compute(shape, accumulate, name="product", attrs=attrs)


def _gathered(
    element: Element,
    lengths: tuple[int, int],
    along: tuple[ProductExtents, int],
    role: str,
    precision: Precision,
) -> te.Tensor:
    """``[batch, depth, length]``: neighbours in a row or column lie together in shared memory."""
    (length, whole), (extents, depth) = lengths, along

    def value(b: Any, k: Any, index: Any) -> Any:
        tests = []
        if whole != length:
            tests.append(index < length)
        if depth != extents.depth:
            tests.append(k < extents.depth)
        inside = element(b, index, k)
        if not tests:
            return _rounded(inside, precision)
        zero = tirx.const(0.0, "float32")
        return _rounded(tirx.if_then_else(tirx.all(*tests), inside, zero), precision)

    shape = (extents.batch, depth, whole)
    return te.compute(shape, value, name=role.replace("-", "_"), attrs={roles.ROLE: role})


def _rounded(value: Any, precision: Precision) -> Any:
    """TF32 is float32 whose last 13 bits are zero: `tensor_cores.cuh` has the function."""
    if precision == "fp16":
        return value.astype("float16")
    if precision == "tf32":
        return tirx.call_pure_extern("float32", "tunesmith_tf32", value)
    return value
