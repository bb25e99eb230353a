"""Weights of layers that can be changed channel by channel, and written back as a new model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from compiler.onnx_import.names import unused_name
from compiler.onnx_import.simplify import prune
from compiler.quantization.graph import Graph, attribute

if TYPE_CHECKING:
    import onnx


def is_adjustable(node: onnx.NodeProto, graph: Graph) -> bool:
    """Return whether a node has a float weight and bias of which each channel is known: a Conv,
    dense or depthwise, or a Gemm with one bias for each column."""
    if node.domain or node.op_type not in ("Conv", "Gemm"):
        return False
    constants = [name for name in node.input[1:] if name]
    if any(name not in graph.constants or not graph.is_float(name) for name in constants):
        return False
    if node.op_type == "Gemm":
        plain = not attribute(node, "transA", 0) and attribute(node, "beta", 1.0) == 1.0
        columns = graph.shape(node.output[0])[-1:]
        return plain and (len(constants) < 2 or graph.shape(constants[1]) == columns)
    return attribute(node, "group", 1) == 1 or graph.shape(node.input[1])[1] == 1


class LayerWeights:
    """Copies of the weights and biases that were asked for, in float64 until they are written."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._weights: dict[str, np.ndarray] = {}
        self._biases: dict[str, np.ndarray] = {}

    def weight(self, node: onnx.NodeProto) -> np.ndarray:
        """Return the node's weight as [channels in, channels out, taps], to be changed in place.

        A depthwise one is [channels, 1, taps of all results of the channel].
        """
        if node.name not in self._weights:
            self._weights[node.name] = self._graph.array(node.input[1]).astype(np.float64)
        return by_input(self._weights[node.name], node)

    def bias(self, node: onnx.NodeProto) -> np.ndarray:
        """Return the node's bias [channels out], or zeros, to be changed in place."""
        if node.name not in self._biases:
            given = len(node.input) > 2 and node.input[2]
            channels = self._graph.shape(node.output[0])[1]
            self._biases[node.name] = (
                self._graph.array(node.input[2]).astype(np.float64)
                if given
                else np.zeros(channels, np.float64)
            )
        return self._biases[node.name]

    def multiply_outputs(self, node: onnx.NodeProto, factors: np.ndarray) -> None:
        """Multiply weight and bias of each output channel."""
        weight = self.weight(node)
        if is_depthwise(node):
            weight *= factors.reshape(weight.shape[0], -1).repeat(
                weight.shape[2] * weight.shape[0] // factors.size, axis=1
            )[:, None, :]
        else:
            weight *= factors[None, :, None]
        self.bias(node)[...] *= factors

    def divide_inputs(self, node: onnx.NodeProto, factors: np.ndarray) -> None:
        """Divide the weights of each input channel."""
        self.weight(node)[...] /= factors[:, None, None]

    def model(self) -> onnx.ModelProto:
        """Return a copy of the model with the changed weights and biases."""
        import onnx

        model = onnx.ModelProto()
        model.CopyFrom(self._graph.proto)
        nodes = {node.name: node for node in model.graph.node}
        taken = set(self._graph.types)
        for name, array in self._weights.items():
            nodes[name].input[1] = _add(model, f"{name}/weight", array, taken)
        for name, array in self._biases.items():
            if len(nodes[name].input) < 3:
                if not array.any():
                    continue
                nodes[name].input.append("")
            nodes[name].input[2] = _add(model, f"{name}/bias", array, taken)
        prune(model)
        return model


def _add(model: onnx.ModelProto, wanted: str, array: np.ndarray, taken: set[str]) -> str:
    """Add a float32 constant and return its name."""
    from onnx import numpy_helper

    name = unused_name(wanted, taken)
    taken.add(name)
    model.graph.initializer.append(numpy_helper.from_array(array.astype(np.float32), name))
    return name


def is_depthwise(node: onnx.NodeProto) -> bool:
    """Return whether each result reads one input channel."""
    return node.op_type == "Conv" and attribute(node, "group", 1) != 1


def by_input(weight: np.ndarray, node: onnx.NodeProto) -> np.ndarray:
    """Return a view of a weight as [channels in, channels out, taps].

    Depthwise: [channels, 1, taps of all results of the channel], of which there may be several.
    """
    if node.op_type == "Gemm":
        return (weight.T if attribute(node, "transB", 0) else weight)[:, :, None]
    if is_depthwise(node):
        return weight.reshape(int(attribute(node, "group", 1)), 1, -1)
    return weight.reshape(weight.shape[0], weight.shape[1], -1).transpose(1, 0, 2)
