"""Types and static shapes of every value, by ONNX shape inference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from compiler.errors import ModelError

if TYPE_CHECKING:
    import onnx

# Larger constants are weights. Inference needs only shape operands, which are small; leaving
# weights out saves copying and parsing them in every round of folding.
SHAPE_OPERAND_ELEMENTS = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class ValueType:
    """What is known of a value: the ONNX element type (0: none) and the shape, if static."""

    element: int
    shape: tuple[int, ...] | None


def infer_types(model: onnx.ModelProto) -> dict[str, ValueType]:
    """Return the types of all values of the main graph: inputs, constants and results.

    Raises:
        ModelError: shapes do not fit together, so that one cannot be inferred.
    """
    import onnx

    skeleton = _skeleton(model)
    try:
        inferred = _infer(skeleton, strict=True)
        types = _types(inferred)
    except onnx.shape_inference.InferenceError as cause:
        types = _lenient_types(skeleton)
        # Strict mode also rejects some sound graphs; only what stays unknown is an error.
        if _first_broken(model, types) is not None:
            raise _mismatch(str(cause)) from cause
    types |= {
        tensor.name: ValueType(element=tensor.data_type, shape=tuple(tensor.dims))
        for tensor in model.graph.initializer
    }
    return types


def _infer(skeleton: onnx.ModelProto, *, strict: bool) -> onnx.ModelProto:
    import onnx

    return onnx.shape_inference.infer_shapes(skeleton, strict_mode=strict, data_prop=True)


def _lenient_types(skeleton: onnx.ModelProto) -> dict[str, ValueType]:
    import onnx

    try:
        return _types(_infer(skeleton, strict=False))
    except onnx.shape_inference.InferenceError as cause:
        raise _mismatch(str(cause)) from cause


def _mismatch(text: str) -> ModelError:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return ModelError(
        "the shapes of the model do not fit together",
        why=next((line for line in lines if "node" in line.lower()), lines[0] if lines else "?"),
        fix="check the sizes given with --shape; the model may need a multiple of 32, or "
        "a fixed size",
    )


def _first_broken(model: onnx.ModelProto, types: Mapping[str, ValueType]) -> str | None:
    """Return the first node whose inputs have shapes and whose results have not."""
    known = {name for name, kind in types.items() if kind.shape is not None}
    known.update(tensor.name for tensor in model.graph.initializer)
    for node in model.graph.node:
        if known.issuperset(filter(None, node.input)) and not known.issuperset(
            filter(None, node.output)
        ):
            return str(node.name)
    return None


def _skeleton(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with weights turned into inputs and without declared results."""
    import onnx

    graph = model.graph
    out = onnx.ModelProto(ir_version=model.ir_version)
    out.opset_import.extend(model.opset_import)
    out.graph.name = "skeleton"
    out.graph.node.extend(graph.node)
    out.graph.input.extend(graph.input)
    for tensor in graph.initializer:
        if prod(tensor.dims) <= SHAPE_OPERAND_ELEMENTS:
            out.graph.initializer.append(tensor)
        else:
            out.graph.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    for value in graph.output:
        out.graph.output.append(onnx.ValueInfoProto(name=value.name))
        # The element type is a fact, the shape may be a stale symbol.
        out.graph.output[-1].type.CopyFrom(value.type)
        if value.type.HasField("tensor_type"):
            out.graph.output[-1].type.tensor_type.ClearField("shape")
    return out


def _types(model: onnx.ModelProto) -> dict[str, ValueType]:
    graph = model.graph
    return {
        value.name: _value_type(value)
        for value in (*graph.value_info, *graph.output, *graph.input)
        if value.type.WhichOneof("value")
    }


def _value_type(value: onnx.ValueInfoProto) -> ValueType:
    tensor = value.type.tensor_type
    if not value.type.HasField("tensor_type"):
        return ValueType(element=0, shape=None)
    if not tensor.HasField("shape"):
        return ValueType(element=tensor.elem_type, shape=None)
    dims = tensor.shape.dim
    static = all(dim.HasField("dim_value") for dim in dims)
    shape = tuple(dim.dim_value for dim in dims) if static else None
    return ValueType(element=tensor.elem_type, shape=shape)


def declare_results(model: onnx.ModelProto, types: Mapping[str, ValueType]) -> None:
    """Write every known result to value_info, and declare the outputs' shapes, in place."""
    import onnx

    graph = model.graph
    outputs = {value.name for value in graph.output}
    del graph.value_info[:]
    for name in results(graph.node):
        known = types.get(name)
        if known is not None and known.shape is not None and name not in outputs:
            graph.value_info.append(
                onnx.helper.make_tensor_value_info(name, known.element, known.shape)
            )
    declare_outputs(model, types)


def declare_outputs(model: onnx.ModelProto, types: Mapping[str, ValueType]) -> None:
    """Declare the type and shape of every output that is known, in place."""
    import onnx

    for value in model.graph.output:
        known = types.get(value.name)
        if known is not None and known.shape is not None:
            value.CopyFrom(
                onnx.helper.make_tensor_value_info(value.name, known.element, known.shape)
            )


def results(nodes: Iterable[onnx.NodeProto]) -> list[str]:
    """Return the names of what the nodes compute, in order."""
    return [name for node in nodes for name in node.output if name]
