"""The whole text of what each rule for microcontrollers makes of a tiny kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
import pytest
from onnx import helper
from tvm.s_tir import Schedule
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec, load_target
from schedules.mcu.conv2d import scalar_conv2d
from schedules.mcu.depthwise_conv2d import scalar_depthwise_conv2d
from tests.lowered import apply_rule, only_kernel, workloads
from tests.onnx_models import make_model, weights
from tests.quantized_models import QdqBuilder

Golden = Callable[[str], None]
SPEC = load_target("cortex-m4f")
PADS = [1, 1, 1, 1]


def _conv(
    shape: list[int], out: list[int], weight: tuple[int, ...], **attributes: Any
) -> onnx.ModelProto:
    return make_model(
        [helper.make_node("Conv", ["x", "w"], ["y"], name="node", **attributes)],
        inputs={"x": ("float32", shape)},
        outputs={"y": ("float32", out)},
        constants={"w": weights(*weight)},
    )


PADDED = _conv([1, 2, 4, 4], [1, 4, 4, 4], (4, 2, 3, 3), pads=PADS)
DEPTHWISE = _conv([1, 16, 4, 4], [1, 16, 4, 4], (16, 1, 3, 3), group=16, pads=PADS)
# The second one reads blocks of channels.
TWO_CONVOLUTIONS = make_model(
    [
        helper.make_node("Conv", ["x", "w"], ["c"], name="first"),
        helper.make_node("Conv", ["c", "v"], ["d"], name="second", group=4, pads=PADS),
        helper.make_node("Conv", ["d", "u"], ["y"], name="third"),
    ],
    inputs={"x": ("float32", [1, 2, 4, 4])},
    outputs={"y": ("float32", [1, 4, 4, 4])},
    constants={"w": weights(4, 2, 1, 1), "v": weights(4, 1, 3, 3), "u": weights(4, 4, 1, 1)},
)
PRODUCT = make_model(
    [helper.make_node("MatMul", ["x", "w"], ["y"], name="node")],
    inputs={"x": ("float32", [1, 8])},
    outputs={"y": ("float32", [1, 16])},
    constants={"w": weights(8, 16)},
)
KERNELS = {
    "scalar-conv2d": PADDED,
    "scalar-depthwise-conv2d": DEPTHWISE,
    "scalar-matmul": PRODUCT,
}


def _quantized(op_type: str, shape: list[int], weight: tuple[int, ...], **attributes: Any) -> Any:
    b = QdqBuilder()
    b.output(b.node(op_type, b.data(*shape), b.weight(*weight), **attributes), 0.1)
    return b.model()


DOT_KERNELS = {
    "dot-conv2d": _quantized("Conv", [1, 16, 3, 4], (8, 16, 3, 3), pads=PADS),
    "dot-matmul": _quantized("Gemm", [1, 32], (4, 32), transB=1),
    "vector-integer-depthwise": _quantized("Conv", [1, 8, 3, 4], (8, 1, 3, 3), group=8, pads=PADS),
}
JOINED_TAPS = _quantized("Conv", [1, 3, 4, 4], (4, 3, 3, 3), pads=PADS)

VECTOR_KERNELS = {
    "conv2d": _conv([1, 2, 3, 3], [1, 8, 3, 3], (8, 2, 1, 1)),
    "matmul": PRODUCT,
}


def _text(schedule: Schedule | None) -> str:
    assert schedule is not None
    script = schedule.mod["main"].script(
        show_meta=False, int_dtype="int64", float_dtype="float32", verbose_expr=False
    )
    return str(script).partition("\n\n")[2] + "\n"


@pytest.mark.parametrize("rule", KERNELS)
def test_rule(golden: Golden, rule: str) -> None:
    golden(_text(apply_rule(rule, only_kernel(KERNELS[rule], SPEC), SPEC)))


@pytest.mark.parametrize("rule", VECTOR_KERNELS)
def test_rule_for_vectors(golden: Golden, rule: str) -> None:
    """One vector of weights beside the inputs of a tile; two or four vectors side by side."""
    spec = load_target("cortex-m55")
    golden(_text(apply_rule(rule, only_kernel(VECTOR_KERNELS[rule], spec), spec)))


def _integer_kernel(model: onnx.ModelProto, spec: TargetSpec) -> PrimFunc:
    """The kernel that is no transpose of an input or output."""
    functions = workloads(model, spec).functions
    return next(func for name, func in functions.items() if name.startswith("integer"))


@pytest.mark.parametrize("rule", DOT_KERNELS)
def test_rule_for_sums_of_products(golden: Golden, rule: str) -> None:
    spec = load_target("cortex-m55")
    golden(_text(apply_rule(rule, _integer_kernel(DOT_KERNELS[rule], spec), spec)))


def test_joined_taps(golden: Golden) -> None:
    spec = load_target("cortex-m55")
    golden(_text(apply_rule("dot-conv2d", _integer_kernel(JOINED_TAPS, spec), spec)))


def test_vector_depthwise_conv2d(golden: Golden) -> None:
    spec = load_target("cortex-m55")
    functions = workloads(TWO_CONVOLUTIONS, spec).functions
    func = next(f for name, f in functions.items() if name.startswith("depthwise"))
    golden(_text(apply_rule("vector-depthwise-conv2d", func, spec)))


def test_small_conv2d(golden: Golden) -> None:
    golden(_text(scalar_conv2d(only_kernel(PADDED, SPEC), SPEC, unroll_taps=False)))


def test_small_depthwise_conv2d(golden: Golden) -> None:
    func = only_kernel(DEPTHWISE, SPEC)
    golden(_text(scalar_depthwise_conv2d(func, SPEC, whole_planes=False)))
