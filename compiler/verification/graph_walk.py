"""Questions about the ONNX graph that decide inputs and tolerances."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx

QUANTIZER = "QuantizeLinear"
DEQUANTIZER = "DequantizeLinear"

# Elements are moved or chosen, never computed: what holds for the input's values holds for these.
MOVES = frozenset(
    (
        *("Cast", "Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "Identity", "MaxPool"),
        *("Pad", "Relu", "Reshape", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile"),
        *("Transpose", "Unsqueeze"),
    )
)


class GraphWalk:
    """Who produces and who reads each value of a folded graph."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        graph = proto.graph
        self.producer = {name: node for node in graph.node for name in node.output if name}
        self.consumers: dict[str, list[tuple[onnx.NodeProto, int]]] = defaultdict(list)
        for node in graph.node:
            for position, name in enumerate(node.input):
                self.consumers[name].append((node, position))
        self._initializers = {tensor.name: tensor for tensor in graph.initializer}
        self._inputs = {value.name for value in graph.input} - set(self._initializers)

    def constant(self, name: str) -> np.ndarray | None:
        """Return the elements of an initializer or Constant node; None for a computed value."""
        from onnx import numpy_helper

        if name in self._initializers:
            return numpy_helper.to_array(self._initializers[name])
        node = self.producer.get(name)
        if node is not None and node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value":
                    return numpy_helper.to_array(attribute.t)
        return None

    def depends_on_input(self, name: str) -> bool:
        """Whether any model input reaches this value."""
        read = (source for node in self._nodes_upstream(name) for source in node.input)
        return name in self._inputs or any(source in self._inputs for source in read)

    def quantizes(self, node: onnx.NodeProto) -> bool:
        """Whether a node is a (de)quantizer of activations, not of weights."""
        if node.op_type not in (QUANTIZER, DEQUANTIZER):
            return False
        return self.constant(node.input[0]) is None

    @property
    def has_quantizers(self) -> bool:
        return any(
            node.op_type == QUANTIZER and self.quantizes(node) for node in self.producer.values()
        )

    def quantum(self, name: str) -> float | None:
        """Return the scale of the nearest quantizer upstream of a value; None if there is none."""
        nearest = next(filter(self.quantizes, self._nodes_upstream(name)), None)
        return None if nearest is None else self._scale(nearest)

    def rounding_quantum(self, name: str, inputs: frozenset[str]) -> float | None:
        """Return the nearest quantizer's scale if values are rounded between inputs and a value.

        Args:
            inputs: values that are given; nothing upstream of them counts.
        """
        between = list(filter(self.quantizes, self._nodes_upstream(name, inputs)))
        if not any(node.op_type == QUANTIZER for node in between):
            return None
        return self._scale(between[0])

    def _scale(self, node: onnx.NodeProto) -> float | None:
        scale = self.constant(node.input[1])
        return None if scale is None else float(np.max(np.abs(scale)))

    def _nodes_upstream(
        self, name: str, stop: frozenset[str] = frozenset()
    ) -> Iterator[onnx.NodeProto]:
        """Yield the nodes that a value is computed by, nearest first."""
        seen, frontier = {name}, [name]
        while frontier:
            following = []
            for value in frontier:
                node = self.producer.get(value)
                if node is None:
                    continue
                yield node
                new = [source for source in node.input if source not in seen | stop]
                seen.update(new)
                following += new
            frontier = following

    def is_quantized_integer(self, name: str) -> bool:
        """Whether an integer value is a quantizer's result, perhaps moved since."""
        node = self.producer.get(name)
        while node is not None and node.op_type in MOVES and node.op_type != "Cast":
            node = self.producer.get(node.input[0])
        return node is not None and node.op_type == QUANTIZER

    def readers(self, name: str) -> Iterator[tuple[onnx.NodeProto, int]]:
        """Yield (node, input position) of all that read a value, also after it was moved."""
        seen, frontier = {name}, [name]
        while frontier:
            value = frontier.pop(0)
            for node, position in self.consumers.get(value, ()):
                yield node, position
                if node.op_type in MOVES and position == 0:
                    new = [output for output in node.output if output not in seen]
                    seen.update(new)
                    frontier += new
