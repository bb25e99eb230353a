"""Whether a kernel under trial made what it should."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compiler.tuner.trial import KernelData


def disagreement(data: KernelData, outputs: Sequence[np.ndarray]) -> str:
    """Return where `outputs` are not what is expected, or an empty text.

    Integers must be equal; a float may be off by the tolerance times the largest expected
    magnitude, and is infinite or NaN where it should be.
    """
    for number, (expected, actual) in enumerate(zip(data.expected, outputs, strict=True)):
        wrong = _wrong(expected, actual, data.tolerance)
        if wrong.any():
            place = int(np.flatnonzero(wrong)[0])
            return (
                f"output {number}: {int(wrong.sum()):,} of {wrong.size:,} elements are wrong; "
                f"element {place} is {actual.flat[place]}, not {expected.flat[place]}"
            )
    return ""


def _wrong(expected: np.ndarray, actual: np.ndarray, tolerance: float) -> np.ndarray:
    """Which elements are wrong: [elements] of bool."""
    if expected.dtype.kind != "f":
        return np.asarray(actual != expected).reshape(-1)
    want, got = expected.astype(np.float64).reshape(-1), actual.astype(np.float64).reshape(-1)
    finite = np.isfinite(want)
    limit = tolerance * np.abs(want, where=finite, out=np.zeros_like(want)).max(initial=0.0)
    with np.errstate(invalid="ignore"):
        near = np.abs(got - want) <= limit
    same = (got == want) | (np.isnan(got) & np.isnan(want))
    return np.asarray(~np.where(finite, near, same))
