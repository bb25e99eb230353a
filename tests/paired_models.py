"""Quantized operators of drawn shapes for machines that multiply pairs of small integers."""

from __future__ import annotations

import numpy as np
import onnx

from tests.quantized_models import QdqBuilder


def drawn_operators(seed: int, count: int) -> onnx.ModelProto:
    """One model of `count` convolutions, depthwise ones and products, side by side."""
    random = np.random.default_rng(seed)
    builder = QdqBuilder()
    for number in range(count):
        kind = ("any", "grouped", "depthwise", "pointwise", "dense")[number % 5]
        if kind == "dense":
            _product(builder, random)
        else:
            _convolution(builder, random, kind)
    return builder.model()


def _data(b: QdqBuilder, random: np.random.Generator, shape: tuple[int, ...]) -> str:
    if random.random() < 0.5:
        return b.data(*shape, zero=int(random.integers(0, 256)), dtype="uint8")
    return b.data(*shape, zero=int(random.integers(-128, 128)))


def _convolution(b: QdqBuilder, random: np.random.Generator, kind: str) -> None:
    groups = int(random.integers(2, 20)) if kind == "depthwise" else 1
    groups = int(random.integers(2, 4)) if kind == "grouped" else groups
    of_group = 1 if kind == "depthwise" else int(random.integers(1, 14))
    outputs = groups * (1 if kind == "depthwise" else int(random.integers(1, 8)))
    pointwise = kind == "pointwise"
    kernel = [1, 1] if pointwise else [int(k) for k in random.integers(1, 5, 2)]
    size = [int(s) for s in random.integers(6, 15, 2)]
    made = b.node(
        "Conv",
        _data(b, random, (1, groups * of_group, *size)),
        b.weight(outputs, of_group, *kernel),
        b.bias(outputs),
        group=groups,
        kernel_shape=kernel,
        strides=[1, 1] if pointwise else [int(s) for s in random.integers(1, 3, 2)],
        dilations=[1, 1] if random.random() < 0.7 else [2, 1],
        pads=[0] * 4 if pointwise else [int(p) for p in random.integers(0, 3, 4)],
    )
    b.output(made, 0.02 * (of_group * kernel[0] * kernel[1]) ** 0.5)


def _product(b: QdqBuilder, random: np.random.Generator) -> None:
    rows, depth, columns = (int(e) for e in random.integers((1, 1, 1), (4, 50, 40)))
    data = _data(b, random, (rows, depth))
    b.output(b.node("MatMul", data, b.weight(depth, columns, axis=1)), 0.02 * depth**0.5)
