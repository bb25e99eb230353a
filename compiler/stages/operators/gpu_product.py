"""A matrix product for a GPU, its operands gathered tile by tile: convolutions are products too.

Operands and sums are as large as whole tiles; what is beyond the matrices is zero. So the tests for
the edges stand where operands are gathered and where results are written, in no inner loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tvm import te, tirx

from schedules import roles
from schedules.cuda.product_tile import Multiplication, ProductTile

# (matrix, row or column, position of the sum) -> element; of bytes that are multiplied four at a
# time the position is a word and a byte of it.
Element = Callable[[Any, Any, Any], Any]
# What factors become before they are multiplied, where they are narrower than their sums.
_SUMS: Mapping[Multiplication, str] = {
    "fp16": "float32",
    **dict.fromkeys(("int32", "dp4a", "int8"), "int32"),
}
BYTES: tuple[Multiplication, ...] = ("dp4a", "int8")  # multiplied four at a time, word by word
WORD = 4  # bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Operand:
    """What is gathered: its type, and whether the four bytes of a word lie together."""

    dtype: str = "float32"
    has_words: bool = False


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
    precision: Multiplication = "float32",
    operands: tuple[Operand, Operand] = (Operand(), Operand()),
) -> te.Tensor:
    """Return ``sum over k of left(b, row, k) * right(b, column, k)``: [batch, rows', columns'].

    The last two extents are rounded up to whole tiles. Floats are rounded to `precision` while
    they are gathered, and their sums are float32; small integers are summed in int32. Of bytes that
    are multiplied four at a time the depth is whole steps.

    Args:
        operands: what the elements of both sides are.
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
        _gathered(element, lengths, (extents, depth), role, precision, operand)
        for element, lengths, role, operand in (
            (left, (extents.rows, rows), roles.GPU_LEFT, operands[0]),
            (right, (extents.columns, columns), roles.GPU_RIGHT, operands[1]),
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
    if precision not in ("float32", "int32"):
        attrs[roles.GPU_PRECISION] = precision
    widened = _SUMS.get(precision)

    def accumulate(b: Any, row: Any, column: Any) -> Any:
        if precision in BYTES:
            word, byte = k // WORD, k % WORD
            one, other = gathered_left[b, row, word, byte], gathered_right[b, column, word, byte]
        else:
            one, other = gathered_left[b, k, row], gathered_right[b, k, column]
        if widened is not None:
            one, other = one.astype(widened), other.astype(widened)
        return te.sum(one * other, axis=k)

    shape = (extents.batch, rows, columns)
    return te.compute(shape, accumulate, name="product", attrs=attrs)


def _gathered(
    element: Element,
    lengths: tuple[int, int],
    along: tuple[ProductExtents, int],
    role: str,
    precision: Multiplication,
    operand: Operand,
) -> te.Tensor:
    """``[batch, depth, length]``: neighbours in a row or column lie together in shared memory.

    Of bytes that are multiplied four at a time ``[batch, length, depth/4, 4]``: these lie together.
    """
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
        zero = tirx.const(0, operand.dtype)
        return _rounded(tirx.if_then_else(tirx.all(*tests), inside, zero), precision)

    name, attrs = role.replace("-", "_"), {roles.ROLE: role}
    if precision in BYTES:
        attrs[roles.GPU_WORDS] = "together" if operand.has_words else "apart"
        shape = (extents.batch, whole, depth // WORD, WORD)
        return te.compute(shape, lambda b, index, *k: value(b, k, index), name=name, attrs=attrs)
    return te.compute((extents.batch, depth, whole), value, name=name, attrs=attrs)


def _rounded(value: Any, precision: Multiplication) -> Any:
    """TF32 is float32 whose last 13 bits are zero: `tensor_cores.cuh` has the function."""
    if precision == "fp16":
        return value.astype("float16")
    if precision == "tf32":
        return tirx.call_pure_extern("float32", "tunesmith_tf32", value)
    return value
