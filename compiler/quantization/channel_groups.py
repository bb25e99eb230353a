"""Values whose channels can be multiplied by one factor each without changing the model."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from compiler.quantization.graph import Graph, attribute
from compiler.quantization.layer_weights import is_adjustable
from compiler.quantization.units import ACTIVATIONS

if TYPE_CHECKING:
    import onnx

# y = f(x) with f(s x) = s f(x) for s > 0, channel by channel: the factor passes through.
PASSING = frozenset(
    {"AveragePool", "GlobalAveragePool", "GlobalMaxPool", "LeakyRelu", "MaxPool", "Relu"}
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ChannelGroup:
    """Values [N, channels, ...] that share one factor for each channel.

    `stored` are those that may be quantized: an activation alone does not read them. The layers
    in `writers` compute the values, those in `readers` read them; `limit` is the smallest upper
    bound of a Clip on the way, infinity if there is none.
    """

    values: tuple[str, ...]
    stored: tuple[str, ...]
    writers: tuple[str, ...]
    readers: tuple[str, ...]
    limit: float


def find_groups(graph: Graph) -> tuple[ChannelGroup, ...]:
    """Return all groups, in the order of their first value.

    Values on both sides of an addition share their factors. A group that reaches an input, an
    output or any other operator is left out: it would change what that reads.
    """
    joined = _Joined()
    for node in graph.proto.graph.node:
        for other in _tied(node, graph):
            joined.join(node.output[0], other)
    members: dict[str, list[str]] = defaultdict(list)
    for node in graph.proto.graph.node:
        for name in node.output:
            members[joined.root(name)].append(name)
    groups = (_group(values, graph) for values in members.values())
    return tuple(group for group in groups if group is not None)


class _Joined:
    """Sets of values that grow together."""

    def __init__(self) -> None:
        self._parents: dict[str, str] = {}

    def root(self, name: str) -> str:
        while (parent := self._parents.get(name)) is not None:
            name = parent
        return name

    def join(self, one: str, other: str) -> None:
        first, second = self.root(one), self.root(other)
        if first != second:
            self._parents[second] = first


def _tied(node: onnx.NodeProto, graph: Graph) -> list[str]:
    """Return the operands that have the factors of the node's result."""
    if node.domain or not node.output or not graph.is_float(node.output[0]):
        return []
    if node.op_type in PASSING or _is_clip_from_zero(node, graph):
        return [node.input[0]]
    if node.op_type == "Add" and not any(name in graph.constants for name in node.input):
        same = graph.shape(node.input[0]) == graph.shape(node.input[1])
        return list(node.input) if same else []
    if node.op_type == "ReduceMean" and 1 not in _axes(node, graph):
        return [node.input[0]] if _keeps_channels(node, graph) else []
    if node.op_type in ("Reshape", "Flatten", "Squeeze") and _keeps_channels(node, graph):
        return [node.input[0]]
    return []


def _keeps_channels(node: onnx.NodeProto, graph: Graph) -> bool:
    """Return whether axis 1 holds the same channels before and after, with images gone or 1."""
    before, after = graph.shape(node.input[0]), graph.shape(node.output[0])
    if len(before) < 2 or len(after) < 2 or before[:2] != after[:2]:
        return False
    return node.op_type == "ReduceMean" or before[2:] == after[2:] or np.prod(before[2:]) == 1


def _axes(node: onnx.NodeProto, graph: Graph) -> list[int]:
    """Return the axes of a reduction, counted from the front; 1 among them if unknown."""
    rank = len(graph.shape(node.input[0]))
    axes = attribute(node, "axes", None)
    if axes is None and len(node.input) > 1 and node.input[1] in graph.constants:
        axes = graph.array(node.input[1]).tolist()
    return [1] if not axes else [axis % rank for axis in axes]


def _is_clip_from_zero(node: onnx.NodeProto, graph: Graph) -> bool:
    if node.op_type != "Clip" or len(node.input) < 2 or not node.input[1]:
        return False
    if any(name not in graph.constants for name in node.input[1:] if name):
        return False
    return float(graph.array(node.input[1]).item()) == 0.0


def clip_limit(node: onnx.NodeProto, graph: Graph) -> float:
    """Return the upper bound of a Clip."""
    given = len(node.input) > 2 and node.input[2]
    return float(graph.array(node.input[2]).item()) if given else np.inf


def _group(values: list[str], graph: Graph) -> ChannelGroup | None:
    """Return the group of these values, None if something else reads or writes one of them."""
    inside = set(values)
    writers, readers, limit = [], [], np.inf
    for name in values:
        if name in graph.outputs or len(graph.shape(name)) < 2 or not graph.is_float(name):
            return None
        node = graph.producers[name]
        if is_adjustable(node, graph):
            writers.append(node.name)
        elif not inside.issuperset(_tied(node, graph)) or not _tied(node, graph):
            return None
        if node.op_type == "Clip":
            limit = min(limit, clip_limit(node, graph))
        for reader in graph.readers.get(name, ()):
            if reader.output[0] in inside and name in _tied(reader, graph):
                continue
            if name != reader.input[0] or not is_adjustable(reader, graph):
                return None
            readers.append(reader.name)
    if not writers or not readers:
        return None
    return ChannelGroup(
        values=tuple(values),
        stored=tuple(name for name in values if not _is_activated(name, graph)),
        writers=tuple(writers),
        readers=tuple(readers),
        limit=limit,
    )


def _is_activated(name: str, graph: Graph) -> bool:
    reader = graph.only_reader(name)
    return reader is not None and reader.op_type in ACTIVATIONS
