"""Integer rules on machines whose steps are pairs or fours of products; which kernels have none."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from compiler.target_spec import TargetSpec, load_target
from schedules import roles
from tests.lowered import apply_rule, workloads
from tests.quantized_models import QdqBuilder

Golden = Callable[[str], None]
PAIRS, FOURS = load_target("x86-64-v3"), load_target("icelake-server")


def _convolution(*, out: int = 32, dtype: str = "int8") -> QdqBuilder:
    """3x3 over 5 channels: a chunk of channels is not full, nor is the last tile of 9 columns."""
    b = QdqBuilder()
    data = b.data(1, 5, 9, 9)
    weight = b.weight(out, 5, 3, 3, zero=7 if dtype == "uint8" else 0, dtype=dtype)
    b.output(b.node("Conv", data, weight, pads=[1, 1, 1, 1]), 0.2)
    return b


def _product() -> QdqBuilder:
    b = QdqBuilder()
    b.output(b.node("MatMul", b.data(7, 10), b.weight(10, 32, axis=1)), 0.1)
    return b


def _text(rule: str, model: QdqBuilder, spec: TargetSpec) -> str:
    functions = workloads(model.model(), spec).functions
    kernel = next(func for name, func in functions.items() if name.startswith("integer_"))
    schedule = apply_rule(rule, kernel, spec)
    assert schedule is not None
    return str(schedule.mod["main"].script())


@pytest.mark.parametrize("spec", [PAIRS, FOURS], ids=["pairs", "fours"])
def test_convolution(spec: TargetSpec, golden: Golden) -> None:
    golden(_text("integer-conv2d", _convolution(), spec))


@pytest.mark.parametrize("spec", [PAIRS, FOURS], ids=["pairs", "fours"])
def test_product(spec: TargetSpec, golden: Golden) -> None:
    golden(_text("integer-matmul", _product(), spec))


def test_weights_of_int16_are_no_fours() -> None:
    unsigned = _convolution(dtype="uint8")  # less their zero point they need 9 bits
    assert roles.DOT_STEP in _text("integer-conv2d", unsigned, PAIRS)
    assert roles.DOT_STEP not in _text("integer-conv2d", unsigned, FOURS)


@pytest.mark.parametrize("out", [1, 2])
def test_fewer_lanes_than_any_vector_are_loops(out: int) -> None:
    assert roles.DOT_STEP not in _text("integer-conv2d", _convolution(out=out), PAIRS)


def test_machine_without_steps_has_loops() -> None:
    spec = load_target("rv64gc")
    assert roles.DOT_STEP not in _text("integer-conv2d", _convolution(), spec)
