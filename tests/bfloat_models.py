"""Models of one product that is computed in bfloat16, and what onnxruntime makes of its factors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tests.differential.agreement import run_reference
from tests.emulated_bfloats import rounded
from tests.onnx_models import make_model, weights

# Of the largest value, what float32 sums of some hundred exact products may differ by in another
# order: 24 bits, as for float32 everywhere.
SUMS_LIMIT = 1e-5


def convolution(
    shape: tuple[int, int, int, int], kernel: tuple[int, int, int, int], **attributes: Any
) -> onnx.ModelProto:
    """Conv and Relu of ``x[N, H, W, C]``, whose channels are put into blocks first.

    Args:
        kernel: shape of the weights, OIHW.
    """
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], name="transpose", perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["t", "w", "bias"], ["c"], name="conv", **attributes),
        helper.make_node("Relu", ["c"], ["y"], name="relu"),
    ]
    constants = {"w": weights(*kernel, seed=1), "bias": weights(kernel[0], seed=2)}
    return _model(nodes, shape, constants)


def product(shape: tuple[int, ...], depth: int, columns: int) -> onnx.ModelProto:
    """MatMul of ``x[..., depth]`` and a constant, Add of another."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["c"], name="product"),
        helper.make_node("Add", ["c", "bias"], ["y"], name="sum"),
    ]
    constants = {"w": weights(depth, columns, seed=1), "bias": weights(columns, seed=2)}
    return _model(nodes, (*shape, depth), constants)


def _model(
    nodes: list[onnx.NodeProto], shape: tuple[int, ...], constants: dict[str, np.ndarray]
) -> onnx.ModelProto:
    made = make_model(
        nodes,
        inputs={"x": ("float32", shape)},
        outputs={"y": ("float32", None)},
        constants=constants,
    )
    return onnx.shape_inference.infer_shapes(made, strict_mode=True)


def of_rounded_factors(
    model: onnx.ModelProto, feed: Mapping[str, np.ndarray], *, rounds_data: bool = True
) -> np.ndarray:
    """What onnxruntime computes in float32 of the input and `w` as the nearest bfloat16."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for constant in changed.graph.initializer:
        if constant.name == "w":
            array = rounded(numpy_helper.to_array(constant))
            constant.CopyFrom(numpy_helper.from_array(array, "w"))
    given = {name: rounded(array) if rounds_data else array for name, array in feed.items()}
    return run_reference(changed, given)[0]
