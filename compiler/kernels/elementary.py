"""exp, tanh, erf and sigmoid of float32 as polynomials: vectors of them, and no libm.

libm's functions take one number at a time, so a vector loop with one of them is no vector loop.
They stand in the inner loops of the epilogues of products, so their cost is that of whole layers:
each has one formula for all numbers, without branches whose results are thrown away. Against the
true value, in units of the last place (`tests/unit/test_elementary.py` measures it): exp 1, sigmoid
2.5, tanh and erf 6, which is 3.6e-7 at most. The coefficients come from
`scripts/fit_elementary.py`. Results do not depend on the C library.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tvm
from tvm import tirx
from tvm.tirx import PrimFunc
from tvm_ffi import structural

# exp(r) = 1 + r + r**2 * p(r), |r| <= ln(2) / 2; largest error 3.2e-9 of the value
_EXP = (
    0.4999999403953552,
    0.1666652113199234,
    0.041668280959129333,
    0.008368690498173237,
    0.0013819511514157057,
)
# tanh(x) = x * p(x**2) / q(x**2), |x| <= 8.6; 1.3e-8. p, q, and the square of the limit
_TANH = (
    (
        1.0,
        0.13406847417354584,
        0.0035263679455965757,
        2.1121828467585146e-05,
        1.408170202665815e-08,
    ),
    (
        1.0,
        0.4674016833305359,
        0.025993771851062775,
        0.0003336215449962765,
        8.070322792264051e-07,
    ),
    73.96,
)
# erf(x) = x * p(x**2) / q(x**2), |x| <= 3.8; 1.2e-8
_ERF = (
    (
        1.1283791065216064,
        0.1862485408782959,
        0.05231059715151787,
        0.003615037305280566,
        0.0002865092537831515,
        2.1510531951207668e-06,
    ),
    (
        1.0,
        0.49839141964912415,
        0.11249153316020966,
        0.014667185954749584,
        0.001135094091296196,
        3.921371171600185e-05,
    ),
    14.44,
)

_LOG2_E = 1.4426950408889634
# ln(2) in two parts: the first has 9 bits, so that its product with n is exact.
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4
# Adding 1.5 * 2**23 leaves the nearest integer in the low bits of a float32.
_ROUND = 12582912.0
_EXPONENT_BIAS = 127.0
# exp is 0 below and infinite above.
_EXP_LOW, _EXP_HIGH = -87.5, 89.0

Build = Callable[[Any], Any]


def _let(value: Any, body: Build, name: str = "x") -> Any:
    """``body`` of a variable that holds `value`, so that it is computed once."""
    variable = tirx.Var(name, value.ty)
    return tirx.Let(variable, value, body(variable))


def _like(value: float, example: Any) -> Any:
    return tirx.const(value, str(example.ty.dtype))


def _integers(example: Any) -> str:
    """int32 with as many lanes as the example."""
    return str(example.ty.dtype).replace("float32", "int32")


def _horner(x: Any, coefficients: Sequence[float]) -> Any:
    result = _like(coefficients[-1], x)
    for coefficient in reversed(coefficients[:-1]):
        result = result * x + _like(coefficient, x)
    return result


def _bits(x: Any) -> Any:
    return tirx.reinterpret(_integers(x), x)


def _at_most(x: Any, limit: float) -> Any:
    """min that keeps what is no number: a comparison with it is false."""
    return tirx.Select(x > _like(limit, x), _like(limit, x), x)


def _at_least(x: Any, limit: float) -> Any:
    return tirx.Select(x < _like(limit, x), _like(limit, x), x)


def _between(x: Any, low: float, high: float) -> Any:
    return _at_least(_at_most(x, high), low)


def _exp(x: Any) -> Any:
    """Twice the half of exp, which has a power of two wherever exp is finite.

    Half of exp is ``2**(n - 1) * exp(r)``, n the nearest integer to ``x / ln(2)``. The constant
    that rounds to n has the exponents' bias in its low bits, so a shift of bits makes the power. Of
    the least n, -126, it is 0: results below 1.7e-38 are.
    """
    magic = _like(_ROUND + _EXPONENT_BIAS - 1.0, x)

    def with_clamped(c: Any) -> Any:
        return _let(c * _like(_LOG2_E, c) + magic, lambda biased: with_biased(c, biased), "b")

    def with_biased(c: Any, biased: Any) -> Any:
        steps = biased - magic
        remainder = (c - steps * _like(_LN2_HIGH, c)) - steps * _like(_LN2_LOW, c)
        power = tirx.reinterpret(str(c.ty.dtype), _bits(biased) << 23)
        return _let(remainder, lambda r: _let(power, lambda p: with_parts(r, p), "p"), "r")

    def with_parts(r: Any, power: Any) -> Any:
        half = (r + r * r * _horner(r, _EXP)) * power + power
        return _let(half, lambda value: value + value, "h")

    return _let(_between(x, _EXP_LOW, _EXP_HIGH), with_clamped, "c")


def _odd_ratio(x: Any, ratio: tuple[Sequence[float], Sequence[float], float]) -> Any:
    """``x * p(x**2) / q(x**2)``, cut to -1..1.

    Beyond the limit p and q stay what they are there, so that x takes the quotient over 1.
    """
    above, below, limit = ratio

    def with_square(square: Any) -> Any:
        return x * _horner(square, above) / _horner(square, below)

    quotient = _let(_at_most(x * x, limit), with_square, "s")
    return _let(quotient, lambda value: _between(value, -1.0, 1.0), "v")


def _tanh(x: Any) -> Any:
    return _odd_ratio(x, _TANH)


def _erf(x: Any) -> Any:
    return _odd_ratio(x, _ERF)


def _sigmoid(x: Any) -> Any:
    """``1 / (1 + exp(-x))``; an infinite exp makes it 0."""
    one = _like(1.0, x)
    return one / (one + _exp(_like(0.0, x) - x))


_FUNCTIONS: dict[str, Build] = {
    "tirx.exp": _exp,
    "tirx.tanh": _tanh,
    "tirx.erf": _erf,
    "tirx.sigmoid": _sigmoid,
}


def expand_elementary(func: PrimFunc) -> PrimFunc:
    """Return the lowered function with float32 exp, tanh, erf and sigmoid written out."""

    def visit(call: Any, mutator: Any) -> Any:
        call = mutator.default_mutate(call)
        build = _FUNCTIONS.get(getattr(call.op, "name", ""))
        if build is None or not str(call.ty.dtype).startswith("float32"):
            return call
        return _let(call.args[0], build)

    return func.with_body(structural.structural_mutate(func.body, [(tvm.ir.Call, visit)]))
