"""Fold constants: what depends on no input is computed once, by onnxruntime.

onnxruntime's own graph optimization is not used. At its lowest level it rewrites MatMul + Add
into Gemm between reshapes, duplicates DequantizeLinear nodes, surrounds float16 kernels with
Cast, and refuses graphs with an operator that it does not know; names would be lost with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from compiler.onnx_import.infer import ValueType
from compiler.onnx_import.names import replace_nodes, subgraphs, values_read

if TYPE_CHECKING:
    import onnx

Tensors = dict[str, "onnx.TensorProto"]

# DequantizeLinear stays: integer kernels need the stored integers and their scales.
NEVER_FOLDED = frozenset(
    {
        "Bernoulli",
        "DequantizeLinear",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    }
)

# ONNX element types that NumPy has too: float, integers, bool, float16, double.
NUMPY_ELEMENTS = frozenset({1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13})


def fold_constants(model: onnx.ModelProto, types: Mapping[str, ValueType]) -> None:
    """Make everything that follows from constants alone an initializer, in place.

    An initializer keeps the name of the value it replaces. Nodes that are no longer read stay.
    """
    constants: Tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    literals = _literals(model, types)
    constants |= literals
    nodes = [node for node in model.graph.node if not set(node.output) & literals.keys()]
    computable = _computable(nodes, constants, types)
    positions = set(computable)
    wanted = {value.name for value in model.graph.output}
    for position, node in enumerate(nodes):
        if position not in positions:
            wanted.update(values_read(node))
    computed = _evaluate(model, [nodes[i] for i in computable], constants, types, wanted)
    model.graph.initializer.extend((literals | computed).values())
    kept = [node for node in nodes if not set(node.output) & computed.keys()]
    replace_nodes(model.graph, kept)


def _literals(model: onnx.ModelProto, types: Mapping[str, ValueType]) -> Tensors:
    """Return the results of Constant nodes, and of Shape and Size nodes of static operands."""
    found: Tensors = {}
    for node in model.graph.node:
        if node.domain:
            continue
        tensor = _constant(node) if node.op_type == "Constant" else _size(node, types)
        if tensor is not None:
            tensor.name = node.output[0]
            found[tensor.name] = tensor
    return found


def _constant(node: onnx.NodeProto) -> onnx.TensorProto | None:
    """Return the tensor of a Constant node; None for strings and sparse tensors."""
    import numpy as np
    import onnx
    from onnx import numpy_helper

    attribute = node.attribute[0]
    value = onnx.helper.get_attribute_value(attribute)
    if attribute.name == "value":
        tensor = onnx.TensorProto()
        tensor.CopyFrom(value)
        return tensor
    dtypes = {"value_float": "f4", "value_floats": "f4", "value_int": "i8", "value_ints": "i8"}
    if attribute.name not in dtypes:
        return None
    return numpy_helper.from_array(np.asarray(value, dtypes[attribute.name]))


def _size(node: onnx.NodeProto, types: Mapping[str, ValueType]) -> onnx.TensorProto | None:
    """Return the result of a Shape or Size node whose operand has a static shape."""
    import numpy as np
    from onnx import numpy_helper

    known = types.get(node.input[0]) if node.op_type in ("Shape", "Size") else None
    if known is None or known.shape is None:
        return None
    if node.op_type == "Size":
        return numpy_helper.from_array(np.asarray(np.prod(known.shape, dtype=np.int64)))
    bounds = {attribute.name: attribute.i for attribute in node.attribute}
    dims = known.shape[slice(bounds.get("start", 0), bounds.get("end"))]
    return numpy_helper.from_array(np.asarray(dims, np.int64))


def _computable(
    nodes: Sequence[onnx.NodeProto], constants: Tensors, types: Mapping[str, ValueType]
) -> list[int]:
    """Return the positions of the nodes that onnxruntime can compute from constants."""
    known = set(constants)
    positions = []
    for position, node in enumerate(nodes):
        inputs = [name for name in node.input if name]
        if (
            inputs
            and not node.domain
            and node.op_type not in NEVER_FOLDED
            and known.issuperset(inputs)
            and not any(subgraphs(node))
            and all(name in types and types[name].element in NUMPY_ELEMENTS for name in inputs)
            and all(types[o].element in NUMPY_ELEMENTS for o in node.output if o in types)
            and any(o in types for o in node.output)
        ):
            positions.append(position)
            known.update(node.output)
    return positions


def _evaluate(
    model: onnx.ModelProto,
    nodes: Sequence[onnx.NodeProto],
    constants: Tensors,
    types: Mapping[str, ValueType],
    wanted: set[str],
) -> Tensors:
    """Return the wanted results of the nodes. What onnxruntime cannot compute is left out."""
    outputs = [o for node in nodes for o in node.output if o in wanted and o in types]
    if not outputs:
        return {}
    together = _run(model, nodes, constants, types, outputs)
    if together is not None:
        return together
    known, computed = dict(constants), Tensors()
    for node in nodes:
        outputs = [o for o in node.output if o in types]
        if all(name in known for name in node.input if name):
            alone = _run(model, [node], known, types, outputs) or {}
            known |= alone
            computed |= {name: tensor for name, tensor in alone.items() if name in wanted}
    return computed


def _run(
    model: onnx.ModelProto,
    nodes: Sequence[onnx.NodeProto],
    constants: Tensors,
    types: Mapping[str, ValueType],
    outputs: Sequence[str],
) -> Tensors | None:
    """Run the nodes in onnxruntime; None if it has no kernel for one or the kernel refuses."""
    import onnx
    import onnxruntime
    from onnx import helper, numpy_helper

    read = dict.fromkeys(name for node in nodes for name in node.input if name in constants)
    part = onnx.ModelProto(ir_version=model.ir_version)
    part.opset_import.extend(o for o in model.opset_import if not o.domain)
    part.graph.name = "constants"
    part.graph.node.extend(nodes)
    part.graph.initializer.extend(constants[name] for name in read)
    part.graph.output.extend(
        helper.make_tensor_value_info(name, types[name].element, None) for name in outputs
    )
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # fatal only: a refusal is handled here
    try:
        session = onnxruntime.InferenceSession(
            part.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        arrays = session.run(list(outputs), {})
    except _refusals():
        return None
    return {
        name: numpy_helper.from_array(array, name)
        for name, array in zip(outputs, arrays, strict=True)
    }


def _refusals() -> tuple[type[Exception], ...]:
    """Return onnxruntime's exceptions for a graph or kernel that it cannot run."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    names = ("Fail", "InvalidArgument", "InvalidGraph", "NotImplemented", "RuntimeException")
    return (RuntimeError, ValueError, *(getattr(state, name) for name in names))
