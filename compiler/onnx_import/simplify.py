"""Remove nodes that do nothing, and choose the branch of an If whose condition is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from compiler.onnx_import.infer import ValueType
from compiler.onnx_import.names import (
    name_nodes,
    rename_values,
    replace_nodes,
    subgraphs,
    unused_name,
    values_read,
)

if TYPE_CHECKING:
    import onnx

# With one operand these return it; the shape operators do when the shape does not change.
SINGLE_OPERAND = frozenset({"Concat", "Max", "Mean", "Min", "Sum"})
SHAPE_OPERATORS = frozenset({"Expand", "Flatten", "Reshape", "Squeeze", "Tile", "Unsqueeze"})


def remove_no_ops(model: onnx.ModelProto, types: Mapping[str, ValueType]) -> None:
    """Remove Identity, Dropout and other nodes whose result is their input, in place."""
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    fixed = constants.keys() | {value.name for value in graph.input}
    outputs = {value.name for value in graph.output}
    read = {name for node in graph.node for name in values_read(node)} | outputs
    kept: list[onnx.NodeProto] = []
    renamed: dict[str, str] = {}
    for node in graph.node:
        rename_values([node], renamed)
        if not _does_nothing(node, types, constants, read):
            kept.append(node)
            continue
        source, result = node.input[0], node.output[0]
        if result not in outputs:
            renamed[result] = source
        elif source not in fixed and source not in outputs:
            rename_values(kept, {source: result})  # the output's name is the caller's
            renamed = {old: result if new == source else new for old, new in renamed.items()}
            renamed[source] = result
        else:
            kept.append(node)  # an input, a constant or another output, handed out as it is
    replace_nodes(graph, kept)


def _does_nothing(
    node: onnx.NodeProto,
    types: Mapping[str, ValueType],
    constants: Mapping[str, onnx.TensorProto],
    read: set[str],
) -> bool:
    """Return whether the first output is the first input, and is the only one that is read."""
    if node.domain or not node.input or any(name in read for name in node.output[1:]):
        return False
    source, result = types.get(node.input[0]), types.get(node.output[0])
    if node.op_type == "Identity":
        return True
    if node.op_type == "Dropout":
        return len(node.input) < 3 or not node.input[2] or _is_false(constants.get(node.input[2]))
    if node.op_type in SINGLE_OPERAND:
        return len(node.input) == 1
    if source is None or result is None or result.shape is None or source.shape != result.shape:
        return False
    if node.op_type == "Cast":
        return source.element == result.element != 0
    if node.op_type == "Transpose":
        order = [i for a in node.attribute if a.name == "perm" for i in a.ints]
        return order == sorted(order) and (bool(order) or len(result.shape) < 2)
    return node.op_type in SHAPE_OPERATORS


def _is_false(tensor: onnx.TensorProto | None) -> bool:
    from onnx import numpy_helper

    return tensor is not None and not numpy_helper.to_array(tensor).any()


def choose_branches(model: onnx.ModelProto) -> None:
    """Replace each If of constant condition by the branch it takes, in place."""
    import onnx
    from onnx import numpy_helper

    graph = model.graph
    conditions = {t.name: t for t in graph.initializer if t.data_type == onnx.TensorProto.BOOL}
    taken = _all_names(graph)
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.domain or node.op_type != "If" or node.input[0] not in conditions:
            nodes.append(node)
            continue
        condition = bool(numpy_helper.to_array(conditions[node.input[0]]).reshape(-1)[0])
        wanted = "then_branch" if condition else "else_branch"
        branch = next(a.g for a in node.attribute if a.name == wanted)
        _inline(branch, node, graph, nodes, taken)
    name_nodes(nodes)
    replace_nodes(graph, nodes)


def _inline(
    branch: onnx.GraphProto,
    node: onnx.NodeProto,
    graph: onnx.GraphProto,
    nodes: list[onnx.NodeProto],
    taken: set[str],
) -> None:
    """Append the branch's nodes to `nodes` and its constants to `graph`; names stay if free."""
    import onnx

    own = [t.name for t in branch.initializer] + [o for n in branch.node for o in n.output if o]
    new_names: dict[str, str] = {}
    for name in own:
        if name in taken:
            new_names[name] = unused_name(f"{node.name}/{name}", taken)
        taken.add(new_names.get(name, name))
    rename_values(branch.node, new_names)
    for tensor in branch.initializer:
        tensor.name = new_names.get(tensor.name, tensor.name)
        graph.initializer.append(tensor)
    nodes.extend(branch.node)
    for inner, outer in zip(branch.output, node.output, strict=True):
        source = new_names.get(inner.name, inner.name)
        nodes.append(
            onnx.helper.make_node("Identity", [source], [outer], name=f"{node.name}/{outer}")
        )


def _all_names(graph: onnx.GraphProto) -> set[str]:
    names = {value.name for value in (*graph.input, *graph.initializer)}
    return names | {name for node in graph.node for name in node.output}


def prune(model: onnx.ModelProto) -> None:
    """Remove nodes, optional results, constants and domains that nothing reads, in place."""
    graph = model.graph
    read = {value.name for value in graph.output}
    kept: list[onnx.NodeProto] = []
    for node in reversed(graph.node):
        if read.intersection(node.output):
            _drop_unread_results(node, read)
            read.update(values_read(node))
            kept.append(node)
    replace_nodes(graph, reversed(kept))
    for position in reversed(range(len(graph.initializer))):
        if graph.initializer[position].name not in read:
            del graph.initializer[position]
    domains = _domains(kept) | {""}
    imports = [entry for entry in model.opset_import if entry.domain in domains]
    del model.opset_import[:]
    model.opset_import.extend(imports)


def _drop_unread_results(node: onnx.NodeProto, read: set[str]) -> None:
    """Remove optional results at the end of the list that nothing reads: masks, places."""
    import onnx

    if node.domain or not onnx.defs.has(node.op_type):
        return
    formal = onnx.defs.get_schema(node.op_type).outputs
    optional = onnx.defs.OpSchema.FormalParameterOption.Optional
    while node.output[-1] not in read and len(node.output) <= len(formal):
        if formal[len(node.output) - 1].option != optional:
            break
        del node.output[-1]


def _domains(nodes: list[onnx.NodeProto]) -> set[str]:
    found = {node.domain for node in nodes}
    for node in nodes:
        for graph in subgraphs(node):
            found |= _domains(list(graph.node))
    return found
