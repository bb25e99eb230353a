"""Small models for each schedule of a GPU: tiles with edges, strides, epilogues, one element."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper

from tests.onnx_models import make_model, weights


@dataclass(frozen=True, slots=True)
class GpuCase:
    """A model and the schedules that its kernels are to get."""

    name: str
    schedules: frozenset[str]
    model: onnx.ModelProto


PRODUCT, DEPTHWISE = "gpu-product", "gpu-depthwise-conv2d"
ROWS, REDUCTION, EACH = "gpu-rows", "gpu-reduction", "thread-for-each-element"
# The shapes of one output are not needed: onnxruntime infers them.
_Shape = Sequence[int]


# What TVM writes as plain loops.
ONE = "one-thread"


def _case(
    name: str,
    schedule: str,
    op_type: str,
    shapes: Sequence[_Shape],
    *weight_shapes: tuple[int, ...],
    relu: bool = False,
    add: bool = False,
    opset: int = 18,
    **attributes: Any,
) -> GpuCase:
    """Inputs x0, x1... and constants through one node, then Add of an input, then Relu."""
    inputs: dict[str, Any] = {f"x{i}": ("float32", list(shape)) for i, shape in enumerate(shapes)}
    constants = {f"w{i}": weights(*shape, seed=i) for i, shape in enumerate(weight_shapes)}
    last = "made" if relu or add else "y"
    operands = [*inputs, *constants]
    nodes = [helper.make_node(op_type, operands, [last], name="node", **attributes)]
    if add:
        inputs["other"] = ("float32", [1])
        nodes.append(helper.make_node("Add", [last, "other"], ["sum" if relu else "y"], name="add"))
        last = "sum"
    if relu:
        nodes.append(helper.make_node("Relu", [last], ["y"], name="relu"))
    model = make_model(
        nodes, inputs=inputs, outputs={"y": ("float32", None)}, constants=constants, opset=opset
    )
    return GpuCase(name, frozenset([schedule]), model)


CASES: tuple[GpuCase, ...] = (
    _case("conv-plain", PRODUCT, "Conv", [[1, 3, 9, 10]], (20, 3, 3, 3), (20,), relu=True),
    _case(
        "conv-strided",
        PRODUCT,
        "Conv",
        [[2, 5, 11, 13]],
        (17, 5, 3, 3),
        pads=[1, 0, 1, 2],
        strides=[2, 1],
        dilations=[1, 2],
    ),
    _case("conv-pointwise", PRODUCT, "Conv", [[1, 33, 5, 7]], (18, 33, 1, 1), relu=True, add=True),
    _case("conv-wide", PRODUCT, "Conv", [[1, 2, 40, 70]], (3, 2, 5, 5), pads=[2, 2, 2, 2]),
    _case("conv-one-element", EACH, "Conv", [[1, 1, 1, 1]], (1, 1, 1, 1)),
    _case("conv-one-channel", REDUCTION, "Conv", [[1, 4, 9, 9]], (1, 4, 3, 3), relu=True),
    _case("conv-one-position", REDUCTION, "Conv", [[1, 4, 5, 5]], (18, 4, 5, 5), (18,)),
    _case("matmul-column", REDUCTION, "MatMul", [[2, 9, 40]], (40, 1)),
    _case("conv1d", PRODUCT, "Conv", [[1, 4, 37]], (6, 4, 3)),
    _case("conv-groups", REDUCTION, "Conv", [[1, 4, 6, 6]], (8, 2, 3, 3), group=2),
    _case("matmul-weights", PRODUCT, "MatMul", [[2, 9, 40]], (40, 35), relu=True),
    _case("matmul-batched", PRODUCT, "MatMul", [[2, 3, 17, 5], [2, 3, 5, 33]]),
    _case("matmul-shared", PRODUCT, "MatMul", [[2, 3, 17, 5], [5, 33]], add=True),
    _case("matmul-vector", REDUCTION, "MatMul", [[1, 96]], (96, 11)),
    _case("gemm-vector", REDUCTION, "Gemm", [[1, 128]], (128, 12), (12,), relu=True),
    _case(
        "depthwise",
        DEPTHWISE,
        "Conv",
        [[1, 6, 9, 11]],
        (6, 1, 3, 3),
        (6,),
        group=6,
        pads=[1, 1, 1, 1],
        relu=True,
    ),
    _case(
        "depthwise-multiplier",
        DEPTHWISE,
        "Conv",
        [[2, 4, 9, 7]],
        (8, 1, 3, 5),
        group=4,
        strides=[2, 2],
    ),
    _case("softmax", ROWS, "Softmax", [[3, 40]], axis=-1),
    _case("softmax-long", ROWS, "Softmax", [[2, 2, 2100]], axis=-1),
    _case("softmax-one", ROWS, "Softmax", [[5, 1]], axis=-1),
    _case("layer-norm", ROWS, "LayerNormalization", [[2, 5, 96]], (96,), (96,), axis=-1),
    _case("layer-norm-ragged", ROWS, "LayerNormalization", [[7, 333]], (333,), (333,), axis=-1),
    _case("mean", REDUCTION, "GlobalAveragePool", [[1, 12, 8, 8]]),
    _case("mean-seven", REDUCTION, "GlobalAveragePool", [[1, 10, 7, 7]], relu=True),
    _case("sum-outer", REDUCTION, "ReduceSum", [[64, 3, 2]], keepdims=0, noop_with_empty_axes=0),
    _case("sum-prime", EACH, "GlobalAveragePool", [[1, 3, 1, 257]]),
    _case("max-pool", EACH, "MaxPool", [[1, 3, 9, 9]], kernel_shape=[3, 3], strides=[2, 2]),
    _case("average-pool", EACH, "AveragePool", [[1, 3, 9, 9]], kernel_shape=[2, 3], add=True),
    _case("transpose", EACH, "Transpose", [[3, 5, 7]], perm=[2, 0, 1]),
    _case("sigmoid", EACH, "Sigmoid", [[300]], add=True),
    _case("log-softmax", EACH, "LogSoftmax", [[3, 40]], axis=-1),
    _case("conv-transpose", EACH, "ConvTranspose", [[1, 3, 5, 5]], (3, 4, 2, 2), strides=[2, 2]),
)


def running_sum_model() -> onnx.ModelProto:
    """A model whose kernel TVM writes as plain loops."""
    return make_model(
        [helper.make_node("CumSum", ["x", "axis"], ["y"], name="running")],
        inputs={"x": ("float32", [3, 8])},
        outputs={"y": ("float32", [3, 8])},
        constants={"axis": np.array(1, np.int64)},
    )


CASES = (*CASES, GpuCase("running-sum", frozenset([ONE]), running_sum_model()))
