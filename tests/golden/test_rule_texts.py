"""The whole text of what each rule and each loop nest of the fallback makes of a tiny kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
import pytest
from onnx import helper
from tvm.s_tir import Schedule

from tests.lowered import apply_fallback, apply_rule, only_kernel
from tests.normalization_models import written_out_model
from tests.onnx_models import make_model, weights

Golden = Callable[[str], None]


def one_node(
    op_type: str,
    shape: list[int],
    out_shape: list[int],
    *weight_shapes: tuple[int, ...],
    relu: bool = False,
    **attributes: Any,
) -> onnx.ModelProto:
    """x -> y through one node with constant weights, and a Relu if wanted."""
    constants = {f"w{i}": weights(*one, seed=i) for i, one in enumerate(weight_shapes)}
    made = "c" if relu else "y"
    nodes = [helper.make_node(op_type, ["x", *constants], [made], name="node", **attributes)]
    if relu:
        nodes.append(helper.make_node("Relu", ["c"], ["y"], name="relu"))
    return make_model(
        nodes,
        inputs={"x": ("float32", shape)},
        outputs={"y": ("float32", out_shape)},
        constants=constants,
    )


CONVOLUTIONS = {
    "plain": one_node("Conv", [1, 2, 3, 6], [1, 16, 2, 4], (16, 2, 2, 3), (16,), relu=True),
    "padded": one_node(
        "Conv", [1, 2, 5, 5], [1, 8, 3, 3], (8, 2, 3, 3), pads=[1, 1, 1, 1], strides=[2, 2]
    ),
    "pointwise": one_node("Conv", [1, 4, 3, 4], [1, 8, 3, 4], (8, 4, 1, 1)),
    "strided-pointwise": one_node("Conv", [1, 4, 3, 5], [1, 8, 2, 2], (8, 4, 1, 1), strides=[2, 3]),
    "ragged-channels": one_node("Conv", [1, 2, 3, 4], [1, 11, 2, 4], (11, 2, 2, 1)),
    "grouped": one_node("Conv", [1, 4, 3, 3], [1, 8, 2, 2], (8, 2, 2, 2), group=2),
}
COLUMNS = {
    "one-channel": one_node(
        "Conv", [1, 2, 4, 16], [1, 1, 4, 16], (1, 2, 3, 3), pads=[1, 1, 1, 1], relu=True
    ),
    "strided-groups": one_node(
        "Conv", [1, 4, 4, 36], [1, 4, 3, 16], (4, 2, 2, 6), group=2, strides=[1, 2]
    ),
}
DEPTHWISE = {
    "stride-1": one_node(
        "Conv", [1, 4, 4, 8], [1, 4, 4, 8], (4, 1, 3, 3), group=4, pads=[1, 1, 1, 1], relu=True
    ),
    "stride-2": one_node(
        "Conv",
        [1, 4, 5, 9],
        [1, 4, 3, 5],
        (4, 1, 3, 3),
        group=4,
        pads=[1, 1, 1, 1],
        strides=[2, 2],
    ),
}
TRANSPOSED = one_node(
    "ConvTranspose", [1, 3, 4, 4], [1, 4, 8, 8], (3, 4, 2, 2), strides=[2, 2], kernel_shape=[2, 2]
)
MATMULS = {
    "packed": one_node("MatMul", [6, 8], [6, 20], (8, 20)),
    "with-pack": make_model(
        [helper.make_node("MatMul", ["a", "b"], ["y"], name="matmul")],
        inputs={"a": ("float32", [2, 3, 4]), "b": ("float32", [2, 4, 10])},
        outputs={"y": ("float32", [2, 3, 10])},
    ),
    "span-of-rows": make_model(
        [
            helper.make_node("MatMul", ["a", "b"], ["product"], name="matmul"),
            helper.make_node("Erf", ["product"], ["y"], name="erf"),
        ],
        inputs={"a": ("float32", [16, 8])},
        outputs={"y": ("float32", [16, 32])},
        constants={"b": weights(8, 32)},
    ),
}
ATTENTION = make_model(
    [
        helper.make_node("MatMul", ["q", "k"], ["scores"], name="scores"),
        helper.make_node("Softmax", ["scores"], ["shares"], name="softmax", axis=-1),
        helper.make_node("MatMul", ["shares", "v"], ["y"], name="mix"),
    ],
    inputs={
        "q": ("float32", [2, 8, 4]),
        "k": ("float32", [2, 4, 6]),
        "v": ("float32", [2, 6, 8]),
    },
    outputs={"y": ("float32", [2, 8, 8])},
)
ROWS = {
    "rms-norm": written_out_model([3, 16]),
    "softmax": one_node("Softmax", [3, 16], [3, 16], axis=-1),
    "softmax-with-tail": one_node("Softmax", [3, 21], [3, 21], axis=-1),
    "layer-norm": one_node("LayerNormalization", [2, 3, 16], [2, 3, 16], (16,), (16,), axis=-1),
}
FALLBACKS = {
    "row-wise": one_node("LogSoftmax", [3, 16], [3, 16], axis=-1),
    "tile": one_node("MaxPool", [1, 2, 4, 8], [1, 2, 3, 7], kernel_shape=[2, 2]),
    "block-by-block": one_node("Transpose", [2, 3, 8], [2, 8, 3], perm=[0, 2, 1]),
}
ELEMENTWISE = make_model(
    [
        helper.make_node("Add", ["a", "b"], ["s"], name="add"),
        helper.make_node("Sigmoid", ["s"], ["y"], name="sigmoid"),
    ],
    inputs={"a": ("float32", [4, 24]), "b": ("float32", [24])},
    outputs={"y": ("float32", [4, 24])},
)


def schedule_text(schedule: Schedule | None) -> str:
    assert schedule is not None
    script = schedule.mod["main"].script(
        show_meta=False, int_dtype="int64", float_dtype="float32", verbose_expr=False
    )
    return str(script).partition("\n\n")[2] + "\n"


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_conv2d(golden: Golden, kind: str) -> None:
    golden(schedule_text(apply_rule("conv2d", only_kernel(CONVOLUTIONS[kind]))))


@pytest.mark.parametrize("kind", COLUMNS)
def test_conv2d_columns(golden: Golden, kind: str) -> None:
    golden(schedule_text(apply_rule("conv2d-columns", only_kernel(COLUMNS[kind]))))


@pytest.mark.parametrize("kind", DEPTHWISE)
def test_depthwise_conv2d(golden: Golden, kind: str) -> None:
    golden(schedule_text(apply_rule("depthwise-conv2d", only_kernel(DEPTHWISE[kind]))))


def test_conv2d_transpose(golden: Golden) -> None:
    golden(schedule_text(apply_rule("conv2d-transpose", only_kernel(TRANSPOSED))))


@pytest.mark.parametrize("kind", MATMULS)
def test_matmul(golden: Golden, kind: str) -> None:
    golden(schedule_text(apply_rule("matmul", only_kernel(MATMULS[kind]))))


def test_attention(golden: Golden) -> None:
    golden(schedule_text(apply_rule("attention", only_kernel(ATTENTION))))


@pytest.mark.parametrize("kind", ROWS)
def test_rows(golden: Golden, kind: str) -> None:
    golden(schedule_text(apply_rule("rows", only_kernel(ROWS[kind]))))


@pytest.mark.parametrize("nest", FALLBACKS)
def test_fallback(golden: Golden, nest: str) -> None:
    schedule, used = apply_fallback(only_kernel(FALLBACKS[nest]))
    assert used == nest
    golden(schedule_text(schedule))


def test_fallback_elementwise(golden: Golden) -> None:
    schedule, used = apply_fallback(only_kernel(ELEMENTWISE))
    assert used == "block-by-block"
    golden(schedule_text(schedule))
