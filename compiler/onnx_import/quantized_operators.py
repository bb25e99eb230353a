"""Quantized operators of ONNX as dequantizers, the operator, and a quantizer; blocked weights.

The integer stages know one form of a quantized operator. A node that computes a result keeps its
name, the others begin with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from compiler.onnx_import.block_products import written_out_product
from compiler.onnx_import.names import replace_nodes

if TYPE_CHECKING:
    import onnx

FOUR_BITS = frozenset({21, 22})  # uint4, int4: in TensorProto


def write_out_quantized(model: onnx.ModelProto) -> None:
    """Replace QLinearConv, QLinearMatMul, MatMulNBits and dequantizers of blocks, in place.

    Those with parameters that are computed stay, and are refused later.
    """
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        made: list[onnx.NodeProto] | None = None
        if node.op_type == "QLinearConv" and not node.domain:
            made = _convolution(model, node, constants)
        elif node.op_type == "QLinearMatMul" and not node.domain:
            made = _product(node)
        elif node.op_type == "MatMulNBits" and node.domain == "com.microsoft":
            made = written_out_product(model, node, constants)
        elif node.op_type == "DequantizeLinear":
            reals = _in_blocks(node, constants)
            if reals is not None:
                model.graph.initializer.append(numpy_helper.from_array(reals, node.output[0]))
                continue
        nodes += [node] if made is None else made
    replace_nodes(model.graph, nodes)


def _dequantizer(
    owner: onnx.NodeProto, operand: str, scale: str, zero: str, axis: int | None = None
) -> onnx.NodeProto:
    from onnx import helper

    result = f"{owner.output[0]}/{operand}"
    inputs = [operand, scale, *([zero] if zero else [])]
    name = f"{owner.name}/DequantizeLinear/{operand}"
    node = helper.make_node("DequantizeLinear", inputs, [result], name)
    if axis is not None:
        node.attribute.append(helper.make_attribute("axis", axis))
    return node


def _convolution(
    model: onnx.ModelProto, node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]
) -> list[onnx.NodeProto] | None:
    """As DequantizeLinear of data, weights and bias, Conv, QuantizeLinear."""
    from onnx import helper, numpy_helper

    x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, *bias = node.input
    before = [
        _dequantizer(node, x, x_scale, x_zero),
        _dequantizer(node, w, w_scale, w_zero, axis=0),
    ]
    operands = [one.output[0] for one in before]
    if bias and bias[0]:
        if x_scale not in constants or w_scale not in constants:
            return None
        scale = numpy_helper.to_array(constants[x_scale]) * numpy_helper.to_array(
            constants[w_scale]
        )
        tensor = numpy_helper.from_array(
            np.asarray(scale, np.float32), f"{node.output[0]}/bias_scale"
        )
        model.graph.initializer.append(tensor)
        before.append(_dequantizer(node, bias[0], tensor.name, "", axis=0))
        operands.append(before[-1].output[0])
    core = helper.make_node("Conv", operands, [f"{node.output[0]}/real"], f"{node.name}/Conv")
    core.attribute.extend(node.attribute)
    return [*before, core, _quantizer(node, core.output[0], y_scale, y_zero)]


def _product(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """As DequantizeLinear of both sides, MatMul, QuantizeLinear."""
    from onnx import helper

    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = node.input
    before = [
        _dequantizer(node, a, a_scale, a_zero),
        _dequantizer(node, b, b_scale, b_zero, axis=-1),
    ]
    operands = [one.output[0] for one in before]
    core = helper.make_node("MatMul", operands, [f"{node.output[0]}/real"], f"{node.name}/MatMul")
    return [*before, core, _quantizer(node, core.output[0], y_scale, y_zero)]


def _quantizer(owner: onnx.NodeProto, real: str, scale: str, zero: str) -> onnx.NodeProto:
    from onnx import helper

    return helper.make_node(
        "QuantizeLinear", [real, scale, zero], list(owner.output[:1]), owner.name
    )


def _in_blocks(
    node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]
) -> np.ndarray | None:
    """Reals of constant weights in 4 bits or with a scale for each block; None for other nodes."""
    from onnx import helper, numpy_helper

    if any(name and name not in constants for name in node.input):
        return None
    given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    block = int(given.get("block_size", 0))
    if not block and constants[node.input[0]].data_type not in FOUR_BITS:
        return None
    data, scale, *zero = (
        numpy_helper.to_array(constants[name]).astype(np.float32) for name in node.input if name
    )
    axis = int(given.get("axis", 1))

    def spread(factor: np.ndarray) -> np.ndarray:
        if block:
            return np.repeat(factor, block, axis).take(range(data.shape[axis]), axis)
        shape = [1] * data.ndim
        if factor.size > 1:
            shape[axis] = factor.size
        return factor.reshape(shape)

    centred = data - spread(zero[0]) if zero else data
    return np.asarray(centred * spread(scale), np.float32)
