"""Reading ONNX files: what is refused and with which words, external data, digest."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from compiler.errors import ModelError
from compiler.onnx_import.load import load_model
from compiler.onnx_import.read import read_model
from tests.onnx_models import conv_model, dense_model, make_model, save


def refusal(path: Path) -> ModelError:
    with pytest.raises(ModelError) as caught:
        read_model(path)
    return caught.value


def test_missing_file(tmp_path: Path) -> None:
    error = refusal(tmp_path / "no.onnx")
    assert error.what == f"{tmp_path / 'no.onnx'}: cannot be read"
    assert error.why == "No such file or directory"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert refusal(tmp_path).why == "Is a directory"


def test_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"")
    error = refusal(path)
    assert error.what.endswith("m.onnx: the file is empty")
    assert error.why == "it has 0 bytes; an ONNX file holds a graph"
    assert error.fix == "export or download the model again"


@pytest.mark.parametrize("content", [b"PK\x03\x04 a zip file, of PyTorch", b"hello", b"\x00" * 64])
def test_not_onnx(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.pt"
    path.write_bytes(content)
    error = refusal(path)
    assert error.what.endswith("m.pt: not an ONNX file")
    assert error.why == "its bytes are no protobuf message"
    assert "torch.onnx" in error.fix


def test_another_protobuf_message(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(helper.make_tensor("t", 1, [1], [0.0]).SerializeToString())
    assert refusal(path).what.endswith("m.onnx: not an ONNX file")


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.99])
def test_truncated_file(tmp_path: Path, kept: float) -> None:
    content = conv_model().SerializeToString()
    path = tmp_path / "m.onnx"
    path.write_bytes(content[: int(len(content) * kept)])
    error = refusal(path)
    assert error.what.endswith("m.onnx: the file is truncated or damaged")
    assert error.why.startswith("it starts like an ONNX model but cannot be read to its end")
    assert "compare the sizes" in error.fix


def with_external_data(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "m.onnx"
    model = dense_model(k=64, n=64)
    onnx.save(model, path, save_as_external_data=True, location="m.data", size_threshold=16)
    return path


def test_external_data_is_read(tmp_path: Path) -> None:
    model = load_model(with_external_data(tmp_path / "a"))
    inside = load_model(save(dense_model(k=64, n=64), tmp_path / "m.onnx"))
    assert model.proto == inside.proto
    assert model.inventory.parameter_count == 64 * 64 + 64


def test_missing_external_data(tmp_path: Path) -> None:
    path = with_external_data(tmp_path)
    (tmp_path / "m.data").unlink()
    error = refusal(path)
    assert error.what.endswith("m.onnx: the external data file `m.data` is missing")
    assert error.why == "it holds the numbers of tensor `w`"
    assert error.fix == "put `m.data` in the folder of the ONNX file"


def test_external_data_that_is_too_short(tmp_path: Path) -> None:
    path = with_external_data(tmp_path)
    (tmp_path / "m.data").write_bytes(b"\0" * 100)
    error = refusal(path)
    assert error.what.endswith(("the external data cannot be used", "not a valid ONNX model"))
    assert "`" in error.why or "tensor" in error.why.lower() or "data" in error.why.lower()


def test_external_data_outside_the_folder(tmp_path: Path) -> None:
    path = with_external_data(tmp_path / "a")
    model = onnx.load(path, load_external_data=False)
    (tmp_path / "m.data").write_bytes((tmp_path / "a" / "m.data").read_bytes())
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../m.data"
    save(model, path)
    assert refusal(path).what.endswith("m.onnx: the external data cannot be used")


def test_digest_covers_file_and_external_data(tmp_path: Path) -> None:
    path = with_external_data(tmp_path)
    first = read_model(path).digest
    assert (
        first == hashlib.sha256(path.read_bytes() + (tmp_path / "m.data").read_bytes()).hexdigest()
    )
    data = bytearray((tmp_path / "m.data").read_bytes())
    data[0] ^= 1
    (tmp_path / "m.data").write_bytes(data)
    assert read_model(path).digest != first


def test_too_large_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = with_external_data(tmp_path)
    monkeypatch.setattr("compiler.onnx_import.read.PROTOBUF_LIMIT_BYTES", 10_000)
    error = refusal(path)
    assert error.what.endswith("m.onnx: the model is too large")
    assert "models of at most 10,000 bytes" in error.why


@pytest.mark.parametrize("opset", [6, 1000])
def test_opset_out_of_range(tmp_path: Path, opset: int) -> None:
    error = refusal(save(conv_model(opset=opset), tmp_path / "m.onnx"))
    assert error.what.endswith(f"m.onnx: opset {opset} cannot be read")
    newest = onnx.defs.onnx_opset_version()
    assert error.why == f"opset 7 to {newest} can (onnx {onnx.__version__})"


def test_no_opset(tmp_path: Path) -> None:
    model = conv_model()
    del model.opset_import[:]
    assert refusal(save(model, tmp_path / "m.onnx")).what.endswith("m.onnx: no opset version")


@pytest.mark.parametrize("missing", ["output", "node"])
def test_nothing_to_compute(tmp_path: Path, missing: str) -> None:
    model = conv_model()
    model.graph.ClearField(missing)
    error = refusal(save(model, tmp_path / "m.onnx"))
    assert error.what.endswith(f"m.onnx: the graph has no {missing}")
    assert error.why == "there is nothing to compute"


def test_checker_failure_names_the_place(tmp_path: Path) -> None:
    model = conv_model()
    model.graph.node[1].input[0] = "nowhere"
    error = refusal(save(model, tmp_path / "m.onnx"))
    assert error.what.endswith("m.onnx: not a valid ONNX model")
    assert "nowhere" in error.why


def test_initializers_listed_as_inputs_are_constants(tmp_path: Path) -> None:
    model = conv_model()
    model.ir_version = 3
    for tensor in model.graph.initializer:
        model.graph.input.append(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        )
    loaded = load_model(save(model, tmp_path / "m.onnx"))
    assert [tensor.name for tensor in loaded.inputs] == ["x"]


def test_functions_of_the_model_are_expanded(tmp_path: Path) -> None:
    body = [
        helper.make_node("Mul", ["a", "a"], ["s"]),
        helper.make_node("Add", ["s", "a"], ["r"]),
    ]
    function = helper.make_function("mine", "f", ["a"], ["r"], body, [helper.make_opsetid("", 18)])
    model = make_model(
        [helper.make_node("f", ["x"], ["y"], domain="mine", name="call")],
        inputs={"x": ("float32", [3])},
        outputs={"y": ("float32", [3])},
        domains={"mine": 1},
    )
    model.functions.append(function)
    loaded = load_model(save(model, tmp_path / "m.onnx"))
    assert [node.op_type for node in loaded.proto.graph.node] == ["Mul", "Add"]
    assert loaded.inventory.unsupported == ()


def test_the_main_domain_may_be_written_out(tmp_path: Path) -> None:
    model = dense_model()
    for node in model.graph.node:
        node.domain = "ai.onnx"
    model.opset_import[0].domain = "ai.onnx"
    loaded = load_model(save(model, tmp_path / "m.onnx"))
    assert loaded.inventory.unsupported == ()
    assert loaded.opset == 18


def test_damaged_tensor(tmp_path: Path) -> None:
    model = dense_model()
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.zeros(3, np.float32), "w"))
    model.graph.initializer[0].dims[0] = 5
    assert refusal(save(model, tmp_path / "m.onnx")).what.endswith("not a valid ONNX model")
