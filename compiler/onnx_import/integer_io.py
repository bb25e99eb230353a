"""Leave the quantizers at a model's borders to the caller (``--io int8``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from compiler.errors import ModelError
from compiler.onnx_import.load import model_of_source
from compiler.onnx_import.model import Model, TensorInfo
from compiler.onnx_import.names import values_read
from compiler.onnx_import.ports import MOVING, quantization_of
from compiler.program import Quantization

if TYPE_CHECKING:
    import onnx

QUANTIZER, DEQUANTIZER = "QuantizeLinear", "DequantizeLinear"
_FIX = "compile without --io int8, or quantize the model at its inputs and outputs"


def with_integer_io(model: Model) -> Model:
    """Return the model with small integers in the place of its float inputs and outputs.

    A quantizer that alone reads an input, and a dequantizer that makes an output, become the
    identity of integers; reshapes and transposes between move integers then. The reference
    (`Model.source`) is changed likewise. Inputs and outputs that are not float stay as they are.

    Raises:
        ModelError: a float input is not quantized at once or an output not dequantized last.
    """
    import onnx

    if model.io == "int8":
        return model
    source = onnx.ModelProto()
    source.CopyFrom(model.source)
    kinds = _element_types(model.proto.graph)
    found: dict[str, Quantization] = {}
    for info in model.inputs:
        if info.dtype.startswith("float"):
            found[info.name] = _integer_input(source.graph, info.name, kinds)
    for info in model.outputs:
        if info.dtype.startswith("float"):
            found[info.name] = _integer_output(source.graph, info.name, kinds)
    made = model_of_source(source, name=model.name, digest=model.digest, opset=model.opset)
    return replace(
        made,
        io="int8",
        inputs=_known(made.inputs, found),
        outputs=_known(made.outputs, found),
    )


def _element_types(graph: onnx.GraphProto) -> dict[str, int]:
    """ONNX element types of the folded graph's values: the source keeps its names."""
    values = (*graph.input, *graph.value_info, *graph.output)
    return {value.name: value.type.tensor_type.elem_type for value in values}


def _known(
    infos: tuple[TensorInfo, ...], found: Mapping[str, Quantization]
) -> tuple[TensorInfo, ...]:
    """The border's own parameters: a reader inside may see the integers in another way."""
    return tuple(
        replace(info, quantization=found.get(info.name, info.quantization)) for info in infos
    )


def _integer_input(graph: onnx.GraphProto, name: str, kinds: Mapping[str, int]) -> Quantization:
    """Make an input the integers of its quantizer, in place; return what they stand for."""
    chain = [name]
    while True:
        readers = [node for node in graph.node if chain[-1] in values_read(node)]
        if any(value.name == chain[-1] for value in graph.output):
            raise _refused("input", name, "it is handed out as an output, too")
        if len(readers) != 1:
            listing = ", ".join(f"{node.op_type} `{node.name}`" for node in readers)
            raise _refused("input", name, f"its readers are: {listing or 'none'}")
        node = readers[0]
        if node.op_type == QUANTIZER and node.input[0] == chain[-1]:
            break
        if node.op_type not in MOVING or node.input[0] != chain[-1]:
            raise _refused("input", name, f"{node.op_type} `{node.name}` reads it as float")
        chain.append(node.output[0])
    quantization = _parameters(graph, node, "input", name)
    _retype(graph, chain, _small(kinds.get(node.output[0], 0), "input", name))
    _become_identity(node)
    return quantization


def _integer_output(graph: onnx.GraphProto, name: str, kinds: Mapping[str, int]) -> Quantization:
    """Make an output the integers that its dequantizer reads, in place."""
    makers = {result: node for node in graph.node for result in node.output}
    chain = [name]
    while True:
        node = makers.get(chain[-1])
        if node is None:
            raise _refused("output", name, "no node makes it")
        readers = [n for n in graph.node if chain[-1] in values_read(n)]
        if len(readers) != (chain[-1] != name):
            raise _refused("output", name, f"{readers[0].op_type} `{readers[0].name}` reads it")
        if node.op_type == DEQUANTIZER:
            break
        if node.op_type not in MOVING:
            raise _refused("output", name, f"{node.op_type} `{node.name}` makes it as float")
        chain.append(node.input[0])
    quantization = _parameters(graph, node, "output", name)
    _retype(graph, chain, _small(kinds.get(node.input[0], 0), "output", name))
    _become_identity(node)
    return quantization


def _parameters(graph: onnx.GraphProto, node: onnx.NodeProto, what: str, name: str) -> Quantization:
    found = quantization_of(graph, node)
    if found is None:
        raise _refused(what, name, f"`{node.name}` has computed parameters, or one per channel")
    return found


def _small(kind: int, what: str, name: str) -> int:
    import onnx

    if kind not in (onnx.TensorProto.INT8, onnx.TensorProto.UINT8):
        known = str(onnx.TensorProto.DataType.Name(kind)).lower()
        raise _refused(what, name, f"its integers are {known}, not int8 or uint8")
    return kind


def _retype(graph: onnx.GraphProto, names: list[str], kind: int) -> None:
    for value in (*graph.input, *graph.value_info, *graph.output):
        if value.name in names:
            value.type.tensor_type.elem_type = kind


def _become_identity(node: onnx.NodeProto) -> None:
    node.op_type = "Identity"
    del node.input[1:]
    del node.attribute[:]


def _refused(what: str, name: str, why: str) -> ModelError:
    border = "quantized at once" if what == "input" else "dequantized last"
    return ModelError(f"--io int8: the {what} `{name}` is not {border}", why=why, fix=_FIX)
