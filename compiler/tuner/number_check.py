"""Whether a kernel's outputs are what they should be."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def first_difference(
    outputs: Sequence[np.ndarray], expected: Sequence[np.ndarray], tolerance: float
) -> str:
    """Say where outputs are not the expected ones; nothing if they are.

    Integers must be equal. A float may be off by `tolerance` times the largest finite magnitude
    that is expected in its array; NaN is expected where NaN is, infinity where the same one is.

    Args:
        outputs, expected: arrays of equal dtypes and shapes.
    """
    for number, (got, wanted) in enumerate(zip(outputs, expected, strict=True)):
        wrong = _wrong(got, wanted, tolerance)
        if wrong.any():
            place = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
            at = ", ".join(str(int(index)) for index in place)
            return (
                f"output {number}[{at}] is {got[place]}, expected {wanted[place]} "
                f"({int(wrong.sum())} of {wrong.size} are wrong)"
            )
    return ""


def _wrong(got: np.ndarray, wanted: np.ndarray, tolerance: float) -> np.ndarray:
    """Bool array of their shape."""
    if not np.issubdtype(wanted.dtype, np.floating):
        return np.asarray(got != wanted)
    if got.dtype.itemsize < 4:
        got, wanted = got.astype(np.float32), wanted.astype(np.float32)
    finite = np.isfinite(wanted)
    largest = float(np.abs(wanted, where=finite, out=np.zeros_like(wanted)).max(initial=0.0))
    with np.errstate(invalid="ignore", over="ignore"):
        near = np.abs(got - wanted) <= tolerance * largest
    same = (got == wanted) | (np.isnan(got) & np.isnan(wanted))
    return np.asarray(~(same | (near & finite)))
