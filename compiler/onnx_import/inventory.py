"""Count what is in a folded graph: operators, parameters, multiply-accumulates, memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING

from compiler.onnx_import.infer import ValueType
from compiler.onnx_import.macs import node_macs
from compiler.onnx_import.model import Inventory, OpCount
from compiler.onnx_import.names import subgraphs, values_read
from compiler.onnx_import.support import SHAPE_ALIASES, unsupported_nodes

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx


def take_inventory(model: onnx.ModelProto, types: Mapping[str, ValueType]) -> Inventory:
    """Return the counts of a folded graph whose values have these types."""
    nodes = model.graph.node
    counts = Counter((node.domain, node.op_type) for node in nodes)
    macs = {node.name: node_macs(node, types) for node in nodes}
    tensors = list(_initializers(model.graph))
    return Inventory(
        operators=tuple(
            OpCount(domain=domain, op_type=op_type, count=count)
            for (domain, op_type), count in sorted(
                counts.items(), key=lambda item: (-item[1], item[0][1], item[0][0])
            )
        ),
        unsupported=unsupported_nodes(model, types),
        parameter_count=sum(prod(tensor.dims) for tensor in tensors),
        weight_bytes=sum(_tensor_bytes(tensor.data_type, tuple(tensor.dims)) for tensor in tensors),
        mac_count=sum(macs.values()),
        node_macs={name: count for name, count in macs.items() if count},
        arena_bytes_estimate=_arena_bytes(model.graph, types),
    )


def _initializers(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Yield the constant tensors of a graph and of the graphs nested in it."""
    yield from graph.initializer
    for node in graph.node:
        yield from (a.t for a in node.attribute if a.name == "value" and a.HasField("t"))
        for nested in subgraphs(node):
            yield from _initializers(nested)


def _tensor_bytes(element: int, shape: tuple[int, ...]) -> int:
    """Return the bytes of a tensor as stored; int4 packs two to a byte. 0 for strings."""
    return (prod(shape) * ELEMENT_BITS.get(element, 0) + 7) // 8


def _arena_bytes(graph: onnx.GraphProto, types: Mapping[str, ValueType]) -> int:
    """Return the largest sum of live intermediates, every node a kernel of its own.

    Inputs, outputs, constants and what follows from constants alone take no arena; a reshape
    shares its operand's bytes.
    """
    outside = {value.name for value in (*graph.input, *graph.output)}
    constant = {tensor.name for tensor in graph.initializer}
    storage: dict[str, str] = {}  # value -> the value that owns its bytes
    last_read: dict[str, int] = {}
    for position, node in enumerate(graph.node):
        read = values_read(node)
        if constant.issuperset(read):
            constant.update(node.output)
            continue
        for name in read:
            last_read[storage.get(name, name)] = position
        for name in node.output:
            alias = node.op_type in SHAPE_ALIASES and not node.domain
            owner = storage.get(node.input[0], node.input[0]) if alias else name
            storage[name] = owner
            last_read.setdefault(owner, position)
    live = largest = 0
    ending: dict[int, int] = {}
    for position, node in enumerate(graph.node):
        for name in node.output:
            known = types.get(name)
            if storage.get(name) != name or name in outside or known is None or not known.shape:
                continue
            size = _tensor_bytes(known.element, known.shape)
            live += size
            ending[last_read[name]] = ending.get(last_read[name], 0) + size
        largest = max(largest, live)
        live -= ending.pop(position, 0)
    return largest


# ONNX element type -> bits as stored in a file.
ELEMENT_BITS: Mapping[int, int] = {
    1: 32,  # float
    2: 8,  # uint8
    3: 8,  # int8
    4: 16,  # uint16
    5: 16,  # int16
    6: 32,  # int32
    7: 64,  # int64
    9: 8,  # bool
    10: 16,  # float16
    11: 64,  # double
    12: 32,  # uint32
    13: 64,  # uint64
    14: 64,  # complex64
    15: 128,  # complex128
    16: 16,  # bfloat16
    17: 8,  # float8e4m3fn
    18: 8,  # float8e4m3fnuz
    19: 8,  # float8e5m2
    20: 8,  # float8e5m2fnuz
    21: 4,  # uint4
    22: 4,  # int4
    23: 4,  # float4e2m1
    24: 8,  # float8e8m0
}
