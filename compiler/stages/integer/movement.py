"""Concatenations, slices, splits and resizing of quantized tensors: no element is computed."""

from __future__ import annotations

from functools import partial

from tvm import relax, tirx, topi

from compiler.stages.integer.context import Context, Result
from compiler.stages.integer.elementwise import rescaled
from compiler.stages.integer.quantizers import StaysFloatError
from compiler.stages.integer.values import TO_LAST, Integers
from compiler.stages.provenance import is_call_to


def integer_concatenation(context: Context, call: relax.Call, to: Result) -> Integers:
    """Return ``relax.concat``: each part in the integers of the whole."""
    fields = getattr(context.behind(call.args[0]), "fields", None)
    if fields is None:
        raise StaysFloatError("its operands are no tensors of the graph")
    parts = [rescaled(context, context.needed(field), to) for field in fields]
    rank = len(parts[0].shape)
    axis = int(call.attrs.axis or 0) % rank
    if rank == 4 and any(part.is_last for part in parts):
        place = (0, 3, 1, 2)[axis]
        made = context.emit(relax.op.concat([part.last for part in parts], axis=place))
        return context.channels_last(made)
    return context.plain(context.emit(relax.op.concat([p.plain for p in parts], axis=axis)))


def integer_slice(context: Context, call: relax.Call, to: Result) -> Integers:
    """Return ``relax.strided_slice`` of a quantized tensor, in ONNX's order of axes."""
    data = rescaled(context, context.needed(call.args[0]), to)
    return context.plain(context.emit(relax.op.strided_slice(data.plain, *call.args[1:])))


def integer_part(context: Context, item: relax.TupleGetItem, to: Result) -> Integers:
    """Return one part of ``relax.split`` of a quantized tensor."""
    split = context.behind(item.tuple_value)
    if not is_call_to(split, "relax.split"):
        raise StaysFloatError("an operator with several results has no integer form")
    data = rescaled(context, context.needed(split.args[0]), to)
    extent, axis = data.shape[int(split.attrs.axis)], int(split.attrs.axis) % len(data.shape)
    sections = split.attrs.indices_or_sections
    if hasattr(sections, "__len__"):
        borders = [0, *(int(border) for border in sections), extent]
    else:
        borders = [*range(0, extent, -(-extent // int(sections))), extent]
    begin, end = borders[item.index], borders[item.index + 1]
    return context.plain(
        context.emit(relax.op.strided_slice(data.plain, [axis], [begin], [end], [1]))
    )


def integer_padding(context: Context, call: relax.Call, to: Result) -> Integers:
    """Return ``relax.nn.pad``: around the data stands the integer of the padded number."""
    if to.slope is not None:
        raise StaysFloatError("a leaky ReLU follows padding")
    width = [int(amount) for amount in call.attrs.pad_width]
    before, after = width[::2], width[1::2]
    data = rescaled(context, context.needed(call.args[0]), to)
    last = len(before) == 4 and data.is_last
    if last:
        before, after = ([amounts[axis] for axis in TO_LAST] for amounts in (before, after))
    mode = str(call.attrs.pad_mode)
    if mode == "constant":
        fill = to.quantizer.integer(float(call.attrs.pad_value))
        around = tirx.const(min(max(fill, to.bounds.low), to.bounds.high), to.bounds.dtype)
        compute = partial(topi.nn.pad, pad_before=before, pad_after=after, pad_value=around)
    elif mode == "reflect":
        compute = partial(topi.nn.mirror_pad, pad_before=before, pad_after=after, mode="REFLECT")
    else:
        compute = partial(topi.nn.replicate_pad, pad_before=before, pad_after=after)
    made = context.emit_te(compute, data.last if last else data.plain, name="integer_pad")
    return context.channels_last(made) if last else context.plain(made)


def integer_resize(context: Context, call: relax.Call, to: Result) -> Integers:
    """Return ``relax.image.resize2d`` of the nearest elements, which are integers of the data."""
    attrs = call.attrs
    if str(attrs.method) != "nearest_neighbor" or str(attrs.layout) != "NCHW":
        raise StaysFloatError(f"resizing by {attrs.method} has no integer form")
    data = rescaled(context, context.needed(call.args[0]), to)
    names = ("method", "coordinate_transformation_mode", "rounding_method")
    resized = relax.op.image.resize2d(
        data.last,
        call.args[1],
        roi=[float(v) for v in attrs.roi],
        layout="NHWC",
        cubic_alpha=float(attrs.cubic_alpha),
        cubic_exclude=int(attrs.cubic_exclude),
        extrapolation_value=float(attrs.extrapolation_value),
        **{name: str(getattr(attrs, name)) for name in names},
    )
    return context.channels_last(context.emit(resized))
