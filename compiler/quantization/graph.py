"""A folded ONNX graph with an index: who makes each value, who reads it, what is constant."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compiler.onnx_import.infer import ValueType, infer_types
from compiler.onnx_import.names import values_read

if TYPE_CHECKING:
    import numpy as np
    import onnx

FLOAT = 1  # ONNX's element type float32


@dataclass(frozen=True, slots=True)
class Graph:
    """One graph and its index. The index does not follow later changes of `proto`."""

    proto: onnx.ModelProto
    types: Mapping[str, ValueType]
    constants: Mapping[str, onnx.TensorProto]
    producers: Mapping[str, onnx.NodeProto]
    readers: Mapping[str, tuple[onnx.NodeProto, ...]]  # once for each time it is read
    outputs: frozenset[str]

    def shape(self, value: str) -> tuple[int, ...]:
        """Return the static shape of a value, () if it is not known."""
        known = self.types.get(value)
        return known.shape if known is not None and known.shape is not None else ()

    def is_float(self, value: str) -> bool:
        """Return whether the value is float32, of known shape."""
        known = self.types.get(value)
        return known is not None and known.element == FLOAT and known.shape is not None

    def array(self, constant: str) -> np.ndarray:
        """Return a constant as an array."""
        from onnx import numpy_helper

        return numpy_helper.to_array(self.constants[constant])

    def only_reader(self, value: str) -> onnx.NodeProto | None:
        """Return the node that reads a value, None if there are several or it is an output."""
        readers = self.readers.get(value, ())
        return readers[0] if len(readers) == 1 and value not in self.outputs else None


def index_graph(proto: onnx.ModelProto) -> Graph:
    """Return the graph of a folded model with its index."""
    readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in proto.graph.node:
        for name in values_read(node):
            readers[name].append(node)
    return Graph(
        proto=proto,
        types=infer_types(proto),
        constants={tensor.name: tensor for tensor in proto.graph.initializer},
        producers={name: node for node in proto.graph.node for name in node.output if name},
        readers={name: tuple(nodes) for name, nodes in readers.items()},
        outputs=frozenset(value.name for value in proto.graph.output),
    )


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """Return the value of a node's attribute, `default` where it is not written."""
    from onnx import helper

    for entry in node.attribute:
        if entry.name == name:
            return helper.get_attribute_value(entry)
    return default
