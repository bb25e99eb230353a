"""What the rules for microcontrollers do not take, and that they leave what they are given."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import tvm_ffi
from tvm import te
from tvm.tirx import PrimFunc

from compiler.stages.operators import matmul
from compiler.stages.operators.conv2d import packed_conv2d
from compiler.stages.operators.depthwise_conv2d import (
    blocked_depthwise_conv2d,
    depthwise_conv2d,
)
from compiler.target_spec import load_target
from schedules.mcu import vector_depthwise_conv2d
from schedules.mcu.register_tile import choose_columns
from tests import signatures
from tests.lowered import apply_rule

SPECS = {"vector-depthwise-conv2d": load_target("cortex-m55")}
SPEC = load_target("cortex-m4f")
PRODUCT = matmul.MatmulSignature(batch=1, m=6, n=16, k=4, shared_right=True)


def _placeholders(*shapes: tuple[int, ...]) -> list[te.Tensor]:
    return [te.placeholder(shape, "float32", name=f"in{i}") for i, shape in enumerate(shapes)]


def _conv2d() -> tuple[list[te.Tensor], te.Tensor]:
    data, weight = _placeholders((1, 3, 6, 6), (1, 4, 3, 3, 3, 1, 4))
    return [data, weight], packed_conv2d(data, weight, signatures.conv2d(3, 16, 6))


def _depthwise() -> tuple[list[te.Tensor], te.Tensor]:
    data, weight = _placeholders((1, 8, 6, 8), (8, 3, 3))
    sig = signatures.conv2d(8, 8, 6, width=8, groups=8)
    return [data, weight], depthwise_conv2d(data, weight, sig, 1)


def _blocked_depthwise() -> tuple[list[te.Tensor], te.Tensor]:
    data, weight = _placeholders((1, 2, 6, 8, 4), (2, 3, 3, 4))
    sig = signatures.conv2d(8, 8, 6, width=8, groups=8)
    return [data, weight], blocked_depthwise_conv2d(data, weight, sig)


def _product() -> tuple[list[te.Tensor], te.Tensor]:
    left, right = _placeholders((6, 4), (1, 2, 4, 8))
    return [left, right], matmul.packed_matmul(left, right, PRODUCT, (6, 16))


OPERATORS: dict[str, Callable[[], tuple[list[te.Tensor], te.Tensor]]] = {
    "scalar-conv2d": _conv2d,
    "scalar-depthwise-conv2d": _depthwise,
    "scalar-matmul": _product,
    "vector-depthwise-conv2d": _blocked_depthwise,
}


def _taken(operator: str) -> PrimFunc:
    inputs, out = OPERATORS[operator]()
    twice = te.compute(out.shape, lambda *i: out[i] * 2.0, name="twice")
    return te.create_prim_func([*inputs, twice])


def _summed(operator: str) -> PrimFunc:
    """The sum over the last axis instead of an element-wise epilogue."""
    inputs, out = OPERATORS[operator]()
    axis = te.reduce_axis((0, out.shape[-1]), "axis")
    total = te.compute(out.shape[:-1], lambda *i: te.sum(out[(*i, axis)], axis=axis), name="total")
    return te.create_prim_func([*inputs, total])


def _two_readers(operator: str) -> PrimFunc:
    """Two blocks read what the operator computes, so neither is the only epilogue."""
    inputs, out = OPERATORS[operator]()
    once = te.compute(out.shape, lambda *i: out[i] + 1.0, name="once")
    twice = te.compute(out.shape, lambda *i: out[i] * 2.0, name="twice")
    return te.create_prim_func([*inputs, once, twice])


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("other", OPERATORS)
def test_rule_takes_its_operator_only(operator: str, other: str) -> None:
    spec = SPECS.get(operator, SPEC)
    assert (apply_rule(operator, _taken(other), spec) is None) == (operator != other)


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("near_miss", [_summed, _two_readers])
def test_rule_leaves_near_misses(operator: str, near_miss: Callable[[str], PrimFunc]) -> None:
    assert apply_rule(operator, near_miss(operator), SPECS.get(operator, SPEC)) is None


@pytest.mark.parametrize("operator", OPERATORS)
def test_rule_does_not_write_into_its_kernel(operator: str) -> None:
    func = _taken(operator)
    before = tvm_ffi.structural_hash(func)
    assert apply_rule(operator, func, SPECS.get(operator, SPEC)) is not None
    assert tvm_ffi.structural_hash(func) == before


@pytest.mark.parametrize(
    ("columns", "lanes", "taps", "registers", "tile"),
    [
        (32, 4, 3, 32, 4),  # 16 sums, 4 weights, 1 input; divides the row
        (25, 4, 1, 32, 5),  # likewise, 20 sums
        (3, 4, 1, 32, 3),  # no more than there are
        (32, 4, 1, 13, 2),  # Cortex-M0+: few registers
        (1, 8, 1, 32, 1),
    ],
)
def test_tile(columns: int, lanes: int, taps: int, registers: int, tile: int) -> None:
    assert choose_columns(columns, lanes, taps, registers) == tile


@pytest.mark.parametrize(
    ("columns", "taps", "tile"),
    [
        (25, 3, 5),  # five sums beside the weights of a tap and two inputs, in eight registers
        (24, 3, 4),  # divides the row
        (3, 3, 3),
        (7, 3, 5),
    ],
)
def test_columns_of_a_depthwise_tile(columns: int, taps: int, tile: int) -> None:
    assert vector_depthwise_conv2d.choose_columns(columns, taps, 8) == tile
