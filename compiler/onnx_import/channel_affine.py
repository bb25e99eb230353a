"""Fold batch normalization, and other affine steps per channel, into the linear node before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from compiler.onnx_import.infer import ValueType
from compiler.onnx_import.names import replace_nodes, unused_name, values_read

if TYPE_CHECKING:
    import numpy as np
    import onnx

LINEAR = frozenset({"Conv", "ConvTranspose", "Gemm"})
EPSILON = 1e-5  # BatchNormalization's default
FLOAT_ELEMENTS = frozenset({1, 10, 11})  # float32, float16, float64

Constants = dict[str, "onnx.TensorProto"]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Affine:
    """``y = factor * x + offset`` along channels: float64 arrays of one element or [channels]."""

    operand: str  # x
    factor: np.ndarray
    offset: np.ndarray


def fold_channel_affines(model: onnx.ModelProto, types: Mapping[str, ValueType]) -> None:
    """Multiply each BatchNormalization, and each Mul or Add with a constant per channel, into
    the Conv, ConvTranspose or Gemm right before it. Rewrites the model in place.

    The linear node keeps its name and now computes the last step's value. A step stays where
    its operand is read elsewhere too, or where a weight is no float constant.
    """
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    reads = Counter(name for node in graph.node for name in values_read(node))
    reads.update(value.name for value in graph.output)
    linears = {n.output[0]: n for n in graph.node if n.op_type in LINEAR and not n.domain}
    kept: list[onnx.NodeProto] = []
    for node in graph.node:
        affine = _affine(node, constants, types, reads)
        linear = linears.get(affine.operand) if affine else None
        if (
            affine is None
            or linear is None
            or reads[affine.operand] != 1
            or not _are_float(linear.input[1:], constants)
        ):
            kept.append(node)
            continue
        _fold(linear, affine, graph, constants)
        linear.output[0] = node.output[0]
        linears[node.output[0]] = linear
    replace_nodes(graph, kept)


def _are_float(names: Sequence[str], constants: Constants) -> bool:
    return all(n in constants and constants[n].data_type in FLOAT_ELEMENTS for n in names if n)


def _affine(
    node: onnx.NodeProto,
    constants: Constants,
    types: Mapping[str, ValueType],
    reads: Mapping[str, int],
) -> _Affine | None:
    """Return what the node does to each channel; None if it does something else."""
    if node.domain:
        return None
    if node.op_type == "BatchNormalization":
        return _batch_norm(node, constants, reads)
    if node.op_type in ("Add", "Mul"):
        return _one_constant(node, constants, types)
    return None


def _batch_norm(
    node: onnx.NodeProto, constants: Constants, reads: Mapping[str, int]
) -> _Affine | None:
    import numpy as np
    from onnx import numpy_helper

    attributes = {attribute.name: attribute for attribute in node.attribute}
    training = attributes["training_mode"].i if "training_mode" in attributes else 0
    if training or any(name in reads for name in node.output[1:]):
        return None
    if not _are_float(node.input[1:], constants):
        return None
    scale, shift, mean, variance = (
        numpy_helper.to_array(constants[name]).astype(np.float64) for name in node.input[1:5]
    )
    epsilon = attributes["epsilon"].f if "epsilon" in attributes else EPSILON
    factor = scale / np.sqrt(variance + epsilon)
    return _Affine(operand=node.input[0], factor=factor, offset=shift - mean * factor)


def _one_constant(
    node: onnx.NodeProto, constants: Constants, types: Mapping[str, ValueType]
) -> _Affine | None:
    """Return the step of an Add or Mul with a constant that differs along channels at most."""
    import numpy as np
    from onnx import numpy_helper

    names = sorted(node.input, key=lambda name: name in constants)
    if names[0] in constants or not _are_float(names[1:], constants):
        return None
    known = types.get(names[0])
    tensor = constants[names[1]]
    if known is None or known.shape is None or len(known.shape) < 2:
        return None
    channels = known.shape[1]
    padded = (1,) * (len(known.shape) - len(tensor.dims)) + tuple(tensor.dims)
    if len(padded) != len(known.shape) or padded[1] not in (1, channels):
        return None  # it has more axes than the operand
    if any(size != 1 for axis, size in enumerate(padded) if axis != 1):
        return None
    array = numpy_helper.to_array(tensor).astype(np.float64).reshape(-1)
    if node.op_type == "Mul":
        return _Affine(operand=names[0], factor=array, offset=np.zeros(1))
    return _Affine(operand=names[0], factor=np.ones(1), offset=array)


def _fold(
    linear: onnx.NodeProto, affine: _Affine, graph: onnx.GraphProto, constants: Constants
) -> None:
    """Give `linear` a new weight and a new bias, in place; the old ones may have other readers."""
    import numpy as np
    from onnx import helper, numpy_helper

    weight = numpy_helper.to_array(constants[linear.input[1]])
    bias_name = linear.input[2] if len(linear.input) > 2 else ""
    bias = numpy_helper.to_array(constants[bias_name]) if bias_name else np.zeros(1)
    attributes = {attribute.name: attribute for attribute in linear.attribute}
    beta = attributes["beta"].f if "beta" in attributes else 1.0
    if "beta" in attributes:
        attributes["beta"].CopyFrom(helper.make_attribute("beta", 1.0))
    factor = np.broadcast_to(affine.factor, (_channels(linear, weight.shape),))
    new_weight = weight.astype(np.float64) * _along_outputs(linear, factor, weight.shape)
    new_bias = bias.astype(np.float64) * beta * factor + affine.offset
    names = []
    for role, array in (("weight", new_weight), ("bias", new_bias)):
        name = unused_name(f"{linear.name}/{role}", constants)
        tensor = numpy_helper.from_array(array.astype(weight.dtype), name)
        graph.initializer.append(tensor)
        constants[name] = tensor
        names.append(name)
    operand = linear.input[0]
    del linear.input[:]
    linear.input.extend([operand, *names])


def _channels(linear: onnx.NodeProto, weight_shape: tuple[int, ...]) -> int:
    attributes = {attribute.name: attribute.i for attribute in linear.attribute}
    if linear.op_type == "Gemm":
        return weight_shape[0] if attributes.get("transB") else weight_shape[1]
    if linear.op_type == "Conv":
        return weight_shape[0]
    return weight_shape[1] * int(attributes.get("group", 1))


def _along_outputs(
    linear: onnx.NodeProto, factor: np.ndarray, weight_shape: tuple[int, ...]
) -> np.ndarray:
    """Return the factor per output channel in a shape that multiplies the weight.

    Conv: [O, I/g, ...]. ConvTranspose: [I, O/g, ...]. Gemm: [I, O], or [O, I] with transB.
    """
    import numpy as np

    attributes = {attribute.name: attribute.i for attribute in linear.attribute}
    if linear.op_type == "Gemm":
        return factor[:, None] if attributes.get("transB") else factor[None, :]
    image = [1] * (len(weight_shape) - 2)
    if linear.op_type == "Conv":
        return factor.reshape(-1, 1, *image)
    groups = attributes.get("group", 1)
    rows = np.repeat(factor.reshape(groups, -1), weight_shape[0] // groups, axis=0)
    return rows.reshape(*rows.shape, *image)
