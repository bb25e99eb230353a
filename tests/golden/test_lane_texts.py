"""Rules on a target whose multiply-adds take lanes of registers: inputs are loaded as vectors."""

from __future__ import annotations

from collections.abc import Callable

from onnx import helper

from compiler.target_spec import load_target
from tests.blocked_models import chain_model
from tests.lowered import apply_rule, only_kernel, workloads
from tests.onnx_models import make_model, weights

Golden = Callable[[str], None]
NEON = load_target("cortex-a72")


def test_pointwise_conv2d(golden: Golden) -> None:
    functions = workloads(chain_model(), NEON).functions
    name = next(name for name in functions if name.startswith("conv2d_add"))
    schedule = apply_rule("conv2d", functions[name], NEON)
    assert schedule is not None
    golden(schedule.mod["main"].script())


def test_matmul(golden: Golden) -> None:
    model = make_model(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="node")],
        inputs={"x": ("float32", [3, 8])},
        outputs={"y": ("float32", [3, 8])},
        constants={"w": weights(8, 8, seed=0)},
    )
    schedule = apply_rule("matmul", only_kernel(model, NEON), NEON)
    assert schedule is not None
    golden(schedule.mod["main"].script())
