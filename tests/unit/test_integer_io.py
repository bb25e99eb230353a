"""`--io int8`: quantizers at a model's borders are the caller's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from compiler.errors import InputError, ModelError
from compiler.library import load
from compiler.onnx_import.integer_io import with_integer_io
from compiler.onnx_import.load import load_model
from compiler.onnx_import.model import Model
from compiler.pipeline import compile as compile_model
from compiler.program import Quantization
from compiler.verification.reference import Reference
from compiler.verification_inputs import checked_inputs, draw_inputs
from compiler.verify import verify
from tests.onnx_models import conv_model, qdq_model, save

MODELS = Path(__file__).parents[1] / "models"
X = Quantization(scale=float(np.float32(0.05)), zero_point=-3)
Y = Quantization(scale=float(np.float32(0.1)), zero_point=-128)


def loaded(proto: onnx.ModelProto, folder: Path) -> Model:
    return load_model(save(proto, folder / "model.onnx"))


def quantized_reals(reals: np.ndarray, how: Quantization) -> np.ndarray:
    q = np.rint(reals / np.float32(how.scale)) + how.zero_point
    return np.asarray(np.clip(q, -128, 127).astype(np.int8))


def moved_model() -> onnx.ModelProto:
    """As `qdq_model`, its input [1, 8, 8, 3] transposed, its output flattened."""
    model = qdq_model()
    graph = model.graph
    graph.node[0].input[0] = "t"
    graph.node[-1].output[0] = "dq"
    graph.node.insert(0, helper.make_node("Transpose", ["x"], ["t"], "turn", perm=[0, 3, 1, 2]))
    graph.node.append(helper.make_node("Flatten", ["dq"], ["y"], "flat"))
    for value, shape in ((graph.input[0], [1, 8, 8, 3]), (graph.output[0], [1, 256])):
        value.CopyFrom(helper.make_tensor_value_info(value.name, TensorProto.FLOAT, shape))
    return model


@pytest.mark.parametrize("make", [qdq_model, moved_model])
def test_borders_become_integers(make: type, tmp_path: Path) -> None:
    model = loaded(make(), tmp_path)
    integer = with_integer_io(model)
    (given,), (made,) = integer.inputs, integer.outputs
    assert (given.name, given.dtype, given.quantization) == ("x", "int8", X)
    assert (made.name, made.dtype, made.quantization) == ("y", "int8", Y)
    assert (given.shape, made.shape) == (model.inputs[0].shape, model.outputs[0].shape)
    assert with_integer_io(integer) is integer
    reals = draw_inputs(model, 0)["x"]
    wanted = Reference(model.source).run({"x": reals})["y"]
    found = Reference(integer.source).run({"x": quantized_reals(reals, X)})["y"]
    assert np.array_equal((found.astype(np.float32) + 128) * np.float32(Y.scale), wanted)


def test_integers_stay_as_they_are(tmp_path: Path) -> None:
    model = loaded(qdq_model(integer_ports=True), tmp_path)
    assert with_integer_io(model).inputs == model.inputs
    assert with_integer_io(model).outputs == model.outputs


def _with(*nodes: onnx.NodeProto, outputs: tuple[str, ...] = ()) -> onnx.ModelProto:
    model = qdq_model()
    model.graph.node.extend(nodes)
    for name in outputs:
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return model


def _per_channel() -> onnx.ModelProto:
    model = qdq_model()
    for tensor in model.graph.initializer:
        if tensor.name in ("x_scale", "x_zero"):
            many = np.repeat(onnx.numpy_helper.to_array(tensor), 3)
            tensor.CopyFrom(onnx.numpy_helper.from_array(many, tensor.name))
    return model


REFUSED = {
    "float model": (conv_model(), "input `x` is not quantized at once", "Conv"),
    "other readers": (
        _with(helper.make_node("Abs", ["x"], ["a"], "also"), outputs=("a",)),
        "input `x` is not quantized at once",
        "its readers are: QuantizeLinear `x_q`, Abs `also`",
    ),
    "other output": (
        _with(helper.make_node("Abs", ["r"], ["a"], "also"), outputs=("a",)),
        "output `a` is not dequantized last",
        "Abs `also` makes it as float",
    ),
    "output read": (
        _with(helper.make_node("QuantizeLinear", ["y", "y_scale"], ["a"], "q2")),
        "output `y` is not dequantized last",
        "QuantizeLinear `q2` reads it",
    ),
    "channels": (
        _per_channel(),
        "input `x` is not quantized at once",
        "computed parameters, or one per channel",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_others_are_refused_by_name(name: str, tmp_path: Path) -> None:
    proto, what, why = REFUSED[name]
    with pytest.raises(ModelError) as error:
        with_integer_io(loaded(proto, tmp_path))
    assert what in error.value.what
    assert why in error.value.why


def test_16_bits_are_refused(tmp_path: Path) -> None:
    model = qdq_model(opset=21)
    zero = onnx.numpy_helper.from_array(np.asarray(0, np.int16), "wide")
    model.graph.initializer.append(zero)
    for node in (model.graph.node[0], model.graph.node[1]):
        node.input[2] = "wide"
    with pytest.raises(ModelError) as error:
        with_integer_io(loaded(model, tmp_path))
    assert error.value.why == "its integers are int16, not int8 or uint8"


def test_given_reals_are_quantized(tmp_path: Path) -> None:
    model = with_integer_io(loaded(qdq_model(), tmp_path))
    reals = np.linspace(-9, 9, 192, dtype=np.float32).reshape(1, 3, 8, 8)
    integers = quantized_reals(reals, X)
    assert np.array_equal(checked_inputs({"x": reals}, model)["x"], integers)
    assert checked_inputs({"x": integers}, model)["x"] is integers
    with pytest.raises(InputError):
        checked_inputs({"x": reals.astype(np.float64)}, model)


def test_drawn_integers_cover_their_range(tmp_path: Path) -> None:
    model = with_integer_io(loaded(qdq_model(), tmp_path))
    whole, part = (draw_inputs(model, 0, scale)["x"] for scale in (1.0, 0.1))
    assert whole.dtype == part.dtype == np.int8
    assert np.ptp(whole.astype(int)) > 240
    assert 15 < np.ptp(part.astype(int)) < 30


def test_library_takes_and_gives_integers(tmp_path: Path) -> None:
    path = MODELS / "mlperf_tiny_kws_dscnn_qdq8.onnx"
    usual = compile_model(path, target="host", output=tmp_path / "usual", verify="skip")
    integer = compile_model(path, target="host", output=tmp_path / "int8", io="int8")
    (given,), (made,) = integer.manifest.inputs, integer.manifest.outputs
    assert (given.dtype, made.dtype) == ("int8", "int8")
    assert given.quantization is not None
    assert made.quantization is not None
    assert given.place is None  # only on microcontrollers
    header = (integer.path / f"include/{integer.manifest.symbol_prefix}.h").read_text()
    scale, zero = made.quantization.scale, made.quantization.zero_point
    assert f"real = {scale} * (q - {zero})" in header
    library = load(integer.path)
    assert library.inputs[0].quantization == given.quantization
    q = np.random.default_rng(0).integers(-128, 128, given.shape).astype(np.int8)
    reals = (q - np.float32(given.quantization.zero_point)) * np.float32(given.quantization.scale)
    wanted = load(usual.path).run({given.name: reals})[made.name]
    found = library.run({given.name: q})[made.name]
    assert np.array_equal((found - np.float32(zero)) * np.float32(scale), wanted)
    assert verify(integer.path, path, inputs={given.name: reals}).status == "passed"
