"""Bias correction: take out of each layer the mean error that rounded weights give it.

Source: Nagel et al., 2019 (arXiv 1906.04721), section 4.2.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np

from compiler.quantization.graph import Graph
from compiler.quantization.layer_weights import by_input, is_adjustable, is_depthwise
from compiler.quantization.ranges import Range
from compiler.quantization.scales import quantize_weight, value_scale
from compiler.quantization.statistics import ChannelStatistics
from compiler.quantization.units import Unit, Weight, quantized_values

if TYPE_CHECKING:
    import onnx


def bias_corrections(
    graph: Graph,
    units: Collection[Unit],
    ranges: Mapping[str, Range],
    statistics: Mapping[str, ChannelStatistics],
) -> dict[str, np.ndarray]:
    """Return what to add to the bias [channels out] of each layer, by its node's name.

    The mean error of a channel is (rounded weight - weight) times the mean of what it reads;
    padding is counted as if it were data.

    Args:
        statistics: of the operands in `corrected_operands`, at least.
    """
    nodes = {node.name: node for node in graph.proto.graph.node}
    origins = quantized_values(units, graph)
    corrections = {}
    for unit in units:
        node = nodes[unit.name]
        if unit.weight is None or not is_adjustable(node, graph):
            continue
        operand = unit.operands[0]
        scale = value_scale(*ranges[origins[operand]]).scale
        error = _weight_error(graph, unit.weight, scale)
        corrections[unit.name] = -_mean_error(error, node, statistics[operand].mean)
    return corrections


def corrected_operands(graph: Graph, units: Collection[Unit]) -> list[str]:
    """Return the values whose means the corrections need."""
    nodes = {node.name: node for node in graph.proto.graph.node}
    return sorted(
        {
            unit.operands[0]
            for unit in units
            if unit.weight is not None and is_adjustable(nodes[unit.name], graph)
        }
    )


def _weight_error(graph: Graph, weight: Weight, operand_scale: float) -> np.ndarray:
    """Return the rounded weight less the weight, in the weight's own layout."""
    array = graph.array(weight.name)
    bias = None if weight.bias is None else graph.array(weight.bias)
    rounded = quantize_weight(array, weight.axis, bias, operand_scale).real()
    return np.asarray(rounded.astype(np.float64) - array)


def _mean_error(error: np.ndarray, node: onnx.NodeProto, means: np.ndarray) -> np.ndarray:
    """Return the mean error of each output channel, from the mean of each input channel."""
    if is_depthwise(node):
        taps = error.reshape(error.shape[0], -1).sum(axis=1)  # [channels out]
        return np.asarray(taps * means.repeat(error.shape[0] // means.size))
    return np.asarray(means @ by_input(error, node).sum(axis=2))
