"""Fit the polynomials of compiler/kernels/elementary.py and print their coefficients.

    pip install mpmath
    python scripts/fit_elementary.py

Minimax fits by Lawson's iteratively reweighted least squares, in extended precision where the
function needs it; coefficients are rounded to float32 one after the other, lowest power first,
and the rest is fitted again, so that rounding one is made up for by the others.
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
    # tanh(x) = x + x * s * p(s), s = x**2, |x| <= 0.625
    s = chebyshev(1e-6, 0.625**2)
    wanted = table(lambda v: (mpmath.tanh(mpmath.sqrt(v)) / mpmath.sqrt(v) - 1) / v, s)
    weight = s / (1 + s * wanted)
    show("TANH", fit(s, wanted, weight, [0, 1, 2, 3, 4]))
    # erf(x) = x + x * p(s), s = x**2, |x| <= 1.2
    s = chebyshev(1e-6, 1.21**2)
    wanted = table(lambda v: mpmath.erf(mpmath.sqrt(v)) / mpmath.sqrt(v) - 1, s)
    show("ERF_SMALL", fit(s, wanted, 1 / (1 + wanted), [0, 1, 2, 3, 4, 5, 6]))
    # erf(x) = 1 - p(x)**-8, 1.2 <= x <= 3.93; error of erf in its last place
    x = chebyshev(1.19, 3.93)
    wanted = table(lambda v: mpmath.erfc(v) ** (mpmath.mpf(-1) / 8), x)
    weight = 8 * table(mpmath.erfc, x) / wanted / table(mpmath.erf, x)
    show("ERF_LARGE", fit(x, wanted, weight, [0, 1, 2, 3, 4, 5, 6, 7]))


if __name__ == "__main__":
    main()
