"""From an ONNX file to a `Model`: read, fix shapes, fold, check, count."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from compiler.onnx_import.channel_affine import fold_channel_affines
from compiler.onnx_import.fold import fold_constants
from compiler.onnx_import.infer import ValueType, declare_outputs, declare_results, infer_types
from compiler.onnx_import.inventory import take_inventory
from compiler.onnx_import.model import Model, TensorInfo
from compiler.onnx_import.names import c_identifier
from compiler.onnx_import.opset import OLDEST_IMPORTED_OPSET, expand_functions, raise_opset
from compiler.onnx_import.padding import fold_padding
from compiler.onnx_import.pins import pin_values
from compiler.onnx_import.ports import quantization_of_input, quantization_of_output
from compiler.onnx_import.quantized_operators import write_out_quantized
from compiler.onnx_import.read import read_model
from compiler.onnx_import.shapes import (
    UnknownDim,
    describe,
    settle_dims,
    shape_options,
    unresolved_error,
    with_input_shapes,
)
from compiler.onnx_import.simplify import choose_branches, prune, remove_no_ops
from compiler.onnx_import.support import unsupported_error, unsupported_operators

if TYPE_CHECKING:
    import onnx

    from compiler.errors import CompilerError

UNKNOWN_SIZE = -1  # a dimension of an output that follows an unsupported node


def load_model(
    path: str | os.PathLike[str],
    *,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    values: Mapping[str, float | int | bool] | None = None,
    oldest_opset: int = OLDEST_IMPORTED_OPSET,
) -> Model:
    """Read an ONNX file, settle its shapes, fold constants and batch norms, and count.

    A model with operators that cannot be compiled is loaded too, as far as its shapes can be
    inferred; `support.require_supported` refuses it.

    Args:
        path: the ONNX file; external data lies beside it.
        shapes: input name -> shape, for inputs with dynamic dimensions. The batch is 1 if not
            given.
        values: input name -> number, for scalar inputs that become constants.
        oldest_opset: the folded graph has this opset or a later one.

    Raises:
        ModelError: the file is not sound, or `shapes` and `values` do not fit or do not suffice.
        UnsupportedError: dimensions are unknown in a graph that cannot be compiled anyway.
    """
    file = read_model(Path(path))
    name = c_identifier(Path(path).stem)
    pinned = pin_values(file.proto, values or {})
    settled, unknown = settle_dims(pinned.graph, shapes or {})
    if unknown:
        raise _unknown_dims(name, pinned, unknown)
    source = with_input_shapes(pinned, settled)
    return model_of_source(
        source, name=name, digest=file.digest, opset=file.opset, oldest_opset=oldest_opset
    )


def model_of_source(
    source: onnx.ModelProto,
    *,
    name: str,
    digest: str,
    opset: int,
    oldest_opset: int = OLDEST_IMPORTED_OPSET,
) -> Model:
    """Fold, check and count a graph whose input shapes are static."""
    proto = _folded(source, oldest_opset)
    types = infer_types(proto)
    declare_results(proto, types)
    declare_outputs(source, types)
    return Model(
        name=name,
        proto=proto,
        source=source,
        inputs=_inputs(proto.graph, types),
        outputs=_outputs(proto.graph, types),
        digest=digest,
        opset=opset,
        inventory=take_inventory(proto, types),
    )


def _unknown_dims(name: str, model: onnx.ModelProto, unknown: list[UnknownDim]) -> CompilerError:
    """Return the error for unknown dimensions; operators that cannot be compiled come first."""
    blocked = unsupported_operators(model.graph.node)
    if not blocked:
        return unresolved_error(unknown)
    return unsupported_error(
        name,
        blocked,
        also=f"besides, {describe(unknown)}",
        fix=f"replace these nodes; give {shape_options(unknown)} (and --value for scalars) to see "
        "whether they fold away",
    )


def _folded(source: onnx.ModelProto, oldest_opset: int) -> onnx.ModelProto:
    """Return a folded copy of the model. Its steps rewrite that one copy: weights are large."""
    import onnx

    model = onnx.ModelProto()
    model.CopyFrom(source)
    model = expand_functions(raise_opset(model, oldest_opset))
    names: list[str] = []
    while names != [node.name for node in model.graph.node]:  # each round removes nodes
        names = [node.name for node in model.graph.node]
        types = infer_types(model)
        fold_constants(model, types)
        write_out_quantized(model)  # its parameters are constants now
        choose_branches(model)
        remove_no_ops(model, types)
        prune(model)
        fold_channel_affines(model, types)
        fold_padding(model, types)
    prune(model)
    return model


def _inputs(graph: onnx.GraphProto, types: Mapping[str, ValueType]) -> tuple[TensorInfo, ...]:
    return tuple(
        TensorInfo(
            name=value.name,
            dtype=_dtype(types[value.name].element),
            shape=types[value.name].shape or (),
            quantization=quantization_of_input(graph, value.name),
        )
        for value in graph.input
    )


def _outputs(graph: onnx.GraphProto, types: Mapping[str, ValueType]) -> tuple[TensorInfo, ...]:
    infos = []
    for value in graph.output:
        known = types.get(value.name, ValueType(element=0, shape=None))
        shape = known.shape if known.shape is not None else (UNKNOWN_SIZE,)
        infos.append(
            TensorInfo(
                name=value.name,
                dtype=_dtype(known.element or value.type.tensor_type.elem_type),
                shape=shape,
                quantization=quantization_of_output(graph, value.name),
            )
        )
    return tuple(infos)


def _dtype(element: int) -> str:
    """Return NumPy's name of an ONNX element type, ONNX's own where NumPy has none."""
    import onnx

    name = str(onnx.TensorProto.DataType.Name(element)).lower()
    return {"float": "float32", "double": "float64"}.get(name, name)
