"""Bring a graph to operators that the importer knows: raise old opsets, expand functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from compiler.errors import ModelError
from compiler.onnx_import.names import all_nodes, name_nodes
from compiler.onnx_import.support import operator_reason

if TYPE_CHECKING:
    import onnx

# TVM's importer implements the definitions of opset 11 and later (opset 10 and older give the
# operands of Slice, Pad, Clip, TopK and Resize otherwise). Later versions of the operators it
# knows add attributes only, or are implemented too, so that newer opsets stay as they are.
OLDEST_IMPORTED_OPSET = 11

# Shape inference expands these itself and fails where an attribute is left to its default.
NEED_DEFAULTS = frozenset({"MeanVarianceNormalization"})

# Function bodies call functions in turn: Attention is three deep in opset 25.
FUNCTION_DEPTH = 8


def main_opset(model: onnx.ModelProto) -> int:
    """Return the version of the standard ONNX operators that the model uses."""
    return next(int(entry.version) for entry in model.opset_import if not entry.domain)


def raise_opset(model: onnx.ModelProto, oldest: int = OLDEST_IMPORTED_OPSET) -> onnx.ModelProto:
    """Return the model with opset `oldest` or later.

    A graph with operators outside ONNX cannot be converted and is returned as it is: it will be
    refused by their names.

    Raises:
        ModelError: the onnx package cannot convert the graph.
    """
    import onnx.version_converter

    old = main_opset(model)
    if old >= oldest:
        return model
    if any(node.domain or not onnx.defs.has(node.op_type) for node in all_nodes(model.graph.node)):
        return model
    try:
        out = onnx.version_converter.convert_version(model, oldest)
    except (onnx.version_converter.ConvertError, RuntimeError) as cause:
        raise ModelError(
            f"opset {old} cannot be converted to opset {oldest}",
            why=str(cause).strip().splitlines()[0],
            fix=f"export the model with opset {oldest} or later",
        ) from cause
    name_nodes(out.graph.node)
    return out


def expand_functions(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with operators that the importer lacks, but that ONNX defines by simpler
    operators (Celu, Swish, RotaryEmbedding, ...), written out.

    The node that computes the operator's result keeps its name, the others begin with it.
    """
    import onnx.inliner

    refused: set[str] = set()
    for _ in range(FUNCTION_DEPTH):
        opset = main_opset(model)
        for node in model.graph.node:
            if _is_expandable(node, opset) or node.op_type in NEED_DEFAULTS:
                _write_defaults(node, opset)
        names = {node.op_type for node in model.graph.node if _is_expandable(node, opset)}
        if not names - refused:
            break
        owners = {o: node.name for node in model.graph.node for o in node.output if o}
        for name in sorted(names - refused):
            try:
                model = onnx.inliner.inline_selected_functions(
                    model, [("", name)], exclude=False, inline_schema_functions=True
                )
            except RuntimeError:  # the inliner of onnx 1.23 wants types of operands left out
                refused.add(name)
        _name_after_owners(model, owners)
    return model


def _is_expandable(node: onnx.NodeProto, opset: int) -> bool:
    import onnx

    if node.domain or not onnx.defs.has(node.op_type):
        return False
    if operator_reason(node.domain, node.op_type) is None:
        return False
    schema: Any = onnx.defs.get_schema(node.op_type, opset, "")  # its stubs lack both below
    return bool(schema.has_function or schema.has_context_dependent_function)


def _write_defaults(node: onnx.NodeProto, opset: int) -> None:
    """Give the node the attributes that have a default, in place.

    The inliner of onnx 1.23 leaves a reference to an attribute that is not written (Swish).
    """
    import onnx

    written = {attribute.name for attribute in node.attribute}
    schema = onnx.defs.get_schema(node.op_type, opset, "")
    for name, attribute in sorted(schema.attributes.items()):
        default = attribute.default_value
        if name not in written and default.type != onnx.AttributeProto.UNDEFINED:
            node.attribute.add().CopyFrom(default)


def _name_after_owners(model: onnx.ModelProto, owners: dict[str, str]) -> None:
    """Name the nodes of expanded bodies, in place; a body stands where its node stood."""
    pending: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.name:
            continue
        pending.append(node)
        owner = next((owners[o] for o in node.output if o in owners), None)
        if owner is not None:
            for position, inner in enumerate(pending[:-1]):
                inner.name = f"{owner}/{inner.op_type}_{position}"
            node.name = owner
            pending = []
    name_nodes(model.graph.node)
