"""Old and new opsets: converted where the importer needs it, with the same numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from compiler.errors import ModelError
from compiler.onnx_import.load import load_model
from compiler.onnx_import.opset import main_opset
from tests.onnx_models import (
    attention_model,
    batch_norm_model,
    conv_net_model,
    make_model,
    run_onnx,
    save,
    weights,
)

NEWEST = onnx.defs.onnx_opset_version()
IMAGE = {"x": ("float32", [1, 4, 6, 6])}


def assert_same_numbers(path: Path) -> Any:
    loaded = load_model(path)
    for got, expected in zip(run_onnx(loaded.proto), run_onnx(loaded.source), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)  # sums in another order
    return loaded


@pytest.mark.parametrize("opset", [7, 8, 9, 10, 11, 12, 13, 17, 18, 21, 22, NEWEST])
def test_classifier_in_every_opset(tmp_path: Path, opset: int) -> None:
    loaded = assert_same_numbers(save(conv_net_model(opset=opset), tmp_path / "m.onnx"))
    assert loaded.opset == main_opset(loaded.source) == opset
    assert main_opset(loaded.proto) == max(opset, 11)
    assert loaded.inventory.unsupported == ()
    assert [n.name for n in loaded.proto.graph.node if n.op_type == "Conv"] == [
        "stem",
        "depthwise",
        "pointwise",
    ]


def test_opsets_from_11_are_left_alone(tmp_path: Path) -> None:
    model = attention_model()
    loaded = load_model(save(model, tmp_path / "m.onnx"))
    assert [n.SerializeToString() for n in loaded.proto.graph.node] == [
        n.SerializeToString() for n in model.graph.node
    ]


# Operators whose definition changed between opset 7 and 11.
OLD_FORMS: dict[str, tuple[int, str, dict[str, Any], dict[str, np.ndarray], list[int]]] = {
    "slice": (9, "Slice", {"axes": [2, 3], "starts": [1, 0], "ends": [-1, 4]}, {}, [1, 4, 4, 4]),
    "clip": (7, "Clip", {"min": -0.5, "max": 0.25}, {}, [1, 4, 6, 6]),
    "pad": (7, "Pad", {"pads": [0, 0, 1, 2, 0, 0, 3, 0], "value": 1.5}, {}, [1, 4, 10, 8]),
    "upsample 7": (
        8,
        "Upsample",
        {"scales": [1.0, 1.0, 2.0, 2.0], "mode": "nearest"},
        {},
        [1, 4, 12, 12],
    ),
    "upsample 9": (
        9,
        "Upsample",
        {"mode": "nearest"},
        {"s": np.asarray([1, 1, 2, 3], np.float32)},
        [1, 4, 12, 18],
    ),
    "resize 10": (
        10,
        "Resize",
        {"mode": "nearest"},
        {"s": np.asarray([1, 1, 2, 3], np.float32)},
        [1, 4, 12, 18],
    ),
    "softmax on axis 1": (8, "Softmax", {"axis": 1}, {}, [1, 4, 6, 6]),
    "max pool": (7, "MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2]}, {}, [1, 4, 3, 3]),
    "average pool": (7, "AveragePool", {"kernel_shape": [3, 3]}, {}, [1, 4, 4, 4]),
    "dropout": (7, "Dropout", {"ratio": 0.5}, {}, [1, 4, 6, 6]),
    "depth to space": (10, "DepthToSpace", {"blocksize": 2}, {}, [1, 1, 12, 12]),
    "flatten": (8, "Flatten", {"axis": 2}, {}, [4, 36]),
    "reduce mean": (10, "ReduceMean", {"axes": [-1], "keepdims": 0}, {}, [1, 4, 6]),
}


@pytest.mark.parametrize("form", OLD_FORMS)
def test_old_forms(tmp_path: Path, form: str) -> None:
    opset, op_type, attributes, constants, shape = OLD_FORMS[form]
    nodes = [
        helper.make_node(op_type, ["x", *constants], ["v"], name="old", **attributes),
        helper.make_node("Relu", ["v"], ["y"], name="relu"),
    ]
    model = make_model(
        nodes,
        inputs=IMAGE,
        outputs={"y": ("float32", shape)},
        constants=constants,
        opset=opset,
    )
    loaded = assert_same_numbers(save(model, tmp_path / "m.onnx"))
    assert loaded.outputs[0].shape == tuple(shape)
    assert loaded.inventory.unsupported == ()


def test_old_batch_norm(tmp_path: Path) -> None:
    loaded = assert_same_numbers(save(batch_norm_model(opset=7), tmp_path / "m.onnx"))
    assert [node.op_type for node in loaded.proto.graph.node] == ["Conv", "Relu"]


def test_what_cannot_be_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_model: Any, _version: int) -> None:
        raise RuntimeError("No Adapter From Version $9 for Slice")

    path = save(conv_net_model(opset=9), tmp_path / "m.onnx")
    monkeypatch.setattr("onnx.version_converter.convert_version", refuse)
    with pytest.raises(ModelError) as caught:
        load_model(path)
    assert caught.value.what == "opset 9 cannot be converted to opset 11"
    assert caught.value.why == "No Adapter From Version $9 for Slice"
    assert caught.value.fix == "export the model with opset 11 or later"


def test_old_opset_with_an_operator_of_another_domain_is_loaded(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["v"], name="relu"),
        helper.make_node("Thing", ["v"], ["y"], name="thing", domain="vendor"),
    ]
    model = make_model(
        nodes,
        inputs=IMAGE,
        outputs={"y": ("float32", [1, 4, 6, 6])},
        opset=9,
        domains={"vendor": 1},
    )
    loaded = load_model(save(model, tmp_path / "m.onnx"))
    assert [node.node for node in loaded.inventory.unsupported] == ["thing"]


@pytest.mark.parametrize(("op_type", "since"), [("Celu", 12), ("Swish", 24)])
def test_functions_of_onnx_are_written_out(tmp_path: Path, op_type: str, since: int) -> None:
    nodes = [
        helper.make_node("Neg", ["x"], ["v"], name="before"),
        helper.make_node(op_type, ["v"], ["w"], name="activation"),
        helper.make_node("Abs", ["w"], ["y"], name="after"),
    ]
    model = make_model(
        nodes, inputs=IMAGE, outputs={"y": ("float32", [1, 4, 6, 6])}, opset=max(since, 18)
    )
    loaded = assert_same_numbers(save(model, tmp_path / "m.onnx"))
    assert loaded.inventory.unsupported == ()
    names = [node.name for node in loaded.proto.graph.node]
    assert (names[0], names[-1]) == ("before", "after")
    assert "activation" in names  # the node that computes the result
    assert all(name.startswith("activation") for name in names[1:-1])


def test_attention_is_written_out(tmp_path: Path) -> None:
    model = make_model(
        [helper.make_node("Attention", ["q", "k", "v"], ["y"], name="attention")],
        inputs={name: ("float32", [1, 2, 5, 8]) for name in "qkv"},
        outputs={"y": ("float32", [1, 2, 5, 8])},
        opset=23,
    )
    loaded = assert_same_numbers(save(model, tmp_path / "m.onnx"))
    assert loaded.inventory.unsupported == ()
    assert sum(node.op_type == "MatMul" for node in loaded.proto.graph.node) == 2


def test_group_of_weights_survives_conversion(tmp_path: Path) -> None:
    model = conv_net_model(opset=8)
    loaded = load_model(save(model, tmp_path / "m.onnx"))
    names = {tensor.name for tensor in loaded.proto.graph.initializer}
    assert {tensor.name for tensor in model.graph.initializer} == names
    assert (
        loaded.inventory.parameter_count
        == sum(
            w.size
            for w in (weights(8, 3, 3, 3), weights(8, 1, 3, 3), weights(8, 8), weights(8, 10))
        )
        + 3 * 8
        + 10
    )


def test_mean_variance_normalization_with_default_axes(tmp_path: Path) -> None:
    model = make_model(
        [helper.make_node("MeanVarianceNormalization", ["x"], ["y"], name="mvn")],
        inputs=IMAGE,
        outputs={"y": ("float32", [1, 4, 6, 6])},
    )
    loaded = assert_same_numbers(save(model, tmp_path / "m.onnx"))
    assert loaded.inventory.unsupported == ()
