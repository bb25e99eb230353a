"""Scalars and expressions of TIR as C99."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tvm import tirx

from compiler.errors import UnsupportedError
from compiler.kernels.c_expressions import Expressions
from compiler.kernels.c_types import c_type, float_literal, int_literal


def written(node: object) -> tuple[str, list[str]]:
    """The text of an expression, and the statements that must stand before it."""
    writer = Expressions(lambda v: str(v.name), lambda b, i: f"{b.name}[{i}]")
    text = writer.write(node)
    return text, writer.take_pending()


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_float32_literals_are_exact(value: float) -> None:
    text = float_literal(value, "float32")
    assert text.endswith("f")
    assert np.float32(text[:-1]) == np.float32(value)
    assert any(mark in text for mark in ".e")  # else C reads a whole number


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_float64_literals_are_exact(value: float) -> None:
    assert float(float_literal(value, "float64")) == value


def test_literals_that_are_no_numbers() -> None:
    assert float_literal(math.inf, "float32") == "INFINITY"
    assert float_literal(-math.inf, "float32") == "(-INFINITY)"
    assert float_literal(math.nan, "float64") == "NAN"


def test_the_least_integers_have_names() -> None:
    """``-2147483648`` is a minus before a number that int cannot hold."""
    assert int_literal(-(2**31), "int32") == "INT32_MIN"
    assert int_literal(-(2**63), "int64") == "INT64_MIN"
    assert int_literal(2**32 - 1, "uint32") == "4294967295u"
    assert int_literal(5, "int64") == "INT64_C(5)"


def test_a_small_float_has_no_c_type() -> None:
    with pytest.raises(UnsupportedError, match="C99 has no type for float16"):
        c_type("float16")


def test_a_branch_that_needs_statements_becomes_one() -> None:
    """A `let` hoisted out of its branch would be computed where it must not be."""
    x, t = tirx.Var("x", "int32"), tirx.Var("t", "int32")
    inside = tirx.Let(t, x + 1, t * t)
    text, before = written(tirx.if_then_else(x > 0, inside, tirx.const(0, "int32")))
    assert text == "choice_1"
    assert before == [
        "int32_t choice_1;",
        "if ((0 < x)) {" if "0 < x" in before[1] else "if ((x > 0)) {",
        "    const int32_t t = (x + 1);",
        "    choice_1 = (t * t);",
        "} else {",
        "    choice_1 = 0;",
        "}",
    ]


def test_a_plain_branch_is_an_expression() -> None:
    x = tirx.Var("x", "int32")
    text, before = written(tirx.if_then_else(x < 3, x, tirx.const(7, "int32")))
    assert (text, before) == ("((x < 3) ? x : 7)", [])


def test_negative_numbers_are_not_shifted_left() -> None:
    x = tirx.Var("x", "int32")
    assert written(x << 23)[0] == "((int32_t)((uint32_t)x << 23))"


def test_an_unknown_function_is_refused_by_name() -> None:
    call = tirx.call_intrin("float32", "tirx.atan2", tirx.const(1.0, "float32"), 2.0)
    with pytest.raises(UnsupportedError, match="there is no C for `atan2`"):
        written(call)
