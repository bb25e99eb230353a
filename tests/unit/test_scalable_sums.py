"""Nests of sums that become calls of the runtime's functions for scalable vectors."""

from __future__ import annotations

import pytest
from tvm import s_tir, te, tirx
from tvm.tirx import PrimFunc

from compiler.kernels.passes import lower_to_loops
from compiler.kernels.scalable_sums import DEPTHWISE_FUNCTION, SUMS_FUNCTION
from compiler.kernels.sum_nests import coefficients
from compiler.stages.operators.conv2d import conv2d_lanes
from compiler.target_spec import load_target
from compiler.tvm_target import tvm_target
from schedules import steps
from tests import signatures

TARGET = tvm_target(load_target("neoverse-v1"))


def _marked(*, lanes_of_weights_first: bool = True, depthwise: bool = False) -> PrimFunc:
    """y[6, 16] = x[6, 8] w[8, 16], or lane by lane with x[6, 8, 16]; the nest is marked."""
    shape = (6, 8, 16) if depthwise else (6, 8)
    x = te.placeholder(shape, "float32", name="x")
    w = te.placeholder((8, 16) if lanes_of_weights_first else (16, 8), "float32", name="w")
    k = te.reduce_axis((0, 8), "k")

    def term(i: object, j: object) -> object:
        factor = w[k, j] if lanes_of_weights_first else w[j, k]
        return te.sum((x[i, k, j] if depthwise else x[i, k]) * factor, axis=k)

    y = te.compute((6, 16), term, name="y")
    sch = s_tir.Schedule(te.create_prim_func([x, w, y]))
    block = sch.get_sblock("y")
    column, lane, reduced = sch.get_loops(block)
    steps.mark_sums(sch, block, 0, (lane, column, reduced), 0)
    return sch.mod["main"]


def test_nest_becomes_a_call_with_extents_and_strides() -> None:
    text = lower_to_loops(_marked(), TARGET, scalable=True).script()
    # columns, lanes; channels, taps, inner; strides of columns; of inputs; of weights.
    numbers = "6, 16, 1, 1, 1, 8, 16, 8, 0, 0, 0, 1, 0, 0, 0, 16"
    assert f'"{SUMS_FUNCTION}"' in text
    assert numbers in text
    assert "for " not in text  # neither the nest nor the zeros before it


def test_inputs_of_each_lane_take_the_other_function() -> None:
    text = lower_to_loops(_marked(depthwise=True), TARGET, scalable=True).script()
    assert f'"{DEPTHWISE_FUNCTION}"' in text
    assert "6, 16, 1, 1, 1, 8, 16, 128, 0, 0, 0, 16, 0, 0, 0, 16" in text


def test_nest_with_other_strides_stays() -> None:
    text = lower_to_loops(_marked(lanes_of_weights_first=False), TARGET, scalable=True).script()
    assert "call_extern" not in text
    assert "T.float32(0.0)" in text  # the zeros before it stay too
    assert "tunesmith.sums" not in text


def test_coefficients_of_an_index() -> None:
    a, b, other = (tirx.Var(name, "int32") for name in ("a", "b", "other"))
    assert coefficients(a * 12 + (b - other) * 3 + 7, [a, b]) == [12, 3]
    assert coefficients(other // 2, [a, b]) == [0, 0]
    assert coefficients(a // 2, [a, b]) is None
    assert coefficients(a * b, [a, b]) is None


@pytest.mark.parametrize(("channels", "lanes"), [(24, 8), (144, 16), (320, 64), (7, 8)])
def test_blocks_of_weights_divide_the_channels(channels: int, lanes: int) -> None:
    sig = signatures.conv2d(8, channels, 4)
    assert conv2d_lanes(sig, 64, scalable=True) == lanes
