"""Whether the outputs of the reference depend on the inputs that were tried.

A library that ignores its inputs would pass a comparison on outputs that never change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from compiler.onnx_import.model import Model
from compiler.verification.graph_walk import GraphWalk

# Less than this share of the largest value is rounding, not an answer to the input.
SMALLEST_CHANGE = 1e-6


def unexercised(model: Model, runs: Sequence[Mapping[str, np.ndarray]]) -> dict[str, str]:
    """Return the outputs that show nothing, each with the reason.

    Args:
        runs: the reference's outputs, one mapping for each set of inputs.
    """
    walk = GraphWalk(model.proto)
    reasons = {}
    for info in model.outputs:
        if not walk.depends_on_input(info.name):
            continue  # a constant of the model: nothing to exercise
        reason = _why_not([run[info.name] for run in runs])
        if reason:
            reasons[info.name] = reason
    return reasons


def _why_not(arrays: Sequence[np.ndarray]) -> str:
    values = np.stack([array.astype(np.float64) for array in arrays])
    if values.size == 0:
        return ""
    if not np.isfinite(values).any():
        return "holds no finite value"
    values = np.nan_to_num(values, posinf=0.0, neginf=0.0)
    if _is_constant(values):
        return f"is the same ({values.flat[0]:.6g}, ...) whatever the input"
    if _is_saturated(values, arrays[0].dtype):
        return "stands at the ends of its range everywhere"
    return ""


def _is_constant(values: np.ndarray) -> bool:
    """Several runs must differ; within one run, elements must. One value alone proves nothing."""
    spread = np.ptp(values, axis=0).max() if len(values) > 1 else np.ptp(values)
    if values.size == 1:
        return False
    return bool(spread <= SMALLEST_CHANGE * np.abs(values).max())


def _is_saturated(values: np.ndarray, dtype: np.dtype) -> bool:
    """Small integers at their dtype's ends; probabilities that are all 0 or 1."""
    if dtype.kind in "iu" and dtype.itemsize == 1:
        limits = np.iinfo(dtype)
        return bool(np.isin(values, (limits.min, limits.max)).all())
    if dtype.kind != "f" or len(values) < 2:
        return False
    near = np.minimum(np.abs(values), np.abs(values - 1.0)) <= SMALLEST_CHANGE
    return bool(near.all())
