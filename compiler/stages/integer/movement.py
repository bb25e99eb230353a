"""Concatenations of quantized tensors."""

from __future__ import annotations

from tvm import relax

from compiler.stages.integer.context import Context, Result
from compiler.stages.integer.elementwise import rescaled
from compiler.stages.integer.quantizers import StaysFloatError
from compiler.stages.integer.values import Integers


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
