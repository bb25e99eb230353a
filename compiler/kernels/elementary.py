"""exp, tanh, erf and sigmoid of float32 as polynomials: vectors of them, and no libm.

libm's functions take one number at a time, so a vector loop with one of them is no vector loop.
Each is within 2 units in the last place of the true value (`tests/unit/test_elementary.py` measures
it). The coefficients come from `scripts/fit_elementary.py`. Results do not depend on the C library.
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
# tanh(x) = x + x * x**2 * p(x**2), |x| <= 0.625; 4.6e-9
_TANH = (
    -0.3333328068256378,
    0.1333141028881073,
    -0.05373714119195938,
    0.02063082531094551,
    -0.0056958128698170185,
)
_TANH_SMALL = 0.625
# erf(x) = x + x * p(x**2), |x| <= 0.93; 1.8e-8
_ERF_SMALL = (
    0.12837915122509003,
    -0.37612488865852356,
    0.11281730979681015,
    -0.026762966066598892,
    0.0049873529933393,
    -0.0005959589616395533,
)
_ERF_SWITCH = 0.925
# erf(x) = 1 - exp(-x - x * p(x)), 0.92 <= x <= 3.93; 7.4e-10
_ERF_LARGE = (
    0.12864848971366882,
    0.6351513266563416,
    0.10623684525489807,
    -0.023762019351124763,
    0.0036424295976758003,
    -0.0003227940178476274,
    1.1230014024476986e-05,
)
_ERF_ONE = 3.93  # from here on erf rounds to 1

_LOG2_E = 1.4426950408889634
# ln(2) in two parts: the first has 9 bits, so that its product with n is exact.
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4
# Adding 1.5 * 2**23 leaves the nearest integer in the low bits of a float32.
_ROUND, _ROUND_BITS = 12582912.0, 0x4B400000
_EXP_LOW, _EXP_HIGH = -104.0, 89.0  # exp gives 0 below, infinity above

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


def _or_nan(x: Any, result: Any) -> Any:
    """`result`, but x itself where x is no number: clamping would lose it.

    Asked of the bits, since TVM simplifies ``x != x`` to false.
    """
    kind = _integers(x)
    bits = tirx.reinterpret(kind, x) & tirx.const(0x7FFFFFFF, kind)
    return tirx.Select(bits > tirx.const(0x7F800000, kind), x, result)


def _power_of_two(n: Any, kind: str) -> Any:
    """``2**n`` as float32, n an int32 in -126..127."""
    return tirx.reinterpret(kind, (n + tirx.const(127, str(n.ty.dtype))) << 23)


def _exp(x: Any) -> Any:
    """``2**n * exp(r)``, n the nearest integer to ``x / ln(2)``.

    The scale is applied in two halves, so that results below the normal numbers are right too.
    """
    kind, whole = str(x.ty.dtype), _integers(x)
    clamped = tirx.max(tirx.min(x, _like(_EXP_HIGH, x)), _like(_EXP_LOW, x))

    def with_biased(c: Any, biased: Any) -> Any:
        steps = biased - _like(_ROUND, c)
        n = tirx.reinterpret(whole, biased) - tirx.const(_ROUND_BITS, whole)
        exact = c - steps * _like(_LN2_HIGH, c)
        low = steps * _like(_LN2_LOW, c)
        return _let(exact, lambda e: _let(low, lambda v: with_parts(e, v, n), "v"), "e")

    def with_parts(exact: Any, low: Any, n: Any) -> Any:
        # r is rounded: what it lost comes back with the small terms.
        remainder = exact - low
        return _let(remainder, lambda r: with_rest(r, (exact - r) - low, n), "r")

    def with_rest(r: Any, lost: Any, n: Any) -> Any:
        value = (_horner(r, _EXP) * (r * r) + lost) + r + _like(1.0, r)
        return _let(n, lambda i: scaled(value, i), "n")

    def scaled(value: Any, n: Any) -> Any:
        half = n >> 1
        return value * _power_of_two(half, kind) * _power_of_two(n - half, kind)

    def with_steps(c: Any) -> Any:
        biased = c * _like(_LOG2_E, c) + _like(_ROUND, c)
        return _let(biased, lambda b: with_biased(c, b), "b")

    return _or_nan(x, _let(clamped, with_steps, "c"))


def _tanh(x: Any) -> Any:
    """An odd polynomial near 0, ``1 - 2 / (exp(2|x|) + 1)`` elsewhere."""
    size = tirx.max(x, _like(0.0, x) - x)
    small = _let(x * x, lambda s: x + x * (s * _horner(s, _TANH)), "s")

    def with_size(t: Any) -> Any:
        one, two = _like(1.0, t), _like(2.0, t)
        large = one - two / (_let(two * t, _exp, "d") + one)
        signed = tirx.Select(x < _like(0.0, x), _like(0.0, x) - large, large)
        return tirx.Select(t <= _like(_TANH_SMALL, t), small, signed)

    return _or_nan(x, _let(size, with_size, "t"))


def _erf(x: Any) -> Any:
    """An odd polynomial near 0, ``1 - exp(-t - t * p(t))`` with ``t = |x|`` elsewhere."""
    size = tirx.min(tirx.max(x, _like(0.0, x) - x), _like(_ERF_ONE, x))
    small = _let(x * x, lambda s: x + x * _horner(s, _ERF_SMALL), "s")

    def with_size(t: Any) -> Any:
        exponent = _like(0.0, t) - (t + t * _horner(t, _ERF_LARGE))
        large = _like(1.0, t) - _let(exponent, _exp, "e")
        signed = tirx.Select(x < _like(0.0, x), _like(0.0, x) - large, large)
        return tirx.Select(t <= _like(_ERF_SWITCH, t), small, signed)

    return _or_nan(x, _let(size, with_size, "t"))


def _sigmoid(x: Any) -> Any:
    """``1 / (1 + e)`` or ``e / (1 + e)`` with ``e = exp(-|x|)``, which cannot overflow."""
    zero, one = _like(0.0, x), _like(1.0, x)
    size = tirx.max(x, zero - x)

    def with_exp(e: Any) -> Any:
        return _let(one + e, lambda s: with_sum(e, s), "s")

    def with_sum(e: Any, s: Any) -> Any:
        quotient = tirx.Select(x < zero, e, one) / s
        # What 1 + e lost in rounding, times 1 / s to the few bits that matter.
        lost = (e - (s - one)) * (one - _like(0.5, e) * e)
        return _let(quotient, lambda q: q - q * lost, "q")

    return _or_nan(x, _let(zero - size, lambda t: _let(_exp(t), with_exp, "e"), "t"))


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
