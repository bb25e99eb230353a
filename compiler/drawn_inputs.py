"""Arrays for a compiled library of which no ONNX file is at hand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import numpy as np


class Tensor(Protocol):
    """What must be known of an input."""

    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...


def drawn_inputs(inputs: Iterable[Tensor]) -> dict[str, np.ndarray]:
    """Return arrays for `inputs`, the same for the same names, dtypes and shapes.

    Floats are standard normal, 8-bit integers cover their range, wider ones, which are mostly
    indices, are 0 to 9.
    """
    random = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {}
    for tensor in inputs:
        if tensor.dtype == "bfloat16":  # the upper half of a float32; NumPy holds it as bits
            bits = random.standard_normal(tensor.shape).astype("float32").view("uint32")
            arrays[tensor.name] = (bits >> 16).astype("uint16")
            continue
        dtype = np.dtype(tensor.dtype)
        if dtype.kind == "f":
            arrays[tensor.name] = random.standard_normal(tensor.shape).astype(dtype)
        elif dtype.kind == "b":
            arrays[tensor.name] = random.integers(0, 2, tensor.shape).astype(dtype)
        elif dtype.itemsize == 1:
            limits = np.iinfo(dtype)
            arrays[tensor.name] = random.integers(
                limits.min, limits.max, tensor.shape, dtype=dtype, endpoint=True
            )
        else:
            arrays[tensor.name] = random.integers(0, 10, tensor.shape).astype(dtype)
    return arrays
