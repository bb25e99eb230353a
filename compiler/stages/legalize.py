"""Relax operators to PrimFuncs: our own forms where we have one, TVM's elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from tvm import relax, topi
from tvm.ir import IRModule
from tvm.relax.transform.legalize_ops import (
    index,
    linear_algebra,
    manipulate,
    nn,
    statistical,
)

from compiler.stages.operators.contiguous import (
    VIEW,
    legalize_concat,
    legalize_split,
    legalize_strided_slice,
)
from compiler.stages.operators.conv2d import legalize_conv2d
from compiler.stages.operators.conv2d_transpose import legalize_conv2d_transpose
from compiler.stages.operators.extremes import legalize_extreme
from compiler.stages.operators.gpu_legalizers import gpu_legalizers
from compiler.stages.operators.libm import legalize_libm
from compiler.stages.operators.matmul import legalize_matmul
from compiler.stages.operators.rows import (
    legalize_layer_norm,
    legalize_rms_norm,
    legalize_softmax,
)
from compiler.target_spec import GpuSpec, Precision

Legalizer = Callable[[relax.BlockBuilder, relax.Call], Any]


def _as_reshape(_builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
    return relax.op.reshape(call.args[0], call.ty.shape)


_VIEWS_AND_LIBM: dict[str, Legalizer] = {
    "relax.cosh": legalize_libm,
    "relax.sinh": legalize_libm,
    "relax.expand_dims": _as_reshape,
    "relax.squeeze": _as_reshape,
    "relax.flatten": _as_reshape,
}


# Without a name of its own in TVM.
_EXTREMES: dict[str, Legalizer] = {
    "relax.max": statistical._statistical(topi.max),
    "relax.min": statistical._statistical(topi.min),
}


def legalizers(
    lanes: int, conv_lanes: int, matmul_lanes: int, *, by_scalar: bool, bfloats: bool = False
) -> dict[str, Legalizer]:
    """Our own way of lowering, by Relax operator name."""
    return {
        **_VIEWS_AND_LIBM,
        "relax.concat": partial(legalize_concat, otherwise=manipulate._concat),
        "relax.split": partial(legalize_split, otherwise=manipulate._split),
        "relax.strided_slice": partial(legalize_strided_slice, otherwise=index._strided_slice),
        "relax.nn.conv2d": partial(
            legalize_conv2d, vector_lanes=lanes, sum_lanes=conv_lanes, by_scalar=by_scalar
        ),
        "relax.nn.conv2d_transpose": partial(
            legalize_conv2d_transpose, vector_lanes=lanes, otherwise=nn._nn_conv2d_transpose
        ),
        **{
            name: partial(legalize_extreme, vector_lanes=lanes, otherwise=otherwise)
            for name, otherwise in _EXTREMES.items()
        },
        "relax.nn.softmax": partial(legalize_softmax, vector_lanes=lanes, otherwise=nn._nn_softmax),
        "relax.nn.layer_norm": partial(
            legalize_layer_norm, vector_lanes=lanes, otherwise=nn._nn_layer_norm
        ),
        "relax.nn.rms_norm": partial(
            legalize_rms_norm, vector_lanes=lanes, otherwise=nn._nn_rms_norm
        ),
        "relax.matmul": partial(
            legalize_matmul,
            vector_lanes=matmul_lanes,
            otherwise=linear_algebra._matmul,
            by_scalar=by_scalar,
            bfloats=bfloats,
        ),
    }


def legalize(
    mod: IRModule,
    *,
    lanes: int,
    conv_lanes: int | None = None,
    matmul_lanes: int | None = None,
    by_scalar: bool = False,
    bfloats: bool = False,
) -> IRModule:
    """Return the module in ``call_tir`` form; reshapes and parts that lie together stay views.

    Args:
        lanes: numbers of 32 bits in a vector.
        conv_lanes: output channels whose weights are packed side by side; a vector if None.
        matmul_lanes: columns of a constant right operand, likewise.
        by_scalar: a multiply-add takes one factor from a general register.
        bfloats: products of matrices with constants are of bfloat16.
    """
    widths = (lanes, conv_lanes or lanes, matmul_lanes or lanes)
    rules = legalizers(*widths, by_scalar=by_scalar, bfloats=bfloats)
    return relax.transform.LegalizeOps(rules, skip_ops=["relax.reshape", VIEW])(mod)


def legalize_for_gpu(mod: IRModule, *, gpu: GpuSpec, precision: Precision) -> IRModule:
    """Return the same for a GPU, whose forms of operators are others.

    Args:
        precision: of the factors of matrix products; sums are float32.
    """
    own = {**_VIEWS_AND_LIBM, **gpu_legalizers(gpu, precision)}
    return relax.transform.LegalizeOps(own, skip_ops=["relax.reshape"])(mod)
