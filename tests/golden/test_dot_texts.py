"""Integer rules on machines whose steps are pairs or fours of products; which kernels have none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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


def _depthwise(**attributes: Any) -> QdqBuilder:
    """3 x 3 over 32 channels, an odd number of rows and columns."""
    b = QdqBuilder()
    pads = {"pads": [1, 1, 1, 1], **attributes}
    made = b.node("Conv", b.data(1, 32, 9, 9), b.weight(32, 1, 3, 3), group=32, **pads)
    b.output(made, 0.2)
    return b


def test_tap_pairs(golden: Golden) -> None:
    golden(_text("tap-pairs", _depthwise(), PAIRS))


def test_pointwise_runs_of_positions(golden: Golden) -> None:
    b = QdqBuilder()
    b.output(b.node("Conv", b.data(1, 10, 12, 12), b.weight(32, 10, 1, 1)), 0.2)
    golden(_text("integer-conv2d", b, PAIRS))


@pytest.mark.parametrize("attributes", [{"dilations": [2, 1]}, {"strides": [1, 2]}])
def test_only_taps_below_each_other_are_pairs(attributes: dict[str, Any]) -> None:
    functions = workloads(_depthwise(**attributes).model(), PAIRS).functions
    kernel = next(func for name, func in functions.items() if name.startswith("integer_"))
    taken = apply_rule("tap-pairs", kernel, PAIRS) is not None
    assert taken == ("dilations" not in attributes)


def test_tap_pairs_are_not_for_a_machine_without_the_step() -> None:
    functions = workloads(_depthwise().model(), PAIRS).functions
    kernel = next(func for name, func in functions.items() if name.startswith("integer_"))
    before = str(kernel.script())
    assert apply_rule("tap-pairs", kernel, load_target("rv64gc")) is None
    assert apply_rule("integer-depthwise", kernel, PAIRS) is None
    assert str(kernel.script()) == before


def test_weights_of_int16_are_no_fours() -> None:
    unsigned = _convolution(dtype="uint8")  # less their zero point they need 9 bits
    assert roles.DOT_STEP in _text("integer-conv2d", unsigned, PAIRS)
    assert roles.DOT_STEP not in _text("integer-conv2d", unsigned, FOURS)


@pytest.mark.parametrize("out", [1, 2])
def test_few_channels_fill_one_vector(out: int) -> None:
    text = _text("integer-conv2d", _convolution(out=out), PAIRS)
    assert roles.DOT_STEP in text
    assert 'T.int64(8), T.int64(2)), "int8"' in text


def test_machine_without_steps_has_loops() -> None:
    spec = load_target("rv64gc")
    assert roles.DOT_STEP not in _text("integer-conv2d", _convolution(), spec)


@pytest.mark.parametrize(("kernel", "columns"), [(1, 6), (3, 5)])
def test_sums_in_loops_over_taps_leave_a_register(kernel: int, columns: int) -> None:
    b = QdqBuilder()
    pads = [kernel // 2] * 4
    b.output(
        b.node("Conv", b.data(1, 16, 24, 24), b.weight(16, 16, kernel, kernel), pads=pads), 0.2
    )
    assert f"in T.unroll(T.int64({columns})):" in _text("integer-conv2d", b, PAIRS)
