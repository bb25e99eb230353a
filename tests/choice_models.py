"""A model with an operator for every kind of decision that stages take, and how it is lowered."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
from onnx import helper

from compiler.code_generation import GraphVariants, LoweredGraph, cpu_lowering, lower_graph
from compiler.onnx_import.model import Model
from compiler.target_spec import TargetSpec
from compiler.tuning.record import Choice
from tests.lowered import fixed_spec, loaded
from tests.onnx_models import make_model, weights

STEM = "conv2d float32 1x8x20x20 16x8x1x1 strides 1,1 pads 0,0,0,0 groups 1"
BODY = "conv2d float32 1x16x20x20 16x16x3x3 strides 1,1 pads 1,1,1,1 groups 1"
DEPTHWISE = "conv2d float32 1x16x20x20 16x1x3x3 strides 1,1 pads 1,1,1,1 groups 16"
HEAD = "conv2d float32 1x32x20x20 2x32x3x3 strides 1,1 pads 1,1,1,1 groups 1"
JOIN = "concat float32 1x16x20x20 1x16x20x20 to 1x32x20x20"
ATTENTION = "attention float32 2x16x12 depth 4 columns 8"
SIGNATURES = (STEM, BODY, DEPTHWISE, HEAD, JOIN, ATTENTION)


def choice_model() -> onnx.ModelProto:
    """x -> stem -> body, depthwise -> joined -> head -> y; and q, k, v -> attention -> z."""
    node, same = helper.make_node, [1, 1, 1, 1]
    return make_model(
        [
            node("Conv", ["x", "w0"], ["c0"], name="stem"),
            node("Conv", ["c0", "w1"], ["c1"], name="body", pads=same),
            node("Relu", ["c1"], ["r1"], name="relu"),
            node("Conv", ["c0", "w2"], ["c2"], name="depthwise", group=16, pads=same),
            node("Concat", ["r1", "c2"], ["j"], name="join", axis=1),
            node("Conv", ["j", "w3"], ["y"], name="head", pads=same),
            node("MatMul", ["q", "k"], ["scores"], name="qk"),
            node("Softmax", ["scores"], ["shares"], name="softmax", axis=-1),
            node("MatMul", ["shares", "v"], ["z"], name="mix"),
        ],
        inputs={
            "x": ("float32", [1, 8, 20, 20]),
            "q": ("float32", [2, 16, 4]),
            "k": ("float32", [2, 4, 12]),
            "v": ("float32", [2, 12, 8]),
        },
        outputs={"y": ("float32", [1, 2, 20, 20]), "z": ("float32", [2, 16, 8])},
        constants={
            "w0": weights(16, 8, 1, 1, seed=0),
            "w1": weights(16, 16, 3, 3, seed=1),
            "w2": weights(16, 1, 3, 3, seed=2),
            "w3": weights(2, 32, 3, 3, seed=3),
        },
    )


def scores_model() -> onnx.ModelProto:
    """Attention alone, whose score matrix is larger than all it reads."""
    node = helper.make_node
    return make_model(
        [
            node("MatMul", ["q", "k"], ["scores"], name="qk"),
            node("Softmax", ["scores"], ["shares"], name="softmax", axis=-1),
            node("MatMul", ["shares", "v"], ["z"], name="mix"),
        ],
        inputs={
            "q": ("float32", [2, 96, 4]),
            "k": ("float32", [2, 4, 96]),
            "v": ("float32", [2, 96, 4]),
        },
        outputs={"z": ("float32", [2, 96, 4])},
    )


def lowered(
    choices: Mapping[str, Choice] | None = None,
    spec: TargetSpec | None = None,
    *,
    model: Model | None = None,
    exact: bool = False,
) -> LoweredGraph:
    """The model's graph with these choices, by `lower_graph`."""
    read = model or loaded(choice_model())
    lowering, spec = cpu_lowering(read, spec or fixed_spec(), exact=exact, precision="float32")
    return lower_graph(lowering, read, spec, None, lambda _: None, choices)


def variants(model: Model, spec: TargetSpec | None = None) -> GraphVariants:
    lowering, spec = cpu_lowering(model, spec or fixed_spec(), exact=False, precision="float32")
    return GraphVariants(lowering, model, spec)
