"""Parts of blocked values: slices of rows, columns and whole blocks of channels, and splits."""

from __future__ import annotations

from itertools import pairwise

from tvm import relax

from compiler.stages.operand_views import shape_of, whole_numbers

SLICE, SPLIT = "relax.strided_slice", "relax.split"
_CHANNELS = 1


def blocked_slice(call: relax.Call, data: relax.Var) -> relax.Call | None:
    """The slice of ``data[N, C/B, H, W, B]``, None where it cuts a block of channels.

    Args:
        call: the slice of the plain value.
    """
    numbers = [whole_numbers(argument) for argument in call.args[1:]]
    axes, begins, ends, *steps = numbers
    if axes is None or begins is None or ends is None or None in steps:
        return None
    rank, block = len(shape_of(call)), shape_of(data)[-1]
    where = [axis % rank for axis in axes]
    if _CHANNELS in where:
        place = where.index(_CHANNELS)
        first, last = _inside(begins[place], ends[place], shape_of(call.args[0])[_CHANNELS])
        if (steps and steps[0] and steps[0][place] != 1) or first % block or last % block:
            return None
        begins = [*begins[:place], first // block, *begins[place + 1 :]]
        ends = [*ends[:place], last // block, *ends[place + 1 :]]
    return relax.op.strided_slice(data, where, begins, ends, *steps)


def _inside(begin: int, end: int, extent: int) -> tuple[int, int]:
    """The bounds as ONNX means them: negative ones count from the end, all are clamped."""
    begin, end = (
        min(max(bound + extent if bound < 0 else bound, 0), extent) for bound in (begin, end)
    )
    return begin, end


def blocked_part(call: relax.Call, part: int, data: relax.Var) -> relax.Call | None:
    """Result number `part` of a split of ``data[N, C/B, H, W, B]``, None where it cuts a block.

    Args:
        call: the split of the plain value.
    """
    shape, block = shape_of(call.args[0]), shape_of(data)[-1]
    axis = int(call.attrs.axis) % len(shape)
    extent = shape[axis]
    sections = call.attrs.indices_or_sections
    if hasattr(sections, "__len__"):
        borders = [0, *(int(border) for border in sections), extent]
    else:
        step = -(-extent // int(sections))
        borders = [*range(0, extent, step), extent]
    first, last = list(pairwise(borders))[part]
    if axis == _CHANNELS:
        if first % block or last % block:
            return None
        first, last = first // block, last // block
    return relax.op.strided_slice(data, [axis], [first], [last])
