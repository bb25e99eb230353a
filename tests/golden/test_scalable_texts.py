"""Rules for vectors of a length that only the processor knows: sums are left to the runtime."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from onnx import helper
from tvm.tirx import PrimFunc

from compiler.target_spec import load_target
from tests.blocked_models import chain_model
from tests.lowered import apply_rule, only_kernel, workloads
from tests.onnx_models import make_model, weights

Golden = Callable[[str], None]
SVE = load_target("neoverse-v1")


def _kernel(rule: str) -> PrimFunc:
    if rule == "scalable-matmul":
        model = make_model(
            [helper.make_node("MatMul", ["x", "w"], ["y"], name="node")],
            inputs={"x": ("float32", [3, 8])},
            outputs={"y": ("float32", [3, 24])},
            constants={"w": weights(8, 24, seed=0)},
        )
        return only_kernel(model, SVE)
    functions = workloads(chain_model(), SVE).functions
    start = "depthwise" if rule == "scalable-depthwise-conv2d" else "conv2d_add"
    return functions[next(name for name in functions if name.startswith(start))]


RULES = ("scalable-conv2d", "scalable-depthwise-conv2d", "scalable-matmul")


@pytest.mark.parametrize("rule", RULES)
def test_sums_are_marked(golden: Golden, rule: str) -> None:
    schedule = apply_rule(rule, _kernel(rule), SVE)
    assert schedule is not None
    golden(schedule.mod["main"].script())


@pytest.mark.parametrize("rule", RULES)
def test_targets_with_vectors_of_known_length_are_not_meant(rule: str) -> None:
    assert apply_rule(rule, _kernel(rule), load_target("cortex-a72")) is None


@pytest.mark.parametrize("rule", RULES)
def test_kernels_of_another_kind_are_not_meant(rule: str) -> None:
    other = "scalable-matmul" if rule != "scalable-matmul" else "scalable-conv2d"
    assert apply_rule(rule, _kernel(other), SVE) is None


@pytest.mark.parametrize("rule", RULES)
def test_input_module_is_unchanged(rule: str) -> None:
    kernel = _kernel(rule)
    before = kernel.script()
    apply_rule(rule, kernel, SVE)
    assert kernel.script() == before
