"""What tensor cores are given: factors of 11 bits, rounded here with NumPy."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx
from onnx import numpy_helper

from compiler.target_spec import Precision
from tests.differential.agreement import run_reference
from tests.gpu_cases import GpuCase


def to_tf32(array: np.ndarray) -> np.ndarray:
    """10 bits of mantissa, ties away from zero."""
    bits = array.astype(np.float32).view(np.uint32)
    return ((bits + np.uint32(0x1000)) & np.uint32(0xFFFF_E000)).view(np.float32)


def to_fp16(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float16).astype(np.float32)


ROUNDED: Mapping[Precision, Callable[[np.ndarray], np.ndarray]] = {
    "tf32": to_tf32,
    "fp16": to_fp16,
}


def rounded_reference(
    case: GpuCase, feed: Mapping[str, np.ndarray], rounded: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """What onnxruntime computes of factors that were rounded before; addends are as they are."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    factors = set(model.graph.node[0].input[:2])
    for weight in model.graph.initializer:
        if weight.name in factors:
            array = rounded(numpy_helper.to_array(weight))
            weight.CopyFrom(numpy_helper.from_array(array, weight.name))
    given = {name: rounded(array) if name in factors else array for name, array in feed.items()}
    return run_reference(model, given)[0]
