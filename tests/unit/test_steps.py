"""Steps that rules share: what is inlined, which widths and divisors are taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tvm import te, tirx
from tvm.s_tir import Schedule

from schedules import match, steps


@given(st.integers(1, 500), st.integers(0, 40))
def test_largest_divisor(extent: int, most: int) -> None:
    divisor = steps.largest_divisor(extent, most)
    assert extent % divisor == 0
    assert divisor <= max(1, most)
    assert not any(extent % larger == 0 for larger in range(divisor + 1, min(most, extent) + 1))


@pytest.mark.parametrize(
    ("extent", "lanes", "width"),
    [(32, 8, 8), (12, 8, 4), (7, 8, 1), (8, 16, 8), (1, 16, 1), (0, 16, 1)],
)
def test_vector_width(extent: int, lanes: int, width: int) -> None:
    assert steps.vector_width(extent, lanes) == width


X = (4, 8)


def _schedule(*outputs: te.Tensor, inputs: list[te.Tensor]) -> Schedule:
    return Schedule(te.create_prim_func([*inputs, *outputs]))


def _names(sch: Schedule) -> list[str]:
    return [match.name(sch, block) for block in match.blocks(sch)]


def _map(shape: Any, function: Callable[..., Any], name: str, role: str | None = None) -> te.Tensor:
    attrs = {} if role is None else {"tunesmith.role": role}
    return te.compute(shape, function, name=name, attrs=attrs)


def test_cheap_producers_are_inlined_wherever_they_are_read() -> None:
    x = te.placeholder(X, "float32", name="x")
    twice = _map(X, lambda i, j: x[i, j] * 2.0, "twice")
    y = _map(X, lambda i, j: twice[i, j] + twice[3 - i, j], "y")
    z = _map(X, lambda i, j: twice[i, 7 - j], "z")
    sch = _schedule(y, z, inputs=[x])
    steps.inline_cheap_producers(sch)
    assert _names(sch) == ["y", "z"]


def test_dear_producer_of_one_reader_is_inlined() -> None:
    x = te.placeholder(X, "float32", name="x")
    power = _map(X, lambda i, j: tirx.exp(x[i, j]), "power")
    y = _map(X, lambda i, j: power[i, j] + 1.0, "y")
    sch = _schedule(y, inputs=[x])
    steps.inline_cheap_producers(sch)
    assert _names(sch) == ["y"]


def test_dear_producer_that_is_read_again_stays() -> None:
    x = te.placeholder(X, "float32", name="x")
    power = _map(X, lambda i, j: tirx.exp(x[i, j]), "power")
    k = te.reduce_axis((0, 8), "k")
    total = te.compute((4,), lambda i: te.sum(power[i, k], axis=k), name="total")
    y = _map(X, lambda i, j: power[i, j] / total[i], "y")
    sch = _schedule(y, inputs=[x])
    steps.inline_cheap_producers(sch)
    assert _names(sch) == ["power", "total", "y"]


def test_padding_stays_before_a_reduction_only() -> None:
    x = te.placeholder(X, "float32", name="x")

    def padded(name: str) -> te.Tensor:
        return _map(
            (4, 10),
            lambda i, j: tirx.if_then_else(tirx.all(j >= 1, j < 9), x[i, j - 1], 0.0),
            name,
        )

    first, second = padded("padded"), padded("copied")
    k = te.reduce_axis((0, 3), "k")
    y = te.compute(X, lambda i, j: te.sum(first[i, j + k], axis=k), name="y")
    z = _map((4, 10), lambda i, j: second[i, j] + 1.0, "z")
    sch = _schedule(y, z, inputs=[x])
    steps.inline_cheap_producers(sch)
    assert _names(sch) == ["padded", "y", "z"]


def test_blocks_of_a_role_to_keep_stay() -> None:
    x = te.placeholder(X, "float32", name="x")
    packed = _map(X, lambda i, j: x[i, j], "packed", role="pack")
    y = _map(X, lambda i, j: packed[i, j] + 1.0, "y")
    sch = _schedule(y, inputs=[x])
    steps.inline_cheap_producers(sch, keep=("pack",))
    assert _names(sch) == ["packed", "y"]
    steps.inline_cheap_producers(sch)
    assert _names(sch) == ["y"]


@pytest.mark.parametrize(
    ("read", "count"),
    [
        (lambda x, i, j, k: x[i, j, k], 3),
        (lambda x, i, j, k: x[0, j, k] + x[i, j, k], 2),  # broadcast along the first
        (lambda x, i, j, k: x[i, k, j], 1),  # transposed
        (lambda x, i, j, k: x[i, j, k] + x[i, 0, k], 1),  # broadcast along the second
        (lambda x, i, j, k: x[i, j, 3 - k], 1),  # reversed
        (lambda x, i, *_: x[i, 0, 0], 2),  # the same for the whole suffix
    ],
)
def test_axes_that_lie_together_in_memory(read: Callable[..., Any], count: int) -> None:
    shape = (4, 4, 4)
    x = te.placeholder(shape, "float32", name="x")
    sch = _schedule(_map(shape, lambda i, j, k: read(x, i, j, k), "y"), inputs=[x])
    assert steps.contiguous_suffix(sch, match.blocks(sch)[0]) == count


@pytest.mark.parametrize(
    ("extent", "function", "lanes"),
    [
        (64, tirx.exp, 32),  # four vectors of eight
        (48, tirx.exp, 24),
        (35, tirx.exp, 32),  # the tail is what it was
        (8, tirx.exp, 8),
        (5, tirx.exp, 8),
        (64, tirx.abs, 8),
        (64, tirx.log, 8),  # libm's, one number at a time
    ],
)
def test_several_vectors_of_a_function_at_once(
    extent: int, function: Callable[..., Any], lanes: int
) -> None:
    x = te.placeholder((extent,), "float32", name="x")
    sch = _schedule(_map((extent,), lambda i: function(x[i]), "y"), inputs=[x])
    assert steps.function_lanes(sch, match.blocks(sch)[0], extent, 8) == lanes
