"""Numbers of a kernel under trial beside those that it should have made."""

from __future__ import annotations

import numpy as np
import pytest

from compiler.tuner.agreement import disagreement
from compiler.tuner.trial import KernelData
from compiler.tuner.trial_files import run_counts

FLOATS = np.array([[1.0, -100.0], [0.0, 2.0]], np.float32)
SPECIAL = np.array([np.inf, -np.inf, np.nan, 10.0], np.float32)


def said(expected: np.ndarray, actual: np.ndarray) -> str:
    return disagreement(KernelData(key="k", inputs=(), expected=(expected,)), [actual])


@pytest.mark.parametrize("error", [0.0, 0.009, -0.009])
def test_float_within_the_tolerance_of_the_largest(error: float) -> None:
    assert said(FLOATS, FLOATS + np.float32(error)) == ""


def test_float_beyond_it_is_named() -> None:
    actual = FLOATS.copy()
    actual[1, 0] = 0.011
    assert said(FLOATS, actual) == (
        "output 0: 1 of 4 elements are wrong; element 2 is 0.010999999940395355, not 0.0"
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3.4e38])
def test_float_that_is_no_number(value: float) -> None:
    actual = FLOATS.copy()
    actual[0, 1] = value
    assert "1 of 4 elements are wrong; element 1" in said(FLOATS, actual)


def test_infinite_where_it_should_be() -> None:
    assert said(SPECIAL, SPECIAL.copy()) == ""
    for place in range(3):
        actual = SPECIAL.copy()
        actual[place] = 0.0
        assert f"element {place} is 0.0" in said(SPECIAL, actual)


def test_integers_are_equal() -> None:
    expected = np.array([1, 127, -128], np.int8)
    assert said(expected, expected.copy()) == ""
    assert "element 1 is 126, not 127" in said(expected, np.array([1, 126, -128], np.int8))


def test_every_output_is_compared() -> None:
    data = KernelData(key="k", inputs=(), expected=(FLOATS, SPECIAL))
    assert disagreement(data, [FLOATS, FLOATS.reshape(-1)]).startswith("output 1: ")


def test_counts_are_less_what_a_mark_takes() -> None:
    assert run_counts([1_000, 1_012, 1_124, 1_236, 1_349]) == (100.0, 100.0, 101.0)
