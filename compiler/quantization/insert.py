"""Write quantizers and dequantizers (QDQ form) around the units that compute in integers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np

from compiler.onnx_import.names import replace_nodes, unused_name
from compiler.onnx_import.simplify import prune
from compiler.quantization.graph import Graph
from compiler.quantization.ranges import Range
from compiler.quantization.scales import (
    QMAX,
    QMIN,
    QuantizedWeight,
    Scale,
    bias_scales,
    quantize_bias,
    quantize_weight,
    value_scale,
)
from compiler.quantization.units import ACTIVATIONS, Unit, is_move, quantized_values

if TYPE_CHECKING:
    import onnx


def insert_quantizers(
    graph: Graph,
    units: Collection[Unit],
    ranges: Mapping[str, Range],
    corrections: Mapping[str, np.ndarray] | None = None,
) -> onnx.ModelProto:
    """Return a copy of the model in which `units` read 8-bit integers and int8 weights.

    onnxruntime's own QDQ writer decides for each operator type; here each value is decided for
    itself. What a unit stores is 8 bits wide for all its readers; where a float node computes a
    value, other float nodes read it as it was before its quantizer.

    Args:
        ranges: lowest and highest number of each value that `quantized_values` names.
        corrections: by the name of a unit, what is added to its bias.
    """
    import onnx

    origins = quantized_values(units, graph)
    scales = {value: value_scale(*ranges[origin]) for value, origin in origins.items()}
    by_name = {unit.name: unit for unit in units}
    writer = _Writer(graph, scales, {unit.result for unit in units}, corrections or {})
    for value in graph.proto.graph.input:
        writer.quantize(value.name)
    for node in graph.proto.graph.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        unit = by_name.get(node.name)
        if unit is not None:
            writer.read_integers(copy, unit)
        else:
            writer.read_stored(copy, moves=is_move(node, graph) and node.output[0] in scales)
        writer.nodes.append(copy)
        for name in node.output:
            writer.quantize(name)
    return writer.model()


class _Writer:
    """The nodes and constants of the copy, as far as it is written."""

    def __init__(
        self,
        graph: Graph,
        scales: Mapping[str, Scale],
        results: Collection[str],
        corrections: Mapping[str, np.ndarray],
    ) -> None:
        self._graph = graph
        self._scales = scales
        self._results = results
        self._corrections = corrections
        self._taken = set(graph.types) | {node.name for node in graph.proto.graph.node}
        self._constants: list[onnx.TensorProto] = []
        self._arrays: dict[tuple[object, ...], str] = {}  # contents -> name
        self.nodes: list[onnx.NodeProto] = []
        self.dequantized: dict[str, str] = {}  # value -> what its pair makes of it
        self._quantized: dict[str, Scale] = {}  # what a quantizer reads -> its scale

    def quantize(self, value: str) -> None:
        """Append the pair of a value, if it is stored in 8 bits."""
        if value not in self._scales:
            return
        scale = self._scales[value]
        step = self._constant(f"{value}/scale", np.float32(scale.scale))
        zero = self._constant(f"{value}/zero_point", np.int8(scale.zero_point))
        real, after = value, f"{value}/dequantized"
        if value in self._results and value in self._graph.outputs:
            real, after = self._rename_last(value), value
        integers = self._append("QuantizeLinear", [real, step, zero], f"{value}/quantized")
        self.dequantized[value] = self._append("DequantizeLinear", [integers, step, zero], after)
        self._quantized[real] = scale

    def read_stored(self, node: onnx.NodeProto, *, moves: bool) -> None:
        """Let a float node read what units stored, in place; one that moves what is quantized
        behind it reads all operands so."""
        for position, name in enumerate(node.input):
            if name in self.dequantized and (name in self._results or (moves and position == 0)):
                node.input[position] = self.dequantized[name]

    def read_integers(self, node: onnx.NodeProto, unit: Unit) -> None:
        """Let a node read dequantized operands, weights and bias, in place."""
        for position, name in enumerate(node.input):
            if name in unit.operands:
                node.input[position] = self.dequantized[name]
        if unit.weight is None:
            return
        step = self._scales[unit.operands[0]].scale
        bias = None if unit.weight.bias is None else self._graph.array(unit.weight.bias)
        weight = quantize_weight(self._graph.array(unit.weight.name), unit.weight.axis, bias, step)
        node.input[1] = self._dequantize(self._own(unit.weight.name, node), weight)
        if unit.name in self._corrections:
            correction = self._corrections[unit.name]
            bias = correction if bias is None else bias + correction
        if bias is None:
            return
        start = QuantizedWeight(
            numbers=quantize_bias(bias, weight, step),
            scales=bias_scales(weight, step, bias.size),
            axis=0,
        )
        name = self._own(unit.weight.bias, node) if unit.weight.bias else f"{node.name}/bias"
        del node.input[2:]
        node.input.append(self._dequantize(name, start))

    def model(self) -> onnx.ModelProto:
        """Return the whole model."""
        import onnx

        model = onnx.ModelProto()
        model.CopyFrom(self._graph.proto)
        model.graph.initializer.extend(self._constants)
        replace_nodes(model.graph, self.nodes)
        _drop_saturated_activations(model, self._quantized)
        prune(model)
        return model

    def _rename_last(self, value: str) -> str:
        """Give the result of the last node another name, and return it."""
        name = self._name(f"{value}/real")
        outputs = self.nodes[-1].output
        outputs[list(outputs).index(value)] = name
        return name

    def _own(self, constant: str, reader: onnx.NodeProto) -> str:
        """Return a name for what is made of a constant for one reader."""
        alone = len(self._graph.readers[constant]) == 1
        return constant if alone else f"{reader.name}/{constant}"

    def _dequantize(self, name: str, weight: QuantizedWeight) -> str:
        """Append the dequantizer of a constant, and return its result."""
        zeros = np.zeros(weight.scales.shape, weight.numbers.dtype)
        operands = [
            self._constant(f"{name}/quantized", weight.numbers),
            self._constant(f"{name}/scale", weight.scales),
            self._constant(f"{name}/zero_point", zeros),
        ]
        return self._append("DequantizeLinear", operands, f"{name}/dequantized", axis=weight.axis)

    def _append(self, op_type: str, inputs: list[str], output: str, axis: int | None = None) -> str:
        """Append a node and return its result."""
        from onnx import helper

        verb = "quantize" if op_type == "QuantizeLinear" else "dequantize"
        name = self._name(
            f"{output.removesuffix('/quantized').removesuffix('/dequantized')}/{verb}"
        )
        result = output if output in self._graph.outputs else self._name(output)
        node = helper.make_node(op_type, inputs, [result], name=name)
        if axis is not None:
            node.attribute.append(helper.make_attribute("axis", axis))
        self.nodes.append(node)
        return result

    def _constant(self, wanted: str, array: np.ndarray | np.generic) -> str:
        """Add a constant, an array only once, and return its name."""
        from onnx import numpy_helper

        whole = np.asarray(array)
        key = (whole.dtype.str, whole.shape, whole.tobytes()) if whole.size > 1 else (wanted,)
        if key not in self._arrays:
            self._arrays[key] = self._name(wanted)
            self._constants.append(numpy_helper.from_array(whole, self._arrays[key]))
        return self._arrays[key]

    def _name(self, wanted: str) -> str:
        name = unused_name(wanted, self._taken)
        self._taken.add(name)
        return name


def _drop_saturated_activations(model: onnx.ModelProto, scales: Mapping[str, Scale]) -> None:
    """Remove each Relu or Clip that its quantizer does anyway by saturating, in place."""
    graph = model.graph
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    fixed = {value.name for value in graph.output}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    kept = []
    for node in graph.node:
        result = node.output[0] if node.output else ""
        after = readers.get(result, [])
        if (
            node.op_type in ACTIVATIONS
            and result in scales
            and result not in fixed
            and [reader.op_type for reader in after] == ["QuantizeLinear"]
            and _saturates(node, scales[result], constants)
        ):
            after[0].input[0] = node.input[0]
            continue
        kept.append(node)
    replace_nodes(graph, kept)


def _saturates(
    node: onnx.NodeProto, scale: Scale, constants: Mapping[str, onnx.TensorProto]
) -> bool:
    """Return whether the activation's limits are at or beyond the ends of the int8 range."""
    from onnx import numpy_helper

    low, high = (0.0, np.inf) if node.op_type == "Relu" else (-np.inf, np.inf)
    limits = [numpy_helper.to_array(constants[n]).item() if n else None for n in node.input[1:3]]
    if limits and limits[0] is not None:
        low = limits[0]
    if len(limits) > 1 and limits[1] is not None:
        high = limits[1]
    ends = np.rint(np.array([low, high]) / scale.scale) + scale.zero_point
    return bool(ends[0] <= QMIN and ends[1] >= QMAX)
