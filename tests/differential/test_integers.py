"""Quantization, integer and boolean arithmetic against onnxruntime: equal to the last bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import strategies as st
from onnx import numpy_helper

from tests.differential.agreement import (
    EXAMPLES,
    Case,
    for_all,
    node_case,
    run_compiled,
    run_reference,
)
from tests.onnx_models import qdq_model, weights

shapes = st.lists(st.integers(1, 9), min_size=1, max_size=4)


def _scale_and_zero(
    dtype: str, shape: list[int], axis: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """One scale and zero point, or one for each element of an axis."""
    generator = np.random.default_rng(len(shape))
    size = () if axis is None else (shape[axis],)
    limits = np.iinfo(np.dtype(dtype))
    scale = generator.uniform(0.01, 0.1, size).astype(np.float32)
    zero = generator.integers(limits.min // 2, limits.max // 2, size)
    return np.asarray(scale), np.asarray(zero, dtype)


@st.composite
def quantizations(draw: st.DrawFn, op_type: str, *, per_axis: bool) -> Case:
    shape = draw(shapes)
    axis = draw(st.integers(0, len(shape) - 1)) if per_axis else None
    dtype = draw(st.sampled_from(["int8", "uint8"]))
    scale, zero = _scale_and_zero(dtype, shape, axis)
    attributes: dict[str, Any] = {} if axis is None else {"axis": axis}
    source, result = ("float32", dtype) if op_type == "QuantizeLinear" else (dtype, "float32")
    # Left out, a zero point is 0 of uint8.
    default = dtype == "uint8" and draw(st.booleans())
    operands = [(source, shape), scale, *([] if default else [zero])]
    return node_case(op_type, operands, results=[result], **attributes)


@pytest.mark.parametrize("examples", EXAMPLES)
@pytest.mark.parametrize("per_axis", [False, True])
def test_quantize(per_axis: bool, examples: int) -> None:
    for_all(quantizations("QuantizeLinear", per_axis=per_axis), examples)


@pytest.mark.parametrize("examples", EXAMPLES)
@pytest.mark.parametrize("per_axis", [False, True])
def test_dequantize(per_axis: bool, examples: int) -> None:
    for_all(quantizations("DequantizeLinear", per_axis=per_axis), examples)


def test_quantize_rounds_halves_to_even_and_saturates() -> None:
    values = [0.5, 1.5, 2.5, -0.5, -1.5, 126.5, 127.5, 1e6, -1e6, np.inf, -np.inf]
    case = node_case(
        "QuantizeLinear",
        [("float32", [len(values)]), np.asarray(1, np.float32), np.asarray(0, np.int8)],
        results=["int8"],
        inputs={"x0": np.asarray(values, np.float32)},
    )
    case.check()


def _on_a_boundary(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    """Where the exact result of `qdq_model` lies halfway between two quanta.

    Its scales are multiples of 0.005 and 0.05, a quantum of the result is 0.1: 0.0025 of a quantum
    is the finest step, and every 400th of them or so is a half.
    """
    constants = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    data = np.pad(x.astype(np.int64) + 3, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(data, (3, 3), axis=(2, 3))
    sums = np.einsum("ncyxij,ocij->noyx", windows, constants["w_q"].astype(np.int64))
    sums += constants["b_q"].astype(np.int64).reshape(1, -1, 1, 1)
    steps = np.rint(constants["w_scale"] / 0.005).astype(np.int64).reshape(1, -1, 1, 1)
    return np.asarray(sums * steps % 400 == 200)


@pytest.mark.parametrize("integer_ports", [False, True])
def test_quantized_convolution(integer_ports: bool) -> None:
    """Computed in float: exactly between two quanta, the sum's order decides, elsewhere nothing."""
    model = qdq_model(integer_ports=integer_ports)
    x = np.asarray(np.random.default_rng(0).standard_normal((1, 3, 8, 8)), np.float32)
    quantized = np.clip(np.rint(x / 0.05), -128, 127).astype(np.int8)
    feed = {"x": quantized if integer_ports else x}
    (got,), (want,) = run_compiled(model, feed), run_reference(model, feed)
    if not integer_ports:
        quantized = np.clip(np.rint(x / np.float32(0.05)) - 3, -128, 127).astype(np.int8)
    quantum = 1 if integer_ports else 0.1
    free = _on_a_boundary(model, quantized)
    assert free.mean() < 0.05
    difference = np.abs(got.astype(np.float64) - want)
    np.testing.assert_array_less(difference[~free], 1e-5)
    np.testing.assert_array_less(difference[free], 1.01 * quantum)


ARITHMETIC = ("Add", "Sub", "Mul", "Div", "Max", "Min", "Mod")


@st.composite
def integer_arithmetic(draw: st.DrawFn) -> Case:
    shape = draw(shapes)
    dtype = draw(st.sampled_from(["int32", "int64"]))
    op_type = draw(st.sampled_from(ARITHMETIC))
    divisors = np.random.default_rng(0).choice([-7, -2, -1, 1, 3, 5], shape)
    return node_case(
        op_type,
        [(dtype, shape), (dtype, shape)],
        results=[dtype],
        inputs={"x1": np.asarray(divisors, dtype)},
    )


@pytest.mark.parametrize("examples", EXAMPLES)
def test_integer_arithmetic(examples: int) -> None:
    for_all(integer_arithmetic(), examples)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "int64", "bool"])
def test_numbers_of_every_type_pass(dtype: str) -> None:
    node_case("Transpose", [(dtype, [3, 5])], results=[dtype], perm=[1, 0]).check()


@pytest.mark.parametrize("op_type", ["And", "Or", "Xor"])
def test_booleans(op_type: str) -> None:
    operands = [("bool", [3, 1, 5]), ("bool", [4, 1])]
    node_case(op_type, operands, results=["bool"]).check()


@pytest.mark.parametrize("op_type", ["ReduceSum", "ReduceMax", "ReduceProd"])
def test_integer_reduction(op_type: str) -> None:
    axes = np.asarray([1], np.int64)
    node_case(op_type, [("int32", [3, 4, 5]), axes], results=["int32"]).check()


@pytest.mark.parametrize(
    ("op_type", "operands"),
    [
        ("Conv", [("float16", [1, 3, 6, 6]), weights(4, 3, 3, 3).astype(np.float16)]),
        ("MatMul", [("float16", [3, 5]), weights(5, 6).astype(np.float16)]),
        ("Softmax", [("float16", [3, 10])]),
        ("Add", [("float16", [3, 10]), ("float16", [10])]),
        ("Sigmoid", [("float16", [3, 10])]),
        ("MaxPool", [("float16", [1, 2, 6, 6])]),
    ],
)
def test_half_precision(op_type: str, operands: list[Any]) -> None:
    """11 bits: sums of 27 products are rounded at every step, and onnxruntime sums in float32."""
    attributes: dict[str, Any] = {"kernel_shape": [2, 2]} if op_type == "MaxPool" else {}
    node_case(op_type, operands, results=["float16"], tolerance=1e-2, **attributes).check()
