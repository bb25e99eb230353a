"""Rules for products of tiles (AMX): their whole texts, and which kernels they leave."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tvm.tirx import PrimFunc

from compiler.target_spec import TargetSpec, load_target
from schedules import roles
from tests.lowered import apply_rule, workloads
from tests.quantized_models import QdqBuilder

Golden = Callable[[str], None]
# Cores and threads are one: runs are as long as the first cache lets them be.
SPEC = load_target("sapphire-rapids").with_cores(1)


def _convolution(
    data: tuple[int, ...] = (1, 16, 18, 18),
    weight: tuple[int, ...] = (40, 16, 3, 3),
    **attributes: Any,
) -> QdqBuilder:
    b = QdqBuilder()
    values = b.weight(*weight)
    b.output(b.node("Conv", b.data(*data), values, **attributes), 0.2)
    return b


def _product(rows: int = 40, *, depth: int = 64, dtype: str = "int8") -> QdqBuilder:
    b = QdqBuilder()
    weight = b.weight(depth, 48, axis=1, dtype=dtype, zero=0 if dtype == "int8" else 9)
    b.output(b.node("MatMul", b.data(rows, depth), weight), 0.1)
    return b


def _kernel(model: QdqBuilder, spec: TargetSpec = SPEC) -> PrimFunc:
    functions = workloads(model.model(), spec).functions
    return next(func for name, func in functions.items() if name.startswith("integer_"))


def _text(rule: str, func: PrimFunc, spec: TargetSpec = SPEC) -> str:
    schedule = apply_rule(rule, func, spec)
    assert schedule is not None
    return str(schedule.mod["main"].script())


def test_convolution(golden: Golden) -> None:
    golden(_text("amx-conv2d", _kernel(_convolution(pads=[1, 1, 1, 1]))))


def test_product(golden: Golden) -> None:
    golden(_text("amx-matmul", _kernel(_product())))


def test_cores_get_runs_and_groups_of_channels() -> None:
    func = _kernel(_convolution((1, 64, 14, 14), (256, 64, 1, 1)))
    # Two runs of 98 positions, whose sums fit with two blocks; seven of 28 with eight or two.
    for cores, items in ((1, 2 * 8), (8, 7 * 2), (56, 7 * 8)):
        text = _text("amx-conv2d", func, SPEC.with_cores(cores))
        assert f"in T.parallel(T.int64({items})):" in text


@pytest.mark.parametrize(
    ("rule", "model"),
    [
        ("amx-matmul", _product(3)),
        ("amx-matmul", _product(16, depth=12)),
        ("amx-matmul", _product(dtype="uint8")),
        ("amx-conv2d", _convolution(weight=(40, 8, 3, 3), group=2)),
        ("amx-conv2d", _convolution((1, 16, 9, 5), pads=[0, 0, 0, 0])),
    ],
    ids=["few-rows", "little-depth", "weights-of-9-bits", "groups", "three-columns"],
)
def test_sums_that_fill_no_tiles_are_left(rule: str, model: QdqBuilder) -> None:
    func = _kernel(model)
    assert roles.TILE_SUMS not in str(func.script())
    assert apply_rule(rule, func, SPEC) is None
    assert apply_rule(rule.replace("amx", "integer"), func, SPEC) is not None


@pytest.mark.parametrize("rule", ["amx-conv2d", "amx-matmul"])
def test_other_machines_and_the_other_rule(rule: str) -> None:
    conv = rule == "amx-conv2d"
    model = _convolution(pads=[1, 1, 1, 1]) if conv else _product()
    func, other = _kernel(model), "amx-matmul" if conv else "amx-conv2d"
    before = str(func.script())
    icelake = load_target("icelake-server")
    assert apply_rule(rule, func, icelake) is None
    assert apply_rule(other, func, SPEC) is None
    assert apply_rule(rule, func, SPEC) is not None
    assert str(func.script()) == before
    assert roles.TILE_SUMS not in str(_kernel(model, icelake).script())
