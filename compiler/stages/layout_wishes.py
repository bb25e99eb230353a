"""Which values are better in blocked layout: what reads or makes each of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import relax

from compiler.stages.blocked_parts import SLICE, SPLIT
from compiler.stages.operand_views import shape_of
from compiler.stages.operators.channel_blocks import LEAST_BLOCK
from compiler.stages.operators.conv2d_signature import Conv2dSignature, conv2d_signature
from compiler.stages.provenance import bindings

ELEMENTWISE_UNARY = {
    f"relax.{name}"
    for name in (
        *("nn.relu", "nn.leakyrelu", "nn.silu", "nn.gelu", "nn.gelu_tanh", "sigmoid", "tanh"),
        *("clip", "abs", "exp", "erf", "negative", "sqrt", "rsqrt", "square", "floor", "ceil"),
        *("round", "log", "hint_on_device", "astype", "quantize", "dequantize"),
    )
}
ELEMENTWISE_BINARY = {
    f"relax.{name}" for name in ("add", "subtract", "multiply", "divide", "maximum", "minimum")
}
POOLING = {"relax.nn.max_pool2d", "relax.nn.avg_pool2d"}
RESIZE = "relax.image.resize2d"
# What hands the wish for blocked layout on to its operands.
_PASSING_ON = ELEMENTWISE_UNARY | ELEMENTWISE_BINARY | POOLING | {RESIZE, SLICE, SPLIT}
TO_LAST, FROM_LAST = (0, 2, 3, 1), (0, 3, 1, 2)  # axes of a transpose of images
SPATIAL_REDUCTIONS = {f"relax.{name}" for name in ("mean", "sum", "max", "min")}


def wanted_blocked(
    main: relax.Function, reads_plain: Callable[[Conv2dSignature], bool]
) -> set[Any]:
    """Variables that are read faster in blocked layout, or made faster: depthwise convolutions.

    Convolutions and plane sums read them faster, and transposes that put the channels last; not
    convolutions that had better read plain data.

    What works element by element passes the wish of its result on to its operands.
    """
    wanted: set[Any] = set()
    for binding in reversed(list(bindings(main))):
        value = binding.value
        name = getattr(getattr(value, "op", None), "name", "")
        if isinstance(value, relax.TupleGetItem) and binding.var in wanted:
            wanted.add(value.tuple_value)
        if not isinstance(value, relax.Call):
            continue
        reads = name in SPATIAL_REDUCTIONS or axes_order(value) == TO_LAST
        if name == "relax.nn.conv2d":
            sig = conv2d_signature(value)
            reads = sig is None or not reads_plain(sig)
        if reads:
            wanted.add(value.args[0])
        if name == "relax.nn.conv2d" and reads and _is_depthwise(value):
            wanted.add(binding.var)
        elif name == SLICE and shape_of(value)[1:2] and shape_of(value)[1] % LEAST_BLOCK:
            continue  # cuts a block of channels: its operand would be copied to plain
        elif binding.var in wanted and name in _PASSING_ON:
            wanted.update(argument for argument in value.args if isinstance(argument, relax.Var))
        elif binding.var in wanted and name == "relax.concat":
            wanted.update(getattr(value.args[0], "fields", ()))
    return {variable for variable in wanted if isinstance(variable, relax.DataflowVar)}


def axes_order(call: relax.Call) -> tuple[int, ...] | None:
    """The order of a transpose's axes, None for other calls."""
    if getattr(call.op, "name", "") != "relax.permute_dims" or call.attrs.axes is None:
        return None
    rank = len(shape_of(call))
    return tuple(int(axis) % rank for axis in call.attrs.axes)


def _is_depthwise(call: relax.Call) -> bool:
    sig = conv2d_signature(call)
    return sig is not None and sig.is_depthwise
