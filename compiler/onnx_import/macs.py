"""Multiply-accumulates of a node, from static shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import TYPE_CHECKING

from compiler.onnx_import.infer import ValueType

if TYPE_CHECKING:
    import onnx

Shape = tuple[int, ...]


def node_macs(node: onnx.NodeProto, types: Mapping[str, ValueType]) -> int:
    """Return the multiply-accumulates of one node; 0 for operators that only move or map.

    Padding is counted as if it were data, as is usual. 0 too where a shape is unknown.
    """
    count = COUNTERS.get(node.op_type)
    if count is None or node.domain:
        return 0
    inputs = [_shape(name, types) for name in node.input]
    output = _shape(next((o for o in node.output if o), ""), types)
    if output is None or any(s is None and n for n, s in zip(node.input, inputs, strict=True)):
        return 0
    return count(node, [shape or () for shape in inputs], output)


def _shape(name: str, types: Mapping[str, ValueType]) -> Shape | None:
    known = types.get(name)
    return None if known is None else known.shape


def _conv(node: onnx.NodeProto, inputs: list[Shape], output: Shape) -> int:
    weight = inputs[WEIGHT_OPERAND[node.op_type]]  # [O, I/g, kernel...]
    return prod(output) * prod(weight[1:])


def _conv_transpose(_node: onnx.NodeProto, inputs: list[Shape], _output: Shape) -> int:
    return prod(inputs[0]) * prod(inputs[1][1:])  # weight: [I, O/g, kernel...]


def _gemm(node: onnx.NodeProto, inputs: list[Shape], output: Shape) -> int:
    transposed = any(a.name == "transA" and a.i for a in node.attribute)
    return prod(output) * inputs[0][0 if transposed else 1]


def _matmul(_node: onnx.NodeProto, inputs: list[Shape], output: Shape) -> int:
    return prod(output) * inputs[0][-1]


def _einsum(node: onnx.NodeProto, inputs: list[Shape], _output: Shape) -> int:
    """One product per point of the space of all labels; an ellipsis is not counted."""
    from onnx import helper

    equation = next(helper.get_attribute_value(a) for a in node.attribute if a.name == "equation")
    terms = equation.decode().replace(" ", "").split("->")[0].split(",")
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, inputs, strict=True):
        if "." not in term:
            sizes.update(zip(term, shape, strict=True))
    return prod(sizes.values())


def _recurrent(_node: onnx.NodeProto, inputs: list[Shape], _output: Shape) -> int:
    """X: [steps, batch, I]; W: [directions, gates * H, I]; R: [directions, gates * H, H]."""
    return prod(inputs[0][:2]) * (prod(inputs[1]) + prod(inputs[2]))


WEIGHT_OPERAND = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3}

COUNTERS: Mapping[str, Callable[[onnx.NodeProto, list[Shape], Shape], int]] = {
    "Conv": _conv,
    "ConvInteger": _conv,
    "ConvTranspose": _conv_transpose,
    "Einsum": _einsum,
    "GRU": _recurrent,
    "Gemm": _gemm,
    "LSTM": _recurrent,
    "MatMul": _matmul,
    "MatMulInteger": _matmul,
    "QLinearConv": _conv,
    "QLinearMatMul": _matmul,
    "RNN": _recurrent,
}
