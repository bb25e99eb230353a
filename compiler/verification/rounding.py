"""How far a library with rounded weights is from the user's own model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from compiler.onnx_import.model import Model
from compiler.verification.reference import Reference


def differences_to_unrounded(
    model: Model,
    inputs: Sequence[Mapping[str, np.ndarray]],
    found: Sequence[Mapping[str, np.ndarray]],
) -> dict[str, float]:
    """Return the largest difference over the largest value of each float output.

    Empty for a model whose weights are its own: there the comparison itself says it.
    """
    if model.unrounded is None:
        return {}
    reference = Reference(model.unrounded)
    names = [info.name for info in model.outputs if info.dtype == "float32"]
    worst = dict.fromkeys(names, 0.0)
    for given, got in zip(inputs, found, strict=True):
        expected = reference.run(given)
        for name in names:
            worst[name] = max(worst[name], _share(expected[name], got[name]))
    return worst


def _share(want: np.ndarray, got: np.ndarray) -> float:
    finite = np.isfinite(want) & np.isfinite(got)
    largest = float(np.abs(want[finite]).max(initial=0.0))
    difference = float(np.abs(want[finite] - got[finite]).max(initial=0.0))
    return difference / largest if largest else difference
