"""A Pad of zeros becomes the convolution's own padding; every other Pad stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from compiler.pipeline import compile as compile_model
from compiler.target_spec import load_target
from compiler.verify import check
from tests.lowered import loaded, workloads
from tests.onnx_models import make_model, save, weights

AROUND = [0, 0, 1, 2, 0, 0, 0, 1]  # before N, C, H, W, then after


def pad_model(
    amounts: list[int] = AROUND,
    *,
    value: float | None = None,
    axes: list[int] | None = None,
    mode: str = "constant",
    reader: str = "Conv",
    also: list[onnx.NodeProto] | None = None,
    **attributes: Any,
) -> onnx.ModelProto:
    """x [1, 4, 9, 9] -> Pad -> `reader` -> Relu; `also` are nodes that read the padded `p`."""
    names, constants = ["x", "amounts"], {"amounts": np.array(amounts, np.int64)}
    if value is not None or axes is not None:
        names.append("value" if value is not None else "")
        constants |= {"value": np.array(value, np.float32)} if value is not None else {}
    if axes is not None:
        names.append("axes")
        constants["axes"] = np.array(axes, np.int64)
    operands = ["p"]
    if reader == "Conv":
        operands.append("w")
        in_channels = 4 + (amounts[1] + amounts[5] if len(amounts) == 8 else 0)
        constants["w"] = weights(8, in_channels, 3, 3)
    nodes = [
        helper.make_node("Pad", names, ["p"], name="pad", mode=mode),
        helper.make_node(reader, operands, ["c"], name="reader", **attributes),
        helper.make_node("Relu", ["c"], ["y"], name="relu"),
        *(also or []),
    ]
    outputs: dict[str, Any] = {"y": ("float32", [None] * 4)}
    outputs |= {name: ("float32", [None] * 4) for node in also or [] for name in node.output}
    return make_model(
        nodes, inputs={"x": ("float32", [1, 4, 9, 9])}, outputs=outputs, constants=constants
    )


def _conv_pads(model: onnx.ModelProto) -> list[int] | None:
    """What the convolution pads after loading; None if the Pad is still there."""
    graph = loaded(model).proto.graph
    if any(node.op_type == "Pad" for node in graph.node):
        return None
    conv = next(node for node in graph.node if node.op_type == "Conv")
    assert conv.input[0] == "x"
    return next(list(a.ints) for a in conv.attribute if a.name == "pads")


@pytest.mark.parametrize(
    ("model", "pads"),
    [
        (pad_model(), [1, 2, 0, 1]),
        (pad_model(value=0.0), [1, 2, 0, 1]),
        (pad_model(pads=[1, 0, 1, 3]), [2, 2, 1, 4]),
        (pad_model(auto_pad="VALID"), [1, 2, 0, 1]),
        (pad_model([1, 0], axes=[-1]), [0, 1, 0, 0]),
        (pad_model([1, 2, 3, 4], axes=[3, 2]), [2, 1, 4, 3]),
    ],
)
def test_zeros_become_padding(model: onnx.ModelProto, pads: list[int]) -> None:
    assert _conv_pads(model) == pads


@pytest.mark.parametrize(
    "model",
    [
        pad_model(value=0.5),
        pad_model(mode="edge"),
        pad_model(mode="reflect"),
        pad_model([0, 1, 1, 1, 0, 1, 1, 1]),  # channels
        pad_model([1, 0, 1, 1, 0, 0, 1, 1]),  # batch
        pad_model([0, 0, -1, 1, 0, 0, 1, 1]),  # a row is cut off
        pad_model(auto_pad="SAME_UPPER"),
        pad_model(reader="AveragePool", kernel_shape=[3, 3], count_include_pad=1),
        pad_model(reader="AveragePool", kernel_shape=[3, 3]),
        pad_model(reader="MaxPool", kernel_shape=[3, 3]),
        pad_model(also=[helper.make_node("Neg", ["p"], ["z"], name="neg")]),
    ],
)
def test_another_pad_stays(model: onnx.ModelProto) -> None:
    assert _conv_pads(model) is None


def test_a_padded_image_that_is_an_output_stays() -> None:
    model = pad_model()
    model.graph.output.append(helper.make_tensor_value_info("p", 1, [None] * 4))
    assert _conv_pads(model) is None


def test_amounts_that_are_not_known_stay() -> None:
    """The value is an input of the model."""
    model = pad_model(value=0.0)
    del model.graph.initializer[[t.name for t in model.graph.initializer].index("value")]
    model.graph.input.append(helper.make_tensor_value_info("value", 1, []))
    assert _conv_pads(model) is None


def test_integers_with_a_zero_point_stay() -> None:
    """What a quantized zero stands for is the quantizer's business: Pad works on integers here."""
    model = make_model(
        [
            helper.make_node("Pad", ["x", "amounts"], ["p"], name="pad"),
            helper.make_node("DequantizeLinear", ["p", "scale", "zero"], ["d"], name="real"),
            helper.make_node("Conv", ["d", "w"], ["y"], name="conv"),
        ],
        inputs={"x": ("int8", [1, 4, 9, 9])},
        outputs={"y": ("float32", [None] * 4)},
        constants={
            "amounts": np.array(AROUND, np.int64),
            "scale": np.array(0.1, np.float32),
            "zero": np.array(5, np.int8),
            "w": weights(8, 4, 3, 3),
        },
    )
    assert _conv_pads(model) is None


@pytest.mark.parametrize("target", ["x86-64-v3", "cortex-m4f", "cuda-sm80"])
def test_no_kernel_pads_alone(target: str) -> None:
    names = list(workloads(pad_model(), load_target(target)).functions)
    assert not any("pad" in name for name in names)


def test_the_kernel_is_checked_against_the_tensors_of_the_given_graph(tmp_path: Path) -> None:
    model = pad_model(pads=[0, 1, 0, 1])
    path = save(model, tmp_path / "net.onnx")
    artifact = compile_model(path, target="host", output=tmp_path / "out", verify="skip")
    result = check(artifact.path, loaded(model), per_kernel=True)
    assert result.passed, result.reason
    assert len(result.kernels) == len(artifact.report()["kernels"])


def test_the_given_model_is_left_as_it_was() -> None:
    model = loaded(pad_model())
    assert [node.op_type for node in model.source.graph.node] == ["Pad", "Conv", "Relu"]
    amounts = next(t for t in model.source.graph.initializer if t.name == "amounts")
    assert numpy_helper.to_array(amounts).tolist() == AROUND
