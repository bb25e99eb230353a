"""Round a model's weights to IEEE half (``--weights fp16``).

Rounded is the folded graph: what batch norms and scales make of weights is rounded once. The
rounded numbers are float32 still; the stage `half-weights` stores them in 16 bits without loss.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from compiler.onnx_import.model import Model
from compiler.program import FloatWeight

if TYPE_CHECKING:
    import onnx

LARGEST_HALF = 65504.0
# Of a tensor, the root of its squared errors over that of its squares. A normal half is off by at
# most 2**-11 of itself; beyond twice that the numbers that matter are below 2**-14, where halves
# lose bits, or vanish.
LARGEST_ERROR = 2.0**-10
# Their operands are integers or become integers: rounding those first would move them.
_QUANTIZERS = ("QuantizeLinear", "DynamicQuantizeLinear")


def with_half_weights(model: Model) -> Model:
    """Return the model with its weights rounded; it is the reference, too.

    A weight is a float32 constant with more than one axis longer than 1: vectors (biases, scales
    of normalisations) are few bytes, and errors in them are not averaged out.
    """
    import onnx

    if model.weights == "fp16":
        return model
    rounded = onnx.ModelProto()
    rounded.CopyFrom(model.proto)
    kept = []
    for tensor in _weights(rounded.graph):
        array = onnx.numpy_helper.to_array(tensor)
        reason = reason_against(array)
        if reason:
            kept.append(FloatWeight(name=tensor.name, reason=reason))
            continue
        half = array.astype(np.float16).astype(np.float32)
        tensor.CopyFrom(onnx.numpy_helper.from_array(half, tensor.name))
    return replace(
        model,
        proto=rounded,
        source=rounded,
        weights="fp16",
        float_weights=tuple(kept),
        unrounded=model.source,
    )


def reason_against(weight: np.ndarray) -> str:
    """Why `weight` cannot be halves; empty if it can."""
    largest = float(np.abs(weight).max(initial=0.0))
    if not np.isfinite(largest):
        return "it has infinities or NaN"
    if largest > LARGEST_HALF:
        return f"its largest number is {largest:.6g}, a half holds {LARGEST_HALF:,.0f} at most"
    exact = weight.astype(np.float64)
    error = weight.astype(np.float16).astype(np.float64) - exact
    norm = float(np.sqrt(np.sum(exact**2)))
    if norm and float(np.sqrt(np.sum(error**2))) > LARGEST_ERROR * norm:
        share = float(np.sqrt(np.sum(error**2))) / norm
        return f"its numbers are too small: as halves they are off by {share:.2%}"
    return ""


def _weights(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    import onnx

    quantized = {n for node in graph.node if node.op_type in _QUANTIZERS for n in node.input}
    for tensor in graph.initializer:
        is_float = tensor.data_type == onnx.TensorProto.FLOAT
        if is_float and sum(d > 1 for d in tensor.dims) > 1 and tensor.name not in quantized:
            yield tensor
