"""Many inputs for one model: all of a quantizer's range, parts of it, and more than it holds."""

from __future__ import annotations

import numpy as np

from compiler.onnx_import.model import Model
from compiler.verification_inputs import draw_inputs

# What the sets of inputs take in turn: a share of the range; above 1 they saturate.
SHARES = (1.0, 0.5, 2.0, 0.25)

Arrays = dict[str, np.ndarray]


def exercised_sets(model: Model, count: int) -> list[Arrays]:
    """`count` sets of inputs, the first `n` of them the same for every count."""
    return [_drawn(model, seed, SHARES[seed % len(SHARES)]) for seed in range(count)]


def _drawn(model: Model, seed: int, share: float) -> Arrays:
    """As the check of every build draws; beyond a share of 1 floats are stretched."""
    drawn = draw_inputs(model, seed, min(share, 1.0))
    return drawn if share <= 1.0 else {name: _beyond(a, share) for name, a in drawn.items()}


def _beyond(array: np.ndarray, share: float) -> np.ndarray:
    """Reals as far beyond their range; integers of 8 bits, which cannot be, at its ends."""
    if array.dtype.kind == "f":
        middle = (array.max() + array.min()) / 2
        return np.asarray(middle + (array - middle) * np.float32(share), array.dtype)
    if array.dtype.itemsize > 1:
        return array  # an index
    limits = np.iinfo(array.dtype)
    middle = (limits.max + limits.min) / 2
    stretched = np.rint(middle + (array - middle) * share)
    return np.clip(stretched, limits.min, limits.max).astype(array.dtype)
