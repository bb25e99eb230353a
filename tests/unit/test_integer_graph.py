"""What the integer stage makes of a quantized graph: kernels, types, and what it leaves float."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import tvm_ffi
from tvm import te
from tvm.tirx import PrimFunc

from compiler.onnx_import.to_relax import to_relax
from compiler.relax_program import extract_program
from compiler.stages.integer.context import products_fit
from compiler.stages.integer.conv2d import narrowest
from compiler.stages.integer.elementwise import sum_shift
from compiler.stages.integer_graph import integer_graph
from compiler.stages.operators.integer_conv2d import (
    integer_conv2d,
    integer_depthwise_conv2d,
    pack_integer_conv2d_weight,
)
from compiler.stages.operators.integer_dot import IntegerDot
from compiler.stages.operators.integer_matmul import integer_matmul, pack_integer_right
from compiler.target_spec import load_target
from tests import signatures
from tests.lowered import apply_rule, loaded, staged, workloads
from tests.quantized_models import QdqBuilder, all_cases

KINDS = ("conv2d", "depthwise", "matmul")
DOT = IntegerDot(lanes=8)


def _operator(kind: str, dot: IntegerDot = DOT) -> tuple[list[te.Tensor], te.Tensor]:
    """An operator's placeholders and its int32 result."""
    if kind == "matmul":
        left = te.placeholder((6, 4), "int8", name="left")
        right = te.placeholder((2, 4 // dot.group, dot.lanes, dot.group), "int8", name="right")
        return [left, right], integer_matmul(left, right, columns=16, dot=dot, zero=3)
    data = te.placeholder((1, 6, 8, 8), "int8", name="data")
    if kind == "depthwise":
        weight = te.placeholder((3, 3, 8), "int8", name="weight")
        sig = signatures.conv2d(8, 8, 6, width=8, groups=8)
        return [data, weight], integer_depthwise_conv2d(data, weight, sig=sig, dot=dot, zero=3)
    sig = signatures.conv2d(8, 16, 6, width=8)
    shape = (16 // dot.lanes, 3, 3, 8 // dot.group, dot.lanes, dot.group)
    weight = te.placeholder(shape, "int8", name="weight")
    return [data, weight], integer_conv2d(data, weight, sig=sig, dot=dot, zero=3)


def _func(kind: str, dot: IntegerDot = DOT) -> PrimFunc:
    inputs, out = _operator(kind, dot)
    small = te.compute(out.shape, lambda *i: (out[i] + 1).astype("int8"), name="small")
    return te.create_prim_func([*inputs, small])


@pytest.mark.parametrize("prefix", ["", "scalar-"])
@pytest.mark.parametrize("kind", KINDS)
def test_rule_takes_its_kind_only(prefix: str, kind: str) -> None:
    spec = load_target("cortex-m4f" if prefix else "x86-64-v3")
    rule = f"{prefix}integer-{kind}"
    assert apply_rule(rule, _func(kind), spec) is not None
    for other in set(KINDS) - {kind}:
        assert apply_rule(rule, _func(other), spec) is None


@pytest.mark.parametrize("prefix", ["", "scalar-"])
@pytest.mark.parametrize("kind", KINDS)
def test_rule_refuses_a_sum_of_its_result(prefix: str, kind: str) -> None:
    spec = load_target("cortex-m4f" if prefix else "x86-64-v3")
    inputs, out = _operator(kind)
    axis = te.reduce_axis((0, out.shape[-1]), "axis")
    total = te.compute(out.shape[:-1], lambda *i: te.sum(out[(*i, axis)], axis=axis), name="total")
    func = te.create_prim_func([*inputs, total])
    assert apply_rule(f"{prefix}integer-{kind}", func, spec) is None


@pytest.mark.parametrize("kind", KINDS)
def test_rule_leaves_the_kernel_that_it_is_given(kind: str) -> None:
    func = _func(kind)
    before = tvm_ffi.structural_hash(func)
    apply_rule(f"integer-{kind}", func)
    assert tvm_ffi.structural_hash(func) == before


@pytest.mark.parametrize(
    "rule", ["conv2d", "depthwise-conv2d", "blocked-depthwise-conv2d", "matmul"]
)
def test_rules_for_floats_refuse_integers(rule: str) -> None:
    assert all(apply_rule(rule, _func(kind)) is None for kind in KINDS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "dot",
    [
        IntegerDot(lanes=8, group=4, row_dtype="uint8"),
        IntegerDot(lanes=4, group=2, row_dtype="int16"),
    ],
    ids=["uint8-by-4", "int16-by-2"],
)
def test_rows_for_other_dot_products_are_scheduled_too(kind: str, dot: IntegerDot) -> None:
    assert apply_rule(f"integer-{kind}", _func(kind, dot)) is not None


def test_weights_are_packed_by_lanes_and_groups() -> None:
    weight = np.arange(3 * 5 * 1 * 2, dtype=np.int8).reshape(3, 5, 1, 2)
    sig = signatures.conv2d(5, 3, 4, kernel=(1, 2))
    packed = pack_integer_conv2d_weight(weight, sig, IntegerDot(lanes=4, group=4))
    assert packed.shape == (1, 1, 2, 2, 4, 4)
    assert packed[0, 0, 1, 1, 2, 0] == weight[2, 4, 0, 1]
    assert not packed[:, :, :, :, 3].any()
    assert not packed[:, :, :, 1, :, 1:].any()
    right = pack_integer_right(np.arange(15, dtype=np.int8).reshape(5, 3), IntegerDot(lanes=2))
    assert right.shape == (2, 5, 2, 1)
    assert right[1, 4, 0, 0] == 14


def test_weights_of_which_two_products_leave_16_bits_are_wide() -> None:
    assert narrowest(np.array([-127, 127]), -127).dtype == np.int8
    assert narrowest(np.array([-128, 127]), -127).dtype == np.int16
    assert narrowest(np.array([-128, 127])).dtype == np.int8


def test_every_case_is_integer_on_a_cpu() -> None:
    read = loaded(all_cases())
    mod = staged(read)
    program = extract_program(mod, read)
    assert program.float_quantizers == ()
    types = {value.dtype for value in program.values}
    assert types <= {"int8", "uint8", "int32", "float32", "int16"}
    # float32 are factors only, int32 are biases, and sums whose kernels are not fused.
    floats = [v for v in program.values if v.dtype == "float32" and v.kind.value != "constant"]
    assert floats == []


def test_residual_addition_and_activation_are_part_of_the_convolution() -> None:
    found = workloads(all_cases(("residual",)))
    kernels = [call.operator for call in found.program.calls]
    assert "Conv+QuantizeLinear+Add+Relu+QuantizeLinear" in kernels


def _unsupported(operator: str) -> onnx.ModelProto:
    builder = QdqBuilder()
    made = builder.node(operator, builder.data(2, 8), axis=1)
    builder.output(made, 0.1)
    return builder.model()


def test_what_stays_float_is_named_with_the_reason() -> None:
    model = _unsupported("LogSoftmax")
    found = workloads(model).program.float_quantizers
    (node,) = (n.name for n in model.graph.node if n.op_type == "QuantizeLinear")
    assert [one.node for one in found] == [node]
    assert "no integer form" in found[0].reason


def test_sums_of_two_tensors_fit_32_bits() -> None:
    for ratios in ([1.0, 1.0], [1e-6, 3.0], [900.0, 0.1], [0.3, 0.7]):
        shift = sum_shift(ratios)
        total = sum(ratio * 2.0**shift * 256 for ratio in ratios)
        assert 2**28 < total <= 2**30


def test_stage_leaves_its_input() -> None:
    module = to_relax(loaded(all_cases(("residual", "softmax"))))
    before = tvm_ffi.structural_hash(module)
    integer_graph(module, spec=load_target("x86-64-v3"))
    assert tvm_ffi.structural_hash(module) == before


@pytest.mark.parametrize(("target", "is_said"), [("x86-64-v3", True), ("cortex-a72", False)])
def test_results_that_fit_are_told_apart_where_they_saturate(target: str, is_said: bool) -> None:
    module = staged(loaded(all_cases(("residual",))), load_target(target))
    assert ("T.min(T.max(" in str(module.script())) == is_said


def test_which_products_fit_32_bits() -> None:
    small, large = np.array([0.001, 0.5]), np.array([0.001, 0.75])
    assert products_fit(small, None)
    assert not products_fit(large, None)
    assert not products_fit(small, -1.5)
