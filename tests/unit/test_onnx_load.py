"""The `Model` as a whole: names, shapes of all values, quantization, the same bytes always."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

import compiler
from compiler.onnx_import.load import load_model
from compiler.onnx_import.names import c_identifier, name_nodes
from compiler.program import Quantization
from tests.onnx_models import (
    attention_model,
    batch_norm_model,
    conv_model,
    conv_net_model,
    make_model,
    qdq_model,
    run_onnx,
    save,
)

MODELS = Path(__file__).parent.parent / "models"
VENDORED = sorted(path.name for path in MODELS.glob("*.onnx"))

DIGEST_PROGRAM = """
import hashlib, sys
from compiler.onnx_import.load import load_model
model = load_model(sys.argv[1])
proto = model.proto.SerializeToString() + model.source.SerializeToString()
print(hashlib.sha256(proto + repr((model.inventory, model.inputs)).encode()).hexdigest())
"""


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("kws", "kws"),
        ("MobileNet-v2 (1)", "mobilenet_v2_1"),
        ("3d-unet", "model_3d_unet"),
        ("int", "model_int"),
        ("模型", "model"),
        ("_x__y", "x_y"),
    ],
)
def test_model_name(stem: str, name: str) -> None:
    assert c_identifier(stem) == name


def test_node_names() -> None:
    ops = [("Relu", ""), ("Relu", "a"), ("Neg", "a"), ("Relu", ""), ("Abs", "Relu_0"), ("Abs", "b")]
    nodes = [helper.make_node(op, ["x"], ["y"], name=name) for op, name in ops]
    name_nodes(nodes)
    assert [n.name for n in nodes] == ["Relu_0_", "a", "a_2", "Relu_3", "Relu_0", "b"]


def test_node_names_survive_folding(tmp_path: Path) -> None:
    model = conv_net_model()
    for node in model.graph.node:
        node.name = ""
    loaded = load_model(save(model, tmp_path / "m.onnx"))
    assert [n.name for n in loaded.proto.graph.node] == [n.name for n in loaded.source.graph.node]
    assert loaded.proto.graph.node[4].name == "Conv_4"


@pytest.mark.parametrize(
    "model",
    [conv_net_model(), attention_model(), qdq_model(), batch_norm_model()],
    ids=["classifier", "attention", "qdq", "batch norm"],
)
def test_every_value_has_a_static_shape(tmp_path: Path, model: onnx.ModelProto) -> None:
    graph = load_model(save(model, tmp_path / "m.onnx")).proto.graph
    shapes = {v.name: v.type.tensor_type.shape for v in (*graph.value_info, *graph.output)}
    for node in graph.node:
        for name in node.output:
            assert all(dim.dim_value > 0 for dim in shapes[name].dim)
    assert len(graph.value_info) == sum(len(n.output) for n in graph.node) - len(graph.output)
    onnx.checker.check_model(load_model(tmp_path / "m.onnx").proto, full_check=True)


def test_source_is_the_users_graph(tmp_path: Path) -> None:
    model = batch_norm_model()
    source = load_model(save(model, tmp_path / "m.onnx")).source
    assert list(source.graph.node) == list(model.graph.node)
    assert list(source.graph.initializer) == list(model.graph.initializer)
    assert source.opset_import[0].version == 18


def test_the_file_is_not_changed(tmp_path: Path) -> None:
    path = save(batch_norm_model(), tmp_path / "m.onnx")
    before = path.read_bytes()
    load_model(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


def test_quantized_ports(tmp_path: Path) -> None:
    loaded = load_model(save(qdq_model(integer_ports=True), tmp_path / "m.onnx"))
    assert loaded.inputs[0].dtype == "int8"
    scale = float(np.float32(0.05))
    assert loaded.inputs[0].quantization == Quantization(scale=scale, zero_point=-3)
    scale = float(np.float32(0.1))
    assert loaded.outputs[0].quantization == Quantization(scale=scale, zero_point=-128)


def test_float_ports_have_no_quantization(tmp_path: Path) -> None:
    for model in (conv_model(), qdq_model()):
        loaded = load_model(save(model, tmp_path / "m.onnx"))
        assert loaded.inputs[0].quantization is None
        assert loaded.outputs[0].quantization is None


def test_quantization_is_found_behind_a_transpose() -> None:
    loaded = load_model(MODELS / "mlperf_tiny_ic_resnet8_qdq8.onnx")
    assert loaded.inputs[0].quantization is not None
    assert loaded.outputs[0].quantization == Quantization(scale=1 / 256, zero_point=-128)


def test_quantization_per_channel_is_none(tmp_path: Path) -> None:
    constants: dict[str, np.ndarray] = {"s": np.ones(4, np.float32), "z": np.zeros(4, np.int8)}
    model = make_model(
        [helper.make_node("DequantizeLinear", ["x", "s", "z"], ["y"], name="dq", axis=1)],
        inputs={"x": ("int8", [1, 4])},
        outputs={"y": ("float32", [1, 4])},
        constants=constants,
    )
    assert load_model(save(model, tmp_path / "m.onnx")).inputs[0].quantization is None


@pytest.mark.parametrize("name", VENDORED)
def test_vendored_models(name: str) -> None:
    loaded = load_model(MODELS / name)
    assert loaded.digest == hashlib.sha256((MODELS / name).read_bytes()).hexdigest()
    assert loaded.inventory.unsupported == ()
    assert loaded.inventory.mac_count > 0
    for got, expected in zip(run_onnx(loaded.proto), run_onnx(loaded.source), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_there_are_vendored_models() -> None:
    assert len(VENDORED) >= 10


def test_same_bytes_whatever_the_hash_seed(tmp_path: Path) -> None:
    path = save(batch_norm_model(opset=9), tmp_path / "m.onnx")  # converted, folded, fused
    root = Path(compiler.__file__).parent.parent
    digests = set()
    for seed in ("0", "1", "4242"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root)}
        done = subprocess.run(
            [sys.executable, "-c", DIGEST_PROGRAM, str(path)],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        assert done.stderr == ""
        digests.add(done.stdout)
    assert len(digests) == 1


def test_loading_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load_model(save(conv_net_model(opset=9), tmp_path / "m.onnx"))
    assert capfd.readouterr() == ("", "")
