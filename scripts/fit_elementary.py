"""Fit the polynomials and ratios of compiler/kernels/elementary.py and print their coefficients.

    pip install mpmath
    python scripts/fit_elementary.py

Minimax fits by Lawson's iteratively reweighted least squares, in extended precision where the
function needs it; coefficients are rounded to float32 one after the other, lowest power first,
and the rest is fitted again, so that rounding one is made up for by the others. Those of ratios are
only rounded: their error is below that of computing with them.
"""

from __future__ import annotations

from collections.abc import Callable

import mpmath
import numpy as np

POINTS = 4000
ROUNDS = 60


def lawson(basis: np.ndarray, wanted: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Coefficients that make the largest of ``weight * |basis @ c - wanted|`` smallest."""
    emphasis = np.full(len(wanted), 1.0 / len(wanted))
    coefficients = np.zeros(basis.shape[1])
    for _ in range(ROUNDS):
        scale = np.sqrt(emphasis) * weight
        coefficients, *_ = np.linalg.lstsq(basis * scale[:, None], wanted * scale, rcond=None)
        error = np.abs(basis @ coefficients - wanted) * weight
        emphasis = emphasis * (error + 1e-300)
        emphasis /= emphasis.sum()
    return coefficients


def fit(
    points: np.ndarray, wanted: np.ndarray, weight: np.ndarray, powers: list[int]
) -> tuple[list[float], float]:
    """Fit ``sum c[p] * x**p``; return float32 coefficients, lowest power first, and the error."""
    fixed: list[float] = []
    rest = wanted.copy()
    for index, power in enumerate(powers):
        basis = np.stack([points**p for p in powers[index:]], axis=1)
        value = float(np.float32(lawson(basis, rest, weight)[0]))
        fixed.append(value)
        rest = rest - value * points**power
    return fixed, float(np.max(np.abs(rest) * weight))


def fit_ratio(
    points: np.ndarray, wanted: np.ndarray, weight: np.ndarray, above: int, below: int
) -> tuple[list[float], list[float], float]:
    """Fit ``p(x) / q(x)``, q(0) = 1, of degrees `above` and `below`, and return p, q, the error.

    ``p - wanted * q`` is linear in the coefficients; it is weighted by the last q.
    """
    emphasis = np.full(len(wanted), 1.0 / len(wanted))
    numerator = np.stack([points**power for power in range(above + 1)], axis=1)
    denominator = np.stack([points**power for power in range(below + 1)], axis=1)
    best = (np.inf, np.zeros(above + 1), np.ones(below + 1))
    q = np.ones(below + 1)
    for _ in range(2 * ROUNDS):
        scale = np.sqrt(emphasis) * weight / (denominator @ q)
        basis = np.concatenate([numerator, -denominator[:, 1:] * wanted[:, None]], axis=1)
        basis = basis * scale[:, None]
        size = np.linalg.norm(basis, axis=0)
        solved = np.linalg.lstsq(basis / size, wanted * scale, rcond=None)[0] / size
        p, q = solved[: above + 1], np.concatenate([[1.0], solved[above + 1 :]])
        error = np.abs(numerator @ p / (denominator @ q) - wanted) * weight
        best = min(best, (float(error.max()), p, q), key=lambda one: one[0])
        emphasis = emphasis * (error + 1e-30)
        emphasis /= emphasis.sum()
    error, p, q = best
    return _rounded(p), _rounded(q), error


def _rounded(coefficients: np.ndarray) -> list[float]:
    return [float(np.float32(value)) for value in coefficients]


def chebyshev(low: float, high: float) -> np.ndarray:
    """Points that lie closer together towards the ends."""
    angles = np.pi * (np.arange(POINTS) + 0.5) / POINTS
    return (low + high) / 2 + (high - low) / 2 * np.cos(angles)


def table(function: Callable[[mpmath.mpf], mpmath.mpf], points: np.ndarray) -> np.ndarray:
    return np.array([float(function(mpmath.mpf(float(x)))) for x in points])


def show(name: str, result: tuple[list[float], float]) -> None:
    coefficients, error = result
    print(f"{name}: largest weighted error {error:.2e}")
    for value in coefficients:
        print(f"    {value!r},")


def main() -> None:
    mpmath.mp.prec = 120
    # exp(r) = 1 + r + r**2 * p(r), |r| <= ln(2)/2; relative error
    r = chebyshev(-0.347, 0.347)
    wanted = table(lambda x: (mpmath.exp(x) - 1 - x) / x**2, r)
    show("EXP", fit(r, wanted, r**2 / np.exp(r), [0, 1, 2, 3, 4]))
    # tanh(x) = x * p(s) / q(s), s = x**2, |x| <= 8.6: 1 - tanh is 7e-8 there
    show_ratio("TANH", mpmath.tanh, 8.6, 4)
    # erf(x) = x * p(s) / q(s), s = x**2, |x| <= 3.8: 1 - erf is 8e-8 there
    show_ratio("ERF", mpmath.erf, 3.8, 5)


def show_ratio(
    name: str, function: Callable[[mpmath.mpf], mpmath.mpf], limit: float, degree: int
) -> None:
    squares = chebyshev(1e-9, limit**2)
    wanted = table(lambda s: function(mpmath.sqrt(s)) / mpmath.sqrt(s), squares)
    above, below, error = fit_ratio(squares, wanted, 1 / wanted, degree, degree)
    show(f"{name} above", (above, error))
    show(f"{name} below", (below, error))


if __name__ == "__main__":
    main()
