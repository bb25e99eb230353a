"""How the integers of a quantized model's inputs and outputs stand for reals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compiler.program import Quantization

if TYPE_CHECKING:
    import onnx


def quantization_of_input(graph: onnx.GraphProto, name: str) -> Quantization | None:
    """Return scale and zero point of an integer input that is dequantized, per tensor, first."""
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] == name:
            return _parameters(graph, node)
    return None


def quantization_of_output(graph: onnx.GraphProto, name: str) -> Quantization | None:
    """Return scale and zero point of an output that a QuantizeLinear computes, per tensor."""
    for node in graph.node:
        if node.op_type == "QuantizeLinear" and node.output[0] == name:
            return _parameters(graph, node)
    return None


def _parameters(graph: onnx.GraphProto, node: onnx.NodeProto) -> Quantization | None:
    """Return the node's constant scale and zero point; None if there is one per channel."""
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in graph.initializer}
    scale = constants.get(node.input[1])
    zero_name = node.input[2] if len(node.input) > 2 else ""
    if scale is None or (zero_name and zero_name not in constants):
        return None
    scales = numpy_helper.to_array(scale).reshape(-1)
    zeros = numpy_helper.to_array(constants[zero_name]).reshape(-1) if zero_name else [0]
    if len(scales) != 1 or len(zeros) != 1:
        return None
    return Quantization(scale=float(scales[0]), zero_point=int(zeros[0]))
