"""Concatenations and parts of tensors whose elements lie one after another in memory.

That is so along an axis with extents of 1 only before it. Such a part is a view of its operand at
an offset; such a concatenation is marked, so that its operands can be made in place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import prod
from typing import Any

from tvm import relax, tirx, topi

from compiler.program import ELEMENT_BYTES
from compiler.stages.operand_views import shape_of

# Attribute of a PrimFunc whose one output is the bytes of its inputs, one after another.
JOINS = "tunesmith.joins"
VIEW = "relax.memory.view"
PART = "tunesmith_part"

Legalizer = Callable[[relax.BlockBuilder, relax.Call], Any]


def legalize_concat(builder: relax.BlockBuilder, call: relax.Call, *, otherwise: Legalizer) -> Any:
    """Return the concatenation, marked if it only puts its operands one after another."""
    fields = getattr(call.args[0], "fields", None)
    axis = call.attrs.axis
    if fields is None or axis is None:
        return otherwise(builder, call)
    shape = shape_of(call)
    axis = int(axis) % len(shape)
    if prod(shape[:axis]) != 1 or prod(shape) == 0:
        return otherwise(builder, call)
    return builder.call_te(
        topi.concatenate,
        list(fields),
        axis,
        primfunc_name_hint="concatenate",
        primfunc_attrs={JOINS: True},
    )


def legalize_split(builder: relax.BlockBuilder, call: relax.Call, *, otherwise: Legalizer) -> Any:
    """Return the parts as views where they lie together, else as copies."""
    shape = _static_shape(call.args[0])
    if shape is None:
        return otherwise(builder, call)
    axis = int(call.attrs.axis) % len(shape)
    bounds = _bounds(call.attrs.indices_or_sections, shape[axis])
    if prod(shape[:axis]) != 1 or any(begin >= end for begin, end in pairwise(bounds)):
        return otherwise(builder, call)
    parts = []
    for begin, end in pairwise(bounds):
        extents = (*shape[:axis], end - begin, *shape[axis + 1 :])
        parts.append(_view(call.args[0], extents, begin * prod(shape[axis + 1 :])))
    if len(parts) == 1:  # no tuple: so it is in kernels, too
        return parts[0]
    # Names of variables say which ONNX value they hold; these are chosen by nobody else.
    return relax.Tuple([builder.emit(part, name_hint=PART) for part in parts])


def _bounds(sections: Any, extent: int) -> list[int]:
    """Where the parts of an axis begin, and its extent."""
    if isinstance(sections, int | tirx.IntImm):
        step = -(-extent // int(sections))
        return [min(i * step, extent) for i in range(int(sections))] + [extent]
    return [0, *(min(int(end), extent) for end in sections), extent]


def legalize_strided_slice(
    builder: relax.BlockBuilder, call: relax.Call, *, otherwise: Legalizer
) -> Any:
    """Return the part as a view where it lies together, else as a copy."""
    source, result = _static_shape(call.args[0]), _static_shape(call)
    begins = None if source is None else _begins(call, source)
    if source is None or result is None or begins is None or prod(result) == 0:
        return otherwise(builder, call)
    first = next((axis for axis, extent in enumerate(result) if extent > 1), len(result))
    if result[first + 1 :] != source[first + 1 :]:
        return otherwise(builder, call)
    offset = sum(begin * prod(source[axis + 1 :]) for axis, begin in enumerate(begins))
    return _view(call.args[0], result, offset)


def _begins(call: relax.Call, shape: Sequence[int]) -> list[int] | None:
    """Where the part begins along each axis, None if it leaves elements out in between."""
    lists = [_constants(argument) for argument in call.args[1:]]
    if any(numbers is None for numbers in lists):
        return None
    axes, starts, _, *strides = [numbers for numbers in lists if numbers is not None]
    if any(step != 1 for step in (strides[0] if strides else ())):
        return None
    begins = [0] * len(shape)
    for axis, start in zip(axes, starts, strict=True):
        extent = shape[axis % len(shape)]
        begins[axis % len(shape)] = min(max(start + extent * (start < 0), 0), extent)
    return begins


def _constants(argument: Any) -> list[int] | None:
    fields = getattr(argument, "fields", None)
    if fields is None or not all(isinstance(field, tirx.IntImm) for field in fields):
        return None
    return [int(field) for field in fields]


def _static_shape(expression: Any) -> tuple[int, ...] | None:
    shape = getattr(getattr(expression, "ty", None), "shape", None)
    values = getattr(shape, "values", None)
    if values is None or not all(isinstance(extent, tirx.IntImm) for extent in values):
        return None
    if str(expression.ty.dtype) not in ELEMENT_BYTES:
        return None
    return tuple(int(extent) for extent in values)


def _view(source: Any, shape: Sequence[int], offset: int) -> Any:
    """The part of `source` that begins at element `offset`."""
    dtype = str(source.ty.dtype)
    if offset == 0 and prod(shape) == prod(shape_of(source)):
        return relax.op.reshape(source, tuple(shape))
    return relax.op.memory.view(source, tuple(shape), dtype, offset * ELEMENT_BYTES[dtype])


def view_offset_bytes(call: relax.Call) -> int:
    """Where a view begins in its operand; a reshape begins where its operand does."""
    if getattr(call.op, "name", "") != VIEW or len(call.args) < 4:
        return 0
    offset = call.args[3]
    return int(offset) if isinstance(offset, tirx.IntImm) else 0
