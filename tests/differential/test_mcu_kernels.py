"""Kernels for microcontrollers against onnxruntime, on this machine; strict C99, no warning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from compiler.onnx_import.load import load_model
from compiler.target_spec import TargetSpec
from compiler.verification.reference import Reference
from compiler.verification_inputs import draw_inputs
from tests.bare_library import bare_artifact, host_mcu_spec, host_vector_mcu_spec, run_bare
from tests.onnx_models import conv_net_model, make_model, save, weights

TOLERANCE = 1e-5  # of the largest value: float32 sums in another order


def _conv(
    shape: list[int], out: list[int], weight: tuple[int, ...], **attributes: Any
) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="conv", **attributes),
        helper.make_node("Relu", ["c"], ["y"], name="relu"),
    ]
    return make_model(
        nodes,
        inputs={"x": ("float32", shape)},
        outputs={"y": ("float32", out)},
        constants={"w": weights(*weight), "b": weights(weight[0], seed=1)},
    )


def _unary(operator: str) -> onnx.ModelProto:
    return make_model(
        [helper.make_node(operator, ["x"], ["y"], name="node")],
        inputs={"x": ("float32", [2, 37])},
        outputs={"y": ("float32", [2, 37])},
        constants={},
    )


def _product(rows: int, depth: int, columns: int) -> onnx.ModelProto:
    return make_model(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")],
        inputs={"x": ("float32", [rows, depth])},
        outputs={"y": ("float32", [rows, columns])},
        constants={"w": weights(depth, columns)},
    )


def _two_convs(*, depthwise: bool = False) -> onnx.ModelProto:
    """The second one reads what the first one wrote: in blocks of channels, where there are any."""
    second: dict[str, Any] = {"group": 16, "strides": [2, 1]} if depthwise else {}
    shape = (16, 1, 3, 3) if depthwise else (8, 16, 3, 3)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="first", pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["c", "v"], ["d"], name="second", pads=[1, 1, 1, 1], **second),
        helper.make_node("Relu", ["d"], ["y"], name="relu"),
    ]
    out = [1, 16, 4, 9] if depthwise else [1, 8, 7, 9]
    return make_model(
        nodes,
        inputs={"x": ("float32", [1, 3, 7, 9])},
        outputs={"y": ("float32", out)},
        constants={"w": weights(16, 3, 3, 3), "v": weights(*shape, seed=1)},
    )


MODELS = {
    "net": conv_net_model(),
    "conv": _conv([1, 3, 7, 9], [1, 8, 7, 9], (8, 3, 3, 3), pads=[1, 1, 1, 1]),
    "conv-ragged": _conv([1, 2, 5, 7], [1, 6, 2, 3], (6, 2, 2, 3), strides=[2, 2]),
    "conv-wide-taps": _conv([1, 2, 3, 12], [1, 5, 3, 6], (5, 2, 1, 7)),
    "conv-grouped": _conv([1, 4, 5, 5], [1, 8, 3, 3], (8, 2, 3, 3), group=2),
    "conv-dilated": _conv([1, 2, 7, 7], [1, 4, 3, 3], (4, 2, 3, 3), dilations=[2, 2]),
    "pointwise": _conv([1, 5, 3, 3], [1, 9, 3, 3], (9, 5, 1, 1)),
    "depthwise": _conv([1, 4, 6, 7], [1, 4, 6, 7], (4, 1, 3, 3), group=4, pads=[1, 1, 1, 1]),
    "depthwise-many": _conv(
        [1, 20, 5, 5], [1, 20, 3, 3], (20, 1, 3, 3), group=20, pads=[1, 1, 1, 1], strides=[2, 2]
    ),
    "product-row": _product(1, 10, 13),
    "product": _product(5, 7, 8),
    "product-wide": _product(1, 12, 32),
    "conv-of-blocks": _two_convs(),
    "depthwise-of-blocks": _two_convs(depthwise=True),
    "softmax": _unary("Softmax"),
    "sigmoid": _unary("Sigmoid"),
    "tanh": _unary("Tanh"),
    "erf": _unary("Erf"),
    "sqrt-of-abs": make_model(
        [helper.make_node("Abs", ["x"], ["a"]), helper.make_node("Sqrt", ["a"], ["y"])],
        inputs={"x": ("float32", [3, 5])},
        outputs={"y": ("float32", [3, 5])},
        constants={},
    ),
}


@pytest.mark.parametrize("spec", [host_mcu_spec(), host_vector_mcu_spec()], ids=lambda s: s.name)
@pytest.mark.parametrize("name", MODELS)
def test_kernels_agree_with_onnxruntime(name: str, spec: TargetSpec, tmp_path: Path) -> None:
    model = load_model(save(MODELS[name], tmp_path / "model.onnx"))
    artifact = bare_artifact(MODELS[name], tmp_path, spec)
    inputs = draw_inputs(model, 5)
    found = run_bare(artifact, inputs, tmp_path)
    for output, expected in Reference(model.source).run(inputs).items():
        largest = max(1.0, float(np.abs(expected).max()))
        np.testing.assert_allclose(found[output], expected, atol=TOLERANCE * largest, rtol=0)
