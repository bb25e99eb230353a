"""Panels of a matrix, one vector wide, and places in row-major order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def panel_count(columns: int, lanes: int) -> int:
    """Panels that hold the columns; one more where that lets a tile be two panels wide.

    Up to four panels fit a tile whatever their number is, beyond that an odd one costs little.
    """
    panels = -(-columns // lanes)
    return panels + 1 if panels > 4 and panels % 2 else panels


def pack_right(matrix: np.ndarray, lanes: int) -> np.ndarray:
    """``matrix[K, N]`` as panels ``[1, N/L, K, L]``, missing columns zero."""
    depth, columns = matrix.shape
    panels = panel_count(columns, lanes)
    room = np.zeros((depth, panels * lanes), matrix.dtype)
    room[:, :columns] = matrix
    return np.ascontiguousarray(room.reshape(depth, panels, lanes).transpose(1, 0, 2))[np.newaxis]


def flat_index(indices: Sequence[Any], shape: Sequence[int]) -> Any:
    """Row-major position of `indices` in `shape`."""
    position: Any = 0
    for index, extent in zip(indices, shape, strict=True):
        position = position * extent + index
    return position


def spread_index(position: Any, shape: Sequence[int]) -> list[Any]:
    """Inverse of `flat_index`; axes of extent 1 get the index 0."""
    indices: list[Any] = []
    for extent in reversed(shape):
        if extent == 1:
            indices.insert(0, 0)
        else:
            indices.insert(0, position % extent)
            position = position // extent
    return indices
