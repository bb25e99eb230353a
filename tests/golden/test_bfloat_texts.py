"""Rules for products of bfloat16: their whole texts, and which kernels they leave."""

from __future__ import annotations

from collections.abc import Callable

import onnx
import pytest
from tvm.tirx import PrimFunc

from compiler.target_spec import Precision, TargetSpec, load_target
from tests.bfloat_models import convolution, product
from tests.lowered import apply_rule, workloads

Golden = Callable[[str], None]
# Cores and threads are one: the chunks are as large as caches let them be.
SPEC = load_target("znver4").with_cores(1)

CONVOLUTIONS = {
    "padded": convolution((1, 5, 5, 16), (32, 16, 3, 3), pads=[1, 1, 1, 1]),
    "runs-of-positions": convolution((1, 6, 8, 8), (16, 8, 1, 1)),
    "ragged-channels": convolution((1, 3, 4, 4), (11, 4, 1, 3)),
}


def _kernel(
    model: onnx.ModelProto, spec: TargetSpec = SPEC, precision: Precision = "bf16"
) -> PrimFunc:
    """The kernel of the product, which is the last one."""
    return list(workloads(model, spec, precision).functions.values())[-1]


def _text(rule: str, func: PrimFunc, spec: TargetSpec = SPEC) -> str:
    schedule = apply_rule(rule, func, spec)
    assert schedule is not None
    return str(schedule.mod["main"].script())


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolution(name: str, golden: Golden) -> None:
    golden(_text("bfloat-conv2d", _kernel(CONVOLUTIONS[name])))


def test_product(golden: Golden) -> None:
    golden(_text("bfloat-matmul", _kernel(product((9,), 12, 40))))


def test_cores_get_runs_and_parts_of_the_channels() -> None:
    func = _kernel(convolution((1, 14, 14, 64), (256, 64, 1, 1)))
    one = _text("bfloat-conv2d", func)
    many = _text("bfloat-conv2d", func, SPEC.with_cores(4))
    assert "in T.parallel(T.int64(1)):" in one  # all positions, copied once
    assert "in T.parallel(T.int64(16)):" in many  # four runs of 49, four parts of the channels


@pytest.mark.parametrize("rule", ["bfloat-conv2d", "bfloat-matmul"])
def test_float32_kernels_and_other_machines_are_left(rule: str) -> None:
    model = CONVOLUTIONS["padded"] if rule == "bfloat-conv2d" else product((9,), 12, 40)
    func = _kernel(model)
    before = str(func.script())
    assert apply_rule(rule, _kernel(model, precision="float32"), SPEC) is None
    assert apply_rule(rule, func, load_target("icelake-server")) is None
    assert apply_rule(rule, func, SPEC) is not None
    assert str(func.script()) == before


def test_each_rule_leaves_the_kernel_of_the_other() -> None:
    assert apply_rule("bfloat-matmul", _kernel(CONVOLUTIONS["padded"]), SPEC) is None
    assert apply_rule("bfloat-conv2d", _kernel(product((9,), 12, 40)), SPEC) is None
