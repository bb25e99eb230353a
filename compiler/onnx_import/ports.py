"""How the integers of a quantized model's inputs and outputs stand for reals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compiler.program import Quantization

if TYPE_CHECKING:
    import onnx


# They move elements and keep their values, so that a scale holds on both sides.
MOVING = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})


def quantization_of_input(graph: onnx.GraphProto, name: str) -> Quantization | None:
    """Return scale and zero point of an integer input that is dequantized, per tensor.

    It may be reshaped or transposed on the way. None for an input that is used otherwise.
    """
    moved = {name}
    for node in graph.node:
        if not node.input or node.input[0] not in moved:
            continue
        if node.op_type == "DequantizeLinear":
            return quantization_of(graph, node)
        if node.op_type in MOVING:
            moved.add(node.output[0])
    return None


def quantization_of_output(graph: onnx.GraphProto, name: str) -> Quantization | None:
    """Return scale and zero point of an output that a QuantizeLinear computes, per tensor.

    It may be reshaped or transposed on the way.
    """
    for node in reversed(graph.node):
        if node.output[0] != name:
            continue
        if node.op_type == "QuantizeLinear":
            return quantization_of(graph, node)
        if node.op_type not in MOVING:
            return None
        name = node.input[0]
    return None


def quantization_of(graph: onnx.GraphProto, node: onnx.NodeProto) -> Quantization | None:
    """Return a (de)quantizer's constant scale and zero point; None if there is one per channel."""
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in graph.initializer}
    for maker in graph.node:
        values = [a.t for a in maker.attribute if a.name == "value"]
        if maker.op_type == "Constant" and values:
            constants[maker.output[0]] = values[0]
    scale = constants.get(node.input[1])
    zero_name = node.input[2] if len(node.input) > 2 else ""
    if scale is None or (zero_name and zero_name not in constants):
        return None
    scales = numpy_helper.to_array(scale).reshape(-1)
    zeros = numpy_helper.to_array(constants[zero_name]).reshape(-1) if zero_name else [0]
    if len(scales) != 1 or len(zeros) != 1:
        return None
    return Quantization(scale=float(scales[0]), zero_point=int(zeros[0]))
