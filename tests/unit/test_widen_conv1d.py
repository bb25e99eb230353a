"""One-dimensional convolutions become images one row high, with what stands between them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from compiler.onnx_import.to_relax import ONNX_NAMES
from compiler.stages.provenance import bindings
from tests.differential.agreement import assert_agrees
from tests.lowered import loaded, staged, workloads
from tests.onnx_models import make_model, weights

TOLERANCE = 1e-5  # float32 sums of at most 24 products of numbers of size about 1


def model(*after: onnx.NodeProto, output: str = "y") -> onnx.ModelProto:
    """Conv over 10 positions named `a`, the nodes after it."""
    conv = helper.make_node("Conv", ["x", "w0", "b0"], ["a"], name="conv", pads=[1, 1])
    return make_model(
        [conv, *after],
        inputs={"x": ("float32", [1, 3, 10]), "z": ("float32", [1, 8, 1])},
        outputs={output: ("float32", None)},
        constants={
            "w0": weights(8, 3, 3),
            "b0": weights(8),
            "w1": weights(8, 8, 3, seed=1),
            "c": weights(8, 1, seed=2) + np.float32(1),
        },
    )


def node(kind: str, *names: str, **attributes: Any) -> onnx.NodeProto:
    *reads, writes = names
    return helper.make_node(kind, reads, [writes], name=f"{kind}_{writes}", **attributes)


CHAIN = (
    node("Relu", "a", "r"),
    node("Mul", "r", "c", "m"),
    node("Add", "m", "z", "s"),
    node("Conv", "s", "w1", "t", strides=[2], dilations=[2]),
)
MODELS = {
    "the convolution is the output": model(output="a"),
    "a chain to another convolution": model(*CHAIN, node("Neg", "t", "y")),
    "channels moved last": model(node("Transpose", "a", "y", perm=[0, 2, 1])),
    "axes reversed": model(node("Transpose", "a", "y", perm=[2, 1, 0])),
    "read by what is not widened": model(
        node("Relu", "a", "r"), node("ReduceSum", "r", "y", keepdims=0)
    ),
}


@pytest.mark.parametrize("kind", MODELS)
def test_same_numbers(kind: str) -> None:
    assert_agrees(MODELS[kind], tolerance=TOLERANCE)


def test_nothing_stays_narrow_between_convolutions() -> None:
    mod = staged(loaded(MODELS["a chain to another convolution"]), until="block-layout")
    names = [getattr(getattr(b.value, "op", None), "name", "") for b in bindings(mod["main"])]
    assert "relax.nn.conv1d" not in names
    assert names.count("relax.nn.conv2d") == 2
    first = names.index("relax.nn.conv2d")
    between = names[first : names.index("relax.nn.conv2d", first + 1)]
    reshapes = between.count("relax.reshape")
    assert reshapes == 1  # of the input z


def test_bias_and_activation_are_fused() -> None:
    functions = workloads(model(node("Relu", "a", "y"))).functions
    assert len(functions) == 1, list(functions)


def test_wide_variables_keep_their_onnx_names() -> None:
    mod = staged(loaded(MODELS["a chain to another convolution"]), until="block-layout")
    names = mod.attrs[ONNX_NAMES]
    wide = [b.var for b in bindings(mod["main"]) if len(b.var.ty.shape.values) == 4]
    assert {str(names[v.name]) for v in wide if v.name in names} >= {"a", "r", "m", "s", "t"}
