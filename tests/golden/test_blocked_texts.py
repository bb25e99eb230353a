"""The whole text of what the rules make of tiny kernels on blocked data."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from compiler.onnx_import.model import Model
from compiler.relax_program import extract_program
from compiler.scheduling import distinct_workloads
from tests.blocked_models import chain_model
from tests.lowered import apply_rule, loaded, staged

Golden = Callable[[str], None]


def _kernels(model: Model) -> dict[str, object]:
    mod = staged(model)
    return distinct_workloads(mod, extract_program(mod, model)).functions


@pytest.mark.parametrize(
    ("rule", "kernel", "after_depthwise"),
    [
        ("conv2d", 2, ""),
        ("blocked-depthwise-conv2d", 1, ""),
        ("blocked-depthwise-conv2d", 1, "Sigmoid"),
    ],
    ids=["conv2d", "depthwise", "depthwise-sigmoid"],
)
def test_blocked(golden: Golden, rule: str, kernel: int, after_depthwise: str) -> None:
    functions = list(_kernels(loaded(chain_model(after_depthwise=after_depthwise))).values())
    schedule = apply_rule(rule, functions[kernel])
    assert schedule is not None
    golden(schedule.mod["main"].script())
