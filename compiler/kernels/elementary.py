"""exp, tanh, erf and sigmoid of float32 as polynomials: vectors of them, and no libm.

libm's functions take one number at a time, so a vector loop with one of them is no vector loop.
They stand in the inner loops of the epilogues of products, so their cost is that of whole layers:
each has one formula for all numbers, without branches whose results are thrown away. Against the
true value, in units of the last place (`tests/unit/test_elementary.py` measures it): exp 1, sigmoid
2.5, tanh and erf 6, which is 3.6e-7 at most. The coefficients come from
`scripts/fit_elementary.py`. Results do not depend on the C library.

Gates have shorter formulas: ``x * sigmoid(x)``, and ``h * (1 + erf(c * x))`` as in GELU, tanh
likewise. A sum with a constant has an absolute error anyway: 2e-7 of a gate between 0 and 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import tvm
from tvm import tirx
from tvm.ir import prim
from tvm.tirx import PrimFunc
from tvm_ffi import structural, structural_equal

# exp(r) = 1 + r + r**2 * p(r), |r| <= ln(2) / 2; largest error 3.2e-9 of the value
_EXP = (
    0.4999999403953552,
    0.1666652113199234,
    0.041668280959129333,
    0.008368690498173237,
    0.0013819511514157057,
)
# tanh(x) = x * p(x**2) / q(x**2), |x| <= 8.6; 1.3e-8. p, q, and the square of the limit
_TANH_RATIO = (
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
_ERF_RATIO = (
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
# Factors that the coefficients take in: positive, and their powers stay normal numbers.
_LEAST_FACTOR, _GREATEST_FACTOR = 0.25, 4.0
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


@dataclass(frozen=True, slots=True)
class _OddRatio:
    """An odd function from -1 to 1: ``x * p(x**2) / q(x**2)``, q(0) = 1, for squares to a limit."""

    above: Sequence[float]
    below: Sequence[float]
    limit: float

    def scaled(self, argument: float) -> _OddRatio:
        """The function of ``argument * x``."""
        return _OddRatio(
            [one * argument ** (2 * power + 1) for power, one in enumerate(self.above)],
            [one * argument ** (2 * power) for power, one in enumerate(self.below)],
            self.limit / argument**2,
        )

    def of(self, x: Any, height: float = 1.0) -> Any:
        """`height` times the function, cut to -height..height.

        Beyond the limit p and q stay what they are there, so that x takes the quotient over 1.
        """
        above = [height * one for one in self.above]

        def with_square(square: Any) -> Any:
            return x * _horner(square, above) / _horner(square, self.below)

        quotient = _let(_at_most(x * x, self.limit), with_square, "s")
        return _let(quotient, lambda value: _between(value, -height, height), "v")


def _sigmoid(x: Any) -> Any:
    """``1 / (1 + exp(-x))``; an infinite exp makes it 0."""
    one = _like(1.0, x)
    return one / (one + _exp(_like(0.0, x) - x))


_TANH, _ERF = _OddRatio(*_TANH_RATIO), _OddRatio(*_ERF_RATIO)
_ODD = {"tirx.tanh": _TANH, "tirx.erf": _ERF}
_FUNCTIONS: dict[str, Build] = {
    "tirx.exp": _exp,
    "tirx.tanh": _TANH.of,
    "tirx.erf": _ERF.of,
    "tirx.sigmoid": _sigmoid,
}


def expand_elementary(func: PrimFunc) -> PrimFunc:
    """Return the lowered function with float32 exp, tanh, erf and sigmoid written out."""

    def call(node: Any, mutator: Any) -> Any:
        node = mutator.default_mutate(node)
        build = _FUNCTIONS.get(_called(node))
        return node if build is None else _let(node.args[0], build)

    def product(node: Any, mutator: Any) -> Any:
        for one, other in ((node.a, node.b), (node.b, node.a)):
            if _called(one) == "tirx.sigmoid" and structural_equal(one.args[0], other):
                return _let(mutator.mutate(other), _times_own_sigmoid)
            gate = _Gate.found(one, other)
            if gate is not None:
                return _let(mutator.mutate(gate.x), gate.of)
        return mutator.default_mutate(node)

    visits = [(tvm.ir.Call, call), (prim.Mul, product)]
    return func.with_body(structural.structural_mutate(func.body, visits))


def _called(node: Any) -> str:
    """Which of the functions of float32 an expression calls; else ""."""
    name = getattr(node.op, "name", "") if isinstance(node, tvm.ir.Call) else ""
    return name if name in _FUNCTIONS and str(node.ty.dtype).startswith("float32") else ""


def _times_own_sigmoid(x: Any) -> Any:
    """``x * sigmoid(x)``, the sigmoid as ``(1 + tanh(x / 2)) / 2``."""
    return x * (_like(0.5, x) + _TANH.scaled(0.5).of(x, 0.5))


@dataclass(frozen=True, slots=True)
class _Gate:
    """``height * (1 + f(scale * x))``, f odd."""

    ratio: _OddRatio  # of ``scale * x``
    x: Any
    height: float

    @staticmethod
    def found(height: Any, rest: Any) -> _Gate | None:
        """The gate that the product of two expressions is, or None."""
        if not (_is_factor(height) and isinstance(rest, prim.Add)):
            return None
        for one, call in ((rest.a, rest.b), (rest.b, rest.a)):
            ratio = _ODD.get(_called(call))
            if ratio is not None and isinstance(one, prim.FloatImm) and one.value == 1.0:
                scale, x = _factor(call.args[0])
                return _Gate(ratio.scaled(scale), x, height.value)
        return None

    def of(self, x: Any) -> Any:
        return _like(self.height, x) + self.ratio.of(x, self.height)


def _factor(product: Any) -> tuple[float, Any]:
    """A constant factor of an expression, and the rest of it."""
    if isinstance(product, prim.Mul):
        for one, other in ((product.a, product.b), (product.b, product.a)):
            if _is_factor(one):
                return one.value, other
    return 1.0, product


def _is_factor(node: Any) -> bool:
    return isinstance(node, prim.FloatImm) and _LEAST_FACTOR <= node.value <= _GREATEST_FACTOR
