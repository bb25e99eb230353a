"""The whole text of what each rule for GPUs, and their fallback, make of a tiny kernel."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from compiler.target_spec import Precision, load_target
from tests.golden.test_rule_texts import (
    CONVOLUTIONS,
    DEPTHWISE,
    ELEMENTWISE,
    FALLBACKS,
    MATMULS,
    ROWS,
    one_node,
    schedule_text,
)
from tests.gpu_integer_cases import SMALL_GPU, one_convolution
from tests.lowered import apply_fallback, apply_rule, only_kernel, workloads

Golden = Callable[[str], None]

SPEC = load_target("cuda-sm80")
RULES = {
    "conv2d-padded": ("gpu-product", CONVOLUTIONS["padded"]),
    "conv2d-relu": ("gpu-product", CONVOLUTIONS["plain"]),
    "matmul": ("gpu-product", MATMULS["with-pack"]),
    "depthwise": ("gpu-depthwise-conv2d", DEPTHWISE["stride-1"]),
    "softmax": ("gpu-rows", ROWS["softmax-with-tail"]),
    "layer-norm": ("gpu-rows", ROWS["layer-norm"]),
    "vector-matmul": ("gpu-reduction", one_node("MatMul", [1, 64], [1, 6], (64, 6))),
    "mean-relu": (
        "gpu-reduction",
        one_node("GlobalAveragePool", [1, 4, 8, 8], [1, 4, 1, 1], relu=True),
    ),
}
NESTS = {
    "elementwise": ELEMENTWISE,
    "pooling": FALLBACKS["tile"],
    "transpose": FALLBACKS["block-by-block"],
    "log-softmax": FALLBACKS["row-wise"],
}


@pytest.mark.parametrize("kind", RULES)
def test_gpu_rule(golden: Golden, kind: str) -> None:
    rule, model = RULES[kind]
    golden(schedule_text(apply_rule(rule, only_kernel(model, SPEC), SPEC)))


@pytest.mark.parametrize("precision", ["tf32", "fp16"])
def test_gpu_tensor_product(golden: Golden, precision: Precision) -> None:
    func = only_kernel(MATMULS["with-pack"], SPEC, precision)
    golden(schedule_text(apply_rule("gpu-tensor-product", func, SPEC)))


INTEGERS = {
    "dot": ("gpu-dot-product", SPEC, one_convolution()),
    "tensor-cores": ("gpu-tensor-product", SMALL_GPU, one_convolution(4, 33, 6)),
    "depthwise": ("gpu-depthwise-conv2d", SPEC, one_convolution(8, 8, group=8)),
}


@pytest.mark.parametrize("kind", INTEGERS)
def test_gpu_integers(golden: Golden, kind: str) -> None:
    rule, spec, model = INTEGERS[kind]
    functions = workloads(model, spec).functions
    (func,) = (func for name, func in functions.items() if "conv2d" in name)
    golden(schedule_text(apply_rule(rule, func, spec)))


@pytest.mark.parametrize("kind", NESTS)
def test_gpu_fallback(golden: Golden, kind: str) -> None:
    schedule, used = apply_fallback(only_kernel(NESTS[kind], SPEC), SPEC)
    assert used == "thread-for-each-element"
    golden(schedule_text(schedule))
