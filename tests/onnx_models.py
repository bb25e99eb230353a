"""Small ONNX models for tests, built in memory with fixed random weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

Dim = int | str | None
Inputs = Mapping[str, tuple[str, Sequence[Dim] | None]]  # name -> (NumPy dtype, shape)
IR_VERSION = 10  # of opset 21; onnxruntime 1.19 and later read it


def weights(*shape: int, seed: int = 0) -> np.ndarray:
    """Return float32 numbers of standard deviation 1 / sqrt(fan-in), the same for one seed."""
    fan_in = max(1, int(np.prod(shape[1:])))
    values = np.random.default_rng(seed).standard_normal(shape) / np.sqrt(fan_in)
    return np.asarray(values, dtype=np.float32)


def tensor_info(name: str, dtype: str, shape: Sequence[Dim] | None) -> onnx.ValueInfoProto:
    """Return the declaration of a tensor; a string dimension is a symbol, None is unnamed."""
    element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return helper.make_tensor_value_info(name, element, shape)


def make_model(
    nodes: Sequence[onnx.NodeProto],
    *,
    inputs: Inputs,
    outputs: Inputs,
    constants: Mapping[str, np.ndarray] | None = None,
    opset: int = 18,
    domains: Mapping[str, int] | None = None,
) -> onnx.ModelProto:
    """Return a model of these nodes. It is not checked, so that broken ones can be made too."""
    graph = helper.make_graph(
        list(nodes),
        "test",
        [tensor_info(name, *kind) for name, kind in inputs.items()],
        [tensor_info(name, *kind) for name, kind in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    imports = [helper.make_opsetid("", opset)]
    imports += [helper.make_opsetid(domain, version) for domain, version in (domains or {}).items()]
    model = helper.make_model(graph, opset_imports=imports)
    model.ir_version = IR_VERSION if opset <= 21 else onnx.IR_VERSION
    return model


def save(model: onnx.ModelProto, path: Path) -> Path:
    """Write the model and return its path."""
    onnx.save(model, path)
    return path


def conv_model(
    *, channels: int = 3, filters: int = 4, size: int = 8, batch: Dim = 1, opset: int = 18
) -> onnx.ModelProto:
    """Return Conv 3x3 (padded) + Relu: x [batch, channels, size, size] -> y."""
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["y"], name="relu"),
    ]
    return make_model(
        nodes,
        inputs={"x": ("float32", [batch, channels, size, size])},
        outputs={"y": ("float32", [batch, filters, size, size])},
        constants={"w": weights(filters, channels, 3, 3), "b": weights(filters, seed=1)},
        opset=opset,
    )


def conv_net_model(*, size: int = 16, opset: int = 18) -> onnx.ModelProto:
    """Return a small classifier: conv, depthwise conv, 1x1 conv + residual, pool, Gemm, Softmax.

    x [1, 3, size, size] -> y [1, 10].
    """
    nodes = [
        helper.make_node(
            "Conv", ["x", "w0", "b0"], ["c0"], name="stem", pads=[1, 1, 1, 1], strides=[2, 2]
        ),
        helper.make_node("Relu", ["c0"], ["r0"], name="stem_relu"),
        helper.make_node(
            "Conv", ["r0", "w1", "b1"], ["c1"], name="depthwise", pads=[1, 1, 1, 1], group=8
        ),
        helper.make_node("Relu", ["c1"], ["r1"], name="depthwise_relu"),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], name="pointwise"),
        helper.make_node("Add", ["c2", "r0"], ["a"], name="residual"),
        helper.make_node("GlobalAveragePool", ["a"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["g"], name="dense"),
        helper.make_node("Softmax", ["g"], ["y"], name="softmax", axis=1),
    ]
    constants = {
        "w0": weights(8, 3, 3, 3),
        "b0": weights(8, seed=1),
        "w1": weights(8, 1, 3, 3, seed=2),
        "b1": weights(8, seed=3),
        "w2": weights(8, 8, 1, 1, seed=4),
        "b2": weights(8, seed=5),
        "w3": weights(8, 10, seed=6),
        "b3": weights(10, seed=7),
    }
    return make_model(
        nodes,
        inputs={"x": ("float32", [1, 3, size, size])},
        outputs={"y": ("float32", [1, 10])},
        constants=constants,
        opset=opset,
    )


def dense_model(m: int = 4, n: int = 16, k: int = 8, *, opset: int = 18) -> onnx.ModelProto:
    """Return MatMul + Add: x [m, k] -> y [m, n]."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["p"], name="matmul"),
        helper.make_node("Add", ["p", "b"], ["y"], name="bias"),
    ]
    return make_model(
        nodes,
        inputs={"x": ("float32", [m, k])},
        outputs={"y": ("float32", [m, n])},
        constants={"w": weights(k, n), "b": weights(n, seed=1)},
        opset=opset,
    )


def batch_norm_model(
    *, kind: str = "Conv", bias: bool = True, group: int = 1, opset: int = 18
) -> onnx.ModelProto:
    """Return ``kind`` (Conv, ConvTranspose or Gemm) + BatchNormalization + Relu.

    x [2, 4, 6, 6] (Gemm: [2, 4]) -> y with 8 channels.
    """
    shapes = {
        "Conv": (8, 4 // group, 3, 3),
        "ConvTranspose": (4, 8 // group, 3, 3),
        "Gemm": (4, 8),
    }
    attributes: dict[str, Any] = {} if kind == "Gemm" else {"group": group}
    image = [] if kind == "Gemm" else [6, 6]
    image_out = {"Conv": [4, 4], "ConvTranspose": [8, 8], "Gemm": []}[kind]
    nodes = [
        helper.make_node(
            kind, ["x", "w", "b"] if bias else ["x", "w"], ["c"], name="linear", **attributes
        ),
        helper.make_node(
            "BatchNormalization", ["c", "scale", "shift", "mean", "variance"], ["n"], name="norm"
        ),
        helper.make_node("Relu", ["n"], ["y"], name="relu"),
    ]
    constants = {
        "w": weights(*shapes[kind]),
        "scale": weights(8, seed=2) + np.float32(1),
        "shift": weights(8, seed=3),
        "mean": weights(8, seed=4),
        "variance": np.abs(weights(8, seed=5)) + np.float32(0.5),
    }
    if bias:
        constants["b"] = weights(8, seed=1)
    return make_model(
        nodes,
        inputs={"x": ("float32", [2, 4, *image])},
        outputs={"y": ("float32", [2, 8, *image_out])},
        constants=constants,
        opset=opset,
    )


def qdq_model(*, integer_ports: bool = False, opset: int = 18) -> onnx.ModelProto:
    """Return Q -> DQ -> Conv with int8 weights and int32 bias -> Relu -> Q -> DQ.

    x [1, 3, 8, 8] -> y [1, 4, 8, 8]; with ``integer_ports`` x and y are the int8 tensors.
    """
    weight_scale = np.asarray([0.01, 0.02, 0.015, 0.005], np.float32)
    generator = np.random.default_rng(0)
    constants: dict[str, np.ndarray] = {
        "x_scale": np.asarray(0.05, np.float32),
        "x_zero": np.asarray(-3, np.int8),
        "w_q": generator.integers(-127, 128, (4, 3, 3, 3)).astype(np.int8),
        "w_scale": weight_scale,
        "w_zero": np.zeros(4, np.int8),
        "b_q": generator.integers(-500, 500, 4).astype(np.int32),
        "b_scale": weight_scale * np.float32(0.05),
        "b_zero": np.zeros(4, np.int32),
        "y_scale": np.asarray(0.1, np.float32),
        "y_zero": np.asarray(-128, np.int8),
    }
    x_q, y_q = ("x", "y") if integer_ports else ("x_q", "y_q")
    nodes = [
        helper.make_node("DequantizeLinear", [x_q, "x_scale", "x_zero"], ["x_dq"], name="x_dq"),
        helper.make_node(
            "DequantizeLinear", ["w_q", "w_scale", "w_zero"], ["w"], name="w_dq", axis=0
        ),
        helper.make_node(
            "DequantizeLinear", ["b_q", "b_scale", "b_zero"], ["b"], name="b_dq", axis=0
        ),
        helper.make_node("Conv", ["x_dq", "w", "b"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("QuantizeLinear", ["r", "y_scale", "y_zero"], [y_q], name="y_q"),
    ]
    if not integer_ports:
        nodes.insert(
            0, helper.make_node("QuantizeLinear", ["x", "x_scale", "x_zero"], ["x_q"], name="x_q")
        )
        nodes.append(
            helper.make_node("DequantizeLinear", ["y_q", "y_scale", "y_zero"], ["y"], name="y_dq")
        )
    dtype = "int8" if integer_ports else "float32"
    return make_model(
        nodes,
        inputs={"x": (dtype, [1, 3, 8, 8])},
        outputs={"y": (dtype, [1, 4, 8, 8])},
        constants=constants,
        opset=opset,
    )


def attention_model(*, tokens: int = 8, width: int = 16, heads: int = 2) -> onnx.ModelProto:
    """Return self-attention with a residual and LayerNormalization: x [1, tokens, width] -> y."""
    depth = width // heads
    nodes = []
    for part in "qkv":
        nodes += [
            helper.make_node("MatMul", ["x", f"w{part}"], [part], name=f"project_{part}"),
            helper.make_node("Reshape", [part, "split"], [f"{part}4"], name=f"split_{part}"),
            helper.make_node(
                "Transpose",
                [f"{part}4"],
                [f"{part}h"],
                name=f"heads_{part}",
                perm=[0, 2, 3, 1] if part == "k" else [0, 2, 1, 3],
            ),
        ]
    nodes += [
        helper.make_node("MatMul", ["qh", "kh"], ["s"], name="scores"),
        helper.make_node("Mul", ["s", "factor"], ["scaled"], name="scale"),
        helper.make_node("Softmax", ["scaled"], ["p"], name="softmax", axis=-1),
        helper.make_node("MatMul", ["p", "vh"], ["o"], name="mix"),
        helper.make_node("Transpose", ["o"], ["ot"], name="merge", perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["ot", "joined"], ["oj"], name="join"),
        helper.make_node("Add", ["oj", "x"], ["sum"], name="residual"),
        helper.make_node("LayerNormalization", ["sum", "gamma", "beta"], ["y"], name="norm"),
    ]
    constants = {f"w{part}": weights(width, width, seed=i) for i, part in enumerate("qkv")}
    constants |= {
        "split": np.asarray([1, tokens, heads, depth], np.int64),
        "joined": np.asarray([1, tokens, width], np.int64),
        "factor": np.asarray(depth**-0.5, np.float32),
        "gamma": weights(width, seed=4) + np.float32(1),
        "beta": weights(width, seed=5),
    }
    return make_model(
        nodes,
        inputs={"x": ("float32", [1, tokens, width])},
        outputs={"y": ("float32", [1, tokens, width])},
        constants=constants,
    )


def run_onnx(
    model: onnx.ModelProto, inputs: Mapping[str, np.ndarray] | None = None
) -> list[np.ndarray]:
    """Return the outputs of the model in onnxruntime, without its graph optimizations.

    Inputs that are not given are drawn: floats standard normal, integers 0 to 9.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    generator = np.random.default_rng(0)
    feed = dict(inputs or {})
    for value in model.graph.input:
        if value.name not in feed:
            shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
            dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
            floating = dtype.kind == "f"
            drawn = (
                generator.standard_normal(shape) if floating else generator.integers(10, size=shape)
            )
            feed[value.name] = np.asarray(drawn).astype(dtype)
    return [np.asarray(array) for array in session.run(None, feed)]
