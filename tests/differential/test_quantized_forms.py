"""Other ways in which ONNX says that something is quantized: QLinear*, *Integer, few bits."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from compiler.relax_program import extract_program
from compiler.target_spec import load_target
from tests.differential.agreement import run_compiled, run_reference
from tests.lowered import loaded, staged
from tests.onnx_models import make_model

RANDOM = np.random.default_rng(3)


def _integers(*shape: int, dtype: str = "int8") -> np.ndarray:
    info = np.iinfo(dtype)
    return RANDOM.integers(info.min, info.max, shape, endpoint=True).astype(dtype)


def _weights(*shape: int) -> np.ndarray:
    """Of 7 bits: onnxruntime's products of uint8 and int8 saturate in 16 bits without VNNI."""
    return RANDOM.integers(-63, 63, shape).astype(np.int8)


def _small(value: float, dtype: str = "float32") -> np.ndarray:
    return np.asarray(value, dtype)


def test_qlinear_convolution() -> None:
    parameters = {
        "xs": _small(0.05),
        "xz": _small(9, "uint8"),
        "w": _weights(6, 4, 3, 3),
        "ws": RANDOM.uniform(0.002, 0.01, 6).astype(np.float32),
        "wz": np.zeros(6, np.int8),
        "ys": _small(0.21),
        "yz": _small(120, "uint8"),
        "b": RANDOM.integers(-9000, 9000, 6).astype(np.int32),
    }
    node = helper.make_node(
        "QLinearConv",
        ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz", "b"],
        ["y"],
        "conv",
        pads=[1, 1, 1, 1],
    )
    model = make_model(
        [node],
        inputs={"x": ("uint8", [1, 4, 7, 7])},
        outputs={"y": ("uint8", [1, 6, 7, 7])},
        constants=parameters,
    )
    _agrees(model, {"x": _integers(1, 4, 7, 7, dtype="uint8")}, quanta=1)


def test_qlinear_product() -> None:
    parameters = {
        "xs": _small(0.05),
        "xz": _small(9, "uint8"),
        "w": _weights(20, 6),
        "ws": _small(0.01),
        "wz": _small(3, "int8"),
        "ys": _small(0.21),
        "yz": _small(120, "uint8"),
    }
    node = helper.make_node("QLinearMatMul", ["x", *parameters], ["y"], "product")
    model = make_model(
        [node],
        inputs={"x": ("uint8", [5, 20])},
        outputs={"y": ("uint8", [5, 6])},
        constants=parameters,
    )
    _agrees(model, {"x": _integers(5, 20, dtype="uint8")}, quanta=1)


@pytest.mark.parametrize("group", [1, 2])
def test_convolution_of_integers(group: int) -> None:
    node = helper.make_node(
        "ConvInteger", ["x", "w", "xz", "wz"], ["y"], "conv", pads=[1, 0, 1, 0], group=group
    )
    model = make_model(
        [node],
        inputs={"x": ("uint8", [1, 4, 6, 5])},
        outputs={"y": ("int32", [1, 6, 6, 3])},
        constants={
            "w": _integers(6, 4 // group, 3, 3, dtype="uint8"),
            "xz": _small(7, "uint8"),
            "wz": _small(99, "uint8"),
        },
    )
    _agrees(model, {"x": _integers(1, 4, 6, 5, dtype="uint8")}, quanta=0)


def test_dynamic_quantization() -> None:
    """Scale and zero point are computed from the data, as in dynamically quantized transformers."""
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"], "dynamic"),
        helper.make_node("MatMulInteger", ["q", "w", "z", "wz"], ["sums"], "product"),
        helper.make_node("Cast", ["sums"], ["real"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["s", "ws"], ["scale"], "scales"),
        helper.make_node("Mul", ["real", "scale"], ["y"], "scaled"),
    ]
    model = make_model(
        nodes,
        inputs={"x": ("float32", [3, 16])},
        outputs={"y": ("float32", [3, 5])},
        constants={"w": _weights(16, 5), "wz": _small(2, "int8"), "ws": _small(0.02)},
    )
    x = RANDOM.normal(size=(3, 16)).astype(np.float32)
    (got,), (want,) = run_compiled(model, {"x": x}), run_reference(model, {"x": x})
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("target", ["host", "cortex-m4f"])
def test_dynamic_products_are_integer_sums(target: str) -> None:
    """Zero points of both sides; onnxruntime's own sums saturate where the machine has no VNNI."""
    constants = {"w": _weights(24, 17), "wz": RANDOM.integers(-5, 6, 17).astype(np.int8)}
    model = make_model(
        [
            helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"], "dynamic"),
            helper.make_node("MatMulInteger", ["q", "w", "z", "wz"], ["sums"], "product"),
        ],
        inputs={"x": ("float32", [2, 5, 24])},
        outputs={"q": ("uint8", [2, 5, 24]), "z": ("uint8", []), "sums": ("int32", [2, 5, 17])},
        constants=constants,
    )
    known = loaded(model)
    program = extract_program(staged(known, load_target(target)), known)
    assert any("integer_matmul" in call.kernel for call in program.calls)
    if target == "host":
        x = RANDOM.normal(size=(2, 5, 24)).astype(np.float32)
        q, zero, sums = (array.astype(int) for array in run_compiled(model, {"x": x}))
        assert zero > 0
        assert np.array_equal(sums, (q - zero) @ (constants["w"].astype(int) - constants["wz"]))


def test_weights_of_four_bits_in_blocks() -> None:
    w = RANDOM.integers(-8, 8, (32, 6)).astype(np.int8)
    packed = helper.make_tensor("w", TensorProto.INT4, [32, 6], w.flatten().tolist())
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s"], ["r"], "blocks", axis=0, block_size=16),
        helper.make_node("MatMul", ["x", "r"], ["y"], "product"),
    ]
    model = make_model(
        nodes,
        inputs={"x": ("float32", [3, 32])},
        outputs={"y": ("float32", [3, 6])},
        constants={"s": RANDOM.uniform(0.01, 0.1, (2, 6)).astype(np.float32)},
        opset=21,
    )
    model.graph.initializer.append(packed)
    x = RANDOM.normal(size=(3, 32)).astype(np.float32)
    (got,), (want,) = run_compiled(model, {"x": x}), run_reference(model, {"x": x})
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_activations_of_sixteen_bits() -> None:
    w = helper.make_node
    nodes = [
        w("DequantizeLinear", ["x", "s", "z"], ["r"], "dequantize"),
        w("DequantizeLinear", ["w", "ws", "wz"], ["wr"], "weights"),
        w("MatMul", ["r", "wr"], ["p"], "product"),
        w("QuantizeLinear", ["p", "ys", "z"], ["y"], "quantize"),
    ]
    model = make_model(
        nodes,
        inputs={"x": ("int16", [3, 12])},
        outputs={"y": ("int16", [3, 6])},
        constants={
            "s": _small(0.001),
            "z": _small(0, "int16"),
            "w": _integers(12, 6),
            "ws": _small(0.01),
            "wz": _small(0, "int8"),
            "ys": _small(0.003),
        },
        opset=21,
    )
    _agrees(model, {"x": _integers(3, 12, dtype="int16")}, quanta=1)


def _agrees(model: onnx.ModelProto, feed: dict[str, np.ndarray], *, quanta: int) -> None:
    (got,), (want,) = run_compiled(model, feed), run_reference(model, feed)
    assert got.dtype == want.dtype
    assert np.abs(got.astype(np.int64) - want).max() <= quanta
    assert len(np.unique(want)) > 4


@pytest.mark.parametrize("kind", ["int16", "uint16"])
def test_convolution_between_quantizers_of_sixteen_bits(kind: str) -> None:
    """Between quantizers of 16 bits a convolution is float, rounded where the model rounds."""
    constants = {
        "s": _small(2e-4),
        "z": _small(0 if kind == "int16" else 30_000, kind),
        "w": _integers(8, 4, 3, 3),
        "ws": _small(0.01),
        "s2": _small(5e-4),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"], "quantize"),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xr"], "data"),
        helper.make_node("DequantizeLinear", ["w", "ws"], ["wr"], "weights"),
        helper.make_node("Conv", ["xr", "wr"], ["c"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("QuantizeLinear", ["r", "s2", "z"], ["y"], "quantize_result"),
    ]
    model = make_model(
        nodes,
        inputs={"x": ("float32", [1, 4, 8, 8])},
        outputs={"y": (kind, [1, 8, 8, 8])},
        constants=constants,
        opset=21,
    )
    x = RANDOM.normal(size=(1, 4, 8, 8)).astype(np.float32)
    (got,), (want,) = run_compiled(model, {"x": x}), run_reference(model, {"x": x})
    assert got.dtype == np.dtype(kind)
    # A float32 sum differs in its last bits, of which a value on a boundary knows.
    assert np.abs(got.astype(int) - want.astype(int)).max() <= 1
    assert len(np.unique(want)) > 100


@pytest.mark.parametrize("kind", [TensorProto.INT4, TensorProto.UINT4])
@pytest.mark.parametrize(("axis", "block"), [(0, 16), (1, 3)])
def test_weights_of_four_bits_with_zero_points(kind: int, axis: int, block: int) -> None:
    """The depth of 33 is no multiple of the block."""
    low = -8 if kind == TensorProto.INT4 else 0
    shape = [33, 6]
    blocks = [-(-extent // block) if i == axis else extent for i, extent in enumerate(shape)]
    numbers, zeros = (RANDOM.integers(low, low + 16, size) for size in (shape, blocks))
    nodes = [
        helper.make_node(
            *("DequantizeLinear", ["w", "s", "z"], ["r"], "blocks"), axis=axis, block_size=block
        ),
        helper.make_node("MatMul", ["x", "r"], ["y"], "product"),
    ]
    model = make_model(
        nodes,
        inputs={"x": ("float32", [3, 33])},
        outputs={"y": ("float32", [3, 6])},
        constants={"s": RANDOM.uniform(0.01, 0.1, blocks).astype(np.float32)},
        opset=21,
    )
    for name, array in (("w", numbers), ("z", zeros)):
        tensor = helper.make_tensor(name, kind, array.shape, array.flatten().tolist())
        model.graph.initializer.append(tensor)
    x = RANDOM.normal(size=(3, 33)).astype(np.float32)
    (got,), (want,) = run_compiled(model, {"x": x}), run_reference(model, {"x": x})
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("zeros", ["none", "packed"])
@pytest.mark.parametrize("bits", [4, 8])
def test_product_with_weights_of_few_bits(bits: int, zeros: str) -> None:
    """MatMulNBits, as onnxruntime writes it; three blocks to a column, with a bias."""
    depth, columns, block = 96, 6, 32
    per_byte = 8 // bits
    constants = {
        "b": _integers(columns, depth // block, block // per_byte, dtype="uint8"),
        "s": RANDOM.uniform(0.01, 0.1, columns * depth // block).astype(np.float32),
        "bias": RANDOM.normal(size=columns).astype(np.float32),
    }
    if zeros == "packed":
        constants["z"] = _integers(columns * -(-depth // block // per_byte), dtype="uint8")
    inputs = ["x", "b", "s", "z" if zeros == "packed" else "", "", "bias"]
    node = helper.make_node(
        *("MatMulNBits", inputs, ["y"], "few_bits"),
        domain="com.microsoft",
        K=depth,
        N=columns,
        bits=bits,
        block_size=block,
    )
    model = make_model(
        [node],
        inputs={"x": ("float32", [3, depth])},
        outputs={"y": ("float32", [3, columns])},
        constants=constants,
        opset=21,
        domains={"com.microsoft": 1},
    )
    x = RANDOM.normal(size=(3, depth)).astype(np.float32)
    (got,), (want,) = run_compiled(model, {"x": x}), run_reference(model, {"x": x})
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
