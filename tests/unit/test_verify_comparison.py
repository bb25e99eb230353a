"""Figures of two arrays, and the rule that each dtype and each quantizer brings."""

from __future__ import annotations

import numpy as np
import pytest

from compiler.verification.comparison import (
    Tolerance,
    Unit,
    compare,
    float_tolerance,
    worst,
)

TWO_QUANTA = Tolerance(unit=Unit.QUANTA, limit=2, quantum=0.5)
ONE_QUANTUM = Tolerance(unit=Unit.QUANTA, limit=1, quantum=1.0, equal_share=0.999)


def ramp(dtype: str = "float32", count: int = 11) -> np.ndarray:
    return np.arange(count).astype(dtype)


def changed(array: np.ndarray, by: float, at: int = 3) -> np.ndarray:
    other = array.copy()
    other[at] += array.dtype.type(by)
    return other


def test_figures_of_a_difference() -> None:
    result = compare("y", ramp(), changed(ramp(), 0.5), float_tolerance("float32"))
    assert (result.max_abs, result.max_relative) == (0.5, 0.05)
    assert result.equal_share == pytest.approx(10 / 11)
    assert not result.passed
    assert result.problem == (
        "differs by 0.05 of the largest value, 0.0001 of the largest value allowed"
    )


@pytest.mark.parametrize(("by", "passed"), [(0.0009, True), (0.0011, False)])
def test_float32_may_differ_by_a_ten_thousandth_of_the_largest(by: float, passed: bool) -> None:
    assert compare("y", ramp(), changed(ramp(), by), float_tolerance("float32")).passed is passed


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "bool"])
def test_integers_are_equal(dtype: str) -> None:
    array = ramp(dtype, 2)
    assert compare("y", array, array.copy(), float_tolerance(dtype)).passed
    other = array.copy()
    other[0] = 1
    result = compare("y", array, other, float_tolerance(dtype))
    assert result.problem == "1 of 2 values differ"


def test_neighbouring_large_integers_differ() -> None:
    array = np.asarray([2**62, 2**62 + 1])
    assert not compare("y", array, array[::-1].copy(), float_tolerance("int64")).passed


def test_nan_must_stand_at_the_same_place() -> None:
    array = ramp()
    array[2] = np.nan
    assert compare("y", array, array.copy(), float_tolerance("float32")).passed
    moved = ramp()
    moved[4] = np.nan
    result = compare("y", array, moved, float_tolerance("float32"))
    assert result.problem == "2 values are NaN on one side only"
    assert result.as_json()["max_abs"] == "inf"


def test_infinities_must_have_the_same_sign() -> None:
    array = ramp()
    array[2] = np.inf
    assert compare("y", array, array.copy(), float_tolerance("float32")).passed
    other = array.copy()
    other[2] = -np.inf
    assert compare("y", array, other, float_tolerance("float32")).problem == "infinities differ"


def test_another_shape_or_dtype_is_a_difference() -> None:
    result = compare("y", ramp(), ramp("float64"), float_tolerance("float32"))
    assert result.problem == "is float64[11], not float32[11]"


@pytest.mark.parametrize(("by", "passed"), [(1.0, True), (1.5, False)])
def test_two_quanta_of_the_output(by: float, passed: bool) -> None:
    result = compare("y", ramp(), changed(ramp(), by), TWO_QUANTA)
    assert result.passed is passed
    assert result.max_quanta == by / 0.5


def test_quanta_of_integers() -> None:
    result = compare("y", ramp("int8"), changed(ramp("int8"), 1), ONE_QUANTUM)
    assert (result.passed, result.max_quanta) == (True, 1.0)


def test_a_thousandth_of_the_values_may_differ_by_a_quantum() -> None:
    few = np.zeros(4000, np.int8)
    few[:4] = 1
    many = np.zeros(4000, np.int8)
    many[:5] = 1
    zeros = np.zeros(4000, np.int8)
    assert compare("y", zeros, few, ONE_QUANTUM).passed
    result = compare("y", zeros, many, ONE_QUANTUM)
    assert result.problem == "99.88% of values equal, 99.9% needed"


def test_no_values_are_equal() -> None:
    empty = np.zeros((0, 4), np.float32)
    result = compare("y", empty, empty, float_tolerance("float32"))
    assert (result.passed, result.equal_share) == (True, 1.0)


def test_worst_of_several_inputs() -> None:
    tolerance = float_tolerance("float32")
    good = compare("y", ramp(), ramp(), tolerance)
    bad = compare("y", ramp(), changed(ramp(), 5), tolerance)
    both = worst([good, bad])
    assert (both.passed, both.max_abs, both.problem) == (False, 5.0, bad.problem)
    assert worst([good, good]).passed
