"""How far two arrays are apart, and how far they may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np

# Share of the reference's largest absolute value, by dtype. Sums are formed in another order than
# onnxruntime's: a float32 dot product of a few thousand terms differs by about 1e-6 of the largest
# partial sum (24 bits), a deep network by a few 1e-5. float16 has 11 bits, so one rounding is 5e-4
# and a chain of tens of layers some 1e-2; float64 is limited by the same arithmetic with 53 bits.
RELATIVE_LIMITS = {"float64": 1e-9, "float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2}

# Products by tensor cores: TF32 and fp16 have 11 bits of mantissa, the first one not stored, so a
# factor is rounded by at most 2**-11 of itself, a product of two by 2**-10 = 9.8e-4, and so is a
# sum of them in float32 if no two cancel. Measured of one layer: 4e-4 of its largest value. The
# errors of layers are independent: of 100 layers they add up to sqrt(100) * 2**-10 = 1e-2.
# bf16 has 8 bits: 2**-9 of a factor, 2**-8 = 3.9e-3 of a product, sqrt(100) * 2**-8 = 4e-2.
PRODUCT_LIMITS = {"tf32": 1e-2, "fp16": 1e-2, "bf16": 4e-2}

# A Winograd convolution alone: its products are of transformed numbers, some of them 8 times as
# large, whose sums cancel. Usual are some 1e-6 to 1e-5.
WINOGRAD_LIMIT = 1e-3

# Where onnxruntime with and without its optimisations differs by more than half of the float32
# limit, the limit measures onnxruntime.
LARGEST_UNCERTAINTY = RELATIVE_LIMITS["float32"] / 2

# A value that lies on the boundary of two quanta may fall on either side. Per kernel that moves it
# by one quantum, and rarely; through a whole model the step is passed on and may meet another.
WHOLE_MODEL_QUANTA = 2
KERNEL_QUANTA = 1
KERNEL_EQUAL_SHARE = 0.999

# A dequantized value is quantum * integer, rounded once: 1 % of a quantum is far above that.
QUANTA_SLACK = 0.01


class Unit(StrEnum):
    """What a limit counts."""

    RELATIVE = "of the largest value"
    QUANTA = "quanta"
    EQUAL = "equal"


@dataclass(frozen=True, kw_only=True, slots=True)
class Tolerance:
    """What a difference may be at most."""

    unit: Unit
    limit: float = 0.0
    quantum: float = 1.0  # for QUANTA: the size of one, in the output's own numbers
    equal_share: float = 0.0  # at least so many values equal; one value may always differ

    def __str__(self) -> str:
        if self.unit is Unit.EQUAL:
            return "equal"
        unit = "quantum" if self.unit is Unit.QUANTA and self.limit == 1 else self.unit
        return f"{self.limit:g} {unit}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Figures of one tensor: the worst over all inputs that were tried."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    max_abs: float
    max_relative: float  # max_abs over the reference's largest absolute value
    equal_share: float
    max_quanta: float | None
    tolerance: Tolerance
    passed: bool
    problem: str = ""  # why it did not pass

    def as_json(self) -> dict[str, Any]:
        """JSON has no infinity, which stands for NaN in the wrong place: it becomes a string."""

        def number(value: float | None) -> float | str | None:
            return value if value is None or np.isfinite(value) else str(value)

        return {
            "name": self.name,
            "dtype": self.dtype,
            "shape": list(self.shape),
            "max_abs": number(self.max_abs),
            "max_relative": number(self.max_relative),
            "equal_share": self.equal_share,
            "max_quanta": number(self.max_quanta),
            "tolerance": str(self.tolerance),
            "passed": self.passed,
            "problem": self.problem,
        }


def relative_limit(dtype: str, precision: str = "float32") -> float:
    """Share of the largest value by which a tensor may differ; products are of `precision`."""
    return max(RELATIVE_LIMITS[dtype], PRODUCT_LIMITS.get(precision, 0.0))


def float_tolerance(dtype: str, precision: str = "float32") -> Tolerance:
    """The rule for a tensor that was computed without quantizers; integers must be equal."""
    if dtype in RELATIVE_LIMITS:
        return Tolerance(unit=Unit.RELATIVE, limit=relative_limit(dtype, precision))
    return Tolerance(unit=Unit.EQUAL)


def compare(
    name: str, expected: np.ndarray, actual: np.ndarray, tolerance: Tolerance
) -> Comparison:
    """Return the figures of one tensor. NaN and infinities must stand at the same places."""
    result = Comparison(
        name=name,
        dtype=str(expected.dtype),
        shape=tuple(expected.shape),
        max_abs=float("inf"),
        max_relative=float("inf"),
        equal_share=0.0,
        max_quanta=None,
        tolerance=tolerance,
        passed=False,
    )
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        found = f"{actual.dtype}{list(actual.shape)}"
        return replace(result, problem=f"is {found}, not {expected.dtype}{list(expected.shape)}")
    want, got = _as_float(expected), _as_float(actual)
    if not np.array_equal(np.isnan(want), np.isnan(got)):
        wrong = int(np.sum(np.isnan(want) != np.isnan(got)))
        return replace(result, problem=f"{wrong:,} values are NaN on one side only")
    infinite = np.isinf(want) | np.isinf(got)
    if not np.array_equal(want[infinite], got[infinite]):
        return replace(result, problem="infinities differ")
    finite = np.isfinite(want)
    return _judge(result, want[finite], got[finite], expected.size)


def _judge(result: Comparison, want: np.ndarray, got: np.ndarray, count: int) -> Comparison:
    tolerance = result.tolerance
    difference = np.abs(want - got)
    max_abs = float(difference.max(initial=0.0))
    largest = float(np.abs(want).max(initial=0.0))
    same = 0.0
    if tolerance.unit is Unit.QUANTA and result.dtype in RELATIVE_LIMITS:
        # Off the grid of quanta, floats that were rounded alike still differ as floats do.
        same = max(QUANTA_SLACK * tolerance.quantum, RELATIVE_LIMITS[result.dtype] * largest)
    unequal = int(np.sum(difference > same))
    figures = replace(
        result,
        max_abs=max_abs,
        max_relative=max_abs / largest if largest else (0.0 if max_abs == 0.0 else float("inf")),
        equal_share=(count - unequal) / count if count else 1.0,
        max_quanta=max_abs / tolerance.quantum if tolerance.unit is Unit.QUANTA else None,
    )
    problem = _problem(figures, unequal, count, same)
    return replace(figures, passed=not problem, problem=problem)


def _problem(figures: Comparison, unequal: int, count: int, same: float) -> str:
    tolerance = figures.tolerance
    if tolerance.unit is Unit.EQUAL:
        return f"{unequal:,} of {count:,} values differ" if unequal else ""
    if tolerance.unit is Unit.RELATIVE:
        if figures.max_relative <= tolerance.limit:
            return ""
        return f"differs by {figures.max_relative:.3g} of the largest value, {tolerance} allowed"
    if figures.max_abs > max((tolerance.limit + QUANTA_SLACK) * tolerance.quantum, same):
        return f"differs by {figures.max_quanta:.3g} quanta, {tolerance.limit:g} allowed"
    # One value of a small tensor on a boundary must not fail it.
    if unequal > max(1, round((1.0 - tolerance.equal_share) * count)):
        return f"{figures.equal_share:.2%} of values equal, {tolerance.equal_share:.1%} needed"
    return ""


def worst(comparisons: Sequence[Comparison]) -> Comparison:
    """Return the figures over several inputs as one: each figure's worst."""
    first = next((c for c in comparisons if not c.passed), comparisons[0])
    quanta = [c.max_quanta for c in comparisons if c.max_quanta is not None]
    return replace(
        first,
        max_abs=max(c.max_abs for c in comparisons),
        max_relative=max(c.max_relative for c in comparisons),
        equal_share=min(c.equal_share for c in comparisons),
        max_quanta=max(quanta) if quanta else None,
        passed=all(c.passed for c in comparisons),
    )


def _as_float(array: np.ndarray) -> np.ndarray:
    """float64 holds every other dtype but large 64-bit integers, which are shifted apart first."""
    if array.dtype.kind in "iu" and array.dtype.itemsize == 8:
        return array.astype(np.longdouble)  # 64-bit mantissa on x86
    return array.astype(np.float64)
