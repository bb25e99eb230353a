"""Softmax, layer and RMS normalisation of rows: sums in vectors, one division for each row.

A row is read in chunks of whole vectors; the last chunk is filled up with what changes no result.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import inf, prod
from typing import Any

from tvm import relax, te, tirx

from schedules import roles

# Vectors in a chunk of a long row: as many sums are independent, which hides their latency.
_LONG_CHUNK = 4
# A row of fewer vectors would have a chunk or two.
_LONG_ROW = 16

Combine = Callable[[Any, Any], Any]
Reduce = Callable[..., Any]


class Rows:
    """Values of ``rows x size`` as ``[*rows, chunk, lane]`` and how they are reduced."""

    def __init__(self, rows: tuple[int, ...], size: int, lanes: int) -> None:
        self.rows = rows
        self.size = size
        vectors = -(-size // lanes)
        self.chunk = lanes * (_LONG_CHUNK if vectors >= _LONG_ROW else 1)
        self.chunks = -(-size // self.chunk)

    def chunked(self, value: Callable[..., Any], fill: float, name: str) -> te.Tensor:
        """``value(row, position)`` in chunks, `fill` after the row's end."""
        whole = self.size == self.chunks * self.chunk

        def element(*indices: Any) -> Any:
            *row, chunk, lane = indices
            position = chunk * self.chunk + lane
            inside = value(row, position)
            if whole:
                return inside
            return tirx.if_then_else(position < self.size, inside, tirx.const(fill, "float32"))

        return te.compute((*self.rows, self.chunks, self.chunk), element, name=name)

    def reduced(self, chunks: te.Tensor, reduce: Reduce, combine: Combine, name: str) -> te.Tensor:
        """One number for each row: chunks added to one vector, then its halves to each other."""
        axis = te.reduce_axis((0, self.chunks), "chunk")
        partial_ = te.compute(
            (*self.rows, self.chunk),
            lambda *i: reduce(chunks[(*i[:-1], axis, i[-1])], axis=axis),
            name=f"{name}_lanes",
            attrs={roles.ROLE: roles.LANE_SUMS},
        )
        width = self.chunk
        while width > 1:
            width //= 2
            partial_ = self._halved(partial_, width, combine, f"{name}_{width}")
        return partial_

    def _halved(self, sums: te.Tensor, width: int, combine: Combine, name: str) -> te.Tensor:
        def element(*indices: Any) -> Any:
            return combine(sums[indices], sums[(*indices[:-1], indices[-1] + width)])

        attrs = {roles.ROLE: roles.ROW_VALUE}
        return te.compute((*self.rows, width), element, name=name, attrs=attrs)

    def for_each(self, value: Callable[..., Any], name: str) -> te.Tensor:
        """One number for each row: ``value(row)``."""
        attrs = {roles.ROLE: roles.ROW_VALUE}
        shape = (*self.rows, 1)
        return te.compute(shape, lambda *i: value(i[:-1]), name=name, attrs=attrs)


def softmax_rows(data: te.Tensor, lanes: int) -> te.Tensor:
    """``exp(x - max) / sum`` along the last axis of ``data[*rows, n]``."""
    *rows, size = (int(extent) for extent in data.shape)
    over = Rows(tuple(rows), size, lanes)
    chunks = over.chunked(lambda row, k: data[(*row, k)], -inf, "chunks")
    most = over.reduced(chunks, te.max, tirx.max, "max")
    powers = te.compute(
        chunks.shape, lambda *i: te.exp(chunks[i] - most[(*i[:-2], 0)]), name="exp"
    )  # 0 where the last chunk is filled up
    total = over.reduced(powers, te.sum, lambda a, b: a + b, "sum")
    scale = over.for_each(lambda row: 1.0 / total[(*row, 0)], "scale")

    def element(*indices: Any) -> Any:
        *row, k = indices
        return powers[(*row, k // over.chunk, k % over.chunk)] * scale[(*row, 0)]

    return te.compute(data.shape, element, name="softmax")


def layer_norm_rows(
    data: te.Tensor, gamma: te.Tensor, beta: te.Tensor, lanes: int, epsilon: float
) -> te.Tensor:
    """``(x - mean) / sqrt(variance + epsilon) * gamma + beta`` along the last axis.

    The variance is the mean of squared distances, not a difference of large numbers.
    """
    *rows, size = (int(extent) for extent in data.shape)
    over = Rows(tuple(rows), size, lanes)

    def add(a: Any, b: Any) -> Any:
        return a + b

    chunks = over.chunked(lambda row, k: data[(*row, k)], 0.0, "chunks")
    total = over.reduced(chunks, te.sum, add, "sum")
    mean = over.for_each(lambda row: total[(*row, 0)] * (1.0 / size), "mean")

    def square(row: Any, k: Any) -> Any:
        distance = data[(*row, k)] - mean[(*row, 0)]
        return distance * distance

    squares = over.reduced(over.chunked(square, 0.0, "squares"), te.sum, add, "variance")
    scale = over.for_each(
        lambda row: 1.0 / te.sqrt(squares[(*row, 0)] * (1.0 / size) + epsilon), "scale"
    )

    def element(*indices: Any) -> Any:
        *row, k = indices
        normal = (data[indices] - mean[(*row, 0)]) * scale[(*row, 0)]
        return normal * gamma[k] + beta[k]

    return te.compute(data.shape, element, name="layer_norm")


def rms_norm_rows(data: te.Tensor, gamma: te.Tensor, lanes: int, epsilon: float) -> te.Tensor:
    """``x / sqrt(mean(x * x) + epsilon) * gamma`` along the last axis."""
    *rows, size = (int(extent) for extent in data.shape)
    over = Rows(tuple(rows), size, lanes)

    def square(row: Any, k: Any) -> Any:
        return data[(*row, k)] * data[(*row, k)]

    chunks = over.chunked(square, 0.0, "squares")
    squares = over.reduced(chunks, te.sum, lambda a, b: a + b, "sum")
    scale = over.for_each(
        lambda row: 1.0 / te.sqrt(squares[(*row, 0)] * (1.0 / size) + epsilon), "scale"
    )

    def element(*indices: Any) -> Any:
        *row, k = indices
        return data[indices] * scale[(*row, 0)] * gamma[k]

    return te.compute(data.shape, element, name="rms_norm")


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(int(extent) for extent in value.ty.shape.values)


def _fits(call: relax.Call, axes: int) -> bool:
    """Whether the call is of float32 rows: the last `axes` axes of several."""
    shape = _shape(call.args[0])
    return str(call.args[0].ty.dtype) == "float32" and axes < len(shape) and 0 not in shape


def legalize_softmax(
    builder: relax.BlockBuilder, call: relax.Call, *, vector_lanes: int, otherwise: Any
) -> relax.Expr:
    """Lower ``relax.nn.softmax`` along the last axis; `otherwise` legalizes what does not fit."""
    last = int(call.attrs.axis) in (-1, len(_shape(call.args[0])) - 1)
    if not last or not _fits(call, axes=1):
        return otherwise(builder, call)
    rows = partial(softmax_rows, lanes=vector_lanes)
    return builder.call_te(rows, call.args[0], primfunc_name_hint="softmax")


def legalize_layer_norm(
    builder: relax.BlockBuilder, call: relax.Call, *, vector_lanes: int, otherwise: Any
) -> relax.Expr:
    """Lower ``relax.nn.layer_norm`` over the last axes; `otherwise` legalizes what does not fit."""
    shape, axes = _shape(call.args[0]), [int(axis) for axis in call.attrs.axes]
    last = [axis % len(shape) for axis in axes] == list(range(len(shape) - len(axes), len(shape)))
    if not last or not axes or not _fits(call, axes=len(axes)):
        return otherwise(builder, call)
    size = prod(shape[-len(axes) :])
    data, gamma, beta = call.args
    if len(axes) > 1:
        data = builder.emit(relax.op.reshape(data, (*shape[: -len(axes)], size)))
        gamma = builder.emit(relax.op.reshape(gamma, (size,)))
        beta = builder.emit(relax.op.reshape(beta, (size,)))
    rows = partial(layer_norm_rows, lanes=vector_lanes, epsilon=float(call.attrs.epsilon))
    out = builder.call_te(rows, data, gamma, beta, primfunc_name_hint="layer_norm")
    return out if len(axes) == 1 else relax.op.reshape(builder.emit(out), shape)


def legalize_rms_norm(
    builder: relax.BlockBuilder, call: relax.Call, *, vector_lanes: int, otherwise: Any
) -> relax.Expr:
    """Lower ``relax.nn.rms_norm`` over the last axes; `otherwise` legalizes what does not fit.

    All axes are one row: TVM's own lowering fails for them.
    """
    shape, axes = _shape(call.args[0]), [int(axis) for axis in call.attrs.axes]
    last = [axis % len(shape) for axis in axes] == list(range(len(shape) - len(axes), len(shape)))
    if not last or not axes or not _fits(call, axes=len(axes) - 1):
        return otherwise(builder, call)
    data, gamma = call.args
    matrix = (*shape[: -len(axes)], prod(shape[-len(axes) :]))
    matrix = matrix if len(matrix) > 1 else (1, *matrix)
    if matrix != shape:
        data = builder.emit(relax.op.reshape(data, matrix))
        gamma = builder.emit(relax.op.reshape(gamma, matrix[-1:]))
    rows = partial(rms_norm_rows, lanes=vector_lanes, epsilon=float(call.attrs.epsilon))
    out = builder.call_te(rows, data, gamma, primfunc_name_hint="rms_norm")
    return out if matrix == shape else relax.op.reshape(builder.emit(out), shape)
