"""Our own ways of lowering operators for a GPU."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from tvm import relax
from tvm.relax.transform.legalize_ops import linear_algebra, nn

from compiler.stages.operators.gpu_conv2d import legalize_gpu_conv2d
from compiler.stages.operators.gpu_matmul import legalize_gpu_matmul
from compiler.stages.operators.gpu_rows import legalize_gpu_layer_norm, legalize_gpu_softmax
from compiler.target_spec import GpuSpec, Precision

Legalizer = Callable[[relax.BlockBuilder, relax.Call], Any]


def gpu_legalizers(gpu: GpuSpec, precision: Precision) -> dict[str, Legalizer]:
    """Return them by Relax operator name."""
    return {
        "relax.nn.conv2d": partial(legalize_gpu_conv2d, gpu=gpu, precision=precision),
        "relax.matmul": partial(
            legalize_gpu_matmul, gpu=gpu, precision=precision, otherwise=linear_algebra._matmul
        ),
        "relax.nn.softmax": partial(legalize_gpu_softmax, otherwise=nn._nn_softmax),
        "relax.nn.layer_norm": partial(legalize_gpu_layer_norm, otherwise=nn._nn_layer_norm),
    }
