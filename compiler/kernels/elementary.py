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
_TANH_ONE = 10.0  # from 9.02 on tanh rounds to 1
# erf(x) = x + x * p(x**2), |x| <= 1.2; 1.5e-8
_ERF_SMALL = (
    0.12837915122509003,
    -0.376125305891037,
    0.1128261387348175,
    -0.02681773342192173,
    0.005127643700689077,
    -0.000753770349547267,
    6.466142804129049e-05,
)
_ERF_SWITCH = 1.2
# erf(x) = 1 - p(x)**-8, 1.2 <= x <= 3.93; 5.3e-9
_ERF_LARGE = (
    0.9898181557655334,
    0.18765483796596527,
    -0.0018754082266241312,
    0.12439409643411636,
    -0.06260602176189423,
    0.027951445430517197,
    -0.0059257070533931255,
    0.0006965733482502401,
)
_ERF_ONE = 3.93  # from here on erf rounds to 1

_LOG2_E = 1.4426950408889634
# ln(2) in two parts: the first has 9 bits, so that its product with n is exact.
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4
# Adding 1.5 * 2**23 leaves the nearest integer in the low bits of a float32.
_ROUND = 12582912.0
_EXPONENT_BIAS = 127.0
_SHIFT = 64.0  # exponents of -150..0 or 0..128 moved by it, up or down, are of normal numbers
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


def _short_chain(x: Any, coefficients: Sequence[float]) -> Any:
    """The same polynomial in half the steps that wait for each other, for two more products.

    ``(c0 + c1 x) + x**2 (c2 + c3 x)`` and so on by halves (Estrin): for what much else waits for.
    """

    def halves(powers: Sequence[Any], part: Sequence[float]) -> Any:
        if len(part) == 1:
            return _like(part[0], x)
        level = (len(part) - 1).bit_length() - 1
        low, high = part[: 1 << level], part[1 << level :]
        return halves(powers, low) + halves(powers, high) * powers[level]

    def with_powers(powers: list[Any]) -> Any:
        if 1 << len(powers) >= len(coefficients):
            return halves(powers, coefficients)
        last = powers[-1]
        return _let(last * last, lambda square: with_powers([*powers, square]), "p")

    return with_powers([x])


def _bits(x: Any) -> Any:
    return tirx.reinterpret(_integers(x), x)


def _size_and_sign(x: Any) -> tuple[Any, Any]:
    """|x|, and the bits of its sign."""
    kind = _integers(x)
    size = tirx.reinterpret(str(x.ty.dtype), _bits(x) & tirx.const(0x7FFFFFFF, kind))
    return size, _bits(x) & tirx.const(-0x80000000, kind)


def _with_sign(size: Any, sign: Any) -> Any:
    """`size`, which is not negative, with the sign of `_size_and_sign`."""
    return tirx.reinterpret(str(size.ty.dtype), _bits(size) | sign)


def _at_most(x: Any, limit: float) -> Any:
    """min that keeps what is no number: a comparison with it is false."""
    return tirx.Select(x > _like(limit, x), _like(limit, x), x)


def _at_least(x: Any, limit: float) -> Any:
    return tirx.Select(x < _like(limit, x), _like(limit, x), x)


def _scaled_exp(x: Any, shift: Any) -> Any:
    """``exp(x) * 2**shift``, where that is a normal number.

    It is ``2**n * exp(r)``, n the nearest integer to ``x / ln(2)``. The constant that rounds to n
    has exponent bias and shift in its low bits, so a shift of bits makes the power of two.
    """
    magic = shift + _like(_ROUND + _EXPONENT_BIAS, x)

    def with_biased(biased: Any) -> Any:
        steps = biased - magic
        remainder = (x - steps * _like(_LN2_HIGH, x)) - steps * _like(_LN2_LOW, x)
        power = tirx.reinterpret(str(x.ty.dtype), _bits(biased) << 23)
        return _let(remainder, lambda r: _let(power, lambda p: with_parts(r, p), "p"), "r")

    def with_parts(r: Any, power: Any) -> Any:
        return (r + r * r * _short_chain(r, _EXP)) * power + power

    return _let(x * _like(_LOG2_E, x) + magic, with_biased, "b")


def _moderate_exp(x: Any) -> Any:
    """exp of what lies in -87..88: no power of two is out of range."""
    return _scaled_exp(x, _like(0.0, x))


def _exp(x: Any) -> Any:
    """exp of any number: the power of two in two factors.

    So results below the normal numbers are right too, and those above the largest are infinite.
    """

    def with_clamped(c: Any) -> Any:
        negative = c < _like(0.0, c)
        shift = tirx.Select(negative, _like(_SHIFT, c), _like(-_SHIFT, c))
        back = tirx.Select(negative, _like(2.0**-_SHIFT, c), _like(2.0**_SHIFT, c))
        return _scaled_exp(c, shift) * back

    return _let(_at_least(_at_most(x, _EXP_HIGH), _EXP_LOW), with_clamped, "c")


def _tanh(x: Any) -> Any:
    """An odd polynomial near 0, ``1 - 2 / (exp(2|x|) + 1)`` elsewhere."""
    size, sign = _size_and_sign(x)
    small = _let(x * x, lambda s: x + x * (s * _horner(s, _TANH)), "s")

    def with_size(t: Any) -> Any:
        one, two = _like(1.0, t), _like(2.0, t)
        large = one - two / (_let(two * t, _moderate_exp, "d") + one)
        return tirx.Select(t <= _like(_TANH_SMALL, t), small, _with_sign(large, sign))

    return _let(_at_most(size, _TANH_ONE), with_size, "t")


def _erf(x: Any) -> Any:
    """An odd polynomial near 0, ``1 - p(t)**-8`` with ``t = |x|`` elsewhere: no exp is needed."""
    size, sign = _size_and_sign(x)
    small = _let(x * x, lambda s: x + x * _horner(s, _ERF_SMALL), "s")

    def squared(value: Any) -> Any:
        return _let(value, lambda v: v * v, "q")

    def with_size(t: Any) -> Any:
        one = _like(1.0, t)
        # Horner: in `_short_chain` more is rounded, and the eighth power makes it eight times that.
        large = one - one / squared(squared(squared(_horner(t, _ERF_LARGE))))
        return tirx.Select(t <= _like(_ERF_SWITCH, t), small, _with_sign(large, sign))

    return _let(_at_most(size, _ERF_ONE), with_size, "t")


def _sigmoid(x: Any) -> Any:
    """``1 / (1 + e)`` or ``e / (1 + e)`` with ``e = exp(-|x|)``, which cannot overflow."""
    one = _like(1.0, x)
    kind = _integers(x)
    opposite_size = tirx.reinterpret(str(x.ty.dtype), _bits(x) | tirx.const(-0x80000000, kind))
    is_negative = _bits(x) < tirx.const(0, kind)

    def with_exp(e: Any) -> Any:
        return _let(one + e, lambda s: with_sum(e, s), "s")

    def with_sum(e: Any, s: Any) -> Any:
        quotient = tirx.Select(is_negative, e, one) / s
        # What 1 + e lost in rounding; undivided by s, as it matters where e is small.
        lost = e - (s - one)
        return _let(quotient, lambda q: q - q * lost, "q")

    def with_size(t: Any) -> Any:
        small = _scaled_exp(t, _like(_SHIFT, t)) * _like(2.0**-_SHIFT, t)
        return _let(small, with_exp, "e")

    return _let(_at_least(opposite_size, _EXP_LOW), with_size, "t")


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
