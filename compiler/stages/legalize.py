"""Relax operators to PrimFuncs: our own forms where we have one, TVM's elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from tvm import relax
from tvm.ir import IRModule
from tvm.relax.transform.legalize_ops import linear_algebra, nn

from compiler.stages.operators.conv2d import legalize_conv2d
from compiler.stages.operators.conv2d_transpose import legalize_conv2d_transpose
from compiler.stages.operators.libm import legalize_libm
from compiler.stages.operators.matmul import legalize_matmul
from compiler.stages.operators.rows import legalize_layer_norm, legalize_softmax
from compiler.target_spec import TargetSpec

Legalizer = Callable[[relax.BlockBuilder, relax.Call], Any]


def _as_reshape(_builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
    return relax.op.reshape(call.args[0], call.ty.shape)


def _conv1d_as_conv2d(
    builder: relax.BlockBuilder, call: relax.Call, *, vector_lanes: int
) -> relax.Expr:
    """``conv1d`` on [N, C, W] is ``conv2d`` on [N, C, 1, W]; reshapes cost nothing."""
    attrs = call.attrs
    batch, channels, width = (int(extent) for extent in call.args[0].ty.shape.values)
    data = builder.emit(relax.op.reshape(call.args[0], (batch, channels, 1, width)))
    weight = call.args[1]
    out_channels, group_in, taps = (int(extent) for extent in weight.ty.shape.values)
    weight_shape = (out_channels, group_in, 1, taps)
    if isinstance(weight, relax.Var):
        weight = builder.emit(relax.op.reshape(weight, weight_shape))
    else:
        weight = relax.const(weight.value.numpy().reshape(weight_shape))
    left, right = (int(value) for value in attrs.padding)
    wide = builder.normalize(
        relax.op.nn.conv2d(
            data,
            weight,
            strides=(1, int(attrs.strides[0])),
            padding=(0, left, 0, right),
            dilation=(1, int(attrs.dilation[0])),
            groups=int(attrs.groups),
        )
    )
    out = builder.emit(legalize_conv2d(builder, wide, vector_lanes=vector_lanes))
    return relax.op.reshape(out, call.ty.shape)


def legalizers(spec: TargetSpec) -> dict[str, Legalizer]:
    """Our own way of lowering, by Relax operator name."""
    lanes = spec.lanes(dtype_bits=32)
    return {
        "relax.cosh": legalize_libm,
        "relax.sinh": legalize_libm,
        "relax.expand_dims": _as_reshape,
        "relax.squeeze": _as_reshape,
        "relax.flatten": _as_reshape,
        "relax.nn.conv1d": partial(_conv1d_as_conv2d, vector_lanes=lanes),
        "relax.nn.conv2d": partial(legalize_conv2d, vector_lanes=lanes),
        "relax.nn.conv2d_transpose": partial(
            legalize_conv2d_transpose, vector_lanes=lanes, otherwise=nn._nn_conv2d_transpose
        ),
        "relax.nn.softmax": partial(legalize_softmax, vector_lanes=lanes, otherwise=nn._nn_softmax),
        "relax.nn.layer_norm": partial(
            legalize_layer_norm, vector_lanes=lanes, otherwise=nn._nn_layer_norm
        ),
        "relax.matmul": partial(
            legalize_matmul, vector_lanes=lanes, otherwise=linear_algebra._matmul
        ),
    }


def legalize(mod: IRModule, *, spec: TargetSpec) -> IRModule:
    """Return the module in ``call_tir`` form; ``relax.reshape`` stays, it is only another view."""
    return relax.transform.LegalizeOps(legalizers(spec), skip_ops=["relax.reshape"])(mod)
