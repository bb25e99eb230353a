"""What the channels of each value hold on the calibration samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from compiler.quantization.network import Network

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True, kw_only=True, slots=True)
class ChannelStatistics:
    """Of one value, along axis 1: float64 arrays [channels]."""

    largest: np.ndarray  # of the absolute value
    mean: np.ndarray
    power: np.ndarray  # mean of the square


def channel_statistics(
    proto: onnx.ModelProto, values: Sequence[str], samples: Sequence[Mapping[str, np.ndarray]]
) -> dict[str, ChannelStatistics]:
    """Return the statistics of values [N, channels, ...] over all samples."""
    if not values:
        return {}
    network = Network(proto, values)
    totals: dict[str, list[np.ndarray]] = {}
    for sample in samples:
        for name, array in network.run(sample).items():
            found = _of_one(array)
            old = totals.get(name)
            totals[name] = found if old is None else _merged(old, found)
    count = len(samples)
    return {
        name: ChannelStatistics(largest=largest, mean=mean / count, power=power / count)
        for name, (largest, mean, power) in totals.items()
    }


def _of_one(array: np.ndarray) -> list[np.ndarray]:
    """Return the largest magnitude, the mean and the mean square of each channel."""
    rows = np.moveaxis(array, 1, 0).reshape(array.shape[1], -1).astype(np.float64)
    return [np.abs(rows).max(axis=1), rows.mean(axis=1), (rows**2).mean(axis=1)]


def _merged(old: list[np.ndarray], new: list[np.ndarray]) -> list[np.ndarray]:
    return [np.maximum(old[0], new[0]), old[1] + new[1], old[2] + new[2]]
