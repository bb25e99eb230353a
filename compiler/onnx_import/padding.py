"""Fold zeros that a Pad node puts around an image into the padding of the convolution after it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from compiler.onnx_import.infer import ValueType
from compiler.onnx_import.names import replace_nodes, values_read

if TYPE_CHECKING:
    import numpy as np
    import onnx

Constants = Mapping[str, "onnx.TensorProto"]


def fold_padding(model: onnx.ModelProto, types: Mapping[str, ValueType]) -> None:
    """Remove each Pad with zeros that only one Conv reads, as its data; rewrites it in place.

    The Conv keeps its name and pads for itself, which kernels do row by row: the padded image is
    never whole in memory. A Pad stays if it repeats elements, cuts some off, or pads the batch or
    the channels; so does one before pooling, where an average counts padding in its own way.
    """
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    reads = Counter(name for node in graph.node for name in values_read(node))
    reads.update(value.name for value in graph.output)
    pads = {n.output[0]: n for n in graph.node if n.op_type == "Pad" and not n.domain}
    folded: set[str] = set()
    for node in graph.node:
        if node.op_type != "Conv" or node.domain or node.input[0] not in pads:
            continue
        pad = pads[node.input[0]]
        known = types.get(pad.input[0])
        if reads[pad.output[0]] != 1 or known is None or known.shape is None:
            continue
        added = _spatial_zeros(pad, len(known.shape), constants)
        if added is None or not _has_explicit_padding(node):
            continue
        _add_padding(node, added)
        node.input[0] = pad.input[0]
        folded.add(pad.output[0])
    replace_nodes(graph, [node for node in graph.node if node.output[0] not in folded])


def _spatial_zeros(pad: onnx.NodeProto, rank: int, constants: Constants) -> list[int] | None:
    """Zeros before each spatial axis, then after each; None if the node does something else."""
    mode = next((a.s for a in pad.attribute if a.name == "mode"), b"constant")
    amounts = _operand(pad, 1, constants)
    value = _operand(pad, 2, constants)
    axes = _operand(pad, 3, constants)
    is_known = all(
        array is not None or len(pad.input) <= position or not pad.input[position]
        for position, array in ((2, value), (3, axes))
    )
    if mode != b"constant" or amounts is None or not is_known:
        return None
    if value is not None and value.any():
        return None
    padded = range(rank) if axes is None else [int(axis) % rank for axis in axes.reshape(-1)]
    before, after = [0] * rank, [0] * rank
    for position, axis in enumerate(padded):
        before[axis] = int(amounts.reshape(-1)[position])
        after[axis] = int(amounts.reshape(-1)[position + len(padded)])
    if any((*before[:2], *after[:2])) or min(*before, *after) < 0:
        return None
    return [*before[2:], *after[2:]]


def _operand(node: onnx.NodeProto, position: int, constants: Constants) -> np.ndarray | None:
    from onnx import numpy_helper

    if len(node.input) <= position or node.input[position] not in constants:
        return None
    return numpy_helper.to_array(constants[node.input[position]])


def _has_explicit_padding(conv: onnx.NodeProto) -> bool:
    """Whether its padding does not follow from the size of its data."""
    words = [a.s for a in conv.attribute if a.name == "auto_pad"]
    return all(word in (b"NOTSET", b"VALID", b"") for word in words)


def _add_padding(conv: onnx.NodeProto, added: list[int]) -> None:
    import onnx

    own = next((list(a.ints) for a in conv.attribute if a.name == "pads"), [0] * len(added))
    kept = [a for a in conv.attribute if a.name not in ("pads", "auto_pad")]
    del conv.attribute[:]
    conv.attribute.extend(kept)
    total = [one + other for one, other in zip(own, added, strict=True)]
    conv.attribute.append(onnx.helper.make_attribute("pads", total))
