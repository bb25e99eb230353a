"""Forms of supported operators that are refused because they would compile to something else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from compiler.errors import UnsupportedError
from compiler.onnx_import.load import load_model
from compiler.onnx_import.support import require_supported
from tests.onnx_models import Inputs, make_model, save, weights

IMAGE = [1, 4, 6, 6]
NORM = {name: np.abs(weights(4, seed=i)) for i, name in enumerate(("s", "b", "m", "v"))}
DROP = {"r": np.asarray(0.5, np.float32), "on": np.asarray(True)}

PART = {"i": np.zeros((1, 4, 6, 5), np.int64), "u": weights(1, 4, 6, 5)}


def _model(
    op_type: str,
    operands: list[str],
    results: int,
    constants: dict[str, np.ndarray],
    dtype: str = "float32",
    opset: int = 18,
    **attributes: Any,
) -> onnx.ModelProto:
    names = [f"y{number}" for number in range(results)]
    types = ["float32", dtype] if dtype != "float32" else ["float32"] * results
    outputs: Inputs = {
        name: (types[number] if results > 1 else dtype, None) for number, name in enumerate(names)
    }
    return make_model(
        [helper.make_node(op_type, operands, names, name="node", **attributes)],
        inputs={"x": ("float32", IMAGE)},
        outputs=outputs,
        constants=constants,
        opset=opset,
    )


REFUSED = {
    "training mode is not supported": [
        _model("BatchNormalization", ["x", *NORM], 3, NORM, training_mode=1),
        _model("Dropout", ["x", "r", "on"], 1, DROP, seed=1),
    ],
    "its result `y1` is not supported": [
        _model("Dropout", ["x"], 2, {}, dtype="bool"),
        _model("MaxPool", ["x"], 2, {}, dtype="int64", kernel_shape=[2, 2]),
        _model("LayerNormalization", ["x", "g"], 3, {"g": weights(6)}),
    ],
    "it tells the signs of infinities apart": [
        _model("IsInf", ["x"], 1, {}, dtype="bool", detect_negative=0),
        _model("IsInf", ["x"], 1, {}, dtype="bool", detect_positive=0),
    ],
    "its padding is given as output_shape": [
        _model("ConvTranspose", ["x", "w"], 1, {"w": weights(4, 2, 3, 3)}, output_shape=[9, 9]),
    ],
    "its indices cover only a part of an axis": [
        _model("ScatterElements", ["x", "i", "u"], 1, PART, axis=1),
    ],
    "its mode wrap is not supported": [
        _model("Pad", ["x", "p"], 1, {"p": np.ones(8, np.int64)}, opset=19, mode="wrap"),
    ],
    "its scale 1.25 makes no whole number of 6 elements": [
        _model("Resize", ["x", "", "s"], 1, {"s": np.asarray([1, 1, 1.25, 2], np.float32)}),
    ],
    "its mode is not DCR": [
        _model("SpaceToDepth", ["x"], 1, {}, opset=28, blocksize=2, mode="CRD"),
    ],
}
CASES = [(reason, model) for reason, models in REFUSED.items() for model in models]


@pytest.mark.parametrize(
    ("reason", "model"), CASES, ids=[f"{model.graph.node[0].op_type}" for _, model in CASES]
)
def test_form_is_refused(reason: str, model: onnx.ModelProto, tmp_path: Path) -> None:
    loaded = load_model(save(model, tmp_path / "model.onnx"), shapes={}, values={})
    with pytest.raises(UnsupportedError) as error:
        require_supported(loaded)
    op_type = model.graph.node[0].op_type
    assert error.value.why == f"{op_type}: {reason}; node `node`"


@pytest.mark.parametrize(
    ("scale", "zero", "reason"),
    [
        (0.0, np.int8(0), "its scale is 0: scales are positive"),
        (-0.5, np.int8(0), "its scale is -0.5: scales are positive"),
        (np.nan, np.int8(0), "its scale is not finite"),
        (np.inf, np.int8(0), "its scale is not finite"),
        (1e-40, np.int8(0), "its scale 9.99995e-41 is below the smallest normal float32"),
    ],
)
def test_scale_is_refused(scale: float, zero: np.int8, reason: str, tmp_path: Path) -> None:
    constants: dict[str, np.ndarray] = {"s": np.asarray(scale, np.float32), "z": np.asarray(zero)}
    model = _model("QuantizeLinear", ["x", "s", "z"], 1, constants, dtype="int8")
    loaded = load_model(save(model, tmp_path / "model.onnx"), shapes={}, values={})
    with pytest.raises(UnsupportedError) as error:
        require_supported(loaded)
    assert error.value.why == f"QuantizeLinear: {reason}; node `node`"


def test_zero_point_of_int32_is_refused(tmp_path: Path) -> None:
    constants = {"s": np.asarray(0.5, np.float32), "z": np.asarray(3, np.int32)}
    node = helper.make_node("DequantizeLinear", ["x", "s", "z"], ["y0"], name="node")
    model = make_model(
        [node], inputs={"x": ("int32", [4])}, outputs={"y0": ("float32", [4])}, constants=constants
    )
    with pytest.raises(UnsupportedError) as error:
        require_supported(load_model(save(model, tmp_path / "m.onnx"), shapes={}, values={}))
    assert "its zero point is not 0, as it must be for int32" in error.value.why


@pytest.mark.parametrize(
    "model",
    [
        _model("BatchNormalization", ["x", *NORM], 1, NORM),
        _model("IsInf", ["x"], 1, {}, dtype="bool"),
        _model("MaxPool", ["x"], 1, {}, kernel_shape=[2, 2]),
        _model("ScatterElements", ["x", "i", "u"], 1, PART, axis=-1),
        _model("ConvTranspose", ["x", "w"], 1, {"w": weights(4, 2, 3, 3)}, pads=[1, 1, 1, 1]),
    ],
    ids=lambda model: str(model.graph.node[0].op_type),
)
def test_usual_form_is_taken(model: onnx.ModelProto, tmp_path: Path) -> None:
    require_supported(load_model(save(model, tmp_path / "model.onnx"), shapes={}, values={}))


@pytest.mark.parametrize("result", ["y1", ""])
def test_result_that_nothing_reads_is_left_out(result: str, tmp_path: Path) -> None:
    model = _model("MaxPool", ["x"], 2, {}, dtype="int64", kernel_shape=[2, 2])
    del model.graph.output[1]
    model.graph.node[0].output[1] = result
    loaded = load_model(save(model, tmp_path / "model.onnx"), shapes={}, values={})
    require_supported(loaded)
    assert list(loaded.proto.graph.node[0].output) == ["y0"]


def test_part_of_a_split_that_nothing_reads_stays(tmp_path: Path) -> None:
    model = _model("Split", ["x"], 2, {}, axis=1, num_outputs=2)
    del model.graph.output[1]
    loaded = load_model(save(model, tmp_path / "model.onnx"), shapes={}, values={})
    assert len(loaded.proto.graph.node[0].output) == 2
