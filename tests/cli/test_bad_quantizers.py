"""Quantized models that say nonsense: named by node and reason, exit code 1, nothing written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.cli.conftest import Outcome
from tests.cli.refusals import assert_refused, listing
from tests.onnx_models import make_model, save

Tunesmith = Callable[..., Outcome]

SCALES = {
    "0": (0.0, "its scale is 0: scales are positive"),
    "negative": (-0.5, "its scale is -0.5: scales are positive"),
    "nan": (np.nan, "its scale is not finite"),
    "infinite": (np.inf, "its scale is not finite"),
    "denormal": (1e-40, "is below the smallest normal float32"),
}


def _quantizer(scale: Any, zero: Any, **attributes: Any) -> onnx.ModelProto:
    node = helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"], name="to_int8", **attributes)
    constants: dict[str, np.ndarray] = {"s": np.asarray(scale, np.float32), "z": np.asarray(zero)}
    return _model(node, {"x": "float32"}, constants)


def _dequantizer(scale: Any, zero: Any, **attributes: Any) -> onnx.ModelProto:
    node = helper.make_node(
        "DequantizeLinear", ["x", "s", "z"], ["y"], name="to_reals", **attributes
    )
    constants: dict[str, np.ndarray] = {"s": np.asarray(scale, np.float32), "z": np.asarray(zero)}
    return _model(node, {"x": "int8"}, constants, "float32")


def _operator(op_type: str, places: dict[str, Any]) -> onnx.ModelProto:
    """QLinearConv or QLinearMatMul with some of its parameters replaced."""
    convolution = op_type == "QLinearConv"
    weight = np.ones((4, 4, 1, 1) if convolution else (6, 6), np.int8)
    scale, zero = np.asarray(0.1, np.float32), np.asarray(0, np.int8)
    constants: dict[str, np.ndarray] = {"xs": scale, "xz": zero, "w": weight, "ws": scale}
    constants |= {"wz": zero, "ys": scale, "yz": zero}
    constants |= {name: np.asarray(value) for name, value in places.items()}
    operands = ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz"]
    node = helper.make_node(op_type, operands, ["y"], name="product")
    return _model(node, {"x": "int8"}, constants)


def _model(
    node: onnx.NodeProto,
    inputs: dict[str, str],
    constants: dict[str, np.ndarray],
    result: str = "int8",
) -> onnx.ModelProto:
    return make_model(
        [node],
        inputs={name: (dtype, [1, 4, 6, 6]) for name, dtype in inputs.items()},
        outputs={"y": (result, None)},
        constants=constants,
        opset=21,
        domains={node.domain: 1} if node.domain else {},
    )


def _added() -> onnx.ModelProto:
    operands = ["x", "s", "z", "x", "s", "z", "s", "z"]
    node = helper.make_node("QLinearAdd", operands, ["y"], name="residual", domain="com.microsoft")
    constants: dict[str, np.ndarray] = {
        "s": np.asarray(0.1, np.float32),
        "z": np.asarray(0, np.int8),
    }
    return _model(node, {"x": "int8"}, constants)


CASES = {
    **{f"quantizer-{k}": (_quantizer(s, np.int8(0)), "to_int8", r) for k, (s, r) in SCALES.items()},
    **{
        f"dequantizer-{k}": (_dequantizer(s, np.int8(0)), "to_reals", r)
        for k, (s, r) in list(SCALES.items())[::2]
    },
    "convolution-denormal": (
        _operator("QLinearConv", {"ws": np.float32(1e-40)}),
        "product",
        SCALES["denormal"][1],
    ),
    "product-nan": (
        _operator("QLinearMatMul", {"ys": np.float32(np.nan)}),
        "product",
        "its scale is not finite",
    ),
    "one-channel-of-many": (
        _quantizer([0.1, 0.1, 0.0, 0.1], np.zeros(4, np.int8), axis=1),
        "to_int8",
        "its scale is 0: scales are positive",
    ),
    "zero-point-beyond-int8": (
        _dequantizer(0.1, np.int32(300)),
        "to_reals",
        "its zero point is int32",
    ),
    "zero-point-of-another-type": (
        _dequantizer(0.1, np.uint8(200)),
        "to_reals",
        "its zero point is uint8",
    ),
    "zero-point-is-real": (_quantizer(0.1, np.float32(3.5)), "to_int8", "QuantizeLinear"),
    "zero-points-of-other-channels": (
        _quantizer([0.1] * 4, np.zeros(3, np.int8), axis=1),
        "to_int8",
        "it has 4 scales and 3 zero points",
    ),
    "scales-of-other-channels": (
        _quantizer([0.1] * 5, np.zeros(5, np.int8), axis=1),
        "to_int8",
        "it has 5 scales, which do not fit axis 1 of [1, 4, 6, 6]",
    ),
    "unsupported-quantized-operator": (_added(), "residual", "QLinearAdd"),
}


@pytest.mark.parametrize("name", CASES)
def test_named_and_nothing_written(tunesmith: Tunesmith, tmp_path: Path, name: str) -> None:
    model, node, reason = CASES[name]
    save(model, tmp_path / "m.onnx")
    outcome = tunesmith("compile", "m.onnx", "--target", "cortex-m4f", "-o", "out")
    assert_refused(outcome, "", reason, "")
    assert node in outcome.stderr
    assert listing(tmp_path) == ["m.onnx"]
