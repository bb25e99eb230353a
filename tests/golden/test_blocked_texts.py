"""The whole text of what the rules make of tiny kernels on blocked data."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tvm import te, tirx

from compiler.onnx_import.model import Model
from compiler.relax_program import extract_program
from compiler.scheduling import distinct_workloads
from compiler.stages.operators.winograd import TileGrid, winograd_conv2d
from tests import signatures
from tests.blocked_models import activated_model, chain_model, grouped_model
from tests.lowered import apply_rule, loaded, staged

Golden = Callable[[str], None]
WINOGRAD = signatures.conv2d(8, 8, 4)


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


@pytest.mark.parametrize("kernel", [1, 3])
def test_activated(golden: Golden, kernel: int) -> None:
    model = activated_model("Sigmoid", filters=16, size=(4, 6), kernel=kernel, stride=1, group=1)
    function = next(
        func for name, func in _kernels(loaded(model)).items() if name.startswith("conv2d_sigmoid")
    )
    schedule = apply_rule("conv2d", function)
    assert schedule is not None
    golden(schedule.mod["main"].script())


def test_grouped(golden: Golden) -> None:
    functions = list(_kernels(loaded(grouped_model(32, 2, size=3))).values())
    schedule = apply_rule("conv2d", functions[1])
    assert schedule is not None
    golden(schedule.mod["main"].script())


def test_winograd(golden: Golden) -> None:
    data = te.placeholder((1, 1, 4, 4, 8), "float32", name="data")
    weight = te.placeholder((4, 4, 1, 8, 8), "float32", name="weight")
    grid = TileGrid(tile=2, chunks=(2, 1), chunk=(1, 2))
    out = winograd_conv2d(data, weight, WINOGRAD, grid, 8)
    relu = te.compute(out.shape, lambda *i: tirx.max(out(*i), tirx.const(0.0)), name="relu")
    schedule = apply_rule("winograd", te.create_prim_func([data, weight, relu]))
    assert schedule is not None
    golden(schedule.mod["main"].script())
