"""Arrays as files beside an emulator: sets of inputs go in, sets of outputs come out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from compiler.library_arrays import TensorSpec


def write_sets(path: Path, sets: Sequence[Sequence[np.ndarray]]) -> None:
    """Write the bytes of all arrays, set by set."""
    with path.open("wb") as file:
        for arrays in sets:
            for array in arrays:
                file.write(array.tobytes())


def read_sets(
    path: Path, specs: Sequence[TensorSpec], sets: int
) -> tuple[dict[str, np.ndarray], ...]:
    """Return so many sets of the arrays that `specs` describe, by name."""
    with path.open("rb") as file:
        return tuple(
            {spec.name: _array(spec, file.read(_size_bytes(spec))) for spec in specs}
            for _ in range(sets)
        )


def _size_bytes(spec: TensorSpec) -> int:
    return int(np.prod(spec.shape, dtype=np.int64)) * spec.array_dtype.itemsize


def _array(spec: TensorSpec, data: bytes) -> np.ndarray:
    return np.frombuffer(data, dtype=spec.array_dtype).reshape(spec.shape).copy()
