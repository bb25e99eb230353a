"""Which nodes can compute in integers, and which values have to be 8 bits wide for that."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from compiler.onnx_import.macs import node_macs
from compiler.quantization.graph import Graph, attribute

if TYPE_CHECKING:
    import onnx

LINEAR = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
# They mix the values of their operands, and so are quantized only between quantized layers.
JOINS = frozenset(
    {"Add", "AveragePool", "Concat", "GlobalAveragePool", "Mul", "ReduceMean", "Resize", "Sub"}
)
# They move values or choose among them: scale and zero point are the same before and after.
MOVES = frozenset(
    {
        "DepthToSpace",
        "Flatten",
        "MaxPool",
        "Reshape",
        "Slice",
        "SpaceToDepth",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    }
)
# A quantizer does what they do by saturating, so they belong to the node before them.
ACTIVATIONS = frozenset({"Clip", "Relu"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Weight:
    """A constant operand, quantized along `axis`, or as a whole where that is None."""

    name: str
    axis: int | None
    bias: str | None  # its sums start from it: int32


@dataclass(frozen=True, kw_only=True, slots=True)
class Unit:
    """A node that computes in integers or in float, as the search decides.

    `operands` are the values that it reads as 8-bit integers; `result` is the value that it
    stores as such: behind the bias of a MatMul and an activation that saturation replaces.
    """

    name: str
    op_type: str
    operands: tuple[str, ...]
    weight: Weight | None
    result: str
    macs: int

    @property
    def is_join(self) -> bool:
        """Whether it has no products of its own, and is quantized for its neighbours' sake."""
        return self.op_type not in LINEAR


def find_units(graph: Graph) -> tuple[Unit, ...]:
    """Return what can be quantized, in the order of the graph.

    A join counts where each operand comes from another unit and some unit reads its result:
    elsewhere (a layer normalisation written out, a gate) two more roundings would gain nothing.
    """
    found = (_unit(node, graph) for node in graph.proto.graph.node)
    return without_idle_joins([unit for unit in found if unit is not None], graph)


def without_idle_joins(units: Collection[Unit], graph: Graph) -> tuple[Unit, ...]:
    """Return the units without joins that have float on one side: they would only round."""
    kept = list(units)
    while True:
        results = {unit.result for unit in kept}
        read = {source_of(value, graph) for unit in kept for value in unit.operands}
        used = [
            unit
            for unit in kept
            if not unit.is_join
            or (
                unit.result in read
                and all(source_of(value, graph) in results for value in unit.operands)
            )
        ]
        if len(used) == len(kept):
            return tuple(kept)
        kept = used


def source_of(value: str, graph: Graph) -> str:
    """Return the value that `value` is moved from, through any number of moves."""
    while (node := graph.producers.get(value)) is not None and is_move(node, graph):
        value = node.input[0]
    return value


def is_move(node: onnx.NodeProto, graph: Graph) -> bool:
    """Return whether the node moves float numbers, and its result is moved from operand 0."""
    return node.op_type in MOVES and not node.domain and graph.is_float(node.input[0])


def _unit(node: onnx.NodeProto, graph: Graph) -> Unit | None:
    """Return the node as a unit, None if it cannot compute in integers."""
    if node.domain or node.op_type not in LINEAR | JOINS:
        return None
    if not all(graph.is_float(name) for name in _float_operands(node)):
        return None
    if len(node.output) != 1 or not graph.is_float(node.output[0]):
        return None
    variable = tuple(n for n in _float_operands(node) if n not in graph.constants)
    weight = None
    if node.op_type in LINEAR:
        weight = _weight(node, graph)
        if weight is None and len(variable) != 2:
            return None
    elif len(variable) != len(_float_operands(node)):
        return None
    return Unit(
        name=node.name,
        op_type=node.op_type,
        operands=tuple(dict.fromkeys(variable)),
        weight=weight,
        result=_result(node, graph),
        macs=node_macs(node, graph.types),
    )


def _float_operands(node: onnx.NodeProto) -> list[str]:
    """Return the operands that hold the numbers: no shapes, axes, or biases."""
    if node.op_type == "Concat":
        return list(node.input)
    count = 2 if node.op_type in LINEAR | {"Add", "Mul", "Sub"} else 1
    return list(node.input[:count])


def _weight(node: onnx.NodeProto, graph: Graph) -> Weight | None:
    """Return the constant operand of a linear node, None if it has none that can be quantized."""
    name = node.input[1]
    bias = node.input[2] if len(node.input) > 2 and node.input[2] else None
    if name not in graph.constants or node.input[0] in graph.constants:
        return None
    if bias is not None and bias not in graph.constants:
        return None
    if node.op_type == "Gemm" and not _is_plain_gemm(node, graph, bias):
        return None
    return Weight(name=name, axis=_weight_axis(node, len(graph.shape(name))), bias=bias)


def _is_plain_gemm(node: onnx.NodeProto, graph: Graph, bias: str | None) -> bool:
    """Return whether it is ``x W + b`` with one b for each column: then b starts the sums."""
    factors = (attribute(node, "alpha", 1.0), attribute(node, "beta", 1.0))
    columns = graph.shape(node.output[0])[-1]
    return factors == (1.0, 1.0) and (bias is None or graph.shape(bias) == (columns,))


def _weight_axis(node: onnx.NodeProto, rank: int) -> int | None:
    """Return the axis of the output channels in a weight of that rank."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "Gemm":
        return 0 if attribute(node, "transB", 0) else 1
    if node.op_type == "ConvTranspose":
        return 1 if attribute(node, "group", 1) == 1 else None
    return 1 if rank == 2 else None


def _result(node: onnx.NodeProto, graph: Graph) -> str:
    value = str(node.output[0])
    if node.op_type == "MatMul":
        value = _behind_bias(value, graph)
    return _behind_activation(value, graph)


def _behind_bias(value: str, graph: Graph) -> str:
    """Return the value behind an Add of one constant for each column, else `value`."""
    reader = graph.only_reader(value)
    if reader is None or reader.domain or reader.op_type != "Add":
        return value
    other = next((name for name in reader.input if name != value), value)
    columns = graph.shape(value)[-1:]
    is_bias = other in graph.constants and graph.shape(other) == columns
    return str(reader.output[0]) if is_bias else value


def _behind_activation(value: str, graph: Graph) -> str:
    """Return the value behind a Relu or Clip that alone reads `value`, else `value`."""
    reader = graph.only_reader(value)
    if reader is None or reader.domain or reader.op_type not in ACTIVATIONS:
        return value
    if any(name not in graph.constants for name in reader.input[1:] if name):
        return value
    return str(reader.output[0])


def quantized_values(units: Collection[Unit], graph: Graph) -> dict[str, str]:
    """Return the values that are stored in 8 bits where these units compute in integers, each with
    the value whose range it takes, in the order of the graph.

    The result of a unit is among them also where only float nodes read it: backends take a
    node's arithmetic from the quantizer behind it.
    """
    wanted = {value for unit in units for value in (*unit.operands, unit.result)}
    origins: dict[str, str] = {}
    for value in wanted:
        origin = source_of(value, graph)
        while value != origin:
            origins[value] = origin
            value = graph.producers[value].input[0]
        origins[origin] = origin
    order = [value.name for value in graph.proto.graph.input]
    order += [name for node in graph.proto.graph.node for name in node.output]
    return {name: origins[name] for name in order if name in origins}
