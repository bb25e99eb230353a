"""Forms of supported operators that TVM's importer would compile to something else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compiler.onnx_import.infer import ValueType

if TYPE_CHECKING:
    import onnx

    _Attributes = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphFacts:
    """What a node's form is judged by, besides the node."""

    read: Set[str]  # names that a node or the model's outputs read
    constants: Mapping[str, onnx.TensorProto]
    types: Mapping[str, ValueType]


def form_reason(node: onnx.NodeProto, facts: GraphFacts) -> str | None:
    """Return why a node of a supported operator cannot be compiled in this form; None if it can."""
    import onnx

    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    check = _FORMS.get(node.op_type)
    reason = check(node, attributes, facts) if check else None
    if reason is not None:
        return reason
    most = _RESULTS.get(node.op_type, len(node.output))
    extra = [name for name in node.output[most:] if name in facts.read]
    return f"its result `{extra[0]}` is not supported" if extra else None


def _batch_norm(_: onnx.NodeProto, attributes: _Attributes, __: GraphFacts) -> str | None:
    return _TRAINING if attributes.get("training_mode") else None


def _dropout(node: onnx.NodeProto, _: _Attributes, facts: GraphFacts) -> str | None:
    from onnx import numpy_helper

    mode = node.input[2] if len(node.input) > 2 else ""
    known = facts.constants.get(mode)
    off = not mode or (known is not None and not numpy_helper.to_array(known).any())
    return None if off else _TRAINING


def _is_inf(_: onnx.NodeProto, attributes: _Attributes, __: GraphFacts) -> str | None:
    both = attributes.get("detect_negative", 1) and attributes.get("detect_positive", 1)
    return None if both else "it tells the signs of infinities apart"


def _conv_transpose(_: onnx.NodeProto, attributes: _Attributes, __: GraphFacts) -> str | None:
    return "its padding is given as output_shape" if "output_shape" in attributes else None


def _space_to_depth(_: onnx.NodeProto, attributes: _Attributes, __: GraphFacts) -> str | None:
    return None if attributes.get("mode", b"DCR") == b"DCR" else "its mode is not DCR"


def _scatter(node: onnx.NodeProto, attributes: _Attributes, facts: GraphFacts) -> str | None:
    data, index = (facts.types[name].shape for name in node.input[:2])
    if data is None or index is None:
        return None
    axis = attributes.get("axis", 0) % len(data)
    whole = all(data[i] == index[i] for i in range(len(data)) if i != axis)
    return None if whole else "its indices cover only a part of an axis"


def _pad(_: onnx.NodeProto, attributes: _Attributes, __: GraphFacts) -> str | None:
    """TVM wraps rightly only in part: some pads read the wrong rows."""
    return "its mode wrap is not supported" if attributes.get("mode") == b"wrap" else None


def _resize(node: onnx.NodeProto, attributes: _Attributes, facts: GraphFacts) -> str | None:
    """TVM places samples by the ratio of the sizes; ONNX by the scale, which may differ from it."""
    from onnx import numpy_helper

    scales = facts.constants.get(node.input[2]) if len(node.input) > 2 else None
    shape = facts.types[node.input[0]].shape
    by_corners = attributes.get("coordinate_transformation_mode") == b"align_corners"
    if scales is None or shape is None or by_corners:
        return None
    for extent, scale in zip(shape, numpy_helper.to_array(scales).tolist(), strict=False):
        size = extent * scale
        if abs(size - round(size)) > 1e-4 * size:
            return f"its scale {scale:g} makes no whole number of {extent} elements"
    return None


def _quantizer(node: onnx.NodeProto, attributes: _Attributes, facts: GraphFacts) -> str | None:
    """Scales that divide by nothing, zero points that ONNX does not allow, too many of either."""
    import numpy as np
    from onnx import numpy_helper

    known = [facts.constants.get(name) for name in node.input[1:3]]
    scale, *zeros = [None if one is None else numpy_helper.to_array(one) for one in known]
    zero = zeros[0] if zeros else None
    if scale is not None:
        scale = np.asarray(scale, np.float64)
        if not np.all(np.isfinite(scale)):
            return "its scale is not finite"
        if np.any(scale <= 0):
            return f"its scale is {float(scale.min()):g}: scales are positive"
        if np.any(scale < np.finfo(np.float32).tiny):
            return f"its scale {float(scale.min()):g} is below the smallest normal float32"
    if zero is None:
        return None
    other = _other_type(node, facts)
    if other:
        return other
    if zero.dtype == np.int32 and np.any(zero):
        return "its zero point is not 0, as it must be for int32"
    return None if scale is None else _channels(node, attributes, facts, scale.size, zero.size)


def _other_type(node: onnx.NodeProto, facts: GraphFacts) -> str | None:
    """A zero point that is no integer of those that are quantized to."""
    import onnx

    integers = node.input[0] if node.op_type == "DequantizeLinear" else node.output[0]
    found, wanted = facts.constants[node.input[2]].data_type, facts.types.get(integers)
    if wanted is None or wanted.element in (0, found):
        return None
    names = [onnx.TensorProto.DataType.Name(kind).lower() for kind in (found, wanted.element)]
    return f"its zero point is {names[0]}, its integers are {names[1]}"


def _channels(
    node: onnx.NodeProto, attributes: _Attributes, facts: GraphFacts, scales: int, zeros: int
) -> str | None:
    """Scales and zero points are one for each index of the axis, or one for all."""
    if scales != zeros:
        return f"it has {scales} scales and {zeros} zero points"
    data, axis = facts.types.get(node.input[0]), attributes.get("axis", 1)
    shape = None if data is None else data.shape
    if shape is None or scales == 1 or attributes.get("block_size"):
        return None
    if not -len(shape) <= axis < len(shape) or shape[axis] != scales:
        return f"it has {scales} scales, which do not fit axis {axis} of {list(shape)}"
    return None


_TRAINING = "training mode is not supported"
_FORMS: Mapping[str, Callable[[onnx.NodeProto, _Attributes, GraphFacts], str | None]] = {
    "BatchNormalization": _batch_norm,
    "ConvTranspose": _conv_transpose,
    "DequantizeLinear": _quantizer,
    "Dropout": _dropout,
    "IsInf": _is_inf,
    "Pad": _pad,
    "QuantizeLinear": _quantizer,
    "Resize": _resize,
    "Scatter": _scatter,
    "ScatterElements": _scatter,
    "SpaceToDepth": _space_to_depth,
}
# How many results of a node are computed; the others must not be read.
_RESULTS: Mapping[str, int] = {
    "BatchNormalization": 1,
    "Dropout": 1,
    "LayerNormalization": 1,
    "MaxPool": 1,
}
