"""Rules for small integers in scalable vectors: sums are left to functions of the runtime."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import tvm_ffi
from tvm import te
from tvm.tirx import PrimFunc

from compiler.kernels.passes import lower_to_loops
from compiler.stages.operators.integer_conv2d import integer_conv2d, integer_depthwise_conv2d
from compiler.stages.operators.integer_dot import IntegerDot, integer_dot
from compiler.stages.operators.integer_matmul import integer_matmul
from compiler.target_spec import TargetSpec, load_target
from compiler.tvm_target import tvm_target
from tests import signatures
from tests.lowered import apply_rule

Golden = Callable[[str], None]
RULES = {"scalable-dot-conv2d": "conv2d", "scalable-dot-matmul": "matmul"}
V1 = load_target("neoverse-v1")
NO_MATRICES = replace(V1, llvm=replace(V1.llvm, features=("-i8mm",)))


def _func(kind: str, dot: IntegerDot, *, dtype: str = "int8", lanes: int = 24) -> PrimFunc:
    """A kernel of one operator with 24 columns or channels and something behind it."""
    blocks = 24 // lanes
    if kind == "matmul":
        data = te.placeholder((6, 16), dtype, name="left")
        shape: tuple[int, ...] = (blocks, 16 // dot.group, lanes, dot.group)
        weight = te.placeholder(shape, "int8", name="right")
        out = integer_matmul(data, weight, columns=24, dot=dot, zero=3)
    else:
        data = te.placeholder((1, 6, 8, 8), dtype, name="data")
        shape = (blocks, 3, 3, 8 // dot.group, lanes, dot.group)
        weight = te.placeholder(shape, "int8", name="weight")
        sig = signatures.conv2d(8, 24, 6, width=8)
        dot = replace(dot, joins_taps=False)
        out = integer_conv2d(data, weight, sig=sig, dot=dot, zero=3)
    small = te.compute(out.shape, lambda *i: (out[i] + 1).astype("int8"), name="small")
    return te.create_prim_func([data, weight, small])


@pytest.mark.parametrize("rule", RULES)
def test_sums_are_marked(golden: Golden, rule: str) -> None:
    schedule = apply_rule(rule, _func(RULES[rule], integer_dot(V1)), V1)
    assert schedule is not None
    golden(schedule.mod["main"].script())


def test_vectors_around_such_sums_have_a_known_length() -> None:
    """LLVM's scalable vectors of short loops are longer code: see `has_integer_sums`."""
    schedule = apply_rule("scalable-dot-matmul", _func("matmul", integer_dot(V1)), V1)
    assert schedule is not None
    func = schedule.mod["main"]
    text = lower_to_loops(func, tvm_target(V1), scalable=True).script()
    assert '"tunesmith_sve_mm_sums"' in text
    assert '"int8x8"' in text


def test_a_last_run_of_fewer_rows_is_a_call_too() -> None:
    """127 rows are a run of 64, which the first cache level holds, and one of 63."""
    data = te.placeholder((127, 16), "int8", name="left")
    weight = te.placeholder((1, 2, 64, 8), "int8", name="right")
    out = integer_matmul(data, weight, columns=64, dot=integer_dot(V1), zero=3)
    small = te.compute(out.shape, lambda *i: (out[i] + 1).astype("int8"), name="small")
    func = te.create_prim_func([data, weight, small])
    schedule = apply_rule("scalable-dot-matmul", func, V1)
    assert schedule is not None
    text = lower_to_loops(schedule.mod["main"], tvm_target(V1), scalable=True).script()
    assert text.count('"tunesmith_sve_mm_sums"') == 2
    assert "63, 64, 1, 1, 2" in text


def _depthwise(dtype: str) -> PrimFunc:
    data = te.placeholder((1, 6, 8, 16), dtype, name="data")
    weight = te.placeholder((3, 3, 16), "int8", name="weight")
    sig = signatures.conv2d(16, 16, 6, width=8, groups=16)
    dot = IntegerDot(lanes=64, group=8)
    out = integer_depthwise_conv2d(data, weight, sig=sig, dot=dot, zero=3)
    small = te.compute(out.shape, lambda *i: (out[i] + 1).astype("int8"), name="small")
    return te.create_prim_func([data, weight, small])


def test_depthwise_sums_are_marked_for_scalable_vectors() -> None:
    schedule = apply_rule("neon-depthwise", _depthwise("int8"), V1)
    assert schedule is not None
    assert "tunesmith.scalable-integer-sums" in schedule.mod["main"].script()


def test_depthwise_sums_of_wide_rows_are_not_meant() -> None:
    assert apply_rule("neon-depthwise", _depthwise("int16"), V1) is None


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    ("spec", "dtype", "group", "meant"),
    [
        (V1, "int8", 8, True),
        (V1, "uint8", 8, True),
        (V1, "int16", 8, False),
        (V1, "int8", 4, False),
        (NO_MATRICES, "int8", 4, True),
        (NO_MATRICES, "int8", 8, False),
        (load_target("neoverse-n1"), "int8", 8, False),
    ],
)
def test_operands_are_as_the_machine_multiplies_them(
    rule: str, spec: TargetSpec, dtype: str, group: int, meant: bool
) -> None:
    func = _func(RULES[rule], IntegerDot(lanes=64, group=group), dtype=dtype)
    assert (apply_rule(rule, func, spec) is not None) == meant


@pytest.mark.parametrize("rule", RULES)
def test_kernels_of_another_kind_or_of_few_lanes_are_not_meant(rule: str) -> None:
    (other,) = set(RULES.values()) - {RULES[rule]}
    assert apply_rule(rule, _func(other, integer_dot(V1)), V1) is None
    assert apply_rule(rule, _func(RULES[rule], integer_dot(V1), lanes=2), V1) is None


@pytest.mark.parametrize("rule", RULES)
def test_kernel_that_is_given_stays_as_it_was(rule: str) -> None:
    func = _func(RULES[rule], integer_dot(V1))
    before = tvm_ffi.structural_hash(func)
    apply_rule(rule, func, V1)
    assert tvm_ffi.structural_hash(func) == before


@pytest.mark.parametrize(
    ("channels", "lanes"), [(16, 16), (24, 24), (10, 12), (1, 4), (96, 48), (144, 48), (1000, 64)]
)
def test_blocks_of_lanes_are_as_equal_as_can_be(channels: int, lanes: int) -> None:
    assert integer_dot(V1).lanes_for(channels) == lanes


def test_what_a_step_is_follows_from_the_features() -> None:
    assert (integer_dot(V1).group, integer_dot(V1).row_dtype) == (8, None)
    without = integer_dot(NO_MATRICES)
    assert (without.group, without.row_dtype, without.of_depthwise.row_dtype) == (4, "int8", "int8")
    neither = replace(V1, llvm=replace(V1.llvm, features=("-i8mm", "-dotprod")))
    assert integer_dot(neither).of_depthwise.row_dtype == "int16"
