"""Sums of products by one instruction: what they are packed for, which kernels the rules take."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import tvm
import tvm_ffi
from tvm import te
from tvm.tirx import PrimFunc

from compiler.kernels.build import lower_kernel
from compiler.kernels.build_object import unlinked_object_kernel
from compiler.program import ScheduleOutcome
from compiler.stages.operators.conv2d_signature import Conv2dSignature
from compiler.stages.operators.integer_conv2d import (
    integer_conv2d,
    integer_depthwise_conv2d,
    pack_integer_conv2d_weight,
)
from compiler.stages.operators.integer_dot import HELIUM, IntegerDot, integer_dot
from compiler.stages.operators.integer_matmul import integer_matmul
from compiler.stages.operators.joined_taps import for_joined_taps, joins_taps
from compiler.target_spec import load_target
from compiler.tvm_target import tvm_target
from schedules.mcu.dot_product import dot_product_intrinsic
from schedules.rules import VECTOR_MCU_RULES, Rule
from tests import signatures
from tests.lowered import apply_rule

SPEC = load_target("cortex-m55")
RULES = ("dot-conv2d", "dot-matmul", "vector-integer-depthwise")


def _placeholder(shape: tuple[int, ...], dtype: str = "int8", name: str = "x") -> te.Tensor:
    return te.placeholder(shape, dtype, name=name)


def _operator(
    rule: str, *, group: int = 16, data: str = "int8", weight: str = "int8"
) -> tuple[list[te.Tensor], te.Tensor]:
    dot = IntegerDot(lanes=4, group=group)
    if rule == "dot-matmul":
        operands = [
            _placeholder((3, 2 * group), data),
            _placeholder((2, 2, 4, group), weight, "w"),
        ]
        return operands, integer_matmul(*operands, columns=8, dot=dot, zero=3)
    sig = signatures.conv2d(group, 8, 4)
    image = _placeholder((1, 4, 4, group), data)
    if rule == "dot-conv2d":
        operands = [image, _placeholder((2, 3, 3, 1, 4, group), weight, "w")]
        return operands, integer_conv2d(*operands, sig=sig, dot=dot, zero=3)
    sig = signatures.conv2d(group, group, 4, groups=group)
    operands = [image, _placeholder((3, 3, group), weight, "w")]
    return operands, integer_depthwise_conv2d(*operands, sig=sig, dot=dot, zero=3)


def _func(rule: str, **changes: Any) -> PrimFunc:
    inputs, out = _operator(rule, **changes)
    small = te.compute(out.shape, lambda *i: (out[i] + 1).astype("int8"), name="small")
    return te.create_prim_func([*inputs, small])


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("other", RULES)
def test_rule_takes_its_kind_only(rule: str, other: str) -> None:
    assert (apply_rule(rule, _func(other), SPEC) is None) == (rule != other)


@pytest.mark.parametrize("rule", VECTOR_MCU_RULES, ids=lambda rule: rule.name)
def test_rule_is_for_machines_with_the_instruction(rule: Rule) -> None:
    if rule.name in RULES:
        assert rule.apply(_func(rule.name), SPEC) is not None
        without = replace(SPEC, vector=replace(SPEC.vector, sums_products=False))
        assert rule.apply(_func(rule.name), without) is None


@pytest.mark.parametrize("rule", RULES)
def test_rule_refuses_a_sum_of_its_result(rule: str) -> None:
    inputs, out = _operator(rule)
    axis = te.reduce_axis((0, out.shape[-1]), "axis")
    total = te.compute(out.shape[:-1], lambda *i: te.sum(out[(*i, axis)], axis=axis), name="total")
    assert apply_rule(rule, te.create_prim_func([*inputs, total]), SPEC) is None


@pytest.mark.parametrize("rule", RULES)
def test_rule_leaves_the_kernel_that_it_is_given(rule: str) -> None:
    func = _func(rule)
    before = tvm_ffi.structural_hash(func)
    assert apply_rule(rule, func, SPEC) is not None
    assert tvm_ffi.structural_hash(func) == before


@pytest.mark.parametrize("rule", RULES[:2])
@pytest.mark.parametrize(
    ("changes", "taken"),
    [
        ({"group": 8}, True),
        ({"group": 4}, True),
        ({"group": 2}, False),
        ({"weight": "int16"}, False),
        ({"data": "uint8"}, False),  # of 16 products both factors have one sign
        ({"data": "uint8", "group": 8}, True),  # widened
    ],
)
def test_groups_that_the_instruction_sums(rule: str, changes: dict[str, Any], taken: bool) -> None:
    assert (apply_rule(rule, _func(rule, **changes), SPEC) is not None) == taken


def test_a_pointwise_convolution_copies_a_row_at_a_time() -> None:
    """Its sums are one row of all positions; a copy of them all would be as large as the data."""
    sig = signatures.conv2d(16, 8, 12, width=40, kernel=(1, 1), pads=(0, 0, 0, 0))
    dot = integer_dot(SPEC)
    operands = [_placeholder((1, 12, 40, 16), "uint8"), _placeholder((2, 1, 1, 1, 4, 16), name="w")]
    out = integer_conv2d(*operands, sig=sig, dot=dot, zero=3)
    schedule = apply_rule("dot-conv2d", te.create_prim_func([*operands, out]), SPEC)
    assert schedule is not None
    target = tvm_target(SPEC)
    lowered = lower_kernel(schedule.mod["main"], name="kernel", input_count=2, target=target)
    assert lowered.memory.scratch_bytes == (40 * 16,)


def test_the_intrinsic_is_one_instruction() -> None:
    """Four sums of 16 products: VMLADAV four times, and nothing that multiplies otherwise."""
    schedule = apply_rule("dot-conv2d", _func("dot-conv2d"), SPEC)
    assert schedule is not None
    assert "llvm.arm.mve.vmldava" in schedule.mod["main"].script()
    kernel = unlinked_object_kernel(
        schedule.mod["main"],
        name="kernel",
        input_count=2,
        outcome=ScheduleOutcome(source="rule", name="dot-conv2d"),
        target=tvm_target(SPEC),
    )
    # VMLADAV, T2 (8 bits): 1110 1110 1111 nnn0 ddd0 1111 x0a0 mmm1, two half-words.
    code = kernel.object_code
    halves = [int.from_bytes(code[i : i + 2], "little") for i in range(0, len(code) - 1, 2)]
    found = sum(a & 0xFFF1 == 0xEEF0 and b & 0x1FD1 == 0x0F00 for a, b in pairwise(halves))
    assert found >= 4


def test_no_intrinsic_for_what_the_machine_lacks() -> None:
    assert dot_product_intrinsic(32, "int8") is None
    assert dot_product_intrinsic(16, "int16") is None
    name = dot_product_intrinsic(8, "int8")
    assert name is not None
    assert dot_product_intrinsic(8, "int8") == name


def test_groups_follow_the_depth() -> None:
    assert integer_dot(SPEC) == HELIUM
    groups = {depth: HELIUM.for_depth(depth).group for depth in (4, 8, 12, 15, 16, 24, 32, 64)}
    assert groups == {4: 4, 8: 8, 12: 4, 15: 16, 16: 16, 24: 8, 32: 16, 64: 16}
    plain = IntegerDot(lanes=8)
    assert plain.for_depth(24) is plain


@pytest.mark.parametrize(
    ("channels", "changes", "joined"),
    [
        (3, {}, True),  # 9 of 16 products instead of 3 x 3 of 16
        (16, {}, False),
        (1, {"kernel": (1, 4)}, True),
        (3, {"kernel": (3, 1)}, False),
        (3, {"dilation": (1, 2)}, False),  # columns of taps do not lie together
        (6, {"groups": 2}, False),
    ],
)
def test_taps_are_joined_where_fewer_groups_do(
    channels: int, changes: dict[str, Any], joined: bool
) -> None:
    sig = signatures.conv2d(channels, 4, 6, **changes)
    assert joins_taps(sig, HELIUM) == joined
    assert not joins_taps(sig, IntegerDot(lanes=4))


def test_a_short_run_has_a_short_group() -> None:
    runs = {run: for_joined_taps(run, HELIUM).group for run in (4, 5, 9, 17, 30)}
    assert runs == {4: 4, 5: 8, 9: 16, 17: 16, 30: 16}


def _sums(sig: Conv2dSignature, dot: IntegerDot, data: np.ndarray, weight: np.ndarray) -> Any:
    packed = pack_integer_conv2d_weight(weight, sig, dot)
    operands = [_placeholder(data.shape), _placeholder(packed.shape, name="w")]
    out = integer_conv2d(*operands, sig=sig, dot=dot, zero=-7)
    built = tvm.compile(te.create_prim_func([*operands, out]), target={"kind": "llvm"})
    result = tvm.runtime.tensor(np.zeros([int(e) for e in out.shape], np.int32))
    built["main"](tvm.runtime.tensor(data), tvm.runtime.tensor(packed), result)
    return result.numpy()


@pytest.mark.parametrize(
    ("channels", "changes"),
    [
        (3, {"strides": (2, 2), "pads": (0, 0, 1, 1)}),
        (1, {"kernel": (4, 3), "pads": (1, 2, 1, 0)}),
        (5, {"pads": (0, 0, 0, 0)}),
        (3, {"pads": (1, 4, 0, 5), "strides": (1, 3)}),
    ],
)
def test_joined_taps_are_the_same_sums(channels: int, changes: dict[str, Any]) -> None:
    random = np.random.default_rng(channels)
    sig = signatures.conv2d(channels, 6, 7, width=8, **changes)
    assert joins_taps(sig, HELIUM)
    data = random.integers(-128, 127, (1, 7, 8, channels), np.int8, endpoint=True)
    weight = random.integers(-128, 127, (6, channels, *sig.kernel), np.int8, endpoint=True)
    apart = _sums(sig, IntegerDot(lanes=2), data, weight)
    assert np.array_equal(_sums(sig, HELIUM, data, weight), apart)
    assert len(np.unique(apart)) > 8
