"""Cross-layer equalisation: give the channels of a value like ranges, by factors in the weights.

Source: Nagel et al., 2019 (arXiv 1906.04721), section 4.1. Here a group of values may span
additions, so that the channels of a residual stream are equalised for all that read it, and how
far to go is chosen for each group by the estimated rounding noise behind its readers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from compiler.quantization.channel_groups import ChannelGroup, find_groups
from compiler.quantization.graph import index_graph
from compiler.quantization.layer_weights import LayerWeights, is_depthwise
from compiler.quantization.statistics import ChannelStatistics, channel_statistics

if TYPE_CHECKING:
    import onnx

# Exponents tried: 0 leaves the channels as they are, 1 gives them all the range of the largest.
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
LARGEST_FACTOR = 2.0**10
STEPS = 255  # of an 8-bit value
WEIGHT_STEPS = 254  # of a symmetric weight


def equalize(
    proto: onnx.ModelProto, samples: Sequence[Mapping[str, np.ndarray]]
) -> tuple[onnx.ModelProto, int]:
    """Return an equalised copy of the model and how many groups of values were changed.

    The copy computes the same, but for a Clip: a channel that never comes near the upper bound
    on the samples may be enlarged up to it, and then saturates at its own largest value, as a
    quantized value does at the end of its range.
    """
    graph = index_graph(proto)
    groups = find_groups(graph)
    values = [value for group in groups for value in group.stored]
    statistics = channel_statistics(proto, values, samples)
    nodes = {node.name: node for node in proto.graph.node}
    weights = LayerWeights(graph)
    changed = 0
    for group in groups:
        factors = _best_factors(group, statistics, weights, nodes)
        if np.all(factors == 1.0):
            continue
        changed += 1
        for name in group.writers:
            weights.multiply_outputs(nodes[name], factors)
        for name in group.readers:
            weights.divide_inputs(nodes[name], factors)
    return weights.model(), changed


def _best_factors(
    group: ChannelGroup,
    statistics: Mapping[str, ChannelStatistics],
    weights: LayerWeights,
    nodes: Mapping[str, onnx.NodeProto],
) -> np.ndarray:
    """Return the factor of each channel for which the estimated noise behind the readers, each
    relative to what it is without factors, is smallest."""
    largest = np.max([statistics[value].largest for value in group.stored], axis=0)
    readers = [nodes[name] for name in group.readers]

    def noises(factors: np.ndarray) -> np.ndarray:
        return np.array(
            [
                _noise(
                    weights.weight(reader),
                    statistics[reader.input[0]].power,
                    largest,
                    factors,
                    depthwise=is_depthwise(reader),
                )
                for reader in readers
            ]
        )

    before = np.maximum(noises(np.ones_like(largest)), np.finfo(np.float64).tiny)
    trials = [_factors(largest, group.limit, strength) for strength in STRENGTHS]
    return min(trials, key=lambda factors: float((noises(factors) / before).sum()))


def _factors(largest: np.ndarray, limit: float, strength: float) -> np.ndarray:
    """Return factors of at least 1 that bring each channel towards the largest.

    Powers of two would be exact, but steps of two are coarse; the weights are rounded anyway.
    """
    top = float(largest.max())
    with np.errstate(divide="ignore"):
        ratio = np.where(largest > 0, top / largest, 1.0)
        room = np.where(largest > 0, limit / largest, 1.0)
    return np.clip(ratio**strength, 1.0, np.clip(room, 1.0, LARGEST_FACTOR))


def _noise(
    weight: np.ndarray,
    power: np.ndarray,
    largest: np.ndarray,
    factors: np.ndarray,
    *,
    depthwise: bool,
) -> float:
    """Return the estimated power of the rounding errors in a reader's sums, but for a constant.

    Errors of a value and of a weight are uniform within a step; they are independent.

    Args:
        weight: [channels in, channels out, taps].
        power: mean square of each channel before the factors.
    """
    scaled = weight / factors[:, None, None]
    value_step = float((largest * factors).max()) / STEPS
    from_values = value_step**2 * float((scaled**2).sum())
    tops = np.abs(scaled).max(axis=(1, 2) if depthwise else (0, 2))  # of each output channel
    weight_steps = (2 * tops / WEIGHT_STEPS) ** 2
    powers = power * factors**2
    products = weight_steps @ powers if depthwise else weight_steps.sum() * powers.sum()
    return from_values + float(products) * int(weight.shape[2])
