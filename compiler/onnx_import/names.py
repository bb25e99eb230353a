"""Names: a C identifier for the model, a unique name for every node, renaming of values."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

# C99 keywords; a model called `int.onnx` would give a header that does not compile.
C_KEYWORD_TEXT = """
auto break case char const continue default do double else enum extern float for goto if inline int
long register restrict return short signed sizeof static struct switch typedef union unsigned void
volatile while
"""
C_KEYWORDS = frozenset(C_KEYWORD_TEXT.split())


def c_identifier(text: str) -> str:
    """Return ``text`` as a lower-case C identifier: ``MobileNet-v2 (1)`` -> ``mobilenet_v2_1``."""
    name = re.sub(r"[^0-9a-z]+", "_", text.lower()).strip("_")
    if not name or name[0].isdigit() or name in C_KEYWORDS:
        return f"model_{name}".rstrip("_")
    return name


def nearest(name: str, known: Collection[str]) -> str:
    """Return a hint for a misspelt name: the nearest known one, or all of them."""
    close = difflib.get_close_matches(name, sorted(known), n=1)
    if close:
        return f"did you mean `{close[0]}`?"
    return f"use one of: {', '.join(f'`{k}`' for k in sorted(known))}" if known else "there is none"


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Yield the graphs that a control-flow node carries."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def all_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Yield the nodes and, after each, those of the graphs nested in it."""
    for node in nodes:
        yield node
        for graph in subgraphs(node):
            yield from all_nodes(graph.node)


def values_read(node: onnx.NodeProto) -> list[str]:
    """Return the values that a node reads, those captured by its subgraphs included."""
    read = [name for name in node.input if name]
    for graph in subgraphs(node):
        inner = {i.name for i in graph.initializer} | {i.name for i in graph.input}
        for child in graph.node:
            read += [name for name in values_read(child) if name not in inner]
            inner.update(child.output)
        read += [output.name for output in graph.output if output.name not in inner]
    return read


def rename_values(nodes: Iterable[onnx.NodeProto], new_names: Mapping[str, str]) -> None:
    """Rename values in place, in inputs, outputs and nested graphs.

    ONNX forbids a nested graph to reuse a name of the graph around it, so no scope is tracked.
    """
    for node in nodes:
        for names in (node.input, node.output):
            for position, name in enumerate(names):
                names[position] = new_names.get(name, name)
        for graph in subgraphs(node):
            rename_values(graph.node, new_names)
            for value in (*graph.output, *graph.initializer):
                value.name = new_names.get(value.name, value.name)


def name_nodes(nodes: Iterable[onnx.NodeProto]) -> None:
    """Give every node a unique, non-empty name, in place; the user's names are kept.

    A node without a name becomes ``Conv_12``, its position in the graph; the second node of one
    name gets its position as a suffix.
    """
    listed = list(nodes)
    taken = {node.name for node in listed if node.name}
    seen: set[str] = set()
    for position, node in enumerate(listed):
        if node.name and node.name not in seen:
            seen.add(node.name)
            continue
        name = f"{node.name or node.op_type}_{position}"
        while name in taken:
            name += "_"
        node.name = name
        taken.add(name)
        seen.add(name)


def replace_nodes(graph: onnx.GraphProto, nodes: Iterable[onnx.NodeProto]) -> None:
    """Make these the nodes of the graph, in place."""
    listed = list(nodes)
    del graph.node[:]
    graph.node.extend(listed)


def unused_name(wanted: str, taken: Collection[str]) -> str:
    """Return ``wanted``, with a number behind it where that name is taken."""
    name, number = wanted, 1
    while name in taken:
        name, number = f"{wanted}_{number}", number + 1
    return name
