"""Rules for small integers on 64-bit Arm and RISC-V: sums are left to functions of the runtime."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tvm_ffi
from tvm import te
from tvm.tirx import PrimFunc

from compiler.stages.operators.integer_conv2d import integer_conv2d, integer_depthwise_conv2d
from compiler.stages.operators.integer_dot import IntegerDot, integer_dot
from compiler.stages.operators.integer_matmul import integer_matmul
from compiler.target_spec import load_target
from schedules import roles
from tests import signatures
from tests.lowered import apply_rule

Golden = Callable[[str], None]
RULES = {"dot-conv2d": "conv2d", "dot-matmul": "matmul", "neon-depthwise": "depthwise"}
N1 = load_target("neoverse-n1")


def _func(kind: str, dot: IntegerDot, *, multiplier: int = 1, channels: int = 16) -> PrimFunc:
    """A kernel of one operator with a residual that is no constant behind it."""
    if kind == "matmul":
        data = te.placeholder((6, 20), "int8", name="left")
        lanes = dot.lanes_for(24)
        shape: tuple[int, ...] = (24 // lanes, 20 // dot.group, lanes, dot.group)
        weight = te.placeholder(shape, "int8", name="right")
        out = integer_matmul(data, weight, columns=24, dot=dot, zero=3)
    elif kind == "depthwise":
        data = te.placeholder((1, 6, 8, channels), "int8", name="data")
        weight = te.placeholder((3, 3, channels * multiplier), "int8", name="weight")
        sig = signatures.conv2d(channels, channels * multiplier, 6, width=8, groups=channels)
        dot = dot.of_depthwise
        out = integer_depthwise_conv2d(data, weight, sig=sig, dot=dot, zero=3)
    else:
        data = te.placeholder((1, 6, 8, 8), "int8", name="data")
        lanes = dot.lanes_for(24)
        shape = (24 // lanes, 3, 3, 8 // dot.group, lanes, dot.group)
        weight = te.placeholder(shape, "int8", name="weight")
        sig = signatures.conv2d(8, 24, 6, width=8)
        out = integer_conv2d(data, weight, sig=sig, dot=dot, zero=3)
    small = te.compute(out.shape, lambda *i: (out[i] + 1).astype("int8"), name="small")
    return te.create_prim_func([data, weight, small])


@pytest.mark.parametrize("rule", RULES)
def test_sums_are_marked(golden: Golden, rule: str) -> None:
    schedule = apply_rule(rule, _func(RULES[rule], integer_dot(N1)), N1)
    assert schedule is not None
    golden(schedule.mod["main"].script())


def test_depthwise_sums_in_words_are_those_of_some_rows(golden: Golden) -> None:
    spec = load_target("rv64gc")
    schedule = apply_rule("neon-depthwise", _func("depthwise", integer_dot(spec)), spec)
    assert schedule is not None
    golden(schedule.mod["main"].script())


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    ("target", "mark"),
    [
        ("neoverse-n1", roles.DOTS),
        ("cortex-a72", roles.NARROW_PAIRS),
        ("rv64gcv", roles.RISCV_VECTORS),
        ("rv64gc", roles.WORDS),
    ],
)
def test_mark_says_what_the_machine_has(rule: str, target: str, mark: int) -> None:
    spec = load_target(target)
    schedule = apply_rule(rule, _func(RULES[rule], integer_dot(spec)), spec)
    assert schedule is not None
    assert f'"{roles.INTEGER_SUMS}": {mark}' in schedule.mod["main"].script()


@pytest.mark.parametrize("target", ["cortex-a72", "x86-64-v4", "rv64gc", "rv64gcv"])
@pytest.mark.parametrize("rule", ["dot-conv2d", "dot-matmul"])
def test_targets_without_dot_products_are_not_meant(rule: str, target: str) -> None:
    assert apply_rule(rule, _func(RULES[rule], integer_dot(N1)), load_target(target)) is None


def test_targets_with_steps_of_their_own_are_not_meant() -> None:
    func = _func("depthwise", integer_dot(N1))
    assert apply_rule("neon-depthwise", func, load_target("x86-64-v4")) is None


@pytest.mark.parametrize("kind", ["conv2d", "matmul"])
def test_little_depth_without_dot_products_is_summed_input_by_input(kind: str) -> None:
    a72 = load_target("cortex-a72")
    few = integer_dot(a72).for_sums(3, np.asarray([-127]))
    assert (few.group, few.row_dtype) == (1, "int16")
    assert apply_rule(f"dot-{kind}", _func(kind, few), a72) is not None


def test_weights_that_two_products_would_overflow_are_summed_one_by_one() -> None:
    dot = integer_dot(load_target("cortex-a72"))
    assert dot.for_sums(64, np.asarray([-127])) is dot
    assert dot.for_sums(64, np.asarray([-128])).group == 1
    assert integer_dot(N1).for_sums(3, np.asarray([-128])) == integer_dot(N1)


@pytest.mark.parametrize("rule", RULES)
def test_kernels_of_another_kind_are_not_meant(rule: str) -> None:
    for other in set(RULES.values()) - {RULES[rule]}:
        assert apply_rule(rule, _func(other, integer_dot(N1)), N1) is None


@pytest.mark.parametrize(
    "dot",
    [
        IntegerDot(lanes=8),
        IntegerDot(lanes=8, group=2, row_dtype="int8"),
        IntegerDot(lanes=2, group=4, row_dtype="int8"),
        IntegerDot(lanes=8, group=4, row_dtype="int16"),
    ],
    ids=["by-1", "by-2", "two-lanes", "int16"],
)
@pytest.mark.parametrize("rule", ["dot-conv2d", "dot-matmul"])
def test_weights_that_are_packed_otherwise_are_not_meant(rule: str, dot: IntegerDot) -> None:
    assert apply_rule(rule, _func(RULES[rule], dot), N1) is None


@pytest.mark.parametrize(("channels", "lanes"), [(16, 16), (24, 8), (48, 16), (20, 16)])
def test_depthwise_epilogue_has_vectors_that_divide_the_channels(channels: int, lanes: int) -> None:
    schedule = apply_rule(
        "neon-depthwise", _func("depthwise", integer_dot(N1), channels=channels), N1
    )
    assert schedule is not None
    *_, last = (line for line in schedule.mod["main"].script().splitlines() if "vectorized" in line)
    assert f"T.vectorized({lanes})" in last.replace("T.int64", "").replace("((", "(").replace(
        "))", ")"
    )


def test_several_outputs_for_each_input_are_not_meant() -> None:
    func = _func("depthwise", integer_dot(N1), multiplier=2)
    assert apply_rule("neon-depthwise", func, N1) is None


@pytest.mark.parametrize("rule", RULES)
def test_kernel_that_is_given_stays_as_it_was(rule: str) -> None:
    func = _func(RULES[rule], integer_dot(N1))
    before = tvm_ffi.structural_hash(func)
    apply_rule(rule, func, N1)
    assert tvm_ffi.structural_hash(func) == before


@pytest.mark.parametrize(
    ("channels", "lanes"), [(96, 16), (24, 8), (20, 4), (10, 4), (1, 4), (1000, 8), (13, 16)]
)
def test_as_few_lanes_as_possible_are_empty(channels: int, lanes: int) -> None:
    assert integer_dot(N1).lanes_for(channels) == lanes
