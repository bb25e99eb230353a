"""Attention as one kernel: ``softmax(scale * q @ k.T + masks) @ v``, rows of q in lanes.

With rows in lanes softmax needs no sum across lanes, and neither k nor v is packed or transposed:
they are read one number at a time, for all rows of a chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tvm import te, tirx

from compiler.stages.operators.attention_tile import AttentionTile
from schedules import roles

Index = Callable[[Sequence[Any]], list[Any]]  # of an operand's element -> of its source's


@dataclass(frozen=True, kw_only=True, slots=True)
class AttentionShape:
    """``out[*batch, rows, columns]`` from q [*batch, rows, depth], k [*batch, positions, depth]
    and v [*batch, positions, columns]; `order` is the permutation of out's axes."""

    batch: tuple[int, ...]
    rows: int
    positions: int
    depth: int
    columns: int
    scale: float
    order: tuple[int, ...]


def padded_rows(shape: AttentionShape, tile: AttentionTile, lanes: int) -> int:
    """Rows of whole chunks."""
    chunk = tile.vectors * lanes
    return -(-shape.rows // chunk) * chunk


def attention(
    operands: Sequence[te.Tensor],
    *,
    shape: AttentionShape,
    tile: AttentionTile,
    lanes: int,
    indices: Sequence[Index],
    masks: Sequence[Index],
) -> te.Tensor:
    """Return the output in `shape.order`.

    Args:
        operands: sources of q, k and v, then of the masks.
        indices: of q [*batch, row, depth], k and v in their sources.
        masks: of masks [*batch, row, position] in theirs; rows may be those of whole chunks.
    """
    query, key, value, *added = operands
    chunk = tile.vectors * lanes
    chunks = padded_rows(shape, tile, lanes) // chunk
    lead = (*shape.batch, chunks)
    depth, positions = shape.depth, shape.positions
    padded_positions = -(-positions // tile.scores) * tile.scores
    spans = -(-positions // tile.span)
    padded_columns = -(-shape.columns // tile.values) * tile.values

    def block(extents: Sequence[int], element: Callable[..., Any], role: str) -> te.Tensor:
        name = role.removeprefix("attention-")
        return te.compute((*lead, *extents), element, name=name, attrs={roles.ROLE: role})

    def inside(index: Any, extent: int, padded: int) -> Any:
        return index if padded == extent else tirx.min(index, extent - 1)

    def row(i: Any, c: Any, lane: Any) -> Any:
        return i * chunk + c * lanes + lane

    def of_queries(*at: Any) -> Any:
        *b, i, d, c, lane = at
        whole = inside(row(i, c, lane), shape.rows, chunks * chunk)
        element = query[tuple(indices[0]([*b, whole, d]))]
        return element if shape.scale == 1.0 else element * tirx.const(shape.scale, "float32")

    queries = block((depth, tile.vectors, lanes), of_queries, roles.ATTENTION_QUERIES)
    over_depth = te.reduce_axis((0, depth), "d")

    def of_scores(*at: Any) -> Any:
        *b, i, n, c, lane = at
        n = inside(n, positions, padded_positions)
        one_key = key[tuple(indices[1]([*b, n, over_depth]))]
        return te.sum(one_key * queries[(*b, i, over_depth, c, lane)], axis=over_depth)

    wide = (padded_positions, tile.vectors, lanes)
    scores = block(wide, of_scores, roles.ATTENTION_SCORES)

    def of_masked(*at: Any) -> Any:
        *b, i, n, c, lane = at
        n = inside(n, positions, padded_positions)
        terms = [m[tuple(f([*b, row(i, c, lane), n]))] for m, f in zip(added, masks, strict=True)]
        return sum(terms, start=scores[at])

    masked = block(wide, of_masked, roles.ATTENTION_MASKED)
    over_most = te.reduce_axis((0, positions), "n")
    over_total = te.reduce_axis((0, positions), "n")
    vectors = (tile.vectors, lanes)
    most = block(
        vectors,
        lambda *at: te.max(masked[(*at[:-2], over_most, *at[-2:])], axis=over_most),
        roles.ATTENTION_MOST,
    )

    def of_powers(*at: Any) -> Any:
        *b, i, n, c, lane = at
        power = te.exp(masked[at] - most[(*b, i, c, lane)])
        if spans * tile.span == positions:
            return power
        return tirx.if_then_else(n < positions, power, tirx.const(0.0, "float32"))

    powers = block((spans * tile.span, *vectors), of_powers, roles.ATTENTION_POWERS)
    total = block(
        vectors,
        lambda *at: te.sum(powers[(*at[:-2], over_total, *at[-2:])], axis=over_total),
        roles.ATTENTION_TOTAL,
    )
    scale = block(vectors, lambda *at: 1.0 / total[at], roles.ATTENTION_SCALE)

    over_span = te.reduce_axis((0, tile.span), "n")

    def of_values(*at: Any) -> Any:
        *b, _, n, e = at
        n = inside(n, positions, spans * tile.span)
        return value[tuple(indices[2]([*b, n, inside(e, shape.columns, padded_columns)]))]

    values = block((spans * tile.span, padded_columns), of_values, roles.ATTENTION_VALUES)

    def of_parts(*at: Any) -> Any:
        *b, i, span, e, c, lane = at
        n = span * tile.span + over_span
        return te.sum(values[(*b, i, n, e)] * powers[(*b, i, n, c, lane)], axis=over_span)

    tall = (padded_columns, *vectors)
    parts = block((spans, *tall), of_parts, roles.ATTENTION_PARTS)
    over_spans = te.reduce_axis((0, spans), "span")
    mixed = block(
        tall,
        lambda *at: te.sum(parts[(*at[:-3], over_spans, *at[-3:])], axis=over_spans),
        roles.ATTENTION_MIXED,
    )
    normal = block(
        tall, lambda *at: mixed[at] * scale[(*at[:-3], *at[-2:])], roles.ATTENTION_NORMAL
    )
    return _in_order(normal, shape, tile, lanes)


def _in_order(
    normal: te.Tensor, shape: AttentionShape, tile: AttentionTile, lanes: int
) -> te.Tensor:
    chunk = tile.vectors * lanes
    extents = (*shape.batch, shape.rows, shape.columns)

    def element(*out: Any) -> Any:
        plain = [out[shape.order.index(axis)] for axis in range(len(extents))]
        *b, m, e = plain
        return normal[(*b, m // chunk, e, m % chunk // lanes, m % lanes)]

    rows_axis = shape.order.index(len(extents) - 2)
    attrs = {roles.ROLE: roles.ATTENTION_OUT, roles.ROWS_AXIS: rows_axis}
    permuted = tuple(extents[axis] for axis in shape.order)
    return te.compute(permuted, element, name="attention", attrs=attrs)
