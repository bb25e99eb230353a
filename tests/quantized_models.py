"""QDQ graphs of one operator each, side by side in one model: compiled once, compared in bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import helper

from tests.onnx_models import make_model

INPUT, CHANNELS, SIZE = "x", 6, 9


class QdqBuilder:
    """Collects nodes and constants; every name is made once."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}
        self.inputs: dict[str, tuple[str, list[int]]] = {}
        self.outputs: dict[str, tuple[str, None]] = {}
        self.random = np.random.default_rng(7)

    def name(self, word: str) -> str:
        return f"{word}_{len(self.nodes)}_{len(self.constants)}_{len(self.inputs)}"

    def constant(self, array: np.ndarray) -> str:
        name = self.name("c")
        self.constants[name] = np.asarray(array)
        return name

    def node(self, op_type: str, *operands: str, **attributes: Any) -> str:
        result = self.name(op_type.lower())
        self.nodes.append(helper.make_node(op_type, operands, [result], result, **attributes))
        return result

    def input(self, *shape: int, dtype: str = "int8") -> str:
        name = self.name("x")
        self.inputs[name] = (dtype, list(shape))
        return name

    def dequantized(self, q: str, scale: Any, zero: Any, dtype: str, **attributes: int) -> str:
        parameters = np.asarray(scale, np.float32), np.asarray(zero, dtype)
        return self.node("DequantizeLinear", q, *map(self.constant, parameters), **attributes)

    def data(self, *shape: int, scale: float = 0.05, zero: int = -3, dtype: str = "int8") -> str:
        """An input in reals."""
        return self.dequantized(self.input(*shape, dtype=dtype), scale, zero, dtype)

    def weight(self, *shape: int, axis: int = 0, zero: int = 0, dtype: str = "int8") -> str:
        """Constant weights with a scale for each index of an axis."""
        info = np.iinfo(dtype)
        q = self.random.integers(max(info.min, -127), info.max, shape, endpoint=True)
        count = shape[axis]
        scale = self.random.uniform(0.004, 0.02, count)
        zeros = np.full(count, zero)
        return self.dequantized(
            self.constant(q.astype(dtype)), scale, zeros, dtype, axis=axis % len(shape)
        )

    def bias(self, count: int) -> str:
        return self.constant(self.random.normal(size=count).astype(np.float32))

    def quantized(self, value: str, scale: float, zero: int = 5, dtype: str = "int8") -> str:
        parameters = np.asarray(scale, np.float32), np.asarray(zero, dtype)
        return self.node("QuantizeLinear", value, *map(self.constant, parameters))

    def again(self, value: str, scale: float, zero: int = 5, dtype: str = "int8") -> str:
        """Quantized and dequantized."""
        return self.dequantized(self.quantized(value, scale, zero, dtype), scale, zero, dtype)

    def output(self, value: str, scale: float, zero: int = 5, dtype: str = "int8") -> None:
        """An output of small integers."""
        self.outputs[self.quantized(value, scale, zero, dtype)] = (dtype, None)

    def model(self) -> onnx.ModelProto:
        made = make_model(
            self.nodes,
            inputs=self.inputs,
            outputs=self.outputs,
            constants=self.constants,
            opset=21,
        )
        return onnx.shape_inference.infer_shapes(made)


def _convolution(
    shape: tuple[int, ...], *, channels: int = CHANNELS, activation: str = "", **attributes: Any
) -> Callable[[QdqBuilder], None]:
    def add(b: QdqBuilder) -> None:
        kernel = shape[2:]
        made = b.node(
            "Conv",
            b.data(1, channels, SIZE, SIZE),
            b.weight(*shape),
            b.bias(shape[0]),
            kernel_shape=kernel,
            **attributes,
        )
        if activation == "LeakyRelu":
            made = b.node("LeakyRelu", made, alpha=0.1)
        elif activation == "Clip":
            limits = (b.constant(np.asarray(v, np.float32)) for v in (0.0, 3.0))
            made = b.node("Clip", made, *limits)
        elif activation:
            made = b.node(activation, made)
        b.output(made, 0.11)

    return add


def _unsigned_convolution(b: QdqBuilder) -> None:
    data = b.data(1, 3, SIZE, SIZE, zero=117, dtype="uint8")
    weight = b.weight(8, 3, 3, 3, zero=131, dtype="uint8")
    made = b.node("Conv", data, weight, pads=[1, 0, 0, 1], strides=[2, 1])
    b.output(made, 0.09, 140, "uint8")


def _residual(b: QdqBuilder) -> None:
    data = b.data(1, 8, 5, 5)
    one = b.again(b.node("Conv", data, b.weight(8, 8, 3, 3), pads=[1, 1, 1, 1]), 0.2)
    made = b.node("Relu", b.node("Add", one, data))
    b.output(made, 0.13, -128)


def _two(op_type: str) -> Callable[[QdqBuilder], None]:
    def add(b: QdqBuilder) -> None:
        one, other = b.data(3, 17), b.data(1, 17, scale=0.0123, zero=77)
        b.output(b.node(op_type, one, other), 0.03)

    return add


def _pooling(op_type: str, **attributes: Any) -> Callable[[QdqBuilder], None]:
    def add(b: QdqBuilder) -> None:
        made = b.node(op_type, b.data(1, CHANNELS, SIZE, SIZE), **attributes)
        b.output(made, 0.04, 2)

    return add


def _function(op_type: str, **attributes: Any) -> Callable[[QdqBuilder], None]:
    def add(b: QdqBuilder) -> None:
        b.output(b.node(op_type, b.data(2, 40), **attributes), 0.01)

    return add


def _mean_of_rows(b: QdqBuilder) -> None:
    axes = b.constant(np.asarray([-1], np.int64))
    b.output(b.node("ReduceMean", b.data(3, 4, 10), axes, keepdims=0), 0.02)


def _concatenation(b: QdqBuilder) -> None:
    parts = [b.data(1, 4, 3, 3), b.data(1, 2, 3, 3, scale=0.1, zero=9)]
    b.output(b.node("Concat", *parts, axis=1), 0.05, -3)


def _products(b: QdqBuilder) -> None:
    b.output(b.node("MatMul", b.data(2, 3, 7), b.data(2, 7, 5, scale=0.02, zero=4)), 0.1)
    b.output(b.node("MatMul", b.data(2, 3, 7), b.weight(7, 5, axis=1)), 0.1)


def _dense(b: QdqBuilder) -> None:
    made = b.node("Gemm", b.data(3, 70), b.weight(11, 70), b.bias(11), transB=1)
    b.output(b.node("Relu", made), 0.2)


def _moved(b: QdqBuilder) -> None:
    data = b.node("Transpose", b.data(1, SIZE, SIZE, CHANNELS), perm=[0, 3, 1, 2])
    made = b.node("Conv", data, b.weight(4, CHANNELS, 1, 1))
    shape = b.constant(np.asarray([1, -1], np.int64))
    b.output(b.node("Reshape", b.node("Transpose", made, perm=[0, 2, 3, 1]), shape), 0.1)


def _transposed(b: QdqBuilder) -> None:
    attributes = {"strides": [2, 2], "pads": [1, 1, 0, 1], "output_padding": [0, 1]}
    weight = b.weight(CHANNELS, 4, 3, 3, axis=1)
    made = b.node("ConvTranspose", b.data(1, CHANNELS, 5, 4), weight, b.bias(4), **attributes)
    b.output(made, 0.1)
    grouped = b.node("ConvTranspose", b.data(1, 4, 5, 4), b.weight(4, 3, 2, 2, axis=1), group=2)
    b.output(grouped, 0.1)


def _resized(b: QdqBuilder) -> None:
    scales = b.constant(np.asarray([1, 1, 2, 3], np.float32))
    shape = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    made = b.node("Resize", b.data(1, 3, 4, 5), "", scales, mode="nearest", **shape)
    b.output(made, 0.05, -3)


def _parts(b: QdqBuilder) -> None:
    numbers = [b.constant(np.asarray([v], np.int64)) for v in (1, 7, 1)]
    b.output(b.node("Slice", b.data(3, 9), *numbers), 0.05, -3)
    data = b.data(2, 10)
    b.nodes.append(helper.make_node("Split", [data], ["p0", "p1"], "split", axis=1, num_outputs=2))
    b.output("p1", 0.07, 3)


def _row_convolutions(b: QdqBuilder) -> None:
    data = b.data(1, 4, 19)
    one = b.node("Conv", data, b.weight(8, 4, 3), b.bias(8), pads=[1, 1], strides=[2])
    two = b.node("Conv", b.again(b.node("Relu", one), 0.1), b.weight(8, 1, 3), group=8)
    b.output(two, 0.2)


def _padded(b: QdqBuilder) -> None:
    amounts = b.constant(np.asarray([0, 0, 1, 2, 0, 0, 0, 3], np.int64))
    data = b.data(1, 3, 4, 5)
    b.output(b.node("Pad", data, amounts), 0.05, -3)
    number = b.constant(np.asarray(1.234, np.float32))
    b.output(b.node("Relu", b.node("Pad", data, amounts, number)), 0.07, 9)
    b.output(b.node("Pad", data, amounts, mode="edge"), 0.05, -3)
    b.output(b.node("Pad", data, amounts, mode="reflect"), 0.05, -3)
    conv = b.again(b.node("Conv", data, b.weight(4, 3, 1, 1)), 0.1)
    b.output(b.node("Pad", conv, amounts), 0.1)


def _softmax_of_inner_axes(b: QdqBuilder) -> None:
    b.output(b.node("Softmax", b.data(1, 10, 3, 4), axis=1), 0.004, -128)
    b.output(b.node("Softmax", b.data(2, 10, 3), axis=1), 0.004, -128)
    b.output(b.node("Softmax", b.data(5, 3), axis=0), 0.004, -128)


def _rescaled(b: QdqBuilder) -> None:
    b.output(b.data(2, 60, scale=0.031), 0.047, 3, "uint8")


def halves(b: QdqBuilder) -> None:
    """Each exact result lies on a whole number or halfway between two."""
    data = b.data(1, 2, 16, 16, scale=0.5, zero=0)
    unit = b.dequantized(b.constant(np.eye(2, dtype=np.int8).reshape(2, 2, 1, 1)), 1.0, 0, "int8")
    b.output(b.node("Conv", data, unit), 1.0, 0)
    b.output(b.node("Add", data, b.data(1, 2, 16, 16, scale=0.5, zero=1)), 1.0, 1)
    b.output(data, 1.0, -1)
    # Beside a half by less than a float32 can tell from one times the factor.
    b.output(b.data(1, 256, scale=float(np.nextafter(np.float32(0.5), np.float32(1)))), 1.0, 0)
    b.output(b.data(1, 256, scale=float(np.nextafter(np.float32(0.5), np.float32(0)))), 1.0, 0)


CASES: dict[str, Callable[[QdqBuilder], None]] = {
    "conv": _convolution((8, CHANNELS, 3, 3), pads=[1, 1, 1, 1]),
    "conv-relu": _convolution((5, CHANNELS, 3, 2), strides=[2, 2], activation="Relu"),
    "conv-clip": _convolution((16, CHANNELS, 1, 1), activation="Clip"),
    "conv-leaky": _convolution((4, CHANNELS, 3, 3), dilations=[2, 1], activation="LeakyRelu"),
    "conv-groups": _convolution((8, 3, 3, 3), group=2, pads=[1, 1, 1, 1]),
    "depthwise": _convolution((6, 1, 3, 3), group=6, pads=[1, 1, 1, 1], strides=[2, 2]),
    "depthwise-multiplier": _convolution((12, 1, 3, 3), group=6, activation="Relu"),
    "conv-unsigned": _unsigned_convolution,
    "residual": _residual,
    "add": _two("Add"),
    "sub": _two("Sub"),
    "mul": _two("Mul"),
    "max-pool": _pooling("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    "average-pool": _pooling("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    "average-pool-padded": _pooling(
        "AveragePool", kernel_shape=[2, 3], pads=[1, 0, 0, 1], count_include_pad=1
    ),
    "global-pool": _pooling("GlobalAveragePool"),
    "mean-of-rows": _mean_of_rows,
    "sigmoid": _function("Sigmoid"),
    "tanh": _function("Tanh"),
    "hard-swish": _function("HardSwish"),
    "softmax": _function("Softmax", axis=-1),
    "softmax-inner": _softmax_of_inner_axes,
    "conv-rows": _row_convolutions,
    "pad": _padded,
    "concat": _concatenation,
    "products": _products,
    "dense": _dense,
    "moved": _moved,
    "transposed": _transposed,
    "resized": _resized,
    "parts": _parts,
    "rescaled": _rescaled,
    "halves": halves,
}


def all_cases(names: tuple[str, ...] = tuple(CASES)) -> onnx.ModelProto:
    """One model of the cases, side by side."""
    builder = QdqBuilder()
    for name in names:
        CASES[name](builder)
    return builder.model()


def every_integer(model: onnx.ModelProto, seed: int) -> dict[str, np.ndarray]:
    """Inputs that hold all integers of their type, shuffled; small ones as many as they can."""
    generator = np.random.default_rng(seed)
    found = {}
    for value in model.graph.input:
        dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
        info = np.iinfo(dtype)
        count = int(np.prod(shape))
        spread = np.linspace(info.min, info.max, min(count, 256)).round()
        integers = np.resize(spread, count)
        found[value.name] = generator.permutation(integers).astype(dtype).reshape(shape)
    return found
