"""Quantized products of drawn shapes, for the rules of a GPU that multiply small integers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx

from compiler.target_spec import TargetSpec, load_target
from schedules.cuda.threads import gpu_of
from tests.quantized_models import QdqBuilder

SPEC = load_target("cuda-sm80")
# One multiprocessor: tiles are the largest, and tensor cores are worth it for small matrices, too.
SMALL_GPU = replace(SPEC, gpu=replace(gpu_of(SPEC), sm_count=1))


def spec_of(arch: str) -> TargetSpec:
    """A GPU of another architecture."""
    return replace(SMALL_GPU, gpu=replace(gpu_of(SMALL_GPU), arch=arch))


def drawn_convolution(seed: int) -> onnx.ModelProto:
    """One convolution: whole words of channels or not, either sign, edges of any width."""
    b, random = QdqBuilder(), np.random.default_rng(seed)
    dtype, zero = (("int8", -9), ("uint8", 130))[seed % 2]
    channels = int(random.choice([1, 3, 4, 16, 20, 33]))
    height, width = (int(n) for n in random.integers(6, 11, 2))
    attributes: dict[str, Any] = {
        "strides": [int(n) for n in random.integers(1, 3, 2)],
        "pads": [int(n) for n in random.integers(0, 3, 4)],
        "dilations": [int(n) for n in random.integers(1, 3, 2)],
    }
    kernel = [int(n) for n in random.integers(1, 4, 2)]
    data = b.data(int(random.integers(1, 3)), channels, height, width, zero=zero, dtype=dtype)
    weight = b.weight(int(random.integers(33, 50)), channels, *kernel)
    b.output(b.node("Conv", data, weight, **attributes), 0.15)
    return b.model()


def drawn_products(seed: int) -> onnx.ModelProto:
    """Products with weights, of few rows too, and of two tensors, with zero points and without."""
    b, random = QdqBuilder(), np.random.default_rng(seed)
    rows, depth, columns = (int(n) for n in random.integers(33, 80, 3))
    dtype, zero = (("int8", -9), ("uint8", 130))[seed % 2]
    made = b.node(
        "MatMul", b.data(rows, depth, zero=zero, dtype=dtype), b.weight(depth, 40, axis=1)
    )
    b.output(made, 0.2)
    few = b.data(2, depth, zero=zero, dtype=dtype)
    b.output(b.node("MatMul", few, b.weight(depth, 17, axis=1)), 0.2)
    for zeros in ((0, 0), (zero, 0), (0, 4), (zero, 7)):
        left = b.data(2, rows, depth, zero=zeros[0], dtype=dtype)
        right = b.data(2, depth, columns, scale=0.02, zero=zeros[1])
        b.output(b.node("MatMul", left, right), 0.3)
    return b.model()


def one_convolution(
    channels: int = 8, out_channels: int = 16, size: int = 4, group: int = 1
) -> onnx.ModelProto:
    """3 x 3, padded."""
    b = QdqBuilder()
    weight = b.weight(out_channels, channels // group, 3, 3)
    made = b.node("Conv", b.data(1, channels, size, size), weight, pads=[1, 1, 1, 1], group=group)
    b.output(made, 0.1)
    return b.model()
