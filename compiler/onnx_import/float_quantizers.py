"""Quantizers of a graph whose operands no target computes in integers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compiler.onnx_import.ports import quantization_of
from compiler.program import FloatQuantizer

if TYPE_CHECKING:
    from compiler.onnx_import.model import Model


def certain_float_quantizers(model: Model) -> tuple[FloatQuantizer, ...]:
    """Return what can be said without a target: quantizers that are not of 8 bits per tensor."""
    import onnx

    graph = model.proto.graph
    values = (*graph.value_info, *graph.output)
    kinds = {value.name: value.type.tensor_type.elem_type for value in values}
    small = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
    found = []
    for node in graph.node:
        reason = None
        if node.op_type == "QuantizeLinear":
            if kinds.get(node.output[0]) not in small:
                reason = "it quantizes not to 8 bits"
            elif quantization_of(graph, node) is None:
                reason = "its scale is computed, or there is one per channel"
        if reason is not None:
            found.append(FloatQuantizer(node=node.name, reason=reason))
    return tuple(found)
