"""The whole text of what the plain integer rules make of tiny kernels."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tvm.s_tir import Schedule

from compiler.target_spec import load_target
from tests.lowered import apply_rule, workloads
from tests.quantized_models import QdqBuilder

Golden = Callable[[str], None]
KINDS = {"conv2d": "integer_conv2d", "depthwise": "integer_depthwise", "matmul": "integer_matmul"}


def _small(kind: str) -> QdqBuilder:
    builder = QdqBuilder()
    if kind == "matmul":
        made = builder.node("MatMul", builder.data(2, 8), builder.weight(8, 16, axis=1))
    else:
        group = 8 if kind == "depthwise" else 1
        weight = builder.weight(8, 8 // group, 3, 3)
        data = builder.data(1, 8, 4, 4)
        made = builder.node("Conv", data, weight, pads=[1, 1, 1, 1], group=group)
    builder.output(made, 0.1)
    return builder


def _text(schedule: Schedule | None) -> str:
    assert schedule is not None
    script = schedule.mod["main"].script(
        show_meta=False, int_dtype="int64", float_dtype="float32", verbose_expr=False
    )
    return str(script).partition("\n\n")[2] + "\n"


# Machines without an instruction for sums of products, and what their plain rules are called.
_PREFIX = {"rv64gc": "", "cortex-m0plus": "scalar-"}


@pytest.mark.parametrize("target", _PREFIX)
@pytest.mark.parametrize("kind", KINDS)
def test_rule(golden: Golden, kind: str, target: str) -> None:
    spec = load_target(target)
    functions = workloads(_small(kind).model(), spec).functions
    (func,) = (f for name, f in functions.items() if KINDS[kind] in name)
    rule = f"{_PREFIX[target]}integer-{kind}"
    golden(_text(apply_rule(rule, func, spec)))
